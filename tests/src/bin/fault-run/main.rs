//! Twenty clients on four runtimes contend for one lock on an ensemble of three servers, while servers are
//! killed and paused, connections are cut and stalled, sessions are closed, and client processes are paused.
//!
//! ```sh
//! cargo run -p zk-tests --bin fault-run -- --seconds 600
//! cargo run -p zk-tests --bin fault-run -- --lock no-own-node # a faulty lock, which must be detected
//! ```
//!
//! `--seed N` repeats the sequence of faults (not their timing). `--clients N` sets the number of clients of
//! each of the four processes (default 5). The program prints a summary, and fails if an invariant is
//! violated:
//!
//! - The fencing tokens of writes under the lock never decrease, in the order of the ensemble.
//! - No two holders are sure of the lock at the same time of the clock that all processes share.
//! - After the faults, every client acquires the lock again.
//! - At the end there is no node below the lock and no watch on any server, and no process has more tasks,
//!   threads or file descriptors than before.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that events")]

mod checker;
mod event;
mod faults;
mod held_lock;
mod worker;

use std::{env, process::ExitCode, time::Duration};

use faults::FaultPlan;
use held_lock::LockKind;

/// The session timeout.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// The path of the lock.
const LOCK: &str = "/fault-run/lock";
/// The node that the holder writes to.
const FENCED: &str = "/fault-run/fenced";

struct Options {
    plan: FaultPlan,
    lock: LockKind,
    clients: usize,
    /// The runtime and the connect string, in a worker.
    worker: Option<(String, String)>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self {
            plan: FaultPlan { seed: fastrand::u64(..), duration: Duration::from_secs(60) },
            lock: LockKind::Correct,
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
