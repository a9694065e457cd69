//! Predicts the next outputs, as long as the server is honest.

use std::time::Duration;

use zk_proto::{
    AddWatchMode, ErrorCode, EventType, OpCode, Response, WatcherType,
    frame::LENGTH_LEN,
    records::ReplyHeader,
    session::{Credential, Outcome, Output, Reason, SessionState},
};

use super::{
    World,
    connection::Phase,
    ledger::{Arms, Auth, Call, group},
    server::{Content, Sent},
    user::Registered,
    watch_kind::WatchKind,
};

/// The predicted part of an output. Probes are not predicted.
#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Connect(u16),
    Disconnect,
    State(SessionState),
    Completed(u64, Response),
    Failed(u64, &'static str, Outcome),
    Fired(u64, EventType, String),
    Gap(u64, i64),
    Unwatched(u64, &'static str),
}

impl Expected {
    fn of(output: &Output<u64>) -> Option<Self> {
        Some(match output {
            Output::Connect { host, .. } => Self::Connect(host.port),
            Output::Disconnect => Self::Disconnect,
            Output::State(state) => Self::State(*state),
            Output::Completed { id, result: Ok(reply), .. } => {
                Self::Completed(id.0, reply.response.clone())
            }
            Output::Completed { id, result: Err(failure), .. } => {
                Self::Failed(id.0, reason_name(&failure.reason), failure.outcome)
            }
            Output::Fired { id, event, .. } => {
                Self::Fired(id.0, event.kind, event.path.to_string())
            }
            Output::Gap { id, since, .. } => Self::Gap(id.0, *since),
            Output::Unwatched { id, reason, .. } => Self::Unwatched(id.0, reason_name(reason)),
            _ => return None,
        })
    }
}

const fn reason_name(reason: &Reason) -> &'static str {
    match reason {
        Reason::Server(_) => "server",
        Reason::ConnectionLoss(_) => "connection loss",
        Reason::SessionExpired => "session expired",
        Reason::AuthFailed { .. } => "auth failed",
        Reason::Closed => "closed",
        Reason::ReplyTooLarge { .. } => "reply too large",
        _ => "no reason to",
    }
}

const fn unanswered(sent: bool) -> Outcome {
    if sent { Outcome::Unknown } else { Outcome::NotSent }
}

impl World {
    /// Compares an output with the prediction. Frames in transit are predicted when it is their turn.
    pub(super) fn compare(&mut self, output: &Output<u64>) {
        let Some(seen) = Expected::of(output).filter(|_| !self.tainted) else { return };
        while self.predicted.is_empty() {
            if let Expected::Connect(port) = seen {
                if !self.route.is_predictable() {
                    return;
                }
                if self.route.may_connect_now {
                    return assert_eq!(self.route.advance(self.now), port);
                }
            }
            let sent = self.in_transit.pop_front();
            self.predict_frame(sent.unwrap_or_else(|| panic!("unexpected: {seen:?}")));
        }
        assert_eq!(self.predicted.pop_front(), Some(seen));
    }

    pub(super) fn predict(&mut self, seen: Expected) {
        if !self.tainted {
            self.predicted.push_back(seen);
        }
    }

    fn predict_failures(&mut self, reason: &'static str) {
        let calls = self.ledger.calls.iter().filter(|call| !call.internal);
        let failed =
            calls.map(|call| Expected::Failed(call.id, reason, unanswered(call.xid.is_some())));
        for seen in failed.collect::<Vec<_>>() {
            self.predict(seen);
        }
    }

    /// The session is lost, with its requests and watches.
    fn predict_loss_of_session(&mut self, reason: &'static str) {
        if self.ledger.state != SessionState::Lost {
            self.predict(Expected::State(SessionState::Lost));
        }
        self.predict_failures(reason);
        let mut watches: Vec<_> = self.ledger.watches.iter().map(|watch| watch.id).collect();
        watches.sort_unstable();
        for id in watches {
            self.predict(Expected::Unwatched(id, reason));
        }
    }

    /// The session ends for good.
    pub(super) fn predict_end(&mut self, reason: &'static str) {
        self.predict_loss_of_session(reason);
        self.predict_auth_failures(reason);
    }

    /// All requests that wait for a credential fail.
    fn predict_auth_failures(&mut self, reason: &'static str) {
        for at in 0..self.credentials.len() {
            for (id, sent) in self.take_waiters(at) {
                self.predict(Expected::Failed(id, reason, unanswered(sent)));
            }
        }
    }

    /// The requests that wait for a credential, and whether it was ever sent.
    fn take_waiters(&mut self, at: usize) -> Vec<(u64, bool)> {
        let waiters = std::mem::take(&mut self.credentials[at].waiters);
        let auth = |id| self.ledger.auths.iter().find(move |auth| auth.id == id);
        waiters.into_iter().filter_map(|id| Some((id, auth(id)?.sent))).collect()
    }

