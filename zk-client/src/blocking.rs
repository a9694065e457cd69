//! The client for threads: the same calls, which wait for their results.
//!
//! It reads as kazoo does; no `.await`, no executor in sight:
//!
//! ```no_run
//! use zk_client::{CreateMode, Error, OPEN_ACL_UNSAFE, blocking::Client};
//!
//! # #[cfg(feature = "thread")]
//! fn main() -> Result<(), Error> {
//!     let zk = Client::connect("127.0.0.1:2181")?;
//!     zk.create("/a", b"hello", CreateMode::Persistent)?;
//!     let (data, stat) = zk.get("/a")?;
//!     println!("{data:?} {stat:?}");
//!     zk.stop()
//! }
//! # #[cfg(not(feature = "thread"))]
//! # fn main() {}
//! ```
//!
//! There is one implementation: each call here makes the call of the same name of [`crate::Client`] and
//! waits for its [`AsyncResult`](crate::AsyncResult). To send several calls before waiting for the first
//! result, as with kazoo's `get_async`, make them through [`Client::as_async`].
//!
//! [Transactions](Client::transaction) and [recipes](crate::recipes) that are made with this client wait
//! as well: `Lock::new(&zk, "/lock").acquire()?`.
//!
//! It is for threads and callbacks, not for tasks of an async runtime: a call that would block a task panics where
//! that can be known, see [`AsyncResult::get`](crate::AsyncResult::get).

use std::ops::Deref;

use crate::{Error, Transaction};

#[cfg(feature = "thread")]
use crate::ClientBuilder;

/// Defines calls of both clients: as it stands here for [`crate::Client`], and waiting for the result for
/// [`Client`].
macro_rules! faces {
    ($(
        $(#[$meta:meta])*
        pub fn $name:ident(&$this:ident $(, $argument:ident: $type:ty)* $(,)?)
            -> AsyncResult<$value:ty> $body:block
    )*) => {
        impl $crate::Client {
            $(
                $(#[$meta])*
                pub fn $name(&$this $(, $argument: $type)*) -> AsyncResult<$value> $body
            )*
        }

        impl $crate::blocking::Client {
            $(
                #[doc = concat!(
                    "Does what [`", stringify!($name), "`](crate::Client::", stringify!($name),
                    ") does, and waits for the result."
                )]
                ///
                /// # Errors
                #[doc = concat!("As [`", stringify!($name), "`](crate::Client::", stringify!($name), ").")]
                #[track_caller]
                pub fn $name(&$this $(, $argument: $type)*) -> Result<$value, $crate::Error> {
                    $this.as_async().$name($($argument),*).get()
                }
            )*
        }
    };
}
pub(crate) use faces;

/// A client whose calls wait for their results. See the [module](self).
///
/// All that does not wait, such as [`state`](crate::Client::state) and
/// [`add_listener`](crate::Client::add_listener), it takes from [`crate::Client`].
#[derive(Debug, Clone)]
pub struct Client(crate::Client);

impl Client {
    /// Connects to `hosts` with the defaults, on a thread of its own.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    #[cfg(feature = "thread")]
    pub fn connect(hosts: impl Into<String>) -> Result<Self, Error> {
        Self::builder().hosts(hosts).connect_blocking()
    }

    /// A builder with the defaults; it wants [hosts](ClientBuilder::hosts), and ends with
    /// [`connect_blocking`](ClientBuilder::connect_blocking).
    #[cfg(feature = "thread")]
    pub fn builder() -> ClientBuilder {
        crate::Client::builder()
    }

    /// The same client, for calls that do not wait.
    #[must_use]
    pub const fn as_async(&self) -> &crate::Client {
        &self.0
    }

    /// Begins a transaction: operations that are done all or not at all.
    pub fn transaction(&self) -> Transaction<Self> {
        Transaction::new(self.0.clone())
    }

    /// Calls `call` until it succeeds, or the client's policy
    /// ([`command_retry`](crate::ClientBuilder::command_retry)) gives up. See [`Retry`](crate::Retry)
    /// for what is tried again.
    ///
    /// # Errors
    /// The error of the last try.
    pub fn retry<T>(&self, call: impl FnMut(&Self) -> Result<T, Error>) -> Result<T, Error> {
        self.0.command_retry().call_blocking(self, call)
    }

    /// A client on the same session whose root is `path` of this one.
    ///
    /// # Errors
    /// When `path` is none.
    pub fn with_chroot(&self, path: &str) -> Result<Self, Error> {
        self.0.with_chroot(path).map(Self)
    }
}

impl From<crate::Client> for Client {
    /// The same client, for calls that wait.
    fn from(client: crate::Client) -> Self {
        Self(client)
    }
}

impl Deref for Client {
    type Target = crate::Client;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
