//! Name resolution on threads of its own.
//!
//! The system's resolver may block for minutes, and cannot be interrupted. Invariants:
//! - An IP address needs no lookup and no thread.
//! - Concurrent calls for the same name share one lookup.
//! - A name occupies two threads at most: one lookup, and another one if the first takes longer than [`STALE_AFTER`].
//! - All names together occupy [`MAX_LOOKUPS`] threads at most. Further lookups wait, and are skipped if all their
//!   callers have given up.

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

use crate::pool::{IDLE_TIMEOUT, Pool};

/// How many lookups may run at once.
const MAX_LOOKUPS: usize = 32;

/// A lookup that takes longer than this may be stuck: the next caller starts another one.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// How many lookups of one name may run at once.
const MAX_LOOKUPS_PER_NAME: usize = 2;

/// Resolves host names on threads of its own, so that callers never block. Clones share the resolver.
///
/// Handlers share one resolver that asks the system: the function [`resolve`]. Create another one to resolve names in
/// another way, for example by a service directory, or by a table in a test.
///
/// Concurrent calls for the same name share one lookup. If it takes longer than 5 s, the next call starts a second one.
/// At most 32 lookups run at once, on threads named `zk-resolve`, which end after 5 s without work.
///
/// ```
/// use std::{io, net::SocketAddr};
///
/// let resolver = zk_handler::Resolver::new(|name| match name {
///     "zk1" => Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))]),
///     _ => Err(io::ErrorKind::NotFound.into()),
/// });
/// # async_io::block_on(async {
/// let addresses = resolver.resolve("zk1", 2181).await?;
/// assert_eq!(addresses, [SocketAddr::from(([192, 0, 2, 1], 2181))]);
/// # io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Resolver(Arc<ResolverInner>);

type LookupFn = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct ResolverInner {
    lookup: Box<LookupFn>,
    pool: Pool,
    stale: Duration,
    /// The lookups of each name that have callers, oldest first.
    names: Mutex<HashMap<Arc<str>, Vec<Weak<Lookup>>>>,
}

/// One lookup. Its callers own it, and so does the thread that runs it. The queue does not, so that a lookup without
/// callers is skipped.
struct Lookup {
    since: Instant,
    state: Mutex<LookupState>,
}

#[derive(Default)]
struct LookupState {
    result: Option<Result<Vec<SocketAddr>, Arc<io::Error>>>,
    wakers: Vec<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resolves `host` by the operating system, on threads that all handlers of the process share (see [`Resolver`]).
///
/// There is no timeout: the future takes as long as the system does.
///
/// # Errors
/// The system's error, or [`NotFound`](io::ErrorKind::NotFound) if the name has no address.
///
/// # Cancel safety
/// This function is cancel-safe. A lookup whose futures are all dropped is skipped, unless it is running already.
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
    /// Creates a resolver that calls `lookup`, which may block. The ports in its result are ignored.
    pub fn new(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self::with(lookup, STALE_AFTER)
    }

    fn with(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        stale: Duration,
    ) -> Self {
        Self(Arc::new(ResolverInner {
            lookup: Box::new(lookup),
            pool: Pool::new("zk-resolve", MAX_LOOKUPS, IDLE_TIMEOUT),
            stale,
            names: Mutex::default(),
        }))
    }

    /// Resolves `host` to one or more addresses with `port`. An IP address is resolved at once, without a lookup.
    ///
    /// The lookup starts with this call, before the future is polled.
    ///
    /// # Errors
    /// The error of the lookup, or [`NotFound`](io::ErrorKind::NotFound) if it finds no address.
    ///
    /// # Cancel safety
    /// This method is cancel-safe. A lookup whose futures are all dropped is skipped, unless it is running already.
    pub fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => Addresses::Literal(address),
            Err(_) => Addresses::Lookup(self.0.join(host)),
        };
        async move {
            let mut addresses = match addresses {
                Addresses::Literal(address) => return Ok(vec![SocketAddr::new(address, port)]),
                Addresses::Lookup(lookup) => poll_fn(|context| lookup.poll(context)).await?,
            };
            addresses.iter_mut().for_each(|address| address.set_port(port));
            Ok(addresses)
        }
    }
}

/// The source of the addresses.
enum Addresses {
    Literal(IpAddr),
    Lookup(Arc<Lookup>),
}

impl ResolverInner {
    /// Joins a lookup of `name` that is running, unless it may be stuck, or else starts another one.
    fn join(self: &Arc<Self>, name: &str) -> Arc<Lookup> {
        let now = Instant::now();
        let mut names = lock(&self.names);
        let running: Vec<_> =
            names.get(name).into_iter().flatten().filter_map(Weak::upgrade).collect();
        if let Some(youngest) = running.last()
            && (running.len() >= MAX_LOOKUPS_PER_NAME
                || now.saturating_duration_since(youngest.since) < self.stale)
        {
            return youngest.clone();
        }
        let name: Arc<str> = name.into();
        let lookup = Arc::new(Lookup { since: now, state: Mutex::default() });
        let mut lookups: Vec<_> = running.iter().map(Arc::downgrade).collect();
        lookups.push(Arc::downgrade(&lookup));
        names.insert(name.clone(), lookups);
        drop(names);
        let (inner, queued) = (self.clone(), Arc::downgrade(&lookup));
        self.pool.run(move || {
            let wanted = queued.upgrade();
            let result = wanted.as_ref().map(|_| {
                let found = catch_unwind(AssertUnwindSafe(|| (inner.lookup)(&name)));
                found.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
            });
            inner.remove(&name, &queued);
            if let (Some(lookup), Some(result)) = (wanted, result) {
                lookup.finish(result);
            }
        });
        lookup
    }

