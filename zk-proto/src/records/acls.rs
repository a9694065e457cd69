//! Reading and writing ACLs. The reply to setACL (`SetACLResponse`) is a [`Stat`].

use alloc::borrow::Cow;

use super::Stat;
use crate::{
    Acl,
    jute::{List, record},
};

record! {
    /// Reads a znode's ACL (`org.apache.zookeeper.proto.GetACLRequest`).
    #[derive(Copy)]
    pub struct GetAclRequest<'a> {
        /// The znode.
        pub path: &'a str,
    }
}

record! {
    /// The reply to getACL (`org.apache.zookeeper.proto.GetACLResponse`).
    pub struct GetAclResponse {
        /// The ACL. Digests in it are `x` for clients without the `ADMIN` permission.
        pub acl: List<Acl>,
        /// The znode's stat.
        pub stat: Stat,
    }
}

record! {
    /// Sets a znode's ACL (`org.apache.zookeeper.proto.SetACLRequest`).
    pub struct SetAclRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// The new ACL. If it is null or empty, the server refuses the request with
        /// [`InvalidAcl`](crate::ErrorCode::InvalidAcl).
        pub acl: Option<Cow<'a, [Acl]>>,
        /// The expected [`Stat::aversion`]; -1 for any.
        pub version: i32,
    }
}
