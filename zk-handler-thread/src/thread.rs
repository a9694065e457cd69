//! The I/O thread, and the inbox from which it takes tasks.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
};

use async_task::Runnable;
use zk_handler::mark_task_thread;

use crate::reactor::{self, Reactor, WAKER};

/// How many rounds of tasks run before sockets and timers are polled again.
const ROUNDS: usize = 32;

/// The state that the I/O thread shares with other threads. No task or waker is called while it is locked.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    /// The thread was started.
    started: bool,
    /// No more tasks will come.
    stopped: bool,
    tasks: Vec<Runnable>,
    /// Wakes the thread. Present only while the thread waits, or is about to, and has not been woken.
    waker: Option<Arc<mio::Waker>>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it has been started before.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut contents = self.lock();
        if !contents.started {
            let poll = mio::Poll::new()?;
            let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
            let inbox = self.clone();
            thread::Builder::new().name("zk-io".into()).spawn(move || inbox.run(poll, &waker))?;
            contents.started = true;
        }
        Ok(())
    }

    /// Ends the thread. All tasks have ended.
    pub(crate) fn stop(&self) {
        self.update(|contents| contents.stopped = true);
    }

    /// Queues `task` to run on the thread.
    pub(crate) fn push(&self, task: Runnable) {
        self.update(|contents| contents.tasks.push(task));
    }

    /// Applies `update` to the contents, and wakes the thread.
    fn update(&self, update: impl FnOnce(&mut Contents)) {
        let mut contents = self.lock();
        update(&mut contents);
        let waker = contents.waker.take();
        drop(contents);
        // This fails only if the system is out of memory. The next update tries again.
        if let Some(waker) = waker
            && waker.wake().is_err()
        {
            self.lock().waker = Some(waker);
        }
    }

    /// The body of the thread: runs tasks while there are any, then waits for sockets, timers or tasks.
    fn run(&self, poll: mio::Poll, waker: &Arc<mio::Waker>) {
        mark_task_thread();
        Reactor::start(poll);
        let (mut tasks, mut wakers) = (Vec::new(), Vec::new());
        loop {
            for _ in 0..ROUNDS {
                std::mem::swap(&mut self.lock().tasks, &mut tasks);
                if tasks.is_empty() {
                    break;
                }
                for task in tasks.drain(..) {
                    // A panic ends only its task. The panic hook has reported it.
                    let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
                }
            }
            let mut contents = self.lock();
            let idle = contents.tasks.is_empty();
            if idle && contents.stopped {
                return;
            }
            contents.waker = idle.then(|| waker.clone());
            drop(contents);
            reactor::with(|reactor| reactor.wait(idle, &mut wakers))
                .expect("the I/O thread failed to poll its sockets");
            self.lock().waker = None;
            wakers.drain(..).for_each(Waker::wake);
        }
    }
}
