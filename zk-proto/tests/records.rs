//! Every record, request and reply: written and read back, and read from bytes that nobody wrote.

use std::{borrow::Cow, fmt::Debug};

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*, sample::select};
use zk_proto::{
    Acl, AddWatchMode, CreateMode, DecodeError, ErrorCode, EventType, Id, KeeperState, OpCode,
    Perms, Request, Response, Ustring, WatcherType,
    jute::{Decode, Encode, Reader, Secret},
    records::*,
};

fn bytes_of(value: &impl Encode) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.freeze()
}

// ---------------------------------------------------------------------------------------------
// Values of all kinds. Requests borrow from leaked memory, of which tests need little.

fn string() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "/[a-z]{1,8}(/[a-z0-9-]{1,8}){0,3}", ".{0,12}"]
}

fn text() -> impl Strategy<Value = &'static str> + Clone {
    string().prop_map(|text| &*text.leak()).boxed()
}

fn ustring() -> impl Strategy<Value = Ustring> {
    string().prop_map(Ustring::from)
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn slice() -> impl Strategy<Value = Option<&'static [u8]>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(|data| &*data.leak()))
}

fn texts() -> impl Strategy<Value = Vec<&'static str>> {
    vec(text(), 0..4)
}

fn ustrings() -> impl Strategy<Value = Vec<Ustring>> {
    vec(ustring(), 0..4)
}

/// Codes with a name and without.
fn code<T: From<i32> + Debug + Copy>(named: &'static [T]) -> impl Strategy<Value = T> + use<T> {
    prop_oneof![select(named), any::<i32>().prop_map(T::from)]
}

fn op_code() -> impl Strategy<Value = OpCode> {
    code(OpCode::ALL)
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    code(ErrorCode::ALL)
}

fn acl() -> impl Strategy<Value = Acl> {
    (any::<i32>().prop_map(Perms::from), ustring(), ustring())
        .prop_map(|(perms, scheme, id)| Acl { perms, id: Id { scheme, id } })
}

fn acls() -> impl Strategy<Value = Option<Cow<'static, [Acl]>>> {
    option::of(vec(acl(), 0..3).prop_map(Cow::Owned))
}

prop_compose! {
    fn stat()(
        (czxid, mzxid, ctime, mtime) in any::<(i64, i64, i64, i64)>(),
        (version, cversion, aversion, ephemeral_owner) in any::<(i32, i32, i32, i64)>(),
        (data_length, num_children, pzxid) in any::<(i32, i32, i64)>(),
    ) -> Stat {
        Stat {
            czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length,
            num_children, pzxid,
        }
    }
}

/// A strategy for a record out of strategies for its fields.
macro_rules! compose {
    ($name:ident: $record:ident $(<$life:lifetime>)? { $( $field:ident: $strategy:expr ),* $(,)? }) => {
        fn $name() -> impl Strategy<Value = $record $(<$life>)?> {
            ( $( $strategy, )* ).prop_map(|( $( $field, )* )| $record { $( $field ),* })
        }
    };
}

