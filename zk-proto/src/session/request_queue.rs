//! The queue of requests: those that wait to be sent, and those that wait for their replies.
//!
//! A request is encoded once, when it is submitted, into the buffer that goes to the socket.
//! - Replies come in the order of requests, so the oldest entry leaves first.
//! - A request was not sent if its bytes were never handed out.
//! - xids grow over the life of the session and wrap from `i32::MAX` to 1.

use alloc::{collections::VecDeque, string::String, vec::Vec};
use core::fmt;

use bytes::BytesMut;

use crate::{
    AddWatchMode, Chroot, OpCode, Time, WatcherType, frame::write_frame, jute::Encode,
    records::RequestHeader,
};

use super::{
    Caller, RequestId,
    watches::{Watch, WatchKind},
};

/// A request without a reply.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) xid: i32,
    /// The request's id. A request of the session's own has the id of the last request of a caller.
    id: RequestId,
    /// The caller's token; `None` for a request of the session's own.
    token: Option<T>,
    pub(super) op: OpCode,
    pub(super) change: Option<WatchChange>,
    /// Whether the watch that it arms was forgotten.
    pub(super) forgotten: bool,
    /// The expected version of the node.
    pub(super) version: Option<i32>,
    /// When it was submitted, which is not later than when it was sent.
    pub(super) queued_at: Time,
    pub(super) chroot: Chroot,
    path_len: Option<usize>,
}

impl<T> InFlight<T> {
    /// Takes the caller; `None` for a request of the session's own.
    pub(super) fn take_caller(&mut self) -> Option<Caller<T>> {
        let token = self.token.take()?;
        Some(Caller { id: self.id, token })
    }
}

impl<T: Clone> InFlight<T> {
    /// The watch that it arms; `None` for a request of the session's own.
    pub(super) fn watch(&self) -> Option<Watch<T>> {
        let token = self.token.clone()?;
        Some(Watch { id: self.id, token, chroot: self.chroot.clone() })
    }
}

/// What a successful reply means for the watches of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchChange {
    /// exists armed a watch: a data watch if the node exists, an exist watch if not.
    ArmedByExists,
    /// Another request armed a watch.
    Armed(WatchKind),
    /// removeWatches removed all watches of this type.
    Removed(WatcherType),
    /// addWatch armed a persistent watch, by a recursive one on the server: see `persistent.rs`.
    ArmedByRecursive,
    /// The session itself removed unwanted watches of this type.
    Unwanted(WatcherType),
    /// The session itself added the persistent watches of a path again, in this mode.
    Restored(AddWatchMode),
}

impl WatchChange {
    /// The kind of watch that it arms for the caller; `None` if that depends on the reply, or if it arms none.
    pub(super) const fn kind(self) -> Option<WatchKind> {
        match self {
            Self::Armed(kind) => Some(kind),
            Self::ArmedByRecursive => Some(WatchKind::Persistent),
            _ => None,
        }
    }

    pub(super) const fn arms(self) -> bool {
        matches!(self, Self::ArmedByExists | Self::Armed(_) | Self::ArmedByRecursive)
    }
}

/// A request that is about to be queued.
pub(super) struct Submission<'s> {
    pub(super) op: OpCode,
    pub(super) change: Option<WatchChange>,
    pub(super) version: Option<i32>,
    /// The path without the chroot.
    pub(super) path: Option<&'s str>,
    pub(super) chroot: &'s Chroot,
}

pub(super) struct RequestQueue<T> {
    /// The packets that a new connection begins with: handshake, credentials, watches.
    prologue: BytesMut,
    /// Requests and pings, in order.
    queue: BytesMut,
    in_flight: VecDeque<InFlight<T>>,
    /// The number of newest entries that are not sent: their bytes are in `queue`.
    unsent: usize,
    /// The paths of all entries, in their order. A path is needed only if the request fails or arms a watch,
    /// so it is not worth an allocation.
    paths: VecDeque<u8>,
    last_xid: i32,
    /// The id of the last request of a caller.
    last_id: RequestId,
    /// The capacity of the buffer that was handed out last by a swap.
    handed_out: usize,
}

/// Does not show the bytes, which may be a password or the data of a node.
impl<T: fmt::Debug> fmt::Debug for RequestQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("prologue", &self.prologue.len())
            .field("queue", &self.queue.len())
            .field("in_flight", &self.in_flight)
            .field("unsent", &self.unsent)
            .field("last_xid", &self.last_xid)
            .finish_non_exhaustive()
    }
}

/// Larger buffers are freed once they are empty.
const KEEP_CAPACITY: usize = 1 << 20;

