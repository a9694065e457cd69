//! Refuses paths where other clients keep nodes of a format that cannot be shared with a recipe of this crate.

use crate::{Error, Ustring};

/// The children that Curator's `InterProcessSemaphoreV2` and `InterProcessSemaphoreMutex` create: the parents of
/// waiting contenders, and of leases.
const SEMAPHORE_V2: [&str; 2] = ["locks", "leases"];
/// The recipes that create them.
const SEMAPHORE_V2_NAME: &str = "an InterProcessSemaphoreV2 or InterProcessSemaphoreMutex";
/// The beginning of the names of protected nodes of Curator and go-zookeeper.
const PROTECTED: &str = "_c_";

/// Refuses the path of a semaphore of Curator. Contenders beside it would exclude nobody.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `children` are those of such a semaphore.
pub(super) fn refuse_semaphore_v2(path: &str, children: &[Ustring]) -> Result<(), Error> {
    if SEMAPHORE_V2.iter().all(|own| children.iter().any(|name| name == own)) {
        return Err(not_shared(path, SEMAPHORE_V2_NAME));
    }
    Ok(())
}

/// Refuses a semaphore at a path where Curator or go-zookeeper has nodes. They would count as leases.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if one of `leases` is such a node.
pub(super) fn refuse_leases(path: &str, leases: &[Ustring]) -> Result<(), Error> {
    if leases.iter().any(|name| SEMAPHORE_V2.contains(&name.as_str())) {
        return Err(not_shared(path, SEMAPHORE_V2_NAME));
    }
    match leases.iter().find(|name| name.starts_with(PROTECTED)) {
        Some(name) => Err(not_shared(path, &format!("{name}, a node of its own form"))),
        None => Ok(()),
    }
}

fn not_shared(path: &str, what: &str) -> Error {
    Error::invalid(format!(
        "{path} cannot be shared with another client, such as Curator, that has {what} there: use another path"
    ))
}
