//! What the server sends on an established connection: replies, events, pongs.
//!
//! A packet with a body that cannot be read or is too large fails the request that it answers, and nothing
//! else. Only a packet that does not answer any request of this connection ends the connection.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
};

use bytes::Bytes;

use crate::{
    ErrorCode, EventType, OpCode, Response, Time, Ustring,
    jute::{Decode, Reader},
    path,
    records::{ReplyHeader, WatcherEvent, xid},
};

use super::{
    Cause, Outcome, Phase, Reason, Reply, Session, SessionState, WatchKind,
    read_only::Probes,
    request_queue::{InFlight, WatchChange},
    watches::Modes,
};

impl<T: Clone> Session<T> {
    pub(super) fn handle_packet(&mut self, now: Time, frame: &Bytes) {
        let mut input = Reader::new(frame);
        match ReplyHeader::decode(&mut input) {
            Ok(header) => self.handle_with_header(now, header, Body::Here(&mut input)),
            Err(error) => self.drop_connection(now, format!("undecodable packet: {error}").into()),
        }
    }

    /// Handles a packet that is larger than the limit. `head` is its beginning.
    pub(super) fn handle_oversize(&mut self, now: Time, head: &Bytes, length: usize) {
        match ReplyHeader::decode_all(head) {
            Ok(header) if matches!(self.phase, Phase::Established(_)) => {
                self.handle_with_header(now, header, Body::TooLarge(length));
            }
            _ => self.drop_connection(now, format!("packet of {length} bytes").into()),
        }
    }

    fn handle_with_header(&mut self, now: Time, header: ReplyHeader, body: Body<'_, '_>) {
        let handled = match header.xid {
            xid::NOTIFICATION => {
                self.handle_event(now, header, body);
                Ok(())
            }
            _ if header.err == ErrorCode::SessionClosedRequireSaslAuth => {
                self.handle_auth_required(header);
                Ok(())
            }
            xid::PING => self.handle_pong(header),
            xid::AUTH => self.handle_auth(header),
            xid::SET_WATCHES => self.handle_rearmed(header),
            _ => self.handle_reply(now, header, body),
        };
        match handled {
            Ok(()) => {
                if header.xid != xid::NOTIFICATION {
                    self.answered(now);
                }
                if let Phase::Established(up) = &self.phase
                    && up.is_settled(self.credentials.len())
                    && self.route.answered(now, self.identity.timeouts.session())
                    && up.search.is_none()
                {
                    self.probes = Probes::default();
                }
                self.leave_if_drained(now);
                self.complete_reconnects();
            }
            Err(broken) => self.drop_connection(now, broken.0),
        }
    }

    fn handle_event(&mut self, now: Time, header: ReplyHeader, body: Body<'_, '_>) {
        let event = match body {
            Body::Here(input) => WatcherEvent::decode(input).map_err(|error| error.to_string()),
            Body::TooLarge(length) => Err(format!("{length} bytes are over the limit")),
        };
        match event {
            Ok(event) => {
                let zxid = (header.zxid > 0).then_some(header.zxid);
                self.handle_watcher_event(now, &event, zxid);
            }
            Err(cause) => self.handle_unreadable_event(&cause),
        }
    }

    fn handle_watcher_event(&mut self, now: Time, event: &WatcherEvent, zxid: Option<i64>) {
        // If a node was deleted while watches are armed again, the server sends the event for the data watch
        // and arms the exist watch. On this side, the event ends both.
        let rearming = matches!(&self.phase, Phase::Established(up) if up.rearming > 0);
        let armed_again = rearming
            && event.kind == EventType::NodeDeleted
            && self.watches.is_armed(WatchKind::Exist, &event.path);
        if zxid.is_some() {
            // ZooKeeper 3.9 or later.
            self.watches.modes = Modes::Apart;
        }
        self.fire(event.kind, &event.path, zxid);
        if let (true, Some(due)) = (armed_again, self.removal_due(now)) {
            self.watches.mark_unwanted(WatchKind::Exist, &event.path, due);
        }
    }

    /// Handles an event that cannot be read. It may be for any watch, so all watches are armed again, as on a
    /// new connection. If the server then sends such an event again, that one is ignored.
    fn handle_unreadable_event(&mut self, cause: &str) {
        let Phase::Established(up) = &self.phase else { return };
        let again = up.rearming > 0 || self.is_draining();
        tracing::warn!(
            host = self.route.current().map(tracing::field::display),
            cause,
            again,
            "undecodable event"
        );
        if again {
            return;
        }
        let packets = self.rearm_watches(|queue, op, body| {
            queue.special(xid::SET_WATCHES, op, |out| out.extend_from_slice(body));
        });
        if let Phase::Established(up) = &mut self.phase {
            up.rearming = packets;
        }
    }

