//! Tasks, timers and processes under simulated time. It knows no network and no servers.

mod process;
mod run;
mod scheduler;

pub(crate) use run::{Environment, Executor};
pub(crate) use scheduler::{Delays, ROOT_PROCESS, Scheduler};
