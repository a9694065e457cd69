//! Watch events, and requests that only concern watches.

use crate::{
    AddWatchMode, ErrorCode, EventType, KeeperState, Ustring, WatcherType,
    jute::{List, record},
};

record! {
    /// An event of a watch (`org.apache.zookeeper.proto.WatcherEvent`). The server sends it with the xid
    /// [`NOTIFICATION`](super::xid::NOTIFICATION).
    pub struct WatcherEvent {
        /// The type of the event.
        pub kind: EventType,
        /// The connection state; servers always send `SyncConnected`.
        pub state: KeeperState,
        /// The path of the znode.
        pub path: Ustring,
    }
}

record! {
    /// Re-arms one-shot watches after a reconnect (`org.apache.zookeeper.proto.SetWatches`).
    pub struct SetWatches<'a> {
        /// The last transaction that the client has seen. Later changes fire the watches at once.
        pub relative_zxid: i64,
        /// Paths with watches on data.
        pub data_watches: List<&'a str>,
        /// Paths with watches on missing znodes.
        pub exist_watches: List<&'a str>,
        /// Paths with watches on children.
        pub child_watches: List<&'a str>,
    }
}

record! {
    /// Re-arms watches of all kinds after a reconnect (`org.apache.zookeeper.proto.SetWatches2`).
    pub struct SetWatches2<'a> {
        /// The last transaction that the client has seen. Later changes fire one-shot watches at once, but not
        /// persistent ones.
        pub relative_zxid: i64,
        /// Paths with watches on data.
        pub data_watches: List<&'a str>,
        /// Paths with watches on missing znodes.
        pub exist_watches: List<&'a str>,
        /// Paths with watches on children.
        pub child_watches: List<&'a str>,
        /// Paths with persistent watches.
        pub persistent_watches: List<&'a str>,
        /// Paths with persistent recursive watches.
        pub persistent_recursive_watches: List<&'a str>,
    }
}

record! {
    /// Sets a persistent watch (`org.apache.zookeeper.proto.AddWatchRequest`).
    #[derive(Copy)]
    pub struct AddWatchRequest<'a> {
        /// The path.
        pub path: &'a str,
        /// The scope of the watch.
        pub mode: AddWatchMode,
    }
}

record! {
    /// An error code as a record (`org.apache.zookeeper.proto.ErrorResponse`): the reply to addWatch, in
    /// addition to the error code in the header.
    #[derive(Copy)]
    pub struct ErrorResponse {
        /// The error code.
        pub err: ErrorCode,
    }
}

record! {
    /// Checks whether a watch exists; [`NoWatcher`](ErrorCode::NoWatcher) if not
    /// (`org.apache.zookeeper.proto.CheckWatchesRequest`).
    #[derive(Copy)]
    pub struct CheckWatchesRequest<'a> {
        /// The path.
        pub path: &'a str,
        /// The kind of watches.
        pub watcher_type: WatcherType,
    }
}

record! {
    /// Removes watches (`org.apache.zookeeper.proto.RemoveWatchesRequest`).
    #[derive(Copy)]
    pub struct RemoveWatchesRequest<'a> {
        /// The path.
        pub path: &'a str,
        /// The kind of watches.
        pub watcher_type: WatcherType,
    }
}