    fn fire(&mut self, kind: EventType, path: &Ustring, zxid: Option<i64>) {
        for watch in self.watches.fire(kind, path) {
            self.output_event(watch, kind, path, zxid);
        }
        if matches!(kind, EventType::NodeCreated | EventType::NodeDeleted)
            && let Some(parent) = path::parent(path)
        {
            for watch in self.watches.fire_children(parent) {
                let parent = Ustring::from(parent);
                self.output_event(watch, EventType::NodeChildrenChanged, &parent, zxid);
            }
        }
    }

    fn handle_pong(&mut self, header: ReplyHeader) -> Handled {
        let Phase::Established(up) = &mut self.phase else { return Ok(()) };
        let sent = up.keepalive.pong().ok_or_else(|| ProtocolError("reply to no ping".into()))?;
        match header.err {
            ErrorCode::Ok => {
                up.keepalive.acknowledged(sent);
                Ok(())
            }
            // The server does not have the session.
            error => Err(ProtocolError(format!("ping refused: {error}").into())),
        }
    }

    /// Handles the reply of a server that has closed the session because it demands another credential
    /// (`org.apache.zookeeper.server.AuthenticationHelper`). It would close any new session, too.
    fn handle_auth_required(&mut self, header: ReplyHeader) {
        let schemes: BTreeSet<_> =
            self.credentials.iter().map(|it| it.credential.scheme.clone()).collect();
        let sent = schemes.into_iter().collect();
        let reason = Reason::AuthRequired { sent };
        self.note_cause(&reason.to_string().into());
        let answered = self.queue.pop_matching(header.xid);
        let answered = answered.map(|(entry, path)| (entry, path.take()));
        self.disconnect();
        self.set_state(SessionState::Lost);
        if let Some((mut entry, path)) = answered {
            self.fail(entry.take_caller(), entry.op, path, reason.clone(), Outcome::NotApplied);
        }
        let closes = matches!(&self.phase, Phase::Established(up) if up.closing.is_some());
        self.end(if closes { Reason::Closed } else { reason });
    }

    fn handle_auth(&mut self, header: ReplyHeader) -> Handled {
        let Phase::Established(up) = &mut self.phase else { return Ok(()) };
        if up.credentials_acked >= up.credentials_sent {
            return Err(ProtocolError("reply to no auth packet".into()));
        }
        let registered = self.credentials.get_mut(up.credentials_acked);
        let (scheme, waiters) = registered.map_or_else(Default::default, |registered| {
            let scheme = registered.credential.scheme.clone();
            (scheme, core::mem::take(&mut registered.waiters))
        });
        up.credentials_acked = up.credentials_acked.saturating_add(1);
        if !header.err.is_ok() {
            self.disconnect();
            let reason = Reason::AuthFailed { scheme };
            self.lose_session(&reason);
            for caller in waiters {
                self.fail(Some(caller), OpCode::Auth, None, reason.clone(), Outcome::NotApplied);
            }
            self.end(reason);
            return Ok(());
        }
        for caller in waiters {
            let reply = Reply { zxid: header.zxid, response: Response::Empty };
            self.complete(caller, Ok(reply));
        }
        Ok(())
    }

    fn handle_rearmed(&mut self, header: ReplyHeader) -> Handled {
        let Phase::Established(up) = &mut self.phase else { return Ok(()) };
        let due = if self.queue.has_prologue() { 0 } else { up.rearming };
        up.rearming =
            due.checked_sub(1).ok_or_else(|| ProtocolError("reply to no setWatches".into()))?;
        match header.err {
            ErrorCode::Ok => Ok(()),
            error => {
                Err(ProtocolError(format!("watches could not be armed again: {error}").into()))
            }
        }
    }

