//! Who watches what, and who hears of a change (`WatchManager`, `DataTree.setWatches`).
//!
//! As in ZooKeeper there are two tables, one for data and being there, one for children; a persistent
//! watch is in both. A connection has one watch on a path in each, whose mode is that of the last call:
//! in 3.8 a read that leaves a watch turns a persistent one into a one-shot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use zk_proto::{Acl, AddWatchMode, EventType, WatcherType, path};

use crate::ConnectionId;

/// How long a watch lasts, and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    OneShot,
    Persistent,
    Recursive,
}

impl Mode {
    pub(crate) const fn of(mode: AddWatchMode) -> Option<Self> {
        match mode {
            AddWatchMode::Persistent => Some(Self::Persistent),
            AddWatchMode::PersistentRecursive => Some(Self::Recursive),
            _ => None,
        }
    }
}

/// Something that has happened to a node.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// That it was created or deleted, or its data were set.
    pub(crate) kind: EventType,
    pub(crate) path: String,
    /// The node's access list, and its parent's.
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) parent_acl: Arc<[Acl]>,
}

/// One event, and the connections that watch for it; those get it that may read the node (CVE-2024-23944).
pub(crate) struct Notice<'c> {
    pub(crate) kind: EventType,
    pub(crate) path: &'c str,
    pub(crate) acl: &'c [Acl],
    pub(crate) to: BTreeSet<ConnectionId>,
}

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) data: WatchTable,
    pub(crate) children: WatchTable,
}

impl Watches {
    pub(crate) fn add_persistent(&mut self, path: &str, connection: ConnectionId, mode: Mode) {
        self.data.add(path, connection, mode);
        self.children.add(path, connection, mode);
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.data.forget(connection);
        self.children.forget(connection);
    }

    /// Whether such a watch is there. Whose it is does not matter to ZooKeeper 3.8, and at the empty path
    /// it does not look.
    pub(crate) fn contains(&self, path: &str, kind: Tables) -> bool {
        let data = kind.data && self.data.contains(path);
        !path.is_empty() && (data || kind.children && self.children.contains(path))
    }

    pub(crate) fn remove(&mut self, path: &str, connection: ConnectionId, kind: Tables) -> bool {
        let children = kind.children && self.children.remove(path, connection);
        let data = kind.data && self.data.remove(path, connection);
        children || data
    }

    /// The events of `change`, in the order in which they are sent.
    pub(crate) fn fire<'c>(&mut self, change: &'c Change) -> Vec<Notice<'c>> {
        let Change { kind, path, acl, parent_acl } = change;
        let heard = self.data.trigger(path, *kind);
        let mut rest = BTreeSet::new();
        if *kind == EventType::NodeDeleted {
            rest = self.children.trigger(path, *kind);
            rest.retain(|connection| !heard.contains(connection));
        }
        let mut notices = vec![
            Notice { kind: *kind, path, acl, to: heard },
            Notice { kind: *kind, path, acl, to: rest },
        ];
        if *kind != EventType::NodeDataChanged
            && let Some(parent) = path::parent(path)
        {
            let kind = EventType::NodeChildrenChanged;
            let to = self.children.trigger(parent, kind);
            notices.push(Notice { kind, path: parent, acl: parent_acl, to });
        }
        notices
    }
}

/// Which of the tables a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    data: bool,
    children: bool,
}

impl Tables {
    pub(crate) const fn of(kind: WatcherType) -> Option<Self> {
        let (data, children) = match kind {
            WatcherType::Children => (false, true),
            WatcherType::Data => (true, false),
            WatcherType::Any => (true, true),
            _ => return None,
        };
        Some(Self { data, children })
    }
}

/// Watches of one sort.
#[derive(Debug, Default)]
pub(crate) struct WatchTable {
    by_path: BTreeMap<String, BTreeMap<ConnectionId, Mode>>,
    /// A connection stays in here, without paths, when its last watch has fired.
    by_connection: BTreeMap<ConnectionId, BTreeSet<String>>,
}

impl WatchTable {
    pub(crate) fn add(&mut self, path: &str, connection: ConnectionId, mode: Mode) {
        self.by_path.entry(path.to_owned()).or_default().insert(connection, mode);
        self.by_connection.entry(connection).or_default().insert(path.to_owned());
    }

