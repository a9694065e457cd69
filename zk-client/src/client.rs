//! [`Client`]: its life, its state, and who hears of it.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{
    Acl, Chroot, ConnectString, HostPort,
    session::{ConnectionState, Credential, SessionId, SessionState, SessionTicket},
};

use crate::{
    AsyncResult, Error, Event, ListenerId, Retry, States,
    inner::ClientInner,
    listeners::Listeners,
    stop::{Stop, unless},
    surfaces::with_blocking,
};

/// The blocking form of the client, which `blocking.rs` re-exports.
pub(crate) mod blocking {
    use std::ops::Deref;

    use crate::{Error, surfaces::blocking_form};

    blocking_form! {
        /// A client whose calls block the thread and return their results. See the [module](crate::blocking).
        ///
        /// Methods that do not wait, such as [`state`](crate::Client::state) and
        /// [`add_listener`](crate::Client::add_listener), are those of [`crate::Client`].
        #[derive(Clone)]
        pub struct Client;
    }

    impl Client {
        /// Returns a client on the same session whose root is `path` of this one.
        ///
        /// # Errors
        /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `path` is not valid.
        pub fn with_chroot(&self, path: &str) -> Result<Self, Error> {
            self.0.with_chroot(path).map(Self)
        }
    }

    impl Deref for Client {
        type Target = crate::Client;

        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
}

/// A ZooKeeper client: kazoo's `KazooClient`.
///
/// Clones share one session. The session is closed by [`stop`](Self::stop), or when the last clone is
/// dropped; its ephemeral nodes go with it at once.
///
/// Calls return [`AsyncResult`]s, which are to be awaited or waited on. A call that is made while the
/// session is [suspended](SessionState::Suspended) is sent when there is a connection again; one that was under
/// way when the connection was lost fails with [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss), and
/// its [`outcome`](Error::outcome) tells whether it was sent. Nothing is ever sent twice behind the
/// caller's back.
///
/// ```no_run
/// # use zk_client::{Client, Error, OPEN_ACL_UNSAFE};
/// # async fn example() -> Result<(), Error> {
/// let zk = Client::connect("127.0.0.1:2181").await?;
/// println!("{:?}", zk.get_children("/").await?);
/// zk.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<ClientInner>,
    chroot: Chroot,
    default_acl: Option<Arc<[Acl]>>,
    command_retry: Retry,
    /// Dropped with the last clone.
    closer: Arc<Closer>,
}

/// A handle on a client that does not keep it: for callbacks and tasks that must not hold up the end of
/// their own client. From [`Client::downgrade`].
///
/// ```no_run
/// # fn example(zk: zk_client::Client) {
/// let weak = zk.downgrade();
/// zk.add_listener(move |state| {
///     if let Some(zk) = weak.upgrade() {
///         println!("session {:?} is {state}", zk.session_id());
///     }
/// });
/// # }
/// ```
#[derive(Clone)]
pub struct WeakClient {
    inner: Weak<ClientInner>,
    chroot: Chroot,
    default_acl: Option<Arc<[Acl]>>,
    command_retry: Retry,
    closer: Weak<Closer>,
}

impl WeakClient {
    /// The client, if any clone of it is left.
    #[must_use]
    pub fn upgrade(&self) -> Option<Client> {
        Some(Client {
            closer: self.closer.upgrade()?,
            inner: self.inner.upgrade()?,
            chroot: self.chroot.clone(),
            default_acl: self.default_acl.clone(),
            command_retry: self.command_retry.clone(),
        })
    }
}

impl fmt::Debug for WeakClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakClient").field("chroot", &self.chroot).finish_non_exhaustive()
    }
}

