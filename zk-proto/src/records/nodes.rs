//! Nodes made, deleted, read and written.
//!
//! A reply that is only a stat has no record of its own here: [`Stat`] stands for `ExistsResponse` and
//! `SetDataResponse`.

use alloc::borrow::Cow;

use bytes::Bytes;

use super::Stat;
use crate::{
    Acl, CreateMode, Ustring,
    jute::{Bool, record},
};

record! {
    /// Makes a node (`org.apache.zookeeper.proto.CreateRequest`), for create, create2 and
    /// createContainer.
    pub struct CreateRequest<'a> {
        /// Where; for a sequential node the path that the number is appended to.
        pub path: &'a str,
        /// The node's data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The access list. A server refuses one that is null or empty.
        pub acl: Option<Cow<'a, [Acl]>>,
        /// The kind of node.
        pub flags: CreateMode,
    }
}

record! {
    /// Makes a node with a TTL (`org.apache.zookeeper.proto.CreateTTLRequest`).
    pub struct CreateTtlRequest<'a> {
        /// Where; for a sequential node the path that the number is appended to.
        pub path: &'a str,
        /// The node's data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The access list. A server refuses one that is null or empty.
        pub acl: Option<Cow<'a, [Acl]>>,
        /// One of the two kinds with a TTL.
        pub flags: CreateMode,
        /// How long the node lives without a change: 1 to 2^40 - 1 milliseconds.
        pub ttl: i64,
    }
}

record! {
    /// The reply to create (`org.apache.zookeeper.proto.CreateResponse`).
    pub struct CreateResponse {
        /// The node that was made, with its number if sequential.
        pub path: Ustring,
    }
}

record! {
    /// The reply to create2, createContainer and createTTL
    /// (`org.apache.zookeeper.proto.Create2Response`).
    pub struct Create2Response {
        /// The node that was made, with its number if sequential.
        pub path: Ustring,
        /// Its stat.
        pub stat: Stat,
    }
}

record! {
    /// Deletes a node (`org.apache.zookeeper.proto.DeleteRequest`).
    #[derive(Copy)]
    pub struct DeleteRequest<'a> {
        /// Which.
        pub path: &'a str,
        /// The [`Stat::version`] that it must have; -1 for any.
        pub version: i32,
    }
}

record! {
    /// Asks for a node's stat (`org.apache.zookeeper.proto.ExistsRequest`).
    #[derive(Copy)]
    pub struct ExistsRequest<'a> {
        /// Which.
        pub path: &'a str,
        /// Whether to leave a watch, on the node's data or on its being made.
        pub watch: Bool,
    }
}

record! {
    /// Asks for a node's data (`org.apache.zookeeper.proto.GetDataRequest`).
    #[derive(Copy)]
    pub struct GetDataRequest<'a> {
        /// Which.
        pub path: &'a str,
        /// Whether to leave a watch on the node's data.
        pub watch: Bool,
    }
}

record! {
    /// The reply to getData and reconfig (`org.apache.zookeeper.proto.GetDataResponse`).
    pub struct GetDataResponse {
        /// The node's data, as they were set: null or a buffer.
        pub data: Option<Bytes>,
        /// The node's stat.
        pub stat: Stat,
    }
}

record! {
    /// Sets a node's data (`org.apache.zookeeper.proto.SetDataRequest`).
    #[derive(Copy)]
    pub struct SetDataRequest<'a> {
        /// Which.
        pub path: &'a str,
        /// The new data, up to the server's `jute.maxbuffer`.
        pub data: Option<&'a [u8]>,
        /// The [`Stat::version`] that the node must have; -1 for any.
        pub version: i32,
    }
}

record! {
    /// Waits for the leader's newest state (`org.apache.zookeeper.proto.SyncRequest`).
    #[derive(Copy)]
    pub struct SyncRequest<'a> {
        /// Any path; the server only repeats it.
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
    /// Checks a node's version (`org.apache.zookeeper.proto.CheckVersionRequest`).
    #[derive(Copy)]
    pub struct CheckVersionRequest<'a> {
        /// Which.
        pub path: &'a str,
        /// The [`Stat::version`] that the node must have; -1 for any, so that it only must exist.
        pub version: i32,
    }
}
