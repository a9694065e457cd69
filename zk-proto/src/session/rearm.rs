//! Arms watches again: on a new connection, and after an event that could not be read.
//!
//! A server keeps watches for as long as the connection lives. On the next connection the session sends the
//! paths of all of its watches, and the newest transaction that it has seen. The server arms the watches
//! again, and at once sends the events of those that something happened to meanwhile.
//!
//! setWatches2 exists since ZooKeeper 3.6, so it is sent only if a persistent watch needs it.

use alloc::vec::Vec;

use bytes::BytesMut;

use crate::{
    OpCode,
    jute::Encode,
    records::{SetWatches, SetWatches2},
};

use super::{Output, RequestQueue, Session, WatchKind, watches::WatchTable};

/// The largest packet, in bytes. The Java client has the same limit.
const MAX_PACKET: usize = 128 << 10;

impl<T: Clone> Session<T> {
    /// Arms all watches again: the server then also sends the events since the newest transaction that the
    /// session has seen. Passes each packet to `send`, and returns the number of packets.
    pub(super) fn rearm_watches(
        &mut self,
        send: impl Fn(&mut RequestQueue<T>, OpCode, &[u8]),
    ) -> usize {
        let since = self.identity.last_zxid;
        let batches = self.watches.rearm_packets(since, MAX_PACKET.min(self.config.max_request));
        for batch in &batches {
            let op = if batch.persistent { OpCode::SetWatches2 } else { OpCode::SetWatches };
            send(&mut self.queue, op, &batch.body);
        }
        self.watches.rearmed();
        for watch in self.watches.persistent() {
            self.outputs.push_back(Output::Gap { id: watch.id, token: watch.token.clone(), since });
        }
        batches.len()
    }
}

impl<T: Clone> WatchTable<T> {
    /// The packets that arm all watches again as of `last_zxid`, each of at most `limit` bytes.
    fn rearm_packets(&self, last_zxid: i64, limit: usize) -> Vec<Rearm> {
        let persistent = self.persistent().next().is_some();
        let mut batches = Vec::new();
        let mut batch = Batch::default();
        for (path, kind) in self.armed_kinds() {
            if !batch.fits(path, limit) {
                batches.push(core::mem::take(&mut batch).encode(last_zxid, persistent));
            }
            batch.add(kind, path);
        }
        if batch.len > 0 {
            batches.push(batch.encode(last_zxid, persistent));
        }
        batches
    }
}

/// The body of one setWatches or setWatches2.
struct Rearm {
    persistent: bool,
    body: BytesMut,
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

    fn encode(self, relative_zxid: i64, persistent: bool) -> Rearm {
        let mut body = BytesMut::new();
        if persistent {
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
        Rearm { persistent, body }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec::Vec};

    use bytes::Bytes;

    use super::{
        super::{RequestId, watches::Watch},
        *,
    };
    use crate::{Chroot, jute::Decode};

    fn watch(id: u64) -> Watch<()> {
        Watch { id: RequestId(id), token: (), chroot: Chroot::default() }
    }

    #[test]
    fn many_watches_are_rearmed_in_packets_under_the_limit() {
        let mut table = WatchTable::default();
        let path = |id: u64| format!("/{id:0200}");
        for id in 0..2_000 {
            table.arm(WatchKind::Child, path(id), watch(id));
            table.arm(WatchKind::Child, path(id), watch(10_000 + id));
        }
        let batches = table.rearm_packets(77, 100_000);
        let mut paths = Vec::new();
        for batch in &batches {
            assert!(!batch.persistent && batch.body.len() + 8 <= 100_000);
            let body = Bytes::copy_from_slice(&batch.body);
            let packet = SetWatches::decode_all(&body).unwrap();
            assert_eq!(packet.relative_zxid, 77);
            paths.extend(packet.child_watches.iter().map(|path| path.to_string()));
        }
        assert_eq!(batches.len(), 5);
        assert_eq!(paths, (0..2_000).map(path).collect::<Vec<_>>());
    }

    #[test]
    fn persistent_watches_need_set_watches_2() {
        let mut table = WatchTable::default();
        table.arm(WatchKind::Data, "/a".into(), watch(1));
        table.arm(WatchKind::Persistent, "/b".into(), watch(2));
        let batches = table.rearm_packets(5, 100_000);
        let body = Bytes::copy_from_slice(&batches[0].body);
        let packet = SetWatches2::decode_all(&body).unwrap();
        assert!(batches[0].persistent);
        assert_eq!(
            (&packet.data_watches[..], &packet.persistent_watches[..]),
            (&["/a"][..], &["/b"][..])
        );
    }
}
