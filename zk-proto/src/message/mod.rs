//! [`Request`] and [`Response`]: the records of each operation. The table is at the end of this file.
//!
//! A request is a [`RequestHeader`] and the operation's record; a reply is a [`ReplyHeader`] and the reply's
//! record. The reply does not contain its operation, so a decoder must know the request. The handshake
//! ([`ConnectRequest`](crate::records::ConnectRequest)) and watch events
//! ([`WatcherEvent`](crate::records::WatcherEvent)) have other formats.
//!
//! A record can be decoded as a whole packet or, as servers and clients do, as the start of one. An operation
//! that is not in the table is kept as bytes.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod paths;

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::{
    ErrorCode, OpCode,
    jute::{Decode, DecodeError, Described, Encode, Reader},
    records::*,
};

/// Defines [`Request`] and [`Response`] by lines of the form
/// `Operation(record of the request) at field with the path -> record of the reply;`.
macro_rules! operations {
    ($life:lifetime: $(
        $op:ident $( ($request:ty) )? $( at $path:ident )? $( -> $reply:ty )? ;
    )*) => {
        /// A request without its xid.
        ///
        /// It borrows its content from the caller or from the frame. Every variant has the name of its
        /// [`OpCode`] and contains the operation's record, if there is one.
        ///
        /// ```
        /// use bytes::BytesMut;
        /// use zk_proto::{Request, jute::{Decode, Reader}, records::{GetDataRequest, RequestHeader}};
        ///
        /// let request = Request::GetData(GetDataRequest { path: "/config", watch: true.into() });
        /// let mut packet = BytesMut::new();
        /// request.encode(7, &mut packet);
        ///
        /// let packet = packet.freeze();
        /// let mut input = Reader::new(&packet);
        /// let header = RequestHeader::decode(&mut input)?;
        /// assert_eq!(header.xid, 7);
        /// assert_eq!(Request::decode(header.op, &mut input)?, request);
        /// # Ok::<(), zk_proto::DecodeError>(())
        /// ```
        #[derive(Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Request<$life> {
            $(
                #[doc = concat!("See [`OpCode::", stringify!($op), "`].")]
                $op $( ($request) )?,
            )*
            /// An operation that this version does not know.
            Unknown {
                /// The operation.
                op: OpCode,
                /// All bytes after the header.
                body: &$life [u8],
            },
        }

        impl<$life> Request<$life> {
            /// Returns the operation.
            #[must_use]
            pub const fn op(&self) -> OpCode {
                match self {
                    $( Self::$op { .. } => OpCode::$op, )*
                    Self::Unknown { op, .. } => *op,
                }
            }

            /// Returns the path of the request; for a multi, the path of its first operation.
            #[must_use]
            pub fn path(&self) -> Option<&$life str> {
                match self {
                    Self::Multi(multi) | Self::MultiRead(multi) => {
                        multi.ops.first().map(MultiOp::path)
                    }
                    $( $( Self::$op(request) => request.$path.path(), )? )*
                    _ => None,
                }
            }

            /// Replaces the path of the request. A request whose record has no path, or a null path, is
            /// returned unchanged.
            #[must_use]
            pub fn with_path(mut self, path: &$life str) -> Self {
                match &mut self {
                    $( $( Self::$op(request) => request.$path.set_path(path), )? )*
                    _ => {}
                }
                self
            }

            /// Appends the record to `out`.
            pub fn encode_body(&self, out: &mut BytesMut) {
                match self {
                    $(
                        Self::$op $( (operations!(@bind request $request)) )? => {
                            $( <$request as Encode>::encode(request, out) )?
                        }
                    )*
                    Self::Unknown { body, .. } => out.extend_from_slice(body),
                }
            }

            /// Decodes the record of a request for `op`, which must be all that is left of the packet.
            ///
            /// # Errors
            /// Returns an error if the record is not valid, or if bytes are left.
            pub fn decode(op: OpCode, input: &mut Reader<$life>) -> Result<Self, DecodeError> {
                let request = Self::decode_prefix(op, input)?;
                input.finish()?;
                Ok(request)
            }

            /// Like [`decode`](Self::decode), but allows bytes after the record, which servers ignore.
            ///
            /// # Errors
            /// Returns an error if the record is not valid.
            pub fn decode_prefix(
                op: OpCode,
                input: &mut Reader<$life>,
            ) -> Result<Self, DecodeError> {
                Ok(match op {
                    $(
                        OpCode::$op => {
                            Self::$op $( (<$request as Decode<$life>>::decode(input)?) )?
                        }
                    )*
                    op => Self::Unknown { op, body: input.take(input.remaining())? },
                })
            }
        }

        impl<$life> fmt::Debug for Request<$life> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(
                        Self::$op $( (operations!(@bind request $request)) )? => {
                            f.debug_tuple(stringify!($op))
                                $( .field(request as &$request) )?
                                .finish()
                        }
                    )*
                    Self::Unknown { op, body } => f
                        .debug_struct("Unknown")
                        .field("op", op)
                        .field("body", &Described(body))
                        .finish(),
                }
            }
        }

        /// The body of a reply. Every variant has the name of the [`OpCode`] that it answers.
        ///
        /// It shares the memory of its frame.
        ///
        /// ```
        /// use bytes::Bytes;
        /// use zk_proto::{ErrorCode, OpCode, Response, jute::Reader};
        ///
        /// let body = Bytes::from_static(b"\0\0\0\x07/config");
        /// match Response::decode(OpCode::Sync, ErrorCode::Ok, &mut Reader::new(&body))? {
        ///     Response::Sync(reply) => assert_eq!(reply.path, "/config"),
        ///     other => panic!("not a reply to sync: {other:?}"),
        /// }
        /// # Ok::<(), zk_proto::DecodeError>(())
        /// ```
        #[derive(Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Response {
            $( $(
                #[doc = concat!("The reply to [`OpCode::", stringify!($op), "`].")]
                $op($reply),
            )? )*
            /// There is no body, because the operation has none or failed.
            Empty,
            /// The reply to an operation that this version does not know, or a failed reply with an unknown
            /// body: all bytes after the header.
            Unknown(Bytes),
        }

        impl Response {
            /// Appends the record to `out`.
            pub fn encode_body(&self, out: &mut BytesMut) {
                match self {
                    $( $( Self::$op(reply) => <$reply as Encode>::encode(reply, out), )? )*
                    Self::Empty => {}
                    Self::Unknown(body) => out.extend_from_slice(body),
                }
            }

            /// Decodes the record of the reply to `op`, which must be all that is left of the packet. `err` is
            /// the error code of the header.
            ///
            /// A failed operation usually has no record. If bytes follow the header all the same, as for
            /// multi and SASL, they are decoded as the record if possible, and are
            /// [`Unknown`](Self::Unknown) otherwise. Some servers reply to addWatch without a record; that
            /// is [`Empty`](Self::Empty).
            ///
            /// # Errors
            /// Returns an error if the operation succeeded and the record is not valid, or bytes are left.
            pub fn decode(
                op: OpCode,
                err: ErrorCode,
                input: &mut Reader<'_>,
            ) -> Result<Self, DecodeError> {
                let response = Self::decode_prefix(op, err, input)?;
                input.finish()?;
                Ok(response)
            }

            /// Like [`decode`](Self::decode), but leaves the bytes after the record, which clients ignore,
            /// in `input`.
            ///
            /// # Errors
            /// Returns an error if the operation succeeded and the record is not valid.
            pub fn decode_prefix(
                op: OpCode,
                err: ErrorCode,
                input: &mut Reader<'_>,
            ) -> Result<Self, DecodeError> {
                if input.remaining() == 0 && (!err.is_ok() || op == OpCode::AddWatch) {
                    return Ok(Self::Empty);
                }
                if err.is_ok() {
                    return Self::decode_record(op, input);
                }
                let mut ahead = input.clone();
                let record = Self::decode_record(op, &mut ahead);
                match record.and_then(|record| ahead.finish().map(|()| record)) {
                    Ok(record) => {
                        *input = ahead;
                        Ok(record)
                    }
                    Err(_) => input.take(input.remaining()).map(|body| Self::Unknown(input.share(body))),
                }
            }

            fn decode_record(op: OpCode, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match op {
                    $( OpCode::$op => operations!(@reply $op input $($reply)?), )*
                    _ => {
                        let body = input.take(input.remaining())?;
                        Self::Unknown(input.share(body))
                    }
                })
            }
        }

        impl fmt::Debug for Response {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( $(
                        Self::$op(reply) => {
                            f.debug_tuple(stringify!($op)).field(reply as &$reply).finish()
                        }
                    )? )*
                    Self::Empty => f.write_str("Empty"),
                    Self::Unknown(body) => {
                        f.debug_tuple("Unknown").field(&Described(body)).finish()
                    }
                }
            }
        }
    };
    (@bind $name:ident $request:ty) => { $name };
    (@reply $op:ident $input:ident) => { Self::Empty };
    (@reply $op:ident $input:ident $reply:ty) => {
        Self::$op(<$reply as Decode<'_>>::decode($input)?)
    };
}

