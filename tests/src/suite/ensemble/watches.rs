//! One-shot watches of every kind, and what makes them fire.

use std::{future::Future, pin::Pin};

use zk_client::{Client, CreateMode, Error, EventType, Watch};

/// The result of a request that is already sent.
type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// The read that arms a watch.
#[derive(Clone, Copy, Debug)]
enum Read {
    Get,
    Exists,
    Children,
}

/// The change that fires it.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Set,
    Delete,
    CreateChild,
    DeleteChild,
}

/// One way for a watch to fire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    read: Read,
    change: Change,
    pub(super) event: EventType,
}

const fn case(name: &'static str, read: Read, change: Change, event: EventType) -> Case {
    Case { name, read, change, event }
}

/// All of them.
pub(super) const CASES: [Case; 8] = [
    case("data-set", Read::Get, Change::Set, EventType::NodeDataChanged),
    case("data-deleted", Read::Get, Change::Delete, EventType::NodeDeleted),
    case("exists-set", Read::Exists, Change::Set, EventType::NodeDataChanged),
    case("exists-deleted", Read::Exists, Change::Delete, EventType::NodeDeleted),
    case("missing-created", Read::Exists, Change::Create, EventType::NodeCreated),
    case("child-created", Read::Children, Change::CreateChild, EventType::NodeChildrenChanged),
    case("child-deleted", Read::Children, Change::DeleteChild, EventType::NodeChildrenChanged),
    case("parent-deleted", Read::Children, Change::Delete, EventType::NodeDeleted),
];

/// A watch that is armed.
#[derive(Debug)]
pub(super) struct ArmedWatch {
    pub(super) case: Case,
    pub(super) path: String,
    pub(super) watch: Watch,
}

impl ArmedWatch {
    /// Arms a watch of each case below `parent`, on new nodes.
    pub(super) async fn all(zk: &Client, parent: &str) -> Vec<Self> {
        zk.create(parent, b"", CreateMode::Persistent).await.expect("the parent is new");
        let mut pending = Vec::new();
        for case in CASES {
            let path = format!("{parent}/{}", case.name);
            case.prepare(zk, &path);
            pending.push((case, case.arm(zk, &path), path));
        }
        let mut armed = Vec::new();
        for (case, watch, path) in pending {
            let watch = watch.await.expect("the watch is armed");
            armed.push(Self { case, path, watch });
        }
        armed
    }

    /// Starts the change that fires it.
    pub(super) fn change(&self, zk: &Client) -> Pending<()> {
        let path = &self.path;
        match self.case.change {
            Change::Create => create(zk, path),
            Change::Set => {
                let set = zk.set(path, b"other", None);
                Box::pin(async { set.await.map(drop) })
            }
            Change::Delete => Box::pin(zk.delete(path, None)),
            Change::CreateChild => create(zk, &format!("{path}/new")),
            Change::DeleteChild => Box::pin(zk.delete(format!("{path}/old"), None)),
        }
    }

    /// Waits for its one event.
    pub(super) async fn wait_for_event(self) {
        let Self { case, path, watch } = self;
        let event = watch.await.unwrap_or_else(|error| panic!("watch on {path}: {error}"));
        assert_eq!((event.kind, event.path.as_str()), (case.event, path.as_str()));
    }
}

impl Case {
    fn prepare(self, zk: &Client, path: &str) {
        if !matches!(self.change, Change::Create) {
            drop(create(zk, path));
        }
        if matches!(self.change, Change::DeleteChild) {
            drop(create(zk, &format!("{path}/old")));
        }
    }

    fn arm(self, zk: &Client, path: &str) -> Pending<Watch> {
        match self.read {
            Read::Get => {
                let get = zk.get_and_watch(path);
                Box::pin(async { get.await.map(|(_, _, watch)| watch) })
            }
            Read::Exists => {
                let exists = zk.exists_and_watch(path);
                Box::pin(async { exists.await.map(|(_, watch)| watch) })
            }
            Read::Children => {
                let children = zk.get_children_and_watch(path);
                Box::pin(async { children.await.map(|(_, _, watch)| watch) })
            }
        }
    }
}

fn create(zk: &Client, path: &str) -> Pending<()> {
    let create = zk.create(path, b"some", CreateMode::Persistent);
    Box::pin(async { create.await.map(drop) })
}