/// Closes the session when the last client is gone.
struct Closer(Arc<ClientInner>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

impl Client {
    pub(crate) fn new(
        inner: Arc<ClientInner>,
        chroot: Chroot,
        default_acl: Option<Arc<[Acl]>>,
        command_retry: Retry,
    ) -> Self {
        let closer = Arc::new(Closer(inner.clone()));
        Self { inner, chroot, default_acl, command_retry, closer }
    }

    /// A handle that does not keep the client: its session is closed when the last clone is dropped.
    #[must_use]
    pub fn downgrade(&self) -> WeakClient {
        WeakClient {
            inner: Arc::downgrade(&self.inner),
            chroot: self.chroot.clone(),
            default_acl: self.default_acl.clone(),
            command_retry: self.command_retry.clone(),
            closer: Arc::downgrade(&self.closer),
        }
    }

    pub(crate) const fn shared(&self) -> &Arc<ClientInner> {
        &self.inner
    }

    pub(crate) const fn default_acl(&self) -> Option<&Arc<[Acl]>> {
        self.default_acl.as_ref()
    }

    // ---- life without waiting ---------------------------------------------------------------------

    /// Starts to connect, and returns an event that happens when there is a session: kazoo's
    /// `start_async`. It does not happen when [`start`](Self::start) fails.
    pub fn start_async(&self) -> Event {
        let (started, event) =
            (self.start(), Event::of_client(self.inner.dispatcher.completions.clone()));
        let happened = event.clone();
        self.inner.spawn(async move {
            if started.await.is_ok() {
                happened.set();
            }
        });
        event
    }

    // ---- state ------------------------------------------------------------------------------------

    /// How the session stands.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.inner.lock().lifecycle.session.state()
    }

    /// The state of the connection.
    #[doc(alias = "client_state")]
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.inner.lock().lifecycle.session.connection_state()
    }

    /// Whether there is a connection, read-only or not.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.state().is_connected()
    }

    /// The session's number, which nodes of its own have as `ephemeral_owner`; `None` without a session:
    /// before the first connection, and after a stop.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.inner.lock().lifecycle.session.session_id()
    }

    /// The session timeout that the server granted; before that, the one to ask for.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.inner.lock().lifecycle.session.session_timeout()
    }

    /// What it takes to go on with this session in another client: see [`ClientBuilder::client_id`](crate::ClientBuilder::client_id).
    /// `None` without a session that can be gone on with: before the first connection, and after a stop.
    #[must_use]
    pub fn client_id(&self) -> Option<SessionTicket> {
        self.inner.lock().lifecycle.session.ticket()
    }

    /// The server of the present connection, or of the last attempt at one.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.inner.lock().lifecycle.session.host().map(ToString::to_string)
    }

    /// For how much longer the servers surely keep the session, were the connection to be cut now:
    /// judged from when the last packet was sent that they acknowledged. Zero without a connection.
    ///
    /// A server that has lost its leader goes on answering until it notices, for `syncLimit` times
    /// `tickTime` at most (10 s with ZooKeeper's sample settings), while a leader may end the session: what
    /// must not happen even then needs a lock's fencing token.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.inner.held_for(|_| true)
    }

    // ---- listeners --------------------------------------------------------------------------------

    /// Has `listener` called with every change of [`state`](Self::state) from now on: each once, in
    /// order, off the client's I/O, on the queue of completions. It may block; then later callbacks
    /// wait.
    ///
    /// ```no_run
    /// # fn example(zk: zk_client::Client) {
    /// zk.add_listener(|state| println!("the session is {state}"));
    /// # }
    /// ```
    pub fn add_listener(
        &self,
        mut listener: impl FnMut(SessionState) + Send + 'static,
    ) -> ListenerId {
        self.add_listener_while(move |state| {
            listener(state);
            true
        })
    }

    /// As [`add_listener`](Self::add_listener), until `listener` returns false.
    pub fn add_listener_while(
        &self,
        listener: impl FnMut(SessionState) -> bool + Send + 'static,
    ) -> ListenerId {
        self.listeners().add(Box::new(listener))
    }

    /// Removes a listener; says whether it was there. Once this has returned no call of it begins, not
    /// even for a change that was queued for it; a call that is running goes on.
    pub fn remove_listener(&self, listener: ListenerId) -> bool {
        self.listeners().remove(listener)
    }

    /// The changes of [`state`](Self::state) from now on, as a stream. It ends when the client has
    /// stopped.
    #[must_use]
    pub fn states(&self) -> States {
        self.listeners().stream(self.inner.dispatcher.completions.clone())
    }

    fn listeners(&self) -> &Listeners {
        &self.inner.dispatcher.listeners
    }

    /// The policy of [`retry`](Self::retry).
    pub const fn command_retry(&self) -> &Retry {
        &self.command_retry
    }

    // ---- work of one's own --------------------------------------------------------------------------

    /// Runs `task` on the client's runtime, whichever that is, and returns a handle on its result.
    /// It goes on when the handle is dropped.
    pub fn spawn<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.inner.spawn_task(task)
    }

    /// As [`spawn`](Self::spawn); the task is given an event that is set when its handle is cancelled
    /// or dropped, so that it can stop and undo what it did.
    pub fn spawn_cancellable<T, R>(&self, task: impl FnOnce(Event) -> R) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let abandon = Event::new();
        self.inner.spawn_task(task(abandon.clone())).abandoned_by(abandon)
    }

    /// As [`spawn_cancellable`](Self::spawn_cancellable), for a task that is a request.
    pub(crate) fn request_cancellable<T, R>(&self, task: impl FnOnce(Event) -> R) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let abandon = Event::new();
        self.inner.spawn_request(task(abandon.clone())).abandoned_by(abandon)
    }

    /// Completes after `duration`, by the client's runtime, wherever it is awaited; at once when that
    /// runtime has ended.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (inner, due) = (self.inner.clone(), self.inner.now().after(duration));
        let slept = self.spawn_cancellable(move |abandon| async move {
            unless(&Stop::on(abandon), inner.sleep_until(due)).await;
            Ok(())
        });
        async {
            let _ = slept.await;
        }
    }

    // ---- settings that change ---------------------------------------------------------------------

    /// Removes a credential that was given to the [builder](crate::ClientBuilder::auth) or to
    /// [`add_auth`](Self::add_auth), for all later connections and sessions; says whether it was there.
    /// The present connection keeps what it was given, as the protocol has no way to take it back.
    ///
    /// So a client whose credentials were refused is started with others:
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// zk.remove_auth("digest", "app:old password");
    /// drop(zk.add_auth("digest", "app:new password")); // for the next session: it cannot fail
    /// zk.start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_auth(&self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> bool {
        let credential = Credential::new(scheme, auth);
        self.inner.with_lifecycle(|lifecycle, _| lifecycle.remove_auth(&credential))
    }

    /// The hosts of the ensemble, as they were given last.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostPort> {
        self.inner.lock().lifecycle.session.config().hosts.clone()
    }

    /// Another list of hosts, as in [`ClientBuilder::hosts`](crate::ClientBuilder::hosts), with this client's chroot or without one. The
    /// connection is left only if its host is no more in the list.
    ///
    /// # Errors
    /// When `hosts` is no such list, or has another chroot.
    pub fn set_hosts(&self, hosts: &str) -> Result<(), Error> {
        let hosts: ConnectString = hosts.parse()?;
        if !hosts.chroot().is_root() && *hosts.chroot() != self.chroot {
            return Err(Error::invalid(format!(
                "the chroot of a client cannot change: it is {}",
                self.chroot.as_str()
            )));
        }
        let hosts = hosts.into_parts().0;
        self.inner.with_lifecycle(|lifecycle, now| lifecycle.set_hosts(now, hosts));
        Ok(())
    }

    /// What all paths of this client are below.
    #[must_use]
    pub const fn chroot(&self) -> &Chroot {
        &self.chroot
    }

    /// A path as this client has it, of one as the servers have it: kazoo's `unchroot`. Those that are not
    /// below the chroot stay as they are.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), zk_client::Error> {
    /// let zk = zk_client::Client::connect("127.0.0.1:2181/app").await?;
    /// assert_eq!(zk.unchroot("/app/config"), "/config");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn unchroot<'p>(&self, path: &'p str) -> &'p str {
        self.chroot.strip(path).unwrap_or(path)
    }

    /// A client on the same session whose root is `path` of this one.
    ///
    /// # Errors
    /// When `path` is none.
    pub fn with_chroot(&self, path: &str) -> Result<Self, Error> {
        let new = |path: &str| Chroot::new(path).map_err(|error| Error::bad_path(error, None));
        let below = new(path)?;
        let chroot = new(&self.chroot.join(below.as_str()))?;
        Ok(Self { chroot, ..self.clone() })
    }
}

