//! Twenty clients on four runtimes contend for one lock on an ensemble of three servers, while servers are
//! killed and paused, connections are cut and held up, and sessions and whole processes die or sleep.
//!
//! ```sh
//! cargo run -p zk-tests --bin fault-run -- --seconds 600
//! cargo run -p zk-tests --bin fault-run -- --lock no-own-node   # a lock that lies: must be found out
//! ```
//!
//! `--seed N` repeats the plan of the faults (not their timing), `--clients N` says how many clients each
//! of the four processes has (default 5). It prints what was done, and ends with an error if an invariant
//! was broken:
//!
//! - the writes under the lock, in the ensemble's own order, have fencing tokens that never decrease;
//! - no two holders were sure of the lock at the same moment of the clock that all processes share;
//! - when the faults are over, every client gets the lock again;
//! - at the end there is no node below the lock, no watch on any server, and in no process a task, a
//!   thread or a file descriptor more than before.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that events")]

mod checker;
mod event;
mod faults;
mod held_lock;
mod worker;

use std::{env, process::ExitCode, time::Duration};

use faults::FaultPlan;
use held_lock::LockKind;

/// What the session timeout is, on both sides.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// What the clients contend for.
const LOCK: &str = "/fault-run/lock";
/// What the holder writes to.
const FENCED: &str = "/fault-run/fenced";

struct Options {
    plan: FaultPlan,
    lock: LockKind,
    clients: usize,
    /// In a worker: which runtime, on which servers.
    worker: Option<(String, String)>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            plan: FaultPlan { seed: fastrand::u64(..), duration: Duration::from_secs(60) },
            lock: LockKind::Ours,
            clients: 5,
            worker: None,
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{text}?"));
            match &*arg {
                "--seconds" => options.plan.duration = Duration::from_secs(number(value())),
                "--seed" => options.plan.seed = number(value()),
                "--clients" => options.clients = value().parse().expect("a number of clients"),
                "--lock" => options.lock = value().parse().expect("a kind of lock"),
                "--worker" => options.worker = Some((value(), value())),
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn main() -> ExitCode {
    let options = Options::from_args();
    if let Some((runtime, hosts)) = options.worker {
        worker::run(&runtime, &hosts, options.clients, options.lock);
        return ExitCode::SUCCESS;
    }
    println!("{} seconds, seed {}", options.plan.duration.as_secs(), options.plan.seed);
    let summary = faults::run(&options.plan, options.lock, options.clients);
    println!("{summary}");
    if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
