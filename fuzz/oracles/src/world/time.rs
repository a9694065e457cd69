//! The passage of time.

use std::time::Duration;

use zk_proto::Time;

use super::{World, connection::Phase};

impl World {
    /// Time passes, and the session is woken at each of its deadlines.
    pub(super) fn tick(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        let mut turns = 0;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wake();
            turns += 1;
            assert!(turns < 2_000, "the session spins");
        }
        self.freeze(end);
    }

    /// Time passes while the process is stopped.
    pub(super) fn freeze(&mut self, until: Time) {
        self.now = until;
        if self.server.expire(self.now, false) {
            self.cut();
        }
    }

    pub(super) fn wake(&mut self) {
        match &mut self.phase {
            Phase::Waiting { until } if *until <= self.now => {
                self.phase = Phase::Down;
                self.predict_connect();
            }
            Phase::Connecting { deadline, .. } if *deadline <= self.now => self.predict_loss(true),
            Phase::Established(established)
                if established.closing.is_some_and(|until| until <= self.now) =>
            {
                self.predict_loss(true);
            }
            Phase::Established(_) => self.wake_established(),
            _ => {}
        }
        self.session.handle_timeout(self.now);
        self.process_outputs();
        let due = self.session.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "due again at once");
    }

    pub(super) fn wake_established(&mut self) {
        if self.predict_silence() {
            return;
        }
        if let Phase::Established(established) = &mut self.phase
            && established.ping_due(self.timeout) <= self.now
        {
            established.pings += 1;
            established.sent = self.now;
        }
    }
}
