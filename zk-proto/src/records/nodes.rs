//! Creating, deleting, reading and writing znodes.
//!
//! [`Stat`] is the reply to exists and setData (`ExistsResponse`, `SetDataResponse`).

use alloc::borrow::Cow;

use bytes::Bytes;

use super::Stat;
use crate::{
    Acl, CreateMode, Ustring,
    jute::{Bool, record},
};

record! {
    /// Creates a znode (`org.apache.zookeeper.proto.CreateRequest`), for create, create2 and
    /// createContainer.
    pub struct CreateRequest<'a> {
        /// The path. The server appends the sequence number of a sequential znode to it.
        pub path: &'a str,
        /// The data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The ACL. If it is null or empty, the server refuses the request with
        /// [`InvalidAcl`](crate::ErrorCode::InvalidAcl).
        pub acl: Option<Cow<'a, [Acl]>>,
        /// The kind of znode.
        pub flags: CreateMode,
    }
}

record! {
    /// Creates a znode with a TTL (`org.apache.zookeeper.proto.CreateTTLRequest`).
    pub struct CreateTtlRequest<'a> {
        /// The path. The server appends the sequence number of a sequential znode to it.
        pub path: &'a str,
        /// The data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The ACL. If it is null or empty, the server refuses the request with
        /// [`InvalidAcl`](crate::ErrorCode::InvalidAcl).
        pub acl: Option<Cow<'a, [Acl]>>,
        /// The kind of znode: one of the two with a TTL.
        pub flags: CreateMode,
        /// The TTL: 1 to 2^40 - 1 milliseconds without a change.
        pub ttl: i64,
    }
}

record! {
    /// The reply to create (`org.apache.zookeeper.proto.CreateResponse`).
    pub struct CreateResponse {
        /// The path of the new znode, with its sequence number if it is sequential.
        pub path: Ustring,
    }
}

record! {
    /// The reply to create2, createContainer and createTTL
    /// (`org.apache.zookeeper.proto.Create2Response`).
    pub struct Create2Response {
        /// The path of the new znode, with its sequence number if it is sequential.
        pub path: Ustring,
        /// The new znode's stat.
        pub stat: Stat,
    }
}

record! {
    /// Deletes a znode (`org.apache.zookeeper.proto.DeleteRequest`).
    #[derive(Copy)]
    pub struct DeleteRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// The expected [`Stat::version`]; -1 for any.
        pub version: i32,
    }
}

record! {
    /// Reads a znode's stat (`org.apache.zookeeper.proto.ExistsRequest`).
    #[derive(Copy)]
    pub struct ExistsRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// Whether to set a watch on the data, or on the creation of a missing znode.
        pub watch: Bool,
    }
}

record! {
    /// Reads a znode's data (`org.apache.zookeeper.proto.GetDataRequest`).
    #[derive(Copy)]
    pub struct GetDataRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// Whether to set a watch on the data.
        pub watch: Bool,
    }
}

record! {
    /// The reply to getData and reconfig (`org.apache.zookeeper.proto.GetDataResponse`).
    pub struct GetDataResponse {
        /// The data as they were set: null or a buffer.
        pub data: Option<Bytes>,
        /// The znode's stat.
        pub stat: Stat,
    }
}

record! {
    /// Sets a znode's data (`org.apache.zookeeper.proto.SetDataRequest`).
    #[derive(Copy)]
    pub struct SetDataRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// The new data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The expected [`Stat::version`]; -1 for any.
        pub version: i32,
    }
}

record! {
    /// Waits until the server has caught up with the leader (`org.apache.zookeeper.proto.SyncRequest`).
    #[derive(Copy)]
    pub struct SyncRequest<'a> {
        /// Any path. The server returns it.
        pub path: &'a str,
    }
}

record! {
    /// The reply to sync (`org.apache.zookeeper.proto.SyncResponse`).
    pub struct SyncResponse {
        /// The path of the request.
        pub path: Ustring,
    }
}

record! {
    /// Checks a znode's version (`org.apache.zookeeper.proto.CheckVersionRequest`).
    #[derive(Copy)]
    pub struct CheckVersionRequest<'a> {
        /// The znode.
        pub path: &'a str,
        /// The expected [`Stat::version`]; -1 checks only that the znode exists.
        pub version: i32,
    }
}
