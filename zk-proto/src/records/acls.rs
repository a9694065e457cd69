//! Access lists read and written. The reply to setACL (`SetACLResponse`) is a [`Stat`].

use alloc::borrow::Cow;

use super::Stat;
use crate::{
    Acl,
    jute::{List, record},
};

record! {
    /// Asks for a node's access list (`org.apache.zookeeper.proto.GetACLRequest`).
    #[derive(Copy)]
    pub struct GetAclRequest<'a> {
        /// Whose.
        pub path: &'a str,
    }
}

record! {
    /// The reply to getACL (`org.apache.zookeeper.proto.GetACLResponse`).
    pub struct GetAclResponse {
        /// The access list. Digests in it read `x` for who may not set it.
        pub acl: List<Acl>,
        /// The node's stat.
        pub stat: Stat,
    }
}

record! {
    /// Sets a node's access list (`org.apache.zookeeper.proto.SetACLRequest`).
    pub struct SetAclRequest<'a> {
        /// Whose.
        pub path: &'a str,
        /// The new access list. A server refuses one that is null or empty.
        pub acl: Option<Cow<'a, [Acl]>>,
        /// The [`Stat::aversion`] that the node must have; -1 for any.
        pub version: i32,
    }
}
