//! [`Held`], an ephemeral node whose existence is a right: a lock, a lease.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use zk_proto::{records::Stat, session::SessionId};

use crate::{
    AsyncResult, Client, Event, SessionState, States, Transaction,
    from_reply::is_no_node,
    retrying::retry_transient,
    stop::{Stop, first_of, until_stopped},
};

use super::{Callback, delete};

/// A node of this client's session, deleted when this is dropped.
pub(super) struct Held {
    client: Client,
    path: String,
    session: SessionId,
    czxid: i64,
    released: AtomicBool,
    lost: Event,
    /// Ends the tasks that wait for the loss.
    over: Event,
}

impl Held {
    /// The node at `path`, as `stat` has it.
    pub(super) fn new(client: &Client, path: impl Into<String>, stat: &Stat) -> Arc<Self> {
        let held = Arc::new(Self {
            client: client.clone(),
            path: path.into(),
            session: SessionId(stat.ephemeral_owner),
            czxid: stat.czxid,
            released: AtomicBool::new(false),
            lost: Event::of_client(client.inner().dispatcher.completions.clone()),
            over: Event::new(),
        });
        let mut changes = held.changes();
        let (lost, over) = (held.lost.clone(), held.over.clone());
        let (owner, path, czxid) = (client.clone(), held.path.clone(), held.czxid);
        drop(client.spawn(async move {
            let expired = async {
                loop {
                    match changes.next().await {
                        SessionState::Lost => break,
                        // What is held is in doubt until the client is back: a call has it come back at
                        // once, idle or not.
                        SessionState::Suspended => drop(owner.exists(&path)),
                        _ => {}
                    }
                }
            };
            let ended = first_of(expired, gone(&owner, &path, czxid));
            // The own release is no loss; it comes before its event does.
            if until_stopped(&Stop::on(over.clone()), ended).await.is_some() && !over.is_set() {
                lost.set();
            }
            Ok(())
        }));
        held
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held_for().is_zero()
    }

    pub(super) fn held_for(&self) -> Duration {
        if self.released.load(Ordering::Acquire) || self.lost.is_set() {
            return Duration::ZERO;
        }
        self.client.inner().held_for(|session| session == self.session)
    }

    fn is_lost(&self) -> bool {
        self.lost.is_set() || self.client.session_id() != Some(self.session)
    }

    pub(super) const fn lost(&self) -> &Event {
        &self.lost
    }

