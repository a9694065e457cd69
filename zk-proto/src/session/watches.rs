//! The watches that the session has armed: who waits for what on which path.
//!
//! What holds here (`org.apache.zookeeper.ZKWatchManager`, `ClientCnxn.primeConnection`):
//! - a watch is armed by the reply to its request, never before; it bears that request's id;
//! - a one-shot watch goes with its event; NodeDeleted takes data, exist and child watches of the path;
//! - paths are the server's, with the chroot; each watch knows the chroot of who armed it;
//! - what the server has and nobody wants is known, so that it can be taken off;
//! - everything is in order of path and age, so that the same inputs give the same outputs.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use crate::{Chroot, EventType, Time, WatcherType, path};

use super::RequestId;

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WatchKind {
    /// One-shot, on a node's data: changed or deleted.
    Data,
    /// One-shot, on a node that does not exist: created.
    Exist,
    /// One-shot, on a node's children: one came or went, or the node was deleted.
    Child,
    /// Persistent, on the node and its children.
    Persistent,
    /// Persistent, on the node and everything below it.
    PersistentRecursive,
}

impl WatchKind {
    const ALL: [Self; 5] =
        [Self::Data, Self::Exist, Self::Child, Self::Persistent, Self::PersistentRecursive];

    /// Whether the first event ends it.
    #[must_use]
    pub const fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Exist | Self::Child)
    }

    /// Whether an event of type `event` on the very path is for a watch of this kind.
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

/// One armed watch.
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
    /// When the unwanted watches of a path are to be looked at, the earliest first; each path once.
    removals: VecDeque<(Time, String)>,
}

/// What there is about a path.
#[derive(Debug)]
struct PathWatches<T> {
    watches: Vec<(WatchKind, Watch<T>)>,
    /// How many requests that arm a watch here wait for their answer.
    arming: usize,
    unwanted: Unwanted,
    /// Whether it stands in the queue of removals.
    queued: bool,
}

/// The watches that the present connection has on the server, and that nobody wants.
#[derive(Debug, Default)]
struct Unwanted {
    /// A data or exist watch: servers do not tell them apart.
    data: bool,
    child: bool,
    persistent: bool,
    /// Before that they are left there, as they may be wanted again.
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

    /// The server has told of `event`, and has dropped the watches that it ends.
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

    /// Whether a watch is wanted that is the same to the server.
    fn wants(&self, kind: WatchKind) -> bool {
        self.watches.iter().any(|(wanted, _)| match kind {
            WatchKind::Data | WatchKind::Exist => {
                matches!(wanted, WatchKind::Data | WatchKind::Exist)
            }
            WatchKind::Child => *wanted == WatchKind::Child,
            _ => !wanted.is_one_shot(),
        })
    }

    /// The removal that takes the unwanted watches away and no other; `None` if there is none now. Servers
    /// before 3.9 take persistent watches away with data and child watches, and only so.
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
    /// A request that arms a watch on `path` is on its way.
    pub(super) fn begin_arming(&mut self, path: String) {
        let place = self.by_path.entry(path).or_default();
        place.arming = place.arming.saturating_add(1);
    }

    /// Such a request was answered.
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

    /// Forgets a watch. Returns its token if it was armed. If nobody else wants it, the server is left with it,
    /// until `due`; with `None` it has none, or is to keep it.
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

    /// The server has a watch of this kind, which was wanted: if nobody else wants it, it may be removed
    /// at `due`.
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

    /// Sees to it that unwanted watches which can be removed are in the queue, and that a path about which
    /// there is nothing is not in the table.
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

    /// When [`next_removal`](Self::next_removal) may have one.
    pub(super) fn removal_due(&self) -> Option<Time> {
        self.removals.front().map(|(due, _)| *due)
    }

    /// A removal that is due, which is to be sent now.
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
                // It was wanted meanwhile.
                None => {}
            }
            self.update(&path);
            if let Some(removal) = removal {
                return Some((path, removal));
            }
        }
        None
    }

    /// The server has no watch of this session any more, and no request that arms one.
    pub(super) fn connection_lost(&mut self) {
        for place in self.by_path.values_mut() {
            place.arming = 0;
        }
        self.forget_unwanted();
    }

    /// Unwanted watches are not to be removed.
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

    /// Whom an event concerns, oldest first; those that it ends are gone from the table.
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

    /// Ends every watch, oldest first.
    pub(super) fn clear(&mut self) -> Vec<Watch<T>> {
        self.removals.clear();
        self.by_id.clear();
        let places = core::mem::take(&mut self.by_path).into_values();
        let mut watches: Vec<_> =
            places.flat_map(|place| place.watches).map(|(_, watch)| watch).collect();
        watches.sort_unstable_by_key(|watch| watch.id);
        watches
    }

    /// Which kinds of watches are armed on which paths.
    pub(super) fn armed_kinds(&self) -> impl Iterator<Item = (&str, WatchKind)> {
        self.by_path.iter().flat_map(|(path, place)| {
            WatchKind::ALL
                .into_iter()
                .filter(|kind| place.watches.iter().any(|(armed, _)| armed == kind))
                .map(|kind| (path.as_str(), kind))
        })
    }

    /// The persistent watches, which miss what happens between two connections.
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
    fn each_event_reaches_the_kinds_that_wait_for_it() {
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
    fn a_recursive_watch_hears_of_descendants_but_not_of_their_children_lists() {
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