    fn handle_reply(&mut self, now: Time, header: ReplyHeader, body: Body<'_, '_>) -> Handled {
        let Some((mut entry, path)) = self.queue.pop_matching(header.xid) else {
            return Err(ProtocolError(format!("reply with xid {} out of turn", header.xid).into()));
        };
        match entry.change {
            Some(WatchChange::Unwanted(watcher_type)) => {
                let path = path.take();
                self.handle_removed(now, header, &entry, watcher_type, path.as_deref());
                return Ok(());
            }
            Some(WatchChange::Restored(mode)) => {
                let path = path.take();
                self.handle_restored(now, header, &entry, mode, path.as_deref());
                return Ok(());
            }
            _ => {}
        }
        let response = match body {
            Body::Here(input) => {
                Response::decode_prefix(entry.op, header.err, input).map_err(Reason::InvalidReply)
            }
            Body::TooLarge(length) => {
                Err(Reason::ReplyTooLarge { length, limit: self.config.max_reply })
            }
        };
        let err = match &response {
            // The body of addWatch has an error code, too.
            Ok(Response::AddWatch(reply)) if header.err.is_ok() => reply.err,
            _ => header.err,
        };
        // Only watches and failures need the path.
        let path = if entry.change.is_some() || !err.is_ok() || response.is_err() {
            path.take()
        } else {
            drop(path);
            None
        };
        self.acknowledge(header, &entry);
        if entry.op == OpCode::CloseSession {
            self.disconnect();
            self.end(Reason::Closed);
            return Ok(());
        }
        let response = match response {
            Ok(response) => response,
            Err(reason) => {
                self.leave_watch_unwanted(now, &entry, err, path.as_deref(), header.zxid);
                self.fail(
                    entry.take_caller(),
                    entry.op,
                    path,
                    reason,
                    Outcome::of_unreadable(entry.op, err),
                );
                return Ok(());
            }
        };
        let header = ReplyHeader { err, ..header };
        let err = self.change_watches(now, &entry, header, path.as_deref());
        let Some(caller) = entry.take_caller() else { return Ok(()) };
        if err.is_ok() || matches!(response, Response::Multi(_) | Response::MultiRead(_)) {
            let reply =
                Reply { zxid: header.zxid, response: response.without_chroot(&entry.chroot) };
            self.complete(caller, Ok(reply));
        } else {
            let path = path.map(String::into_boxed_str);
            let mut failure =
                self.failure(Reason::Server(err), Outcome::NotApplied, entry.op, path);
            failure.chroot = entry.chroot;
            failure.version = entry.version;
            self.complete(caller, Err(failure));
        }
        Ok(())
    }

    /// Arms or removes watches of the path, as the reply says. Returns the result for the caller.
    fn change_watches(
        &mut self,
        now: Time,
        entry: &InFlight<T>,
        header: ReplyHeader,
        path: Option<&str>,
    ) -> ErrorCode {
        let ReplyHeader { err, zxid, .. } = header;
        if entry.forgotten {
            self.leave_watch_unwanted(now, entry, err, path, zxid);
            return err;
        }
        let (Some(change), Some(path)) = (entry.change, path) else { return err };
        let path = entry.chroot.join(path).into_owned();
        if let WatchChange::Removed(removal) = change {
            return self.end_by_removal(now, &path, removal, header);
        }
        self.note_armed(change, err, &path, zxid);
        if let (Some(kind), Some(watch)) = (armed_kind(change, err), entry.watch()) {
            self.watches.arm(kind, path.clone(), watch);
        }
        if change.arms() {
            self.watches.end_arming(&path, change.kind());
        }
        err
    }

    /// Notes that a request has armed a watch on the server that was forgotten meanwhile, if it has.
    fn leave_watch_unwanted(
        &mut self,
        now: Time,
        entry: &InFlight<T>,
        err: ErrorCode,
        path: Option<&str>,
        zxid: i64,
    ) {
        let (Some(change), Some(path)) = (entry.change.filter(|change| change.arms()), path) else {
            return;
        };
        let path = entry.chroot.join(path);
        self.note_armed(change, err, &path, zxid);
        let kind = match change {
            WatchChange::ArmedByRecursive if err.is_ok() => Some(WatchKind::PersistentRecursive),
            _ => armed_kind(change, err),
        };
        if let (Some(kind), Some(due)) = (kind, self.removal_due(now)) {
            self.watches.mark_unwanted(kind, &path, due);
        }
        self.watches.end_arming(&path, change.kind());
    }

    /// Notes that a request was answered that arms a watch, and what that means for other watches of the path.
    fn note_armed(&mut self, change: WatchChange, err: ErrorCode, path: &str, zxid: i64) {
        match armed_kind(change, err) {
            Some(kind) if kind.is_one_shot() => self.note_disturbance(path, zxid),
            Some(kind) => {
                let recursive = kind == WatchKind::PersistentRecursive
                    || change == WatchChange::ArmedByRecursive;
                self.watches.set_recursive(path, recursive);
            }
            None => {}
        }
    }
}

/// The kind of the watch that a request has armed for the caller.
const fn armed_kind(change: WatchChange, err: ErrorCode) -> Option<WatchKind> {
    match (change, err) {
        (WatchChange::ArmedByExists, ErrorCode::Ok) => Some(WatchKind::Data),
        (WatchChange::ArmedByExists, ErrorCode::NoNode) => Some(WatchKind::Exist),
        (change, ErrorCode::Ok) => change.kind(),
        _ => None,
    }
}

type Handled = Result<(), ProtocolError>;

/// A packet that answers no request: the connection must be dropped.
struct ProtocolError(Cause);

/// The body of a packet, behind its header.
enum Body<'p, 'f> {
    Here(&'p mut Reader<'f>),
    /// The packet, of this length, is over the limit, and its body was discarded.
    TooLarge(usize),
}
