//! An executor of tasks in one thread under simulated time. It knows nothing of what the tasks do: whatever
//! else happens is up to an [`Environment`].
//!
//! If several things can happen at one moment, the seed decides which comes first: which of the ready tasks
//! runs, and whether something that is due comes before it. If no task is ready, time moves on to the next
//! thing that is due. Nothing ever waits in real time.
//!
//! Tasks may overtake each other as they would on several threads: while a task wakes another one, others may
//! run before it continues. So a task must not wake another one while it holds a lock that others need.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::scheduler::{Job, Scheduler, Task};

/// One in so many times, a task that wakes another one is overtaken.
const OVERTAKEN_ONE_IN: u8 = 8;
/// How many tasks may be overtaken at the same time, one by the other.
const MOST_OVERTAKEN: usize = 3;

/// What surrounds the tasks: a state machine that runs under the same simulated time.
pub(crate) trait Environment: Send + 'static {
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Duration>;

    /// Does the first thing that is due.
    fn handle_timeout(&mut self, scheduler: &mut Scheduler);
}

pub(crate) struct Executor<E> {
    state: Mutex<State<E>>,
    /// A task may be ready; for a thread that runs the simulation in real time.
    woken: Condvar,
}

/// The tasks and what surrounds them, under one lock. No task is polled while it is held.
pub(crate) struct State<E> {
    pub(crate) scheduler: Scheduler,
    pub(crate) environment: E,
    /// How many tasks are being polled: more than one if some were overtaken.
    polled: usize,
    /// Whether other threads wake tasks too. They must not run tasks themselves.
    has_other_threads: bool,
    is_over: bool,
}

struct TaskWaker<E> {
    executor: Arc<Executor<E>>,
    task: u64,
}

impl<E: Environment> Wake for TaskWaker<E> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.executor.lock().scheduler.enqueue(self.task);
        self.executor.woken.notify_all();
        self.executor.overtake();
    }
}

impl<E: Environment> State<E> {
    fn next_due(&self) -> Option<Duration> {
        [self.scheduler.next_due(), self.environment.poll_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self) {
        self.scheduler.count_step();
        if !self.scheduler.handle_timeout() {
            self.environment.handle_timeout(&mut self.scheduler);
        }
    }
}

impl<E: Environment> Executor<E> {
    pub(crate) fn new(scheduler: Scheduler, environment: E) -> Arc<Self> {
        let state =
            State { scheduler, environment, polled: 0, has_other_threads: false, is_over: false };
        Arc::new(Self { state: Mutex::new(state), woken: Condvar::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn(self: &Arc<Self>, process: usize, job: Job) {
        let mut guard = self.lock();
        let State { scheduler, is_over, .. } = &mut *guard;
        if *is_over || scheduler.is_dead(process) {
            drop(guard);
            drop(job);
            return;
        }
        let id = scheduler.next_id();
        let waker = Arc::new(TaskWaker { executor: self.clone(), task: id }).into();
        scheduler.tasks.insert(id, Task { process, job: Some(job), waker, is_queued: false });
        scheduler.enqueue(id);
        drop(guard);
        self.woken.notify_all();
    }

    /// Does one thing, no later than `until`. Returns false if nothing is left to do by then; the time is
    /// `until` then.
    pub(crate) fn step(&self, until: Duration) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let due = state.next_due();
        let scheduler = &mut state.scheduler;
        let is_due = due.is_some_and(|due| due <= scheduler.now);
        if !(scheduler.ready.is_empty() || is_due && scheduler.random.bool()) {
            let at = scheduler.random.usize(..scheduler.ready.len());
            self.run_task(guard, at);
            return true;
        }
        let Some(due) = due.filter(|due| *due <= until) else {
            scheduler.now = scheduler.now.max(until);
            return false;
        };
        scheduler.now = scheduler.now.max(due);
        state.handle_timeout();
        let wakers = std::mem::take(&mut state.scheduler.wakers);
        let garbage = std::mem::take(&mut state.scheduler.garbage);
        drop(guard);
        drop(garbage);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Whether time has to pass before anything happens.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.scheduler.ready.is_empty()
            && state.next_due().is_none_or(|due| due > state.scheduler.now)
    }

    /// Lets another task run before the one that is polled continues, now and then.
    fn overtake(&self) {
        let mut guard = self.lock();
        let State { scheduler, polled, has_other_threads, .. } = &mut *guard;
        if *has_other_threads
            || !(1..=MOST_OVERTAKEN).contains(polled)
            || scheduler.random.u8(..OVERTAKEN_ONE_IN) != 0
        {
            return;
        }
        let ready = &scheduler.ready;
        let others: Vec<_> =
            (0..ready.len()).filter(|at| !scheduler.is_polled(ready[*at])).collect();
        if let Some(at) = scheduler.random.choice(others) {
            self.run_task(guard, at);
        }
    }

    /// Runs the task at this place in the list of ready tasks.
    fn run_task(&self, mut guard: MutexGuard<'_, State<E>>, at: usize) {
        let State { scheduler, polled, .. } = &mut *guard;
        scheduler.count_step();
        let id = scheduler.ready.swap_remove(at);
        if scheduler.delay(id) {
            return;
        }
        let Some(task) = scheduler.tasks.get_mut(&id) else { return };
        let process = task.process;
        if scheduler.processes[process].is_paused {
            scheduler.processes[process].parked.push(id);
            return;
        }
        task.is_queued = false;
        let (Some(mut job), waker) = (task.job.take(), task.waker.clone()) else { return };
        scheduler.step("run", id, process as u64);
        *polled += 1;
        drop(guard);
        let result =
            catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(&mut Context::from_waker(&waker))));
        let mut guard = self.lock();
        guard.polled -= 1;
        let scheduler = &mut guard.scheduler;
        if matches!(result, Ok(Poll::Pending)) {
            if let Some(task) = scheduler.tasks.get_mut(&id) {
                task.job = Some(job);
            }
        } else {
            if let Err(panic) = result {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                scheduler.fail(format!("a task panicked: {}", message.unwrap_or_default()));
            }
            scheduler.tasks.remove(&id);
            drop(guard);
            drop(job);
            guard = self.lock();
        }
        // Running a task takes a moment.
        let scheduler = &mut guard.scheduler;
        scheduler.now += Duration::from_nanos(scheduler.random.u64(0..20_000));
    }

