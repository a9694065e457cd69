//! Several operations in one packet: a transaction ([`OpCode::Multi`]) or a batch of reads
//! ([`OpCode::MultiRead`]).
//!
//! The wire format is a list without a count: a [`MultiHeader`] before each operation or result, and a last
//! header that marks the end (`org.apache.zookeeper.MultiOperationRecord`, `MultiResponse`). Decoders use only
//! the operation and the end marker of a header. Servers differ in the other fields; headers that differ from
//! ZooKeeper's are kept, so that a decoded list is encoded to the same bytes.

use alloc::vec::Vec;
use core::fmt;

use bytes::BytesMut;

use super::{
    CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest,
    DeleteRequest, ErrorResponse, GetChildrenRequest, GetChildrenResponse, GetDataRequest,
    GetDataResponse, SetDataRequest, Stat,
};
use crate::{
    ErrorCode, OpCode,
    jute::{Bool, Decode, DecodeError, Encode, Reader, record},
};

record! {
    /// The header before each part of a multi, and at its end
    /// (`org.apache.zookeeper.proto.MultiHeader`).
    #[derive(Copy)]
    pub struct MultiHeader {
        /// The operation; [`OpCode::Error`] for a failed result and at the end.
        pub op: OpCode,
        /// Whether this is the end marker.
        pub done: Bool,
        /// In a request and at the end: -1. In a reply: the error code. Decoders ignore it.
        pub err: i32,
    }
}

impl MultiHeader {
    /// ZooKeeper's end marker.
    pub const END: Self = Self { op: OpCode::Error, done: Bool::TRUE, err: -1 };

    const fn request(op: OpCode) -> Self {
        Self { op, done: Bool::FALSE, err: -1 }
    }

    const fn result(op: OpCode, err: ErrorCode) -> Self {
        Self { op, done: Bool::FALSE, err: err.code() }
    }
}

/// The headers of a decoded list that differ from those that ZooKeeper writes.
#[derive(Clone, Default)]
struct Form {
    /// The `err` of parts by their index, in order.
    errs: Vec<(u32, i32)>,
    /// The last header.
    end: Option<MultiHeader>,
}

impl Form {
    /// Decodes parts up to the end marker. `part` decodes the record after a header, and returns the header that
    /// ZooKeeper writes for it.
    fn decode<'a>(
        input: &mut Reader<'a>,
        mut part: impl FnMut(OpCode, &mut Reader<'a>) -> Result<MultiHeader, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut form = Self::default();
        for at in 0_u32.. {
            let header = MultiHeader::decode(input)?;
            if header.done.get() {
                form.end = Some(header);
                break;
            }
            if part(header.op, input)?.err != header.err {
                form.errs.push((at, header.err));
            }
        }
        Ok(form)
    }

    /// Returns the header of the part at index `at`, for which ZooKeeper writes `header`.
    fn header(&self, at: usize, header: MultiHeader) -> MultiHeader {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let found = self.errs.binary_search_by_key(&at, |(at, _)| *at).ok();
        let err = found.and_then(|found| self.errs.get(found)).map_or(header.err, |(_, err)| *err);
        MultiHeader { err, ..header }
    }

    fn end(&self) -> MultiHeader {
        self.end.unwrap_or(MultiHeader::END)
    }
}

