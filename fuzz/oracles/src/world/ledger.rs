//! What an observer of a session's outputs knows: the open requests, the armed watches, the session state. It checks the
//! guarantees that hold for every server.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{
    AddWatchMode, Chroot, ErrorCode, EventType, OpCode, Time, WatcherType,
    records::RemoveWatchesRequest,
    session::{Failure, Outcome, Output, Reason, Reply, RequestId, SessionState, WatchedEvent},
};

use super::watch_kind::WatchKind;

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Call {
    /// A request that the session sends by itself: a removal of unwanted watches, or an addWatch for persistent watches
    /// that may have ended. It has no id and no body.
    pub(super) internal: bool,
    /// The path and the mode of an addWatch, as they were sent.
    pub(super) added: Option<(String, AddWatchMode)>,
    pub(super) id: u64,
    pub(super) op: OpCode,
    /// The path as it was submitted.
    pub(super) path: Option<String>,
    pub(super) chroot: Chroot,
    /// The bytes that must arrive at the server after the header.
    pub(super) body: Bytes,
    pub(super) arms: Option<Arms>,
    /// False once the user has called `unwatch`.
    pub(super) wanted: bool,
    /// The kind of watches that it removes.
    pub(super) removes: Option<WatcherType>,
    pub(super) submitted: Time,
    /// The xid; `None` until it was sent.
    pub(super) xid: Option<i32>,
}

impl Call {
    /// Creates the entry for a request by the session itself.
    pub(super) fn internal(now: Time) -> Self {
        Self {
            internal: true,
            added: None,
            id: 0,
            op: OpCode::RemoveWatches,
            path: None,
            chroot: Chroot::ROOT,
            body: Bytes::new(),
            arms: None,
            wanted: false,
            removes: None,
            submitted: now,
            xid: None,
        }
    }

    fn server_path(&self) -> String {
        self.chroot.join(self.path.as_deref().unwrap_or_default()).into_owned()
    }
}

/// The watch that a request sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arms {
    /// A data watch if the znode exists, an exist watch if not.
    ByExists,
    Always(WatchKind),
}

/// A credential that was added and is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) id: u64,
    pub(super) sent: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) id: u64,
    pub(super) kind: WatchKind,
    /// The path on the server.
    pub(super) path: String,
    chroot: Chroot,
}

