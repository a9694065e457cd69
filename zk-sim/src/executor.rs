//! The one thread that all runs on: tasks, timers, and the order in which things happen.
//!
//! Whatever is possible next at one moment is drawn by the seed: which of the tasks that are ready runs,
//! and whether something that is due on the network comes before it. When no task is ready, time moves on
//! to the next thing that is due; nothing ever waits for real.
//!
//! As where there are more threads than one, a task may be overtaken: while it wakes another one, others
//! run, and then it goes on. So whoever wakes another must hold no lock that others want.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    ensemble::Turn,
    faults::{Fault, Faults, Grant},
    host::Host,
    network::Network,
    trace::Trace,
};

/// One in so many times, whoever wakes a task is overtaken by another one.
const OVERTAKEN_ONE_IN: u8 = 8;
/// How many may have been overtaken, one by the other, at one moment.
const MOST_OVERTAKEN: usize = 3;

/// More steps than this at one millisecond, and something spins.
const STEPS_PER_MILLISECOND: u32 = 50_000;

pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Something may be ready, for a thread that runs the world beside others.
    woken: Condvar,
}

/// A world: everything in it is under one lock, which no task is polled under.
pub(crate) struct Core {
    pub(crate) now: Duration,
    pub(crate) random: fastrand::Rng,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) host: Host,
    pub(crate) faults: Option<Faults>,
    /// For how long the process is paused for which something arrives next.
    pub(crate) pauses_at_arrival: Option<Duration>,
    /// Whether all attempts to connect are refused.
    pub(crate) is_unreachable: bool,
    /// How the next handshake is answered, if oddly.
    pub(crate) odd_grant: Option<Grant>,
    pub(crate) processes: Vec<Process>,
    tasks: HashMap<u64, Task>,
    ready: Vec<u64>,
    /// How many tasks are being polled: more than one where some were overtaken.
    polled: usize,
    /// Whether other threads wake tasks too: those must not be made to run any.
    has_other_threads: bool,
    /// Tasks that are ready, and have to wait for no reason, as on a machine with too much to do.
    delayed: Vec<u64>,
    events: BTreeMap<(Duration, u64), Event>,
    last_id: u64,
    /// What broke, first things first.
    pub(crate) violations: Vec<String>,
    steps: (u128, u32),
    is_over: bool,
    /// Tasks of processes that were killed, to be dropped when the lock is not held.
    garbage: Vec<Task>,
}

struct Task {
    process: usize,
    /// Taken while it is polled.
    job: Option<Job>,
    waker: Waker,
    is_queued: bool,
}

/// What a machine or a program is: tasks that can be stopped together, and a clock.
#[derive(Default)]
pub(crate) struct Process {
    clock: Clock,
    timers: BTreeMap<(Duration, u64), Waker>,
    /// When the first of them is due, by the right clock.
    due: Option<Duration>,
    is_paused: bool,
    /// Until when it was not free to do what it had to do.
    pub(crate) disturbed_until: Duration,
    is_dead: bool,
    /// How often it has begun to connect.
    pub(crate) attempts: usize,
    /// Tasks that are ready to run when the pause is over.
    parked: Vec<u64>,
}

/// A clock that runs fast or slow, and jumps ahead; it never goes back.
#[derive(Default, Clone, Copy)]
struct Clock {
    /// By how many millionths it runs too fast.
    skew: i32,
    ahead: Duration,
}

const MILLION: u128 = 1_000_000;

impl Clock {
    fn rate(self) -> u128 {
        MILLION.saturating_add_signed(i128::from(self.skew))
    }

    fn read(self, now: Duration) -> Duration {
        self.ahead + nanos(now.as_nanos() * self.rate() / MILLION)
    }

    /// The moment at which it first shows `time`.
    fn moment(self, time: Duration) -> Duration {
        nanos((time.saturating_sub(self.ahead).as_nanos() * MILLION).div_ceil(self.rate()))
    }
}

