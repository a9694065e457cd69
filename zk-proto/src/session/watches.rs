//! The table of armed watches.
//!
//! The rules are those of `org.apache.zookeeper.ZKWatchManager` and `ClientCnxn.primeConnection`:
//! - A watch is armed by the reply to its request, and has the id of that request.
//! - A one-shot watch ends with its event. NodeDeleted ends data, exist and child watches of the path.
//! - Paths are absolute. Each watch has the chroot of the caller that armed it.
//! - The table also has the unwanted watches, which are still on the server, so that they can be removed.
//! - The table knows whether the server has a recursive watch in place of a persistent one: see
//!   `persistent.rs`.
//! - Everything is in the order of paths and ids, so that the same inputs give the same outputs.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use crate::{AddWatchMode, Chroot, EventType, Time, WatcherType, path};

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

    /// Whether a removal of this type removes watches of this kind.
    pub(super) const fn is_removed_by(self, removal: WatcherType) -> bool {
        match removal {
            WatcherType::Any => true,
            WatcherType::Data => matches!(self, Self::Data | Self::Exist),
            WatcherType::Children => matches!(self, Self::Child),
            WatcherType::Persistent => matches!(self, Self::Persistent),
            WatcherType::PersistentRecursive => matches!(self, Self::PersistentRecursive),
            WatcherType::Unknown(_) => false,
        }
    }

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
    pub(super) modes: Modes,
    /// The path of which the last event, of a child, was reported to persistent watches as a change of its
    /// children.
    reported_children: Option<String>,
}

/// Whether the server keeps watches of different modes on one path apart. It does since ZooKeeper 3.9. Before,
/// a connection has one mode for each path: that of its last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Modes {
    #[default]
    Unknown,
    Apart,
    Shared,
}

/// What brings the server nearer to having only the watches that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Remove(WatcherType),
    /// Adds the persistent watch in whose place the server has a recursive one.
    Restore(AddWatchMode),
}

/// The watches of a path.
#[derive(Debug)]
struct PathWatches<T> {
    watches: Vec<(WatchKind, Watch<T>)>,
    /// The number of unanswered requests that arm a watch on this path, those for persistent watches, and
    /// those for recursive ones.
    arming: usize,
    arming_persistent: usize,
    arming_recursive: usize,
    /// Whether the server has a recursive watch here, which may be in place of other watches.
    recursive: bool,
    /// Since which transaction the persistent watches here may be off.
    disturbed: Option<i64>,
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
    recursive: bool,
    /// They are not removed before this time, as they may be wanted again.
    until: Time,
}

impl Unwanted {
    const fn any(&self) -> bool {
        self.data || self.child || self.persistent || self.recursive
    }

    const fn of(&mut self, kind: WatchKind) -> &mut bool {
        match kind {
            WatchKind::Data | WatchKind::Exist => &mut self.data,
            WatchKind::Child => &mut self.child,
            WatchKind::Persistent => &mut self.persistent,
            WatchKind::PersistentRecursive => &mut self.recursive,
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
        self.recursive &= !matches!(event, E::PersistentWatchRemoved);
    }
}

impl<T> Default for WatchTable<T> {
    fn default() -> Self {
        Self {
            by_path: BTreeMap::new(),
            by_id: BTreeMap::new(),
            removals: VecDeque::new(),
            modes: Modes::Unknown,
            reported_children: None,
        }
    }
}

impl<T> Default for PathWatches<T> {
    fn default() -> Self {
        Self {
            watches: Vec::new(),
            arming: 0,
            arming_persistent: 0,
            arming_recursive: 0,
            recursive: false,
            disturbed: None,
            unwanted: Unwanted::default(),
            queued: false,
        }
    }
}

impl<T> PathWatches<T> {
    /// The number of unanswered requests for persistent watches of this kind.
    const fn arming_of(&mut self, kind: Option<WatchKind>) -> Option<&mut usize> {
        match kind {
            Some(WatchKind::Persistent) => Some(&mut self.arming_persistent),
            Some(WatchKind::PersistentRecursive) => Some(&mut self.arming_recursive),
            _ => None,
        }
    }

    const fn is_empty(&self) -> bool {
        self.watches.is_empty() && self.arming == 0 && !self.unwanted.any()
    }

    fn has(&self, kind: WatchKind) -> bool {
        self.watches.iter().any(|(armed, _)| *armed == kind)
    }

    /// Whether there is a watch that is the same one to the server.
    fn wants(&self, kind: WatchKind) -> bool {
        match kind {
            WatchKind::Data | WatchKind::Exist => {
                self.has(WatchKind::Data) || self.has(WatchKind::Exist)
            }
            _ => self.has(kind),
        }
    }

