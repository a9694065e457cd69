//! The I/O thread, which runs all tasks, and the inbox that they come through.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
};

use async_task::Runnable;
use zk_handler::mark_task_thread;

use crate::reactor::{self, ALARM, Reactor};

/// How many rounds of tasks run before the next look at the sockets and the clock.
const ROUNDS: usize = 32;

/// All that the thread shares with others. Who has the lock calls no task and no waker.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    /// There is a thread.
    started: bool,
    /// Nothing will ever be put in again.
    stopped: bool,
    tasks: Vec<Runnable>,
    /// Ends the thread's wait for the system, if it waits or is about to and nobody has ended it yet.
    alarm: Option<Arc<mio::Waker>>,
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
            let alarm = Arc::new(mio::Waker::new(poll.registry(), ALARM)?);
            let inbox = self.clone();
            thread::Builder::new().name("zk-io".into()).spawn(move || inbox.run(poll, &alarm))?;
            contents.started = true;
        }
        Ok(())
    }

    /// Ends the thread. All tasks are gone.
    pub(crate) fn stop(&self) {
        self.change(|contents| contents.stopped = true);
    }

    /// Has the thread run `task`.
    pub(crate) fn put(&self, task: Runnable) {
        self.change(|contents| contents.tasks.push(task));
    }

    /// Changes the contents, and ends the thread's wait.
    fn change(&self, change: impl FnOnce(&mut Contents)) {
        let mut contents = self.lock();
        change(&mut contents);
        let alarm = contents.alarm.take();
        drop(contents);
        // It fails for want of memory alone; whoever comes next tries again.
        if let Some(alarm) = alarm
            && alarm.wake().is_err()
        {
            self.lock().alarm = Some(alarm);
        }
    }

    /// The thread: runs tasks until there are none, then waits until it can go on.
    fn run(&self, poll: mio::Poll, alarm: &Arc<mio::Waker>) {
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
                    // A panic ends its task; the hook has reported it.
                    let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
                }
            }
            let mut contents = self.lock();
            let idle = contents.tasks.is_empty();
            if idle && contents.stopped {
                return;
            }
            contents.alarm = idle.then(|| alarm.clone());
            drop(contents);
            reactor::with(|reactor| reactor.wait(idle, &mut wakers))
                .expect("the I/O thread to be able to wait for its sockets");
            self.lock().alarm = None;
            wakers.drain(..).for_each(Waker::wake);
        }
    }
}
