//! Records, requests and replies, decoded from arbitrary bytes.
//!
//! Decoding allocates memory in proportion to the bytes. A decoded value is encoded to the same bytes, and its `Debug`
//! output has a bounded length.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Acl, AddWatchMode, Chroot, CreateMode, ErrorCode, EventType, Id, KeeperState, OpCode, Perms,
    Request, Response, Ustring, WatcherType,
    jute::{Bool, Decode, Encode, List, Reader},
    records::*,
};

use crate::memory::within;

/// The maximum memory of a value per byte on the wire. The maximum is a growing list of results without content.
const GROWTH: usize = 48;

/// Errors, and whatever else does not depend on the bytes.
const FIXED: usize = 1 << 10;

const fn limit(len: usize) -> usize {
    GROWTH * len + FIXED
}

fn written(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

/// Formats a value as logs and errors do.
fn show(value: &impl Debug, len: usize) -> String {
    let shown = format!("{value:?}");
    assert!(shown.len() <= 32 * len + FIXED, "{} characters for {len} bytes", shown.len());
    shown
}

/// Decodes one record from all of `frame`.
fn check<'f, T>(frame: &'f Bytes) -> Option<T>
where
    T: Decode<'f> + Encode + Debug + PartialEq,
{
    let value = match within(limit(frame.len()), || T::decode_all(frame)) {
        Ok(value) => value,
        Err(error) => {
            show(&error, frame.len());
            return None;
        }
    };
    assert!(frame.len() >= T::MIN_LEN, "{} bytes where {} are the least", frame.len(), T::MIN_LEN);
    assert_eq!(written(|out| value.encode(out)), frame);
    show(&value, frame.len());
    Some(value)
}

/// Checks an enum of codes: each code is kept, and has a name or not.
fn check_code<'f, T>(frame: &'f Bytes, named: &[T])
where
    T: Decode<'f> + Encode + Debug + PartialEq + Copy + From<i32> + ToString,
    i32: From<T>,
{
    let Some(value) = check::<T>(frame) else { return };
    let code = i32::from(value);
    assert_eq!(T::from(code), value);
    assert_eq!(frame[..], code.to_be_bytes());
    let is_named = named.contains(&value);
    assert_ne!(is_named, format!("{value:?}") == format!("Unknown({code})"));
    assert_eq!(value.to_string().ends_with(&format!(" {code}")), !is_named, "{value:?}");
}

/// Checks that `Debug` of an identity shows no password and no hash.
fn check_id(Id { scheme, id }: &Id) {
    let public = matches!(scheme.as_str(), "world" | "ip" | "sasl" | "x509");
    let shown = match id.split_once(':') {
        Some((user, _)) if !public => format!("\"{}:<secret>\"", user.escape_debug()),
        _ => format!("{id:?}"),
    };
    let id = Id { scheme: scheme.clone(), id: id.clone() };
    assert_eq!(format!("{id:?}"), format!("Id {{ scheme: {scheme:?}, id: {shown} }}"));
}

macro_rules! records {
    ($( $record:ty ),* $(,)?) => { &[$( |frame| { check::<$record>(frame); }, )*] };
}

macro_rules! codes {
    ($( $code:ident ),* $(,)?) => { &[$( |frame| check_code(frame, $code::ALL), )*] };
}

const CODES: &[fn(&Bytes)] =
    codes![OpCode, ErrorCode, EventType, KeeperState, AddWatchMode, WatcherType, CreateMode];

const WITH_IDS: &[fn(&Bytes)] = &[
    |frame| {
        check::<Acl>(frame).inspect(|acl| check_id(&acl.id));
    },
    |frame| {
        check::<GetAclResponse>(frame)
            .inspect(|reply| reply.acl.iter().for_each(|acl| check_id(&acl.id)));
    },
];