compose!(request_header: RequestHeader { xid: any::<i32>(), op: op_code() });
compose!(reply_header: ReplyHeader { xid: any::<i32>(), zxid: any::<i64>(), err: error_code() });
compose!(connect_request: ConnectRequest<'static> {
    protocol_version: any::<i32>(), last_zxid_seen: any::<i64>(), timeout: any::<i32>(),
    session_id: any::<i64>(), password: slice().prop_map(Secret::new), read_only: any::<Option<bool>>(),
});
compose!(connect_response: ConnectResponse {
    protocol_version: any::<i32>(), timeout: any::<i32>(), session_id: any::<i64>(),
    password: data().prop_map(Secret::new), read_only: any::<Option<bool>>(),
});
compose!(client_info: ClientInfo { auth_scheme: ustring(), user: ustring() });
compose!(create_request: CreateRequest<'static> {
    path: text(), data: slice(), acl: acls(), flags: code(CreateMode::ALL),
});
compose!(create_ttl_request: CreateTtlRequest<'static> {
    path: text(), data: slice(), acl: acls(), flags: code(CreateMode::ALL), ttl: any::<i64>(),
});
compose!(create_response: CreateResponse { path: ustring() });
compose!(create2_response: Create2Response { path: ustring(), stat: stat() });
compose!(delete_request: DeleteRequest<'static> { path: text(), version: any::<i32>() });
compose!(exists_request: ExistsRequest<'static> { path: text(), watch: any::<bool>() });
compose!(get_data_request: GetDataRequest<'static> { path: text(), watch: any::<bool>() });
compose!(get_data_response: GetDataResponse { data: data(), stat: stat() });
compose!(set_data_request: SetDataRequest<'static> {
    path: text(), data: slice(), version: any::<i32>(),
});
compose!(sync_request: SyncRequest<'static> { path: text() });
compose!(sync_response: SyncResponse { path: ustring() });
compose!(check_version_request: CheckVersionRequest<'static> {
    path: text(), version: any::<i32>(),
});
compose!(get_children_request: GetChildrenRequest<'static> { path: text(), watch: any::<bool>() });
compose!(get_children_response: GetChildrenResponse { children: ustrings() });
compose!(get_children2_response: GetChildren2Response { children: ustrings(), stat: stat() });
compose!(get_ephemerals_request: GetEphemeralsRequest<'static> { prefix_path: text() });
compose!(get_ephemerals_response: GetEphemeralsResponse { ephemerals: ustrings() });
compose!(get_all_children_number_request: GetAllChildrenNumberRequest<'static> { path: text() });
compose!(get_all_children_number_response: GetAllChildrenNumberResponse {
    total_number: any::<i32>(),
});
compose!(get_acl_request: GetAclRequest<'static> { path: text() });
compose!(get_acl_response: GetAclResponse { acl: vec(acl(), 0..3), stat: stat() });
compose!(set_acl_request: SetAclRequest<'static> {
    path: text(), acl: acls(), version: any::<i32>(),
});
compose!(watcher_event: WatcherEvent {
    kind: code(EventType::ALL), state: code(KeeperState::ALL), path: ustring(),
});
compose!(set_watches: SetWatches<'static> {
    relative_zxid: any::<i64>(), data_watches: texts(), exist_watches: texts(),
    child_watches: texts(),
});
compose!(set_watches2: SetWatches2<'static> {
    relative_zxid: any::<i64>(), data_watches: texts(), exist_watches: texts(),
    child_watches: texts(), persistent_watches: texts(), persistent_recursive_watches: texts(),
});
compose!(add_watch_request: AddWatchRequest<'static> {
    path: text(), mode: code(AddWatchMode::ALL),
});
compose!(error_response: ErrorResponse { err: error_code() });
compose!(check_watches_request: CheckWatchesRequest<'static> {
    path: text(), watcher_type: code(WatcherType::ALL),
});
compose!(remove_watches_request: RemoveWatchesRequest<'static> {
    path: text(), watcher_type: code(WatcherType::ALL),
});
compose!(auth_packet: AuthPacket<'static> {
    auth_type: any::<i32>(), scheme: text(), auth: slice().prop_map(Secret::new),
});
compose!(sasl_request: SaslRequest<'static> { token: slice().prop_map(Secret::new) });
compose!(sasl_response: SaslResponse { token: data().prop_map(Secret::new) });
compose!(reconfig_request: ReconfigRequest<'static> {
    joining_servers: option::of(text()), leaving_servers: option::of(text()),
    new_members: option::of(text()), cur_config_id: any::<i64>(),
});
compose!(who_am_i_response: WhoAmIResponse { client_info: vec(client_info(), 0..3) });
compose!(multi_header: MultiHeader { op: op_code(), done: any::<bool>(), err: any::<i32>() });
compose!(multi_request: MultiRequest<'static> { ops: vec(multi_op(), 0..5) });
compose!(multi_response: MultiResponse { results: vec(multi_result(), 0..5) });

fn multi_op() -> impl Strategy<Value = MultiOp<'static>> {
    prop_oneof![
        create_request().prop_map(MultiOp::Create),
        create_request().prop_map(MultiOp::Create2),
        create_request().prop_map(MultiOp::CreateContainer),
        create_ttl_request().prop_map(MultiOp::CreateTtl),
        delete_request().prop_map(MultiOp::Delete),
        set_data_request().prop_map(MultiOp::SetData),
        check_version_request().prop_map(MultiOp::Check),
        get_data_request().prop_map(MultiOp::GetData),
        get_children_request().prop_map(MultiOp::GetChildren),
    ]
}

fn multi_result() -> impl Strategy<Value = MultiResult> {
    prop_oneof![
        create_response().prop_map(MultiResult::Create),
        create2_response().prop_map(MultiResult::Create2),
        Just(MultiResult::Delete),
        stat().prop_map(MultiResult::SetData),
        Just(MultiResult::Check),
        get_data_response().prop_map(MultiResult::GetData),
        get_children_response().prop_map(MultiResult::GetChildren),
        error_code().prop_map(MultiResult::Error),
    ]
}

