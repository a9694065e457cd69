//! The enums of watches: event types, connection states, and kinds of watches.

use crate::open_enum::open_enum;

open_enum! {
    /// The type of a watch event (`org.apache.zookeeper.Watcher.Event.EventType`).
    pub enum EventType, else "event" {
        /// The session state has changed; there is no path. Servers do not send it.
        None = -1, "None";
        /// The znode was created.
        NodeCreated = 1, "NodeCreated";
        /// The znode was deleted.
        NodeDeleted = 2, "NodeDeleted";
        /// The znode's data were set, possibly to the same value.
        NodeDataChanged = 3, "NodeDataChanged";
        /// A child of the znode was created or deleted.
        NodeChildrenChanged = 4, "NodeChildrenChanged";
        /// A watch on the data, or on a missing znode, was removed by request.
        DataWatchRemoved = 5, "DataWatchRemoved";
        /// A watch on the children was removed by request.
        ChildWatchRemoved = 6, "ChildWatchRemoved";
        /// A persistent watch was removed by request.
        PersistentWatchRemoved = 7, "PersistentWatchRemoved";
    }
}

open_enum! {
    /// The connection state in a watch event (`org.apache.zookeeper.Watcher.Event.KeeperState`).
    ///
    /// Servers always send [`SyncConnected`](Self::SyncConnected). The others are used by clients only.
    pub enum KeeperState, else "state" {
        /// There is no connection.
        Disconnected = 0, "Disconnected";
        /// Connected.
        SyncConnected = 3, "SyncConnected";
        /// A credential was refused.
        AuthFailed = 4, "AuthFailed";
        /// Connected to a server without a quorum.
        ConnectedReadOnly = 5, "ConnectedReadOnly";
        /// SASL authentication succeeded.
        SaslAuthenticated = 6, "SaslAuthenticated";
        /// The client was closed.
        Closed = 7, "Closed";
        /// The session has expired.
        Expired = -112, "Expired";
    }
}

open_enum! {
    /// The scope of a persistent watch (`org.apache.zookeeper.AddWatchMode`).
    #[derive(Default)]
    pub enum AddWatchMode, else "watch mode" {
        /// The znode's data and children.
        #[default]
        Persistent = 0, "persistent";
        /// The znode and all its descendants. There are no
        /// [`NodeChildrenChanged`](EventType::NodeChildrenChanged) events, because the children have events of
        /// their own.
        PersistentRecursive = 1, "persistent recursive";
    }
}

open_enum! {
    /// The kind of watches to check or remove (`org.apache.zookeeper.Watcher.WatcherType`).
    pub enum WatcherType, else "watch type" {
        /// Watches on the children.
        Children = 1, "children";
        /// Watches on the data or on a missing znode.
        Data = 2, "data";
        /// All watches.
        Any = 3, "any";
        /// Persistent watches. Since 3.9; older servers fail to decode the request.
        Persistent = 4, "persistent";
        /// Persistent recursive watches. Since 3.9, like [`Persistent`](Self::Persistent).
        PersistentRecursive = 5, "persistent recursive";
    }
}