impl Process {
    fn set_due(&mut self) {
        self.due = self.timers.first_key_value().map(|((at, _), _)| self.clock.moment(*at));
    }
}

fn nanos(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// What is due at some moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something may arrive at an end of a connection.
    Arrival(u64, crate::network::Direction),
    /// A task has waited long enough.
    Delayed(u64),
    /// The next fault.
    Fault,
    /// The end of one.
    Over(Fault),
    /// A member of the ensemble has something to do.
    Turn(Turn),
}

struct TaskWaker {
    shared: Arc<Shared>,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.lock().enqueue(self.task);
        self.shared.woken.notify_all();
        self.shared.overtake();
    }
}

impl Shared {
    pub(crate) fn new(seed: u64, trace: Trace) -> Arc<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let host = Host::new(&mut random);
        Arc::new(Self {
            core: Mutex::new(Core {
                now: Duration::from_secs(1),
                random,
                trace,
                network: Network::default(),
                host,
                faults: None,
                pauses_at_arrival: None,
                is_unreachable: false,
                odd_grant: None,
                // The first one is the world itself, whose clock is right.
                processes: vec![Process::default()],
                tasks: HashMap::new(),
                ready: Vec::new(),
                polled: 0,
                has_other_threads: false,
                delayed: Vec::new(),
                events: BTreeMap::new(),
                last_id: 0,
                violations: Vec::new(),
                steps: (0, 0),
                is_over: false,
                garbage: Vec::new(),
            }),
            woken: Condvar::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn(self: &Arc<Self>, process: usize, job: Job) {
        let mut core = self.lock();
        if core.is_over || core.is_dead(process) {
            drop(core);
            drop(job);
            return;
        }
        let task = core.next_id();
        let waker = Arc::new(TaskWaker { shared: self.clone(), task }).into();
        core.tasks.insert(task, Task { process, job: Some(job), waker, is_queued: false });
        core.enqueue(task);
        drop(core);
        self.woken.notify_all();
    }

    /// Does one thing, no later than `until`. False when there is nothing to do by then: it is `until` now.
    pub(crate) fn step(&self, until: Duration) -> bool {
        let mut core = self.lock();
        let due = core.next_due();
        let is_due = due.is_some_and(|due| due <= core.now);
        if !(core.ready.is_empty() || is_due && core.random.bool()) {
            let count = core.ready.len();
            let at = core.random.usize(..count);
            self.run_task(core, at);
            return true;
        }
        match due.filter(|due| *due <= until) {
            Some(due) => {
                core.now = core.now.max(due);
                let wakers = core.happen();
                let garbage = std::mem::take(&mut core.garbage);
                drop(core);
                drop(garbage);
                wakers.into_iter().for_each(Waker::wake);
                true
            }
            None => {
                core.now = core.now.max(until);
                false
            }
        }
    }

    /// Whether time has to pass before anything happens.
    pub(crate) fn is_idle(&self) -> bool {
        let core = self.lock();
        core.ready.is_empty() && core.next_due().is_none_or(|due| due > core.now)
    }

    /// Has the task that is polled just now, if there is one, overtaken by another now and then.
    fn overtake(&self) {
        let mut core = self.lock();
        if core.has_other_threads
            || !(1..=MOST_OVERTAKEN).contains(&core.polled)
            || core.random.u8(..OVERTAKEN_ONE_IN) != 0
        {
            return;
        }
        let others: Vec<_> =
            (0..core.ready.len()).filter(|at| !core.is_polled(core.ready[*at])).collect();
        if let Some(at) = core.random.choice(others) {
            self.run_task(core, at);
        }
    }

    /// Runs the task that is ready at this place.
    fn run_task(&self, mut guard: MutexGuard<'_, Core>, at: usize) {
        let core = &mut *guard;
        core.count_step();
        let id = core.ready.swap_remove(at);
        let now = core.now;
        if let Some(delay) = core.draw_delay() {
            core.trace.step(now, "delay", id, delay.as_millis() as u64);
            core.disturb(id, now + delay);
            core.delayed.push(id);
            core.schedule(now + delay, Event::Delayed(id));
            return;
        }
        let Some(task) = core.tasks.get_mut(&id) else { return };
        let process = task.process;
        if core.processes[process].is_paused {
            core.processes[process].parked.push(id);
            return;
        }
        task.is_queued = false;
        let (Some(mut job), waker) = (task.job.take(), task.waker.clone()) else { return };
        core.trace.step(now, "run", id, process as u64);
        core.polled += 1;
        drop(guard);
        let polled =
            catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(&mut Context::from_waker(&waker))));
        let mut guard = self.lock();
        let mut core = &mut *guard;
        core.polled -= 1;
        match polled {
            Ok(Poll::Pending) => {
                if let Some(task) = core.tasks.get_mut(&id) {
                    task.job = Some(job);
                }
            }
            ended => {
                if let Err(panic) = ended {
                    let what = panic
                        .downcast_ref::<&str>()
                        .map(ToString::to_string)
                        .or_else(|| panic.downcast_ref::<String>().cloned());
                    core.fail(|| format!("a task panicked: {}", what.unwrap_or_default()));
                }
                core.tasks.remove(&id);
                drop(guard);
                drop(job);
                guard = self.lock();
                core = &mut *guard;
            }
        }
        // It took a moment.
        core.now += Duration::from_nanos(core.random.u64(0..20_000));
    }