    fn has_persistent(&self) -> bool {
        self.watches.iter().any(|(kind, _)| !kind.is_one_shot())
    }

    /// The next step towards removing the unwanted watches and no others, if there is one. Servers before
    /// ZooKeeper 3.9 remove persistent watches only together with data and child watches, and with those of
    /// one kind, they remove the persistent ones, too.
    fn removal(&self, modes: Modes) -> Option<Step> {
        let Unwanted { data, child, persistent, recursive, .. } = self.unwanted;
        if self.arming > 0 || !self.unwanted.any() {
            None
        } else if self.watches.is_empty() {
            Some(Step::Remove(match (data, child, persistent || recursive) {
                (true, false, false) => WatcherType::Data,
                (false, true, false) => WatcherType::Children,
                _ => WatcherType::Any,
            }))
        } else if recursive && self.recursive && self.has(WatchKind::Persistent) {
            Some(Step::Restore(AddWatchMode::Persistent))
        } else if recursive && modes != Modes::Shared {
            Some(Step::Remove(WatcherType::PersistentRecursive))
        } else if persistent && modes != Modes::Shared {
            Some(Step::Remove(WatcherType::Persistent))
        } else if !data && !child || self.has_persistent() && modes != Modes::Apart {
            None
        } else {
            Some(Step::Remove(if data { WatcherType::Data } else { WatcherType::Children }))
        }
    }
}

impl<T: Clone> WatchTable<T> {
    /// Notes that a request was submitted which arms a watch on `path`. On the server, it is of the kind
    /// `kind`; `None` if that depends on the reply.
    pub(super) fn begin_arming(&mut self, path: String, kind: Option<WatchKind>) {
        let place = self.by_path.entry(path).or_default();
        place.arming = place.arming.saturating_add(1);
        if let Some(count) = place.arming_of(kind) {
            *count = count.saturating_add(1);
        }
    }

    /// Notes that such a request was answered.
    pub(super) fn end_arming(&mut self, path: &str, kind: Option<WatchKind>) {
        if let Some(place) = self.by_path.get_mut(path) {
            place.arming = place.arming.saturating_sub(1);
            if let Some(count) = place.arming_of(kind) {
                *count = count.saturating_sub(1);
            }
        }
        self.update(path);
    }

    /// The mode that the persistent watches on `path` need, armed or being armed. A recursive watch serves
    /// both kinds.
    pub(super) fn mode_needed(&self, path: &str) -> Option<AddWatchMode> {
        let place = self.by_path.get(path)?;
        if place.has(WatchKind::PersistentRecursive) || place.arming_recursive > 0 {
            Some(AddWatchMode::PersistentRecursive)
        } else {
            self.needs_persistent(path).then_some(AddWatchMode::Persistent)
        }
    }

    /// Whether there is a watch of the mode `Persistent` on `path`, armed or being armed.
    pub(super) fn needs_persistent(&self, path: &str) -> bool {
        self.by_path
            .get(path)
            .is_some_and(|place| place.has(WatchKind::Persistent) || place.arming_persistent > 0)
    }

    /// Notes the mode of the last addWatch for `path`.
    pub(super) fn set_recursive(&mut self, path: &str, recursive: bool) {
        if let Some(place) = self.by_path.get_mut(path) {
            place.recursive = recursive;
        }
    }

    /// Notes that the server may miss events for the persistent watches on `path` after the transaction `zxid`.
    pub(super) fn disturb(&mut self, path: &str, zxid: i64) {
        if let Some(place) = self.by_path.get_mut(path)
            && place.has_persistent()
        {
            place.disturbed.get_or_insert(zxid);
        }
    }

    /// Notes that the persistent watches on `path` are in order again as of the transaction `zxid`. If they may
    /// have missed events, returns since when, and those watches.
    pub(super) fn restored(&mut self, path: &str, zxid: i64) -> Option<(i64, Vec<Watch<T>>)> {
        let place = self.by_path.get_mut(path)?;
        let since = place.disturbed.take().filter(|since| *since < zxid)?;
        let persistent = place.watches.iter().filter(|(kind, _)| !kind.is_one_shot());
        Some((since, persistent.map(|(_, watch)| watch.clone()).collect()))
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
        self.by_path.get(path).is_some_and(|place| place.has(kind))
    }

    /// Whether a removal of this type would end a watch on `path`.
    pub(super) fn has_removable(&self, path: &str, removal: WatcherType) -> bool {
        let place = self.by_path.get(path);
        place.is_some_and(|place| place.watches.iter().any(|(kind, _)| kind.is_removed_by(removal)))
    }

