//! The I/O thread: a queue of tasks, the sockets' readiness, and timers.
//!
//! It has three locks, none of which is held while anything else is called. What other threads leave for
//! it, they leave in one of the three; after that they call [`Io::unpark`], which costs a system call
//! only if the thread is about to wait for the system, or waiting already.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use async_task::Runnable;
use mio::{Events, Registry, Token};
use zk_handler::boottime;

use crate::stream::Readiness;

/// How many rounds of tasks run before the next look at the sockets and the clock.
const ROUNDS: usize = 32;

/// How long the thread waits at most: longer times may not fit into what the system takes.
const LONGEST: Duration = Duration::from_secs(3600);

/// The token of the thread's own alarm.
const ALARM: Token = Token(usize::MAX);

#[derive(Default)]
pub(crate) struct Io {
    queue: Mutex<Queue>,
    timers: Mutex<Timers>,
    sources: Mutex<Sources>,
    selector: OnceLock<Selector>,
    starting: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Runnable>,
    /// The thread waits for the system, or is about to: nobody has raised the alarm yet.
    parked: bool,
    /// Nothing will ever be put in the queue again.
    stopped: bool,
}

/// Those who sleep, by deadline. The number tells those with the same deadline apart.
#[derive(Default)]
struct Timers {
    next: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

#[derive(Default)]
struct Sources {
    next: usize,
    open: HashMap<Token, Arc<Mutex<Readiness>>>,
}

struct Selector {
    registry: Registry,
    alarm: mio::Waker,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Io {
    /// Starts the thread, unless it has been started before.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        self.selector().map(|_| ())
    }

    fn selector(self: &Arc<Self>) -> io::Result<&Selector> {
        if let Some(selector) = self.selector.get() {
            return Ok(selector);
        }
        let _starting = lock(&self.starting);
        if let Some(selector) = self.selector.get() {
            return Ok(selector);
        }
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let alarm = mio::Waker::new(&registry, ALARM)?;
        let io = self.clone();
        thread::Builder::new().name("zk-io".into()).spawn(move || {
            io.selector.wait();
            io.run(poll);
        })?;
        Ok(self.selector.get_or_init(|| Selector { registry, alarm }))
    }

    /// Ends the thread. All tasks are gone.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.unpark();
    }

    pub(crate) fn schedule(&self, task: Runnable) {
        let mut queue = lock(&self.queue);
        queue.tasks.push(task);
        self.unpark_locked(queue);
    }

    fn unpark(&self) {
        self.unpark_locked(lock(&self.queue));
    }

    fn unpark_locked(&self, mut queue: MutexGuard<'_, Queue>) {
        let parked = std::mem::take(&mut queue.parked);
        drop(queue);
        if parked && let Some(selector) = self.selector.get() {
            // It fails for want of memory alone; whoever comes next tries again.
            if selector.alarm.wake().is_err() {
                lock(&self.queue).parked = true;
            }
        }
    }

    /// Takes notice of `socket`'s readiness from now on.
    pub(crate) fn register(
        self: &Arc<Self>,
        socket: &mut mio::net::TcpStream,
    ) -> io::Result<(Token, Arc<Mutex<Readiness>>)> {
        let readiness = Arc::<Mutex<Readiness>>::default();
        let mut sources = lock(&self.sources);
        let token = Token(sources.next);
        sources.next += 1;
        sources.open.insert(token, readiness.clone());
        drop(sources);
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        let registered =
            self.selector().and_then(|it| it.registry.register(socket, token, interest));
        if let Err(error) = registered {
            lock(&self.sources).open.remove(&token);
            return Err(error);
        }
        Ok((token, readiness))
    }

    pub(crate) fn deregister(&self, socket: &mut mio::net::TcpStream, token: Token) {
        if let Some(selector) = self.selector.get() {
            // Closing the socket does it as well.
            let _ = selector.registry.deregister(socket);
        }
        let _readiness = lock(&self.sources).open.remove(&token);
    }

    /// The thread.
    fn run(&self, mut poll: mio::Poll) {
        let mut events = Events::with_capacity(1024);
        let mut tasks = Vec::new();
        let mut wakers = Vec::new();
        loop {
            for _ in 0..ROUNDS {
                std::mem::swap(&mut lock(&self.queue).tasks, &mut tasks);
                if tasks.is_empty() {
                    break;
                }
                for task in tasks.drain(..) {
                    // A panic ends its task; the hook has reported it.
                    let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
                }
            }
            let timeout = {
                let mut queue = lock(&self.queue);
                queue.parked = queue.tasks.is_empty();
                if queue.parked && queue.stopped {
                    return;
                }
                queue.parked
            };
            // Who leaves a timer after this finds the thread parked, and raises the alarm.
            let timeout = if timeout { self.until_next_timer() } else { Some(Duration::ZERO) };
            if let Err(error) = poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                panic!("the I/O thread cannot wait for its sockets: {error}");
            }
            lock(&self.queue).parked = false;
            self.take_ready(&events, &mut wakers);
            self.take_due(&mut wakers);
            wakers.drain(..).for_each(Waker::wake);
        }
    }

    fn take_ready(&self, events: &Events, wakers: &mut Vec<Waker>) {
        let mut events = events.iter().filter(|event| event.token() != ALARM).peekable();
        if events.peek().is_none() {
            return;
        }
        let sources = lock(&self.sources);
        for event in events {
            if let Some(readiness) = sources.open.get(&event.token()) {
                lock(readiness).update(event, wakers);
            }
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let timers = lock(&self.timers);
        let (&(deadline, _), _) = timers.sleepers.first_key_value()?;
        Some(deadline.saturating_sub(boottime()).min(LONGEST))
    }

    fn take_due(&self, wakers: &mut Vec<Waker>) {
        let mut timers = lock(&self.timers);
        if timers.sleepers.is_empty() {
            return;
        }
        let now = boottime();
        while let Some(first) = timers.sleepers.first_entry()
            && first.key().0 <= now
        {
            wakers.push(first.remove());
        }
    }

    fn set_timer(&self, deadline: Duration, number: Option<u64>, waker: &Waker) -> u64 {
        let mut timers = lock(&self.timers);
        let number = number.unwrap_or(timers.next);
        timers.next = timers.next.max(number + 1);
        let earlier = timers.sleepers.insert((deadline, number), waker.clone());
        let first = timers.sleepers.first_key_value().is_some_and(|(key, _)| key.1 == number);
        drop(timers);
        drop(earlier);
        if first {
            self.unpark();
        }
        number
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("started", &self.selector.get().is_some()).finish()
    }
}

/// Completes at its deadline.
pub(crate) struct Sleep {
    io: Arc<Io>,
    deadline: Duration,
    /// The timer's number and whom it wakes.
    timer: Option<(u64, Waker)>,
}

impl Sleep {
    pub(crate) fn new(io: Arc<Io>, deadline: Duration) -> Self {
        Self { io, deadline, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if boottime() >= self.deadline {
            return Poll::Ready(());
        }
        if self.timer.as_ref().is_none_or(|(_, waker)| !waker.will_wake(context.waker())) {
            let number = self.timer.take().map(|(number, _)| number);
            let number = self.io.set_timer(self.deadline, number, context.waker());
            self.timer = Some((number, context.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((number, _)) = self.timer {
            let _sleeper = lock(&self.io.timers).sleepers.remove(&(self.deadline, number));
        }
    }
}
