//! [`ClientBuilder`]: how a client is to behave.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use zk_handler::Handler;
use zk_proto::{
    Acl, ConnectString,
    session::{Backoff, Config, Credential, SessionTicket},
};

#[cfg(feature = "thread")]
use crate::client::blocking;
use crate::{AsyncResult, Client, Error, Retry, driver, inner::ClientInner};

/// The features of runtimes that are enabled.
#[cfg(any(feature = "tokio", feature = "async-std", feature = "smol", feature = "thread"))]
const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "smol")]
    "smol",
    #[cfg(feature = "async-std")]
    "async-std",
    #[cfg(feature = "thread")]
    "thread",
];

/// How a client is to behave. Everything has a default but the hosts; what is wrong is told by
/// [`build`](Self::build) or [`connect`](Self::connect).
///
/// ```no_run
/// # use std::time::Duration;
/// # use zk_client::{Client, Error, OPEN_ACL_UNSAFE};
/// # async fn example() -> Result<(), Error> {
/// let zk = Client::builder()
///     .hosts("zk1:2181,zk2:2181,zk3:2181/app")
///     .session_timeout(Duration::from_secs(15))
///     .auth("digest", "user:secret")
///     .default_acl(&OPEN_ACL_UNSAFE)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder makes no client before `build` or `connect`"]
#[derive(Clone)]
pub struct ClientBuilder {
    hosts: String,
    config: Config,
    connect_timeout: Duration,
    default_acl: Option<Arc<[Acl]>>,
    command_retry: Retry,
}

impl Client {
    /// Returns a builder with default options. Only the [hosts](ClientBuilder::hosts) must be given.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Connects to `hosts` with default options, on the default runtime. [`ClientBuilder::hosts`] says how hosts are
    /// written.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    #[cfg(any(feature = "tokio", feature = "async-std", feature = "smol", feature = "thread"))]
    pub fn connect(hosts: impl Into<String>) -> AsyncResult<Self> {
        Self::builder().hosts(hosts).connect()
    }
}

#[cfg(feature = "thread")]
impl blocking::Client {
    /// Returns a builder with default options. Only the [hosts](ClientBuilder::hosts) must be given. Finish with
    /// [`connect_blocking`](ClientBuilder::connect_blocking).
    pub fn builder() -> ClientBuilder {
        Client::builder()
    }

    /// Connects to `hosts` with default options. The client's I/O has a thread of its own.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect_blocking`].
    pub fn connect(hosts: impl Into<String>) -> Result<Self, Error> {
        Self::builder().hosts(hosts).connect_blocking()
    }
}

impl ClientBuilder {
    fn new() -> Self {
        Self {
            hosts: String::new(),
            config: Config::new(Vec::new()),
            connect_timeout: Duration::from_secs(10),
            default_acl: None,
            command_retry: Retry::default().max_tries(None),
        }
    }

    /// The ensemble, as kazoo writes it: `"host1:2181,host2,[::1]:2182/chroot"`. The port is 2181 unless
    /// given; the chroot, if given, becomes the root of all paths.
    ///
    /// A chroot need not exist: `ensure_path("/")` creates it. As all else fails until then, a start has
    /// the client look for it once it is connected, by one request, and log a warning if it is missing.
    pub fn hosts(mut self, hosts: impl Into<String>) -> Self {
        self.hosts = hosts.into();
        self
    }

    /// The ensemble as a list: names, [`HostPort`](crate::HostPort)s or socket addresses. It replaces what
    /// [`hosts`](Self::hosts) was given. A chroot, if there is one, stands behind the last.
    ///
    /// ```
    /// # use zk_client::{Client, HostPort};
    /// let servers = [HostPort::new("zk1", 2181), HostPort::new("zk2", 2181)];
    /// let builder = Client::builder().hosts_list(servers);
    /// ```
    pub fn hosts_list(self, hosts: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(|host| host.to_string()).collect();
        self.hosts(hosts.join(","))
    }

