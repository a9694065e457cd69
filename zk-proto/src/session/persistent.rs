//! Keeps persistent watches whole on servers that have one mode for each path.
//!
//! Before ZooKeeper 3.9, a connection has one watch for each path, with the mode of its last call
//! (`org.apache.zookeeper.server.watch.WatcherModeManager`). So a read with a one-shot watch ends a persistent
//! watch on the same path, and a persistent and a recursive watch on one path replace each other. The version
//! of a server is not known before it has sent an event or has answered a removal. Until it is known to keep
//! modes apart:
//! - Behind each request that may end a persistent watch, addWatch is sent again. If transactions were
//!   committed between the two, events may be missing, and the watches get a gap.
//! - Where both modes are wanted, the server gets the recursive watch. From its events follow those of the
//!   other one: NodeChildrenChanged follows from the creation or deletion of a child. A child watch, which the
//!   recursive one replaces, fires so, too. An event that the server sends as well is not reported twice.
//! - If the recursive watch is no longer wanted, the other one is added again.
//!
//! Limit: where a recursive watch is in place of a persistent one, the creation of a child that the client may
//! not read is not reported.

use alloc::{borrow::ToOwned, vec::Vec};

use crate::{
    AddWatchMode, Chroot, ErrorCode, EventType, OpCode, Request, Time, Ustring, WatcherType,
    jute::Encode,
    records::{AddWatchRequest, ReplyHeader},
};

use super::{
    Output, Session, WatchKind, WatchedEvent,
    request_queue::{InFlight, Submission, WatchChange},
    watches::{Modes, Watch},
};

impl<T: Clone> Session<T> {
    /// Ends all armed watches of this type on a path at once, with or without a connection. Each gets the event
    /// of its removal. Returns how many there were.
    ///
    /// They are removed from the server like [unwanted](super::Config::unwatch_after) ones.
    pub fn forget_watches(
        &mut self,
        now: Time,
        chroot: &Chroot,
        path: &str,
        watcher_type: WatcherType,
    ) -> usize {
        let path = chroot.join(path);
        let kinds = self.end_watches(&path, watcher_type);
        if let Some(due) = self.removal_due(now) {
            for kind in &kinds {
                self.watches.mark_unwanted(*kind, &path, due);
            }
        }
        kinds.len()
    }

    /// Whether a watch of this type is armed on a path, according to this side.
    #[must_use]
    pub fn has_watches(&self, chroot: &Chroot, path: &str, watcher_type: WatcherType) -> bool {
        self.watches.has_removable(&chroot.join(path), watcher_type)
    }

