//! Headers: the start of every packet after the handshake.

use crate::{ErrorCode, OpCode, jute::record};

record! {
    /// The header of a request (`org.apache.zookeeper.proto.RequestHeader`).
    #[derive(Copy)]
    pub struct RequestHeader {
        /// The id of the request, or a special id from [`xid`].
        pub xid: i32,
        /// The operation.
        pub op: OpCode,
    }
}

record! {
    /// The header of a reply or a watch event (`org.apache.zookeeper.proto.ReplyHeader`).
    #[derive(Copy)]
    pub struct ReplyHeader {
        /// The id of the request that this answers, or a special id from [`xid`].
        pub xid: i32,
        /// The newest transaction that the server had applied; -1 in watch events of servers before 3.9.
        pub zxid: i64,
        /// The error code. If it is not [`ErrorCode::Ok`], there is no body, except for a multi.
        pub err: ErrorCode,
    }
}

/// Special xids (`org.apache.zookeeper.ClientCnxn`).
pub mod xid {
    /// A watch event.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its reply.
    pub const PING: i32 = -2;
    /// An auth packet and its reply.
    pub const AUTH: i32 = -4;
    /// A setWatches or setWatches2 and its reply.
    pub const SET_WATCHES: i32 = -8;
}