/// The path field of a request's record.
trait PathField<'a> {
    fn path(&self) -> Option<&'a str>;
    fn set_path(&mut self, path: &'a str);
}

impl<'a> PathField<'a> for &'a str {
    fn path(&self) -> Option<&'a str> {
        Some(self)
    }

    fn set_path(&mut self, path: &'a str) {
        *self = path;
    }
}

impl<'a> PathField<'a> for Option<&'a str> {
    fn path(&self) -> Option<&'a str> {
        *self
    }

    fn set_path(&mut self, path: &'a str) {
        *self = self.map(|_| path);
    }
}

impl Request<'_> {
    /// Appends the packet without its length prefix to `out`: a [`RequestHeader`] with `xid`, and the record.
    pub fn encode(&self, xid: i32, out: &mut BytesMut) {
        RequestHeader { xid, op: self.op() }.encode(out);
        self.encode_body(out);
    }
}

impl Response {
    /// Appends the packet without its length prefix to `out`: `header` and the record.
    pub fn encode(&self, header: &ReplyHeader, out: &mut BytesMut) {
        header.encode(out);
        self.encode_body(out);
    }
}

operations! { 'a:
    Create(CreateRequest<'a>) at path -> CreateResponse;
    Delete(DeleteRequest<'a>) at path;
    Exists(ExistsRequest<'a>) at path -> Stat;
    GetData(GetDataRequest<'a>) at path -> GetDataResponse;
    SetData(SetDataRequest<'a>) at path -> Stat;
    GetAcl(GetAclRequest<'a>) at path -> GetAclResponse;
    SetAcl(SetAclRequest<'a>) at path -> Stat;
    GetChildren(GetChildrenRequest<'a>) at path -> GetChildrenResponse;
    Sync(SyncRequest<'a>) at path -> SyncResponse;
    Ping;
    GetChildren2(GetChildrenRequest<'a>) at path -> GetChildren2Response;
    Check(CheckVersionRequest<'a>) at path;
    Multi(MultiRequest<'a>) -> MultiResponse;
    Create2(CreateRequest<'a>) at path -> Create2Response;
    Reconfig(ReconfigRequest<'a>) -> GetDataResponse;
    CheckWatches(CheckWatchesRequest<'a>) at path;
    RemoveWatches(RemoveWatchesRequest<'a>) at path;
    CreateContainer(CreateRequest<'a>) at path -> Create2Response;
    CreateTtl(CreateTtlRequest<'a>) at path -> Create2Response;
    MultiRead(MultiRequest<'a>) -> MultiResponse;
    Auth(AuthPacket<'a>);
    SetWatches(SetWatches<'a>);
    Sasl(SaslRequest<'a>) -> SaslResponse;
    GetEphemerals(GetEphemeralsRequest<'a>) at prefix_path -> GetEphemeralsResponse;
    GetAllChildrenNumber(GetAllChildrenNumberRequest<'a>) at path -> GetAllChildrenNumberResponse;
    SetWatches2(SetWatches2<'a>);
    AddWatch(AddWatchRequest<'a>) at path -> ErrorResponse;
    WhoAmI -> WhoAmIResponse;
    CloseSession;
}