    /// The request to send for an addWatch of the mode `Persistent` on the absolute path `at`, if it is not the
    /// caller's.
    pub(super) fn add_by_recursive<'r>(
        &self,
        request: &Request<'r>,
        at: Option<&str>,
    ) -> Option<Request<'r>> {
        let Request::AddWatch(AddWatchRequest { path, mode: AddWatchMode::Persistent }) = request
        else {
            return None;
        };
        let needed = self.watches.mode_needed(at?);
        let replaces = needed == Some(AddWatchMode::PersistentRecursive);
        (replaces && self.watches.modes != Modes::Apart).then(|| {
            let mode = AddWatchMode::PersistentRecursive;
            Request::AddWatch(AddWatchRequest { path, mode })
        })
    }

    /// Adds the persistent watches on `at` again behind a request that may end them.
    pub(super) fn restore_behind(&mut self, now: Time, change: WatchChange, at: &str) {
        let mode = match change {
            WatchChange::ArmedByExists
            | WatchChange::Armed(WatchKind::Data | WatchKind::Exist | WatchKind::Child)
            | WatchChange::Removed(WatcherType::Data | WatcherType::Children)
                if self.watches.modes != Modes::Apart =>
            {
                self.watches.mode_needed(at)
            }
            // The server may have it in place of a persistent one.
            WatchChange::Removed(WatcherType::PersistentRecursive) => {
                self.watches.needs_persistent(at).then_some(AddWatchMode::Persistent)
            }
            _ => None,
        };
        if let Some(mode) = mode {
            self.restore(now, at, mode);
        }
    }

    /// Adds the persistent watches on an absolute path again.
    pub(super) fn restore(&mut self, now: Time, path: &str, mode: AddWatchMode) {
        let submission = Submission {
            version: None,
            op: OpCode::AddWatch,
            change: Some(WatchChange::Restored(mode)),
            path: Some(path),
            chroot: &Chroot::ROOT,
        };
        let request = AddWatchRequest { path, mode };
        let encode = |out: &mut bytes::BytesMut| request.encode(out);
        // A path that is too long for it was too long before.
        if self.queue.submit(now, self.config.max_request, None, &submission, encode).is_ok() {
            self.removals.restoring = self.removals.restoring.saturating_add(1);
            self.watches.begin_arming(path.to_owned(), Some(kind_of(mode)));
        }
    }

    /// Handles the reply to an addWatch of the session's own.
    pub(super) fn handle_restored(
        &mut self,
        now: Time,
        header: ReplyHeader,
        entry: &InFlight<T>,
        mode: AddWatchMode,
        path: Option<&str>,
    ) {
        self.acknowledge(header, entry);
        self.removals.restoring = self.removals.restoring.saturating_sub(1);
        let Some(path) = path else { return };
        if header.err.is_ok() {
            self.watches.set_recursive(path, mode == AddWatchMode::PersistentRecursive);
            let missed = self.watches.restored(path, header.zxid);
            if let Some((since, watches)) = missed {
                for Watch { id, token, .. } in watches {
                    self.outputs.push_back(Output::Gap { id, token, since });
                }
            }
            // It may have been forgotten meanwhile, or while there was no connection.
            if let Some(due) = self.removal_due(now) {
                self.watches.mark_unwanted(kind_of(mode), path, due);
            }
        }
        self.watches.end_arming(path, Some(kind_of(mode)));
        self.remove_unwanted(now);
    }

    /// Notes that a request which may end the persistent watches on `path` was answered.
    pub(super) fn note_disturbance(&mut self, path: &str, zxid: i64) {
        if self.watches.modes != Modes::Apart {
            self.watches.disturb(path, zxid);
        }
    }

    /// Handles the answer to a removal by the caller. Returns the result for the caller.
    pub(super) fn end_by_removal(
        &mut self,
        now: Time,
        path: &str,
        removal: WatcherType,
        header: ReplyHeader,
    ) -> ErrorCode {
        let kind = match removal {
            WatcherType::Persistent => Some(WatchKind::Persistent),
            WatcherType::PersistentRecursive => Some(WatchKind::PersistentRecursive),
            _ => None,
        };
        match (header.err, kind) {
            (ErrorCode::Ok, kind) => {
                self.note_typed_removal(removal, Modes::Apart);
                self.end_watches(path, removal);
                self.watches.removed(path, removal);
                if kind == Some(WatchKind::PersistentRecursive) {
                    self.watches.disturb(path, header.zxid);
                } else {
                    self.note_disturbance(path, header.zxid);
                }
                ErrorCode::Ok
            }
            // Servers before ZooKeeper 3.9 do not know these types. The watches end on this side, and the server
            // removes them once no other watch on the path is wanted.
            (ErrorCode::MarshallingError, Some(kind))
                if self.watches.has_removable(path, removal) =>
            {
                self.note_typed_removal(removal, Modes::Shared);
                self.end_watches(path, removal);
                if let Some(due) = self.removal_due(now) {
                    self.watches.mark_unwanted(kind, path, due);
                }
                ErrorCode::Ok
            }
            (err, _) => err,
        }
    }

    /// Ends the watches on an absolute path that a removal of this type removes. Returns their kinds.
    pub(super) fn end_watches(&mut self, path: &str, removal: WatcherType) -> Vec<WatchKind> {
        let mut kinds = Vec::new();
        let path = Ustring::from(path);
        for event in events_of_removal(removal) {
            for (kind, watch) in self.watches.take(&path, removal, *event) {
                kinds.push(kind);
                self.output_event(watch, *event, &path, None);
            }
        }
        kinds
    }

    /// Outputs an event of a watch. `path` is absolute.
    pub(super) fn output_event(
        &mut self,
        watch: Watch<T>,
        kind: EventType,
        path: &Ustring,
        zxid: Option<i64>,
    ) {
        let Watch { id, token, chroot } = watch;
        if let Some(path) = chroot.strip_ustring(path.clone()) {
            let event = WatchedEvent { kind, path, zxid };
            self.outputs.push_back(Output::Fired { id, token, event });
        }
    }
}

const fn kind_of(mode: AddWatchMode) -> WatchKind {
    match mode {
        AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
        _ => WatchKind::Persistent,
    }
}

/// The events of watches that were removed by request. Servers do not send them.
const fn events_of_removal(kind: WatcherType) -> &'static [EventType] {
    use EventType::{ChildWatchRemoved, DataWatchRemoved, PersistentWatchRemoved};
    match kind {
        WatcherType::Children => &[ChildWatchRemoved],
        WatcherType::Data => &[DataWatchRemoved],
        WatcherType::Any => &[DataWatchRemoved, ChildWatchRemoved, PersistentWatchRemoved],
        WatcherType::Persistent | WatcherType::PersistentRecursive => &[PersistentWatchRemoved],
        WatcherType::Unknown(_) => &[],
    }
}
