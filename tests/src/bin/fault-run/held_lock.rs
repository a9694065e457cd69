//! The lock under test, and two faulty locks: each leaves out one check that the lock makes.

use std::{str::FromStr, time::Duration};

use zk_client::{
    Client, CreateOptions, Error, ErrorKind, Transaction,
    recipes::{Lock, LockGuard, LockOptions},
};

use crate::LOCK;

/// The timeout of an acquire. Giving up is one of the faults.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The kind of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// The lock under test.
    Correct,
    /// It acquires without checking its own node, which may have been deleted with an earlier session.
    NoOwnNode,
    /// It claims to be held until it is released, even if the session has expired.
    NoSession,
}

impl LockKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::NoOwnNode => "no-own-node",
            Self::NoSession => "no-session",
        }
    }
}

impl FromStr for LockKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Correct, Self::NoOwnNode, Self::NoSession]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("no lock {name}"))
    }
}

/// A lock that is held.
pub(crate) enum HeldLock {
    Correct(LockGuard),
    Faulty { zk: Client, kind: LockKind, node: String, session: i64, token: i64 },
}

impl HeldLock {
    /// Acquires the lock, or fails after a timeout.
    pub(crate) async fn take(zk: &Client, kind: LockKind, identifier: &str) -> Result<Self, Error> {
        if kind == LockKind::Correct {
            let options = LockOptions::default().identifier(identifier);
            return Lock::with_options(zk, LOCK, options)
                .acquire_timeout(TIMEOUT)
                .await
                .map(Self::Correct);
        }
        'anew: loop {
            let options = CreateOptions::ephemeral().sequence();
            let (node, stat) =
                zk.create_with_stat(format!("{LOCK}/n"), identifier, options).await?;
            let own = node.rsplit('/').next().unwrap_or_default();
            loop {
                let children = match zk.get_children(LOCK).await {
                    Err(error) if error.kind() == ErrorKind::ConnectionLoss => continue,
                    children => children?,
                };
                if kind != LockKind::NoOwnNode && !children.iter().any(|child| **child == *own) {
                    continue 'anew;
                }
                let lower = children.iter().filter(|child| ***child < *own);
                let Some(before) = lower.max_by(|a, b| a.as_str().cmp(b.as_str())) else {
                    let (node, token) = (node.as_str().to_owned(), stat.czxid);
                    // This is the bug of one faulty lock: its node may have been deleted with an earlier
                    // session.
                    let session = zk.session_id().map_or(0, |session| session.0);
                    return Ok(Self::Faulty { zk: zk.clone(), kind, node, session, token });
                };
                let watching = zk.exists_and_watch(format!("{LOCK}/{before}")).await;
                let watched = match watching {
                    Ok((None, _)) => continue,
                    Ok((Some(_), watch)) => watch.await.map(drop),
                    Err(error) => Err(error),
                };
                match watched.map_err(|error| (error.kind(), error)) {
                    Err((ErrorKind::SessionExpired | ErrorKind::ConnectionLoss, _)) => {}
                    watched => watched.map_err(|(_, error)| error)?,
                }
            }
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        match self {
            Self::Correct(guard) => guard.is_held(),
            Self::Faulty { kind: LockKind::NoSession, .. } => true,
            Self::Faulty { zk, session, .. } => {
                zk.session_id().is_some_and(|id| id.0 == *session) && !zk.held_for().is_zero()
            }
        }
    }

    pub(crate) fn token(&self) -> i64 {
        match self {
            Self::Correct(guard) => guard.fencing_token(),
            Self::Faulty { token, .. } => *token,
        }
    }

    /// A transaction that is applied only if the lock's node exists.
    pub(crate) fn transaction(&self) -> Transaction {
        match self {
            Self::Correct(guard) => guard.transaction(),
            Self::Faulty { zk, node, .. } => zk.transaction().check(node, 0),
        }
    }

    /// Releases the lock without waiting for the result.
    pub(crate) fn abandon(self) {
        match self {
            Self::Correct(guard) => drop(guard),
            Self::Faulty { zk, node, .. } => drop(zk.delete(node, None)),
        }
    }

    pub(crate) async fn release(self) -> Result<(), Error> {
        match self {
            Self::Correct(guard) => guard.release().await,
            Self::Faulty { zk, node, .. } => zk.delete(node, None).await,
        }
    }
}
