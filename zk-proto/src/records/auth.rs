//! Proofs of identity.

use bytes::Bytes;

use crate::jute::{Secret, record};

record! {
    /// Adds a credential to the session (`org.apache.zookeeper.proto.AuthPacket`). It goes with the xid
    /// [`AUTH`](super::xid::AUTH); the reply has no body.
    #[derive(Copy)]
    pub struct AuthPacket<'a> {
        /// Always 0.
        pub auth_type: i32,
        /// How the identity is proven, as [`Id::scheme`](crate::Id::scheme).
        pub scheme: &'a str,
        /// The proof; for `digest` it is `user:password`.
        pub auth: Secret<Option<&'a [u8]>>,
    }
}

record! {
    /// The client's step of a SASL exchange (`org.apache.zookeeper.proto.GetSASLRequest`). It goes with
    /// an ordinary xid, before any other request.
    #[derive(Copy)]
    pub struct SaslRequest<'a> {
        /// What the mechanism says.
        pub token: Secret<Option<&'a [u8]>>,
    }
}

record! {
    /// The server's step of a SASL exchange (`org.apache.zookeeper.proto.SetSASLResponse`). It comes with
    /// a refusal too, as null.
    pub struct SaslResponse {
        /// What the mechanism says; null when there is nothing more to say.
        pub token: Secret<Option<Bytes>>,
    }
}
