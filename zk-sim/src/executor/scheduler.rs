//! What the executor keeps: simulated time, processes, tasks and which of them are ready.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    task::Waker,
    time::Duration,
};

use super::process::Process;
use crate::{queue::Queue, trace::Trace};

/// With more steps than this in one millisecond, something spins.
const STEPS_PER_MILLISECOND: u32 = 50_000;

pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The process of the simulation itself: its clock is right, and it is never paused.
pub(crate) const ROOT_PROCESS: usize = 0;

pub(crate) struct Scheduler {
    pub(crate) now: Duration,
    pub(crate) random: fastrand::Rng,
    pub(crate) trace: Trace,
    /// What broke, the first violation first.
    pub(crate) violations: Vec<String>,
    pub(super) processes: Vec<Process>,
    pub(super) tasks: HashMap<u64, Task>,
    pub(super) ready: Vec<u64>,
    /// Tasks that are ready but have to wait for a while, as on an overloaded machine.
    delayed: Queue<u64>,
    delays: Option<Delays>,
    /// Wakers to call once no lock is held.
    pub(super) wakers: Vec<Waker>,
    /// Tasks of killed processes, to be dropped once no lock is held.
    pub(super) garbage: Vec<Task>,
    last_id: u64,
    /// The present millisecond, and how many steps it had.
    steps: (u128, u32),
}

/// How tasks that are ready are delayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// How many of a million runs of a task are delayed.
    pub(crate) per_million: u32,
    /// The longest delay.
    pub(crate) longest: Duration,
}

pub(super) struct Task {
    pub(super) process: usize,
    /// `None` while the task is being polled.
    pub(super) job: Option<Job>,
    pub(super) waker: Waker,
    pub(super) is_queued: bool,
}

impl Scheduler {
    pub(crate) fn new(random: fastrand::Rng, trace: Trace) -> Self {
        Self {
            now: Duration::from_secs(1),
            random,
            trace,
            violations: Vec::new(),
            processes: vec![Process::default()],
            tasks: HashMap::new(),
            ready: Vec::new(),
            delayed: Queue::new(),
            delays: None,
            wakers: Vec::new(),
            garbage: Vec::new(),
            last_id: 0,
            steps: (0, 0),
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Records a step of the run.
    pub(crate) fn step(&mut self, kind: &'static str, a: u64, b: u64) {
        self.trace.step(self.now, kind, a, b);
    }

    /// Reports a violation. The first one ends the run.
    pub(crate) fn fail(&mut self, what: String) {
        self.trace.note(self.now, || format!("VIOLATION: {what}"));
        self.violations.push(format!("at {:?}: {what}", self.now));
    }

    /// Wakes a task once the step that is under way is over.
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// When the next timer goes off or the next delay ends.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let timers = self.processes.iter().filter_map(Process::next_due);
        timers.chain(self.delayed.next_due()).min()
    }

    /// Fires a timer or ends a delay that is due; false if none is.
    pub(super) fn handle_timeout(&mut self) -> bool {
        let now = self.now;
        for (index, process) in self.processes.iter_mut().enumerate() {
            if let Some(waker) = process.pop_timer(now) {
                self.wakers.push(waker);
                self.step("timer", index as u64, 0);
                return true;
            }
        }
        let delayed = self.delayed.pop_due(now);
        self.ready.extend(delayed);
        delayed.is_some()
    }

    /// Counts a step: nothing may go on for ever without time passing.
    pub(super) fn count_step(&mut self) {
        let millisecond = self.now.as_millis();
        if self.steps.0 != millisecond {
            self.steps = (millisecond, 0);
        }
        self.steps.1 += 1;
        if self.steps.1 == STEPS_PER_MILLISECOND {
            self.fail("something spins: too many steps within a millisecond".into());
        }
    }

    // ---- tasks -------------------------------------------------------------------------------------

    pub(super) fn enqueue(&mut self, id: u64) {
        if let Some(task) = self.tasks.get_mut(&id)
            && !task.is_queued
        {
            task.is_queued = true;
            self.ready.push(id);
        }
    }

    /// Whether this task is being polled.
    pub(super) fn is_polled(&self, id: u64) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.job.is_none())
    }

    /// Delays tasks at random from now on.
    pub(crate) fn set_delays(&mut self, delays: Option<Delays>) {
        self.delays = delays;
        if delays.is_none() {
            self.ready.extend(self.delayed.take());
        }
    }

    /// Whether a task that is ready was delayed instead of run.
    pub(super) fn delay(&mut self, id: u64) -> bool {
        let Some(delays) = self.delays else { return false };
        if self.random.u32(..1_000_000) >= delays.per_million {
            return false;
        }
        let delay = delays.longest.mul_f64(self.random.f64().powi(2));
        let until = self.now + delay;
        self.step("delay", id, delay.as_millis() as u64);
        if let Some(task) = self.tasks.get(&id) {
            let process = &mut self.processes[task.process];
            process.disturbed_until = process.disturbed_until.max(until);
        }
        self.delayed.push(until, id);
        true
    }

    /// How many tasks there are.
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    // ---- processes ---------------------------------------------------------------------------------

    /// Adds a process and returns its number.
    pub(crate) fn add_process(&mut self) -> usize {
        self.processes.push(Process::with_random_clock(&mut self.random));
        self.processes.len() - 1
    }

    /// What the clock of a process shows.
    pub(crate) fn clock(&self, process: usize) -> Duration {
        self.processes[process].clock(self.now)
    }

    pub(crate) fn add_timer(&mut self, process: usize, at: Duration, id: u64, waker: Waker) {
        self.processes[process].add_timer(at, id, waker);
    }

    pub(crate) fn remove_timer(&mut self, process: usize, at: Duration, id: u64) -> Option<Waker> {
        self.processes[process].remove_timer(at, id)
    }

    /// How many timers there are.
    pub(crate) fn timer_count(&self) -> usize {
        self.processes.iter().map(Process::timer_count).sum()
    }

    /// Stops a process, as SIGSTOP does, or lets it go on.
    pub(crate) fn set_paused(&mut self, process: usize, is_paused: bool) {
        let process = &mut self.processes[process];
        process.is_paused = is_paused;
        process.disturbed_until = process.disturbed_until.max(self.now);
        if !is_paused {
            self.ready.append(&mut process.parked);
        }
    }

    /// Until when a process was kept from running.
    pub(crate) fn disturbed_until(&self, process: usize) -> Duration {
        self.processes[process].disturbed_until
    }

    /// Kills a process, as SIGKILL does: none of its tasks runs again.
    pub(crate) fn kill(&mut self, process: usize) {
        self.processes[process].is_dead = true;
        let killed: BTreeSet<u64> =
            self.tasks.iter().filter(|(_, task)| task.process == process).map(|it| *it.0).collect();
        self.garbage.extend(killed.iter().filter_map(|id| self.tasks.remove(id)));
    }

    pub(crate) fn is_dead(&self, process: usize) -> bool {
        self.processes[process].is_dead
    }

    /// The processes of clients that were not killed.
    pub(crate) fn alive(&self) -> Vec<usize> {
        (ROOT_PROCESS + 1..self.processes.len()).filter(|it| !self.is_dead(*it)).collect()
    }

    /// Moves the clock of a process ahead.
    pub(crate) fn jump(&mut self, process: usize, by: Duration) {
        self.processes[process].jump(by);
    }
}
