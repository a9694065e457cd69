//! Whatever comes in, the server answers or closes the connection, and goes on.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use proptest::{collection::vec, prelude::*};
use zk_proto::{
    frame::write_frame,
    jute::{Encode, Secret},
    records::ConnectRequest,
};
use zk_server::{Config, ConnectionId, Output, Server, Time};

/// What a client does.
#[derive(Debug, Clone)]
enum Act {
    /// Sends bytes that may be anything.
    Bytes(Vec<u8>),
    /// Asks for a session.
    Handshake { timeout: i32, session: i64, read_only: Option<bool> },
    /// Sends a request of an operation that there is, whose record may be anything.
    Request { op: i32, body: Vec<u8> },
    /// Lets time pass.
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let handshake = (any::<i32>(), 0..2_i64, any::<Option<bool>>());
    // Bytes that are often lengths and paths.
    let body = vec(prop_oneof![Just(0), Just(0), Just(1), Just(b'/'), any::<u8>()], 0..60);
    prop_oneof![
        1 => vec(any::<u8>(), 0..40).prop_map(Act::Bytes),
        2 => handshake.prop_map(|(timeout, session, read_only)| {
            Act::Handshake { timeout, session, read_only }
        }),
        6 => (prop_oneof![-11..23_i32, 100..108_i32], body)
            .prop_map(|(op, body)| Act::Request { op, body }),
        1 => (0..30_000_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn the_server_goes_on(acts in vec((0..2_u64, act()), 1..60)) {
        let mut server = Server::new(Config::default(), 7);
        let mut now = Time::ZERO;
        let mut numbers = [0, 1].map(ConnectionId);
        for connection in numbers {
            server.handle_connected(now, connection, "127.0.0.1:1".parse().unwrap());
        }
        for (client, act) in acts {
            let number = &mut numbers[client as usize];
            let mut bytes = BytesMut::new();
            match act {
                Act::Bytes(some) => bytes.put_slice(&some),
                Act::Handshake { timeout, session, read_only } => {
                    let request = ConnectRequest {
                        protocol_version: 0,
                        last_zxid_seen: 0,
                        timeout,
                        session_id: session,
                        password: Secret::new(None),
                        read_only: read_only.map(Into::into),
                    };
                    write_frame(&mut bytes, |out| request.encode(out));
                }
                Act::Request { op, body } => write_frame(&mut bytes, |out| {
                    out.put_i32(1);
                    out.put_i32(op);
                    out.put_slice(&body);
                }),
                Act::Wait(millis) => {
                    now = now.after(Duration::from_millis(millis));
                    server.handle_timeout(now);
                    prop_assert!(server.poll_timeout().is_none_or(|due| due > now));
                }
            }
            server.handle_data(now, *number, &bytes);
            let mut closed = Vec::new();
            while let Some(output) = server.poll_output() {
                if let Output::Disconnect(connection) = output {
                    closed.push(connection);
                }
            }
            for connection in closed {
                let sent = &mut BytesMut::new();
                server.poll_transmit(connection, sent);
                server.handle_disconnected(connection);
                let at = numbers.iter().position(|number| *number == connection).unwrap();
                numbers[at] = ConnectionId(connection.0 + 2);
                server.handle_connected(now, numbers[at], "127.0.0.1:1".parse().unwrap());
            }
        }
        // It still serves.
        let last = ConnectionId(u64::MAX);
        server.handle_connected(now, last, "127.0.0.1:1".parse().unwrap());
        server.handle_data(now, last, b"ruok");
        let mut answer = BytesMut::new();
        prop_assert!(server.poll_transmit(last, &mut answer));
        prop_assert_eq!(answer.as_ref(), b"imok");
    }
}
