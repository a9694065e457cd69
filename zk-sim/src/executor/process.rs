//! A simulated process: a clock of its own, timers on it, and whether it runs.

use std::{collections::BTreeMap, task::Waker, time::Duration};

/// Tasks that are paused and killed together, and that share a clock.
#[derive(Default)]
pub(crate) struct Process {
    clock: Clock,
    timers: BTreeMap<(Duration, u64), Waker>,
    /// When the first timer is due, in simulated time.
    due: Option<Duration>,
    pub(crate) is_paused: bool,
    pub(crate) is_dead: bool,
    /// Until when the process was kept from running, by a pause or because a task was delayed.
    pub(crate) disturbed_until: Duration,
    /// Tasks that became ready during a pause.
    pub(crate) parked: Vec<u64>,
}

/// A clock that runs fast or slow and may jump ahead. It never goes back.
#[derive(Default, Clone, Copy)]
struct Clock {
    /// By how many parts per million it runs fast.
    skew: i32,
    ahead: Duration,
}

const MILLION: u128 = 1_000_000;

/// The largest skew, in parts per million.
const MAX_SKEW: i32 = 10_000;

impl Clock {
    fn rate(self) -> u128 {
        MILLION.saturating_add_signed(i128::from(self.skew))
    }

    fn read(self, now: Duration) -> Duration {
        self.ahead + nanos(now.as_nanos() * self.rate() / MILLION)
    }

    /// The simulated time at which the clock first shows `time`.
    fn moment(self, time: Duration) -> Duration {
        nanos((time.saturating_sub(self.ahead).as_nanos() * MILLION).div_ceil(self.rate()))
    }
}

fn nanos(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

impl Process {
    /// A process whose clock is off by up to one percent.
    pub(crate) fn with_random_clock(random: &mut fastrand::Rng) -> Self {
        let skew = random.i32(-MAX_SKEW..=MAX_SKEW);
        let clock = Clock { skew, ahead: Duration::from_millis(random.u64(0..10_000)) };
        Self { clock, ..Self::default() }
    }

    /// What the clock shows at the simulated time `now`.
    pub(crate) fn clock(&self, now: Duration) -> Duration {
        self.clock.read(now)
    }

    /// Moves the clock ahead, as after a suspension of the machine.
    pub(crate) fn jump(&mut self, by: Duration) {
        self.clock.ahead += by;
        self.update_due();
    }

    /// When the next timer goes off. Timers of a paused process wait.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.is_paused)
    }

    pub(crate) fn add_timer(&mut self, at: Duration, id: u64, waker: Waker) {
        self.timers.insert((at, id), waker);
        self.update_due();
    }

    pub(crate) fn remove_timer(&mut self, at: Duration, id: u64) -> Option<Waker> {
        let waker = self.timers.remove(&(at, id));
        self.update_due();
        waker
    }

    /// Takes the first timer, if it is due by `now`.
    pub(crate) fn pop_timer(&mut self, now: Duration) -> Option<Waker> {
        self.next_due().filter(|due| *due <= now)?;
        let (_, waker) = self.timers.pop_first()?;
        self.update_due();
        Some(waker)
    }

    pub(crate) fn take_timers(&mut self) -> BTreeMap<(Duration, u64), Waker> {
        self.due = None;
        std::mem::take(&mut self.timers)
    }

    pub(crate) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    fn update_due(&mut self) {
        self.due = self.timers.first_key_value().map(|((at, _), _)| self.clock.moment(*at));
    }
}