    /// Takes out the watches on `path` that end with `event`, because of a removal of this type.
    pub(super) fn take(
        &mut self,
        path: &str,
        removal: WatcherType,
        event: EventType,
    ) -> Vec<(WatchKind, Watch<T>)> {
        let Some(place) = self.by_path.get_mut(path) else { return Vec::new() };
        let (taken, left) = core::mem::take(&mut place.watches)
            .into_iter()
            .partition(|(kind, _)| kind.is_removed_by(removal) && kind.wants(event));
        place.watches = left;
        let taken: Vec<(WatchKind, Watch<T>)> = taken;
        for (_, watch) in &taken {
            self.by_id.remove(&watch.id);
        }
        self.update(path);
        taken
    }

    /// Notes that the server has removed the watches of this type.
    pub(super) fn removed(&mut self, path: &str, removal: WatcherType) {
        let Some(place) = self.by_path.get_mut(path) else { return };
        for kind in WatchKind::ALL.into_iter().filter(|kind| kind.is_removed_by(removal)) {
            *place.unwanted.of(kind) = false;
        }
        place.recursive &= !WatchKind::PersistentRecursive.is_removed_by(removal);
        self.update(path);
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
        } else if !place.queued && place.removal(self.modes).is_some() {
            place.queued = true;
            let last = self.removals.back().map_or(Time::ZERO, |(due, _)| *due);
            self.removals.push_back((place.unwanted.until.max(last), path.to_owned()));
        }
    }

    /// When to call [`next_removal`](Self::next_removal).
    pub(super) fn removal_due(&self) -> Option<Time> {
        self.removals.front().map(|(due, _)| *due)
    }

    /// Takes a step that is due. The caller must send it.
    pub(super) fn next_removal(&mut self, now: Time) -> Option<(String, Step)> {
        while self.removal_due().is_some_and(|due| due <= now) {
            let (_, path) = self.removals.pop_front()?;
            let Some(place) = self.by_path.get_mut(&path) else { continue };
            place.queued = false;
            // `None` if a watch needs it again.
            let step = place.removal(self.modes).filter(|_| place.unwanted.until <= now);
            match step {
                Some(Step::Remove(WatcherType::Data)) => place.unwanted.data = false,
                Some(Step::Remove(WatcherType::Children)) => place.unwanted.child = false,
                Some(Step::Remove(WatcherType::Persistent)) => place.unwanted.persistent = false,
                Some(Step::Remove(WatcherType::PersistentRecursive)) => {
                    place.unwanted.recursive = false;
                }
                Some(Step::Remove(_)) => place.unwanted = Unwanted::default(),
                Some(Step::Restore(_)) => return step.map(|step| (path, step)),
                None => {}
            }
            self.update(&path);
            if let Some(step) = step {
                return Some((path, step));
            }
        }
        None
    }

    /// Notes that the server has dropped all watches and unanswered requests of the session.
    pub(super) fn connection_lost(&mut self) {
        for place in self.by_path.values_mut() {
            (place.arming, place.arming_persistent, place.arming_recursive) = (0, 0, 0);
            place.disturbed = None;
            place.recursive = false;
        }
        self.modes = Modes::Unknown;
        self.reported_children = None;
        self.forget_unwanted();
    }

    /// Notes that all watches are armed again: on each path, a recursive watch comes last.
    pub(super) fn rearmed(&mut self) {
        for place in self.by_path.values_mut() {
            place.recursive = place.has(WatchKind::PersistentRecursive);
        }
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
        let was_reported = self
            .reported_children
            .take()
            .is_some_and(|reported| event == EventType::NodeChildrenChanged && reported == path);
        if let Some(place) = self.by_path.get_mut(path) {
            place.unwanted.fired(event);
            place.watches.retain(|(kind, watch)| {
                if !kind.wants(event) || was_reported && !kind.is_one_shot() {
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

    /// Returns the watches that get NodeChildrenChanged for `path` because a child was created or deleted, where
    /// the server has a recursive watch in their place. One-shot ones are taken out of the table.
    pub(super) fn fire_children(&mut self, path: &str) -> Vec<Watch<T>> {
        let mut fired = Vec::new();
        let Some(place) = self.by_path.get_mut(path).filter(|place| place.recursive) else {
            return fired;
        };
        place.watches.retain(|(kind, watch)| {
            match kind {
                WatchKind::Child => {
                    self.by_id.remove(&watch.id);
                }
                WatchKind::Persistent => self.reported_children = Some(path.to_owned()),
                _ => return true,
            }
            fired.push(watch.clone());
            *kind != WatchKind::Child
        });
        self.update(path);
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
