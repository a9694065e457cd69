//! The rules of the protocol that hold for every connection, checked on what servers receive and send.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use zk_proto::{
    Request,
    frame::{Frame, FrameReader},
    jute::{Decode, Reader},
    records::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, xid},
};
use zk_server::ConnectionId;

use crate::servers::MAX_PACKET;

/// How much later than due a ping may be sent.
const PING_SLACK: Duration = Duration::from_millis(30);

#[derive(Default)]
pub(crate) struct WireRules {
    connections: BTreeMap<ConnectionId, Connection>,
    violations: Vec<String>,
}

struct Connection {
    requests: FrameReader,
    replies: FrameReader,
    phase: Phase,
    waiting: VecDeque<i32>,
    timeout: Duration,
    last_xid: i32,
    last_zxid: i64,
    /// Whether watches were re-armed.
    has_rearmed: bool,
    /// When the client wrote last, and whether there were no faults then; `None` while it has to wait.
    written: Option<(Duration, bool)>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    /// The client has not sent anything.
    New,
    /// The client has sent its `ConnectRequest`.
    Connecting,
    Established,
}

impl WireRules {
    pub(crate) fn handle_connected(&mut self, now: Duration, id: ConnectionId) {
        let connection = Connection {
            requests: FrameReader::new(MAX_PACKET),
            replies: FrameReader::new(MAX_PACKET),
            phase: Phase::New,
            waiting: VecDeque::new(),
            timeout: Duration::MAX,
            last_xid: 0,
            last_zxid: 0,
            has_rearmed: false,
            written: Some((now, false)),
        };
        self.connections.insert(id, connection);
    }

    pub(crate) fn handle_closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Takes a violation of the rules.
    pub(crate) fn take_violation(&mut self) -> Option<String> {
        self.violations.pop()
    }

    /// On how many connections watches were re-armed since the last call.
    pub(crate) fn take_rearmed(&mut self) -> usize {
        let changed = self.connections.values_mut().map(|it| std::mem::take(&mut it.has_rearmed));
        changed.filter(|has_rearmed| *has_rearmed).count()
    }

    /// The client sends bytes.
    pub(crate) fn handle_written(&mut self, now: Duration, id: ConnectionId, is_calm: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some((last, true)) = connection.written
            && connection.phase == Phase::Established
        {
            // Clocks may run slow by one percent.
            let limit = (connection.timeout / 3).mul_f64(1.02) + PING_SLACK;
            if now - last > limit {
                let silent = now - last;
                self.violations
                    .push(format!("a client sent nothing for {silent:?}, longer than {limit:?}"));
            }
        }
        connection.written = Some((now, is_calm));
    }

    /// The server receives bytes.
    pub(crate) fn handle_received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.requests.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = connection.requests.next_frame() {
            if let Err(what) = connection.request(&frame) {
                self.violations.push(format!("on connection {}: {what}", id.0));
            }
        }
    }

    /// The server sends bytes.
    pub(crate) fn handle_sent(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.replies.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = connection.replies.next_frame() {
            if let Err(what) = connection.reply(&frame) {
                self.violations.push(format!("on connection {}: {what}", id.0));
            }
        }
    }
}

impl Connection {
    fn request(&mut self, frame: &bytes::Bytes) -> Result<(), String> {
        let mut input = Reader::new(frame);
        if self.phase == Phase::New {
            self.phase = Phase::Connecting;
            ConnectRequest::decode(&mut input).map_err(|error| error.to_string())?;
            return Ok(());
        }
        let header = RequestHeader::decode(&mut input).map_err(|error| error.to_string())?;
        Request::decode(header.op, &mut input).map_err(|error| error.to_string())?;
        match header.xid {
            xid::PING | xid::AUTH => {}
            xid::SET_WATCHES if self.last_xid > 0 => {
                return Err("watches are re-armed after requests".into());
            }
            xid::SET_WATCHES => self.has_rearmed = true,
            number if number <= 0 => return Err(format!("xid {number}")),
            number if number != self.last_xid + 1 && self.last_xid > 0 => {
                return Err(format!("xid {number} after {}", self.last_xid));
            }
            number => self.last_xid = number,
        }
        self.waiting.push_back(header.xid);
        Ok(())
    }

    fn reply(&mut self, frame: &bytes::Bytes) -> Result<(), String> {
        let mut input = Reader::new(frame);
        if self.phase == Phase::Connecting {
            self.phase = Phase::Established;
            let response =
                ConnectResponse::decode(&mut input).map_err(|error| error.to_string())?;
            self.timeout = Duration::from_millis(u64::try_from(response.timeout).unwrap_or(0));
            // An ensemble may take a while to create a session, and the client has to wait.
            self.written = None;
            return Ok(());
        }
        let header = ReplyHeader::decode(&mut input).map_err(|error| error.to_string())?;
        if header.xid == xid::NOTIFICATION {
            return Ok(());
        }
        match self.waiting.pop_front() {
            None => return Err(format!("a reply to no request, xid {}", header.xid)),
            Some(number) if number != header.xid => {
                return Err(format!("a reply to xid {} instead of {number}", header.xid));
            }
            Some(_) => {}
        }
        if header.zxid > 0 && header.zxid < self.last_zxid {
            return Err(format!("zxid {:#x} after {:#x}", header.zxid, self.last_zxid));
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
        Ok(())
    }
}