fn request(op: OpCode) -> BoxedStrategy<Request<'static>> {
    match op {
        OpCode::Create => create_request().prop_map(Request::Create).boxed(),
        OpCode::Delete => delete_request().prop_map(Request::Delete).boxed(),
        OpCode::Exists => exists_request().prop_map(Request::Exists).boxed(),
        OpCode::GetData => get_data_request().prop_map(Request::GetData).boxed(),
        OpCode::SetData => set_data_request().prop_map(Request::SetData).boxed(),
        OpCode::GetAcl => get_acl_request().prop_map(Request::GetAcl).boxed(),
        OpCode::SetAcl => set_acl_request().prop_map(Request::SetAcl).boxed(),
        OpCode::GetChildren => get_children_request().prop_map(Request::GetChildren).boxed(),
        OpCode::Sync => sync_request().prop_map(Request::Sync).boxed(),
        OpCode::Ping => Just(Request::Ping).boxed(),
        OpCode::GetChildren2 => get_children_request().prop_map(Request::GetChildren2).boxed(),
        OpCode::Check => check_version_request().prop_map(Request::Check).boxed(),
        OpCode::Multi => multi_request().prop_map(Request::Multi).boxed(),
        OpCode::Create2 => create_request().prop_map(Request::Create2).boxed(),
        OpCode::Reconfig => reconfig_request().prop_map(Request::Reconfig).boxed(),
        OpCode::CheckWatches => check_watches_request().prop_map(Request::CheckWatches).boxed(),
        OpCode::RemoveWatches => remove_watches_request().prop_map(Request::RemoveWatches).boxed(),
        OpCode::CreateContainer => create_request().prop_map(Request::CreateContainer).boxed(),
        OpCode::CreateTtl => create_ttl_request().prop_map(Request::CreateTtl).boxed(),
        OpCode::MultiRead => multi_request().prop_map(Request::MultiRead).boxed(),
        OpCode::Auth => auth_packet().prop_map(Request::Auth).boxed(),
        OpCode::SetWatches => set_watches().prop_map(Request::SetWatches).boxed(),
        OpCode::Sasl => sasl_request().prop_map(Request::Sasl).boxed(),
        OpCode::GetEphemerals => get_ephemerals_request().prop_map(Request::GetEphemerals).boxed(),
        OpCode::GetAllChildrenNumber => {
            get_all_children_number_request().prop_map(Request::GetAllChildrenNumber).boxed()
        }
        OpCode::SetWatches2 => set_watches2().prop_map(Request::SetWatches2).boxed(),
        OpCode::AddWatch => add_watch_request().prop_map(Request::AddWatch).boxed(),
        OpCode::WhoAmI => Just(Request::WhoAmI).boxed(),
        OpCode::CloseSession => Just(Request::CloseSession).boxed(),
        op => slice()
            .prop_map(move |body| Request::Unknown { op, body: body.unwrap_or_default() })
            .boxed(),
    }
}

/// The reply to an operation that was done.
fn response(op: OpCode) -> BoxedStrategy<Response> {
    match op {
        OpCode::Create => create_response().prop_map(Response::Create).boxed(),
        OpCode::Exists => stat().prop_map(Response::Exists).boxed(),
        OpCode::GetData => get_data_response().prop_map(Response::GetData).boxed(),
        OpCode::SetData => stat().prop_map(Response::SetData).boxed(),
        OpCode::GetAcl => get_acl_response().prop_map(Response::GetAcl).boxed(),
        OpCode::SetAcl => stat().prop_map(Response::SetAcl).boxed(),
        OpCode::GetChildren => get_children_response().prop_map(Response::GetChildren).boxed(),
        OpCode::Sync => sync_response().prop_map(Response::Sync).boxed(),
        OpCode::GetChildren2 => get_children2_response().prop_map(Response::GetChildren2).boxed(),
        OpCode::Multi => multi_response().prop_map(Response::Multi).boxed(),
        OpCode::Create2 => create2_response().prop_map(Response::Create2).boxed(),
        OpCode::Reconfig => get_data_response().prop_map(Response::Reconfig).boxed(),
        OpCode::CreateContainer => create2_response().prop_map(Response::CreateContainer).boxed(),
        OpCode::CreateTtl => create2_response().prop_map(Response::CreateTtl).boxed(),
        OpCode::MultiRead => multi_response().prop_map(Response::MultiRead).boxed(),
        OpCode::Sasl => sasl_response().prop_map(Response::Sasl).boxed(),
        OpCode::GetEphemerals => {
            get_ephemerals_response().prop_map(Response::GetEphemerals).boxed()
        }
        OpCode::GetAllChildrenNumber => {
            get_all_children_number_response().prop_map(Response::GetAllChildrenNumber).boxed()
        }
        OpCode::AddWatch => error_response().prop_map(Response::AddWatch).boxed(),
        OpCode::WhoAmI => who_am_i_response().prop_map(Response::WhoAmI).boxed(),
        OpCode::Delete
        | OpCode::Ping
        | OpCode::Check
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::Auth
        | OpCode::SetWatches
        | OpCode::SetWatches2
        | OpCode::CloseSession => Just(Response::Empty).boxed(),
        _ => data().prop_map(|body| Response::Unknown(body.unwrap_or_default())).boxed(),
    }
}

