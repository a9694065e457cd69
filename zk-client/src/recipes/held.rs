//! [`Held`], an ephemeral node whose existence is a right: a lock, a lease.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use zk_proto::{records::Stat, session::SessionId};

use crate::{AsyncResult, Client, Event, State, Transaction};

use super::{Stop, delete_own, unless};

/// A node of this client's session, deleted when this is dropped.
pub(super) struct Held {
    client: Client,
    path: String,
    session: SessionId,
    czxid: i64,
    released: AtomicBool,
    lost: Event,
    /// Ends the task that waits for the loss.
    over: Event,
}

impl Held {
    /// The node at `path`, as `stat` has it.
    pub(super) fn new(client: &Client, path: String, stat: &Stat) -> Arc<Self> {
        let held = Arc::new(Self {
            client: client.clone(),
            path,
            session: SessionId(stat.ephemeral_owner),
            czxid: stat.czxid,
            released: AtomicBool::new(false),
            lost: Event::new(),
            over: Event::new(),
        });
        let mut states = client.states();
        let (lost, over) = (held.lost.clone(), held.over.clone());
        if client.session_id() == Some(held.session) {
            drop(client.spawn(async move {
                let stop = Stop::on(over);
                while let Some(Some(state)) = unless(&stop, states.changed()).await {
                    if state == State::Lost {
                        lost.set();
                        break;
                    }
                }
                Ok(())
            }));
        } else {
            lost.set();
        }
        held
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held_for().is_zero()
    }

    pub(super) fn held_for(&self) -> Duration {
        let gone = self.released.load(Ordering::Acquire)
            || self.lost.is_set()
            || self.client.session_id() != Some(self.session);
        if gone { Duration::ZERO } else { self.client.held_for() }
    }

    pub(super) const fn lost(&self) -> &Event {
        &self.lost
    }

    pub(super) const fn czxid(&self) -> i64 {
        self.czxid
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn transaction(&self) -> Transaction {
        self.client.transaction().check(&self.path, 0)
    }

    /// Deletes the node, once, in a task of its own.
    pub(super) fn release(&self) -> AsyncResult<()> {
        self.over.set();
        let first = !self.released.swap(true, Ordering::AcqRel);
        let (client, path) = (self.client.clone(), self.path.clone());
        self.client
            .spawn(async move { if first { delete_own(&client, &path).await } else { Ok(()) } })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.released.load(Ordering::Acquire) {
            drop(self.release());
        }
    }
}