impl Watch {
    pub(super) fn event(&self, kind: EventType, path: &str) -> Option<(u64, EventType, String)> {
        Some((self.id, kind, self.chroot.strip(path)?.to_owned()))
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) state: SessionState,
    /// Oldest first.
    pub(super) calls: VecDeque<Call>,
    pub(super) auths: VecDeque<Auth>,
    /// In the order in which they were armed.
    pub(super) watches: Vec<Watch>,
    /// The last zxid in the handshake of this connection.
    pub(super) since: i64,
    /// The session has ended, so there must be no more outputs.
    pub(super) ended: bool,
    /// When a watch became unwanted that the server may still have, by path and by the server's kind of watch.
    pub(super) unwanted_since: BTreeMap<(String, WatcherType), Time>,
    /// The paths on which the session knows the server to have a recursive watch.
    pub(super) recursive: BTreeSet<String>,
    /// The path of which the last event, of a child, was reported as a change of its children.
    reported_children: Option<String>,
    /// Since which transaction the persistent watches on a path may be off.
    disturbed: BTreeMap<String, i64>,
    /// How many connections were lost while a removal was in flight, if no removal was ever answered.
    pub(super) removals_lost: Option<u32>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            state: SessionState::Lost,
            calls: VecDeque::new(),
            auths: VecDeque::new(),
            watches: Vec::new(),
            since: 0,
            ended: false,
            unwanted_since: BTreeMap::new(),
            recursive: BTreeSet::new(),
            reported_children: None,
            disturbed: BTreeMap::new(),
            removals_lost: Some(0),
        }
    }

    /// Checks that an output is legal now, and applies it.
    pub(super) fn observe(&mut self, output: &Output<u64>) {
        assert!(!self.ended, "{output:?} after the end");
        if let Output::Completed { id, token, .. }
        | Output::Fired { id, token, .. }
        | Output::Gap { id, token, .. }
        | Output::Unwatched { id, token, .. } = output
        {
            assert_eq!(*token, id.0, "the token of another request");
        }
        match output {
            Output::State(state) => self.change(*state),
            Output::Completed { id, result, .. } => self.complete(*id, result),
            Output::Fired { id, event, .. } => self.fire(*id, event),
            Output::Gap { id, .. } => {
                let watch = self.watch(*id);
                assert!(!watch.kind.is_one_shot(), "a gap in {watch:?}");
            }
            Output::Unwatched { id, .. } => {
                assert_eq!(
                    self.state,
                    SessionState::Lost,
                    "{id:?} is lost, but the session is not"
                );
                self.watch(*id);
                self.forget(id.0);
            }
            _ => {}
        }
    }

    fn change(&mut self, to: SessionState) {
        let legal = match (self.state, to) {
            (SessionState::Lost, to) => to.is_connected(),
            (SessionState::Suspended, to) => to != SessionState::Suspended,
            (_, to) => !to.is_connected(),
        };
        assert!(legal, "{} to {to}", self.state);
        self.state = to;
    }

    fn complete(&mut self, id: RequestId, result: &Result<Reply, Box<Failure>>) {
        if let Some(at) = self.auths.iter().position(|auth| auth.id == id.0) {
            let sent = self.auths.remove(at).is_some_and(|auth| auth.sent);
            if let Err(failure) = result {
                assert_eq!(failure.op, OpCode::Auth);
                check_outcome(failure, sent);
            }
            return;
        }
        while self.calls.front().is_some_and(|call| call.internal) {
            self.calls.pop_front();
        }
        let Some(call) = self.calls.pop_front() else {
            panic!("{id:?} completes, but is not open")
        };
        assert_eq!(call.id, id.0, "a request completes out of order");
        let err = match result {
            Ok(_) => {
                assert!(call.xid.is_some(), "a reply to a request that was not sent");
                ErrorCode::Ok
            }
            Err(failure) => {
                assert_eq!((failure.op, failure.path.as_deref()), (call.op, call.path.as_deref()));
                check_outcome(failure, call.xid.is_some());
                match failure.reason {
                    Reason::Server(err) => err,
                    _ => return,
                }
            }
        };
        let kind = match (call.arms.filter(|_| call.wanted), err) {
            (Some(Arms::ByExists), ErrorCode::Ok) => WatchKind::Data,
            (Some(Arms::ByExists), ErrorCode::NoNode) => WatchKind::Exist,
            (Some(Arms::Always(kind)), ErrorCode::Ok) => kind,
            _ => return,
        };
        let path = call.server_path();
        self.watches.push(Watch { id: call.id, kind, path, chroot: call.chroot });
    }

    fn fire(&mut self, id: RequestId, event: &WatchedEvent) {
        let watch = self.watch(id);
        assert!(wants(watch.kind, event.kind), "{event:?} for {watch:?}");
        let path = watch.chroot.join(&event.path);
        let below = if watch.path == "/" { Some(&*path) } else { path.strip_prefix(&watch.path) };
        let concerns = match watch.kind {
            WatchKind::PersistentRecursive => {
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }
            _ => path == watch.path,
        };
        assert!(concerns, "{event:?} for {watch:?}");
        if watch.kind.is_one_shot() || event.kind == EventType::PersistentWatchRemoved {
            self.forget(id.0);
        }
    }

    fn watch(&self, id: RequestId) -> &Watch {
        let watch = self.watches.iter().find(|watch| watch.id == id.0);
        watch.unwrap_or_else(|| panic!("{id:?} is not armed"))
    }

    fn forget(&mut self, id: u64) {
        self.watches.retain(|watch| watch.id != id);
    }

    /// The user no longer wants a watch.
    pub(super) fn unwatch(&mut self, now: Time, id: u64) {
        for watch in self.watches.iter().filter(|watch| watch.id == id) {
            self.unwanted_since.insert((watch.path.clone(), group(watch.kind)), now);
        }
        self.forget(id);
        for call in self.calls.iter_mut().filter(|call| call.id == id && !call.internal) {
            call.wanted = false;
        }
    }

    /// Notes that the request that is answered next has set a watch which is unwanted from the start, if it has:
    /// the user no longer wants it, or the answer is not `readable`.
    pub(super) fn note_unwanted_from_start(&mut self, now: Time, err: ErrorCode, readable: bool) {
        let Some(call) = self.calls.iter().find(|call| !call.internal) else { return };
        let kind = match (call.arms, err) {
            _ if call.wanted && readable => return,
            (Some(Arms::ByExists), ErrorCode::Ok | ErrorCode::NoNode) => WatchKind::Data,
            (Some(Arms::Always(kind)), ErrorCode::Ok) => kind,
            _ => return,
        };
        self.unwanted_since.insert((call.server_path(), group(kind)), now);
        if kind == WatchKind::Persistent {
            // The session may have sent the other mode.
            let recursive = group(WatchKind::PersistentRecursive);
            self.unwanted_since.insert((call.server_path(), recursive), now);
        }
    }

    /// Notes that the server may miss events of persistent watches after `zxid`.
    pub(super) fn note_disturbance(&mut self, path: &str, zxid: i64) {
        if self.persistent_at(path).next().is_some() {
            self.disturbed.entry(path.to_owned()).or_insert(zxid);
        }
    }

    /// The persistent watches of a path, which are in order again as of `zxid`, if they may have missed events.
    /// Returns their ids, and the transaction.
    pub(super) fn restored(&mut self, path: &str, zxid: i64) -> Vec<(u64, i64)> {
        let since = self.disturbed.remove(path).filter(|since| *since < zxid);
        let pair = |watch: &Watch| since.map(|since| (watch.id, since));
        self.persistent_at(path).filter_map(pair).collect()
    }

    fn persistent_at(&self, path: &str) -> impl Iterator<Item = &Watch> {
        self.watches.iter().filter(move |watch| watch.path == path && !watch.kind.is_one_shot())
    }

    /// Notes the mode of an addWatch that succeeded.
    pub(super) fn note_added(&mut self, path: &str, mode: AddWatchMode) {
        if mode == AddWatchMode::PersistentRecursive {
            self.recursive.insert(path.to_owned());
        } else {
            self.recursive.remove(path);
        }
    }

    /// Checks a removal by the session itself when it arrives at the server.
    pub(super) fn check_removal(
        &self,
        now: Time,
        grace: Duration,
        remove: &RemoveWatchesRequest<'_>,
    ) {
        let any = remove.watcher_type == WatcherType::Any;
        let takes = |kind: WatchKind| {
            // To this server, the watches of a path are one.
            let one_shot = matches!(remove.watcher_type, WatcherType::Data | WatcherType::Children);
            any || one_shot && !kind.is_one_shot() || group(kind) == remove.watcher_type
        };
        let wanted = |watch: &&Watch| watch.path == remove.path && takes(watch.kind);
        let wanted = self.watches.iter().find(wanted);
        assert!(wanted.is_none(), "{remove:?} removes the wanted {wanted:?}");
        let before = self.calls.iter().take_while(|call| call.xid.is_some() || !call.internal);
        for call in before.filter(|call| call.xid.is_some() && call.arms.is_some()) {
            assert_ne!(call.server_path(), remove.path, "{remove:?} is sent after {call:?}");
        }
        let since = self.unwanted_since.iter().filter(|((path, kind), _)| {
            path == remove.path && (any || *kind == remove.watcher_type)
        });
        let since = since.map(|(_, since)| *since).max();
        let since =
            since.unwrap_or_else(|| panic!("{remove:?} of a watch that was never unwanted"));
        assert!(now.since(since) >= grace, "{remove:?} only {:?} later", now.since(since));
    }

    /// The connection was lost.
    pub(super) fn connection_lost(&mut self) {
        self.unwanted_since.clear();
        self.recursive.clear();
        self.reported_children = None;
        self.disturbed.clear();
        let on_its_way = self
            .calls
            .iter()
            .any(|call| call.internal && call.xid.is_some() && call.added.is_none());
        if let Some(lost) = self.removals_lost.as_mut().filter(|_| on_its_way) {
            *lost += 1;
        }
    }

    /// Makes the number of open requests by the session itself match `count`.
    pub(super) fn expect_internal(&mut self, now: Time, count: usize) {
        let mut internal = self.calls.iter().filter(|call| call.internal).count();
        while internal < count {
            self.calls.push_back(Call::internal(now));
            internal += 1;
        }
        // The oldest were answered or lost.
        let mut over = internal - count;
        self.calls.retain(|call| {
            let gone = call.internal && over > 0;
            over -= usize::from(gone);
            !gone
        });
    }

    /// The session has sent a request by itself right after the answer to another one, which was not predicted.
    pub(super) fn replace_internal(&mut self, now: Time) {
        if let Some(answered) = self.calls.iter().position(|call| call.internal) {
            self.calls.remove(answered);
            let unsent = self.calls.iter().position(|call| call.xid.is_none());
            self.calls.insert(unsent.unwrap_or(self.calls.len()), Call::internal(now));
        }
    }

    /// How many of the user's requests are open.
    pub(super) fn waiting(&self) -> usize {
        self.calls.iter().filter(|call| !call.internal).count()
    }

    /// The watches that an event of the server fires.
    pub(super) fn fired(&mut self, kind: EventType, path: &str) -> Vec<(u64, EventType, String)> {
        let reported = self.reported_children.take();
        let is_reported = reported.is_some_and(|reported| reported == path)
            && kind == EventType::NodeChildrenChanged;
        let mut fired = self.matching_watches(kind, path);
        fired.retain(|(id, ..)| {
            let is = |watch: &&Watch| watch.id == *id && !watch.kind.is_one_shot();
            !is_reported || !self.watches.iter().any(|watch| is(&watch))
        });
        // Where the server has a recursive watch, it does not send the events of lists of children.
        let parent = zk_proto::path::parent(path)
            .filter(|_| matches!(kind, EventType::NodeCreated | EventType::NodeDeleted))
            .filter(|parent| self.recursive.contains(*parent));
        if let Some(parent) = parent {
            let kind = EventType::NodeChildrenChanged;
            let here = |watch: &&Watch| watch.path == parent && wants(watch.kind, kind);
            let watches = self.watches.iter().filter(here);
            fired.extend(watches.filter_map(|watch| watch.event(kind, parent)));
            let persistent = |watch: &Watch| here(&watch) && !watch.kind.is_one_shot();
            if self.watches.iter().any(persistent) {
                self.reported_children = Some(parent.to_owned());
            }
        }
        fired
    }

    /// The watches that an event fires: those on its path, oldest first, then those on its ancestors.
    pub(super) fn matching_watches(
        &self,
        kind: EventType,
        path: &str,
    ) -> Vec<(u64, EventType, String)> {
        let mut matching_watches = Vec::new();
        let mut at = Some(path);
        while let Some(here) = at {
            let watches = self.watches.iter().filter(|watch| {
                let reaches = here == path || watch.kind == WatchKind::PersistentRecursive;
                watch.path == here && reaches && wants(watch.kind, kind)
            });
            matching_watches.extend(watches.filter_map(|watch| watch.event(kind, path)));
            at = zk_proto::path::parent(here);
            if kind == EventType::PersistentWatchRemoved {
                break;
            }
        }
        matching_watches
    }
}