/// Bytes that are almost a record: some overwritten, the end cut off or added to.
fn damaged(frame: impl Strategy<Value = Bytes>) -> impl Strategy<Value = Bytes> {
    let tail = prop_oneof![Just(vec![]), vec(any::<u8>(), 1..6)];
    let byte = prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()];
    let changes = vec((any::<prop::sample::Index>(), byte), 0..4);
    let cut = prop_oneof![3 => Just(0_usize), 1 => 0_usize..8];
    (frame, changes, cut, tail).prop_map(|(frame, changes, cut, tail)| {
        let mut frame = frame.to_vec();
        for (at, byte) in changes {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
        }
        frame.truncate(frame.len().saturating_sub(cut));
        frame.extend(tail);
        frame.into()
    })
}

fn noise() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![4 => Just(0_u8), 1 => Just(0xff), 2 => 1_u8..32, 1 => any::<u8>()];
    vec(byte, 0..160).prop_map(Bytes::from)
}

// ---------------------------------------------------------------------------------------------
// Records.

/// For each record: what is written is read back; nothing less and nothing more is a record; and what
/// is read from any bytes is written as the same bytes.
macro_rules! records {
    ($( $test:ident: $record:ident; )*) => {
        $(
            mod $test {
                use super::*;

                proptest! {
                    #[test]
                    fn is_read_as_it_was_written(value in super::$test()) {
                        let frame = bytes_of(&value);
                        prop_assert!(frame.len() >= $record::MIN_LEN);
                        prop_assert_eq!($record::decode_all(&frame), Ok(value));
                        for len in 0..frame.len() {
                            prop_assert!($record::decode_all(&frame.slice(..len)).is_err());
                        }
                        let longer = Bytes::from([&frame[..], &[0]].concat());
                        prop_assert_eq!($record::decode_all(&longer), Err(DecodeError::Trailing(1)));
                    }

                    #[test]
                    fn is_written_as_it_was_read(
                        frame in prop_oneof![damaged(super::$test().prop_map(|v| bytes_of(&v))), noise()]
                    ) {
                        if let Ok(value) = $record::decode_all(&frame) {
                            prop_assert_eq!(bytes_of(&value), frame);
                        }
                    }
                }
            }
        )*
    };
}

records! {
    request_header: RequestHeader;
    reply_header: ReplyHeader;
    stat: Stat;
    acl: Acl;
    client_info: ClientInfo;
    create_request: CreateRequest;
    create_ttl_request: CreateTtlRequest;
    create_response: CreateResponse;
    create2_response: Create2Response;
    delete_request: DeleteRequest;
    exists_request: ExistsRequest;
    get_data_request: GetDataRequest;
    get_data_response: GetDataResponse;
    set_data_request: SetDataRequest;
    sync_request: SyncRequest;
    sync_response: SyncResponse;
    check_version_request: CheckVersionRequest;
    get_children_request: GetChildrenRequest;
    get_children_response: GetChildrenResponse;
    get_children2_response: GetChildren2Response;
    get_ephemerals_request: GetEphemeralsRequest;
    get_ephemerals_response: GetEphemeralsResponse;
    get_all_children_number_request: GetAllChildrenNumberRequest;
    get_all_children_number_response: GetAllChildrenNumberResponse;
    get_acl_request: GetAclRequest;
    get_acl_response: GetAclResponse;
    set_acl_request: SetAclRequest;
    watcher_event: WatcherEvent;
    set_watches: SetWatches;
    set_watches2: SetWatches2;
    add_watch_request: AddWatchRequest;
    error_response: ErrorResponse;
    check_watches_request: CheckWatchesRequest;
    remove_watches_request: RemoveWatchesRequest;
    auth_packet: AuthPacket;
    sasl_request: SaslRequest;
    sasl_response: SaslResponse;
    reconfig_request: ReconfigRequest;
    who_am_i_response: WhoAmIResponse;
    multi_header: MultiHeader;
    multi_request: MultiRequest;
    multi_response: MultiResponse;
}

