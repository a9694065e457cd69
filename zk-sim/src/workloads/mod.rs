//! What clients do, and what must hold.

mod locks;
mod outages;
mod persistent_watches;
mod session;
mod watchers;

use crate::Sim;

pub use locks::locks;
pub use outages::outages;
pub use persistent_watches::persistent_watches;
pub use session::session;
pub use watchers::watchers;

/// A workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Runs it to its end. Returns what does not hold.
    pub run: fn(&Sim) -> Result<(), String>,
}

/// All workloads.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "session", run: session },
    Workload { name: "locks", run: locks },
    Workload { name: "watchers", run: watchers },
    Workload { name: "persistent-watches", run: persistent_watches },
    Workload { name: "outages", run: outages },
];
