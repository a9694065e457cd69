//! What was to be changed and what came of it: what worlds compare their clients' beliefs with.
//!
//! It is read off the bytes that the server gets and sends, or in an ensemble off those that are agreed on.

use std::collections::{BTreeMap, VecDeque};

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

use crate::tap::LIMIT;

/// A write that was done, or refused.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose it was.
    pub session: SessionId,
    /// What it was to change: one change, or those of a multi.
    pub changes: Vec<Change>,
    /// Its transaction.
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
pub(crate) struct Log {
    connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) records: Vec<Record>,
    /// How many sessions there were.
    pub(crate) sessions: u64,
}

struct Connection {
    requests: FrameReader,
    replies: FrameReader,
    /// Whether it goes on with a session, once that is known.
    resumes: Option<bool>,
    session: Option<SessionId>,
    waiting: VecDeque<(OpCode, Vec<Change>)>,
}

impl Log {
    pub(crate) fn connected(&mut self, id: ConnectionId) {
        let connection = Connection {
            requests: FrameReader::new(LIMIT),
            replies: FrameReader::new(LIMIT),
            resumes: None,
            session: None,
            waiting: VecDeque::new(),
        };
        self.connections.insert(id, connection);
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    pub(crate) fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.requests.extend(bytes);
        // What cannot be read is none of the log's business.
        while let Ok(Some(Frame::Whole(frame))) = connection.requests.next_frame() {
            let mut input = Reader::new(&frame);
            if connection.resumes.is_none() {
                let request = ConnectRequest::decode(&mut input);
                connection.resumes = request.ok().map(|request| request.session_id != 0);
            } else if let Ok(header) = RequestHeader::decode(&mut input) {
                let request = Request::decode(header.op, &mut input);
                connection
                    .waiting
                    .push_back((header.op, request.as_ref().map_or_else(|_| Vec::new(), changes)));
            }
        }
    }

    pub(crate) fn sent(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.replies.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = connection.replies.next_frame() {
            let mut input = Reader::new(&frame);
            let Some(session) = connection.session else {
                let id = ConnectResponse::decode(&mut input).map_or(0, |it| it.session_id);
                connection.session = Some(SessionId(id));
                self.sessions += u64::from(id != 0 && connection.resumes == Some(false));
                continue;
            };
            let Ok(header) = ReplyHeader::decode(&mut input) else { continue };
            if header.xid == xid::NOTIFICATION {
                continue;
            }
            let Some((op, changes)) = connection.waiting.pop_front() else { continue };
            if !changes.is_empty() {
                let outcome = outcome(op, header.err, &mut input);
                self.records.push(Record { session, changes, zxid: header.zxid, outcome });
            }
        }
    }
}

/// What came of a request: the header of a multi says nothing of that.
fn outcome(op: OpCode, err: ErrorCode, input: &mut Reader<'_>) -> ErrorCode {
    let Ok(Response::Multi(multi)) = Response::decode(op, err, input) else { return err };
    let failed = multi.results.iter().find_map(|result| match result {
        MultiResult::Error(code) if *code != ErrorCode::Ok => Some(*code),
        _ => None,
    });
    failed.unwrap_or(err)
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