/// The two records of which a shorter one is valid too: without the last field.
macro_rules! handshakes {
    ($( $test:ident: $record:ident; )*) => {
        $(
            mod $test {
                use super::*;

                proptest! {
                    #[test]
                    fn is_read_as_it_was_written(value in super::$test()) {
                        let frame = bytes_of(&value);
                        let old = frame.len() - usize::from(value.read_only.is_some());
                        prop_assert_eq!(&$record::decode_all(&frame).unwrap(), &value);
                        for len in 0..old {
                            prop_assert!($record::decode_all(&frame.slice(..len)).is_err());
                        }
                        let shorter = frame.slice(..old);
                        let expected = $record { read_only: None, ..value };
                        prop_assert_eq!($record::decode_all(&shorter), Ok(expected));
                    }

                    #[test]
                    fn is_written_as_it_was_read(
                        frame in prop_oneof![damaged(super::$test().prop_map(|v| bytes_of(&v))), noise()]
                    ) {
                        if let Ok(value) = $record::decode_all(&frame) {
                            prop_assert_eq!(bytes_of(&value), frame);
                        }
                    }
                }
            }
        )*
    };
}

handshakes! {
    connect_request: ConnectRequest;
    connect_response: ConnectResponse;
}

// ---------------------------------------------------------------------------------------------
// Requests and replies.

fn body_of_request(request: &Request<'_>) -> Bytes {
    let mut out = BytesMut::new();
    request.encode_body(&mut out);
    out.freeze()
}

fn body_of_response(response: &Response) -> Bytes {
    let mut out = BytesMut::new();
    response.encode_body(&mut out);
    out.freeze()
}

/// The operations that have no record: the server's own, and what is none.
const WITHOUT_RECORD: [OpCode; 4] =
    [OpCode::Notification, OpCode::DeleteContainer, OpCode::CreateSession, OpCode::Error];

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(
        (op, request) in op_code().prop_flat_map(|op| (Just(op), request(op))),
        xid: i32,
    ) {
        prop_assert_eq!(request.op(), op);
        let mut out = BytesMut::new();
        request.encode(xid, &mut out);
        let frame = out.freeze();
        let mut input = Reader::new(&frame);
        prop_assert_eq!(RequestHeader::decode(&mut input), Ok(RequestHeader { xid, op }));
        prop_assert_eq!(&Request::decode(op, &mut input).unwrap(), &request);

        let known = !matches!(request, Request::Unknown { .. });
        let nameless = matches!(op, OpCode::Unknown(_));
        prop_assert_eq!(known, !nameless && !WITHOUT_RECORD.contains(&op));
        if known {
            let body = body_of_request(&request);
            for len in 0..body.len() {
                prop_assert!(Request::decode(op, &mut Reader::new(&body.slice(..len))).is_err());
            }
        }
    }

    #[test]
    fn replies_are_read_as_they_were_written(
        (op, response) in op_code().prop_flat_map(|op| (Just(op), response(op))),
        header in reply_header(),
    ) {
        let header = ReplyHeader { err: ErrorCode::Ok, ..header };
        let mut out = BytesMut::new();
        response.encode(&header, &mut out);
        let frame = out.freeze();
        let mut input = Reader::new(&frame);
        prop_assert_eq!(ReplyHeader::decode(&mut input), Ok(header));
        prop_assert_eq!(&Response::decode(op, header.err, &mut input).unwrap(), &response);

        if !matches!(response, Response::Unknown(_)) {
            let body = body_of_response(&response);
            for len in 0..body.len() {
                let part = body.slice(..len);
                prop_assert!(Response::decode(op, header.err, &mut Reader::new(&part)).is_err());
            }
        }
    }

    #[test]
    fn requests_are_written_as_they_were_read(
        op in op_code(),
        body in prop_oneof![
            damaged(op_code().prop_flat_map(request).prop_map(|r| body_of_request(&r))),
            noise(),
        ],
    ) {
        if let Ok(request) = Request::decode(op, &mut Reader::new(&body)) {
            prop_assert_eq!(request.op(), op);
            prop_assert_eq!(body_of_request(&request), body.clone());
        }
    }

    #[test]
    fn replies_are_written_as_they_were_read(
        op in op_code(),
        err in prop_oneof![Just(ErrorCode::Ok), error_code()],
        body in prop_oneof![
            damaged(op_code().prop_flat_map(response).prop_map(|r| body_of_response(&r))),
            noise(),
        ],
    ) {
        if let Ok(response) = Response::decode(op, err, &mut Reader::new(&body)) {
            prop_assert_eq!(body_of_response(&response), body.clone());
        }
    }

    #[test]
    fn a_damaged_packet_is_read_as_its_operation_or_not_at_all(
        (op, body) in select(OpCode::ALL).prop_flat_map(|op| {
            (Just(op), damaged(request(op).prop_map(|r| body_of_request(&r))))
        }),
        (reply_op, reply) in select(OpCode::ALL).prop_flat_map(|op| {
            (Just(op), damaged(response(op).prop_map(|r| body_of_response(&r))))
        }),
    ) {
        if let Ok(request) = Request::decode(op, &mut Reader::new(&body)) {
            prop_assert_eq!(body_of_request(&request), body.clone());
        }
        if let Ok(response) = Response::decode(reply_op, ErrorCode::Ok, &mut Reader::new(&reply)) {
            prop_assert_eq!(body_of_response(&response), reply.clone());
        }
    }
}

