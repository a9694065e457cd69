//! [`CreateMode`]: what kind of node a create makes.

use crate::open_enum::open_enum;

open_enum! {
    /// The kind of node that a create makes (`org.apache.zookeeper.CreateMode`).
    ///
    /// A sequential node's name gets a number of ten digits appended, which grows from one child of
    /// the parent to the next.
    #[derive(Default)]
    pub enum CreateMode, else "create mode" {
        /// Lives until it is deleted.
        #[default]
        Persistent = 0, "persistent";
        /// Lives as long as the session that made it; has no children.
        Ephemeral = 1, "ephemeral";
        /// Persistent and sequential.
        PersistentSequential = 2, "persistent sequential";
        /// Ephemeral and sequential.
        EphemeralSequential = 3, "ephemeral sequential";
        /// Deleted by the server some time after its last child.
        Container = 4, "container";
        /// Deleted by the server once it was left without change and without children for its TTL.
        PersistentWithTtl = 5, "persistent with TTL";
        /// As [`PersistentWithTtl`](Self::PersistentWithTtl), and sequential.
        PersistentSequentialWithTtl = 6, "persistent sequential with TTL";
    }
}

impl CreateMode {
    /// Whether the node goes with its session.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the server appends a number to the name.
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Whether the node is a container; such nodes take [`OpCode::CreateContainer`](crate::OpCode::CreateContainer).
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Container)
    }

    /// Whether the node has a TTL; such nodes take [`OpCode::CreateTtl`](crate::OpCode::CreateTtl).
    #[must_use]
    pub const fn has_ttl(self) -> bool {
        matches!(self, Self::PersistentWithTtl | Self::PersistentSequentialWithTtl)
    }
}
