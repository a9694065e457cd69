//! The watches of all connections, and which of them a change fires (`WatchManager`, `DataTree.setWatches`).
//!
//! As in ZooKeeper, there are two tables: one for data and existence, one for children. A persistent watch is in both.
//! In 3.8, a connection has one watch for each path and table, with the mode of the last call: a read with a watch turns
//! a persistent watch into a one-shot one. In 3.9, it may have one watch of each mode, and a recursive watch is only in
//! the table for data.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use zk_proto::{Acl, AddWatchMode, ErrorCode, EventType, WatcherType, path};

use crate::{config::Version, connection::ConnectionId};

/// Whether a watch is removed when it fires, and whether it includes descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    OneShot,
    Persistent,
    Recursive,
}

/// The modes of a connection's watches on one path. The empty set means no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Modes(u8);

impl Modes {
    const fn of(mode: Mode) -> Self {
        Self(match mode {
            Mode::OneShot => 1,
            Mode::Persistent => 2,
            Mode::Recursive => 4,
        })
    }

    const fn contains(self, mode: Mode) -> bool {
        self.0 & Self::of(mode).0 != 0
    }

    const fn with(self, mode: Mode) -> Self {
        Self(self.0 | Self::of(mode).0)
    }

    const fn without(self, mode: Mode) -> Self {
        Self(self.0 & !Self::of(mode).0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
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

/// A change of a znode.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// NodeCreated, NodeDeleted or NodeDataChanged.
    pub(crate) kind: EventType,
    pub(crate) path: String,
    /// The ACL of the znode.
    pub(crate) acl: Arc<[Acl]>,
    /// The ACL of its parent.
    pub(crate) parent_acl: Arc<[Acl]>,
}

/// An event, and the connections that watch for it. Only those that may read the znode get it (CVE-2024-23944).
pub(crate) struct Notification<'c> {
    pub(crate) kind: EventType,
    pub(crate) path: &'c str,
    pub(crate) acl: &'c [Acl],
    pub(crate) watchers: BTreeSet<ConnectionId>,
}

/// All watches.
#[derive(Debug)]
pub(crate) struct Watches {
    version: Version,
    data: WatchTable,
    children: WatchTable,
}

impl Watches {
    /// The number of paths of which a connection watches the data, plus those of which it watches the children.
    pub(crate) fn len_of(&self, connection: ConnectionId) -> usize {
        self.data.len_of(connection).saturating_add(self.children.len_of(connection))
    }

    pub(crate) fn new(version: Version) -> Self {
        Self { version, data: WatchTable::default(), children: WatchTable::default() }
    }

    pub(crate) const fn data(&self) -> &WatchTable {
        &self.data
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len().saturating_add(self.children.len())
    }

    /// Adds a one-shot watch on data or existence.
    pub(crate) fn add_data(&mut self, path: &str, connection: ConnectionId) {
        self.data.add(path, connection, Mode::OneShot, self.version);
    }

    /// Adds a one-shot watch on children.
    pub(crate) fn add_children(&mut self, path: &str, connection: ConnectionId) {
        self.children.add(path, connection, Mode::OneShot, self.version);
    }

    pub(crate) fn add_persistent(&mut self, path: &str, connection: ConnectionId, mode: Mode) {
        self.data.add(path, connection, mode, self.version);
        if self.version < Version::V3_9 || mode != Mode::Recursive {
            self.children.add(path, connection, mode, self.version);
        }
    }

    pub(crate) fn remove_connection(&mut self, connection: ConnectionId) {
        self.data.remove_connection(connection);
        self.children.remove_connection(connection);
    }

