//! The watches that the session has armed: who waits for what on which path.
//!
//! What holds here (`org.apache.zookeeper.ZKWatchManager`, `ClientCnxn.primeConnection`):
//! - a watch is armed by the reply to its request, never before; it bears that request's id;
//! - a one-shot watch goes with its event; NodeDeleted takes data, exist and child watches of the path;
//! - paths are the server's, with the chroot; each watch knows the chroot of who armed it;
//! - everything is in order of path and age, so that the same inputs give the same outputs.

use std::collections::BTreeMap;

use bytes::BytesMut;

use crate::{
    Chroot, EventType,
    jute::Encode,
    path,
    records::{SetWatches, SetWatches2},
};

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
    /// Lasting, on the node and its children.
    Persistent,
    /// Lasting, on the node and everything below it.
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
pub(super) struct Watch {
    pub(super) id: RequestId,
    pub(super) chroot: Chroot,
}

#[derive(Debug, Default)]
pub(super) struct WatchTable {
    by_path: BTreeMap<String, Vec<(WatchKind, Watch)>>,
    by_id: BTreeMap<RequestId, String>,
}

impl WatchTable {
    pub(super) fn arm(&mut self, kind: WatchKind, path: String, watch: Watch) {
        self.by_id.insert(watch.id, path.clone());
        self.by_path.entry(path).or_default().push((kind, watch));
    }

    /// Forgets a watch. Says whether it was armed.
    pub(super) fn disarm(&mut self, id: RequestId) -> bool {
        let Some(path) = self.by_id.remove(&id) else { return false };
        if let Some(watches) = self.by_path.get_mut(&path) {
            watches.retain(|(_, watch)| watch.id != id);
            if watches.is_empty() {
                self.by_path.remove(&path);
            }
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whom an event concerns, oldest first; those that it ends are gone from the table.
    pub(super) fn fire(&mut self, event: EventType, path: &str) -> Vec<Watch> {
        let mut fired = Vec::new();
        if let Some(watches) = self.by_path.get_mut(path) {
            watches.retain(|(kind, watch)| {
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
            if watches.is_empty() {
                self.by_path.remove(path);
            }
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
                        .flatten()
                        .filter(|(kind, _)| *kind == WatchKind::PersistentRecursive)
                        .map(|(_, watch)| watch.clone()),
                );
                above = path::parent(ancestor);
            }
        }
        fired
    }

    /// Ends every watch, oldest first.
    pub(super) fn clear(&mut self) -> Vec<RequestId> {
        self.by_path.clear();
        std::mem::take(&mut self.by_id).into_keys().collect()
    }

    /// The lasting watches, which miss what happens between two connections.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Watch> {
        self.by_path
            .values()
            .flatten()
            .filter(|(kind, _)| !kind.is_one_shot())
            .map(|(_, watch)| watch)
    }

    /// The packets that arm all of it again on a new connection, each within `limit` bytes, all as of
    /// `last_zxid`. setWatches2 exists since 3.6 only, so it is sent only when a lasting watch needs it.
    pub(super) fn rearm(&self, last_zxid: i64, limit: usize) -> Vec<Rearm> {
        let lasting = self.lasting().next().is_some();
        let mut batches = Vec::new();
        let mut batch = Batch::default();
        for (path, watches) in &self.by_path {
            for kind in WatchKind::ALL {
                if !watches.iter().any(|(armed, _)| *armed == kind) {
                    continue;
                }
                if !batch.fits(path, limit) {
                    batches.push(std::mem::take(&mut batch).encode(last_zxid, lasting));
                }
                batch.add(kind, path);
            }
        }
        if batch.len > 0 {
            batches.push(batch.encode(last_zxid, lasting));
        }
        batches
    }
}

/// The body of one setWatches or setWatches2.
pub(super) struct Rearm {
    pub(super) lasting: bool,
    pub(super) body: BytesMut,
}

#[derive(Default)]
struct Batch<'t> {
    data: Vec<&'t str>,
    exist: Vec<&'t str>,
    child: Vec<&'t str>,
    persistent: Vec<&'t str>,
    persistent_recursive: Vec<&'t str>,
    len: usize,
}

