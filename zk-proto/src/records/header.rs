//! Headers: what stands before the body of every packet after the handshake.

use crate::{ErrorCode, OpCode, jute::record};

record! {
    /// What every request begins with (`org.apache.zookeeper.proto.RequestHeader`).
    #[derive(Copy)]
    pub struct RequestHeader {
        /// The request's number, or one of the special ones in [`xid`].
        pub xid: i32,
        /// The operation.
        pub op: OpCode,
    }
}

record! {
    /// What every reply and every notification begins with (`org.apache.zookeeper.proto.ReplyHeader`).
    #[derive(Copy)]
    pub struct ReplyHeader {
        /// The number of the request that is answered, or one of the special ones in [`xid`].
        pub xid: i32,
        /// The newest transaction that the server had applied; -1 in a notification of servers before 3.9.
        pub zxid: i64,
        /// The outcome. When it is not [`ErrorCode::Ok`] there is no body, but for a multi.
        pub err: ErrorCode,
    }
}

/// The xids that are no request's number (`org.apache.zookeeper.ClientCnxn`).
pub mod xid {
    /// A watch's event.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its reply.
    pub const PING: i32 = -2;
    /// An auth packet and its reply.
    pub const AUTH: i32 = -4;
    /// A setWatches or setWatches2 and its reply.
    pub const SET_WATCHES: i32 = -8;
}
