//! What the server sends on an established connection: replies, events, pongs.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    DecodeError, ErrorCode, OpCode, Response, Time,
    jute::{Decode, Reader},
    records::{ReplyHeader, WatcherEvent, xid},
};

use super::{
    Arms, Failure, Link, Outcome, Output, Reason, Reply, Session, WatchKind, WatchedEvent,
    outgoing::InFlight, watches::Watch,
};

impl Session {
    pub(super) fn handle_packet(&mut self, now: Time, frame: &Bytes) {
        let mut input = Reader::new(frame);
        let handled = ReplyHeader::decode(&mut input).map_err(Broken::from).and_then(|header| {
            match header.xid {
                xid::NOTIFICATION => self.handle_event(header, &mut input),
                xid::PING => self.handle_pong(),
                xid::AUTH => self.handle_auth(header),
                xid::SET_WATCHES => self.handle_rearmed(header),
                _ => self.handle_reply(header, &mut input),
            }
        });
        if let Err(broken) = handled {
            self.drop_connection(now, broken.0);
        }
    }

    /// A packet that is too long for this client: the request that it answers fails, and no other.
    pub(super) fn handle_oversize(&mut self, now: Time, head: &Bytes, length: usize) {
        let limit = self.config.max_reply;
        let header = match ReplyHeader::decode_all(head) {
            Ok(header) if matches!(self.link, Link::Up(_)) => header,
            _ => return self.drop_connection(now, format!("packet of {length} bytes").into()),
        };
        let Some((entry, path)) = self.outgoing.pop_matching(header.xid) else {
            let cause = format!("packet of {length} bytes with xid {}", header.xid);
            return self.drop_connection(now, cause.into());
        };
        let path = path.take();
        self.acknowledge(header, &entry);
        let outcome = if header.err == ErrorCode::Ok { Outcome::Applied } else { Outcome::Refused };
        self.complete_failed(&entry, path, Reason::ReplyTooLarge { length, limit }, outcome);
    }

    fn handle_event(&mut self, header: ReplyHeader, input: &mut Reader<'_>) -> Handled {
        let event = WatcherEvent::decode(input)?;
        input.finish()?;
        let zxid = (header.zxid > 0).then_some(header.zxid);
        for Watch { id, chroot } in self.watches.fire(event.kind, &event.path) {
            let Some(path) = chroot.strip_ustring(event.path.clone()) else { continue };
            let event = WatchedEvent { kind: event.kind, path, zxid };
            self.outputs.push_back(Output::Fired { id, event });
        }
        Ok(())
    }

    fn handle_pong(&mut self) -> Handled {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        if up.alive.pong() { Ok(()) } else { Err(Broken("reply to no ping".into())) }
    }

    fn handle_auth(&mut self, header: ReplyHeader) -> Handled {
        if header.err != ErrorCode::Ok {
            self.outputs.push_back(Output::Disconnect);
            self.end(Reason::AuthFailed);
            return Ok(());
        }
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        let registered = self.credentials.get_mut(up.credentials_acked);
        let registered = registered.ok_or_else(|| Broken("reply to no auth packet".into()))?;
        up.credentials_acked = up.credentials_acked.saturating_add(1);
        if let Some(id) = registered.waiter.take() {
            let reply = Reply { zxid: header.zxid, response: Response::Empty };
            self.outputs.push_back(Output::Completed { id, result: Ok(reply) });
        }
        Ok(())
    }

    fn handle_rearmed(&mut self, header: ReplyHeader) -> Handled {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        up.rearming =
            up.rearming.checked_sub(1).ok_or_else(|| Broken("reply to no setWatches".into()))?;
        match header.err {
            ErrorCode::Ok => Ok(()),
            error => Err(Broken(format!("watches could not be armed again: {error}").into())),
        }
    }

    fn handle_reply(&mut self, header: ReplyHeader, input: &mut Reader<'_>) -> Handled {
        let Some((entry, path)) = self.outgoing.pop_matching(header.xid) else {
            return Err(Broken(format!("reply with xid {} out of turn", header.xid).into()));
        };
        // The path is needed only by watches and failures.
        let path = if entry.arms.is_some() || header.err != ErrorCode::Ok {
            path.take()
        } else {
            drop(path);
            None
        };
        self.acknowledge(header, &entry);
        if entry.op == OpCode::CloseSession {
            self.outputs.push_back(Output::Disconnect);
            self.end(Reason::Closed);
            return Ok(());
        }
        let response = match Response::decode(entry.op, header.err, input) {
            Ok(response) => response,
            Err(error) => {
                let outcome = Outcome::Applied;
                self.complete_failed(&entry, path, Reason::Undecodable(error), outcome);
                return Err(error.into());
            }
        };
        self.arm(&entry, header.err, path.as_deref());
        if header.err == ErrorCode::Ok || matches!(response, Response::Multi(_)) {
            let reply = Reply { zxid: header.zxid, response: response.below(&entry.chroot) };
            if let Some(id) = entry.id {
                self.outputs.push_back(Output::Completed { id, result: Ok(reply) });
            }
        } else {
            self.complete_failed(&entry, path, Reason::Server(header.err), Outcome::Refused);
        }
        Ok(())
    }

    /// The server has had this request: it keeps the session from when that was sent.
    fn acknowledge(&mut self, header: ReplyHeader, entry: &InFlight) {
        self.identity.last_zxid = self.identity.last_zxid.max(header.zxid);
        if let Link::Up(up) = &mut self.link {
            up.alive.acked(entry.queued_at);
        }
    }

    fn arm(&mut self, entry: &InFlight, err: ErrorCode, path: Option<&str>) {
        let (Some(id), Some(arms), Some(path)) = (entry.id, entry.arms, path) else { return };
        let kind = match (arms, err) {
            (Arms::Exists, ErrorCode::Ok) => WatchKind::Data,
            (Arms::Exists, ErrorCode::NoNode) => WatchKind::Exist,
            (Arms::Kind(kind), ErrorCode::Ok) => kind,
            _ => return,
        };
        let path = entry.chroot.join(path).into_owned();
        self.watches.arm(kind, path, Watch { id, chroot: entry.chroot.clone() });
    }

    fn complete_failed(
        &mut self,
        entry: &InFlight,
        path: Option<String>,
        reason: Reason,
        outcome: Outcome,
    ) {
        let Some(id) = entry.id else { return };
        let failure: Box<Failure> =
            self.failure(reason, outcome, entry.op, path.map(String::into_boxed_str));
        self.outputs.push_back(Output::Completed { id, result: Err(failure) });
    }
}

type Handled = Result<(), Broken>;

/// A packet that breaks the protocol: the connection is of no more use.
struct Broken(Arc<str>);

impl From<DecodeError> for Broken {
    fn from(error: DecodeError) -> Self {
        Self(format!("undecodable packet: {error}").into())
    }
}
