//! [`SimHandler`]: a process of the simulated world, as a runtime for a client.

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
    executor::{Core, Shared},
    faults::Welcome,
};

/// The runtime of one process in a [`Sim`](crate::Sim). All of its tasks run on the simulation's one
/// thread, stop while the process is paused, and see the process's own clock.
///
/// Its callbacks must not block: there is no other thread that could go on meanwhile.
#[derive(Clone)]
pub struct SimHandler {
    shared: Arc<Shared>,
    process: usize,
}

/// The process that the world itself is: its clock is right, and it is never paused.
const WORLD: usize = 0;

impl SimHandler {
    pub(crate) const fn new(shared: Arc<Shared>, process: usize) -> Self {
        Self { shared, process }
    }

    /// Which process this is.
    #[must_use]
    pub const fn process(&self) -> usize {
        self.process
    }

    /// Completes after `duration` on this process's clock.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        Sleep::new(self.shared.clone(), self.process, self.now() + duration)
    }
}

impl Handler for SimHandler {
    type Stream = SimStream;

    fn name(&self) -> &'static str {
        "simulation"
    }

    fn now(&self) -> Duration {
        self.shared.lock().clock(self.process)
    }

    fn random(&self) -> u64 {
        self.shared.lock().random.u64(..)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let (after, welcome) = {
            let mut core = self.shared.lock();
            core.processes[self.process].attempts += 1;
            core.draw_welcome()
        };
        Sleep::new(self.shared.clone(), WORLD, after).await;
        let stream = match welcome {
            Welcome::Accept | Welcome::Unheard => {
                let mut core = self.shared.lock();
                core.machine_at(address).map(|machine| SimStream {
                    shared: self.shared.clone(),
                    process: self.process,
                    connection: core.open_connection(self.process, machine),
                })
            }
            Welcome::Refuse | Welcome::Hang => None,
        };
        match (welcome, stream) {
            (Welcome::Accept, Some(stream)) => Ok(stream),
            (Welcome::Accept | Welcome::Refuse, _) if Core::is_silent(address) => {
                std::future::pending().await
            }
            (Welcome::Accept | Welcome::Refuse, _) => Err(io::ErrorKind::ConnectionRefused.into()),
            (Welcome::Hang | Welcome::Unheard, _half_open) => std::future::pending().await,
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let after = self.shared.lock().draw_resolution();
        Sleep::new(self.shared.clone(), WORLD, after?).await;
        let address: Result<IpAddr, _> = host.parse();
        let known = address.ok().or_else(|| Core::resolve(host));
        known
            .map(|address| vec![SocketAddr::new(address, port)])
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        Sleep::new(self.shared.clone(), self.process, deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.spawn(self.process, Box::pin(task));
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        self.spawn(async { job() });
    }
}

/// Waits for a moment on the clock of a process.
struct Sleep {
    shared: Arc<Shared>,
    process: usize,
    until: Duration,
    /// Its timer, once there is one.
    timer: Option<u64>,
}

impl Sleep {
    const fn new(shared: Arc<Shared>, process: usize, until: Duration) -> Self {
        Self { shared, process, until, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared.clone();
        let mut core = shared.lock();
        if core.clock(self.process) >= self.until {
            return Poll::Ready(());
        }
        let id = *self.timer.get_or_insert_with(|| core.next_id());
        core.add_timer(self.process, self.until, id, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            let waker = self.shared.lock().remove_timer(self.process, self.until, id);
            drop(waker);
        }
    }
}

/// A connection in memory.
pub struct SimStream {
    shared: Arc<Shared>,
    process: usize,
    connection: u64,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.lock().read(self.connection, context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut core = self.shared.lock();
        if core.is_dead(self.process) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        core.write(self.connection, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().closed_by_client(self.connection, false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let wakers = self.shared.lock().closed_by_client(self.connection, true);
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