impl<T> RequestQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            prologue: BytesMut::new(),
            queue: BytesMut::new(),
            in_flight: VecDeque::new(),
            unsent: 0,
            paths: VecDeque::new(),
            last_xid: 0,
            last_id: RequestId(0),
            handed_out: 0,
        }
    }

    /// Appends a packet of the prologue.
    pub(super) fn prologue(&mut self, body: impl FnOnce(&mut BytesMut)) {
        write_frame(&mut self.prologue, body);
    }

    /// Appends a packet of the prologue that has an ordinary xid, which is returned.
    pub(super) fn numbered_prologue(
        &mut self,
        op: OpCode,
        body: impl FnOnce(&mut BytesMut),
    ) -> i32 {
        let xid = self.next_xid();
        self.last_xid = xid;
        self.prologue(|out| {
            RequestHeader { xid, op }.encode(out);
            body(out);
        });
        xid
    }

    /// Appends a packet without an entry in the queue: a ping, credentials, watches.
    pub(super) fn special(&mut self, xid: i32, op: OpCode, body: impl FnOnce(&mut BytesMut)) {
        write_frame(&mut self.queue, |out| {
            RequestHeader { xid, op }.encode(out);
            body(out);
        });
    }

    /// Appends a request.
    ///
    /// # Errors
    /// Returns the packet's length if it is over `limit`. The queue is unchanged then.
    pub(super) fn submit(
        &mut self,
        now: Time,
        limit: usize,
        caller: Option<Caller<T>>,
        submission: &Submission<'_>,
        body: impl FnOnce(&mut BytesMut),
    ) -> Result<(), usize> {
        let start = self.queue.len();
        let xid = self.next_xid();
        let op = submission.op;
        write_frame(&mut self.queue, |out| {
            RequestHeader { xid, op }.encode(out);
            body(out);
        });
        let length =
            self.queue.len().saturating_sub(start).saturating_sub(crate::frame::LENGTH_LEN);
        if length > limit {
            self.queue.truncate(start);
            return Err(length);
        }
        self.last_xid = xid;
        let token = caller.map(|caller| {
            self.last_id = caller.id;
            caller.token
        });
        if let Some(path) = submission.path {
            self.paths.extend(path.as_bytes());
        }
        self.in_flight.push_back(InFlight {
            xid,
            id: self.last_id,
            token,
            op,
            change: submission.change,
            forgotten: false,
            version: submission.version,
            queued_at: now,
            chroot: submission.chroot.clone(),
            path_len: submission.path.map(str::len),
        });
        self.unsent = self.unsent.saturating_add(1);
        Ok(())
    }

    const fn next_xid(&self) -> i32 {
        match self.last_xid.checked_add(1) {
            Some(xid) => xid,
            None => 1,
        }
    }

    #[cfg(test)]
    pub(super) fn set_last_xid(&mut self, xid: i32) {
        self.last_xid = xid;
    }

    #[cfg(test)]
    pub(super) fn front(&self) -> Option<(i32, OpCode)> {
        self.in_flight.front().map(|entry| (entry.xid, entry.op))
    }

    /// Moves the bytes that may be sent now to the end of `out`: the prologue, and the queue if a session is
    /// established. Returns whether there were any.
    pub(super) fn transmit(&mut self, up: bool, out: &mut BytesMut) -> bool {
        let had = self.has_output(up);
        if !self.prologue.is_empty() {
            out.extend_from_slice(&self.prologue);
            self.prologue = BytesMut::new();
        }
        if up {
            self.drain_queue(out);
            self.unsent = 0;
        }
        had
    }

    /// Moves the queue to the end of `out`, by a swap if `out` is empty.
    fn drain_queue(&mut self, out: &mut BytesMut) {
        if self.queue.is_empty() {
            return;
        }
        if out.is_empty() {
            if self.handed_out > KEEP_CAPACITY {
                *out = BytesMut::new();
            }
            core::mem::swap(&mut self.queue, out);
            self.handed_out = out.capacity();
        } else {
            out.extend_from_slice(&self.queue);
        }
        self.queue.clear();
    }

    pub(super) fn has_output(&self, up: bool) -> bool {
        !self.prologue.is_empty() || (up && !self.queue.is_empty())
    }

    /// Whether the prologue is not sent yet.
    pub(super) fn has_prologue(&self) -> bool {
        !self.prologue.is_empty()
    }

    /// Drops the prologue of a connection that was not established.
    pub(super) fn reset_prologue(&mut self) {
        self.prologue.clear();
    }

    /// Drops all bytes. The caller must pop all entries and fail them.
    pub(super) fn reset_buffers(&mut self) {
        self.prologue.clear();
        if self.queue.capacity() > KEEP_CAPACITY {
            self.queue = BytesMut::new();
        }
        self.queue.clear();
    }

    /// Forgets the watch that a request in the queue arms.
    pub(super) fn forget_watch(&mut self, id: RequestId) {
        // The session's own requests are behind the request whose id they share.
        let at = self.in_flight.partition_point(|entry| entry.id < id);
        if let Some(entry) = self.in_flight.get_mut(at)
            && entry.id == id
            && entry.token.is_some()
        {
            entry.forgotten = entry.change.is_some_and(WatchChange::arms);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether a request was sent and is not answered.
    pub(super) fn has_unanswered(&self) -> bool {
        self.in_flight.len() > self.unsent
    }

    /// The bytes that the requests take: the packets of those that are not sent, and the paths of all.
    pub(super) fn bytes(&self) -> usize {
        self.queue.len().saturating_add(self.paths.len())
    }

    /// Takes the oldest entry if it was sent and has this xid.
    pub(super) fn pop_matching(&mut self, xid: i32) -> Option<(InFlight<T>, PathOf<'_>)> {
        if self.in_flight.front()?.xid != xid || self.in_flight.len() <= self.unsent {
            return None;
        }
        self.pop().map(|(entry, path, _)| (entry, path))
    }

    /// Takes the oldest entry, its path, and whether it was sent.
    pub(super) fn pop_failed(&mut self) -> Option<(InFlight<T>, Option<String>, bool)> {
        let (entry, path, sent) = self.pop()?;
        Some((entry, path.take(), sent))
    }

    fn pop(&mut self) -> Option<(InFlight<T>, PathOf<'_>, bool)> {
        let sent = self.in_flight.len() > self.unsent;
        let entry = self.in_flight.pop_front()?;
        if !sent {
            self.unsent = self.unsent.saturating_sub(1);
        }
        let path = PathOf { paths: &mut self.paths, len: entry.path_len };
        Some((entry, path, sent))
    }
}

/// The path of a popped entry. Dropping this discards the path.
pub(super) struct PathOf<'o> {
    paths: &'o mut VecDeque<u8>,
    len: Option<usize>,
}

