//! When the next round of attempts to connect begins.
//!
//! A round tries every host once, without a pause between the hosts. The pauses between the rounds follow
//! [`Config::backoff`](super::Config::backoff), with jitter.

use core::time::Duration;

use crate::{Time, backoff::Backoff, rng::Rng, time::part};

/// The shortest pause between two rounds of attempts, whatever [`Backoff::min`] says.
const SHORTEST: Duration = Duration::from_millis(10);

impl Backoff {
    /// The shortest pause between two rounds.
    fn shortest(self) -> Duration {
        self.min.max(SHORTEST)
    }

    /// The longest pause between two rounds for a session with this timeout.
    fn longest(self, session_timeout: Duration) -> Duration {
        self.max.min(part(session_timeout, 3)).max(self.shortest())
    }

    /// This backoff within its bounds for a session with this timeout.
    fn bounded(self, session_timeout: Duration) -> Self {
        Self { min: self.shortest(), max: self.longest(session_timeout) }
    }
}

/// The number of rounds, and when the next one may begin.
#[derive(Debug)]
pub(super) struct Pace {
    backoff: Backoff,
    /// The number of rounds since a session has last proven itself. It is 0 before the first round, and while
    /// a session that has proven itself is connected.
    rounds: u32,
    round_began: Time,
    /// When the session was established that has not proven itself yet.
    proving_since: Option<Time>,
}

impl Pace {
    pub(super) const fn new(backoff: Backoff) -> Self {
        Self { backoff, rounds: 0, round_began: Time::ZERO, proving_since: None }
    }

    pub(super) const fn is_fresh(&self) -> bool {
        self.rounds == 0
    }

    pub(super) const fn begin_round(&mut self, now: Time) {
        self.rounds = self.rounds.saturating_add(1);
        self.round_began = now;
    }

    /// How long to wait before the next round. The pause counts from the beginning of the last round.
    ///
    /// `left` is the time until the session that is to be resumed expires. The wait is at most a third of
    /// it, so that there are several rounds before the session expires.
    pub(super) fn wait(
        &self,
        now: Time,
        session_timeout: Duration,
        left: Option<Duration>,
        rng: &mut Rng,
    ) -> Duration {
        let Some(retry) = self.rounds.checked_sub(1) else { return Duration::ZERO };
        let pause = rng.jitter(self.backoff.bounded(session_timeout).pause(retry));
        let wait = pause.saturating_sub(now.since(self.round_began));
        match left {
            Some(left) => wait.min(part(left, 3).max(self.backoff.shortest())),
            None => wait,
        }
    }

    /// Notes that a session was established.
    pub(super) const fn came_up(&mut self, now: Time) {
        self.proving_since = Some(now);
    }

    /// Notes that the server has answered. Returns whether the session has proven itself with that answer.
    pub(super) fn answered(&mut self, now: Time, session_timeout: Duration) -> bool {
        let Some(since) = self.proving_since else { return false };
        if now.since(since) < self.backoff.longest(session_timeout) {
            return false;
        }
        self.proving_since = None;
        self.rounds = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(60);

    fn at(millis: u64) -> Time {
        Time::from_origin(Duration::from_millis(millis))
    }

    fn wait(pace: &Pace, now: Time, rng: &mut Rng) -> Duration {
        pace.wait(now, T, None, rng)
    }

    #[test]
    fn pauses_grow_within_bounds() {
        let rng = &mut Rng::new(2);
        let mut pace = Pace::new(Backoff::default());
        assert_eq!(wait(&pace, at(0), rng), Duration::ZERO);
        let mut ceiling = Duration::from_millis(100);
        for _ in 0..200 {
            pace.begin_round(at(0));
            let wait = wait(&pace, at(0), rng);
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(Duration::from_secs(5));
        }
        assert_eq!(wait(&pace, at(5_000), rng), Duration::ZERO);
    }

    #[test]
    fn a_session_proves_itself_by_answers_for_the_longest_pause() {
        let rng = &mut Rng::new(3);
        let mut pace = Pace::new(Backoff::default());
        for _ in 0..20 {
            pace.begin_round(at(0));
        }
        pace.came_up(at(0));
        assert!(!pace.answered(at(4_999), T));
        assert!(wait(&pace, at(0), rng) >= Duration::from_millis(2_500));
        assert!(pace.answered(at(5_000), T) && pace.is_fresh());
        assert!(!pace.answered(at(10_000), T), "once");
        assert_eq!(wait(&pace, at(5_000), rng), Duration::ZERO);
    }

    #[test]
    fn pauses_leave_time_before_the_session_expires() {
        let rng = &mut Rng::new(4);
        let mut pace = Pace::new(Backoff::default());
        for _ in 0..50 {
            pace.begin_round(at(0));
        }
        assert!(pace.wait(at(0), T / 20, None, rng) <= T / 60);
        let left = Duration::from_millis(600);
        assert_eq!(pace.wait(at(0), T, Some(left), rng), left / 3);
        let left = Duration::from_millis(6);
        assert_eq!(pace.wait(at(0), T, Some(left), rng), Backoff::default().min);
    }

    #[test]
    fn no_pause_is_shorter_than_ten_milliseconds() {
        let rng = &mut Rng::new(5);
        let mut pace = Pace::new(Backoff { min: Duration::ZERO, max: Duration::ZERO });
        for _ in 0..50 {
            pace.begin_round(at(0));
            assert!(wait(&pace, at(0), rng) >= SHORTEST / 2);
        }
    }
}
