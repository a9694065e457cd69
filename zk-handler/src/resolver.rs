//! Names to addresses, off the tasks, on threads of its own.
//!
//! The system's resolver blocks, and may do so for minutes: a thread that is in it cannot be called back. What
//! holds here:
//! - an address needs no resolver and no thread;
//! - all who ask for one name at the same time share a look-up;
//! - a name takes two threads at most: one look-up, and a fresh one beside it should the first take longer
//!   than [`STALE`];
//! - all names together take [`THREADS`] at most; look-ups beyond wait, and are forgotten if nobody asks for them
//!   any more.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::pool::{IDLE, Pool};

/// How many look-ups may be under way at once.
const THREADS: usize = 32;

/// A look-up that takes longer than this may be stuck: whoever comes next gets a fresh one.
const STALE: Duration = Duration::from_secs(5);

/// How many look-ups of one name may be under way at once.
const PER_NAME: usize = 2;

/// Resolves names on threads of its own, without ever blocking whoever asks. Clones are the same resolver.
///
/// Handlers share one that asks the system ([`resolve`]). Make another to ask somebody else: a directory of
/// services, or a test's table.
///
/// At most 32 names are looked up at once, each by at most two threads, named `zk-resolve`. They end when they
/// have had nothing to do for 5 s.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

type LookUpFn = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    look_up: Box<LookUpFn>,
    pool: Pool,
    stale: Duration,
    /// The look-ups of each name that somebody waits for, oldest first.
    names: Mutex<HashMap<Arc<str>, Vec<Weak<LookUp>>>>,
}

/// One look-up. Those who wait for it own it, as does the thread that does it; its place in the queue does not.
struct LookUp {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    result: Option<Result<Vec<SocketAddr>, Arc<io::Error>>>,
    wakers: Vec<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of `host` according to the system, on threads that all handlers of the process share. See
/// [`Resolver`] for their number.
///
/// It takes as long as the system does. Dropping the future gives it up: a look-up that nobody waits for any
/// more is not begun.
///
/// # Errors
/// The system's. [`NotFound`](io::ErrorKind::NotFound) if the name has no address.
pub fn resolve(
    host: &str,
    port: u16,
) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
    static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(ask_system));
    SYSTEM.resolve(host, port)
}

fn ask_system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

impl Resolver {
    /// A resolver that looks names up by `look_up`, which may block. The ports that it returns count for nothing.
    pub fn new(
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self::with(look_up, STALE)
    }

    fn with(
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        stale: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            look_up: Box::new(look_up),
            pool: Pool::new("zk-resolve", THREADS, IDLE),
            stale,
            names: Mutex::default(),
        }))
    }

    /// The addresses of `host`, each with `port`; at least one. An IP address is ready at once.
    ///
    /// The look-up begins with this call. Dropping the future gives it up.
    ///
    /// # Errors
    /// Those of the look-up. [`NotFound`](io::ErrorKind::NotFound) if it finds no address.
    pub fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => Addresses::Literal(address),
            Err(_) => Addresses::Awaited(self.0.join(host)),
        };
        async move {
            let mut addresses = match addresses {
                Addresses::Literal(address) => return Ok(vec![SocketAddr::new(address, port)]),
                Addresses::Awaited(look_up) => poll_fn(|context| look_up.poll(context)).await?,
            };
            addresses.iter_mut().for_each(|address| address.set_port(port));
            Ok(addresses)
        }
    }
}

/// Where addresses come from.
enum Addresses {
    Literal(IpAddr),
    Awaited(Arc<LookUp>),
}

impl Shared {
    /// A look-up of `name`: one that is under way, if that may yet end, or else a fresh one.
    fn join(self: &Arc<Self>, name: &str) -> Arc<LookUp> {
        let now = Instant::now();
        let mut names = lock(&self.names);
        let under_way: Vec<_> =
            names.get(name).into_iter().flatten().filter_map(Weak::upgrade).collect();
        if let Some(youngest) = under_way.last()
            && (under_way.len() >= PER_NAME
                || now.saturating_duration_since(youngest.since) < self.stale)
        {
            return youngest.clone();
        }
        let name: Arc<str> = name.into();
        let look_up = Arc::new(LookUp { since: now, state: Mutex::default() });
        let mut of_name: Vec<_> = under_way.iter().map(Arc::downgrade).collect();
        of_name.push(Arc::downgrade(&look_up));
        names.insert(name.clone(), of_name);
        drop(names);
        let (shared, queued) = (self.clone(), Arc::downgrade(&look_up));
        self.pool.run(move || {
            let wanted = queued.upgrade();
            let result = wanted.as_ref().map(|_| {
                let found = catch_unwind(AssertUnwindSafe(|| (shared.look_up)(&name)));
                found.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
            });
            shared.forget(&name, &queued);
            if let (Some(look_up), Some(result)) = (wanted, result) {
                look_up.finish(result);
            }
        });
        look_up
    }

    /// Removes a look-up that has ended, or that nobody waited for.
    fn forget(&self, name: &str, ended: &Weak<LookUp>) {
        let mut names = lock(&self.names);
        if let Some(of_name) = names.get_mut(name) {
            of_name.retain(|other| !other.ptr_eq(ended));
            if of_name.is_empty() {
                names.remove(name);
            }
        }
    }
}