impl PathOf<'_> {
    /// Takes the path; `None` for an operation without one.
    pub(super) fn take(mut self) -> Option<String> {
        let len = self.len.take()?;
        let bytes: Vec<u8> = self.paths.drain(..len.min(self.paths.len())).collect();
        String::from_utf8(bytes).ok()
    }
}

impl Drop for PathOf<'_> {
    fn drop(&mut self) {
        if let Some(len) = self.len {
            self.paths.drain(..len.min(self.paths.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(out: &mut RequestQueue<()>, path: Option<&str>) -> Result<(), usize> {
        let submission = Submission {
            op: OpCode::Delete,
            change: None,
            version: None,
            path,
            chroot: &Chroot::default(),
        };
        out.submit(Time::ZERO, 100, None, &submission, |out| {
            out.extend_from_slice(path.unwrap_or_default().as_bytes());
        })
    }

    #[test]
    fn xids_wrap_to_one() {
        let mut out = RequestQueue::new();
        out.set_last_xid(i32::MAX - 1);
        for _ in 0..3 {
            submit(&mut out, None).unwrap();
        }
        out.transmit(true, &mut BytesMut::new());
        for xid in [i32::MAX, 1, 2] {
            assert_eq!(out.pop_matching(xid).unwrap().0.xid, xid);
        }
    }

    #[test]
    fn each_entry_has_its_own_path() {
        let mut out = RequestQueue::new();
        for path in [Some("/a"), None, Some("/bb"), Some("/c")] {
            submit(&mut out, path).unwrap();
        }
        assert_eq!(out.pop().unwrap().1.take().as_deref(), Some("/a"));
        assert_eq!(out.pop().unwrap().1.take(), None);
        drop(out.pop());
        assert_eq!(out.pop().unwrap().1.take().as_deref(), Some("/c"));
        assert!(out.paths.is_empty());
    }

    #[test]
    fn sent_entries_are_distinguished_from_unsent_ones() {
        let mut out = RequestQueue::new();
        submit(&mut out, Some("/a")).unwrap();
        let mut buffer = BytesMut::new();
        assert!(!out.transmit(false, &mut buffer));
        assert!(out.transmit(true, &mut buffer));
        submit(&mut out, Some("/b")).unwrap();
        assert!(out.pop().unwrap().2);
        assert!(out.pop_matching(2).is_none(), "a reply to what was not sent");
        assert!(!out.pop().unwrap().2);
        assert!(out.pop().is_none());
    }

    #[test]
    fn a_request_over_the_limit_leaves_the_queue_unchanged() {
        let mut out = RequestQueue::new();
        let long = "/".repeat(200);
        assert_eq!(submit(&mut out, Some(&long)), Err(208));
        assert_eq!((out.len(), out.queue.len(), out.paths.len(), out.last_xid), (0, 0, 0, 0));
    }
}