    /// Runs beside other threads at the speed of the real time, until `is_over` says so.
    pub(crate) fn run_in_real_time(&self, is_over: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        self.lock().has_other_threads = true;
        let origin = self.lock().now;
        while !is_over() {
            if self.step(origin + begun.elapsed()) {
                continue;
            }
            let core = self.lock();
            if core.ready.is_empty() {
                let pause = Duration::from_millis(1);
                drop(self.woken.wait_timeout(core, pause).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Ends all tasks.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        loop {
            let mut core = self.lock();
            let tasks = std::mem::take(&mut core.tasks);
            core.ready.clear();
            if tasks.is_empty() {
                break;
            }
            let timers: Vec<_> =
                core.processes.iter_mut().map(|p| std::mem::take(&mut p.timers)).collect();
            drop(core);
            drop(tasks);
            drop(timers);
        }
        self.lock().network.forget_wakers();
    }
}

impl Core {
    /// Whether this task is being polled.
    fn is_polled(&self, id: u64) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.job.is_none())
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn enqueue(&mut self, id: u64) {
        if let Some(task) = self.tasks.get_mut(&id)
            && !task.is_queued
        {
            task.is_queued = true;
            self.ready.push(id);
        }
    }

    /// Says what is broken. The first thing counts.
    pub(crate) fn fail(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        self.trace.note(self.now, || format!("VIOLATION: {what}"));
        self.violations.push(format!("at {:?}: {what}", self.now));
    }

    pub(crate) fn schedule(&mut self, at: Duration, event: Event) {
        let id = self.next_id();
        self.events.insert((at, id), event);
    }

    fn next_due(&self) -> Option<Duration> {
        let timers = self
            .processes
            .iter()
            .filter(|process| !process.is_paused)
            .filter_map(|process| process.due);
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        timers.chain(event).chain(self.host.due()).min()
    }

    /// What is due first happens.
    fn happen(&mut self) -> Vec<Waker> {
        self.count_step();
        let now = self.now;
        for (index, process) in self.processes.iter_mut().enumerate() {
            let is_due = process.due.is_some_and(|due| due <= now);
            if is_due
                && !process.is_paused
                && let Some((_, waker)) = process.timers.pop_first()
            {
                process.set_due();
                self.trace.step(now, "timer", index as u64, 0);
                return vec![waker];
            }
        }
        if self.host.due().is_some_and(|due| due <= now) {
            self.trace.step(now, "server timeout", 0, 0);
            self.serve_timeout();
            return Vec::new();
        }
        match self.events.first_entry().filter(|entry| entry.key().0 <= now).map(|e| e.remove()) {
            Some(Event::Arrival(connection, direction)) => self.arrive(connection, direction),
            Some(event) => {
                match event {
                    Event::Fault => self.next_fault(),
                    Event::Over(fault) => self.end_fault(fault),
                    Event::Turn(turn) => self.take_turn(turn),
                    Event::Delayed(id) => self.end_delays(|delayed| delayed == id),
                    Event::Arrival(..) => {}
                }
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Nothing may go on for ever without time passing.
    fn count_step(&mut self) {
        let millisecond = self.now.as_millis();
        if self.steps.0 != millisecond {
            self.steps = (millisecond, 0);
        }
        self.steps.1 += 1;
        if self.steps.1 == STEPS_PER_MILLISECOND {
            self.fail(|| "something spins: too many steps within a millisecond".into());
        }
    }

    // ---- processes ---------------------------------------------------------------------------------

    /// Another process, whose clock is off by no more than a hundredth.
    pub(crate) fn add_process(&mut self) -> usize {
        let skew = self.random.i32(-10_000..=10_000);
        let clock = Clock { skew, ahead: Duration::from_millis(self.random.u64(0..10_000)) };
        self.processes.push(Process { clock, ..Process::default() });
        self.processes.len() - 1
    }

    pub(crate) fn clock(&self, process: usize) -> Duration {
        self.processes[process].clock.read(self.now)
    }

    pub(crate) fn add_timer(&mut self, process: usize, at: Duration, id: u64, waker: Waker) {
        let process = &mut self.processes[process];
        process.timers.insert((at, id), waker);
        process.set_due();
    }

    pub(crate) fn remove_timer(&mut self, process: usize, at: Duration, id: u64) -> Option<Waker> {
        let process = &mut self.processes[process];
        let waker = process.timers.remove(&(at, id));
        process.set_due();
        waker
    }

    /// Stops a process, as SIGSTOP does, or lets it go on.
    pub(crate) fn set_paused(&mut self, process: usize, paused: bool) {
        let process = &mut self.processes[process];
        process.is_paused = paused;
        process.disturbed_until = process.disturbed_until.max(self.now);
        if !paused {
            self.ready.append(&mut process.parked);
        }
    }

    /// A task waits for no reason.
    fn disturb(&mut self, task: u64, until: Duration) {
        if let Some(task) = self.tasks.get(&task) {
            let process = &mut self.processes[task.process];
            process.disturbed_until = process.disturbed_until.max(until);
        }
    }

    pub(crate) fn is_paused(&self, process: usize) -> bool {
        self.processes[process].is_paused
    }

    /// Kills a process, as SIGKILL does: none of its tasks runs again.
    pub(crate) fn kill(&mut self, process: usize) {
        self.processes[process].is_dead = true;
        let mut tasks: Vec<_> = self.tasks.extract_if(|_, task| task.process == process).collect();
        tasks.sort_unstable_by_key(|(id, _)| *id);
        self.garbage.extend(tasks.into_iter().map(|(_, task)| task));
    }

    pub(crate) fn is_dead(&self, process: usize) -> bool {
        self.processes[process].is_dead
    }

    /// The processes that clients may be in, and live.
    pub(crate) fn alive(&self) -> Vec<usize> {
        (1..self.processes.len()).filter(|process| !self.is_dead(*process)).collect()
    }

    /// Has the clock of a process jump ahead, as after a suspension of its machine.
    pub(crate) fn jump(&mut self, process: usize, by: Duration) {
        self.processes[process].clock.ahead += by;
        self.processes[process].set_due();
    }

    /// Lets tasks go on that wait for no reason.
    pub(crate) fn end_delays(&mut self, which: impl Fn(u64) -> bool) {
        self.ready.extend(self.delayed.extract_if(.., |task| which(*task)));
    }

    /// How many tasks there are.
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// How many timers wait.
    pub(crate) fn timer_count(&self) -> usize {
        self.processes.iter().map(|process| process.timers.len()).sum()
    }
}
