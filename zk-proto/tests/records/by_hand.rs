//! Wire forms that were written by hand, limits and secrets.

use super::*;

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