    /// Checks that a connection has a watch of this type (checkWatches).
    ///
    /// ZooKeeper 3.8 finds the watches of other connections, too. It also walks up the path: it finds nothing for the
    /// empty path, and fails on a path that does not start with a slash.
    pub(crate) fn check(
        &self,
        path: &str,
        connection: ConnectionId,
        kind: WatcherType,
    ) -> Result<(), ErrorCode> {
        let filter = self.filter(kind)?;
        let found = if self.version < Version::V3_9 {
            if !path.is_empty() && !path.starts_with('/') {
                return Err(ErrorCode::MarshallingError);
            }
            let data = filter.data && self.data.by_path.contains_key(path);
            !path.is_empty()
                && (data || filter.children && self.children.by_path.contains_key(path))
        } else {
            let data = filter.data && self.data.contains(path, connection, filter.mode);
            data || filter.children && self.children.contains(path, connection, filter.mode)
        };
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// Removes the watches of this type of a connection (removeWatches).
    pub(crate) fn remove(
        &mut self,
        path: &str,
        connection: ConnectionId,
        kind: WatcherType,
    ) -> Result<(), ErrorCode> {
        let filter = self.filter(kind)?;
        let children = filter.children && self.children.remove(path, connection, filter.mode);
        let data = filter.data && self.data.remove(path, connection, filter.mode);
        if children || data { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// The watches that a request with the type `kind` applies to.
    fn filter(&self, kind: WatcherType) -> Result<Filter, ErrorCode> {
        let is_new = self.version >= Version::V3_9;
        let one_shot = is_new.then_some(Mode::OneShot);
        let (data, children, mode) = match kind {
            WatcherType::Children => (false, true, one_shot),
            WatcherType::Data => (true, false, one_shot),
            WatcherType::Any => (true, true, None),
            WatcherType::Persistent if is_new => (true, true, Some(Mode::Persistent)),
            WatcherType::PersistentRecursive if is_new => (true, false, Some(Mode::Recursive)),
            _ => return Err(ErrorCode::MarshallingError),
        };
        Ok(Filter { data, children, mode })
    }

    /// The events of `change`, in the order in which they are sent.
    pub(crate) fn fire<'c>(&mut self, change: &'c Change) -> Vec<Notification<'c>> {
        let Change { kind, path, acl, parent_acl } = change;
        let data_watchers = self.data.trigger(path, *kind);
        let mut child_watchers = BTreeSet::new();
        if *kind == EventType::NodeDeleted {
            child_watchers = self.children.trigger(path, *kind);
            child_watchers.retain(|connection| !data_watchers.contains(connection));
        }
        let mut notifications = vec![
            Notification { kind: *kind, path, acl, watchers: data_watchers },
            Notification { kind: *kind, path, acl, watchers: child_watchers },
        ];
        if *kind != EventType::NodeDataChanged
            && let Some(parent) = path::parent(path)
        {
            let kind = EventType::NodeChildrenChanged;
            let watchers = self.children.trigger(parent, kind);
            notifications.push(Notification { kind, path: parent, acl: parent_acl, watchers });
        }
        notifications
    }
}

/// The watches that a request applies to: those in these tables, of this mode, or of any mode if it is `None`.
struct Filter {
    data: bool,
    children: bool,
    mode: Option<Mode>,
}

/// The watches on data, or those on children.
#[derive(Debug, Default)]
pub(crate) struct WatchTable {
    by_path: BTreeMap<String, BTreeMap<ConnectionId, Modes>>,
    /// A connection stays in this table, without paths, after its last watch has fired.
    by_connection: BTreeMap<ConnectionId, BTreeSet<String>>,
}

impl WatchTable {
    fn add(&mut self, path: &str, connection: ConnectionId, mode: Mode, version: Version) {
        let watchers = self.by_path.entry(path.to_owned()).or_default();
        let modes = watchers.entry(connection).or_default();
        *modes = if version < Version::V3_9 { Modes::of(mode) } else { modes.with(mode) };
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

    /// The number of watches of a connection.
    fn len_of(&self, connection: ConnectionId) -> usize {
        self.by_connection.get(&connection).map_or(0, BTreeSet::len)
    }

    fn modes(&self, path: &str, connection: ConnectionId) -> Modes {
        let modes = self.by_path.get(path).and_then(|watchers| watchers.get(&connection));
        modes.copied().unwrap_or_default()
    }

    fn contains(&self, path: &str, connection: ConnectionId, mode: Option<Mode>) -> bool {
        let modes = self.modes(path, connection);
        mode.map_or(!modes.is_empty(), |mode| modes.contains(mode))
    }

    /// Removes a connection's watch of this mode, or all of its watches on the path. Returns false if there is none.
    fn remove(&mut self, path: &str, connection: ConnectionId, mode: Option<Mode>) -> bool {
        let found = self.contains(path, connection, mode);
        let modes = self.modes(path, connection);
        let left = mode.map_or(Modes::default(), |mode| modes.without(mode));
        if left.is_empty() {
            if let Some(paths) = self.by_connection.get_mut(&connection) {
                paths.remove(path);
            }
            self.remove_from_path(path, connection);
        } else if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.insert(connection, left);
        }
        found
    }

    fn remove_connection(&mut self, connection: ConnectionId) {
        for path in self.by_connection.remove(&connection).unwrap_or_default() {
            self.remove_from_path(&path, connection);
        }
    }

