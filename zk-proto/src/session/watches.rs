//! The table of armed watches.
//!
//! The rules are those of `org.apache.zookeeper.ZKWatchManager` and `ClientCnxn.primeConnection`:
//! - A watch is armed by the reply to its request, and has the id of that request.
//! - A one-shot watch ends with its event. NodeDeleted ends data, exist and child watches of the path.
//! - Paths are absolute. Each watch has the chroot of the caller that armed it.
//! - The table also has the unwanted watches, which are still on the server, so that they can be removed.
//! - Everything is in the order of paths and ids, so that the same inputs give the same outputs.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use crate::{Chroot, EventType, Time, WatcherType, path};

use super::RequestId;

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WatchKind {
    /// One-shot: the data of a node is changed, or the node is deleted.
    Data,
    /// One-shot: a node that does not exist is created.
    Exist,
    /// One-shot: a child of a node is created or deleted, or the node is deleted.
    Child,
    /// Persistent: events of a node and its list of children.
    Persistent,
    /// Persistent: events of a node and of all nodes below it.
    PersistentRecursive,
}

impl WatchKind {
    const ALL: [Self; 5] =
        [Self::Data, Self::Exist, Self::Child, Self::Persistent, Self::PersistentRecursive];

    /// Whether the watch ends with its first event.
    pub(super) const fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Exist | Self::Child)
    }

    /// Whether a watch of this kind gets an event of this type on its path.
    const fn wants(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => {
                matches!(
                    self,
                    Self::Data | Self::Exist | Self::Persistent | Self::PersistentRecursive
                )
            }
            EventType::NodeDeleted => true,
            EventType::NodeChildrenChanged => matches!(self, Self::Child | Self::Persistent),
            EventType::DataWatchRemoved => matches!(self, Self::Data | Self::Exist),
            EventType::ChildWatchRemoved => matches!(self, Self::Child),
            EventType::PersistentWatchRemoved => {
                matches!(self, Self::Persistent | Self::PersistentRecursive)
            }
            _ => false,
        }
    }
}

const fn ends(kind: WatchKind, event: EventType) -> bool {
    kind.is_one_shot() || matches!(event, EventType::PersistentWatchRemoved)
}

/// An armed watch.
#[derive(Debug, Clone)]
pub(super) struct Watch<T> {
    pub(super) id: RequestId,
    pub(super) token: T,
    pub(super) chroot: Chroot,
}

#[derive(Debug)]
pub(super) struct WatchTable<T> {
    by_path: BTreeMap<String, PathWatches<T>>,
    by_id: BTreeMap<RequestId, String>,
    /// When to remove the unwanted watches of which path, the earliest first. Each path is there once.
    removals: VecDeque<(Time, String)>,
}

/// The watches of a path.
#[derive(Debug)]
struct PathWatches<T> {
    watches: Vec<(WatchKind, Watch<T>)>,
    /// The number of unanswered requests that arm a watch on this path.
    arming: usize,
    unwanted: Unwanted,
    /// Whether the path is in the queue of removals.
    queued: bool,
}

/// The watches that the server has for the present connection and that were forgotten.
#[derive(Debug, Default)]
struct Unwanted {
    /// A data or exist watch: servers do not distinguish them.
    data: bool,
    child: bool,
    persistent: bool,
    /// They are not removed before this time, as they may be wanted again.
    until: Time,
}

impl Unwanted {
    const fn any(&self) -> bool {
        self.data || self.child || self.persistent
    }

    const fn of(&mut self, kind: WatchKind) -> &mut bool {
        match kind {
            WatchKind::Data | WatchKind::Exist => &mut self.data,
            WatchKind::Child => &mut self.child,
            WatchKind::Persistent | WatchKind::PersistentRecursive => &mut self.persistent,
        }
    }

