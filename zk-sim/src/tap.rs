//! What passes by on the server's side of the network, and the rules that hold for every connection.

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

/// The largest packet.
pub(crate) const LIMIT: usize = 4 << 20;

/// How much later than a third of the session timeout a ping may be.
const PING_SLACK: Duration = Duration::from_millis(30);

#[derive(Default)]
pub(crate) struct Tap {
    connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) violations: Vec<String>,
}

struct Connection {
    requests: FrameReader,
    replies: FrameReader,
    phase: Phase,
    waiting: VecDeque<i32>,
    timeout: Duration,
    last_xid: i32,
    last_zxid: i64,
    /// Watches were armed again.
    has_armed: bool,
    /// When the client wrote last, and whether all was calm then; `None` while it has to wait.
    written: Option<(Duration, bool)>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    Fresh,
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
            timeout: Duration::MAX,
            last_xid: 0,
            last_zxid: 0,
            has_armed: false,
            written: Some((now, false)),
        };
        self.connections.insert(id, connection);
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// On how many connections watches were armed again since it was asked last.
    pub(crate) fn take_armed(&mut self) -> usize {
        let armed = self.connections.values_mut().map(|it| std::mem::take(&mut it.has_armed));
        armed.filter(|has_armed| *has_armed).count()
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
        while let Ok(Some(Frame::Whole(frame))) = connection.requests.next_frame() {
            if let Err(what) = connection.request(&frame) {
                self.violations.push(format!("on connection {}: {what}", id.0));
            }
        }
    }

    /// The server sends bytes.
    pub(crate) fn sent(&mut self, id: ConnectionId, bytes: &[u8]) {
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
        if self.phase == Phase::Fresh {
            self.phase = Phase::Asked;
            ConnectRequest::decode(&mut input).map_err(|error| error.to_string())?;
            return Ok(());
        }
        let header = RequestHeader::decode(&mut input).map_err(|error| error.to_string())?;
        Request::decode(header.op, &mut input).map_err(|error| error.to_string())?;
        match header.xid {
            xid::PING | xid::AUTH => {}
            xid::SET_WATCHES if self.last_xid > 0 => {
                return Err("watches are armed again behind requests".into());
            }
            xid::SET_WATCHES => self.has_armed = true,
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
        if self.phase == Phase::Asked {
            self.phase = Phase::Up;
            let response =
                ConnectResponse::decode(&mut input).map_err(|error| error.to_string())?;
            self.timeout = Duration::from_millis(u64::try_from(response.timeout).unwrap_or(0));
            // An ensemble may take its time for a session: the client has been silent rightly.
            self.written = None;
            return Ok(());
        }
        let header = ReplyHeader::decode(&mut input).map_err(|error| error.to_string())?;
        if header.xid == xid::NOTIFICATION {
            return Ok(());
        }
        match self.waiting.pop_front() {
            None => return Err(format!("a reply to nothing, {}", header.xid)),
            Some(number) if number != header.xid => {
                return Err(format!("a reply to {} when {number} is due", header.xid));
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
