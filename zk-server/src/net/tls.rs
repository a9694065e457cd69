//! TLS on a connection: rustls' state machine between the link and the server.
//!
//! What a client can make the server keep is bounded: encrypted bytes that wait for the client to read them, and those
//! of a record that has not arrived in full. A client that does not complete the handshake in time is disconnected.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use rustls::{InvalidMessage, ServerConfig, ServerConnection};
use zk_proto::Time;

use super::{
    buffers::{Buffers, Received},
    link::{Arrived, Link, consume},
};
use crate::x500;

/// How many encrypted bytes may wait for a client to read them. More bytes wait unencrypted, where they are counted.
const WINDOW: usize = 64 << 10;
/// How many bytes are encrypted at once: those of a record.
const RECORD: usize = 16 << 10;

/// How long a client has to close the connection after TLS has failed.
const LINGER: Duration = Duration::from_secs(2);

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct TlsSettings {
    pub(super) config: Arc<ServerConfig>,
    pub(super) handshake_timeout: Duration,
}

pub(super) struct Tls {
    connection: ServerConnection,
    /// Encrypted bytes for the client.
    outgoing: BytesMut,
    /// When the handshake must be complete; `None` once it is.
    deadline: Option<Time>,
    /// The owner of the client's certificate.
    subject: Option<String>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The server has ended TLS. What arrives is ignored: rustls must not read any more, as it could send no alert.
    Closing,
    /// The client has ended TLS. The server does not know it yet.
    Ended,
    /// TLS has failed. What arrives is ignored, until the client has read the alert and closes the connection.
    Failed,
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings, now: Time) -> Result<Self, rustls::Error> {
        let mut connection = ServerConnection::new(settings.config.clone())?;
        connection.set_buffer_limit(Some(WINDOW));
        Ok(Self {
            connection,
            outgoing: BytesMut::new(),
            deadline: Some(now.after(settings.handshake_timeout)),
            subject: None,
            state: State::Open,
        })
    }

    /// The owner of the client's certificate, once.
    pub(super) fn take_subject(&mut self) -> Option<String> {
        self.subject.take()
    }

    /// Encrypts and sends as much of `pending` as the socket takes, and removes it. `is_last` says that the connection is
    /// to be closed after these bytes; returns true once they are sent.
    pub(super) fn send(
        &mut self,
        now: Time,
        link: &mut Link,
        pending: &mut BytesMut,
        is_last: bool,
    ) -> io::Result<bool> {
        if self.state == State::Failed {
            return Ok(false);
        }
        loop {
            while self.outgoing.len() < WINDOW && !pending.is_empty() {
                let some = pending.get(..pending.len().min(RECORD)).unwrap_or_default();
                let len = self.connection.writer().write(some)?;
                consume(pending, len);
                self.collect()?;
                if len == 0 {
                    break;
                }
            }
            let is_last = is_last && pending.is_empty();
            if is_last {
                // This has no effect the second time.
                self.connection.send_close_notify();
                if self.state == State::Open {
                    self.state = State::Closing;
                }
            }
            self.collect()?;
            let is_idle = self.outgoing.is_empty();
            let is_done = link.send(now, &mut self.outgoing, is_last)?;
            if is_done || is_idle || pending.is_empty() || !self.outgoing.is_empty() {
                return Ok(is_done);
            }
        }
    }

    /// Moves what rustls wants to send to `outgoing`.
    fn collect(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut (&mut self.outgoing).writer())?;
        }
        Ok(())
    }

    /// Reads once, and decrypts what has arrived.
    pub(super) fn receive<'b>(
        &mut self,
        now: Time,
        link: &mut Link,
        buffers: &'b mut Buffers,
    ) -> Received<'b> {
        if self.state == State::Ended || self.deadline.is_some_and(|deadline| deadline <= now) {
            return Received::End;
        }
        if self.state == State::Failed {
            return self.discard(now, link, buffers);
        }
        if self.state == State::Closing {
            return ignore(now, link, buffers);
        }
        // A client that does not read gets no more work done.
        if self.outgoing.len() > WINDOW {
            return Received::Nothing;
        }
        let Buffers { chunk, plain } = buffers;
        let len = match link.receive(now, chunk) {
            Arrived::Nothing => return Received::Nothing,
            Arrived::Bytes(len) => len,
            Arrived::End => return Received::End,
        };
        plain.clear();
        match self.decrypt(chunk.get(..len).unwrap_or_default(), plain) {
            Ok(()) => {}
            // The client does not speak TLS, and would not understand an alert.
            Err(TlsFailure::NotTls) => return Received::End,
            Err(TlsFailure::Other) => {
                self.state = State::Failed;
                self.deadline.get_or_insert(now.after(LINGER));
                return match self.collect().and_then(|()| self.send_alert(now, link)) {
                    Ok(()) => Received::Failed,
                    Err(_) => Received::End,
                };
            }
        }
        // A reply to the handshake.
        let sent = self.collect().and_then(|()| link.send(now, &mut self.outgoing, false));
        if sent.is_err() { Received::End } else { Received::Bytes(plain) }
    }

    /// Sends the alert and the end of the stream.
    fn send_alert(&mut self, now: Time, link: &mut Link) -> io::Result<()> {
        if link.send(now, &mut self.outgoing, true)? {
            link.end_stream();
        }
        Ok(())
    }

    /// Sends the alert, and ignores what arrives.
    fn discard<'b>(&mut self, now: Time, link: &mut Link, buffers: &mut Buffers) -> Received<'b> {
        if self.send_alert(now, link).is_err() {
            return Received::End;
        }
        ignore(now, link, buffers)
    }

    fn decrypt(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsFailure> {
        while !input.is_empty() {
            if self.connection.read_tls(&mut input).map_err(|_| TlsFailure::Other)? == 0 {
                break;
            }
            let state = self.connection.process_new_packets().map_err(|error| match error {
                rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                    TlsFailure::NotTls
                }
                _ => TlsFailure::Other,
            })?;
            let start = plain.len();
            plain.resize(start.saturating_add(state.plaintext_bytes_to_read()), 0);
            let room = plain.get_mut(start..).unwrap_or_default();
            self.connection.reader().read_exact(room).map_err(|_| TlsFailure::Other)?;
            if state.peer_has_closed() {
                self.state = State::Ended;
                break;
            }
        }
        if self.deadline.is_some() && !self.connection.is_handshaking() {
            self.deadline = None;
            let certificate = self.connection.peer_certificates().and_then(|chain| chain.first());
            self.subject = certificate.and_then(|it| x500::subject(it));
        }
        Ok(())
    }

    /// When to serve the connection again: when the handshake takes too long, or if there is something to report.
    pub(super) fn next_due(&self, now: Time, is_backlogged: bool) -> Option<Time> {
        let ended = self.state == State::Ended && !is_backlogged;
        if ended { Some(now) } else { self.deadline }
    }
}

/// Reads once, and throws away what has arrived.
fn ignore<'b>(now: Time, link: &mut Link, buffers: &mut Buffers) -> Received<'b> {
    match link.receive(now, &mut buffers.chunk) {
        Arrived::End => Received::End,
        Arrived::Nothing | Arrived::Bytes(_) => Received::Nothing,
    }
}

enum TlsFailure {
    NotTls,
    Other,
}
