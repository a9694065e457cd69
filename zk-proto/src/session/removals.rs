//! Takes watches off the server that nobody wants any more.
//!
//! A watch that its owner has forgotten is removed once it was unwanted for [`Config::unwatch_after`], so that
//! a loop that arms and forgets costs no packet. What holds here:
//! - no removal is sent while a request that arms a watch on its path waits for its answer, as the removal
//!   might arrive behind it; one that is submitted later is sent later;
//! - at most [`MAX_IN_FLIGHT`] removals wait for their answers, and nobody is told of these;
//! - servers before 3.5 know no removal, and may drop the connection. The first one therefore goes alone,
//!   none follows one that is refused as unknown, and until one was answered the time doubles with every
//!   connection that is lost with one on its way.
//!
//! [`Config::unwatch_after`]: super::Config::unwatch_after

use core::time::Duration;

use crate::{
    Chroot, ErrorCode, OpCode, Time,
    backoff::Backoff,
    jute::Encode,
    records::{RemoveWatchesRequest, ReplyHeader},
};

use super::{
    Phase, Session,
    request_queue::{InFlight, Submission, WatchChange},
};

/// How many removals may wait for their answers.
const MAX_IN_FLIGHT: usize = 64;

/// How many times the time to the next attempt doubles at most.
const MAX_DOUBLINGS: u32 = 10;

/// How removals go.
#[derive(Debug, Default)]
pub(super) struct Removals {
    in_flight: usize,
    support: Support,
}

/// Whether servers know removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// No removal was answered, and so many connections were lost with one on its way.
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
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    const fn has_room(&self) -> bool {
        match self.support {
            Support::Unknown { .. } => self.in_flight == 0,
            Support::Yes => self.in_flight < MAX_IN_FLIGHT,
            Support::No => false,
        }
    }

    /// The connection is gone, and the answers with it. `sent`: whether a removal was on its way.
    pub(super) fn connection_lost(&mut self, sent: bool) {
        self.in_flight = 0;
        if let Support::Unknown { losses } = &mut self.support
            && sent
        {
            *losses = losses.saturating_add(1).min(MAX_DOUBLINGS);
        }
    }

    /// How long an unwanted watch stays, if it stays for `grace` where removals are known.
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
    /// When a watch that is unwanted from now on may be removed; `None` for never: there is no connection
    /// that it could outlive its use on, or no removal.
    pub(super) fn removal_due(&self, now: Time) -> Option<Time> {
        let grace = self.config.unwatch_after.filter(|_| self.can_remove())?;
        self.removals.delay(grace).map(|stay| now.after(stay))
    }

    /// When [`remove_unwanted`](Self::remove_unwanted) has something to do next.
    pub(super) fn next_removal_due(&self) -> Option<Time> {
        self.watches.removal_due().filter(|_| self.can_remove() && self.removals.has_room())
    }

    /// Whether there is a connection, and nobody closes it.
    const fn can_remove(&self) -> bool {
        matches!(&self.phase, Phase::Established(up) if up.closing.is_none())
    }

    /// Removes what was unwanted for long enough, as much as may be on its way at once.
    pub(super) fn remove_unwanted(&mut self, now: Time) {
        if !self.can_remove() {
            return;
        }
        while self.removals.has_room()
            && let Some((path, watcher_type)) = self.watches.next_removal(now)
        {
            let submission = Submission {
                version: None,
                op: OpCode::RemoveWatches,
                change: Some(WatchChange::Unwanted),
                path: None,
                chroot: &Chroot::ROOT,
            };
            let request = RemoveWatchesRequest { path: &path, watcher_type };
            let encode = |out: &mut bytes::BytesMut| request.encode(out);
            // A path that is too long by now stays where it is.
            if self.queue.submit(now, self.config.max_request, None, &submission, encode).is_ok() {
                self.removals.in_flight = self.removals.in_flight.saturating_add(1);
            }
        }
    }

    /// The answer to a removal. That there was no such watch is as good.
    pub(super) fn handle_removed(&mut self, now: Time, header: ReplyHeader, entry: &InFlight<T>) {
        self.acknowledge(header, entry);
        self.removals.in_flight = self.removals.in_flight.saturating_sub(1);
        match header.err {
            ErrorCode::Ok | ErrorCode::NoWatcher => self.removals.support = Support::Yes,
            ErrorCode::Unimplemented => {
                self.removals.support = Support::No;
                self.watches.forget_unwanted();
            }
            _ => {}
        }
        self.remove_unwanted(now);
    }
}
