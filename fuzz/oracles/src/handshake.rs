//! The server's first packet, and how a session handles it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::{
    HostPort, Time,
    frame::{FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::ConnectResponse,
    session::{Config, Output, Reason, Session, SessionId, SessionState, SessionTicket},
};

use crate::memory::within;

/// Answers a session's handshake. The input is a byte of flags (resume a session; do not accept another one) and the
/// packet.
///
/// A packet is decoded and encoded to the same bytes, or refused. Only a valid packet establishes a session, with the
/// id, the password and the timeout of the packet. A session that is resumed is not replaced by another one if the
/// configuration forbids it.
///
/// # Panics
/// Panics if that is not the case.
pub fn connect_response(input: &[u8]) {
    let Some((&flags, packet)) = input.split_first() else { return };
    let (resumes, only) = (flags & 1 != 0, flags & 2 != 0);
    let packet = Bytes::copy_from_slice(packet);
    let limit = 2 * packet.len() + 1024;
    let mut input = Reader::new(&packet);
    let response = within(limit, || ConnectResponse::decode(&mut input));
    if let Ok(response) = &response {
        let mut again = BytesMut::new();
        response.encode(&mut again);
        again.extend_from_slice(&input.rest());
        assert_eq!(again, packet);
        let shown = format!("{response:?}");
        assert!(shown.len() < 256 && shown.contains("<secret>"), "{shown}");
    }

    let mut config = Config::new(vec![HostPort::new("h", 1)]);
    config.renew_expired = !only;
    config.resume = resumes.then(|| SessionTicket {
        id: SessionId(7),
        password: Secret::new(Bytes::from_static(&[7; 16])),
        last_zxid: 9,
    });
    let (session, outputs) = answered(config, &packet);
    assert_eq!(session.last_zxid(), if resumes { 9 } else { 0 });
    let sane = response.ok().filter(|response| {
        let read_only = response.is_read_only();
        response.timeout > 0 && (response.session_id != 0 || read_only)
    });
    let lost = resumes && sane.as_ref().is_some_and(|response| response.session_id != 7);
    match sane {
        Some(response) if !(lost && only) => {
            let read_only = response.is_read_only();
            let state =
                if read_only { SessionState::ConnectedReadOnly } else { SessionState::Connected };
            assert_eq!(session.state(), state);
            assert!(matches!(&outputs[..], [Output::State(found)] if *found == state));
            let timeout = Duration::from_millis(response.timeout.unsigned_abs().into());
            assert_eq!(session.session_timeout(), timeout);
            assert_eq!(session.session_id().map_or(0, |id| id.0), response.session_id);
            // A session of a read-only server cannot be resumed elsewhere.
            let lasts = !read_only || (resumes && !lost);
            assert_eq!(session.ticket().is_some(), lasts);
            if let Some(ticket) = session.ticket() {
                assert_eq!(
                    Some(ticket.password.expose()),
                    response.password.expose().as_ref().or(Some(&Bytes::new()))
                );
            }
        }
        _ => {
            assert_eq!(session.state(), SessionState::Lost);
            assert!(matches!(&outputs[..], [Output::Disconnect, ..]), "{outputs:?}");
            match session.end_reason() {
                Some(reason) => {
                    assert!(resumes && only);
                    assert_eq!(reason, Reason::SessionExpired);
                }
                None => assert!(session.poll_timeout().is_some()),
            }
        }
    }
}

/// Returns a session that received `packet`, and its outputs.
fn answered(config: Config, packet: &Bytes) -> (Session<()>, Vec<Output<()>>) {
    let mut reader = FrameReader::new(config.max_reply);
    let mut session = Session::new(config, 1);
    session.start(Time::ZERO);
    assert!(matches!(session.poll_output(), Some(Output::Connect { .. })));
    session.handle_connected(Time::ZERO);
    assert!(session.poll_transmit(Time::ZERO, &mut BytesMut::new()));
    let mut frame = BytesMut::new();
    write_frame(&mut frame, |out| out.extend_from_slice(packet));
    reader.extend(&frame);
    session.handle_data(Time::ZERO, &mut reader);
    let outputs = std::iter::from_fn(|| session.poll_output()).collect();
    (session, outputs)
}
