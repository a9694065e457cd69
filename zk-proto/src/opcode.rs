//! [`OpCode`]: what a request asks for.

use crate::open_enum::open_enum;

open_enum! {
    /// The operation of a request (`org.apache.zookeeper.ZooDefs.OpCode`).
    ///
    /// `Display` gives ZooKeeper's own name, such as `getChildren2`. Operations without a version have
    /// been there since before 3.3.
    pub enum OpCode, else "operation" {
        /// None; the server uses it inside itself.
        Notification = 0, "notification";
        /// Makes a node; the reply is its path.
        Create = 1, "create";
        /// Deletes a node.
        Delete = 2, "delete";
        /// Reads a node's stat; may leave a watch, also where there is no node.
        Exists = 3, "exists";
        /// Reads a node's data and stat; may leave a watch.
        GetData = 4, "getData";
        /// Replaces a node's data.
        SetData = 5, "setData";
        /// Reads a node's access list.
        GetAcl = 6, "getACL";
        /// Replaces a node's access list.
        SetAcl = 7, "setACL";
        /// Reads the names of a node's children; may leave a watch.
        GetChildren = 8, "getChildren";
        /// Waits until the server has caught up with the leader.
        Sync = 9, "sync";
        /// Keeps the session alive.
        Ping = 11, "ping";
        /// As [`GetChildren`](Self::GetChildren), with the node's stat. Since 3.3.
        GetChildren2 = 12, "getChildren2";
        /// Checks a node's version, inside a [`Multi`](Self::Multi) only. Since 3.4.
        Check = 13, "check";
        /// Several operations of which all are done or none. Since 3.4.
        Multi = 14, "multi";
        /// As [`Create`](Self::Create), with the new node's stat. Since 3.5.
        Create2 = 15, "create2";
        /// Changes the members of the ensemble. Since 3.5.
        Reconfig = 16, "reconfig";
        /// Asks whether there is such a watch. Since 3.5.
        CheckWatches = 17, "checkWatches";
        /// Removes watches. Since 3.5.
        RemoveWatches = 18, "removeWatches";
        /// Makes a container, which the server deletes after its last child. Since 3.5.
        CreateContainer = 19, "createContainer";
        /// Deletes an empty container; sent by servers only. Since 3.5.
        DeleteContainer = 20, "deleteContainer";
        /// Makes a node that the server deletes once it was left unchanged for long enough. Since 3.5,
        /// where the server has `zookeeper.extendedTypesEnabled=true`.
        CreateTtl = 21, "createTTL";
        /// Several reads in one packet, each failing alone. Since 3.6.
        MultiRead = 22, "multiRead";
        /// Adds a credential to the session.
        Auth = 100, "auth";
        /// Arms watches again after a reconnect.
        SetWatches = 101, "setWatches";
        /// One step of a SASL exchange. Since 3.4.
        Sasl = 102, "sasl";
        /// Lists the ephemeral nodes of the session. Since 3.6.
        GetEphemerals = 103, "getEphemerals";
        /// Counts all nodes below a node. Since 3.6.
        GetAllChildrenNumber = 104, "getAllChildrenNumber";
        /// As [`SetWatches`](Self::SetWatches), with persistent watches too. Since 3.6.
        SetWatches2 = 105, "setWatches2";
        /// Leaves a persistent watch. Since 3.6.
        AddWatch = 106, "addWatch";
        /// Lists the identities that the server knows the session by. Since 3.7.
        WhoAmI = 107, "whoAmI";
        /// Opens a session; sent between servers only.
        CreateSession = -10, "createSession";
        /// Ends the session.
        CloseSession = -11, "closeSession";
        /// Stands in a reply to a [`Multi`](Self::Multi) for an operation that failed, and at its end.
        Error = -1, "error";
    }
}

impl OpCode {
    /// Whether servers make a transaction of such a request of a client, be it for an error (as
    /// `Request.isQuorum` has it, without what opens and ends sessions). All else is between the client
    /// and its server, but for [`Sync`](Self::Sync).
    ///
    /// ```
    /// # use zk_proto::OpCode;
    /// assert!(OpCode::Multi.is_write() && !OpCode::MultiRead.is_write());
    /// ```
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Create2
                | Self::CreateContainer
                | Self::CreateTtl
                | Self::Delete
                | Self::SetData
                | Self::SetAcl
                | Self::Multi
                | Self::Check
                | Self::Reconfig
        )
    }
}
