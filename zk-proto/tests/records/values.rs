//! Strategies for all values. Requests borrow from leaked memory; tests need little of it.

use std::{borrow::Cow, fmt::Debug};

use super::*;

pub(super) fn string() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "/[a-z]{1,8}(/[a-z0-9-]{1,8}){0,3}", ".{0,12}"]
}

pub(super) fn text() -> impl Strategy<Value = &'static str> + Clone {
    string().prop_map(|text| &*text.leak()).boxed()
}

pub(super) fn ustring() -> impl Strategy<Value = Ustring> {
    let wire = vec(any::<u8>(), 0..12).prop_map(Bytes::from);
    prop_oneof![
        4 => string().prop_map(Ustring::from),
        1 => string().prop_map(|text| Ustring::from(text).through_java()),
        1 => wire.prop_map(Ustring::from_wire),
        1 => Just(Ustring::null()),
    ]
}

pub(super) fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

pub(super) fn slice() -> impl Strategy<Value = Option<&'static [u8]>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(|data| &*data.leak()))
}

/// Items, or a negative count.
pub(super) fn list<T>(items: impl Strategy<Value = T>) -> impl Strategy<Value = List<T>>
where
    T: Debug + Clone + Decode<'static>,
{
    let negative = (i32::MIN..0).prop_map(|count| {
        let frame = Box::leak(Box::new(Bytes::copy_from_slice(&count.to_be_bytes())));
        List::decode_all(frame).expect("no items")
    });
    prop_oneof![4 => vec(items, 0..4).prop_map(List::from), 1 => negative]
}

/// Mostly the bytes 0 and 1.
pub(super) fn boolean() -> impl Strategy<Value = Bool> {
    let byte = prop_oneof![4 => 0_u8..2, 1 => any::<u8>()];
    byte.prop_map(|byte| Bool::decode_all(&Bytes::from(vec![byte])).expect("a byte"))
}

/// Known and unknown codes.
pub(super) fn code<T: From<i32> + Debug + Copy>(
    named: &'static [T],
) -> impl Strategy<Value = T> + use<T> {
    prop_oneof![select(named), any::<i32>().prop_map(T::from)]
}

pub(super) fn op_code() -> impl Strategy<Value = OpCode> {
    code(OpCode::ALL)
}

pub(super) fn error_code() -> impl Strategy<Value = ErrorCode> {
    code(ErrorCode::ALL)
}

pub(super) fn acl() -> impl Strategy<Value = Acl> {
    (any::<i32>().prop_map(Perms::from), ustring(), ustring())
        .prop_map(|(perms, scheme, id)| Acl { perms, id: Id { scheme, id } })
}

pub(super) fn acls() -> impl Strategy<Value = Option<Cow<'static, [Acl]>>> {
    option::of(vec(acl(), 0..3).prop_map(Cow::Owned))
}

