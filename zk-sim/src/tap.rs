//! What the server was asked and what it answered, read off the wire on its side: the log that worlds
//! compare their clients' beliefs with, and the rules that hold for every connection.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use zk_proto::{
    ErrorCode, OpCode, Request, Response,
    frame::{Frame, FrameReader},
    jute::{Decode, Reader},
    records::{
        ConnectRequest, ConnectResponse, MultiOp, MultiResult, ReplyHeader, RequestHeader, xid,
    },
    session::SessionId,
};
use zk_server::ConnectionId;

/// The largest packet.
const LIMIT: usize = 4 << 20;

/// How much later than a third of the session timeout a ping may be.
const PING_SLACK: Duration = Duration::from_millis(30);

/// A request that the server has done, or refused.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose it was.
    pub session: SessionId,
    /// What.
    pub op: OpCode,
    /// What it was to change: one change, or those of a multi.
    pub changes: Vec<Change>,
    /// The newest transaction of the server when it answered: that of the request itself, if it was a
    /// write.
    pub zxid: i64,
    /// What came of it.
    pub outcome: ErrorCode,
}

/// What a request is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is to be made; a sequential one gets its number behind this path.
    Create(String, Vec<u8>),
    /// A node is to have these data.
    Set(String, Vec<u8>),
    /// A node is to go.
    Delete(String),
}

#[derive(Default)]
pub(crate) struct Tap {
    connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) log: Vec<Record>,
    /// How many sessions there were.
    pub(crate) sessions: u64,
    pub(crate) violations: Vec<String>,
}

struct Connection {
    requests: FrameReader,
    replies: FrameReader,
    phase: Phase,
    waiting: VecDeque<(i32, OpCode, Vec<Change>)>,
    /// Whether it is to go on with a session.
    resumes: bool,
    session: SessionId,
    timeout: Duration,
    last_xid: i32,
    last_zxid: i64,
    /// When the client wrote last, and whether all was calm then.
    written: Option<(Duration, bool)>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    Fresh,
    /// Words of four letters are none of our business.
    Word,
    Asked,
    Up,
}

impl Tap {
    pub(crate) fn connected(&mut self, now: Duration, id: ConnectionId) {
        let connection = Connection {
            requests: FrameReader::new(LIMIT),
            replies: FrameReader::new(LIMIT),
            phase: Phase::Fresh,
            waiting: VecDeque::new(),
            resumes: false,
            session: SessionId(0),
            timeout: Duration::MAX,
            last_xid: 0,
            last_zxid: 0,
            written: Some((now, false)),
        };
        self.connections.insert(id, connection);
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// The client puts bytes on their way.
    pub(crate) fn written(&mut self, now: Duration, id: ConnectionId, is_calm: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some((last, true)) = connection.written
            && connection.phase == Phase::Up
        {
            // Clocks may run slow by a hundredth.
            let limit = (connection.timeout / 3).mul_f64(1.02) + PING_SLACK;
            if now - last > limit {
                let silent = now - last;
                self.violations.push(format!("a client was silent for {silent:?}, not {limit:?}"));
            }
        }
        connection.written = Some((now, is_calm));
    }

    /// The server gets bytes.
    pub(crate) fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.requests.extend(bytes);
        if connection.phase == Phase::Fresh
            && let Some(word) = connection.requests.peek(4)
        {
            let is_word = word.iter().all(u8::is_ascii_alphabetic);
            if is_word {
                connection.phase = Phase::Word;
            }
        }
        if connection.phase == Phase::Word {
            return;
        }
        while let Ok(Some(Frame::Whole(frame))) = connection.requests.next_frame() {
            if let Err(what) = connection.request(&frame) {
                self.violations.push(format!("on connection {}: {what}", id.0));
            }
        }
    }

    /// The server sends bytes.
    pub(crate) fn sent(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase == Phase::Word {
            return;
        }
        connection.replies.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = connection.replies.next_frame() {
            let is_new = connection.phase == Phase::Asked && !connection.resumes;
            match connection.reply(&frame) {
                Ok(record) => {
                    self.sessions += u64::from(is_new && connection.session != SessionId(0));
                    self.log.extend(record);
                }
                Err(what) => self.violations.push(format!("on connection {}: {what}", id.0)),
            }
        }
    }
}

