//! Decodes packets that were recorded between other clients and a real server, and encodes them to the same bytes.
//! `golden/README.md` describes the format and the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    ErrorCode, EventType, OpCode, Request, Response,
    jute::{Decode, DecodeError, Encode, Reader},
    records::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, WatcherEvent, xid},
};

/// What the recordings must contain.
const CORE: [OpCode; 30] = [
    OpCode::Create,
    OpCode::Delete,
    OpCode::Exists,
    OpCode::GetData,
    OpCode::SetData,
    OpCode::GetAcl,
    OpCode::SetAcl,
    OpCode::GetChildren,
    OpCode::Sync,
    OpCode::Ping,
    OpCode::GetChildren2,
    OpCode::Check,
    OpCode::Multi,
    OpCode::Create2,
    OpCode::Reconfig,
    OpCode::CheckWatches,
    OpCode::RemoveWatches,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::MultiRead,
    OpCode::Auth,
    OpCode::SetWatches,
    OpCode::Sasl,
    OpCode::GetEphemerals,
    OpCode::GetAllChildrenNumber,
    OpCode::SetWatches2,
    OpCode::AddWatch,
    OpCode::WhoAmI,
    OpCode::CloseSession,
    OpCode::Unknown(99),
];

/// What was seen in all files.
#[derive(Default)]
struct Seen {
    packets: usize,
    /// Operations of requests.
    requests: BTreeMap<OpCode, usize>,
    /// Operations of successful replies.
    replies: BTreeMap<OpCode, usize>,
    errors: BTreeSet<ErrorCode>,
    events: BTreeSet<EventType>,
    /// Handshakes without the last field, from old peers.
    without_read_only: usize,
}

/// The state of one connection.
#[derive(Default)]
struct Connection {
    greeted: bool,
    answered: bool,
    /// Requests without a reply.
    pending: BTreeMap<i32, Vec<OpCode>>,
}

impl Connection {
    fn request(&mut self, seen: &mut Seen, frame: &Bytes) -> Result<(), DecodeError> {
        if !std::mem::replace(&mut self.greeted, true) {
            let request = ConnectRequest::decode_all(frame)?;
            seen.without_read_only += usize::from(request.read_only.is_none());
            return same(frame, |out| request.encode(out));
        }
        let mut input = Reader::new(frame);
        let header = RequestHeader::decode(&mut input)?;
        self.pending.entry(header.xid).or_default().push(header.op);
        *seen.requests.entry(header.op).or_default() += 1;
        let request = Request::decode(header.op, &mut input)?;
        assert_eq!(request.op(), header.op);
        same(frame, |out| request.encode(header.xid, out))
    }

    fn reply(&mut self, seen: &mut Seen, frame: &Bytes) -> Result<(), DecodeError> {
        // A server without a quorum refuses a session with a reply header.
        let refused = frame.len() == ReplyHeader::MIN_LEN;
        if !std::mem::replace(&mut self.answered, true) && !refused {
            let response = ConnectResponse::decode_all(frame)?;
            seen.without_read_only += usize::from(response.read_only.is_none());
            return same(frame, |out| response.encode(out));
        }
        let mut input = Reader::new(frame);
        let header = ReplyHeader::decode(&mut input)?;
        seen.errors.insert(header.err);
        if header.xid == xid::NOTIFICATION {
            let event = WatcherEvent::decode(&mut input)?;
            input.finish()?;
            seen.events.insert(event.kind);
            return same(frame, |out| {
                header.encode(out);
                event.encode(out);
            });
        }
        let op = match self.pending.get_mut(&header.xid) {
            Some(ops) if !ops.is_empty() => ops.remove(0),
            _ if refused && header.err == ErrorCode::NotReadOnly => OpCode::CreateSession,
            _ => panic!("reply to nothing: {header:?}"),
        };
        let response = Response::decode(op, header.err, &mut input)?;
        if header.err.is_ok() {
            *seen.replies.entry(op).or_default() += 1;
        } else {
            let says_more = matches!(op, OpCode::Sasl | OpCode::MultiRead);
            assert!(says_more || response == Response::Empty, "{op} {header:?} {response:?}");
        }
        same(frame, |out| response.encode(&header, out))
    }
}

/// Checks that `encode` writes `frame`.
fn same(frame: &Bytes, encode: impl FnOnce(&mut BytesMut)) -> Result<(), DecodeError> {
    let mut out = BytesMut::new();
    encode(&mut out);
    assert_eq!(out, frame);
    Ok(())
}

fn from_hex(text: &str) -> Bytes {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "bad hex {text:?}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Packets that are invalid on purpose: `exists` without its last byte, in `java-raw`.
const BROKEN: [&str; 1] = ["0000001a00000003000000042f726177"];

fn play(path: &Path, seen: &mut Seen) {
    let text = fs::read_to_string(path).expect("readable recording");
    let mut connection = None;
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{}:{number}", path.display());
        let handled = match line.split_at_checked(2) {
            _ if line.is_empty() || line.starts_with('#') => continue,
            Some(("= ", "connection")) => {
                connection = Some(Connection::default());
                continue;
            }
            Some(("> ", hex)) => {
                let frame = from_hex(hex);
                let handled = connection.as_mut().expect("connection").request(seen, &frame);
                if BROKEN.contains(&hex) {
                    assert!(handled.is_err(), "{}: broken, but read", place());
                    Ok(())
                } else {
                    handled
                }
            }
            Some(("< ", hex)) => {
                connection.as_mut().expect("connection").reply(seen, &from_hex(hex))
            }
            _ => panic!("{}: {line:?}", place()),
        };
        if let Err(error) = handled {
            panic!("{}: {error}", place());
        }
        seen.packets += 1;
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "shows what the recordings cover")]
fn recorded_packets_round_trip() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("folder of recordings")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "frames"))
        .collect();
    files.sort();

    let mut seen = Seen::default();
    for file in &files {
        play(file, &mut seen);
    }

    println!("{} packets in {} files", seen.packets, files.len());
    println!("requests: {}", counts(&seen.requests));
    println!("replies:  {}", counts(&seen.replies));
    println!("errors:   {:?}", seen.errors);
    println!("events:   {:?}", seen.events);

    let asked: Vec<_> = CORE.iter().filter(|op| !seen.requests.contains_key(op)).collect();
    assert!(asked.is_empty(), "not recorded: {asked:?}");
    // A check on its own is never answered, and an unknown operation never succeeds.
    let unanswered: Vec<_> = CORE
        .iter()
        .filter(|op| !matches!(op, OpCode::Check | OpCode::Unknown(_)))
        .filter(|op| !seen.replies.contains_key(op))
        .collect();
    assert!(unanswered.is_empty(), "recorded without a reply: {unanswered:?}");
    assert_eq!(seen.without_read_only, 2, "both handshakes of before 3.4");
    let on_the_wire = [
        EventType::NodeCreated,
        EventType::NodeDeleted,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
    ];
    assert!(seen.events.iter().eq(&on_the_wire), "{:?}", seen.events);
}

fn counts(ops: &BTreeMap<OpCode, usize>) -> String {
    let each: Vec<_> = ops.iter().map(|(op, count)| format!("{op} {count}")).collect();
    each.join(", ")
}
