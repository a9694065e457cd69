//! Watches: their events, and the requests that are about nothing else.

use crate::{
    AddWatchMode, ErrorCode, EventType, KeeperState, Ustring, WatcherType,
    jute::{List, record},
};

record! {
    /// Something has happened on a watched path (`org.apache.zookeeper.proto.WatcherEvent`). The
    /// server sends it unasked, with the xid [`NOTIFICATION`](super::xid::NOTIFICATION).
    pub struct WatcherEvent {
        /// What has happened.
        pub kind: EventType,
        /// The state of the connection: connected, since this came over it.
        pub state: KeeperState,
        /// The node that it happened to.
        pub path: Ustring,
    }
}

record! {
    /// Arms one-shot watches again after a reconnect (`org.apache.zookeeper.proto.SetWatches`).
    pub struct SetWatches<'a> {
        /// The last transaction that the client has seen: what happened later fires at once.
        pub relative_zxid: i64,
        /// Paths with watches on data.
        pub data_watches: List<&'a str>,
        /// Paths with watches on missing nodes.
        pub exist_watches: List<&'a str>,
        /// Paths with watches on children.
        pub child_watches: List<&'a str>,
    }
}

record! {
    /// Arms watches of all kinds again after a reconnect (`org.apache.zookeeper.proto.SetWatches2`).
    pub struct SetWatches2<'a> {
        /// The last transaction that the client has seen: what happened later fires at once, but for
        /// persistent watches.
        pub relative_zxid: i64,
        /// Paths with watches on data.
        pub data_watches: List<&'a str>,
        /// Paths with watches on missing nodes.
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
    /// Leaves a persistent watch (`org.apache.zookeeper.proto.AddWatchRequest`).
    #[derive(Copy)]
    pub struct AddWatchRequest<'a> {
        /// Where.
        pub path: &'a str,
        /// How far it reaches.
        pub mode: AddWatchMode,
    }
}

record! {
    /// An outcome as a body of its own (`org.apache.zookeeper.proto.ErrorResponse`): the reply to
    /// addWatch, besides the outcome in the header.
    #[derive(Copy)]
    pub struct ErrorResponse {
        /// The outcome.
        pub err: ErrorCode,
    }
}

record! {
    /// Asks whether there is such a watch, with [`NoWatcher`](ErrorCode::NoWatcher) for no
    /// (`org.apache.zookeeper.proto.CheckWatchesRequest`).
    #[derive(Copy)]
    pub struct CheckWatchesRequest<'a> {
        /// Where.
        pub path: &'a str,
        /// Of which kind.
        pub watcher_type: WatcherType,
    }
}

record! {
    /// Removes watches (`org.apache.zookeeper.proto.RemoveWatchesRequest`).
    #[derive(Copy)]
    pub struct RemoveWatchesRequest<'a> {
        /// Where.
        pub path: &'a str,
        /// Of which kind.
        pub watcher_type: WatcherType,
    }
}
