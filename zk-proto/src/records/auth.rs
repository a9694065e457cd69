//! Authentication.

use bytes::Bytes;

use crate::jute::{Secret, record};

record! {
    /// Adds a credential to the session (`org.apache.zookeeper.proto.AuthPacket`). Its xid is
    /// [`AUTH`](super::xid::AUTH). The reply has no body.
    #[derive(Copy)]
    pub struct AuthPacket<'a> {
        /// Always 0.
        pub auth_type: i32,
        /// The authentication scheme; see [`Id::scheme`](crate::Id::scheme).
        pub scheme: &'a str,
        /// The credential; for `digest` it is `user:password`.
        pub auth: Secret<Option<&'a [u8]>>,
    }
}

record! {
    /// The client's step of SASL authentication (`org.apache.zookeeper.proto.GetSASLRequest`). It has an
    /// ordinary xid and is sent before any other request.
    #[derive(Copy)]
    pub struct SaslRequest<'a> {
        /// The token of the SASL mechanism.
        pub token: Secret<Option<&'a [u8]>>,
    }
}

record! {
    /// The server's step of SASL authentication (`org.apache.zookeeper.proto.SetSASLResponse`). A refusal
    /// has one too, with a null token.
    pub struct SaslResponse {
        /// The token of the SASL mechanism; null if there is none.
        pub token: Secret<Option<Bytes>>,
    }
}