    fn remove_from_path(&mut self, path: &str, connection: ConnectionId) {
        if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.remove(&connection);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
        }
    }

    /// Fires the watches for an event of `kind` at `path`: removes the one-shot ones and returns the connections.
    fn trigger(&mut self, path: &str, kind: EventType) -> BTreeSet<ConnectionId> {
        let mut fired = BTreeSet::new();
        let mut spent = Vec::new();
        for (&watcher, &modes) in self.by_path.get(path).into_iter().flatten() {
            if kind == EventType::NodeChildrenChanged && modes == Modes::of(Mode::Recursive) {
                continue;
            }
            if modes.contains(Mode::OneShot) {
                spent.push(watcher);
            }
            fired.insert(watcher);
        }
        for watcher in spent {
            self.remove(path, watcher, Some(Mode::OneShot));
        }
        if kind != EventType::NodeChildrenChanged {
            let above = path::ancestors(path).chain((path != "/").then_some("/"));
            let watchers = above.filter_map(|above| self.by_path.get(above)).flatten();
            let recursive = watchers.filter(|(_, modes)| modes.contains(Mode::Recursive));
            fired.extend(recursive.map(|(watcher, _)| *watcher));
        }
        fired
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
        let notifications = watches
            .fire(change)
            .into_iter()
            .filter(|notification| !notification.watchers.is_empty());
        notifications
            .map(|n| (n.kind, n.path.into(), n.watchers.iter().map(|c| c.0).collect()))
            .collect()
    }

    #[test]
    fn each_connection_gets_one_event_for_a_deletion() {
        let mut watches = Watches::new(Version::default());
        watches.add_data("/a", A);
        watches.add_children("/a", A);
        watches.add_children("/a", B);
        watches.add_children("/", B);
        let change = change(EventType::NodeDeleted, "/a");
        let expected = [
            (EventType::NodeDeleted, "/a".to_owned(), vec![1]),
            (EventType::NodeDeleted, "/a".to_owned(), vec![2]),
            (EventType::NodeChildrenChanged, "/".to_owned(), vec![2]),
        ];
        assert_eq!(fired(&mut watches, &change), expected);
        assert_eq!(fired(&mut watches, &change), []);
        assert_eq!(watches.len(), 0);
    }

    #[test]
    fn a_recursive_watch_fires_for_descendants_but_not_for_children_events() {
        for version in [Version::V3_8, Version::V3_9] {
            let mut watches = Watches::new(version);
            watches.add_persistent("/", A, Mode::Recursive);
            for kind in [EventType::NodeCreated, EventType::NodeDataChanged, EventType::NodeDeleted]
            {
                let expected = [(kind, "/a/b".to_owned(), vec![1])];
                assert_eq!(fired(&mut watches, &change(kind, "/a/b")), expected);
            }
        }
    }

    #[test]
    fn a_read_turns_a_persistent_watch_into_a_one_shot_in_3_8_only() {
        for (version, then) in [(Version::V3_8, 0), (Version::V3_9, 1)] {
            let mut watches = Watches::new(version);
            watches.add_persistent("/a", A, Mode::Persistent);
            watches.add_data("/a", A);
            let change = change(EventType::NodeDataChanged, "/a");
            assert_eq!(fired(&mut watches, &change).len(), 1);
            assert_eq!(fired(&mut watches, &change).len(), then);
        }
    }

    #[test]
    fn in_3_9_watches_are_removed_by_their_mode() {
        let mut watches = Watches::new(Version::V3_9);
        watches.add_persistent("/a", A, Mode::Persistent);
        watches.add_data("/a", A);
        assert_eq!(watches.remove("/a", B, WatcherType::Any), Err(ErrorCode::NoWatcher));
        assert_eq!(watches.remove("/a", A, WatcherType::Children), Err(ErrorCode::NoWatcher));
        assert_eq!(watches.remove("/a", A, WatcherType::Persistent), Ok(()));
        assert_eq!(watches.check("/a", A, WatcherType::Persistent), Err(ErrorCode::NoWatcher));
        assert_eq!(watches.check("/a", A, WatcherType::Data), Ok(()));
        assert_eq!(watches.check("/a", B, WatcherType::Data), Err(ErrorCode::NoWatcher));
        assert_eq!(watches.remove("/a", A, WatcherType::Any), Ok(()));
        assert_eq!(watches.len(), 0);
    }
}
