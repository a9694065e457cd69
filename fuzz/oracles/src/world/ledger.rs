//! What anyone who only sees a session's outputs knows of it, and what such a one may rely on.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{
    Chroot, ErrorCode, EventType, OpCode, Time, WatcherType,
    records::RemoveWatchesRequest,
    session::{
        Failure, Outcome, Output, Reason, Reply, RequestId, SessionState, WatchKind, WatchedEvent,
    },
};

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Call {
    /// A removal of unwanted watches, which the session makes by itself. It has no number and no body.
    pub(super) internal: bool,
    pub(super) id: u64,
    pub(super) op: OpCode,
    /// As it was submitted.
    pub(super) path: Option<String>,
    pub(super) chroot: Chroot,
    /// What must arrive at the server, behind the header.
    pub(super) body: Bytes,
    pub(super) arms: Option<Arms>,
    /// Whether anybody wants the watch.
    pub(super) wanted: bool,
    /// Which watches it takes away.
    pub(super) removes: Option<WatcherType>,
    pub(super) submitted: Time,
    /// Once it was sent.
    pub(super) xid: Option<i32>,
}

impl Call {
    /// A removal of the session's own.
    pub(super) fn removal(now: Time) -> Self {
        Self {
            internal: true,
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

/// Which watch a request leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arms {
    /// A data watch if the node is there, an exist watch if not.
    ByExists,
    Always(WatchKind),
}

/// A credential that was added, and is not acknowledged.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) id: u64,
    pub(super) sent: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) id: u64,
    pub(super) kind: WatchKind,
    /// The server's.
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
    /// The transaction as of which the present connection began.
    pub(super) since: i64,
    /// Nothing may come any more.
    pub(super) ended: bool,
    /// When a watch became unwanted that the present connection may have had, by path and by what it is
    /// to the server.
    pub(super) unwanted_since: BTreeMap<(String, WatcherType), Time>,
    /// How many connections were lost with a removal on its way, and none ever answered; `None` once one
    /// was answered.
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
            removals_lost: Some(0),
        }
    }

    /// Takes in an output, if it is one that may come now.
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
                assert_eq!(self.state, SessionState::Lost, "{id:?} is gone, the session is not");
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
        let Some(call) = self.calls.pop_front() else { panic!("{id:?} ends, and waits not") };
        assert_eq!(call.id, id.0, "a request ends out of turn");
        let err = match result {
            Ok(_) => {
                assert!(call.xid.is_some(), "an answer to what was not sent");
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

    /// The user wants to hear no more of a watch.
    pub(super) fn unwatch(&mut self, now: Time, id: u64) {
        for watch in self.watches.iter().filter(|watch| watch.id == id) {
            self.unwanted_since.insert((watch.path.clone(), group(watch.kind)), now);
        }
        self.forget(id);
        for call in self.calls.iter_mut().filter(|call| call.id == id && !call.internal) {
            call.wanted = false;
        }
    }

    /// A request that arms a watch is answered, and its watch may be unwanted from then on.
    pub(super) fn note_possibly_unwanted(&mut self, now: Time) {
        let Some(call) = self.calls.iter().find(|call| !call.internal) else { return };
        let kind = match call.arms {
            None => return,
            Some(Arms::ByExists) => WatchKind::Data,
            Some(Arms::Always(kind)) => kind,
        };
        self.unwanted_since.insert((call.server_path(), group(kind)), now);
    }

    /// Checks a removal that the session makes by itself, when it arrives.
    pub(super) fn check_removal(
        &self,
        now: Time,
        grace: Duration,
        remove: &RemoveWatchesRequest<'_>,
    ) {
        let any = remove.watcher_type == WatcherType::Any;
        let takes = |kind| {
            let persistent = group(kind) == WatcherType::Persistent;
            any || persistent || group(kind) == remove.watcher_type
        };
        let wanted = |watch: &&Watch| watch.path == remove.path && takes(watch.kind);
        let wanted = self.watches.iter().find(wanted);
        assert!(wanted.is_none(), "{remove:?} takes {wanted:?}");
        let before = self.calls.iter().take_while(|call| call.xid.is_some() || !call.internal);
        for call in before.filter(|call| call.xid.is_some() && call.arms.is_some()) {
            assert_ne!(call.server_path(), remove.path, "{remove:?} is sent behind {call:?}");
        }
        let since = self.unwanted_since.iter().filter(|((path, kind), _)| {
            path == remove.path && (any || *kind == remove.watcher_type)
        });
        let since = since.map(|(_, since)| *since).max();
        let since = since.unwrap_or_else(|| panic!("{remove:?} of what was never forgotten"));
        assert!(now.since(since) >= grace, "{remove:?} only {:?} later", now.since(since));
    }

    /// The connection is gone.
    pub(super) fn connection_lost(&mut self) {
        self.unwanted_since.clear();
        let on_its_way = self.calls.iter().any(|call| call.internal && call.xid.is_some());
        if let Some(lost) = self.removals_lost.as_mut().filter(|_| on_its_way) {
            *lost += 1;
        }
    }

    /// There are so many removals of the session's own that wait for an answer.
    pub(super) fn expect_removals(&mut self, now: Time, count: usize) {
        let mut internal = self.calls.iter().filter(|call| call.internal).count();
        while internal < count {
            self.calls.push_back(Call::removal(now));
            internal += 1;
        }
        // Those that were answered or lost are the oldest.
        let mut over = internal - count;
        self.calls.retain(|call| {
            let gone = call.internal && over > 0;
            over -= usize::from(gone);
            !gone
        });
    }

    /// How many requests of the user wait.
    pub(super) fn waiting(&self) -> usize {
        self.calls.iter().filter(|call| !call.internal).count()
    }

    /// Whom an event concerns: on its path the oldest first, and then above it.
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

/// What a watch is to the server.
pub(super) const fn group(kind: WatchKind) -> WatcherType {
    match kind {
        WatchKind::Data | WatchKind::Exist => WatcherType::Data,
        WatchKind::Child => WatcherType::Children,
        _ => WatcherType::Persistent,
    }
}

/// Whether a failure says of its request what is so.
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

/// Which events a watch is told of (`org.apache.zookeeper.ZKWatchManager.materialize`).
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
        _ => &[],
    };
    events.contains(&event)
}
