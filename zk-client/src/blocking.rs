//! The client for threads: the same calls, which block the thread and return their results.
//!
//! No `.await` and no executor are needed:
//!
//! ```no_run
//! use zk_client::{CreateMode, Error, blocking::Client};
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
//! Each type here wraps the type of the same name of the async surface. There is one implementation: a call here makes
//! the async call of the same name and waits for its [`AsyncResult`](crate::AsyncResult). To send several calls before
//! waiting for the first result, make them through [`Client::as_async`]. Recipes are in [`recipes`].
//!
//! Use it in threads and callbacks, not in tasks of an async runtime. A call that would block such a task panics where
//! that can be detected: see [`AsyncResult::get`](crate::AsyncResult::get).

pub use crate::{
    client::blocking::Client, multi_read::blocking::MultiRead, transaction::blocking::Transaction,
};

/// Recipes whose calls block the thread.
///
/// ```no_run
/// use zk_client::{Error, blocking::{Client, recipes::Lock}};
///
/// # fn example(zk: Client) -> Result<(), Error> {
/// let guard = Lock::new(&zk, "/locks/report").acquire()?;
/// // … one process at a time does this …
/// guard.release()?;
/// # Ok(())
/// # }
/// ```
///
/// The guarantees are those of the same [recipes](crate::recipes) of the async surface. Options, the values that recipes
/// return, and watches that call a callback are the same types.
pub mod recipes {
    pub use crate::recipes::{
        Children, ChildrenWatch, ChildrenWatchOptions, DataWatch, LockOptions, NodeData,
        SemaphoreOptions, Watcher,
        lock::blocking::{Lock, LockGuard, ReadLock, WriteLock},
        semaphore::blocking::{Lease, Semaphore},
        watchers::blocking::patient_children_watch,
    };
}