/// The server's kind of a watch.
pub(super) const fn group(kind: WatchKind) -> WatcherType {
    match kind {
        WatchKind::Data | WatchKind::Exist => WatcherType::Data,
        WatchKind::Child => WatcherType::Children,
        WatchKind::Persistent => WatcherType::Persistent,
        WatchKind::PersistentRecursive => WatcherType::PersistentRecursive,
    }
}

/// Checks the outcome of a failed request against what was sent and answered.
fn check_outcome(failure: &Failure, sent: bool) {
    let Failure { reason, outcome, .. } = failure;
    assert_eq!(*outcome == Outcome::NotSent, !sent, "{failure}");
    let answered = matches!(
        reason,
        Reason::Server(_) | Reason::ReplyTooLarge { .. } | Reason::InvalidReply(_)
    );
    match outcome {
        Outcome::NotApplied => {
            let is_auth = matches!(reason, Reason::AuthFailed { .. } | Reason::AuthRequired { .. });
            assert!(answered || is_auth, "{failure}");
        }
        Outcome::Applied => assert!(answered && !matches!(reason, Reason::Server(_)), "{failure}"),
        Outcome::Unknown => assert!(!matches!(reason, Reason::Server(_)), "{failure}"),
        _ => {}
    }
}

/// Returns true if a watch fires for an event type (`org.apache.zookeeper.ZKWatchManager.materialize`).
fn wants(kind: WatchKind, event: EventType) -> bool {
    use EventType as E;
    use WatchKind as K;
    let events: &[E] = match kind {
        K::Data | K::Exist => {
            &[E::NodeCreated, E::NodeDataChanged, E::NodeDeleted, E::DataWatchRemoved]
        }
        K::Child => &[E::NodeChildrenChanged, E::NodeDeleted, E::ChildWatchRemoved],
        K::Persistent => &[
            E::NodeCreated,
            E::NodeDataChanged,
            E::NodeDeleted,
            E::NodeChildrenChanged,
            E::PersistentWatchRemoved,
        ],
        K::PersistentRecursive => {
            &[E::NodeCreated, E::NodeDataChanged, E::NodeDeleted, E::PersistentWatchRemoved]
        }
    };
    events.contains(&event)
}