prop_compose! {
    pub(super) fn stat()(
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

/// Defines a strategy for a record by strategies for its fields.
macro_rules! compose {
    ($name:ident: $record:ident $(<$life:lifetime>)? { $( $field:ident: $strategy:expr ),* $(,)? }) => {
        pub(super) fn $name() -> impl Strategy<Value = $record $(<$life>)?> {
            ( $( $strategy, )* ).prop_map(|( $( $field, )* )| $record { $( $field ),* })
        }
    };
}

compose!(request_header: RequestHeader { xid: any::<i32>(), op: op_code() });
compose!(reply_header: ReplyHeader { xid: any::<i32>(), zxid: any::<i64>(), err: error_code() });
compose!(connect_request: ConnectRequest<'static> {
    protocol_version: any::<i32>(), last_zxid_seen: any::<i64>(), timeout: any::<i32>(),
    session_id: any::<i64>(), password: slice().prop_map(Secret::new), read_only: option::of(boolean()),
});
compose!(connect_response: ConnectResponse {
    protocol_version: any::<i32>(), timeout: any::<i32>(), session_id: any::<i64>(),
    password: data().prop_map(Secret::new), read_only: option::of(boolean()),
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
compose!(exists_request: ExistsRequest<'static> { path: text(), watch: boolean() });
compose!(get_data_request: GetDataRequest<'static> { path: text(), watch: boolean() });
compose!(get_data_response: GetDataResponse { data: data(), stat: stat() });
compose!(set_data_request: SetDataRequest<'static> {
    path: text(), data: slice(), version: any::<i32>(),
});
compose!(sync_request: SyncRequest<'static> { path: text() });
compose!(sync_response: SyncResponse { path: ustring() });
compose!(check_version_request: CheckVersionRequest<'static> {
    path: text(), version: any::<i32>(),
});
compose!(get_children_request: GetChildrenRequest<'static> { path: text(), watch: boolean() });
compose!(get_children_response: GetChildrenResponse { children: list(ustring()) });
compose!(get_children2_response: GetChildren2Response { children: list(ustring()), stat: stat() });
compose!(get_ephemerals_request: GetEphemeralsRequest<'static> { prefix_path: option::of(text()) });
compose!(get_ephemerals_response: GetEphemeralsResponse { ephemerals: list(ustring()) });
compose!(get_all_children_number_request: GetAllChildrenNumberRequest<'static> { path: text() });
compose!(get_all_children_number_response: GetAllChildrenNumberResponse {
    total_number: any::<i32>(),
});
compose!(get_acl_request: GetAclRequest<'static> { path: text() });
compose!(get_acl_response: GetAclResponse { acl: list(acl()), stat: stat() });
compose!(set_acl_request: SetAclRequest<'static> {
    path: text(), acl: acls(), version: any::<i32>(),
});
compose!(watcher_event: WatcherEvent {
    kind: code(EventType::ALL), state: code(KeeperState::ALL), path: ustring(),
});
compose!(set_watches: SetWatches<'static> {
    relative_zxid: any::<i64>(), data_watches: list(text()), exist_watches: list(text()),
    child_watches: list(text()),
});
compose!(set_watches2: SetWatches2<'static> {
    relative_zxid: any::<i64>(), data_watches: list(text()), exist_watches: list(text()),
    child_watches: list(text()), persistent_watches: list(text()), persistent_recursive_watches: list(text()),
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
compose!(who_am_i_response: WhoAmIResponse { client_info: list(client_info()) });
compose!(multi_header: MultiHeader { op: op_code(), done: boolean(), err: any::<i32>() });

/// A list of operations or results, with headers as ZooKeeper writes them or others.
fn multi<T>(
    parts: impl Strategy<Value = T>,
    of: impl Fn(Vec<T>) -> Bytes,
) -> impl Strategy<Value = Bytes>
where
    T: Debug + Clone,
{
    const HEADER: usize = MultiHeader::MIN_LEN;
    let parts = vec((parts, option::of(any::<i32>())), 0..5);
    let end = option::of((op_code(), 1_u8.., any::<i32>()));
    (parts, end).prop_map(move |(parts, end)| {
        let mut frame = Vec::new();
        for (part, err) in parts {
            let list = of(vec![part]);
            let mut part = list[..list.len() - HEADER].to_vec();
            if let Some(err) = err {
                part[HEADER - 4..HEADER].copy_from_slice(&err.to_be_bytes());
            }
            frame.extend(part);
        }
        match end {
            None => frame.extend(&of(Vec::new())[..]),
            Some((op, done, err)) => {
                frame.extend(op.code().to_be_bytes());
                frame.push(done);
                frame.extend(err.to_be_bytes());
            }
        }
        frame.into()
    })
}

pub(super) fn multi_request() -> impl Strategy<Value = MultiRequest<'static>> {
    multi(multi_op(), |ops| bytes_of(&MultiRequest::new(ops)))
        .prop_map(|frame| MultiRequest::decode_all(Box::leak(Box::new(frame))).expect("a multi"))
}

pub(super) fn multi_response() -> impl Strategy<Value = MultiResponse> {
    multi(multi_result(), |results| bytes_of(&MultiResponse::new(results)))
        .prop_map(|frame| MultiResponse::decode_all(&frame).expect("a reply to a multi"))
}

pub(super) fn multi_op() -> impl Strategy<Value = MultiOp<'static>> {
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

pub(super) fn multi_result() -> impl Strategy<Value = MultiResult> {
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

pub(super) fn request(op: OpCode) -> BoxedStrategy<Request<'static>> {
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

/// The reply to a successful operation.
pub(super) fn response(op: OpCode) -> BoxedStrategy<Response> {
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

/// Bytes that are almost a record: some are overwritten, some are missing at the end or added.
pub(super) fn damaged(frame: impl Strategy<Value = Bytes>) -> impl Strategy<Value = Bytes> {
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

pub(super) fn noise() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![4 => Just(0_u8), 1 => Just(0xff), 2 => 1_u8..32, 1 => any::<u8>()];
    vec(byte, 0..160).prop_map(Bytes::from)
}
