//! [`Client`]: start and stop, state, listeners, settings.

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
    AsyncResult, Error, Event, ListenerId, Retry, States, inner::ClientInner, listeners::Listeners,
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

/// A ZooKeeper client.
///
/// Clones share one session. The session is closed by [`stop`](Self::stop), or when the last clone is dropped; then its
/// ephemeral nodes are deleted at once.
///
/// Each call sends its request at once and returns a handle, an [`AsyncResult`]. A call that is made while the session is
/// [suspended](SessionState::Suspended) is sent after the reconnect. A call whose reply is lost with the connection fails
/// with [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss), and its [`outcome`](Error::outcome) says whether it was
/// sent. The client never sends a request twice by itself.
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
#[doc(alias = "KazooClient")]
#[derive(Clone)]
pub struct Client {
    inner: Arc<ClientInner>,
    chroot: Chroot,
    default_acl: Option<Arc<[Acl]>>,
    command_retry: Retry,
    /// Dropped with the last clone.
    closer: Arc<Closer>,
}

/// A reference to a client that does not keep it open, from [`Client::downgrade`]. Use it in callbacks and tasks of the
/// client itself, which would otherwise keep it open for ever.
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
    /// Returns the client, if a clone of it still exists.
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

/// Stops the client when its last clone is dropped.
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

    /// Makes a reference that does not keep the client open.
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

    pub(crate) const fn inner(&self) -> &Arc<ClientInner> {
        &self.inner
    }

    pub(crate) const fn default_acl(&self) -> Option<&Arc<[Acl]>> {
        self.default_acl.as_ref()
    }

    // ---- start without waiting --------------------------------------------------------------------

    /// Starts the client, and returns an event that is set when it is connected. If the [start](Self::start) fails, the
    /// event is never set.
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

    /// Returns the state of the session.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.inner.lock().lifecycle.session.state()
    }

    /// Returns the state of the connection.
    #[doc(alias = "client_state")]
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.inner.lock().lifecycle.session.connection_state()
    }

    /// Whether the client is connected, read-only or not.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.state().is_connected()
    }

    /// Returns the session's id, which its ephemeral nodes have as `ephemeral_owner`. `None` if there is no session: before
    /// the first connection, and after a stop.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.inner.lock().lifecycle.session.session_id()
    }

    /// Returns the session timeout that the server granted; before that, the one that the client asks for.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.inner.lock().lifecycle.session.session_timeout()
    }

    /// Returns the id and the password of the session, with which another client can take it over: see
    /// [`ClientBuilder::client_id`](crate::ClientBuilder::client_id). `None` if there is no session: before the first connection, and after a stop.
    #[must_use]
    pub fn client_id(&self) -> Option<SessionTicket> {
        self.inner.lock().lifecycle.session.ticket()
    }

    /// Returns the server of the present connection, or of the last attempt to connect.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.inner.lock().lifecycle.session.host().map(ToString::to_string)
    }

    /// Returns for how much longer the servers certainly keep the session, even if the connection is lost now. It counts
    /// from when the last packet was sent that a server has acknowledged. Zero if the client is not connected.
    ///
    /// There is one exception. A server that has lost its leader goes on replying until it notices, for at most `syncLimit`
    /// times `tickTime` (10 s with ZooKeeper's sample settings); meanwhile a new leader may end the session. Where this
    /// matters, use a lock's fencing token.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.inner.held_for(|_| true)
    }

    // ---- listeners --------------------------------------------------------------------------------

    /// Adds a listener, which is called with every change of [`state`](Self::state) from now on, in order.
    ///
    /// Listeners run in the same callback queue as callbacks of results. A listener may block, which delays later callbacks.
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

    /// Adds a listener as [`add_listener`](Self::add_listener) does, and removes it when it returns false.
    pub fn add_listener_while(
        &self,
        listener: impl FnMut(SessionState) -> bool + Send + 'static,
    ) -> ListenerId {
        self.listeners().add(Box::new(listener))
    }

    /// Removes a listener, and returns whether it was there. After this has returned, no call of it begins, not even one
    /// that is queued. A call that is running goes on.
    pub fn remove_listener(&self, listener: ListenerId) -> bool {
        self.listeners().remove(listener)
    }

    /// Returns a stream of the changes of [`state`](Self::state) from now on. It ends when the client has stopped.
    #[must_use]
    pub fn states(&self) -> States {
        self.listeners().stream(self.inner.dispatcher.completions.clone())
    }

    fn listeners(&self) -> &Listeners {
        &self.inner.dispatcher.listeners
    }

    /// Returns the policy of [`retry`](Self::retry).
    pub const fn command_retry(&self) -> &Retry {
        &self.command_retry
    }

    // ---- settings that change ---------------------------------------------------------------------

    /// Removes a credential that was passed to [`ClientBuilder::auth`](crate::ClientBuilder::auth) or
    /// [`add_auth`](Self::add_auth), and returns whether it was there.
    ///
    /// Later connections and sessions do not send it. The server of the present connection knows it until that connection
    /// ends, as the protocol cannot take it back: see [`reconnect`](Self::reconnect).
    ///
    /// This is how a client whose credentials were refused starts with others:
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// zk.remove_auth("digest", "app:old password");
    /// drop(zk.add_auth("digest", "app:new password")); // for the next session: this cannot fail
    /// zk.start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_auth(&self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> bool {
        let credential = Credential::new(scheme, auth);
        self.inner.with_lifecycle(|lifecycle, _| lifecycle.remove_auth(&credential))
    }

    /// Sets how later connections and sessions log in with SASL; `None` for not at all. The present connection stays as it
    /// is.
    ///
    /// This is how a client that was refused starts with other options:
    ///
    #[cfg_attr(
        feature = "sasl-digest-md5",
        doc = "```no_run
