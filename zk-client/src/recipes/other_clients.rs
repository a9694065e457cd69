//! What other clients keep at a path that cannot be shared with them.

use crate::{Error, Ustring};

/// What Curator's `InterProcessSemaphoreV2` and `InterProcessSemaphoreMutex` keep those in who wait, and those
/// who hold.
const SEMAPHORE_V2: [&str; 2] = ["locks", "leases"];
/// What has them.
const SEMAPHORE_V2_NAME: &str = "an InterProcessSemaphoreV2 or InterProcessSemaphoreMutex";
/// How the nodes begin that Curator and go-zookeeper make for themselves.
const PROTECTED: &str = "_c_";

/// Refuses the path of a semaphore of Curator's: contenders beside it would not exclude anybody.
///
/// # Errors
/// If `children` are those of one.
pub(super) fn refuse_semaphore_v2(path: &str, children: &[Ustring]) -> Result<(), Error> {
    if SEMAPHORE_V2.iter().all(|own| children.iter().any(|name| name == own)) {
        return Err(not_shared(path, SEMAPHORE_V2_NAME));
    }
    Ok(())
}

/// Refuses a semaphore at a path where Curator or go-zookeeper has nodes: they would count as leases.
///
/// # Errors
/// If there is one among `leases`.
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
