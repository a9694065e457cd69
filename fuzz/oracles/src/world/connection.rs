//! The connection between the session and the server: how it is opened, lost and established.

use std::time::Duration;

use zk_proto::{
    Time,
    frame::FrameReader,
    session::{Output, Probed, SessionState},
};

use super::{World, wire::Received};

/// The phase of the connection, as far as it is visible from outside.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// No connection, and the next step is not known yet.
    Down,
    Waiting {
        until: Time,
    },
    /// Requested, and open since `opened`.
    Connecting {
        deadline: Time,
        opened: Option<Time>,
    },
    Established(Established),
    Ended,
}

/// A connection with an established session.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) read_only: bool,
    /// When the last answer arrived; on a tainted connection, the last bytes, which may have been an answer.
    pub(super) heard: Time,
    /// When something was last sent.
    pub(super) sent: Time,
    /// When the last acknowledged packet was sent, and when it was submitted.
    pub(super) acked: Time,
    pub(super) acked_submitted: Time,
    pub(super) auths_acked: usize,
    /// How many packets that re-arm watches are not acknowledged.
    pub(super) rearming: usize,
    pub(super) closing: Option<Time>,
    /// How many pings the next bytes must contain.
    pub(super) pings: usize,
}

impl Established {
    pub(super) fn ping_due(&self, timeout: Duration) -> Time {
        self.sent.after((timeout / 3).min(Duration::from_secs(10)))
    }
}

impl World {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Connecting { opened: Some(_), .. } | Phase::Established(_))
    }

    /// The requested connection is open.
    pub(super) fn accept(&mut self) {
        if let Phase::Connecting { opened: opened @ None, .. } = &mut self.phase {
            *opened = Some(self.now);
            self.session.handle_connected(self.now);
            self.process_outputs();
        }
    }

    /// The connection, or the attempt to connect, is lost.
    pub(super) fn cut(&mut self) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::Established(_)) {
            self.predict_loss(false);
            self.hang_up();
            self.session.handle_disconnected(self.now, "cut");
            self.process_outputs();
        }
    }

    /// From now on the server is dishonest on this connection.
    pub(super) fn taint(&mut self) {
        self.tainted = true;
        self.ever_tainted = true;
        self.route.forget();
    }

    /// Everything in flight is lost.
    pub(super) fn hang_up(&mut self) {
        self.ledger.connection_lost();
        self.phase = Phase::Down;
        self.outbox.clear();
        self.in_transit.clear();
        self.received = Received::default();
        self.server.hang_up();
    }

    /// The answer to a probe for a read-write server.
    pub(super) fn probed(&mut self, writable: bool) {
        let Some(host) = self.probed.take() else { return };
        let moves = matches!(&self.phase, Phase::Established(established) if established.read_only && established.closing.is_none());
        if writable && moves && self.route.hosts.contains(&host.port) {
            self.server.quorum = true;
            self.route.prefer(Some(host.port));
            self.predict_loss(true);
        }
        let answer = if writable { Probed::Writable } else { Probed::Unusable };
        self.session.handle_probed(self.now, &host, answer);
        self.process_outputs();
    }

    /// Applies an output to the connection.
    pub(super) fn follow(&mut self, output: &Output<u64>) {
        match output {
            Output::Connect { host, deadline } => {
                assert!(matches!(self.phase, Phase::Down), "two connections: {:?}", self.phase);
                assert!(self.route.hosts.contains(&host.port), "{host} is not listed");
                if self.tainted {
                    self.timeout = self.session.session_timeout();
                    self.resumable = self.session.ticket().map(|ticket| ticket.id.0);
                }
                if !self.route.is_predictable() {
                    self.route.connecting_to(host.port);
                }
                let timeout = self.timeout.min(self.session.config().session_timeout);
                let connect_timeout = self.route.connect_timeout(self.now, timeout);
                let found = deadline.since(self.now);
                assert!(
                    connect_timeout.contains(&found),
                    "{found:?} for {host}, not {connect_timeout:?}"
                );
                self.route.attempt_started(self.now, found);
                self.tainted = false;
                self.reader = FrameReader::new(self.session.config().max_reply);
                self.phase = Phase::Connecting { deadline: *deadline, opened: None };
            }
            Output::Disconnect => {
                let connected =
                    matches!(self.phase, Phase::Connecting { .. } | Phase::Established(_));
                assert!(connected, "nothing to disconnect");
                if let Phase::Established(established) = &self.phase
                    && let Some(expiry) = self.expiry(established)
                {
                    self.route.set_expiry(Some(expiry));
                }
                self.hang_up();
            }
            Output::Probe { host, .. } => {
                assert!(self.route.hosts.contains(&host.port), "{host} is not listed");
                assert_ne!(Some(host.port), self.route.current, "it is the current host");
                assert!(
                    matches!(&self.phase, Phase::Established(established) if established.read_only)
                );
                self.probed = Some(host.clone());
            }
            Output::Gap { since, .. } => {
                // An event that cannot be decoded causes a gap without a new connection, and so does a request that may
                // end a persistent watch.
                let range = self.ledger.since..=self.session.last_zxid();
                assert!(
                    range.contains(since),
                    "the gap has a different start: {since}, not {range:?}"
                );
            }
            Output::State(SessionState::Lost) => {
                self.resumable = None;
                self.route.set_expiry(None);
            }
            Output::State(state) if state.is_connected() => self.session_established(*state),
            _ => {}
        }
    }

    pub(super) fn session_established(&mut self, state: SessionState) {
        let Phase::Connecting { opened: Some(opened), .. } = self.phase else {
            panic!("{state} without a connection")
        };
        if self.tainted {
            self.timeout = self.session.session_timeout();
        }
        assert_eq!(self.session.session_timeout(), self.timeout, "not the granted timeout");
        let id = self.session.session_id().map(|id| id.0);
        if self.resumable.is_some() {
            assert_eq!(id, self.resumable, "another session without an expiry");
        }
        let read_only = state == SessionState::ConnectedReadOnly;
        if !read_only {
            self.resumable = id;
        }
        self.received.begin(&self.ledger.watches, self.credentials.len());
        self.phase = Phase::Established(Established {
            read_only,
            heard: self.now,
            sent: self.now,
            acked: opened,
            acked_submitted: opened,
            auths_acked: 0,
            rearming: usize::from(!self.ledger.watches.is_empty()),
            closing: None,
            pings: 0,
        });
    }

    /// The earliest and the latest time at which the session can expire if this connection is lost now; `None` on a
    /// read-only server, which does not keep the session alive.
    pub(super) fn expiry(&self, established: &Established) -> Option<(Time, Time)> {
        // An answer of a dishonest server may acknowledge anything that was sent.
        let acked =
            if self.tainted { established.acked.max(established.sent) } else { established.acked };
        let range = [established.acked_submitted, acked.max(established.acked_submitted)];
        let [earliest, latest] = range.map(|acked| acked.after(self.timeout));
        (!established.read_only).then_some((earliest, latest))
    }

    pub(super) fn dead_at(&self, established: &Established) -> Time {
        let asked = self.session.config().session_timeout;
        let timeout = self.timeout.min(asked.max(Duration::from_secs(60)));
        established.heard.after(timeout - timeout / 3)
    }
}