    /// The server has sent `event`, and has dropped the watches that end with it.
    const fn fired(&mut self, event: EventType) {
        use EventType as E;
        self.data &= !matches!(
            event,
            E::NodeCreated | E::NodeDataChanged | E::NodeDeleted | E::DataWatchRemoved
        );
        self.child &=
            !matches!(event, E::NodeChildrenChanged | E::NodeDeleted | E::ChildWatchRemoved);
        self.persistent &= !matches!(event, E::PersistentWatchRemoved);
    }
}

impl<T> Default for WatchTable<T> {
    fn default() -> Self {
        Self { by_path: BTreeMap::new(), by_id: BTreeMap::new(), removals: VecDeque::new() }
    }
}

impl<T> Default for PathWatches<T> {
    fn default() -> Self {
        Self { watches: Vec::new(), arming: 0, unwanted: Unwanted::default(), queued: false }
    }
}

impl<T> PathWatches<T> {
    const fn is_empty(&self) -> bool {
        self.watches.is_empty() && self.arming == 0 && !self.unwanted.any()
    }

    /// Whether there is a watch that is the same one to the server.
    fn wants(&self, kind: WatchKind) -> bool {
        self.watches.iter().any(|(wanted, _)| match kind {
            WatchKind::Data | WatchKind::Exist => {
                matches!(wanted, WatchKind::Data | WatchKind::Exist)
            }
            WatchKind::Child => *wanted == WatchKind::Child,
            _ => !wanted.is_one_shot(),
        })
    }

    /// The type of removal that removes the unwanted watches and no others, if there is one. Servers before
    /// ZooKeeper 3.9 remove persistent watches only together with data and child watches.
    fn removal(&self) -> Option<WatcherType> {
        let Unwanted { data, child, persistent, .. } = self.unwanted;
        if self.arming > 0 || !self.unwanted.any() {
            None
        } else if self.watches.is_empty() {
            Some(match (data, child, persistent) {
                (true, false, false) => WatcherType::Data,
                (false, true, false) => WatcherType::Children,
                _ => WatcherType::Any,
            })
        } else if persistent || self.watches.iter().any(|(kind, _)| !kind.is_one_shot()) {
            None
        } else {
            Some(if data { WatcherType::Data } else { WatcherType::Children })
        }
    }
}

impl<T: Clone> WatchTable<T> {
    /// Notes that a request was submitted which arms a watch on `path`.
    pub(super) fn begin_arming(&mut self, path: String) {
        let place = self.by_path.entry(path).or_default();
        place.arming = place.arming.saturating_add(1);
    }

    /// Notes that such a request was answered.
    pub(super) fn end_arming(&mut self, path: &str) {
        if let Some(place) = self.by_path.get_mut(path) {
            place.arming = place.arming.saturating_sub(1);
        }
        self.update(path);
    }

    pub(super) fn arm(&mut self, kind: WatchKind, path: String, watch: Watch<T>) {
        self.by_id.insert(watch.id, path.clone());
        let place = self.by_path.entry(path).or_default();
        *place.unwanted.of(kind) = false;
        place.watches.push((kind, watch));
    }

    /// Forgets a watch, and returns its token if it was armed. The watch may be removed from the server at
    /// `due`, if no other watch needs it there. `None` means that it need not be removed.
    pub(super) fn disarm(&mut self, id: RequestId, due: Option<Time>) -> Option<T> {
        let path = self.by_id.remove(&id)?;
        let place = self.by_path.get_mut(&path)?;
        let at = place.watches.iter().position(|(_, watch)| watch.id == id)?;
        let (kind, watch) = place.watches.remove(at);
        match due {
            Some(due) => self.mark_unwanted(kind, &path, due),
            None => self.update(&path),
        }
        Some(watch.token)
    }

    pub(super) fn is_armed(&self, kind: WatchKind, path: &str) -> bool {
        let place = self.by_path.get(path);
        place.is_some_and(|place| place.watches.iter().any(|(armed, _)| *armed == kind))
    }

