//! What happens, and what must hold.

mod locks;
mod outages;
mod session;
mod watchers;

use crate::Sim;

pub use locks::locks;
pub use outages::outages;
pub use session::session;
pub use watchers::watchers;

/// A world: what it is called, and how it runs.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Its name.
    pub name: &'static str,
    /// Runs it to its end, or to the first thing that breaks.
    pub run: fn(&Sim) -> Result<(), String>,
}

/// All of them.
pub const WORLDS: &[World] = &[
    World { name: "session", run: session },
    World { name: "locks", run: locks },
    World { name: "watchers", run: watchers },
    World { name: "outages", run: outages },
];
