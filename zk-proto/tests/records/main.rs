//! Every record, request and reply: encoded and decoded, and decoded from arbitrary bytes.

mod by_hand;
mod values;

use std::{borrow::Cow, fmt::Debug};

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*, sample::select};
use zk_proto::{
    Acl, AddWatchMode, CreateMode, DecodeError, ErrorCode, EventType, Id, KeeperState, OpCode,
    Perms, Request, Response, Ustring, WatcherType,
    jute::{Bool, Decode, Encode, List, Reader, Secret},
    records::*,
};

use self::values::*;

fn bytes_of(value: &impl Encode) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.freeze()
}

// ---------------------------------------------------------------------------------------------
// Records.

/// For each record: an encoded value is decoded to the same value; fewer or more bytes are refused; and a value that is
/// decoded from arbitrary bytes is encoded to the same bytes.
macro_rules! records {
    ($( $test:ident: $record:ident; )*) => {
        $(
            mod $test {
                use super::*;

                proptest! {
                    #[test]
                    fn encode_and_decode_round_trip(value in super::$test()) {
                        let frame = bytes_of(&value);
                        prop_assert!(frame.len() >= $record::MIN_LEN);
                        let read = $record::decode_all(&frame).unwrap();
                        prop_assert_eq!(&read, &value);
                        prop_assert_eq!(bytes_of(&read), frame.clone());
                        for len in 0..frame.len() {
                            prop_assert!($record::decode_all(&frame.slice(..len)).is_err());
                        }
                        let longer = Bytes::from([&frame[..], &[0]].concat());
                        prop_assert_eq!($record::decode_all(&longer), Err(DecodeError::Trailing(1)));
                    }

                    #[test]
                    fn decode_and_encode_round_trip(
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

/// The two records whose last field is optional.
macro_rules! handshakes {
    ($( $test:ident: $record:ident; )*) => {
        $(
            mod $test {
                use super::*;

                proptest! {
                    #[test]
                    fn encode_and_decode_round_trip(value in super::$test()) {
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
                    fn decode_and_encode_round_trip(
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

/// The operations without a record: those inside the server, and unknown ones.
const WITHOUT_RECORD: [OpCode; 4] =
    [OpCode::Notification, OpCode::DeleteContainer, OpCode::CreateSession, OpCode::Error];

proptest! {
    #[test]
    fn requests_encode_and_decode(
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
    fn replies_encode_and_decode(
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
            // Some servers reply to addWatch without a record.
            for len in usize::from(op == OpCode::AddWatch)..body.len() {
                let part = body.slice(..len);
                prop_assert!(Response::decode(op, header.err, &mut Reader::new(&part)).is_err());
            }
        }
    }

    #[test]
    fn requests_decode_and_encode(
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
    fn replies_decode_and_encode(
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
    fn a_damaged_packet_keeps_its_operation_or_is_refused(
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
fn a_failed_sasl_reply_may_have_a_body() {
    let body = Bytes::from_static(&[0xff; 4]);
    let decoded = Response::decode(OpCode::Sasl, ErrorCode::AuthFailed, &mut Reader::new(&body));
    assert_eq!(decoded, Ok(Response::Sasl(SaslResponse { token: Secret::new(None) })));
}

#[test]
fn every_request_with_a_path_returns_it() {
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
                let null =
                    matches!(&request, Request::GetEphemerals(get) if get.prefix_path.is_none());
                assert_eq!(request.path().is_none(), null || without.contains(&op), "{op}");
                let moved = request.clone().with_path("/moved");
                assert_eq!(moved.path(), request.path().map(|_| "/moved"), "{op}");
            }
        }
    }
}