impl LookUp {
    fn finish(&self, result: io::Result<Vec<SocketAddr>>) {
        let result = match result {
            Ok(found) if found.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "host has no address"))
            }
            result => result,
        };
        let mut state = lock(&self.state);
        state.result = Some(result.map_err(Arc::new));
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
    fn poll(&self, context: &Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        let mut state = lock(&self.state);
        match &state.result {
            Some(Ok(addresses)) => Poll::Ready(Ok(addresses.clone())),
            Some(Err(error)) => {
                Poll::Ready(Err(io::Error::new(error.kind(), SharedError(error.clone()))))
            }
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// The error of a look-up, for all who waited for it.
#[derive(Debug)]
struct SharedError(Arc<io::Error>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({} names under way)", lock(&self.0.names).len())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc::{Receiver, Sender, channel},
        },
        task::Wake,
        thread::{self, Thread},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Arc::new(Unpark(thread::current())).into();
        let begun = Instant::now();
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            thread::park_timeout(PATIENCE);
            assert!(begun.elapsed() < PATIENCE, "it does not end");
        }
    }

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    /// A resolver that hangs for all names that begin with "hangs", until the sender goes. Counts look-ups
    /// where they begin.
    fn hanging(stale: Duration) -> (Resolver, Sender<()>, Receiver<String>) {
        let (open, gate) = channel::<()>();
        let (began, begins) = channel();
        let gate = Mutex::new(gate);
        let resolver = Resolver::with(
            move |name| {
                let _ = began.send(name.to_owned());
                if name.starts_with("hangs") {
                    let _ = lock(&gate).recv();
                }
                if name == "nowhere" { Ok(Vec::new()) } else { Ok(vec![address()]) }
            },
            stale,
        );
        (resolver, open, begins)
    }

    #[test]
    fn an_address_takes_no_thread() {
        let resolver = Resolver::new(|name| panic!("asked for {name}"));
        for (host, address) in [("192.0.2.7", "192.0.2.7:1"), ("2001:db8::7", "[2001:db8::7]:1")] {
            let found = pin!(resolver.resolve(host, 1));
            match found.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(found)) => assert_eq!(found, [address.parse().expect("an address")]),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_name_that_hangs_takes_one_look_up_and_holds_up_no_other() {
        let (resolver, open, begins) = hanging(PATIENCE);
        let waiting: Vec<_> = (0..600).map(|_| Box::pin(resolver.resolve("hangs", 7))).collect();
        assert_eq!(begins.recv_timeout(PATIENCE).as_deref(), Ok("hangs"));
        assert_eq!(wait(resolver.resolve("works", 8)).expect("an address")[0].port(), 8);
        assert_eq!(begins.recv_timeout(PATIENCE).as_deref(), Ok("works"));
        drop(open);
        for look_up in waiting {
            assert_eq!(wait(look_up).expect("an address")[0].port(), 7);
        }
        assert!(begins.try_recv().is_err(), "there was another look-up");
        assert_eq!(lock(&resolver.0.names).len(), 0);
    }

    #[test]
    fn a_stuck_look_up_gets_one_fresh_one_beside_it() {
        let (resolver, open, begins) = hanging(Duration::ZERO);
        let waiting: Vec<_> = (0..10).map(|_| Box::pin(resolver.resolve("hangs", 7))).collect();
        for _ in 0..PER_NAME {
            begins.recv_timeout(PATIENCE).expect("a look-up");
        }
        wait(resolver.resolve("works", 8)).expect("an address");
        assert_eq!(begins.recv_timeout(PATIENCE).as_deref(), Ok("works"));
        drop(open);
        for look_up in waiting {
            wait(look_up).expect("an address");
        }
        assert!(begins.try_recv().is_err(), "there was another look-up");
    }

    #[test]
    fn names_that_hang_take_so_many_threads_and_no_more() {
        let (resolver, open, begins) = hanging(PATIENCE);
        let look_up = |number: usize| Box::pin(resolver.resolve(&format!("hangs{number}"), 7));
        let mut waiting: Vec<_> = (0..THREADS).map(look_up).collect();
        for _ in 0..THREADS {
            begins.recv_timeout(PATIENCE).expect("a look-up");
        }
        let behind = look_up(THREADS);
        drop(look_up(THREADS + 1));
        assert!(!is_ready(&mut waiting[0]));
        assert!(begins.try_recv().is_err(), "more than {THREADS} threads");
        drop(open);
        wait(behind).expect("an address");
        for look_up in waiting {
            wait(look_up).expect("an address");
        }
        assert_eq!(begins.recv_timeout(PATIENCE), Ok(format!("hangs{THREADS}")));
        wait(resolver.resolve("works", 7)).expect("an address");
        assert_eq!(begins.recv_timeout(PATIENCE).as_deref(), Ok("works"), "a look-up for nobody");
    }

    #[test]
    fn errors_reach_all_who_wait() {
        let (resolver, _open, _begins) = hanging(PATIENCE);
        let error = wait(resolver.resolve("nowhere", 1)).expect_err("no address");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);

        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let (open, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let resolver = Resolver::new(move |_| {
            let _ = lock(&gate).recv();
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => Err(io::Error::new(io::ErrorKind::PermissionDenied, "not for you")),
                _ => panic!("a resolver panics, as it is meant to"),
            }
        });
        let waiting = [resolver.resolve("a", 1), resolver.resolve("a", 2)];
        drop(open);
        for look_up in waiting {
            let error = wait(look_up).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(error.to_string(), "not for you");
        }
        let error = wait(resolver.resolve("a", 1)).expect_err("a panic");
        assert_eq!(error.kind(), io::ErrorKind::Other);
    }
}