with_blocking! { impl Client {
    /// Starts to connect; the result is there when there is a connection. Without effect on a client that
    /// runs. A client that was stopped begins a new session.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) when there is no connection within
    /// [`connect_timeout`](crate::ClientBuilder::connect_timeout), with what went wrong last: a client that did
    /// not run before is stopped then. [`AuthFailed`](crate::ErrorKind::AuthFailed) when the credentials
    /// are refused. A server that demands credentials that were not added
    /// (`zookeeper.enforce.auth.enabled`, `zookeeper.sessionRequireClientSASLAuth`) says so only at the
    /// first request or ping: the session is [`Lost`](SessionState::Lost) then, and calls fail as `AuthFailed`.
    pub fn start(&self) -> AsyncResult<()> {
        self.inner.start()
    }

    /// Closes the session: calls made before are done first, then the server is told, and ephemeral
    /// nodes go at once. Without a connection the client stops right away, and the server is left to
    /// find out by the session timeout. Without effect on a client that does not run.
    ///
    /// # Errors
    /// When the runtime ended meanwhile.
    pub fn stop(&self) -> AsyncResult<()> {
        self.inner.stop()
    }

    /// Stops and starts: a new session.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self) -> AsyncResult<()> {
        drop(self.stop());
        self.start()
    }

    /// Adds a credential to the session, for now and for all later connections. Calls made after this
    /// have it. What is given while the client is stopped, or about to stop, is for its next session. One
    /// that was added before is not sent again.
    ///
    /// # Errors
    /// [`AuthFailed`](crate::ErrorKind::AuthFailed) when the server refuses it: the session is of no
    /// more use then, and its state is [`Lost`](SessionState::Lost). Before it is
    /// [started](Self::start) again, [remove](Self::remove_auth) the credential.
    pub fn add_auth(&self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> AsyncResult<()> {
        self.inner.add_auth(Credential::new(scheme, auth))
    }
} }

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("runtime", &self.inner.runtime_name())
            .field("state", &self.state())
            .field("session", &self.session_id())
            .field("chroot", &self.chroot)
            .finish_non_exhaustive()
    }
}
