//! What other records are made of. Access lists are in [`Acl`](crate::Acl).

use crate::{Ustring, jute::record};

record! {
    /// What the server knows of a node besides its data (`org.apache.zookeeper.data.Stat`).
    #[derive(Copy, Hash, Default)]
    pub struct Stat {
        /// The transaction that made the node.
        pub czxid: i64,
        /// The transaction that last set the node's data.
        pub mzxid: i64,
        /// When the node was made: milliseconds since 1970, by the leader's clock.
        pub ctime: i64,
        /// When the node's data were last set: milliseconds since 1970, by the leader's clock.
        pub mtime: i64,
        /// How often the data were set. Wraps.
        pub version: i32,
        /// How often a child was made or deleted. Wraps.
        pub cversion: i32,
        /// How often the access list was set. Wraps.
        pub aversion: i32,
        /// The session that an ephemeral node goes with; 0 for every other kind of node.
        pub ephemeral_owner: i64,
        /// Bytes of the node's data.
        pub data_length: i32,
        /// How many children the node has.
        pub num_children: i32,
        /// The transaction that last made or deleted a child; `czxid` when there was none.
        pub pzxid: i64,
    }
}

impl Stat {
    /// Bytes that it takes on the wire.
    pub const LEN: usize = 68;

    /// Whether the node goes with its session.
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.ephemeral_owner != 0
    }
}

record! {
    /// One identity of a session (`org.apache.zookeeper.data.ClientInfo`).
    #[derive(PartialOrd, Ord, Hash)]
    pub struct ClientInfo {
        /// How the identity was proven, as [`Id::scheme`](crate::Id::scheme).
        pub auth_scheme: Ustring,
        /// The user's name, or an address; a digest is not part of it.
        pub user: Ustring,
    }
}
