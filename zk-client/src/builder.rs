//! [`ClientBuilder`]: the options of a client, and the choice of its runtime.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use zk_handler::Handler;
use zk_proto::{
    Acl, ConnectString,
    session::{Backoff, Config, Credential, SessionTicket},
};

#[cfg(feature = "thread")]
use crate::client::blocking;
use crate::{
    AsyncResult, Client, Error, Retry, SaslOptions, driver, inner::ClientInner,
    transport::Transport,
};

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

/// Builds a client. All options except the hosts have defaults. Options are checked by [`build`](Self::build) or
/// [`connect`](Self::connect).
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
    #[cfg(feature = "tls-no-provider")]
    tls: Option<crate::TlsOptions>,
    sasl: Option<SaslOptions>,
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
            #[cfg(feature = "tls-no-provider")]
            tls: None,
            sasl: None,
        }
    }

    /// Sets the hosts of the ensemble, such as `"host1:2181,host2,[::1]:2182/chroot"`. The default port is 2181.
    /// The chroot, if there is one, becomes the root of all paths.
    ///
    /// The chroot need not exist; `ensure_path("/")` creates it. All other calls fail until it exists. So the
    /// client checks it with one request after a start, and logs a warning if it is missing.
    pub fn hosts(mut self, hosts: impl Into<String>) -> Self {
        self.hosts = hosts.into();
        self
    }

    /// Sets the hosts of the ensemble as a list of names, [`HostPort`](crate::HostPort)s or socket addresses. This
    /// replaces the hosts of [`hosts`](Self::hosts). A chroot, if there is one, follows the last host.
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

    /// Sets the session timeout to ask for: how long the servers keep the session and its ephemeral nodes without
    /// hearing from this client. Servers limit it, to 2 to 20 ticks by default. The default is 10 s.
    pub const fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.session_timeout = timeout;
        self
    }

    /// Sets how long [`start`](Client::start) and [`connect`](Self::connect) may take. The default is 10 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets whether the client may connect to a server without a quorum, for reads that may be stale. It keeps
    /// looking for a server with a quorum meanwhile. The default is false.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.config.read_only = read_only;
        self
    }

    /// Adds a credential, such as `("digest", "user:password")`. It is sent on every connection before all other
    /// requests. Equal credentials are sent once.
    pub fn auth(mut self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> Self {
        let credential = Credential::new(scheme, auth);
        if !self.config.auth.contains(&credential) {
            self.config.auth.push(credential);
        }
        self
    }

    /// Uses TLS for every connection to every host, four-letter words included. The default is no TLS.
    ///
    /// The hosts must name the servers' ports for TLS (`secureClientPort`), which ZooKeeper has no default for. The
    /// handshake is part of the time that a host has to be connected.
    #[cfg(feature = "tls-no-provider")]
    pub fn tls(mut self, tls: crate::TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes every connection log in with SASL, before credentials, watches and calls. Off by default. See
    /// [`sasl`](crate::sasl) for what happens if the login fails, and [`Client::set_sasl`] for a change at run time.
    pub fn sasl(mut self, options: SaslOptions) -> Self {
        self.sasl = Some(options);
        self
    }

    /// Sets whether the hosts are tried in random order, so that clients spread over the servers. The default is
    /// true.
    pub const fn randomize_hosts(mut self, randomize: bool) -> Self {
        self.config.randomize_hosts = randomize;
        self
    }

    /// Sets the pauses between rounds of connection attempts. A round tries every host once. Attempts go on until
    /// the client is stopped. The default is 100 ms, doubling to 5 s or a third of the session timeout, with
    /// jitter.
    pub const fn connection_retry(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Sets the time over which the clients of a server that dies spread their reconnects, so that they do not all
    /// reach the other servers at once.
    ///
    /// A client that has made no call in the last second, and whose connection is closed, reconnects after a random
    /// time of up to `spread`, or of up to three fifths of what is left of the session if that is less. A call ends
    /// the wait. A client with calls in progress does not wait. The default is 5 s; zero turns the spread off.
    pub const fn reconnect_spread(mut self, spread: Duration) -> Self {
        self.config.reconnect_spread = spread;
        self
    }

    /// Sets the policy of [`Client::retry`]. The default tries without limit, with pauses from 100 ms, doubling to
    /// a minute.
    pub fn command_retry(mut self, retry: Retry) -> Self {
        self.command_retry = retry;
        self
    }

    /// Sets the ACL of nodes that are created without one. There is no default: without it, creating a node without
    /// an ACL is an error.
    pub fn default_acl(mut self, acl: impl AsRef<[Acl]>) -> Self {
        self.default_acl = Some(acl.as_ref().into());
        self
    }

    /// Resumes the session of an earlier client, from [`Client::client_id`]. If it has expired, the client begins a
    /// new one.
    pub fn client_id(mut self, ticket: SessionTicket) -> Self {
        self.config.resume = Some(ticket);
        self
    }

    /// Sets the size of the largest reply that is accepted, in bytes. A larger one fails only its own call. The
    /// default is 4 MiB.
    pub const fn max_reply(mut self, bytes: usize) -> Self {
        self.config.max_reply = bytes;
        self
    }

    /// Sets the servers' `jute.maxbuffer`, in bytes. A larger request fails at once and is not sent. The default is
    /// 1,048,575, as on the servers.
    pub const fn max_request(mut self, bytes: usize) -> Self {
        self.config.max_request = bytes;
        self
    }

    /// Sets how many calls may wait for their reply. More fail with [`QueueFull`](crate::ErrorKind::QueueFull). The
    /// check of the chroot (see [`hosts`](Self::hosts)) is one of them. The default is 1,000,000.
    pub const fn max_in_flight(mut self, calls: usize) -> Self {
        self.config.max_in_flight = calls;
        self
    }

    /// Sets how many bytes of calls may wait to be sent, as they do without a connection. More calls fail with
    /// [`QueueFull`](crate::ErrorKind::QueueFull), and are [not sent](crate::Outcome::NotSent).
    ///
    /// The last call that is accepted may exceed the limit by its own size. The same amount again may be on its way
    /// to a server that reads slowly. The default is 64 MiB, enough for some 600 writes of 100 kB.
    pub const fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.config.max_queued_bytes = bytes;
        self
    }

    /// Sets how long after its [`Watch`](crate::Watch) was dropped a watch is removed from the server, in the
    /// background. `None` leaves it there until it fires or the connection ends.
    ///
    /// A watch that is armed again meanwhile stays, so arming and dropping in a loop sends nothing more. Servers
    /// before 3.5 keep their watches. The default is 5 s.
    pub const fn unwatch_after(mut self, grace: Option<Duration>) -> Self {
        self.config.unwatch_after = grace;
        self
    }

    /// Sets how long [`stop`](Client::stop) waits for the server's reply. The default is 2 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Creates a client that runs on `handler`. It does nothing until it is [started](Client::start).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if an option is not valid.
    pub fn build_on<H: Handler>(self, handler: H) -> Result<Client, Error> {
        let hosts: ConnectString = self.hosts.parse()?;
        let (hosts, chroot) = hosts.into_parts();
        let mut config = self.config;
        if config.session_timeout.is_zero() {
            return Err(Error::invalid("the session timeout is zero"));
        }
        config.hosts = hosts;
        #[cfg(feature = "tls-no-provider")]
        let transport = transport(self.tls, &config.hosts)?;
        #[cfg(not(feature = "tls-no-provider"))]
        let transport = Transport::default();
        let spawn_driver = driver::spawn_on(handler.clone(), transport.clone());
        let inner = ClientInner::new(
            handler,
            transport,
            spawn_driver,
            config,
            self.connect_timeout,
            chroot.clone(),
            self.sasl,
        );
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
            "there is no tokio runtime here: create the client in one, or pass a handler to \
             ClientBuilder::build_on",
        ))
    }

    /// Creates a client on the default runtime, starts it, and returns it once it has a session.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Client::start`].
    ///
    /// # Cancel safety
    /// If the result is dropped, the session is closed as soon as it is established.
    #[cfg(any(feature = "tokio", feature = "async-std", feature = "smol", feature = "thread"))]
    pub fn connect(self) -> AsyncResult<Client> {
        Self::connected(self.build())
    }

    /// Creates a client with an I/O thread of its own, whose calls block. It does nothing until it is
    /// [started](Client::start).
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on).
    #[cfg(feature = "thread")]
    pub fn build_blocking(self) -> Result<blocking::Client, Error> {
        self.build_on(zk_handler_thread::ThreadHandler::new()).map(Into::into)
    }

    /// Creates a client with an I/O thread of its own, starts it, and blocks until it has a session.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on) and [`Client::start`].
    #[cfg(feature = "thread")]
    pub fn connect_blocking(self) -> Result<blocking::Client, Error> {
        self.connect_on(zk_handler_thread::ThreadHandler::new()).get().map(Into::into)
    }

    /// Creates a client on `handler`, starts it, and returns it once it has a session.
    ///
    /// # Errors
    /// As [`build_on`](Self::build_on) and [`Client::start`].
    ///
    /// # Cancel safety
    /// If the result is dropped, the session is closed as soon as it is established.
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

/// Checks the options of TLS, and reads their files.
#[cfg(feature = "tls-no-provider")]
fn transport(
    tls: Option<crate::TlsOptions>,
    hosts: &[zk_proto::HostPort],
) -> Result<Transport, Error> {
    let Some(options) = tls else { return Ok(Transport::default()) };
    let tls = crate::tls::TlsSource::new(options).map_err(Error::invalid)?;
    for host in hosts {
        tls.name_of(&host.host).map_err(Error::invalid)?;
    }
    Ok(Transport { tls: Some(Arc::new(tls)) })
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ClientBuilder");
        #[cfg(feature = "tls-no-provider")]
        debug.field("tls", &self.tls);
        debug
            // Hosts that cannot be parsed may contain a password.
            .field(
                "hosts",
                &self.hosts.parse::<ConnectString>().map(|hosts| hosts.to_string()).ok(),
            )
            .field("config", &self.config)
            .field("connect_timeout", &self.connect_timeout)
            .field("default_acl", &self.default_acl)
            .field("command_retry", &self.command_retry)
            .field("sasl", &self.sasl)
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