    pub(super) fn suspended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.changes();
        async move {
            changes.next().await;
        }
    }

    pub(super) fn on_change(&self, mut callback: impl FnMut(SessionState) + Send + 'static) {
        let (mut changes, stop) = (self.changes(), Stop::on(self.over.clone()));
        let callback = Callback::new(&self.client, self.over.clone(), move |state| {
            callback(state);
            state != SessionState::Lost
        });
        drop(self.client.spawn(async move {
            while let Some(state) = until_stopped(&stop, changes.next()).await {
                if !callback.tell(state).await {
                    break;
                }
            }
            Ok(())
        }));
    }

    fn changes(&self) -> Changes {
        let states = self.client.states();
        let now = if self.is_lost() { SessionState::Lost } else { self.client.state() };
        Changes { states, lost: self.lost.clone(), now: Some(now), told: SessionState::Connected }
    }

    pub(super) const fn czxid(&self) -> i64 {
        self.czxid
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn transaction(&self) -> Transaction {
        Transaction::new(self.client.clone()).guarded(&self.path)
    }

    /// Deletes the node, in a task of its own.
    pub(super) fn release(&self) -> AsyncResult<()> {
        self.over.set();
        self.released.store(true, Ordering::Release);
        delete(&self.client, self.path.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.released.load(Ordering::Acquire) {
            drop(self.release());
        }
    }
}

/// For how long something is held before its node is watched. What is given back sooner, as most locks in a
/// crowd are, costs the servers no request and no event for it.
const UNWATCHED: Duration = Duration::from_millis(100);

/// Completes when the node that the transaction `czxid` made at `path` is no more; never, if it may not be
/// read, or the session is over.
async fn gone(client: &Client, path: &str, czxid: i64) {
    client.inner().sleep(UNWATCHED).await;
    loop {
        match retry_transient(client, |zk| zk.get_and_watch(path)).await {
            Ok((_, stat, watch)) if stat.czxid == czxid => drop(watch.await),
            Ok(_) => return,
            Err(error) if is_no_node(&error) => return,
            Err(error) => {
                tracing::debug!(path, %error, "a node that is held cannot be watched");
                return pending().await;
            }
        }
    }
}

/// The changes of the session's state since there was a connection last, each once. The first one lost
/// ends what is held; so does the loss of the node.
struct Changes {
    states: States,
    lost: Event,
    /// The state when this began, still to be looked at.
    now: Option<SessionState>,
    told: SessionState,
}

impl Changes {
    async fn next(&mut self) -> SessionState {
        loop {
            let state = match self.now.take() {
                Some(state) => state,
                None => {
                    let lost = async {
                        self.lost.happened().await;
                        SessionState::Lost
                    };
                    let changed =
                        async { self.states.changed().await.unwrap_or(SessionState::Lost) };
                    first_of(changed, lost).await
                }
            };
            if state != self.told {
                self.told = state;
                return state;
            }
        }
    }
}

/// Defines a guard: the type that shows that something, which the documentation calls `$what`, is held. The file's
/// module `blocking` declares its blocking form.
macro_rules! guard {
    ($(#[$meta:meta])* pub struct $name:ident, of $what:literal) => {
        $(#[$meta])*
        #[derive(Clone)]
        #[must_use = "it is released when this is dropped"]
        pub struct $name(std::sync::Arc<$crate::recipes::held::Held>);

        $crate::surfaces::with_blocking! { impl $name {

            #[doc = concat!("Whether ", $what, " is held for sure, by this side's clock: it was not")]
            /// released, its session has not expired, and could not have by now even if nothing more
            /// reached the servers. [`Client::held_for`](crate::Client::held_for) tells of the one exception;
            /// and that somebody has deleted its node is known only when [`lost`](Self::lost) tells.
            #[must_use]
            pub fn is_held(&self) -> bool {
                self.0.is_held()
            }

            #[doc = concat!("For how much longer ", $what, " is held for sure, were the connection cut now.")]
            #[must_use]
            pub fn held_for(&self) -> std::time::Duration {
                self.0.held_for()
            }

            #[doc = concat!("Happens when ", $what, " is lost: with its session, or because somebody")]
            /// has deleted its node. The node is watched once it has been there for 100 ms; one that its own
            /// client may not read is not.
            #[must_use]
            pub fn lost(&self) -> &$crate::Event {
                self.0.lost()
            }

            #[doc = concat!("Completes when the connection is lost, or ", $what, " is: at once if it is just now.")]
            pub fn suspended(&self) -> impl Future<Output = ()> + Send + use<> {
                self.0.suspended()
            }

            /// Has `callback` called with each change of the session's state, to the loss or the release:
            /// [`Suspended`](crate::SessionState::Suspended) when the connection is lost,
            /// [`Connected`](crate::SessionState::Connected) when it is back in time,
            /// [`Lost`](crate::SessionState::Lost) when the session has expired, or the node was deleted; at once
            /// if it is not connected just now. It runs on the client's queue of watches.
            pub fn on_change(&self, callback: impl FnMut($crate::SessionState) + Send + 'static) {
                self.0.on_change(callback);
            }

            #[doc = concat!("The path of the node of ", $what, ".")]
            #[must_use]
            pub fn path(&self) -> &str {
                self.0.path()
            }

            #[doc = concat!("Begins a transaction that is done only if ", $what, " is held when the")]
            /// servers do it. Otherwise it fails with [`NoNode`](crate::ErrorCode::NoNode) for its first
            /// operation, which looks for the node at [`path`](Self::path).
            pub fn transaction(&self) -> Transaction {
                self.0.transaction()
            }

            #[doc = concat!("Gives up ", $what, ".")]
            ///
            /// Its node is deleted whether or not the result is waited for, over reconnects if need be.
            ///
            /// # Errors
            /// When the client may not delete the node.
            pub fn release(self) -> AsyncResult<()> {
                self.0.release()
            }
        } }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({}, held: {})", stringify!($name), self.path(), self.is_held())
            }
        }
    };
}
pub(super) use guard;
