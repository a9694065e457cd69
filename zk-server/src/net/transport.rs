//! [`Transport`]: what carries the bytes of one connection, in plain text or in TLS.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use mio::event::Event;
use zk_proto::Time;

use super::{
    buffers::{Buffers, Received},
    link::{Arrived, Link},
    slow_link::SlowLink,
};

#[cfg(feature = "tls")]
use super::tls::Tls;

pub(super) struct Transport {
    link: Link,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
    pub(super) peer: SocketAddr,
    pub(super) is_frozen: bool,
    /// The connection is to be closed once everything has been sent.
    pub(super) is_closing: bool,
    /// The server has requests that wait until the client has read replies.
    pub(super) has_requests: bool,
    /// When to serve the connection again without an event of its socket.
    pub(super) due: Option<Time>,
}

impl Transport {
    pub(super) const fn new(link: Link, peer: SocketAddr) -> Self {
        Self {
            link,
            #[cfg(feature = "tls")]
            tls: None,
            peer,
            is_frozen: false,
            is_closing: false,
            has_requests: false,
            due: None,
        }
    }

    /// Encrypts the connection, before anything is sent or received.
    #[cfg(feature = "tls")]
    pub(super) fn encrypt(&mut self, tls: Tls) {
        self.tls = Some(Box::new(tls));
    }

    /// The owner of the client's certificate, once.
    #[cfg(feature = "tls")]
    pub(super) fn take_subject(&mut self) -> Option<String> {
        self.tls.as_mut()?.take_subject()
    }

    /// Sets how slow the connection is.
    pub(super) fn set_speed(&mut self, speed: SlowLink) {
        self.link.set_speed(speed);
    }

    /// Records what the system reports about the socket.
    pub(super) fn handle_event(&mut self, event: &Event) {
        self.link.handle_event(event);
    }

    /// Sends as much of `pending` as the socket takes, and removes it. Returns true if everything was sent and the
    /// connection is to be closed.
    pub(super) fn send(&mut self, now: Time, pending: &mut BytesMut) -> io::Result<bool> {
        if self.is_frozen {
            return Ok(false);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.send(now, &mut self.link, pending, self.is_closing);
        }
        self.link.send(now, pending, self.is_closing)
    }

    /// Receives once.
    pub(super) fn receive<'b>(&mut self, now: Time, buffers: &'b mut Buffers) -> Received<'b> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.receive(now, &mut self.link, buffers);
        }
        match self.link.receive(now, &mut buffers.chunk) {
            Arrived::Nothing => Received::Nothing,
            Arrived::Bytes(len) => Received::Bytes(buffers.chunk.get(..len).unwrap_or_default()),
            Arrived::End => Received::End,
        }
    }

    /// When to serve the connection again without an event of its socket. `is_backlogged` says that no more requests
    /// are handled until the client has read some replies.
    pub(super) fn next_due(&self, now: Time, is_backlogged: bool) -> Option<Time> {
        if self.is_frozen {
            return None;
        }
        if self.has_requests && !is_backlogged {
            return Some(now);
        }
        let due = self.link.next_due(now, is_backlogged);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return [due, tls.next_due(now, is_backlogged)].into_iter().flatten().min();
        }
        due
    }
}
