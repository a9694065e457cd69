//! Removes unwanted watches from the server.
//!
//! A watch that was forgotten is removed after [`Config::unwatch_after`], so that a loop that arms and forgets
//! a watch sends no further packets.
//! - No removal is sent while a request is unanswered that arms a watch on the same path, because the server
//!   may carry out the removal after it.
//! - At most [`MAX_IN_FLIGHT`] removals are unanswered at a time.
//! - Servers before ZooKeeper 3.5 do not know removals, and may drop the connection. So the first removal is
//!   sent alone. None is sent after one that the server does not know. Until one is answered, the delay
//!   doubles with every connection that is lost with a removal sent.
//!
//! [`Config::unwatch_after`]: super::Config::unwatch_after

use core::time::Duration;

use crate::{
    Chroot, ErrorCode, OpCode, Time, WatcherType,
    backoff::Backoff,
    jute::Encode,
    records::{RemoveWatchesRequest, ReplyHeader},
};

use super::{
    Phase, Session, WatchKind,
    request_queue::{InFlight, Submission, WatchChange},
    watches::{Modes, Step},
};

/// How many removals may be unanswered at a time.
const MAX_IN_FLIGHT: usize = 64;

/// How many times the delay is doubled at most.
const MAX_DOUBLINGS: u32 = 10;

/// The state of the removals.
#[derive(Debug, Default)]
pub(super) struct Removals {
    in_flight: usize,
    /// How many times persistent watches were added again without an answer.
    pub(super) restoring: usize,
    support: Support,
}

/// Whether the servers support removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// No removal was answered. `losses` connections were lost with a removal sent.
    Unknown {
        losses: u32,
    },
    Yes,
    No,
}

impl Default for Support {
    fn default() -> Self {
        Self::Unknown { losses: 0 }
    }
}

impl Removals {
    /// The number of unanswered requests of the session's own.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight.saturating_add(self.restoring)
    }

    const fn has_room(&self) -> bool {
        match self.support {
            Support::Unknown { .. } => self.in_flight == 0,
            Support::Yes => self.in_flight < MAX_IN_FLIGHT,
            Support::No => false,
        }
    }

    /// Notes that the connection is lost. `sent` says whether a removal was sent on it and not answered.
    pub(super) fn connection_lost(&mut self, sent: bool) {
        (self.in_flight, self.restoring) = (0, 0);
        if let Support::Unknown { losses } = &mut self.support
            && sent
        {
            *losses = losses.saturating_add(1).min(MAX_DOUBLINGS);
        }
    }

    /// How long to wait before removing an unwanted watch, if that is `grace` where removals are supported.
    fn delay(&self, grace: Duration) -> Option<Duration> {
        match self.support {
            Support::Unknown { losses } => {
                Some(Backoff { min: grace, max: Duration::MAX }.pause(losses))
            }
            Support::Yes => Some(grace),
            Support::No => None,
        }
    }
}

impl<T: Clone> Session<T> {
    /// When a watch that is forgotten now may be removed. Returns `None` if it need not be, as there is no
    /// connection, or if removals are off or not supported.
    pub(super) fn removal_due(&self, now: Time) -> Option<Time> {
        let grace = self.config.unwatch_after.filter(|_| self.can_remove())?;
        self.removals.delay(grace).map(|stay| now.after(stay))
    }

    /// When to call [`remove_unwanted`](Self::remove_unwanted) next.
    pub(super) fn next_removal_due(&self) -> Option<Time> {
        self.watches.removal_due().filter(|_| self.can_remove() && self.removals.has_room())
    }

    /// Whether there is a connection, and the session is not being closed.
    const fn can_remove(&self) -> bool {
        matches!(&self.phase, Phase::Established(up) if up.closing.is_none())
    }

    /// Sends the removals that are due, up to the limit of unanswered ones.
    pub(super) fn remove_unwanted(&mut self, now: Time) {
        if !self.can_remove() {
            return;
        }
        while self.removals.has_room()
            && let Some((path, step)) = self.watches.next_removal(now)
        {
            let watcher_type = match step {
                Step::Remove(watcher_type) => watcher_type,
                Step::Restore(mode) => {
                    self.restore(now, &path, mode);
                    continue;
                }
            };
            let submission = Submission {
                version: None,
                op: OpCode::RemoveWatches,
                change: Some(WatchChange::Unwanted(watcher_type)),
                path: Some(&path),
                chroot: &Chroot::ROOT,
            };
            let request = RemoveWatchesRequest { path: &path, watcher_type };
            let encode = |out: &mut bytes::BytesMut| request.encode(out);
            // If the path is too long for a request, the watch stays on the server.
            if self.queue.submit(now, self.config.max_request, None, &submission, encode).is_ok() {
                self.removals.in_flight = self.removals.in_flight.saturating_add(1);
            }
        }
    }

    /// Handles the reply to a removal of this type. `NoWatcher` counts as success.
    pub(super) fn handle_removed(
        &mut self,
        now: Time,
        header: ReplyHeader,
        entry: &InFlight<T>,
        watcher_type: WatcherType,
        path: Option<&str>,
    ) {
        self.acknowledge(header, entry);
        self.removals.in_flight = self.removals.in_flight.saturating_sub(1);
        match header.err {
            ErrorCode::Ok | ErrorCode::NoWatcher => {
                self.removals.support = Support::Yes;
                self.note_typed_removal(watcher_type, Modes::Apart);
            }
            ErrorCode::MarshallingError => {
                self.removals.support = Support::Yes;
                self.note_typed_removal(watcher_type, Modes::Shared);
                let kind = match watcher_type {
                    WatcherType::Persistent => Some(WatchKind::Persistent),
                    WatcherType::PersistentRecursive => Some(WatchKind::PersistentRecursive),
                    _ => None,
                };
                // It is removed together with the other watches on the path, once no one wants them.
                if let (Some(kind), Some(path), Some(due)) = (kind, path, self.removal_due(now)) {
                    self.watches.mark_unwanted(kind, path, due);
                }
            }
            ErrorCode::Unimplemented => {
                self.removals.support = Support::No;
                self.watches.forget_unwanted();
            }
            _ => {}
        }
        self.remove_unwanted(now);
    }

    /// Notes what the answer to a removal says of the server: since ZooKeeper 3.9, servers know the types of
    /// persistent watches, and keep modes apart.
    pub(super) const fn note_typed_removal(&mut self, watcher_type: WatcherType, modes: Modes) {
        if matches!(watcher_type, WatcherType::Persistent | WatcherType::PersistentRecursive) {
            self.watches.modes = modes;
        }
    }
}