    /// The session timeout to ask for: for how long the servers keep the session, with its ephemeral
    /// nodes, when they do not hear from this client. They grant it within their bounds, 2 to 20 ticks
    /// by default. Default 10 s.
    pub const fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.session_timeout = timeout;
        self
    }

    /// How long [`start`](Client::start) and [`connect`](Self::connect) may take before they fail.
    /// Default 10 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether a server without a quorum will do, for reads that may be stale. The client then looks
    /// for a better server meanwhile. Default false.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.config.read_only = read_only;
        self
    }

    /// Adds a credential, such as `("digest", "user:password")`, to send on every connection first of
    /// all. Equal ones are sent once.
    pub fn auth(mut self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> Self {
        let credential = Credential::new(scheme, auth);
        if !self.config.auth.contains(&credential) {
            self.config.auth.push(credential);
        }
        self
    }

    /// Whether to try the hosts in random order, so that clients spread over the servers. Default true.
    pub const fn randomize_hosts(mut self, randomize: bool) -> Self {
        self.config.randomize_hosts = randomize;
        self
    }

    /// How rounds of attempts to connect are spaced; a round tries every host once. Attempts go on until
    /// the client is stopped. Default 100 ms, doubling to 5 s or a third of the session timeout, with
    /// jitter.
    pub const fn connection_retry(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Over how long the clients of a server that dies spread their return, so that they do not all come
    /// to the other servers in the same moment. A client that has made no call in the last second, and
    /// hears that its connection is closed, connects again after a random time: of up to `spread`, or of up
    /// to three fifths of what is left of the session where that is less. A call ends the wait, and a
    /// client at work does not wait. Default 5 s; zero for no spread.
    pub const fn reconnect_spread(mut self, spread: Duration) -> Self {
        self.config.reconnect_spread = spread;
        self
    }

    /// The policy of [`Client::retry`]. Default as kazoo's: for ever, after 100 ms, doubling to a minute.
    pub fn command_retry(mut self, retry: Retry) -> Self {
        self.command_retry = retry;
        self
    }

    /// The ACL of nodes that are created without one. There is no default to this: a client without it
    /// refuses to create a node that has no ACL of its own.
    pub fn default_acl(mut self, acl: impl AsRef<[Acl]>) -> Self {
        self.default_acl = Some(acl.as_ref().into());
        self
    }

    /// Goes on with a session of an earlier client, from [`Client::client_id`]. If it has expired
    /// meanwhile, the client begins a new one.
    pub fn client_id(mut self, ticket: SessionTicket) -> Self {
        self.config.resume = Some(ticket);
        self
    }

    /// The largest reply that is taken, in bytes; a larger one fails its call, and only that. Default
    /// 4 MiB.
    pub const fn max_reply(mut self, bytes: usize) -> Self {
        self.config.max_reply = bytes;
        self
    }

    /// The servers' `jute.maxbuffer`, in bytes: a larger request fails at once instead of being sent.
    /// Default 1,048,575, as the servers'.
    pub const fn max_request(mut self, bytes: usize) -> Self {
        self.config.max_request = bytes;
        self
    }

    /// How many calls may wait for their answer; more fail with
    /// [`QueueFull`](crate::ErrorKind::QueueFull). The look for the chroot (see [`hosts`](Self::hosts)) is one of
    /// them. Default 1,000,000.
    pub const fn max_in_flight(mut self, calls: usize) -> Self {
        self.config.max_in_flight = calls;
        self
    }

    /// How many bytes of calls may wait to be sent, as they do while there is no connection; more fail with
    /// [`QueueFull`](crate::ErrorKind::QueueFull) and were [not sent](crate::Outcome::NotSent). Once there are so
    /// many, no more are taken: the last one may go beyond it by its own size. As much again may be on its way to a
    /// server that is slow to read. Default 64 MiB: enough for some 600 writes of 100 kB, and little to a server
    /// process that has many clients.
    pub const fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.config.max_queued_bytes = bytes;
        self
    }

    /// For how long a watch must have been unwanted, as its [`Watch`](crate::Watch) was dropped, before it
    /// is taken off the server in the background; `None` leaves it there until it fires or the connection
    /// ends. A watch that is armed again meanwhile stays, so that a loop of arming and dropping sends
    /// nothing more. Servers before 3.5 keep their watches. Default 5 s.
    pub const fn unwatch_after(mut self, grace: Option<Duration>) -> Self {
        self.config.unwatch_after = grace;
        self
    }

    /// How long [`stop`](Client::stop) waits for the server's word. Default 2 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Makes a client that runs on `handler`. It does nothing until it is [started](Client::start).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when an option cannot be.
    pub fn build_on<H: Handler>(self, handler: H) -> Result<Client, Error> {
        let hosts: ConnectString = self.hosts.parse()?;
        let (hosts, chroot) = hosts.into_parts();
        let mut config = self.config;
        if config.session_timeout.is_zero() {
            return Err(Error::invalid("the session timeout is zero"));
        }
        config.hosts = hosts;
        let spawn_driver = driver::spawn_on(handler.clone());
        let inner =
            ClientInner::new(handler, spawn_driver, config, self.connect_timeout, chroot.clone());
        Ok(Client::new(inner, chroot, self.default_acl, self.command_retry))
    }

    /// Creates a client on the default runtime. It does nothing until it is [started](Client::start).
    ///
    /// In a tokio runtime, with the feature `tokio`, this is that runtime. Otherwise it is the runtime of the one
    /// feature that is enabled. See the [crate's page](crate#runtimes).
    ///
    /// # Errors
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if an option is not valid.
    /// - [`Runtime`](crate::ErrorKind::Runtime) outside of a tokio runtime, if `tokio` is the only feature of a runtime,
    ///   or if several are enabled. Use [`build_on`](Self::build_on) then.
    #[cfg(any(feature = "tokio", feature = "async-std", feature = "smol", feature = "thread"))]
    pub fn build(self) -> Result<Client, Error> {
        #[cfg(feature = "tokio")]
        if let Ok(handler) = zk_handler_tokio::TokioHandler::current() {
            return self.build_on(handler);
        }
        // Cargo enables a feature for all users of this crate if one of them asks for it. So the runtime of a program
        // must not depend on which other features are enabled.
        if RUNTIMES.len() > 1 {
            return Err(Error::runtime(
                None,
                format!(
                    "several runtimes are enabled ({}): pass the handler of one to ClientBuilder::build_on or \
                     connect_on",
                    RUNTIMES.join(", ")
                ),
            ));
        }
        self.build_outside_tokio()
    }

    #[cfg(feature = "smol")]
    fn build_outside_tokio(self) -> Result<Client, Error> {
        self.build_on(zk_handler_smol::SmolHandler)
    }

    #[cfg(all(feature = "async-std", not(feature = "smol")))]
    fn build_outside_tokio(self) -> Result<Client, Error> {
        self.build_on(zk_handler_async_std::AsyncStdHandler)
    }

    #[cfg(all(feature = "thread", not(any(feature = "smol", feature = "async-std"))))]
    fn build_outside_tokio(self) -> Result<Client, Error> {
        self.build_on(zk_handler_thread::ThreadHandler::new())
    }

    #[cfg(all(
        feature = "tokio",
        not(any(feature = "smol", feature = "async-std", feature = "thread"))
    ))]
    fn build_outside_tokio(self) -> Result<Client, Error> {
        Err(Error::runtime(
            None,
            "there is no tokio runtime here: make the client inside of one, or give \
             ClientBuilder::build_on one",
        ))
    }

    /// Makes a client on the default runtime and starts it; the result is there when it has a session.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Client::start`].
    #[cfg(any(feature = "tokio", feature = "async-std", feature = "smol", feature = "thread"))]
    pub fn connect(self) -> AsyncResult<Client> {
        Self::connected(self.build())
    }

    /// Makes a client on an I/O thread of its own, whose calls wait. It does nothing until it is
    /// [started](Client::start).
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on).
    #[cfg(feature = "thread")]
    pub fn build_blocking(self) -> Result<blocking::Client, Error> {
        self.build_on(zk_handler_thread::ThreadHandler::new()).map(Into::into)
    }

    /// Makes a client on an I/O thread of its own, starts it, and waits until it has a session.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on) and [`Client::start`].
    #[cfg(feature = "thread")]
    pub fn connect_blocking(self) -> Result<blocking::Client, Error> {
        self.connect_on(zk_handler_thread::ThreadHandler::new()).get().map(Into::into)
    }

    /// Makes a client on `handler` and starts it; the result is there when it has a session.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on) and [`Client::start`].
    pub fn connect_on<H: Handler>(self, handler: H) -> AsyncResult<Client> {
        Self::connected(self.build_on(handler))
    }

    fn connected(client: Result<Client, Error>) -> AsyncResult<Client> {
        match client {
            Ok(client) => {
                let started = client.start();
                let inner = client.inner().clone();
                inner.spawn_task(async move { started.await.map(|()| client) })
            }
            Err(error) => AsyncResult::of(Err(error), None),
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            // What cannot be parsed may hold a password.
            .field(
                "hosts",
                &self.hosts.parse::<ConnectString>().map(|hosts| hosts.to_string()).ok(),
            )
            .field("config", &self.config)
            .field("connect_timeout", &self.connect_timeout)
            .field("default_acl", &self.default_acl)
            .field("command_retry", &self.command_retry)
            .finish()
    }
}

#[cfg(all(test, feature = "tokio", feature = "thread"))]
mod tests {
    use crate::{Client, ErrorKind};

    #[test]
    fn outside_of_tokio_one_of_several_runtimes_must_be_chosen() {
        let builder = || Client::builder().hosts("127.0.0.1:1");
        let error = builder().build().expect_err("there is more than one");
        assert_eq!(error.kind(), ErrorKind::Runtime);
        let text = error.to_string();
        assert!(["tokio", "thread", "build_on"].iter().all(|word| text.contains(word)), "{text}");
        assert_eq!(builder().connect().get().expect_err("the same").kind(), ErrorKind::Runtime);
        builder().build_blocking().expect("its name says which one");
        builder().build_on(crate::ThreadHandler::new()).expect("it is chosen");
    }

    #[tokio::test]
    async fn in_a_tokio_runtime_a_client_runs_on_it() {
        let client = Client::builder().hosts("127.0.0.1:1").build().expect("a client");
        assert!(format!("{client:?}").contains("tokio"), "{client:?}");
    }
}
