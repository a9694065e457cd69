//! [`EnsembleContext`]: the servers of a test, proxies in front of them, and how to wait.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use zk_client::{Client, ClientBuilder, ErrorKind, OPEN_ACL_UNSAFE, SessionState, States};
use zk_handler::Handler;

use crate::{
    Direction, Ensemble, Node, Options, Proxy, lock,
    suite::shared_server::{client_builder, proxy_of, uses_tls, with_tls},
    tasks::{spawn, spawn_blocking, with_timeout},
};

/// The timeout of every wait that is not measured.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// The tolerance for late events on a busy machine.
pub(super) const SLACK: Duration = Duration::from_millis(1500);

/// The maximum number of ensembles that run at once in one process.
const ENSEMBLES: usize = 2;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A permit to run an ensemble.
struct Permit;

impl Permit {
    fn wait() -> Self {
        let mut running = lock(&RUNNING.0);
        while *running >= ENSEMBLES {
            running = RUNNING.1.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *lock(&RUNNING.0) -= 1;
        RUNNING.1.notify_one();
    }
}

/// An ensemble with a proxy in front of each server. Blocking work runs on threads of its own.
pub(super) struct EnsembleContext<H> {
    pub(super) handler: H,
    ensemble: Arc<Ensemble>,
    proxies: Vec<Proxy>,
    _permit: Permit,
}

impl<H: Handler> EnsembleContext<H> {
    pub(super) async fn new(handler: H) -> Self {
        Self::with(handler, Options::default()).await
    }

    /// Three servers.
    pub(super) async fn with(handler: H, options: Options) -> Self {
        Self::of(handler, options, 3).await
    }

    pub(super) async fn of(handler: H, options: Options, servers: usize) -> Self {
        Self::behind(handler, options, servers, |node| Proxy::new(client_address(node))).await
    }

    /// Three servers behind proxies that can filter frames. So it is not the servers that decrypt them.
    pub(super) async fn with_filters(handler: H) -> Self {
        Self::behind(handler, Options::default(), 3, |node| proxy_of(node.address())).await
    }

    async fn behind(
        handler: H,
        options: Options,
        servers: usize,
        new_proxy: fn(&Node) -> Proxy,
    ) -> Self {
        let started = spawn_blocking(move || {
            let permit = Permit::wait();
            let ensemble = with_tls(options).start(servers);
            let proxies = ensemble.nodes().iter().map(new_proxy).collect();
            (permit, ensemble, proxies)
        });
        let (permit, ensemble, proxies) = started.await;
        Self { handler, ensemble: Arc::new(ensemble), proxies, _permit: permit }
    }

