//! What must come out next, as long as the server is honest.

use std::time::Duration;

use zk_proto::{
    ErrorCode, EventType, OpCode, Response, WatcherType,
    frame::LENGTH_LEN,
    records::ReplyHeader,
    session::{Credential, Outcome, Output, Reason, SessionState},
};

use super::{Call, Link, Registered, Sent, World, ledger::Auth, server::What};

/// An output, with what matters of it. Probes are not foretold.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Connect(u16),
    Disconnect,
    State(SessionState),
    Done(u64, Response),
    Failed(u64, &'static str, Outcome),
    Fired(u64, EventType, String),
    Gap(u64),
    Unwatched(u64, &'static str),
}

impl Seen {
    fn of(output: &Output<u64>) -> Option<Self> {
        Some(match output {
            Output::Connect { host, .. } => Self::Connect(host.port),
            Output::Disconnect => Self::Disconnect,
            Output::State(state) => Self::State(*state),
            Output::Completed { id, result: Ok(reply), .. } => {
                Self::Done(id.0, reply.response.clone())
            }
            Output::Completed { id, result: Err(failure), .. } => {
                Self::Failed(id.0, why(&failure.reason), failure.outcome)
            }
            Output::Fired { id, event, .. } => {
                Self::Fired(id.0, event.kind, event.path.to_string())
            }
            Output::Gap { id, .. } => Self::Gap(id.0),
            Output::Unwatched { id, reason, .. } => Self::Unwatched(id.0, why(reason)),
            _ => return None,
        })
    }
}

const fn why(reason: &Reason) -> &'static str {
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
    /// Holds an output against what was foretold; what is in transit is foretold when it is its turn.
    pub(super) fn compare(&mut self, output: &Output<u64>) {
        let Some(seen) = Seen::of(output).filter(|_| !self.tainted) else { return };
        while self.foretold.is_empty() {
            if let Seen::Connect(port) = seen {
                if !self.route.is_known() {
                    return;
                }
                if self.route.is_open {
                    return assert_eq!(self.route.advance(self.now), port);
                }
            }
            let sent = self.in_transit.pop_front();
            self.foretell_frame(sent.unwrap_or_else(|| panic!("unexpected: {seen:?}")));
        }
        assert_eq!(self.foretold.pop_front(), Some(seen));
    }

    pub(super) fn foretell(&mut self, seen: Seen) {
        if !self.tainted {
            self.foretold.push_back(seen);
        }
    }

    fn foretell_failures(&mut self, reason: &'static str) {
        let calls = self.ledger.calls.iter().filter(|call| !call.own);
        let failed =
            calls.map(|call| Seen::Failed(call.id, reason, unanswered(call.xid.is_some())));
        for seen in failed.collect::<Vec<_>>() {
            self.foretell(seen);
        }
    }

    /// The session goes, with all that it has.
    fn foretell_loss_of_session(&mut self, reason: &'static str) {
        if self.ledger.state != SessionState::Lost {
            self.foretell(Seen::State(SessionState::Lost));
        }
        self.foretell_failures(reason);
        let mut watches: Vec<_> = self.ledger.watches.iter().map(|watch| watch.id).collect();
        watches.sort_unstable();
        for id in watches {
            self.foretell(Seen::Unwatched(id, reason));
        }
    }

    /// The session goes, and no other follows.
    pub(super) fn foretell_end(&mut self, reason: &'static str) {
        self.foretell_loss_of_session(reason);
        self.foretell_waiters(reason);
    }

    /// All who wait for a credential to be taken wait in vain.
    fn foretell_waiters(&mut self, reason: &'static str) {
        for at in 0..self.credentials.len() {
            for (id, sent) in self.take_waiters(at) {
                self.foretell(Seen::Failed(id, reason, unanswered(sent)));
            }
        }
    }

    /// Those who wait for a credential to be taken, and whether it was ever sent.
    fn take_waiters(&mut self, at: usize) -> Vec<(u64, bool)> {
        let waiters = std::mem::take(&mut self.credentials[at].waiters);
        let auth = |id| self.ledger.auths.iter().find(move |auth| auth.id == id);
        waiters.into_iter().filter_map(|id| Some((id, auth(id)?.sent))).collect()
    }

    /// A credential is added, by request `id`: one that is there already is not sent again.
    pub(super) fn foretell_credential(&mut self, credential: Credential, id: u64) {
        let known = self.credentials.iter().position(|other| other.credential == credential);
        let at = known.unwrap_or(self.credentials.len());
        if known.is_none() {
            self.credentials.push(Registered::new(credential));
        }
        let registered = &mut self.credentials[at];
        self.ledger.auths.push_back(Auth { id, sent: registered.sent });
        match &self.link {
            Link::Up(up) if at < up.auths_acked => self.foretell(Seen::Done(id, Response::Empty)),
            _ => registered.waiters.push(id),
        }
    }

    /// The connection goes, by us or by others.
    pub(super) fn foretell_loss(&mut self, ours: bool) {
        if ours {
            self.foretell(Seen::Disconnect);
        }
        match &self.link {
            Link::Up(up) if up.closing.is_some() => return self.foretell_end("closed"),
            Link::Up(up) => {
                if let Some(expiry) = self.expiry(up) {
                    self.route.set_expiry(Some(expiry));
                }
                self.route.lost(self.now, !ours);
                self.foretell(Seen::State(SessionState::Suspended));
                self.foretell_failures("connection loss");
            }
            _ => self.route.failed(self.now),
        }
        self.foretell_attempt();
    }

    /// The connection goes if it was silent for too long. True if so.
    pub(super) fn foretell_silence(&mut self) -> bool {
        let dead = matches!(&self.link, Link::Up(up) if self.dead_at(up) <= self.now);
        if dead {
            self.foretell_loss(true);
        }
        dead
    }

    /// The next attempt, if it is made at once.
    pub(super) fn foretell_attempt(&mut self) {
        let delay = self.route.delay(self.now, self.timeout);
        if delay.end().is_zero() {
            self.foretell_connect();
        } else {
            self.route.is_open = delay.start().is_zero();
        }
    }

    pub(super) fn foretell_connect(&mut self) {
        if !self.tainted && self.route.is_known() {
            let port = self.route.advance(self.now);
            self.foretell(Seen::Connect(port));
        }
    }

    /// What a frame brings about.
    pub(super) fn foretell_frame(&mut self, sent: Sent) {
        let length = sent.bytes.len() - LENGTH_LEN;
        let oversize = length > self.session.config().max_reply;
        if let (Link::Up(up), Some(at)) = (&mut self.link, sent.answers)
            && matches!(sent.what, What::Pong | What::Reply { .. })
        {
            up.acked = up.acked.max(at);
        }
        if let Link::Up(up) = &mut self.link
            && matches!(
                sent.what,
                What::Pong | What::Auth { .. } | What::Rearmed | What::Reply { .. }
            )
        {
            up.heard = self.now;
        }
        let mut confirms = true;
        match sent.what {
            What::Welcome { timeout, read_only } => {
                confirms = false;
                self.foretell_welcome(timeout, read_only);
            }
            What::Expired => {
                confirms = false;
                self.foretell_expiry();
            }
            What::Event { kind, path } => {
                assert!(!oversize, "an event of {length} bytes");
                if matches!(&self.link, Link::Up(up) if up.rearming > 0) {
                    // The server may have armed an exist watch beside it.
                    self.ledger.forgotten.insert((path.clone(), WatcherType::Data), self.now);
                }
                for (id, kind, path) in self.ledger.concerned(kind, &path) {
                    self.foretell(Seen::Fired(id, kind, path));
                }
            }
            What::Pong => {}
            What::Auth { taken } => self.foretell_auth(taken),
            What::Rearmed => {
                if let Link::Up(up) = &mut self.link {
                    up.rearming -= 1;
                }
            }
            What::Closed => {
                self.foretell(Seen::Disconnect);
                self.foretell_end("closed");
            }
            What::Reply { .. } if self.ledger.calls.front().is_some_and(|call| call.own) => {
                self.foretell_removed();
            }
            What::Reply { header, .. } if oversize => {
                confirms = false;
                self.foretell_oversize(header);
            }
            What::Reply { header, response } => self.foretell_reply(header, response),
        }
        if let Link::Up(up) = &self.link
            && confirms
            && !self.tainted
            && up.rearming == 0
            && up.auths_acked >= self.credentials.len()
        {
            self.route.answered(self.now, self.timeout);
        }
    }

    fn foretell_welcome(&mut self, timeout: Duration, read_only: bool) {
        self.timeout = timeout;
        self.route.came_up(self.now);
        let state =
            if read_only { SessionState::ConnectedReadOnly } else { SessionState::Connected };
        self.foretell(Seen::State(state));
        let mut lasting: Vec<_> =
            self.ledger.watches.iter().filter(|watch| !watch.kind.is_one_shot()).collect();
        lasting.sort_by(|a, b| a.path.cmp(&b.path));
        for gap in lasting.into_iter().map(|watch| Seen::Gap(watch.id)).collect::<Vec<_>>() {
            self.foretell(gap);
        }
    }

    fn foretell_expiry(&mut self) {
        self.foretell(Seen::Disconnect);
        if self.resumable.is_some() {
            if !self.session.config().renew_expired {
                return self.foretell_end("session expired");
            }
            self.foretell_loss_of_session("session expired");
            self.route.set_expiry(None);
            self.route.prefer(self.route.current);
        }
        self.timeout = self.session.config().session_timeout;
        self.foretell_attempt();
    }

    fn foretell_auth(&mut self, taken: bool) {
        let Link::Up(up) = &mut self.link else { return };
        let at = up.auths_acked;
        up.auths_acked += 1;
        let waiters = self.take_waiters(at);
        if taken {
            for (id, _) in waiters {
                self.foretell(Seen::Done(id, Response::Empty));
            }
            return;
        }
        self.foretell(Seen::Disconnect);
        self.foretell_loss_of_session("auth failed");
        for (id, _) in waiters {
            self.foretell(Seen::Failed(id, "auth failed", Outcome::Refused));
        }
        self.foretell_waiters("auth failed");
    }

    /// The call that a reply is for.
    fn answered(&mut self) -> &Call {
        self.ledger.may_forget(self.now);
        let call = self.ledger.calls.front().expect("a reply answers something");
        if let Link::Up(up) = &mut self.link {
            up.acked_submitted = up.acked_submitted.max(call.submitted);
        }
        call
    }

    /// The session's own removal is answered, and nobody hears of it.
    fn foretell_removed(&mut self) {
        self.ledger.removals_lost = None;
        let removal = self.ledger.calls.pop_front();
        if let (Link::Up(up), Some(removal)) = (&mut self.link, removal) {
            up.acked_submitted = up.acked_submitted.max(removal.submitted);
        }
    }

    fn foretell_oversize(&mut self, header: ReplyHeader) {
        let call = self.answered();
        let outcome = match header.err {
            // Whether these were done stands in the body.
            ErrorCode::Ok if matches!(call.op, OpCode::Multi | OpCode::AddWatch) => {
                Outcome::Unknown
            }
            ErrorCode::Ok => Outcome::Applied,
            _ => Outcome::Refused,
        };
        let failed = Seen::Failed(call.id, "reply too large", outcome);
        self.foretell(failed);
    }

    fn foretell_reply(&mut self, header: ReplyHeader, response: Response) {
        let call = self.answered();
        let id = call.id;
        if !header.err.is_ok() {
            return self.foretell(Seen::Failed(id, "server", Outcome::Refused));
        }
        let response = response.without_chroot(&call.chroot);
        if let Some(kind) = call.removes {
            let path = call.chroot.join(call.path.as_deref().unwrap_or_default()).into_owned();
            for event in removed(kind) {
                for (id, kind, path) in self.ledger.concerned(*event, &path) {
                    self.foretell(Seen::Fired(id, kind, path));
                }
            }
        }
        self.foretell(Seen::Done(id, response));
    }
}

/// What a client tells itself when watches were removed by request.
const fn removed(kind: WatcherType) -> &'static [EventType] {
    use EventType::{ChildWatchRemoved, DataWatchRemoved, PersistentWatchRemoved};
    match kind {
        WatcherType::Data => &[DataWatchRemoved],
        WatcherType::Children => &[ChildWatchRemoved],
        _ => &[DataWatchRemoved, ChildWatchRemoved, PersistentWatchRemoved],
    }
}
