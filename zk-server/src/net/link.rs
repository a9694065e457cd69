//! [`Link`]: the socket of one connection, with the delay and bandwidth of a [`SlowLink`] if it has one.
//!
//! Sockets are non-blocking. The system reports only once that a socket is readable or writable, so a link remembers
//! that until an attempt would block.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::Shutdown,
};

use bytes::{Buf as _, Bytes, BytesMut};
use mio::{event::Event, net::TcpStream};
use zk_proto::Time;

use super::slow_link::{Pipe, SlowLink};

/// The number of bytes that may wait for a client to read them before its next request has to wait, and that may be
/// in flight in one direction of a slow link.
pub(super) const WINDOW: usize = 1 << 20;

/// An empty buffer with more capacity than this is freed.
const KEEP_CAPACITY: usize = 16 << 10;

/// Whether a read that does not fill the buffer means that the next one would block. On epoll and kqueue it does.
const SHORT_MEANS_DONE: bool =
    cfg!(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"));

/// The result of [`Link::receive`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Nothing, for now.
    Nothing,
    /// This many bytes, at the start of the buffer.
    Bytes(usize),
    /// The client has closed the connection, or it has failed.
    End,
}

pub(super) struct Link {
    socket: TcpStream,
    /// A read may succeed.
    is_readable: bool,
    /// A write may succeed.
    is_writable: bool,
    /// The client has closed the connection, or it has failed. The system may report nothing more.
    has_hung_up: bool,
    slow: Option<Box<SlowState>>,
}

/// The state of a connection over a slow link.
struct SlowState {
    speed: SlowLink,
    incoming: Pipe,
    outgoing: Pipe,
    /// Bytes that have come out of `outgoing`, and that the socket has not taken yet.
    arrived: Bytes,
    /// The end of the stream was pushed to `outgoing`.
    has_closed: bool,
}

impl Link {
    pub(super) const fn new(socket: TcpStream) -> Self {
        Self { socket, is_readable: false, is_writable: true, has_hung_up: false, slow: None }
    }

    /// Sets how slow the connection is.
    pub(super) fn set_speed(&mut self, speed: SlowLink) {
        match &mut self.slow {
            Some(slow) => slow.speed = speed,
            None if speed == SlowLink::new() => {}
            None => {
                self.slow = Some(Box::new(SlowState {
                    speed,
                    incoming: Pipe::default(),
                    outgoing: Pipe::default(),
                    arrived: Bytes::new(),
                    has_closed: false,
                }));
            }
        }
    }

    /// Records what the system reports about the socket.
    pub(super) fn handle_event(&mut self, event: &Event) {
        let closed = event.is_read_closed() || event.is_write_closed() || event.is_error();
        self.has_hung_up |= closed;
        self.is_readable |= event.is_readable() || closed;
        self.is_writable |= event.is_writable() || closed;
    }

    /// Sends as much of `pending` as the socket takes, and removes it. `is_last` says that the connection is to be
    /// closed after these bytes; returns true once they are sent.
    pub(super) fn send(
        &mut self,
        now: Time,
        pending: &mut BytesMut,
        is_last: bool,
    ) -> io::Result<bool> {
        if self.slow.is_some() {
            return self.send_slowly(now, pending, is_last);
        }
        let mut bytes: &[u8] = pending;
        while self.is_writable && !bytes.is_empty() {
            let len = write(&self.socket, &mut self.is_writable, bytes)?;
            bytes = bytes.get(len..).unwrap_or_default();
        }
        let sent = pending.len().saturating_sub(bytes.len());
        consume(pending, sent);
        Ok(is_last && pending.is_empty())
    }

    fn send_slowly(
        &mut self,
        now: Time,
        pending: &mut BytesMut,
        is_last: bool,
    ) -> io::Result<bool> {
        let Some(slow) = &mut self.slow else { return Ok(false) };
        loop {
            while slow.outgoing.len() < WINDOW && !pending.is_empty() {
                let room = WINDOW.saturating_sub(slow.outgoing.len()).min(pending.len());
                slow.outgoing.push(now, pending.split_to(room).freeze());
            }
            if is_last && pending.is_empty() && !slow.has_closed {
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
        self.drop_slow_link();
        Ok(false)
    }

    /// Reads once into `buffer`.
    pub(super) fn receive(&mut self, now: Time, buffer: &mut [u8]) -> Arrived {
        let Some(slow) = &self.slow else { return self.read(buffer) };
        let read = if slow.incoming.len() < WINDOW { self.read(buffer) } else { Arrived::Nothing };
        let Some(slow) = &mut self.slow else { return Arrived::Nothing };
        match read {
            Arrived::Nothing => {}
            Arrived::Bytes(len) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                slow.incoming.push(now, Bytes::copy_from_slice(bytes));
            }
            Arrived::End => slow.incoming.push(now, Bytes::new()),
        }
        let received = match slow.incoming.pop(slow.speed, now) {
            None => Arrived::Nothing,
            Some(piece) if piece.is_empty() => Arrived::End,
            Some(piece) => {
                // A piece is never longer than the buffer that it was read into.
                if let Some(to) = buffer.get_mut(..piece.len()) {
                    to.copy_from_slice(&piece);
                }
                Arrived::Bytes(piece.len())
            }
        };
        self.drop_slow_link();
        received
    }

    fn read(&mut self, buffer: &mut [u8]) -> Arrived {
        if !self.is_readable {
            return Arrived::Nothing;
        }
        match (&self.socket).read(buffer) {
            Ok(0) => {
                self.is_readable = false;
                Arrived::End
            }
            Ok(len) => {
                // The system reports the end of the stream along with the last bytes, and only once. After that,
                // a short read does not mean that the next one would block.
                if SHORT_MEANS_DONE && !self.has_hung_up && len < buffer.len() {
                    self.is_readable = false;
                }
                Arrived::Bytes(len)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Arrived::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Arrived::Nothing,
            Err(_) => {
                self.is_readable = false;
                Arrived::End
            }
        }
    }

    /// When to serve the connection again without an event of its socket. `is_backlogged` says that no more requests
    /// are handled until the client has read some replies.
    pub(super) fn next_due(&self, now: Time, is_backlogged: bool) -> Option<Time> {
        let Some(slow) = &self.slow else {
            return (self.is_readable && !is_backlogged).then_some(now);
        };
        if self.is_readable && !is_backlogged && slow.incoming.len() < WINDOW {
            return Some(now);
        }
        let incoming = slow.incoming.due(slow.speed).filter(|_| !is_backlogged);
        // If bytes have arrived, they wait for the socket, whose event serves the connection.
        let outgoing = slow.outgoing.due(slow.speed).filter(|_| slow.arrived.is_empty());
        [incoming, outgoing].into_iter().flatten().min()
    }

    /// Sends the end of the stream, after what was handed to the system. More may still be received.
    #[cfg(feature = "tls")]
    pub(super) fn end_stream(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Drops the state of the slow link once the link is fast and nothing is in flight on it.
    fn drop_slow_link(&mut self) {
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
        // Unlike closing alone, this sends the end of the stream even if there are unread bytes.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Writes once. Clears `is_writable` if the write would block.
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

/// Removes the first `len` bytes. An empty buffer keeps its memory if that is at most [`KEEP_CAPACITY`].
pub(super) fn consume(bytes: &mut BytesMut, len: usize) {
    if len < bytes.len() {
        bytes.advance(len);
    } else if bytes.capacity() > KEEP_CAPACITY {
        *bytes = BytesMut::new();
    } else {
        bytes.clear();
    }
}
