//! The codes around watches: what has happened, and which watches are meant.

use crate::open_enum::open_enum;

open_enum! {
    /// What has happened on a watched path (`org.apache.zookeeper.Watcher.Event.EventType`).
    pub enum EventType, else "event" {
        /// Nothing on any path: the state of the session has changed. Servers do not send it.
        None = -1, "None";
        /// The node was made.
        NodeCreated = 1, "NodeCreated";
        /// The node was deleted.
        NodeDeleted = 2, "NodeDeleted";
        /// The node's data were set, be it to what they were.
        NodeDataChanged = 3, "NodeDataChanged";
        /// A child of the node was made or deleted.
        NodeChildrenChanged = 4, "NodeChildrenChanged";
        /// A watch on data, or on a missing node, was removed by request.
        DataWatchRemoved = 5, "DataWatchRemoved";
        /// A watch on children was removed by request.
        ChildWatchRemoved = 6, "ChildWatchRemoved";
        /// A persistent watch was removed by request.
        PersistentWatchRemoved = 7, "PersistentWatchRemoved";
    }
}

open_enum! {
    /// The state of the connection that an event tells (`org.apache.zookeeper.Watcher.Event.KeeperState`).
    ///
    /// Servers send [`SyncConnected`](Self::SyncConnected) with every event; clients make the others.
    pub enum KeeperState, else "state" {
        /// There is no connection.
        Disconnected = 0, "Disconnected";
        /// Connected.
        SyncConnected = 3, "SyncConnected";
        /// A credential was refused.
        AuthFailed = 4, "AuthFailed";
        /// Connected to a server without a quorum.
        ConnectedReadOnly = 5, "ConnectedReadOnly";
        /// The SASL exchange has succeeded.
        SaslAuthenticated = 6, "SaslAuthenticated";
        /// The client was closed.
        Closed = 7, "Closed";
        /// The session has expired.
        Expired = -112, "Expired";
    }
}

open_enum! {
    /// How far a persistent watch reaches (`org.apache.zookeeper.AddWatchMode`).
    #[derive(Default)]
    pub enum AddWatchMode, else "watch mode" {
        /// The node's data and children.
        #[default]
        Persistent = 0, "persistent";
        /// The node and all nodes below it; without
        /// [`NodeChildrenChanged`](EventType::NodeChildrenChanged), which the children's own events
        /// make needless.
        PersistentRecursive = 1, "persistent recursive";
    }
}

open_enum! {
    /// Which watches of a path to check or remove (`org.apache.zookeeper.Watcher.WatcherType`).
    pub enum WatcherType, else "watch type" {
        /// Those on children.
        Children = 1, "children";
        /// Those on data or on a missing node.
        Data = 2, "data";
        /// All of them.
        Any = 3, "any";
        /// Persistent ones. Since 3.9; older servers refuse it as a request that they cannot read.
        Persistent = 4, "persistent";
        /// Persistent recursive ones. Since 3.9; as [`Persistent`](Self::Persistent).
        PersistentRecursive = 5, "persistent recursive";
    }
}