    /// Notes that the server has a watch of this kind that was forgotten. It may be removed at `due`, if no
    /// other watch needs it there.
    pub(super) fn mark_unwanted(&mut self, kind: WatchKind, path: &str, due: Time) {
        if !self.by_path.contains_key(path) {
            self.by_path.insert(path.to_owned(), PathWatches::default());
        }
        if let Some(place) = self.by_path.get_mut(path)
            && !place.wants(kind)
        {
            *place.unwanted.of(kind) = true;
            place.unwanted.until = due;
        }
        self.update(path);
    }

    /// Queues a path with unwanted watches that can be removed, and drops a path without any watch.
    fn update(&mut self, path: &str) {
        let Some(place) = self.by_path.get_mut(path) else { return };
        if place.is_empty() && !place.queued {
            self.by_path.remove(path);
        } else if !place.queued && place.removal().is_some() {
            place.queued = true;
            let last = self.removals.back().map_or(Time::ZERO, |(due, _)| *due);
            self.removals.push_back((place.unwanted.until.max(last), path.to_owned()));
        }
    }

    /// When to call [`next_removal`](Self::next_removal).
    pub(super) fn removal_due(&self) -> Option<Time> {
        self.removals.front().map(|(due, _)| *due)
    }

    /// Takes a removal that is due. The caller must send it.
    pub(super) fn next_removal(&mut self, now: Time) -> Option<(String, WatcherType)> {
        while self.removal_due().is_some_and(|due| due <= now) {
            let (_, path) = self.removals.pop_front()?;
            let Some(place) = self.by_path.get_mut(&path) else { continue };
            place.queued = false;
            let removal = place.removal().filter(|_| place.unwanted.until <= now);
            match removal {
                Some(WatcherType::Data) => place.unwanted.data = false,
                Some(WatcherType::Children) => place.unwanted.child = false,
                Some(_) => place.unwanted = Unwanted::default(),
                // A watch needs it again.
                None => {}
            }
            self.update(&path);
            if let Some(removal) = removal {
                return Some((path, removal));
            }
        }
        None
    }

    /// Notes that the server has dropped all watches and unanswered requests of the session.
    pub(super) fn connection_lost(&mut self) {
        for place in self.by_path.values_mut() {
            place.arming = 0;
        }
        self.forget_unwanted();
    }

