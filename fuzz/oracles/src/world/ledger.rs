//! What anyone who only sees a session's outputs knows of it, and what such a one may rely on.

use std::collections::VecDeque;

use bytes::Bytes;
use zk_proto::{
    Chroot, ErrorCode, EventType, OpCode, Time, WatcherType,
    session::{Failure, Outcome, Output, Reason, Reply, RequestId, State, WatchKind, WatchedEvent},
};

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) op: OpCode,
    /// As it was submitted.
    pub(super) path: Option<String>,
    pub(super) chroot: Chroot,
    /// What must arrive at the server, behind the header.
    pub(super) body: Bytes,
    pub(super) arms: Option<Arms>,
    /// Which watches it takes away.
    pub(super) removes: Option<WatcherType>,
    pub(super) submitted: Time,
    /// Once it was sent.
    pub(super) xid: Option<i32>,
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
    pub(super) state: State,
    /// Oldest first.
    pub(super) calls: VecDeque<Call>,
    pub(super) auths: VecDeque<Auth>,
    /// In the order in which they were armed.
    pub(super) watches: Vec<Watch>,
    /// The transaction as of which the present connection began.
    pub(super) since: i64,
    /// Nothing may come any more.
    pub(super) ended: bool,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            state: State::Lost,
            calls: VecDeque::new(),
            auths: VecDeque::new(),
            watches: Vec::new(),
            since: 0,
            ended: false,
        }
    }

    /// Takes in an output, if it is one that may come now.
    pub(super) fn observe(&mut self, output: &Output) {
        assert!(!self.ended, "{output:?} after the end");
        match output {
            Output::State(state) => self.change(*state),
            Output::Completed { id, result } => self.complete(*id, result),
            Output::Fired { id, event } => self.fire(*id, event),
            Output::Gap { id, .. } => {
                let watch = self.watch(*id);
                assert!(!watch.kind.is_one_shot(), "a gap in {watch:?}");
            }
            Output::Unwatched { id, .. } => {
                assert_eq!(self.state, State::Lost, "{id:?} is gone, the session is not");
                self.watch(*id);
                self.forget(id.0);
            }
            _ => {}
        }
    }

    fn change(&mut self, to: State) {
        let legal = match (self.state, to) {
            (State::Lost, to) => to.is_connected(),
            (State::Suspended, to) => to != State::Suspended,
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
                honest(failure, sent);
            }
            return;
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
                honest(failure, call.xid.is_some());
                match failure.reason {
                    Reason::Server(err) => err,
                    _ => return,
                }
            }
        };
        let kind = match (call.arms, err) {
            (Some(Arms::ByExists), ErrorCode::Ok) => WatchKind::Data,
            (Some(Arms::ByExists), ErrorCode::NoNode) => WatchKind::Exist,
            (Some(Arms::Always(kind)), ErrorCode::Ok) => kind,
            _ => return,
        };
        let path = call.chroot.join(call.path.as_deref().unwrap_or_default()).into_owned();
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
    pub(super) fn unwatch(&mut self, id: u64) {
        self.forget(id);
        for call in self.calls.iter_mut().filter(|call| call.id == id) {
            call.arms = None;
        }
    }

    /// Whom an event concerns: on its path the oldest first, and then above it.
    pub(super) fn concerned(&self, kind: EventType, path: &str) -> Vec<(u64, EventType, String)> {
        let mut concerned = Vec::new();
        let mut at = Some(path);
        while let Some(here) = at {
            let watches = self.watches.iter().filter(|watch| {
                let reaches = here == path || watch.kind == WatchKind::PersistentRecursive;
                watch.path == here && reaches && wants(watch.kind, kind)
            });
            concerned.extend(watches.filter_map(|watch| watch.event(kind, path)));
            at = zk_proto::path::parent(here);
            if kind == EventType::PersistentWatchRemoved {
                break;
            }
        }
        concerned
    }
}

/// Whether a failure says of its request what is so.
fn honest(failure: &Failure, sent: bool) {
    let Failure { reason, outcome, .. } = failure;
    assert_eq!(*outcome == Outcome::NotSent, !sent, "{failure}");
    let answered =
        matches!(reason, Reason::Server(_) | Reason::ReplyTooLarge { .. } | Reason::Undecodable(_));
    match outcome {
        Outcome::Refused => {
            let is_auth = matches!(reason, Reason::AuthFailed | Reason::AuthRequired { .. });
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
