//! [`SimHandler`]: a process of the simulation as the runtime of a client.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use zk_handler::{AsyncRead, AsyncWrite, Handler};

use crate::{
    executor::{Executor, ROOT_PROCESS},
    faults::Attempt,
    servers::{never_answers, resolve},
    world::World,
};

/// The runtime of one process in a [`Sim`](crate::Sim). All of its tasks run on the only thread of the
/// simulation, stop while the process is paused, and read the clock of the process.
///
/// Callbacks must not block, since there is no other thread that could run in the meantime.
#[derive(Clone)]
pub struct SimHandler {
    executor: Arc<Executor<World>>,
    process: usize,
}

impl SimHandler {
    pub(crate) const fn new(executor: Arc<Executor<World>>, process: usize) -> Self {
        Self { executor, process }
    }

    /// The number of the process.
    #[must_use]
    pub const fn process(&self) -> usize {
        self.process
    }

    /// Completes after `duration` on this process's clock.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        Sleep::new(self.executor.clone(), self.process, self.now() + duration)
    }
}

impl Handler for SimHandler {
    type Stream = SimStream;

    fn name(&self) -> &'static str {
        "simulation"
    }

    fn now(&self) -> Duration {
        self.executor.lock().scheduler.clock(self.process)
    }

    fn random(&self) -> u64 {
        self.executor.lock().scheduler.random.u64(..)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let (ends_at, attempt) = {
            let state = &mut *self.executor.lock();
            state.environment.begin_to_connect(state.scheduler.now, self.process)
        };
        Sleep::new(self.executor.clone(), ROOT_PROCESS, ends_at).await;
        let stream = match attempt {
            Attempt::Accept | Attempt::AcceptUnnoticed => {
                let state = &mut *self.executor.lock();
                let connection =
                    state.environment.connect(&mut state.scheduler, self.process, address);
                connection.map(|connection| SimStream {
                    executor: self.executor.clone(),
                    process: self.process,
                    connection,
                })
            }
            Attempt::Refuse | Attempt::Hang => None,
        };
        match (attempt, stream) {
            (Attempt::Accept, Some(stream)) => Ok(stream),
            (Attempt::Accept | Attempt::Refuse, _) if !never_answers(address) => {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            // The stream, if there is one, stays open.
            (_, _half_open) => std::future::pending().await,
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let ends_at = {
            let state = &mut *self.executor.lock();
            state.environment.begin_to_resolve(state.scheduler.now)?
        };
        Sleep::new(self.executor.clone(), ROOT_PROCESS, ends_at).await;
        let address: Result<IpAddr, _> = host.parse();
        address
            .ok()
            .or_else(|| resolve(host))
            .map(|address| vec![SocketAddr::new(address, port)])
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        Sleep::new(self.executor.clone(), self.process, deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(self.process, Box::pin(task));
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.spawn(async { job() });
    }
}

/// Waits until the clock of a process shows some time.
struct Sleep {
    executor: Arc<Executor<World>>,
    process: usize,
    until: Duration,
    /// The id of its timer, once it has been polled.
    timer: Option<u64>,
}

impl Sleep {
    const fn new(executor: Arc<Executor<World>>, process: usize, until: Duration) -> Self {
        Self { executor, process, until, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor.clone();
        let scheduler = &mut executor.lock().scheduler;
        if scheduler.clock(self.process) >= self.until {
            return Poll::Ready(());
        }
        let id = *self.timer.get_or_insert_with(|| scheduler.next_id());
        scheduler.add_timer(self.process, self.until, id, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            let waker = self.executor.lock().scheduler.remove_timer(self.process, self.until, id);
            drop(waker);
        }
    }
}

/// A connection in memory.
pub struct SimStream {
    executor: Arc<Executor<World>>,
    process: usize,
    connection: u64,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.executor.lock();
        state.environment.poll_read(state.scheduler.now, self.connection, context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.executor.lock();
        let scheduler = &mut state.scheduler;
        if scheduler.is_dead(self.process) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.environment.poll_write(scheduler, self.process, self.connection, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.executor.lock();
        state.environment.shut_down(&mut state.scheduler, self.connection);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let wakers = {
            let state = &mut *self.executor.lock();
            state.environment.close(&mut state.scheduler, self.connection)
        };
        drop(wakers);
    }
}

impl fmt::Debug for SimHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimHandler({})", self.process)
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({})", self.connection)
    }
}

/// Lets other tasks run.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