    /// Forgets the unwanted watches: they are not removed.
    pub(super) fn forget_unwanted(&mut self) {
        self.removals.clear();
        self.by_path.retain(|_, place| {
            place.unwanted = Unwanted::default();
            place.queued = false;
            !place.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the watches that get an event. Those that end with it are taken out of the table.
    pub(super) fn fire(&mut self, event: EventType, path: &str) -> Vec<Watch<T>> {
        let mut fired = Vec::new();
        if let Some(place) = self.by_path.get_mut(path) {
            place.unwanted.fired(event);
            place.watches.retain(|(kind, watch)| {
                if !kind.wants(event) {
                    return true;
                }
                fired.push(watch.clone());
                if ends(*kind, event) {
                    self.by_id.remove(&watch.id);
                    return false;
                }
                true
            });
            self.update(path);
        }
        if !matches!(event, EventType::PersistentWatchRemoved)
            && WatchKind::PersistentRecursive.wants(event)
        {
            let mut above = path::parent(path);
            while let Some(ancestor) = above {
                fired.extend(
                    self.by_path
                        .get(ancestor)
                        .into_iter()
                        .flat_map(|place| &place.watches)
                        .filter(|(kind, _)| *kind == WatchKind::PersistentRecursive)
                        .map(|(_, watch)| watch.clone()),
                );
                above = path::parent(ancestor);
            }
        }
        fired
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_path.is_empty() && self.by_id.is_empty() && self.removals.is_empty()
    }

    /// Takes out all watches, in the order of their ids.
    pub(super) fn clear(&mut self) -> Vec<Watch<T>> {
        self.removals.clear();
        self.by_id.clear();
        let places = core::mem::take(&mut self.by_path).into_values();
        let mut watches: Vec<_> =
            places.flat_map(|place| place.watches).map(|(_, watch)| watch).collect();
        watches.sort_unstable_by_key(|watch| watch.id);
        watches
    }

    /// The kinds of watches that are armed on each path.
    pub(super) fn armed_kinds(&self) -> impl Iterator<Item = (&str, WatchKind)> {
        self.by_path.iter().flat_map(|(path, place)| {
            WatchKind::ALL
                .into_iter()
                .filter(|kind| place.watches.iter().any(|(armed, _)| armed == kind))
                .map(|kind| (path.as_str(), kind))
        })
    }

    /// The persistent watches, which miss the events between two connections.
    pub(super) fn persistent(&self) -> impl Iterator<Item = &Watch<T>> {
        self.by_path
            .values()
            .flat_map(|place| &place.watches)
            .filter(|(kind, _)| !kind.is_one_shot())
            .map(|(_, watch)| watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(id: u64) -> Watch<()> {
        Watch { id: RequestId(id), token: (), chroot: Chroot::default() }
    }

    fn ids(watches: Vec<Watch<()>>) -> Vec<u64> {
        watches.into_iter().map(|watch| watch.id.0).collect()
    }

    #[test]
    fn each_event_reaches_the_right_kinds_of_watches() {
        use EventType as E;
        use WatchKind as K;
        let cases = [
            (E::NodeCreated, vec![K::Data, K::Exist, K::Persistent, K::PersistentRecursive]),
            (E::NodeDataChanged, vec![K::Data, K::Exist, K::Persistent, K::PersistentRecursive]),
            (E::NodeDeleted, K::ALL.to_vec()),
            (E::NodeChildrenChanged, vec![K::Child, K::Persistent]),
        ];
        for (event, wanted) in cases {
            let mut table = WatchTable::default();
            for (id, kind) in (0..).zip(K::ALL) {
                table.arm(kind, "/a".into(), watch(id));
            }
            let fired = table.fire(event, "/a");
            let kinds: Vec<_> = fired.iter().map(|w| K::ALL[w.id.0 as usize]).collect();
            assert_eq!(kinds, wanted, "{event:?}");
            let again: Vec<_> =
                table.fire(event, "/a").iter().map(|w| K::ALL[w.id.0 as usize]).collect();
            assert!(again.iter().all(|kind| !kind.is_one_shot()), "one-shot twice: {event:?}");
            assert_eq!(table.len(), 5 - wanted.iter().filter(|k| k.is_one_shot()).count());
        }
    }

    #[test]
    fn a_recursive_watch_gets_events_of_descendants_but_not_of_their_lists_of_children() {
        let mut table = WatchTable::default();
        table.arm(WatchKind::PersistentRecursive, "/a".into(), watch(1));
        table.arm(WatchKind::PersistentRecursive, "/".into(), watch(2));
        table.arm(WatchKind::Persistent, "/a".into(), watch(3));
        assert_eq!(ids(table.fire(EventType::NodeCreated, "/a/b/c")), [1, 2]);
        assert_eq!(ids(table.fire(EventType::NodeChildrenChanged, "/a/b")), [] as [u64; 0]);
        assert_eq!(ids(table.fire(EventType::NodeDeleted, "/ab")), [2]);
        assert_eq!(ids(table.fire(EventType::NodeChildrenChanged, "/a")), [3]);
    }

    #[test]
    fn disarmed_watches_leave_nothing_behind() {
        let mut table = WatchTable::default();
        table.arm(WatchKind::Data, "/a".into(), watch(1));
        table.arm(WatchKind::Data, "/a".into(), watch(2));
        assert_eq!(table.disarm(RequestId(1), None), Some(()));
        assert_eq!(table.disarm(RequestId(1), None), None);
        assert_eq!(ids(table.fire(EventType::NodeDataChanged, "/a")), [2]);
        assert_eq!(table.len(), 0);
        assert!(table.by_path.is_empty());
    }
}