#[test]
fn an_operation_that_failed_has_no_body() {
    let none = Bytes::new();
    for &op in OpCode::ALL {
        let decoded = Response::decode(op, ErrorCode::NoNode, &mut Reader::new(&none));
        assert_eq!(decoded, Ok(Response::Empty), "{op}");
    }
}

#[test]
fn a_refused_sasl_step_may_have_a_body() {
    let body = Bytes::from_static(&[0xff; 4]);
    let decoded = Response::decode(OpCode::Sasl, ErrorCode::AuthFailed, &mut Reader::new(&body));
    assert_eq!(decoded, Ok(Response::Sasl(SaslResponse { token: Secret::new(None) })));
}

#[test]
fn paths_are_found_in_every_request_that_has_one() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let without = [
        OpCode::Ping,
        OpCode::Reconfig,
        OpCode::Auth,
        OpCode::SetWatches,
        OpCode::SetWatches2,
        OpCode::Sasl,
        OpCode::WhoAmI,
        OpCode::CloseSession,
    ];
    let mut runner = TestRunner::deterministic();
    for &op in OpCode::ALL.iter().filter(|op| !WITHOUT_RECORD.contains(op)) {
        let request = request(op).new_tree(&mut runner).unwrap().current();
        match &request {
            Request::Multi(multi) | Request::MultiRead(multi) => {
                assert_eq!(request.path(), multi.ops.first().map(MultiOp::path));
            }
            _ => {
                assert_eq!(request.path().is_none(), without.contains(&op), "{op}");
                let moved = request.clone().with_path("/moved");
                assert_eq!(moved.path(), request.path().map(|_| "/moved"), "{op}");
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Wire forms, by hand.

#[rustfmt::skip]
const STAT: (Stat, &[u8; Stat::LEN]) = (
    Stat {
        czxid: 1, mzxid: 2, ctime: 3, mtime: 4, version: 5, cversion: 6, aversion: 7,
        ephemeral_owner: 8, data_length: 9, num_children: 10, pzxid: 11,
    },
    b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\
      \0\0\0\x05\0\0\0\x06\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\x09\0\0\0\x0a\0\0\0\0\0\0\0\x0b",
);

#[test]
fn records_have_these_bytes() {
    let acl = [Acl::open_unsafe()];
    let (stat, stat_bytes) = STAT;
    let cases: &[(&dyn Encode, Vec<u8>)] = &[
        (&stat, stat_bytes.to_vec()),
        (
            &WatcherEvent {
                kind: EventType::NodeDataChanged,
                state: KeeperState::SyncConnected,
                path: "/a".into(),
            },
            b"\0\0\0\x03\0\0\0\x03\0\0\0\x02/a".to_vec(),
        ),
        (
            &RequestHeader { xid: xid::AUTH, op: OpCode::Auth },
            b"\xff\xff\xff\xfc\0\0\0\x64".to_vec(),
        ),
        (
            &ReplyHeader { xid: xid::NOTIFICATION, zxid: -1, err: ErrorCode::NoNode },
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x9b".to_vec(),
        ),
        (
            &ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: 1,
                timeout: 10_000,
                session_id: 2,
                password: Secret::new(Some(&[7; 3])),
                read_only: Some(true),
            },
            b"\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\x27\x10\0\0\0\0\0\0\0\x02\0\0\0\x03\x07\x07\x07\x01"
                .to_vec(),
        ),
        (
            &CreateRequest {
                path: "/a",
                data: None,
                acl: Some((&acl[..]).into()),
                flags: CreateMode::EphemeralSequential,
            },
            b"\0\0\0\x02/a\xff\xff\xff\xff\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\x03"
                .to_vec(),
        ),
        (
            &ReconfigRequest {
                joining_servers: None,
                leaving_servers: Some("3"),
                new_members: None,
                cur_config_id: -1,
            },
            [b"\xff\xff\xff\xff\0\0\0\x013\xff\xff\xff\xff", &[0xff; 8][..]].concat(),
        ),
    ];
    for (record, bytes) in cases {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        assert_eq!(&out[..], &bytes[..]);
    }
}

const END: &[u8] = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";

#[test]
fn a_multi_is_a_list_with_an_end() {
    let ops = vec![
        MultiOp::Check(CheckVersionRequest { path: "/a", version: 7 }),
        MultiOp::Delete(DeleteRequest { path: "/b", version: -1 }),
    ];
    let parts = [
        &b"\0\0\0\x0d\0\xff\xff\xff\xff\0\0\0\x02/a\0\0\0\x07"[..],
        b"\0\0\0\x02\0\xff\xff\xff\xff\0\0\0\x02/b\xff\xff\xff\xff",
        END,
    ];
    let mut streamed = BytesMut::new();
    MultiRequest::encode_ops(&ops, &mut streamed);
    assert_eq!(streamed, parts.concat());
    assert_eq!(bytes_of(&MultiRequest { ops }), parts.concat());
}

#[test]
fn a_failed_transaction_tells_which_operation_failed() {
    let errors = [ErrorCode::Ok, ErrorCode::NodeExists, ErrorCode::RuntimeInconsistency];
    let reply = MultiResponse { results: errors.map(MultiResult::Error).to_vec() };
    let parts = [
        &b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0"[..],
        b"\xff\xff\xff\xff\0\xff\xff\xff\x92\xff\xff\xff\x92",
        b"\xff\xff\xff\xff\0\xff\xff\xff\xfe\xff\xff\xff\xfe",
        END,
    ];
    assert_eq!(bytes_of(&reply), parts.concat());
    assert_eq!(reply.failure(), Some((1, ErrorCode::NodeExists)));

    let done = MultiResponse { results: vec![MultiResult::Delete, MultiResult::SetData(STAT.0)] };
    let parts = [&b"\0\0\0\x02\0\0\0\0\0"[..], b"\0\0\0\x05\0\0\0\0\0", STAT.1, END];
    assert_eq!(bytes_of(&done), parts.concat());
    assert_eq!(done.failure(), None);
}

#[test]
fn a_multi_that_does_not_fit_together_is_refused() {
    let requests: [(&[u8], DecodeError); 5] = [
        (b"\xff\xff\xff\xff\x01\0\0\0\0", DecodeError::Multi("last header with content")),
        (b"\0\0\0\x02\x01\xff\xff\xff\xff", DecodeError::Multi("last header with content")),
        (
            b"\0\0\0\x02\0\0\0\0\0\0\0\0\x02/b\xff\xff\xff\xff",
            DecodeError::Multi("operation with an outcome"),
        ),
        (b"\xff\xff\xff\xff\0\xff\xff\xff\xff", DecodeError::UnknownOperation(-1)),
        (b"\0\0\0\x0e\0\xff\xff\xff\xff", DecodeError::UnknownOperation(14)),
    ];
    for (bytes, error) in requests {
        let frame = Bytes::copy_from_slice(&[bytes, END].concat());
        assert_eq!(MultiRequest::decode_all(&frame), Err(error));
    }
    let outcome = DecodeError::Multi("outcome that is not the result's");
    let replies: [(&[u8], DecodeError); 4] = [
        (b"\0\0\0\x02\0\xff\xff\xff\x9b", outcome),
        (b"\xff\xff\xff\xff\0\0\0\0\0\xff\xff\xff\x9b", outcome),
        (b"\0\0\0\x13\0\0\0\0\0", DecodeError::UnknownOperation(19)),
        (b"\0\0\0\x02\x01\0\0\0\0", DecodeError::Multi("last header with content")),
    ];
    for (bytes, error) in replies {
        let frame = Bytes::copy_from_slice(&[bytes, END].concat());
        assert_eq!(MultiResponse::decode_all(&frame), Err(error));
    }
}

// ---------------------------------------------------------------------------------------------
// Limits and secrets.

/// A count or length that the packet cannot hold is refused before memory is taken for it: `before` is
/// how many bytes, here zeros, stand before it.
#[test]
fn hostile_counts_are_refused_at_once() {
    let requests: [(OpCode, &[usize]); 9] = [
        (OpCode::Create, &[0, 4, 8]),
        (OpCode::CreateTtl, &[0, 4, 8]),
        (OpCode::SetData, &[0, 4]),
        (OpCode::SetAcl, &[0, 4]),
        (OpCode::SetWatches, &[8, 12, 16]),
        (OpCode::SetWatches2, &[8, 12, 16, 20, 24]),
        (OpCode::Auth, &[4, 8]),
        (OpCode::Sasl, &[0]),
        (OpCode::Reconfig, &[0, 4, 8]),
    ];
    let replies: [(OpCode, &[usize]); 7] = [
        (OpCode::GetData, &[0]),
        (OpCode::GetAcl, &[0]),
        (OpCode::GetChildren, &[0]),
        (OpCode::GetChildren2, &[0]),
        (OpCode::GetEphemerals, &[0]),
        (OpCode::WhoAmI, &[0]),
        (OpCode::Sasl, &[0]),
    ];
    for length in [i32::MAX, 0x0100_0000, 19, -2, i32::MIN] {
        let frame = |before: usize| -> Bytes {
            [&vec![0; before][..], &length.to_be_bytes(), &[0; 18]].concat().into()
        };
        let refused = DecodeError::BadLength { length, left: 18 };
        for (op, places) in requests {
            for &before in places {
                let decoded = Request::decode(op, &mut Reader::new(&frame(before))).err();
                assert_eq!(decoded, Some(refused), "{op} at {before}");
            }
        }
        for (op, places) in replies {
            for &before in places {
                let frame = frame(before);
                let decoded = Response::decode(op, ErrorCode::Ok, &mut Reader::new(&frame)).err();
                assert_eq!(decoded, Some(refused), "{op} at {before}");
            }
        }
    }
}

#[test]
fn requests_and_replies_stay_small() {
    assert!(size_of::<Response>() <= 120, "{}", size_of::<Response>());
    assert!(size_of::<Request<'_>>() <= 128, "{}", size_of::<Request<'_>>());
}

#[test]
fn debug_shows_neither_data_nor_secrets() {
    let canary = &b"canary"[..];
    let shared = Bytes::from_static(canary);
    let acl = [Acl::new(Perms::ALL, "digest", "ann:canary")];
    let listed = acl.to_vec();
    let acl = Some(Cow::Borrowed(&acl[..]));
    let (stat, path) = (STAT.0, "/a");
    let (data, flags) = (Some(canary), CreateMode::Persistent);
    let create = CreateRequest { path, data, acl: acl.clone(), flags };
    let set = SetDataRequest { path, data, version: 0 };
    let get = GetDataResponse { data: Some(shared.clone()), stat };
    let values: &[&dyn Debug] = &[
        &Request::Create(create.clone()),
        &Request::CreateTtl(CreateTtlRequest { path, data, acl: acl.clone(), flags, ttl: 1 }),
        &Request::SetData(set),
        &Request::SetAcl(SetAclRequest { path, acl: acl.clone(), version: 0 }),
        &Request::Multi(MultiRequest {
            ops: vec![MultiOp::Create2(create), MultiOp::SetData(set)],
        }),
        &Request::Auth(AuthPacket { auth_type: 0, scheme: "digest", auth: Secret::new(data) }),
        &Request::Sasl(SaslRequest { token: Secret::new(data) }),
        &Request::Unknown { op: OpCode::from(999), body: canary },
        &Response::GetData(get.clone()),
        &Response::Multi(MultiResponse { results: vec![MultiResult::GetData(get)] }),
        &Response::GetAcl(GetAclResponse { acl: listed, stat }),
        &Response::Sasl(SaslResponse { token: Secret::new(Some(shared.clone())) }),
        &Response::Unknown(shared.clone()),
        &ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 0,
            session_id: 0,
            password: Secret::new(data),
            read_only: None,
        },
        &ConnectResponse {
            protocol_version: 0,
            timeout: 0,
            session_id: 0,
            password: Secret::new(Some(shared)),
            read_only: None,
        },
    ];
    for value in values {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            assert!(!shown.contains("canary"), "{shown}");
            let numbers: String = shown.split_whitespace().collect();
            assert!(!numbers.contains("99,97,110"), "{shown}");
            assert!(shown.contains("<6 bytes>") || shown.contains("<secret>"), "{shown}");
        }
    }
}

#[test]
fn codes_without_a_name_are_kept() {
    assert_eq!(ErrorCode::from(-101), ErrorCode::NoNode);
    assert_eq!(ErrorCode::from(-999), ErrorCode::Unknown(-999));
    assert_eq!(i32::from(ErrorCode::from(-999)), -999);
    assert_eq!(ErrorCode::from(-999).to_string(), "error -999");
    assert_eq!(OpCode::GetChildren2.to_string(), "getChildren2");
    for &op in OpCode::ALL {
        assert_eq!(OpCode::from(op.code()), op);
    }
    for &err in ErrorCode::ALL {
        assert_eq!(ErrorCode::from(err.code()), err);
    }
}