    pub(super) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Runs `action`, which may block, with the ensemble.
    pub(super) async fn with_ensemble<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Ensemble) -> T + Send + 'static,
    ) -> T {
        let ensemble = self.ensemble.clone();
        spawn_blocking(move || action(&ensemble)).await
    }

    pub(super) async fn leader(&self) -> usize {
        self.with_ensemble(Ensemble::leader).await
    }

    /// The index of a follower.
    pub(super) async fn follower(&self) -> usize {
        (self.leader().await + 1) % self.proxies.len()
    }

    /// The connect string of all servers, `first` first.
    pub(super) fn hosts(&self, first: usize) -> String {
        rotated(first, self.ensemble.nodes().iter().map(|node| client_address(node).to_string()))
    }

    /// The connect string of the proxies in front of all servers, `first` first.
    pub(super) fn proxy_hosts(&self, first: usize) -> String {
        rotated(first, self.proxies.iter().map(|proxy| proxy.address().to_string()))
    }

    /// The connect string of one server.
    pub(super) fn host(&self, index: usize) -> String {
        client_address(self.ensemble.node(index)).to_string()
    }

    /// The index of the server that `zk` is connected to, directly or through a proxy.
    pub(super) fn index_of(&self, zk: &Client) -> usize {
        let host = zk.host().expect("the client has tried a host");
        let nodes = self.ensemble.nodes().iter().map(client_address);
        let proxies = self.proxies.iter().map(Proxy::address);
        nodes
            .zip(proxies)
            .position(|(node, proxy)| [node.to_string(), proxy.to_string()].contains(&host))
            .expect("the host is one of the servers")
    }

    /// A client that is connected to the first of `hosts`.
    pub(super) async fn connect(&self, hosts: String, session_timeout: Duration) -> Client {
        self.start(client(hosts, session_timeout)).await
    }

    pub(super) async fn start(&self, builder: ClientBuilder) -> Client {
        self.within("a client to connect", builder.connect_on(self.handler.clone()))
            .await
            .expect("the client connects")
    }

    /// The state changes of `zk` from now on.
    pub(super) fn changes<'s>(&'s self, zk: &Client) -> StateChanges<'s, H> {
        StateChanges { ctx: self, states: zk.states() }
    }

    /// The result of `future`, with the timeout [`LIMIT`].
    pub(super) async fn within<F: Future>(&self, what: &str, future: F) -> F::Output {
        within(&self.handler, LIMIT, what, future).await
    }

    /// Sleeps for `time`.
    pub(super) async fn sleep(&self, time: Duration) {
        self.handler.sleep_until(self.handler.now() + time).await;
    }

    /// Spawns `task`. The future that is returned waits for its result.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T> + Send>> {
        Box::pin(spawn(&self.handler, task))
    }

    /// Sets whether every proxy refuses new connections.
    pub(super) fn refuse(&self, refuse: bool) {
        self.proxies.iter().for_each(|proxy| proxy.refuse(refuse));
    }

    /// Holds back all traffic at every proxy.
    pub(super) fn hold(&self) {
        for proxy in &self.proxies {
            proxy.hold(Direction::ToServer);
            proxy.hold(Direction::ToClient);
        }
    }

    /// Releases all traffic.
    pub(super) fn release(&self) {
        self.proxies.iter().for_each(Proxy::release);
    }

    /// The number of connections that the proxies have accepted so far.
    pub(super) fn accepted(&self) -> usize {
        self.proxies.iter().map(Proxy::accepted).sum()
    }
}

/// Where clients of this binary connect.
fn client_address(node: &Node) -> SocketAddr {
    if uses_tls() { node.tls_address() } else { node.address() }
}

fn rotated(first: usize, hosts: impl Iterator<Item = String>) -> String {
    let mut hosts: Vec<_> = hosts.collect();
    hosts.rotate_left(first);
    hosts.join(",")
}

/// A builder for a client that tries `hosts` in order, and reconnects at once if its server is killed.
pub(super) fn client(hosts: String, session_timeout: Duration) -> ClientBuilder {
    client_builder()
        .hosts(hosts)
        .randomize_hosts(false)
        .session_timeout(session_timeout)
        .connect_timeout(LIMIT)
        .reconnect_spread(Duration::ZERO)
        .default_acl(&OPEN_ACL_UNSAFE)
}

/// Whether a call failed because its connection was lost.
pub(super) fn is_connection_loss(error: &zk_client::Error) -> bool {
    error.kind() == ErrorKind::ConnectionLoss
}

/// The state changes of a client.
pub(super) struct StateChanges<'s, H> {
    ctx: &'s EnsembleContext<H>,
    states: States,
}

impl<H: Handler> StateChanges<'_, H> {
    pub(super) async fn next(&mut self, what: &str) -> SessionState {
        let changed = self.ctx.within(what, self.states.changed()).await;
        changed.expect("the stream of states does not end")
    }

    /// Checks that the next changes are `states`.
    pub(super) async fn expect(&mut self, states: &[SessionState]) {
        for (at, state) in states.iter().enumerate() {
            let what = format!("change {at} of {states:?}");
            assert_eq!(self.next(&what).await, *state, "{what}");
        }
    }

    /// The changes up to and including `last`.
    pub(super) async fn until(&mut self, last: SessionState) -> Vec<SessionState> {
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            let state = self.next(&format!("{last} after {seen:?}")).await;
            seen.push(state);
        }
        seen
    }

    /// All changes so far that were not taken yet.
    pub(super) fn drain(&mut self) -> Vec<SessionState> {
        std::iter::from_fn(|| self.states.try_next()).collect()
    }
}

/// The result of `future`.
///
/// # Panics
/// If it takes longer than `limit`.
pub(super) async fn within<H: Handler, F: Future>(
    handler: &H,
    limit: Duration,
    what: &str,
    future: F,
) -> F::Output {
    match with_timeout(handler, limit, future).await {
        Some(output) => output,
        None => panic!("timed out after {limit:?} waiting for {what}"),
    }
}