impl<'t> Batch<'t> {
    /// Header, relativeZxid and five counts.
    const FIXED_LEN: usize = 8 + 8 + 5 * 4;

    const fn cost(path: &str) -> usize {
        path.len().saturating_add(4)
    }

    const fn fits(&self, path: &str, limit: usize) -> bool {
        self.len == 0
            || Self::FIXED_LEN.saturating_add(self.len).saturating_add(Self::cost(path)) <= limit
    }

    fn add(&mut self, kind: WatchKind, path: &'t str) {
        self.len = self.len.saturating_add(Self::cost(path));
        match kind {
            WatchKind::Data => self.data.push(path),
            WatchKind::Exist => self.exist.push(path),
            WatchKind::Child => self.child.push(path),
            WatchKind::Persistent => self.persistent.push(path),
            WatchKind::PersistentRecursive => self.persistent_recursive.push(path),
        }
    }

    fn encode(self, relative_zxid: i64, lasting: bool) -> Rearm {
        let mut body = BytesMut::new();
        if lasting {
            SetWatches2 {
                relative_zxid,
                data_watches: self.data.into(),
                exist_watches: self.exist.into(),
                child_watches: self.child.into(),
                persistent_watches: self.persistent.into(),
                persistent_recursive_watches: self.persistent_recursive.into(),
            }
            .encode(&mut body);
        } else {
            SetWatches {
                relative_zxid,
                data_watches: self.data.into(),
                exist_watches: self.exist.into(),
                child_watches: self.child.into(),
            }
            .encode(&mut body);
        }
        Rearm { lasting, body }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::jute::Decode;

    fn watch(id: u64) -> Watch {
        Watch { id: RequestId(id), chroot: Chroot::default() }
    }

    fn ids(watches: Vec<Watch>) -> Vec<u64> {
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
        assert!(table.disarm(RequestId(1)));
        assert!(!table.disarm(RequestId(1)));
        assert_eq!(ids(table.fire(EventType::NodeDataChanged, "/a")), [2]);
        assert_eq!(table.len(), 0);
        assert!(table.by_path.is_empty());
    }

    #[test]
    fn many_watches_are_armed_again_in_packets_under_the_limit() {
        let mut table = WatchTable::default();
        let path = |id: u64| format!("/{id:0200}");
        for id in 0..2_000 {
            table.arm(WatchKind::Child, path(id), watch(id));
            table.arm(WatchKind::Child, path(id), watch(10_000 + id));
        }
        let batches = table.rearm(77, 100_000);
        let mut paths = Vec::new();
        for batch in &batches {
            assert!(!batch.lasting && batch.body.len() + 8 <= 100_000);
            let body = Bytes::copy_from_slice(&batch.body);
            let packet = SetWatches::decode_all(&body).unwrap();
            assert_eq!(packet.relative_zxid, 77);
            paths.extend(packet.child_watches.iter().map(|path| path.to_string()));
        }
        assert_eq!(batches.len(), 5);
        assert_eq!(paths, (0..2_000).map(path).collect::<Vec<_>>());
    }

    #[test]
    fn lasting_watches_need_the_newer_packet() {
        let mut table = WatchTable::default();
        table.arm(WatchKind::Data, "/a".into(), watch(1));
        table.arm(WatchKind::Persistent, "/b".into(), watch(2));
        let batches = table.rearm(5, 100_000);
        let body = Bytes::copy_from_slice(&batches[0].body);
        let packet = SetWatches2::decode_all(&body).unwrap();
        assert!(batches[0].lasting);
        assert_eq!(
            (&packet.data_watches[..], &packet.persistent_watches[..]),
            (&["/a"][..], &["/b"][..])
        );
    }
}