impl Connection {
    fn request(&mut self, frame: &bytes::Bytes) -> Result<(), String> {
        let mut input = Reader::new(frame);
        if self.phase == Phase::Fresh {
            self.phase = Phase::Asked;
            let request = ConnectRequest::decode(&mut input).map_err(|error| error.to_string())?;
            self.resumes = request.session_id != 0;
            return Ok(());
        }
        let header = RequestHeader::decode(&mut input).map_err(|error| error.to_string())?;
        let request = Request::decode(header.op, &mut input).map_err(|error| error.to_string())?;
        match header.xid {
            xid::PING | xid::AUTH => {}
            xid::SET_WATCHES if self.last_xid > 0 => {
                return Err("watches are armed again behind requests".into());
            }
            xid::SET_WATCHES => {}
            number if number <= 0 => return Err(format!("xid {number}")),
            number if number != self.last_xid + 1 && self.last_xid > 0 => {
                return Err(format!("xid {number} after {}", self.last_xid));
            }
            number => self.last_xid = number,
        }
        self.waiting.push_back((header.xid, header.op, changes(&request)));
        Ok(())
    }

    fn reply(&mut self, frame: &bytes::Bytes) -> Result<Option<Record>, String> {
        let mut input = Reader::new(frame);
        if self.phase == Phase::Asked {
            self.phase = Phase::Up;
            let response =
                ConnectResponse::decode(&mut input).map_err(|error| error.to_string())?;
            self.session = SessionId(response.session_id);
            self.timeout = Duration::from_millis(u64::try_from(response.timeout).unwrap_or(0));
            return Ok(None);
        }
        let header = ReplyHeader::decode(&mut input).map_err(|error| error.to_string())?;
        if header.xid == xid::NOTIFICATION {
            return Ok(None);
        }
        let Some((number, op, changes)) = self.waiting.pop_front() else {
            return Err(format!("a reply to nothing, {}", header.xid));
        };
        if number != header.xid {
            return Err(format!("a reply to {} when {number} is due", header.xid));
        }
        if header.zxid > 0 && header.zxid < self.last_zxid {
            return Err(format!("zxid {:#x} after {:#x}", header.zxid, self.last_zxid));
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
        let (session, zxid) = (self.session, header.zxid);
        let outcome = match (op, header.err) {
            (OpCode::Multi, ErrorCode::Ok) => outcome(op, &mut input)?,
            (_, outcome) => outcome,
        };
        Ok(Some(Record { session, op, changes, zxid, outcome }))
    }
}

/// What came of a multi: its header says nothing of that.
fn outcome(op: OpCode, input: &mut Reader<'_>) -> Result<ErrorCode, String> {
    match Response::decode(op, ErrorCode::Ok, input) {
        Ok(Response::Multi(multi)) => {
            let failed = multi.results.iter().find_map(|result| match result {
                MultiResult::Error(code) if *code != ErrorCode::Ok => Some(*code),
                _ => None,
            });
            Ok(failed.unwrap_or(ErrorCode::Ok))
        }
        other => Err(format!("a multi is answered with {other:?}")),
    }
}

fn changes(request: &Request<'_>) -> Vec<Change> {
    let text = str::to_owned;
    let bytes = |data: Option<&[u8]>| data.unwrap_or_default().to_vec();
    match request {
        Request::Create(create) | Request::Create2(create) | Request::CreateContainer(create) => {
            vec![Change::Create(text(create.path), bytes(create.data))]
        }
        Request::SetData(set) => vec![Change::Set(text(set.path), bytes(set.data))],
        Request::Delete(delete) => vec![Change::Delete(text(delete.path))],
        Request::Multi(multi) => multi
            .ops
            .iter()
            .filter_map(|op| match op {
                MultiOp::Create(create) => {
                    Some(Change::Create(text(create.path), bytes(create.data)))
                }
                MultiOp::SetData(set) => Some(Change::Set(text(set.path), bytes(set.data))),
                MultiOp::Delete(delete) => Some(Change::Delete(text(delete.path))),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