    /// Request `id` adds a credential. One that exists already is not sent again.
    pub(super) fn predict_credential(&mut self, credential: Credential, id: u64) {
        let known = self.credentials.iter().position(|other| other.credential == credential);
        let at = known.unwrap_or(self.credentials.len());
        if known.is_none() {
            self.credentials.push(Registered::new(credential));
        }
        let registered = &mut self.credentials[at];
        self.ledger.auths.push_back(Auth { id, sent: registered.sent });
        match &self.phase {
            Phase::Established(established) if at < established.auths_acked => {
                self.predict(Expected::Completed(id, Response::Empty))
            }
            _ => registered.waiters.push(id),
        }
    }

    /// The connection is lost; `ours` if the session closed it.
    pub(super) fn predict_loss(&mut self, ours: bool) {
        if ours {
            self.predict(Expected::Disconnect);
        }
        match &self.phase {
            Phase::Established(established) if established.closing.is_some() => {
                return self.predict_end("closed");
            }
            Phase::Established(established) => {
                if let Some(expiry) = self.expiry(established) {
                    self.route.set_expiry(Some(expiry));
                }
                self.route.lost(self.now, !ours);
                self.predict(Expected::State(SessionState::Suspended));
                self.predict_failures("connection loss");
            }
            _ => self.route.failed(self.now),
        }
        self.predict_attempt();
    }

    /// The session closes the connection if it was silent for too long. Returns true if so.
    pub(super) fn predict_silence(&mut self) -> bool {
        let dead = matches!(&self.phase, Phase::Established(established) if self.dead_at(established) <= self.now);
        if dead {
            self.predict_loss(true);
        }
        dead
    }

    /// Predicts the next attempt if it starts at once.
    pub(super) fn predict_attempt(&mut self) {
        let delay = self.route.delay(self.now, self.timeout);
        if delay.end().is_zero() {
            self.predict_connect();
        } else {
            self.route.may_connect_now = delay.start().is_zero();
        }
    }

    pub(super) fn predict_connect(&mut self) {
        if !self.tainted && self.route.is_predictable() {
            let port = self.route.advance(self.now);
            self.predict(Expected::Connect(port));
        }
    }

    /// Predicts the outputs that a frame causes.
    pub(super) fn predict_frame(&mut self, sent: Sent) {
        let length = sent.bytes.len() - LENGTH_LEN;
        let oversize = length > self.session.config().max_reply;
        if let (Phase::Established(established), Some(at)) = (&mut self.phase, sent.answers)
            && matches!(sent.what, Content::PingReply | Content::Reply { .. })
        {
            established.acked = established.acked.max(at);
        }
        if let Phase::Established(established) = &mut self.phase
            && matches!(
                sent.what,
                Content::PingReply
                    | Content::AuthReply { .. }
                    | Content::SetWatchesReply
                    | Content::Reply { .. }
            )
        {
            established.heard = self.now;
        }
        let mut confirms = true;
        match sent.what {
            Content::Handshake { timeout, read_only } => {
                confirms = false;
                self.predict_handshake(timeout, read_only);
            }
            Content::Expired => {
                confirms = false;
                self.predict_expiry();
            }
            Content::Event { kind, path } => {
                assert!(!oversize, "an event of {length} bytes");
                if matches!(&self.phase, Phase::Established(established) if established.rearming > 0)
                {
                    // The server may also have an exist watch.
                    self.ledger.unwanted_since.insert((path.clone(), WatcherType::Data), self.now);
                }
                for (id, kind, path) in self.ledger.fired(kind, &path) {
                    self.predict(Expected::Fired(id, kind, path));
                }
            }
            Content::PingReply => {}
            Content::AuthReply { accepted } => self.predict_auth(accepted),
            Content::SetWatchesReply => {
                if let Phase::Established(established) = &mut self.phase {
                    established.rearming -= 1;
                }
            }
            Content::CloseReply => {
                self.predict(Expected::Disconnect);
                self.predict_end("closed");
            }
            Content::Reply { header, .. }
                if self.ledger.calls.front().is_some_and(|call| call.internal) =>
            {
                self.predict_internal(header);
            }
            // It is an answer, too: it keeps the connection alive and proves the session.
            Content::Reply { header, .. } if oversize => self.predict_oversize(header),
            Content::Reply { header, response } => self.predict_reply(header, response),
        }
        if let Phase::Established(established) = &self.phase
            && confirms
            && !self.tainted
            && established.rearming == 0
            && established.auths_acked >= self.credentials.len()
        {
            self.route.answered(self.now, self.timeout);
        }
    }

    fn predict_handshake(&mut self, timeout: Duration, read_only: bool) {
        self.timeout = timeout;
        self.route.came_up(self.now);
        let state =
            if read_only { SessionState::ConnectedReadOnly } else { SessionState::Connected };
        self.predict(Expected::State(state));
        let recursive =
            self.ledger.watches.iter().filter(|watch| watch.kind == WatchKind::PersistentRecursive);
        self.ledger.recursive = recursive.map(|watch| watch.path.clone()).collect();
        let mut persistent: Vec<_> =
            self.ledger.watches.iter().filter(|watch| !watch.kind.is_one_shot()).collect();
        persistent.sort_by(|a, b| a.path.cmp(&b.path));
        for gap in persistent
            .into_iter()
            .map(|watch| Expected::Gap(watch.id, self.ledger.since))
            .collect::<Vec<_>>()
        {
            self.predict(gap);
        }
    }

