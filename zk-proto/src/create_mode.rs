//! [`CreateMode`]: the kind of znode that a create makes.

use crate::open_enum::open_enum;

open_enum! {
    /// The kind of znode to create (`org.apache.zookeeper.CreateMode`).
    ///
    /// The server appends a sequence number of ten digits to the name of a sequential znode. The number
    /// increases with each child of the parent.
    #[derive(Default)]
    pub enum CreateMode, else "create mode" {
        /// The znode exists until it is deleted.
        #[default]
        Persistent = 0, "persistent";
        /// The server deletes the znode at the end of the session that created it. It cannot have children.
        Ephemeral = 1, "ephemeral";
        /// Persistent and sequential.
        PersistentSequential = 2, "persistent sequential";
        /// Ephemeral and sequential.
        EphemeralSequential = 3, "ephemeral sequential";
        /// The server deletes the znode some time after its last child was deleted.
        Container = 4, "container";
        /// The server deletes the znode if it was not changed and had no children for its time to live (TTL).
        PersistentWithTtl = 5, "persistent with TTL";
        /// Like [`PersistentWithTtl`](Self::PersistentWithTtl), and sequential.
        PersistentSequentialWithTtl = 6, "persistent sequential with TTL";
    }
}

impl CreateMode {
    /// Returns true if the server deletes the znode at the end of the session.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Returns true if the server appends a sequence number to the name.
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Returns true for a container. Containers are created with [`OpCode::CreateContainer`](crate::OpCode::CreateContainer).
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Container)
    }

    /// Returns true if the znode has a TTL. Such znodes are created with [`OpCode::CreateTtl`](crate::OpCode::CreateTtl).
    #[must_use]
    pub const fn has_ttl(self) -> bool {
        matches!(self, Self::PersistentWithTtl | Self::PersistentSequentialWithTtl)
    }
}