    pub(crate) fn by_path(
        &self,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = ConnectionId>)> {
        self.by_path.iter().map(|(path, watchers)| (path.as_str(), watchers.keys().copied()))
    }

    pub(crate) fn by_connection(&self) -> impl Iterator<Item = (ConnectionId, &BTreeSet<String>)> {
        self.by_connection.iter().map(|(connection, paths)| (*connection, paths))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_path.values().map(BTreeMap::len).sum()
    }

    fn contains(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    fn remove(&mut self, path: &str, connection: ConnectionId) -> bool {
        let known = self.by_connection.get_mut(&connection).is_some_and(|paths| paths.remove(path));
        if known {
            self.unlist(path, connection);
        }
        known
    }

    fn forget(&mut self, connection: ConnectionId) {
        for path in self.by_connection.remove(&connection).unwrap_or_default() {
            self.unlist(&path, connection);
        }
    }

    fn unlist(&mut self, path: &str, connection: ConnectionId) {
        if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.remove(&connection);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
        }
    }

    /// Who hears of an event of `kind` at `path`; their one-shot watches on it are gone.
    fn trigger(&mut self, path: &str, kind: EventType) -> BTreeSet<ConnectionId> {
        let mut heard = BTreeSet::new();
        let mut spent = Vec::new();
        for (&watcher, mode) in self.by_path.get(path).into_iter().flatten() {
            match mode {
                Mode::Recursive if kind == EventType::NodeChildrenChanged => continue,
                Mode::OneShot => spent.push(watcher),
                Mode::Recursive | Mode::Persistent => {}
            }
            heard.insert(watcher);
        }
        for watcher in spent {
            self.remove(path, watcher);
        }
        if kind != EventType::NodeChildrenChanged {
            let above = path::ancestors(path).chain((path != "/").then_some("/"));
            let watchers = above.filter_map(|above| self.by_path.get(above)).flatten();
            heard.extend(watchers.filter(|(_, m)| **m == Mode::Recursive).map(|(w, _)| *w));
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);

    fn change(kind: EventType, path: &str) -> Change {
        let acl: Arc<[Acl]> = [].into();
        Change { kind, path: path.into(), acl: acl.clone(), parent_acl: acl }
    }

    fn fired(watches: &mut Watches, change: &Change) -> Vec<(EventType, String, Vec<u64>)> {
        let notices = watches.fire(change).into_iter().filter(|notice| !notice.to.is_empty());
        notices.map(|n| (n.kind, n.path.into(), n.to.iter().map(|c| c.0).collect())).collect()
    }

    #[test]
    fn a_deletion_is_told_once_to_each() {
        let mut watches = Watches::default();
        watches.data.add("/a", A, Mode::OneShot);
        watches.children.add("/a", A, Mode::OneShot);
        watches.children.add("/a", B, Mode::OneShot);
        watches.children.add("/", B, Mode::OneShot);
        let change = change(EventType::NodeDeleted, "/a");
        let expected = [
            (EventType::NodeDeleted, "/a".to_owned(), vec![1]),
            (EventType::NodeDeleted, "/a".to_owned(), vec![2]),
            (EventType::NodeChildrenChanged, "/".to_owned(), vec![2]),
        ];
        assert_eq!(fired(&mut watches, &change), expected);
        assert_eq!(fired(&mut watches, &change), []);
        assert_eq!(watches.data.len() + watches.children.len(), 0);
    }

    #[test]
    fn a_recursive_watch_hears_of_all_below_but_not_of_children_as_such() {
        let mut watches = Watches::default();
        watches.add_persistent("/", A, Mode::Recursive);
        for kind in [EventType::NodeCreated, EventType::NodeDataChanged, EventType::NodeDeleted] {
            let expected = [(kind, "/a/b".to_owned(), vec![1])];
            assert_eq!(fired(&mut watches, &change(kind, "/a/b")), expected);
        }
    }

    #[test]
    fn a_read_turns_a_persistent_watch_into_a_one_shot() {
        let mut watches = Watches::default();
        watches.add_persistent("/a", A, Mode::Persistent);
        watches.data.add("/a", A, Mode::OneShot);
        let change = change(EventType::NodeDataChanged, "/a");
        assert_eq!(fired(&mut watches, &change).len(), 1);
        assert_eq!(fired(&mut watches, &change).len(), 0);
    }
}