/// Defines the operations of a multi: a variant with the name of the operation, and its record.
macro_rules! multi_ops {
    ($life:lifetime: $( $(#[$meta:meta])* $op:ident($request:ty), )*) => {
        /// One operation of a multi (`org.apache.zookeeper.Op`).
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum MultiOp<$life> {
            $( $(#[$meta])* $op($request), )*
        }

        impl<$life> MultiOp<$life> {
            /// Returns the operation.
            #[must_use]
            pub const fn op(&self) -> OpCode {
                match self {
                    $( Self::$op(_) => OpCode::$op, )*
                }
            }

            /// Returns the path of the operation.
            #[must_use]
            pub const fn path(&self) -> &$life str {
                match self {
                    $( Self::$op(request) => request.path, )*
                }
            }

            /// Replaces the path of the operation.
            #[must_use]
            pub fn with_path(mut self, path: &$life str) -> Self {
                match &mut self {
                    $( Self::$op(request) => request.path = path, )*
                }
                self
            }

            pub(crate) fn encode_record(&self, out: &mut BytesMut) {
                match self {
                    $( Self::$op(request) => request.encode(out), )*
                }
            }

            fn decode_record(op: OpCode, input: &mut Reader<$life>) -> Result<Self, DecodeError> {
                match op {
                    $( OpCode::$op => Decode::decode(input).map(Self::$op), )*
                    op => Err(DecodeError::UnknownOperation(op.code())),
                }
            }
        }
    };
}

multi_ops! { 'a:
    /// Creates a znode. The result is its path.
    Create(CreateRequest<'a>),
    /// Creates a znode. The result is its path and stat; from servers up to 3.8, only its path.
    Create2(CreateRequest<'a>),
    /// Creates a container.
    CreateContainer(CreateRequest<'a>),
    /// Creates a znode with a TTL.
    CreateTtl(CreateTtlRequest<'a>),
    /// Deletes a znode.
    Delete(DeleteRequest<'a>),
    /// Sets a znode's data.
    SetData(SetDataRequest<'a>),
    /// Checks a znode's version.
    Check(CheckVersionRequest<'a>),
    /// In a multiRead: reads a znode's data. It sets no watch.
    GetData(GetDataRequest<'a>),
    /// In a multiRead: lists a znode's children. It sets no watch.
    GetChildren(GetChildrenRequest<'a>),
}

/// Encodes the header and the record.
impl Encode for MultiOp<'_> {
    fn encode(&self, out: &mut BytesMut) {
        MultiHeader::request(self.op()).encode(out);
        self.encode_record(out);
    }
}

/// Several operations (`org.apache.zookeeper.MultiOperationRecord`), for multi and multiRead.
///
/// Servers accept writes and checks in a multi, and [`GetData`](MultiOp::GetData) and
/// [`GetChildren`](MultiOp::GetChildren) in a multiRead.
#[derive(Clone, Default)]
pub struct MultiRequest<'a> {
    /// The operations in the order of execution.
    pub ops: Vec<MultiOp<'a>>,
    form: Form,
}

impl<'a> MultiRequest<'a> {
    /// Creates a request of `ops`.
    #[must_use]
    pub fn new(ops: Vec<MultiOp<'a>>) -> Self {
        Self { ops, form: Form::default() }
    }

    /// Encodes the request, with `record` encoding the record of each operation.
    pub(crate) fn encode_with(
        &self,
        out: &mut BytesMut,
        mut record: impl FnMut(&MultiOp<'a>, &mut BytesMut),
    ) {
        for (at, op) in self.ops.iter().enumerate() {
            self.form.header(at, MultiHeader::request(op.op())).encode(out);
            record(op, out);
        }
        self.form.end().encode(out);
    }
}

impl PartialEq for MultiRequest<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ops == other.ops
    }
}

impl Eq for MultiRequest<'_> {}

impl fmt::Debug for MultiRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiRequest").field("ops", &self.ops).finish()
    }
}

impl Encode for MultiRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.encode_with(out, MultiOp::encode_record);
    }
}

impl<'a> Decode<'a> for MultiRequest<'a> {
    const MIN_LEN: usize = MultiHeader::MIN_LEN;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        let form = Form::decode(input, |op, input| {
            ops.push(MultiOp::decode_record(op, input)?);
            Ok(MultiHeader::request(op))
        })?;
        Ok(Self { ops, form })
    }
}

/// The result of one operation of a multi (`org.apache.zookeeper.OpResult`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiResult {
    /// [`MultiOp::Create`] created the znode. Servers up to 3.8 reply to [`MultiOp::Create2`] with this too.
    Create(CreateResponse),
    /// One of the other create operations created the znode.
    Create2(Create2Response),
    /// The znode was deleted.
    Delete,
    /// The data were set. This is the new stat.
    SetData(Stat),
    /// The version matched.
    Check,
    /// The data of the znode.
    GetData(GetDataResponse),
    /// The children of the znode.
    GetChildren(GetChildrenResponse),
    /// The operation failed. If one operation of a transaction fails, none is applied, and every result is an
    /// error: [`ErrorCode::Ok`] before the one that failed, its own code for that one, and
    /// [`ErrorCode::RuntimeInconsistency`] after it.
    Error(ErrorCode),
}

impl MultiResult {
    const fn header(&self) -> MultiHeader {
        let op = match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::Delete => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check => OpCode::Check,
            Self::GetData(_) => OpCode::GetData,
            Self::GetChildren(_) => OpCode::GetChildren,
            Self::Error(err) => return MultiHeader::result(OpCode::Error, *err),
        };
        MultiHeader::result(op, ErrorCode::Ok)
    }

    fn decode_record(op: OpCode, input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match op {
            OpCode::Create => Decode::decode(input).map(Self::Create),
            OpCode::Create2 => Decode::decode(input).map(Self::Create2),
            OpCode::Delete => Ok(Self::Delete),
            OpCode::SetData => Decode::decode(input).map(Self::SetData),
            OpCode::Check => Ok(Self::Check),
            OpCode::GetData => Decode::decode(input).map(Self::GetData),
            OpCode::GetChildren => Decode::decode(input).map(Self::GetChildren),
            OpCode::Error => ErrorResponse::decode(input).map(|error| Self::Error(error.err)),
            op => Err(DecodeError::UnknownOperation(op.code())),
        }
    }

    fn encode_record(&self, out: &mut BytesMut) {
        match self {
            Self::Create(reply) => reply.encode(out),
            Self::Create2(reply) => reply.encode(out),
            Self::SetData(stat) => stat.encode(out),
            Self::GetData(reply) => reply.encode(out),
            Self::GetChildren(reply) => reply.encode(out),
            Self::Error(err) => err.encode(out),
            Self::Delete | Self::Check => {}
        }
    }
}

/// The reply to multi and multiRead (`org.apache.zookeeper.MultiResponse`).
#[derive(Clone, Default)]
pub struct MultiResponse {
    /// One result for each operation, in the same order.
    pub results: Vec<MultiResult>,
    form: Form,
}

impl MultiResponse {
    /// Creates a reply of `results`.
    #[must_use]
    pub fn new(results: Vec<MultiResult>) -> Self {
        Self { results, form: Form::default() }
    }

    /// Returns the index and the error of the operation that failed, or `None` if the transaction succeeded.
    #[must_use]
    pub fn failure(&self) -> Option<(usize, ErrorCode)> {
        let errors = || {
            self.results.iter().enumerate().filter_map(|(index, result)| match result {
                MultiResult::Error(err) => Some((index, *err)),
                _ => None,
            })
        };
        let cause = |(_, err): &(usize, ErrorCode)| {
            !matches!(err, ErrorCode::Ok | ErrorCode::RuntimeInconsistency)
        };
        errors().find(cause).or_else(|| errors().find(|(_, err)| !err.is_ok()))
    }
}

impl PartialEq for MultiResponse {
    fn eq(&self, other: &Self) -> bool {
        self.results == other.results
    }
}

impl Eq for MultiResponse {}

impl fmt::Debug for MultiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiResponse").field("results", &self.results).finish()
    }
}

impl Encode for MultiResponse {
    fn encode(&self, out: &mut BytesMut) {
        for (at, result) in self.results.iter().enumerate() {
            self.form.header(at, result.header()).encode(out);
            result.encode_record(out);
        }
        self.form.end().encode(out);
    }
}

impl<'a> Decode<'a> for MultiResponse {
    const MIN_LEN: usize = MultiHeader::MIN_LEN;

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        let form = Form::decode(input, |op, input| {
            let result = MultiResult::decode_record(op, input)?;
            let header = result.header();
            results.push(result);
            Ok(header)
        })?;
        Ok(Self { results, form })
    }
}
