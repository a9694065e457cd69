//! Packets written by hand, limits, and secrets.

use super::*;

#[rustfmt::skip]
const STAT: (Stat, &[u8; Stat::MIN_LEN]) = (
    Stat {
        czxid: 1, mzxid: 2, ctime: 3, mtime: 4, version: 5, cversion: 6, aversion: 7,
        ephemeral_owner: 8, data_length: 9, num_children: 10, pzxid: 11,
    },
    b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\
      \0\0\0\x05\0\0\0\x06\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\x09\0\0\0\x0a\0\0\0\0\0\0\0\x0b",
);

#[test]
fn records_encode_to_these_bytes() {
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
                read_only: Some(Bool::TRUE),
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
fn a_multi_ends_with_a_marker() {
    let ops = vec![
        MultiOp::Check(CheckVersionRequest { path: "/a", version: 7 }),
        MultiOp::Delete(DeleteRequest { path: "/b", version: -1 }),
    ];
    let parts = [
        &b"\0\0\0\x0d\0\xff\xff\xff\xff\0\0\0\x02/a\0\0\0\x07"[..],
        b"\0\0\0\x02\0\xff\xff\xff\xff\0\0\0\x02/b\xff\xff\xff\xff",
        END,
    ];
    assert_eq!(bytes_of(&MultiRequest::new(ops)), parts.concat());
}

#[test]
fn a_failed_transaction_has_the_index_of_the_failed_operation() {
    let errors = [ErrorCode::Ok, ErrorCode::NodeExists, ErrorCode::RuntimeInconsistency];
    let reply = MultiResponse::new(errors.map(MultiResult::Error).to_vec());
    let parts = [
        &b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0"[..],
        b"\xff\xff\xff\xff\0\xff\xff\xff\x92\xff\xff\xff\x92",
        b"\xff\xff\xff\xff\0\xff\xff\xff\xfe\xff\xff\xff\xfe",
        END,
    ];
    assert_eq!(bytes_of(&reply), parts.concat());
    assert_eq!(reply.failure(), Some((1, ErrorCode::NodeExists)));

    let done = MultiResponse::new(vec![MultiResult::Delete, MultiResult::SetData(STAT.0)]);
    let parts = [&b"\0\0\0\x02\0\0\0\0\0"[..], b"\0\0\0\x05\0\0\0\0\0", STAT.1, END];
    assert_eq!(bytes_of(&done), parts.concat());
    assert_eq!(done.failure(), None);
}

/// Servers differ in the other fields of the headers of a multi, and in its end marker.
#[test]
fn only_the_operation_and_the_end_of_multi_headers_matter() {
    const ENDS: [&[u8]; 4] = [
        END,
        // As zetcd writes it.
        b"\0\0\0\x0e\x01\0\0\0\0",
        b"\xff\xff\xff\xff\x01\0\0\0\0",
        b"\0\0\0\x02\x02\x7f\xff\xff\xff",
    ];
    let delete = DeleteRequest { path: "/b", version: -1 };
    let request = MultiRequest::new(vec![MultiOp::Delete(delete), MultiOp::Delete(delete)]);
    let refused = MultiResult::Error(ErrorCode::NoNode);
    let reply = MultiResponse::new(vec![MultiResult::Delete, refused, MultiResult::Check]);
    for end in ENDS {
        for err in [0, -1, -101, 7_i32] {
            let err = err.to_be_bytes();
            let op = [b"\0\0\0\x02\0", &err[..], b"\0\0\0\x02/b\xff\xff\xff\xff"].concat();
            let frame = Bytes::from([&op, &op, end].concat());
            let read = MultiRequest::decode_all(&frame).unwrap();
            assert_eq!(read, request);
            assert_eq!(bytes_of(&read), frame);

            let results = [
                &b"\0\0\0\x02\0"[..],
                &err,
                b"\xff\xff\xff\xff\0",
                &err,
                b"\xff\xff\xff\x9b\0\0\0\x0d\0",
                &err,
            ];
            let frame = Bytes::from([&results.concat(), end].concat());
            let read = MultiResponse::decode_all(&frame).unwrap();
            assert_eq!(read, reply);
            assert_eq!(bytes_of(&read), frame);
            assert_eq!(read.failure(), Some((1, ErrorCode::NoNode)));
        }
    }
}

#[test]
fn a_multi_with_an_unsupported_operation_is_refused() {
    for op in [14, 18, 99_i32] {
        let frame = Bytes::from([&op.to_be_bytes()[..], b"\0\xff\xff\xff\xff", END].concat());
        let error = DecodeError::UnknownOperation(op);
        assert_eq!(MultiRequest::decode_all(&frame), Err(error));
        assert_eq!(MultiResponse::decode_all(&frame), Err(error));
    }
    // An error is a result, not an operation.
    let frame = Bytes::from([b"\xff\xff\xff\xff\0\xff\xff\xff\xff", END].concat());
    assert_eq!(MultiRequest::decode_all(&frame), Err(DecodeError::UnknownOperation(-1)));
}

/// Bytes after a record are left in the reader.
#[test]
fn bytes_after_a_record_are_allowed() {
    let reply = Response::Sync(SyncResponse { path: "/a".into() });
    let body = Bytes::from_static(b"\0\0\0\x02/amore");
    let mut input = Reader::new(&body);
    assert_eq!(Response::decode_prefix(OpCode::Sync, ErrorCode::Ok, &mut input), Ok(reply));
    assert_eq!(input.rest(), "more");
    let decoded = Response::decode(OpCode::Sync, ErrorCode::Ok, &mut Reader::new(&body));
    assert_eq!(decoded, Err(DecodeError::Trailing(4)));
    let mut input = Reader::new(&body);
    let empty = Response::decode_prefix(OpCode::Delete, ErrorCode::Ok, &mut input);
    assert_eq!((empty, input.rest()), (Ok(Response::Empty), body));
}

#[test]
fn old_servers_answer_add_watch_without_a_record() {
    let none = Bytes::new();
    let decoded = Response::decode(OpCode::AddWatch, ErrorCode::Ok, &mut Reader::new(&none));
    assert_eq!(decoded, Ok(Response::Empty));
}

/// Clients do not decode the body of a failed reply.
#[test]
fn a_failed_reply_may_have_any_body() {
    for (op, body) in [
        (OpCode::Delete, &b"more"[..]),
        (OpCode::GetData, b"\x7f\xff\xff\xff"),
        (OpCode::GetAllChildrenNumber, b"\0\0\0\x01more"),
        (OpCode::Multi, b"\xff\xff\xff\xff"),
    ] {
        let body = Bytes::from_static(body);
        let decoded = Response::decode(op, ErrorCode::NoNode, &mut Reader::new(&body)).unwrap();
        assert_eq!(decoded, Response::Unknown(body.clone()), "{op}");
        let mut again = BytesMut::new();
        decoded.encode_body(&mut again);
        assert_eq!(again, body);
    }
}

#[test]
fn a_handshake_may_have_more_fields() {
    let response = ConnectResponse {
        protocol_version: 0,
        timeout: 10_000,
        session_id: 2,
        password: Secret::new(Some(Bytes::from_static(&[7; 16]))),
        read_only: Some(Bool::FALSE),
    };
    let frame = Bytes::from([&bytes_of(&response)[..], b"more"].concat());
    let mut input = Reader::new(&frame);
    assert_eq!(ConnectResponse::decode(&mut input), Ok(response));
    assert_eq!(input.rest(), "more");
}

// ---------------------------------------------------------------------------------------------
// Limits and secrets.

/// A count or length that is larger than the packet is refused before memory is allocated for it. `before` is the number
/// of zero bytes before it.
#[test]
fn hostile_counts_are_refused_at_once() {
    let requests: [(OpCode, &[usize]); 7] = [
        (OpCode::Create, &[0, 4, 8]),
        (OpCode::CreateTtl, &[0, 4, 8]),
        (OpCode::SetData, &[0, 4]),
        (OpCode::SetAcl, &[0, 4]),
        (OpCode::Auth, &[4, 8]),
        (OpCode::Sasl, &[0]),
        (OpCode::Reconfig, &[0, 4, 8]),
    ];
    let requests_of_lists: [(OpCode, &[usize]); 2] =
        [(OpCode::SetWatches, &[8, 12, 16]), (OpCode::SetWatches2, &[8, 12, 16, 20, 24])];
    let replies = [OpCode::GetData, OpCode::Sasl];
    let replies_of_lists = [
        OpCode::GetAcl,
        OpCode::GetChildren,
        OpCode::GetChildren2,
        OpCode::GetEphemerals,
        OpCode::WhoAmI,
    ];
    for length in [i32::MAX, 0x0100_0000, 19, -2, i32::MIN] {
        let frame = |before: usize| -> Bytes {
            [&vec![0; before][..], &length.to_be_bytes(), &[0; 18]].concat().into()
        };
        let refused = Some(DecodeError::BadLength { length, left: 18 });
        // For a list, any negative count means no items.
        let lists = length > 0;
        for (op, places) in
            requests.into_iter().chain(requests_of_lists.into_iter().filter(|_| lists))
        {
            for &before in places {
                let decoded = Request::decode(op, &mut Reader::new(&frame(before))).err();
                assert_eq!(decoded, refused, "{op} at {before}");
            }
        }
        for op in replies.into_iter().chain(replies_of_lists.into_iter().filter(|_| lists)) {
            let frame = frame(0);
            let decoded = Response::decode(op, ErrorCode::Ok, &mut Reader::new(&frame)).err();
            assert_eq!(decoded, refused, "{op}");
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
    let listed = acl.to_vec().into();
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
        &Request::Multi(MultiRequest::new(vec![MultiOp::Create2(create), MultiOp::SetData(set)])),
        &Request::Auth(AuthPacket { auth_type: 0, scheme: "digest", auth: Secret::new(data) }),
        &Request::Sasl(SaslRequest { token: Secret::new(data) }),
        &Request::Unknown { op: OpCode::from(999), body: canary },
        &Response::GetData(get.clone()),
        &Response::Multi(MultiResponse::new(vec![MultiResult::GetData(get)])),
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
fn unknown_codes_are_kept() {
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