    fn predict_expiry(&mut self) {
        self.predict(Expected::Disconnect);
        if self.resumable.is_some() {
            if !self.session.config().renew_expired {
                return self.predict_end("session expired");
            }
            self.predict_loss_of_session("session expired");
            self.route.set_expiry(None);
            self.route.prefer(self.route.current);
        }
        self.timeout = self.session.config().session_timeout;
        self.predict_attempt();
    }

    fn predict_auth(&mut self, accepted: bool) {
        let Phase::Established(established) = &mut self.phase else { return };
        let at = established.auths_acked;
        established.auths_acked += 1;
        let waiters = self.take_waiters(at);
        if accepted {
            for (id, _) in waiters {
                self.predict(Expected::Completed(id, Response::Empty));
            }
            return;
        }
        self.predict(Expected::Disconnect);
        self.predict_loss_of_session("auth failed");
        for (id, _) in waiters {
            self.predict(Expected::Failed(id, "auth failed", Outcome::NotApplied));
        }
        self.predict_auth_failures("auth failed");
    }

    /// The call that a reply answers.
    fn answered(&mut self) -> &Call {
        let call = self.ledger.calls.front().expect("an open call");
        if let Phase::Established(established) = &mut self.phase {
            established.acked_submitted = established.acked_submitted.max(call.submitted);
        }
        call
    }

    /// A request by the session itself is answered. A removal causes no output.
    fn predict_internal(&mut self, header: ReplyHeader) {
        let Some(call) = self.ledger.calls.pop_front() else { return };
        if let Phase::Established(established) = &mut self.phase {
            established.acked_submitted = established.acked_submitted.max(call.submitted);
        }
        match call.added {
            None => self.ledger.removals_lost = None,
            Some((path, mode)) => {
                self.ledger.note_added(&path, mode);
                let kind = match mode {
                    AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
                    _ => WatchKind::Persistent,
                };
                // It may be unwanted by now.
                self.ledger.unwanted_since.insert((path.clone(), group(kind)), self.now);
                for (id, since) in self.ledger.restored(&path, header.zxid) {
                    self.predict(Expected::Gap(id, since));
                }
            }
        }
    }

    /// Notes what the answer to the next request means for the watches of its path.
    fn note_effects(&mut self, header: ReplyHeader, readable: bool) {
        self.ledger.note_unwanted_from_start(self.now, header.err, readable);
        let call = self.answered();
        let path = call.chroot.join(call.path.as_deref().unwrap_or_default()).into_owned();
        let (arms, removes, added) = (call.arms, call.removes, call.added.clone());
        let is_read = match (arms, header.err) {
            (Some(Arms::ByExists), ErrorCode::Ok | ErrorCode::NoNode) => true,
            (Some(Arms::Always(kind)), ErrorCode::Ok) => kind.is_one_shot(),
            _ => false,
        };
        if !header.err.is_ok() && !is_read {
            return;
        }
        if let Some((path, mode)) = added {
            self.ledger.note_added(&path, mode);
        }
        match removes {
            Some(WatcherType::Any) => {
                self.ledger.recursive.remove(&path);
            }
            None if !is_read => {}
            _ => self.ledger.note_disturbance(&path, header.zxid),
        }
    }

    fn predict_oversize(&mut self, header: ReplyHeader) {
        self.note_effects(header, false);
        let call = self.answered();
        let outcome = match header.err {
            // The body would tell whether these were applied.
            ErrorCode::Ok if matches!(call.op, OpCode::Multi | OpCode::AddWatch) => {
                Outcome::Unknown
            }
            ErrorCode::Ok => Outcome::Applied,
            _ => Outcome::NotApplied,
        };
        let failed = Expected::Failed(call.id, "reply too large", outcome);
        self.predict(failed);
    }

    fn predict_reply(&mut self, header: ReplyHeader, response: Response) {
        self.note_effects(header, true);
        let call = self.answered();
        let id = call.id;
        if !header.err.is_ok() {
            return self.predict(Expected::Failed(id, "server", Outcome::NotApplied));
        }
        let response = response.without_chroot(&call.chroot);
        if let Some(kind) = call.removes {
            let path = call.chroot.join(call.path.as_deref().unwrap_or_default()).into_owned();
            for event in removed(kind) {
                for (id, kind, path) in self.ledger.matching_watches(*event, &path) {
                    self.predict(Expected::Fired(id, kind, path));
                }
            }
        }
        self.predict(Expected::Completed(id, response));
    }
}

/// The events that a client generates when watches were removed by request.
const fn removed(kind: WatcherType) -> &'static [EventType] {
    use EventType::{ChildWatchRemoved, DataWatchRemoved, PersistentWatchRemoved};
    match kind {
        WatcherType::Data => &[DataWatchRemoved],
        WatcherType::Children => &[ChildWatchRemoved],
        _ => &[DataWatchRemoved, ChildWatchRemoved, PersistentWatchRemoved],
    }
}