const RECORDS: &[fn(&Bytes)] = records![
    RequestHeader,
    ReplyHeader,
    ConnectRequest<'_>,
    ConnectResponse,
    Stat,
    ClientInfo,
    CreateRequest<'_>,
    CreateTtlRequest<'_>,
    CreateResponse,
    Create2Response,
    DeleteRequest<'_>,
    ExistsRequest<'_>,
    GetDataRequest<'_>,
    GetDataResponse,
    SetDataRequest<'_>,
    SyncRequest<'_>,
    SyncResponse,
    CheckVersionRequest<'_>,
    GetChildrenRequest<'_>,
    GetChildrenResponse,
    GetChildren2Response,
    GetEphemeralsRequest<'_>,
    GetEphemeralsResponse,
    GetAllChildrenNumberRequest<'_>,
    GetAllChildrenNumberResponse,
    GetAclRequest<'_>,
    SetAclRequest<'_>,
    WatcherEvent,
    SetWatches<'_>,
    SetWatches2<'_>,
    AddWatchRequest<'_>,
    ErrorResponse,
    CheckWatchesRequest<'_>,
    RemoveWatchesRequest<'_>,
    AuthPacket<'_>,
    SaslRequest<'_>,
    SaslResponse,
    ReconfigRequest<'_>,
    WhoAmIResponse,
    MultiHeader,
    MultiRequest<'_>,
    MultiResponse,
    Perms,
    i32,
    i64,
    Bool,
    List<i64>,
    Bytes,
    Ustring,
    Option<Bytes>,
    Vec<Ustring>,
    Option<Vec<i64>>,
];

/// Decodes a record. The input is a byte that selects the record, and its bytes.
///
/// # Panics
/// Panics if the guarantees in the documentation of this module do not hold.
pub fn record(input: &[u8]) {
    let Some((&pick, frame)) = input.split_first() else { return };
    let kinds = [CODES, WITH_IDS, RECORDS];
    let mut kinds = kinds.into_iter().flatten();
    if let Some(kind) = kinds.nth(pick.into()) {
        kind(&Bytes::copy_from_slice(frame));
    }
}

/// Converts a byte to an operation, known or unknown.
fn op(pick: u8) -> OpCode {
    match OpCode::ALL.get(usize::from(pick)) {
        Some(op) => *op,
        None => OpCode::from(i32::from(pick) << 4),
    }
}

/// Decodes a request. The input is a byte that selects the operation, and the bytes after the header.
///
/// If its paths are valid, encoding it in a chroot changes each path and nothing else.
///
/// # Panics
/// Panics if that is not the case, or if the guarantees in the documentation of this module do not hold.
pub fn request(input: &[u8]) {
    let Some((&pick, frame)) = input.split_first() else { return };
    let (op, frame) = (op(pick), Bytes::copy_from_slice(frame));
    let decoded = within(limit(frame.len()), || Request::decode(op, &mut Reader::new(&frame)));
    let request = match decoded {
        Ok(request) => request,
        Err(error) => return drop(show(&error, frame.len())),
    };
    assert_eq!(request.op(), op);
    assert_eq!(written(|out| request.encode_body(out)), frame);
    show(&request, frame.len());
    if request.validate_paths().is_err() {
        return;
    }
    let mut scratch = String::from("leftover");
    let at_root = written(|out| request.encode_body_in_chroot(&Chroot::ROOT, &mut scratch, out));
    assert_eq!(at_root, frame);
    let app = Chroot::new("/app").expect("a path");
    let in_chroot = written(|out| request.encode_body_in_chroot(&app, &mut scratch, out)).freeze();
    let in_chroot =
        Request::decode(op, &mut Reader::new(&in_chroot)).expect("as readable as before");
    let (paths, moved) = (paths(&request), paths(&in_chroot));
    assert_eq!(paths.len(), moved.len());
    for ((path, sequential), (moved, _)) in paths.iter().zip(moved) {
        let expected = if *sequential || *path != "/" { *path } else { "" };
        assert_eq!(moved.strip_prefix("/app"), Some(expected));
    }
    assert_eq!(with_paths(in_chroot, &paths), request, "more than paths has changed");
}

/// The paths of a request, and whether the server appends a sequence number.
fn paths<'r>(request: &Request<'r>) -> Vec<(&'r str, bool)> {
    match request {
        Request::Multi(multi) | Request::MultiRead(multi) => multi
            .ops
            .iter()
            .map(|op| match op {
                MultiOp::Create(create)
                | MultiOp::Create2(create)
                | MultiOp::CreateContainer(create) => (create.path, create.flags.is_sequential()),
                MultiOp::CreateTtl(create) => (create.path, create.flags.is_sequential()),
                op => (op.path(), false),
            })
            .collect(),
        Request::Create(create) | Request::Create2(create) | Request::CreateContainer(create) => {
            vec![(create.path, create.flags.is_sequential())]
        }
        Request::CreateTtl(create) => vec![(create.path, create.flags.is_sequential())],
        request => request.path().map(|path| (path, false)).into_iter().collect(),
    }
}

