//! [`Link`]: one connection's socket, and what is on its way between the socket and the server.
//!
//! Sockets do not block. The system tells once that one can be read or written, so that a link keeps in
//! mind what it was told until an attempt fails.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
};

use bytes::{Buf as _, Bytes, BytesMut};
use mio::{event::Event, net::TcpStream};
use zk_proto::Time;

use super::slow_link::{Pipe, SlowLink};

/// How much may wait on a connection for the client to take it before its next request has to wait; and
/// how much may be under way in one direction of a slow link.
pub(super) const WINDOW: usize = 1 << 20;

/// A buffer with more room than this is given back once it is empty.
const KEPT: usize = 16 << 10;

/// Whether reading less than was wanted is as good as "would block": on epoll and kqueue it is.
const SHORT_MEANS_DONE: bool =
    cfg!(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"));

/// What [`Link::receive`] has for the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing, for now.
    Nothing,
    /// So many bytes, at the start of the buffer.
    Bytes(usize),
    /// The client has hung up, or the connection has failed.
    End,
}

pub(super) struct Link {
    socket: TcpStream,
    pub(super) peer: SocketAddr,
    /// An attempt to read may succeed.
    is_readable: bool,
    /// An attempt to write may succeed.
    is_writable: bool,
    /// The client has hung up, or the connection has failed: the system may tell nothing more.
    has_hung_up: bool,
    pub(super) is_frozen: bool,
    /// It is to be closed once all has been sent.
    pub(super) is_closing: bool,
    /// The server has requests that wait until the client has taken replies.
    pub(super) has_requests: bool,
    /// When it is to be served again, other than because of an event.
    pub(super) due: Option<Time>,
    slow: Option<Box<Slow>>,
}

/// What a slow link has besides.
struct Slow {
    speed: SlowLink,
    incoming: Pipe,
    outgoing: Pipe,
    /// What has come through `outgoing`, but not all of which the socket has taken.
    arrived: Bytes,
    /// The end has been put into `outgoing`.
    has_closed: bool,
}

impl Link {
    pub(super) const fn new(socket: TcpStream, peer: SocketAddr) -> Self {
        Self {
            socket,
            peer,
            is_readable: false,
            is_writable: true,
            has_hung_up: false,
            is_frozen: false,
            is_closing: false,
            has_requests: false,
            due: None,
            slow: None,
        }
    }

    /// Makes it slow, or as fast as it can be again.
    pub(super) fn set_speed(&mut self, speed: SlowLink) {
        match &mut self.slow {
            Some(slow) => slow.speed = speed,
            None if speed == SlowLink::new() => {}
            None => {
                self.slow = Some(Box::new(Slow {
                    speed,
                    incoming: Pipe::default(),
                    outgoing: Pipe::default(),
                    arrived: Bytes::new(),
                    has_closed: false,
                }));
            }
        }
    }

    /// Keeps in mind what the system tells.
    pub(super) fn note(&mut self, event: &Event) {
        let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
        self.has_hung_up |= closed;
        self.is_readable |= event.is_readable() || closed;
        self.is_writable |= event.is_writable() || closed;
    }

    /// Sends of `pending` what can be sent, and takes it out. True if all has been sent and the connection
    /// is to be closed.
    pub(super) fn send(&mut self, now: Time, pending: &mut BytesMut) -> io::Result<bool> {
        if self.is_frozen {
            return Ok(false);
        }
        if self.slow.is_some() {
            return self.send_slowly(now, pending);
        }
        let mut bytes: &[u8] = pending;
        while self.is_writable && !bytes.is_empty() {
            let len = write(&self.socket, &mut self.is_writable, bytes)?;
            bytes = bytes.get(len..).unwrap_or_default();
        }
        let sent = pending.len().saturating_sub(bytes.len());
        consume(pending, sent);
        Ok(self.is_closing && pending.is_empty())
    }