    /// Removes a lookup that has ended or was skipped.
    fn remove(&self, name: &str, ended: &Weak<Lookup>) {
        let mut names = lock(&self.names);
        if let Some(lookups) = names.get_mut(name) {
            lookups.retain(|other| !other.ptr_eq(ended));
            if lookups.is_empty() {
                names.remove(name);
            }
        }
    }
}

impl Lookup {
    fn finish(&self, result: io::Result<Vec<SocketAddr>>) {
        let result = match result {
            Ok(found) if found.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
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

/// The error of a lookup, shared by all its callers.
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
        write!(f, "Resolver({} names pending)", lock(&self.0.names).len())
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

    const TIMEOUT: Duration = Duration::from_secs(60);

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Arc::new(Unpark(thread::current())).into();
        let begun = Instant::now();
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            thread::park_timeout(TIMEOUT);
            assert!(begun.elapsed() < TIMEOUT, "the future did not complete in time");
        }
    }

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    /// A resolver whose lookups of names that begin with "hangs" block until the sender is dropped. The receiver gets
    /// the name of each lookup when it starts.
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
    fn an_ip_address_needs_no_lookup() {
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
    fn a_stuck_lookup_is_shared_and_does_not_hold_up_others() {
        let (resolver, open, begins) = hanging(TIMEOUT);
        let waiting: Vec<_> = (0..600).map(|_| Box::pin(resolver.resolve("hangs", 7))).collect();
        assert_eq!(begins.recv_timeout(TIMEOUT).as_deref(), Ok("hangs"));
        assert_eq!(block_on(resolver.resolve("works", 8)).expect("an address")[0].port(), 8);
        assert_eq!(begins.recv_timeout(TIMEOUT).as_deref(), Ok("works"));
        drop(open);
        for lookup in waiting {
            assert_eq!(block_on(lookup).expect("an address")[0].port(), 7);
        }
        assert!(begins.try_recv().is_err(), "there was another lookup");
        assert_eq!(lock(&resolver.0.names).len(), 0);
    }

    #[test]
    fn a_stale_lookup_is_repeated_once() {
        let (resolver, open, begins) = hanging(Duration::ZERO);
        let waiting: Vec<_> = (0..10).map(|_| Box::pin(resolver.resolve("hangs", 7))).collect();
        for _ in 0..MAX_LOOKUPS_PER_NAME {
            begins.recv_timeout(TIMEOUT).expect("a lookup");
        }
        block_on(resolver.resolve("works", 8)).expect("an address");
        assert_eq!(begins.recv_timeout(TIMEOUT).as_deref(), Ok("works"));
        drop(open);
        for lookup in waiting {
            block_on(lookup).expect("an address");
        }
        assert!(begins.try_recv().is_err(), "there was another lookup");
    }

    #[test]
    fn the_number_of_lookups_is_limited() {
        let (resolver, open, begins) = hanging(TIMEOUT);
        let lookup_of = |number: usize| Box::pin(resolver.resolve(&format!("hangs{number}"), 7));
        let mut waiting: Vec<_> = (0..MAX_LOOKUPS).map(lookup_of).collect();
        for _ in 0..MAX_LOOKUPS {
            begins.recv_timeout(TIMEOUT).expect("a lookup");
        }
        let behind = lookup_of(MAX_LOOKUPS);
        drop(lookup_of(MAX_LOOKUPS + 1));
        assert!(!is_ready(&mut waiting[0]));
        assert!(begins.try_recv().is_err(), "more than {MAX_LOOKUPS} threads");
        drop(open);
        block_on(behind).expect("an address");
        for lookup in waiting {
            block_on(lookup).expect("an address");
        }
        assert_eq!(begins.recv_timeout(TIMEOUT), Ok(format!("hangs{MAX_LOOKUPS}")));
        block_on(resolver.resolve("works", 7)).expect("an address");
        assert_eq!(
            begins.recv_timeout(TIMEOUT).as_deref(),
            Ok("works"),
            "a lookup that has no caller"
        );
    }

    #[test]
    fn all_callers_get_the_error() {
        let (resolver, _open, _begins) = hanging(TIMEOUT);
        let error = block_on(resolver.resolve("nowhere", 1)).expect_err("no address");
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
        for lookup in waiting {
            let error = block_on(lookup).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(error.to_string(), "not for you");
        }
        let error = block_on(resolver.resolve("a", 1)).expect_err("a panic");
        assert_eq!(error.kind(), io::ErrorKind::Other);
    }
}
