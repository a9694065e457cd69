//! [`HeldNode`]: an ephemeral node that holds a lock or a lease while it exists, and the guards that own one.
//!
//! [`HeldNode::held_for`] decides whether the lock or lease is held for certain.

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

/// An ephemeral node of this client's session. It is deleted when this is dropped.
pub(super) struct HeldNode {
    client: Client,
    path: String,
    session: SessionId,
    czxid: i64,
    released: AtomicBool,
    lost: Event,
    /// Set on release. It ends the tasks that wait for the loss.
    ended: Event,
}

impl HeldNode {
    /// Takes over the node at `path`, which has just been created with `stat`.
    pub(super) fn new(client: &Client, path: impl Into<String>, stat: &Stat) -> Arc<Self> {
        let held = Arc::new(Self {
            client: client.clone(),
            path: path.into(),
            session: SessionId(stat.ephemeral_owner),
            czxid: stat.czxid,
            released: AtomicBool::new(false),
            lost: Event::of_client(client.inner().dispatcher.completions.clone()),
            ended: Event::new(),
        });
        let mut changes = held.changes();
        let (lost, ended) = (held.lost.clone(), held.ended.clone());
        let (owner, path, czxid) = (client.clone(), held.path.clone(), held.czxid);
        drop(client.spawn(async move {
            let expired = async {
                loop {
                    match changes.next().await {
                        SessionState::Lost => break,
                        // Whether the node still exists is not known until the client is connected again. A call
                        // makes an idle client reconnect at once.
                        SessionState::Suspended => drop(owner.exists(&path)),
                        _ => {}
                    }
                }
            };
            let lost_early = first_of(expired, wait_until_gone(&owner, &path, czxid));
            // A release is not a loss. It sets `ended` before the watch on the deleted node fires.
            if until_stopped(&Stop::on(ended.clone()), lost_early).await.is_some()
                && !ended.is_set()
            {
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
        let (mut changes, stop) = (self.changes(), Stop::on(self.ended.clone()));
        let callback = Callback::new(&self.client, self.ended.clone(), move |state| {
            callback(state);
            state != SessionState::Lost
        });
        drop(self.client.spawn(async move {
            while let Some(state) = until_stopped(&stop, changes.next()).await {
                if !callback.call_with(state).await {
                    break;
                }
            }
            Ok(())
        }));
    }

    fn changes(&self) -> StateChanges {
        let states = self.client.states();
        let now = if self.is_lost() { SessionState::Lost } else { self.client.state() };
        StateChanges {
            states,
            lost: self.lost.clone(),
            now: Some(now),
            told: SessionState::Connected,
        }
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

    /// Deletes the node, in a task.
    pub(super) fn release(&self) -> AsyncResult<()> {
        self.ended.set();
        self.released.store(true, Ordering::Release);
        delete(&self.client, self.path.clone())
    }
}

impl Drop for HeldNode {
    fn drop(&mut self) {
        if !self.released.load(Ordering::Acquire) {
            drop(self.release());
        }
    }
}

/// How long the node exists before it is watched. A lock that is released sooner, as most contended locks are, costs the
/// servers no request and no event for the watch.
const WATCH_AFTER: Duration = Duration::from_millis(100);

/// Waits until the node at `path` that transaction `czxid` created no longer exists. Never completes if the client
/// may not read the node, or if the session has ended.
async fn wait_until_gone(client: &Client, path: &str, czxid: i64) {
    client.inner().sleep(WATCH_AFTER).await;
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

/// The changes of the session state since the client was connected last, each once. The loss of the node is reported as
/// [`SessionState::Lost`].
struct StateChanges {
    states: States,
    lost: Event,
    /// The state at the start, until it has been reported.
    now: Option<SessionState>,
    told: SessionState,
}

impl StateChanges {
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
        pub struct $name(std::sync::Arc<$crate::recipes::held_node::HeldNode>);

        $crate::surfaces::with_blocking! { impl $name {
            #[doc = concat!("Returns whether ", $what, " is held for certain, by the clock of this machine.")]
            ///
            /// True if it was not released, and the servers cannot have expired its session yet, even if they have
            /// received nothing more from this client. [`Client::held_for`](crate::Client::held_for) describes the one
            /// exception. If another client deletes the node, this is false as soon as [`lost`](Self::lost) is set.
            #[must_use]
            pub fn is_held(&self) -> bool {
                self.0.is_held()
            }

            #[doc = concat!("Returns how much longer ", $what, " is held for certain, if the connection were lost now.")]
            #[must_use]
            pub fn held_for(&self) -> std::time::Duration {
                self.0.held_for()
            }

            #[doc = concat!("Returns an event that is set when ", $what, " is lost.")]
            ///
            /// It is lost if the session expires, or if another client deletes the node. The node is watched once it has
            /// existed for 100 ms, unless this client may not read it.
            #[must_use]
            pub fn lost(&self) -> &$crate::Event {
                self.0.lost()
            }

            #[doc = concat!("Waits until the connection or ", $what, " is lost. Completes at once if there is no connection.")]
            ///
            /// Cancel-safe: dropping the future has no effect.
            pub fn suspended(&self) -> impl Future<Output = ()> + Send + use<> {
                self.0.suspended()
            }

            /// Calls `callback` with each change of the session state, until the loss or the release.
            ///
            /// The states are [`Suspended`](crate::SessionState::Suspended) if the connection is lost,
            /// [`Connected`](crate::SessionState::Connected) if it is back in time, and
            /// [`Lost`](crate::SessionState::Lost) if the session has expired or the node was deleted. If the client is
            /// not connected now, the first call comes at once. Calls are made on the client's callback queue for watches.
            pub fn on_change(&self, callback: impl FnMut($crate::SessionState) + Send + 'static) {
                self.0.on_change(callback);
            }

            #[doc = concat!("Returns the path of the node of ", $what, ".")]
            #[must_use]
            pub fn path(&self) -> &str {
                self.0.path()
            }

            #[doc = concat!("Begins a transaction that the servers apply only if ", $what, " is held at that time.")]
            ///
            /// Otherwise it fails with [`NoNode`](crate::ErrorCode::NoNode) for its first operation, which checks that the
            /// node at [`path`](Self::path) exists.
            pub fn transaction(&self) -> Transaction {
                self.0.transaction()
            }

            #[doc = concat!("Releases ", $what, ".")]
            ///
            /// The node is deleted in a task, which goes on over lost connections.
            ///
            /// # Errors
            /// [`NoAuth`](crate::ErrorCode::NoAuth) if the client may not delete the node.
            ///
            /// # Cancel safety
            /// If the result is dropped, the node is deleted all the same.
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
