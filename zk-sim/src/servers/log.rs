//! The writes that servers were asked for and their results. Workloads compare them with what clients believe.
//!
//! They are decoded from the bytes that the server receives and sends; in an ensemble, from those agreed on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
pub(crate) const MAX_PACKET: usize = 4 << 20;

/// A write that was applied or refused.
#[derive(Debug, Clone)]
pub struct Record {
    /// The client's session.
    pub session: SessionId,
    /// What it was to change: one change, or those of a transaction.
    pub changes: Vec<Change>,
    /// Its zxid.
    pub zxid: i64,
    /// Its result: of a transaction, the first error.
    pub result: ErrorCode,
}

/// What a request is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates a znode with these data. The number of a sequential one follows the path.
    Create(String, Vec<u8>),
    /// Sets the data of a znode.
    Set(String, Vec<u8>),
    /// Deletes a znode.
    Delete(String),
}

#[derive(Default)]
pub(crate) struct Log {
    connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) records: Vec<Record>,
    /// How many sessions were created.
    pub(crate) sessions: u64,
    /// Sessions that their owners could not know to have ended: they ended by force, or while a member that had
    /// lost the leader or was late to learn of the end still replied to the owner.
    pub(crate) ended_early: BTreeSet<SessionId>,
}

struct Connection {
    requests: FrameReader,
    replies: FrameReader,
    /// Whether it resumes a session, once that is known.
    resumes: Option<bool>,
    session: Option<SessionId>,
    waiting: VecDeque<(OpCode, Vec<Change>)>,
}

impl Log {
    pub(super) fn handle_connected(&mut self, id: ConnectionId) {
        let connection = Connection {
            requests: FrameReader::new(MAX_PACKET),
            replies: FrameReader::new(MAX_PACKET),
            resumes: None,
            session: None,
            waiting: VecDeque::new(),
        };
        self.connections.insert(id, connection);
    }

    pub(super) fn handle_closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    pub(super) fn handle_received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.requests.extend(bytes);
        // Packets that cannot be decoded are not logged.
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

    pub(super) fn handle_sent(&mut self, id: ConnectionId, bytes: &[u8]) {
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
                let result = result_code(op, header.err, &mut input);
                self.records.push(Record { session, changes, zxid: header.zxid, result });
            }
        }
    }
}

/// The result of a request. The reply header of a transaction does not have it.
fn result_code(op: OpCode, err: ErrorCode, input: &mut Reader<'_>) -> ErrorCode {
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