    fn send_slowly(&mut self, now: Time, pending: &mut BytesMut) -> io::Result<bool> {
        let Some(slow) = &mut self.slow else { return Ok(false) };
        loop {
            while slow.outgoing.len() < WINDOW && !pending.is_empty() {
                let room = WINDOW.saturating_sub(slow.outgoing.len()).min(pending.len());
                slow.outgoing.push(now, pending.split_to(room).freeze());
            }
            if self.is_closing && pending.is_empty() && !slow.has_closed {
                slow.outgoing.push(now, Bytes::new());
                slow.has_closed = true;
            }
            if slow.arrived.is_empty() {
                match slow.outgoing.pop(slow.speed, now) {
                    Some(piece) if piece.is_empty() => return Ok(true),
                    Some(piece) => slow.arrived = piece,
                    None => break,
                }
            }
            if !self.is_writable {
                break;
            }
            let sent = write(&self.socket, &mut self.is_writable, &slow.arrived)?;
            slow.arrived.advance(sent);
        }
        self.forget_slowness();
        Ok(false)
    }

    /// Reads once, into `buffer`.
    pub(super) fn receive(&mut self, now: Time, buffer: &mut [u8]) -> Received {
        let Some(slow) = &self.slow else { return self.read(buffer) };
        let read = if slow.incoming.len() < WINDOW { self.read(buffer) } else { Received::Nothing };
        let Some(slow) = &mut self.slow else { return Received::Nothing };
        match read {
            Received::Nothing => {}
            Received::Bytes(len) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                slow.incoming.push(now, Bytes::copy_from_slice(bytes));
            }
            Received::End => slow.incoming.push(now, Bytes::new()),
        }
        let received = match slow.incoming.pop(slow.speed, now) {
            None => Received::Nothing,
            Some(piece) if piece.is_empty() => Received::End,
            Some(piece) => {
                // A piece is part of what was once read into this buffer.
                if let Some(to) = buffer.get_mut(..piece.len()) {
                    to.copy_from_slice(&piece);
                }
                Received::Bytes(piece.len())
            }
        };
        self.forget_slowness();
        received
    }

    fn read(&mut self, buffer: &mut [u8]) -> Received {
        if !self.is_readable {
            return Received::Nothing;
        }
        match (&self.socket).read(buffer) {
            Ok(0) => {
                self.is_readable = false;
                Received::End
            }
            Ok(len) => {
                // The end is told of along with the last bytes, and only once: after that, a short read
                // proves nothing.
                if SHORT_MEANS_DONE && !self.has_hung_up && len < buffer.len() {
                    self.is_readable = false;
                }
                Received::Bytes(len)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Received::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Received::Nothing,
            Err(_) => {
                self.is_readable = false;
                Received::End
            }
        }
    }

    /// When it is to be served again, other than because of an event, if it is now. `is_backlogged` says
    /// that no more requests are to be handled until some replies have been taken.
    pub(super) fn next(&self, now: Time, is_backlogged: bool) -> Option<Time> {
        if self.is_frozen {
            return None;
        }
        if self.has_requests && !is_backlogged {
            return Some(now);
        }
        let Some(slow) = &self.slow else {
            return (self.is_readable && !is_backlogged).then_some(now);
        };
        if self.is_readable && !is_backlogged && slow.incoming.len() < WINDOW {
            return Some(now);
        }
        let incoming = slow.incoming.due(slow.speed).filter(|_| !is_backlogged);
        // What has arrived is held up by the socket, which the system tells of.
        let outgoing = slow.outgoing.due(slow.speed).filter(|_| slow.arrived.is_empty());
        [incoming, outgoing].into_iter().flatten().min()
    }

    /// Goes back to the short way once the link is no longer slow, and nothing is on the long one.
    fn forget_slowness(&mut self) {
        self.slow.take_if(|slow| {
            slow.speed == SlowLink::new()
                && slow.incoming.is_empty()
                && slow.outgoing.is_empty()
                && slow.arrived.is_empty()
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // As opposed to closing alone, this sends the end even if there is something left to be read.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Writes once; clears `is_writable` if the socket takes no more.
fn write(mut socket: &TcpStream, is_writable: &mut bool, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            *is_writable = false;
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Takes the first `len` bytes out. An empty buffer keeps its memory, unless that is a lot.
fn consume(bytes: &mut BytesMut, len: usize) {
    if len < bytes.len() {
        bytes.advance(len);
    } else if bytes.capacity() > KEPT {
        *bytes = BytesMut::new();
    } else {
        bytes.clear();
    }
}