    /// Runs beside other threads at the speed of real time, until `is_over` returns true.
    pub(crate) fn run_in_real_time(&self, is_over: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        self.lock().has_other_threads = true;
        let origin = self.lock().scheduler.now;
        while !is_over() {
            if self.step(origin + begun.elapsed()) {
                continue;
            }
            let state = self.lock();
            if state.scheduler.ready.is_empty() {
                let pause = Duration::from_millis(1);
                drop(self.woken.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Drops all tasks and timers. No task can be spawned from now on.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        loop {
            let mut state = self.lock();
            let scheduler = &mut state.scheduler;
            let tasks = std::mem::take(&mut scheduler.tasks);
            scheduler.ready.clear();
            if tasks.is_empty() {
                break;
            }
            let timers: Vec<_> =
                scheduler.processes.iter_mut().map(|it| it.take_timers()).collect();
            drop(state);
            drop(tasks);
            drop(timers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{executor::ROOT_PROCESS, trace::Trace};

    const SECOND: Duration = Duration::from_secs(1);

    /// An environment that has something to do each second.
    struct Ticks {
        next: Duration,
        count: u32,
    }

    impl Environment for Ticks {
        fn poll_timeout(&self) -> Option<Duration> {
            Some(self.next)
        }

        fn handle_timeout(&mut self, scheduler: &mut Scheduler) {
            assert!(scheduler.now >= self.next);
            self.next += SECOND;
            self.count += 1;
        }
    }

    fn executor() -> Arc<Executor<Ticks>> {
        let scheduler = Scheduler::new(fastrand::Rng::with_seed(0), Trace::new(None));
        let next = scheduler.now + SECOND;
        Executor::new(scheduler, Ticks { next, count: 0 })
    }

    #[test]
    fn time_moves_on_to_what_is_due() {
        let executor = executor();
        let until = executor.lock().scheduler.now + 10 * SECOND;
        while executor.step(until) {}
        let state = executor.lock();
        assert_eq!((state.scheduler.now, state.environment.count), (until, 10));
    }

    #[test]
    fn tasks_of_paused_and_killed_processes_do_not_run() {
        let executor = executor();
        let runs = Arc::new(Mutex::new(Vec::new()));
        let (paused, killed) = {
            let scheduler = &mut executor.lock().scheduler;
            (scheduler.add_process(), scheduler.add_process())
        };
        for process in [ROOT_PROCESS, paused, killed] {
            let runs = runs.clone();
            executor.spawn(process, Box::pin(async move { runs.lock().unwrap().push(process) }));
        }
        let until = {
            let scheduler = &mut executor.lock().scheduler;
            scheduler.set_paused(paused, true);
            scheduler.kill(killed);
            scheduler.now + SECOND
        };
        while executor.step(until) {}
        assert_eq!(*runs.lock().unwrap(), [ROOT_PROCESS]);
        executor.lock().scheduler.set_paused(paused, false);
        while executor.step(until + SECOND) {}
        assert_eq!(*runs.lock().unwrap(), [ROOT_PROCESS, paused]);
        assert_eq!(executor.lock().scheduler.task_count(), 0);
    }
}