/// Replaces the paths of a request.
fn with_paths<'r>(request: Request<'r>, paths: &[(&'r str, bool)]) -> Request<'r> {
    let put = |multi: MultiRequest<'r>| {
        let ops = multi.ops.into_iter().zip(paths);
        MultiRequest::new(ops.map(|(op, (path, _))| op.with_path(path)).collect())
    };
    match request {
        Request::Multi(multi) => Request::Multi(put(multi)),
        Request::MultiRead(multi) => Request::MultiRead(put(multi)),
        request => match paths {
            [(path, _)] => request.with_path(path),
            _ => request,
        },
    }
}

/// Decodes a reply. The input is a byte that selects the operation, a byte for the error code, and the bytes after the
/// header. The reply and the bytes after its record are encoded to the same bytes.
///
/// # Panics
/// Panics if the guarantees in the documentation of this module do not hold.
pub fn reply(input: &[u8]) {
    let Some((&[pick, err], frame)) = input.split_first_chunk() else { return };
    let (op, frame) = (op(pick), Bytes::copy_from_slice(frame));
    let err = if err == 0 { ErrorCode::Ok } else { ErrorCode::from(-i32::from(err)) };
    let mut input = Reader::new(&frame);
    let decoded = within(limit(frame.len()), || Response::decode_prefix(op, err, &mut input));
    let response = match decoded {
        Ok(response) => response,
        Err(error) => {
            assert!(err.is_ok(), "a failed reply is valid with any body");
            return drop(show(&error, frame.len()));
        }
    };
    let rest = input.rest();
    assert!(err.is_ok() || rest.is_empty());
    let again = written(|out| {
        response.encode_body(out);
        out.extend_from_slice(&rest);
    });
    assert_eq!(again, frame);
    let whole = Response::decode(op, err, &mut Reader::new(&frame));
    assert_eq!(whole.is_ok(), rest.is_empty());
    show(&response, frame.len());
    assert_eq!(response.clone().without_chroot(&Chroot::ROOT), response);
    let stripped = response.clone().without_chroot(&Chroot::new("/app").expect("a path"));
    for (path, stripped) in results(&response).into_iter().zip(results(&stripped)) {
        match path.strip_prefix("/app") {
            Some("") => assert_eq!(stripped, "/"),
            Some(rest) if rest.starts_with('/') => assert_eq!(stripped, rest),
            _ => assert_eq!(stripped, path, "a path outside of the chroot"),
        }
    }
}

/// The paths in a reply that contain one path each.
fn results(response: &Response) -> Vec<&str> {
    match response {
        Response::Create(reply) => vec![&reply.path],
        Response::Create2(reply) | Response::CreateContainer(reply) => vec![&reply.path],
        Response::CreateTtl(reply) => vec![&reply.path],
        Response::Sync(reply) => vec![&reply.path],
        Response::Multi(reply) => reply
            .results
            .iter()
            .filter_map(|result| match result {
                MultiResult::Create(reply) => Some(reply.path.as_str()),
                MultiResult::Create2(reply) => Some(reply.path.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Decodes the reply to a multi. The input is the bytes after the header.
///
/// # Panics
/// Panics if the guarantees in the documentation of this module do not hold.
pub fn multi_response(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let Some(reply) = check::<MultiResponse>(&frame) else { return };
    // A result has at least nine bytes, and so has the end marker.
    assert!(reply.results.len() < frame.len() / MultiHeader::MIN_LEN);
    let errors = reply.results.iter().map(|result| match result {
        MultiResult::Error(err) => Some(*err),
        _ => None,
    });
    let errors: Vec<_> = errors.collect();
    match reply.failure() {
        Some((at, err)) => {
            assert_eq!(errors[at], Some(err));
            assert!(!err.is_ok());
        }
        None => assert!(errors.iter().all(|err| err.is_none_or(ErrorCode::is_ok))),
    }
}