# async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
use zk_client::SaslOptions;

zk.set_sasl(SaslOptions::digest_md5(\"bob\", \"his new password\"));
zk.start().await?;
# Ok(())
# }
```"
    )]
    pub fn set_sasl(&self, options: impl Into<Option<crate::SaslOptions>>) {
        self.inner.set_sasl(options.into());
    }

    /// Returns the hosts of the ensemble, as they were set last.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostPort> {
        self.inner.lock().lifecycle.session.config().hosts.clone()
    }

    /// Sets the hosts of the ensemble, in the form of [`ClientBuilder::hosts`](crate::ClientBuilder::hosts), with this client's chroot or without a chroot.
    ///
    /// If the host of the present connection is not in the list, the client connects to another one at once.
    ///
    /// The load of the servers stays even, as with the Java client. If the list has become longer, each client moves to an
    /// added host with the probability that evens out the load: 1 - old length / new length. It finds out first whether
    /// that host answers, and stays if not. The calls that were made are answered before it moves, and the session goes on:
    /// it is [`Suspended`](SessionState::Suspended) and [`Connected`](SessionState::Connected) again. If the list has not
    /// become longer, only the clients of removed hosts move. A client without a connection tries added hosts first.
    /// With [`randomize_hosts(false)`](crate::ClientBuilder::randomize_hosts), a client whose host is still listed stays.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `hosts` is not valid, or has another chroot.
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

    /// Returns the chroot: all paths of this client are below it.
    #[must_use]
    pub const fn chroot(&self) -> &Chroot {
        &self.chroot
    }

    /// Converts a path of the servers to a path of this client: removes the chroot. A path that is not below the chroot is
    /// returned as it is.
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

    /// Makes a client on the same session whose root is `path` of this client.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `path` is not valid.
    pub fn with_chroot(&self, path: &str) -> Result<Self, Error> {
        let new = |path: &str| Chroot::new(path).map_err(|error| Error::bad_path(error, None));
        let below = new(path)?;
        let chroot = new(&self.chroot.join(below.as_str()))?;
        Ok(Self { chroot, ..self.clone() })
    }
}

with_blocking! { impl Client {
    /// Starts the client: it connects, and keeps itself connected.
    ///
    /// The handle completes when the client is connected. If the client runs already, it only waits for the connection. A
    /// client that was stopped begins a new session.
    ///
    /// # Errors
    /// - [`Timeout`](crate::ErrorKind::Timeout) if the client is not connected within
    ///   [`connect_timeout`](crate::ClientBuilder::connect_timeout). The text says what went wrong last. A client that was not
    ///   connected before is stopped.
    /// - [`AuthFailed`](crate::ErrorKind::AuthFailed) if the server refuses the credentials, or the login with
    ///   [SASL](crate::sasl) fails.
    ///
    /// A server that demands credentials that were not added
    /// (`zookeeper.enforce.auth.enabled`, `zookeeper.sessionRequireClientSASLAuth`) says so only at the
    /// first request or ping. Then the session is [`Lost`](SessionState::Lost), and calls fail with `AuthFailed`.
    pub fn start(&self) -> AsyncResult<()> {
        self.inner.start()
    }

    /// Stops the client: it closes the session, and the servers delete its ephemeral nodes at once.
    ///
    /// Calls that were made before are sent and completed first. If the client is not connected, it stops at once, and the
    /// servers end the session when its timeout has passed. A client that does not run is not changed.
    ///
    /// # Errors
    /// [`Runtime`](crate::ErrorKind::Runtime) if the runtime ends meanwhile.
    pub fn stop(&self) -> AsyncResult<()> {
        self.inner.stop()
    }

    /// Stops the client and starts it again, with a new session.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&self) -> AsyncResult<()> {
        drop(self.stop());
        self.start()
    }

    /// Adds a credential to the session, for this connection and all later ones.
    ///
    /// It applies to calls that are made after this one. If the client is stopped or stopping, the credential is for its
    /// next session. A credential that was added before is not sent again.
    ///
    /// # Errors
    /// [`AuthFailed`](crate::ErrorKind::AuthFailed) if the server refuses the credential. Then the session is
    /// [`Lost`](SessionState::Lost). [Remove](Self::remove_auth) the credential before you [start](Self::start) the client
    /// again.
    pub fn add_auth(&self, scheme: impl Into<String>, auth: impl Into<Bytes>) -> AsyncResult<()> {
        self.inner.add_auth(Credential::new(scheme, auth))
    }

    /// Replaces all credentials of a scheme by one, for this connection and all later ones.
    ///
    /// It is [`add_auth`](Self::add_auth) of this credential, and [`remove_auth`](Self::remove_auth) of all others of the
    /// scheme, in one step: no connection begins without one of them. The server of the present connection knows the old
    /// ones as well, until the client [reconnects](Self::reconnect).
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// zk.replace_auth("digest", "app:new password").await?;
    /// zk.reconnect().await?; // now the server knows the new password only
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`add_auth`](Self::add_auth).
    pub fn replace_auth(
        &self,
        scheme: impl Into<String>,
        auth: impl Into<Bytes>,
    ) -> AsyncResult<()> {
        self.inner.replace_auth(Credential::new(scheme, auth))
    }

    /// Moves the session to a new connection to the same server, so that the server forgets what it knew of the old one.
    ///
    /// Servers keep the identities of a connection until it ends. This makes a withdrawn credential ineffective, and takes
    /// up a certificate or a login that has changed meanwhile.
    ///
    /// No call fails by it: calls that were made before are answered first, and later ones wait for the new connection. The
    /// session goes on with its ephemeral nodes and watches, but it is [`Suspended`](SessionState::Suspended) in between,
    /// which is why no other call reconnects by itself. The handle completes when the server has accepted the credentials
    /// of the new connection. If the servers cannot be reached, it waits until they can; if the session expires meanwhile,
    /// it completes with the next session.
    ///
    /// # Errors
    /// - [`AuthFailed`](crate::ErrorKind::AuthFailed) if the server refuses a credential, or demands another one.
    /// - [`ConnectionClosed`](crate::ErrorKind::ConnectionClosed) if the client does not run, or is stopped meanwhile.
    ///
    /// # Cancel safety
    /// If the handle is dropped, the client still reconnects.
    pub fn reconnect(&self) -> AsyncResult<()> {
        self.inner.reconnect()
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
