//! What every handler must do, as tests that any handler can run with one line.
//!
//! In the handler's crate, `zk-handler` is a dev-dependency with the feature `conformance`, and
//! `tests/conformance.rs` says:
//!
//! ```ignore
//! zk_handler::conformance!(my_runtime, MyHandler::new());
//! ```
//!
//! That makes a module `my_runtime` with a `#[test]` for each of the functions below, twice:
//! - `outside::*` is started from a plain thread that knows nothing of the runtime, as a program's `main`
//!   is;
//! - `inside::*` is started from within. By default that is from a dispatched job, where callbacks run.
//!   A runtime that one can be inside of otherwise says how:
//!
//! ```ignore
//! zk_handler::conformance!(my_runtime, MyHandler::new(), inside: |_, check| block_on(async { check() }));
//! ```
//!
//! A handler that is not for the world of sockets and threads, such as that of a simulation, runs those checks
//! that it can, from outside, and names them: `only: timer_never_fires_early task_can_be_spawned_from_tasks`.
//!
//! A runtime that has a pool of threads for its users' blocking work has one check more, which wants to be told
//! how to fill that pool: [`works_while_the_pool_is_full`].
//!
//! The expression for the handler is evaluated for every test; it may well be the same runtime each time.
//! The checks see the handler as the client does, through its trait, and talk to the tasks that they spawn
//! through channels. Whoever waits, waits for a limited time, and says what for.

mod jobs;
mod net;
mod pool;
mod tasks;
mod time;
mod util;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

pub use self::{jobs::*, net::*, pool::*, tasks::*, time::*};
use crate::Handler;

/// A check on its way into a runtime. It blocks until it is done.
pub type Check = Box<dyn FnOnce() + Send>;

/// How long a check may take, all in all.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs `check` on `handler` from a thread of its own, by way of `surroundings`.
///
/// # Panics
/// When the check fails.
pub fn run<H: Handler>(handler: H, surroundings: fn(&H, Check), check: fn(H)) {
    let (done, outcome) = channel();
    let name = thread::current().name().unwrap_or("conformance").to_owned();
    let thread = thread::Builder::new().name(name).spawn(move || {
        let subject = handler.clone();
        let check = move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(|| check(subject))));
        };
        surroundings(&handler, Box::new(check));
    });
    thread.expect("a thread for the check");
    match outcome.recv_timeout(LIMIT) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("the check did not end within {LIMIT:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("the runtime dropped the check"),
    }
}

/// The surroundings of a plain thread.
#[doc(hidden)]
pub fn outside<H: Handler>(_: &H, check: Check) {
    check();
}

/// Takes `check` inside by `enter`.
#[doc(hidden)]
pub fn inside<H: Handler>(handler: &H, check: Check, enter: impl FnOnce(&H, Check)) {
    enter(handler, check);
}

/// Makes tests of all checks in the [`conformance`](mod@crate::conformance) module.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $handler:expr $(,)?) => {
        $crate::conformance!($name, $handler, inside: |handler, check| handler.dispatch(check));
    };
    ($name:ident, $handler:expr, only: $($check:ident)+) => {
        mod $name {
            fn handler() -> impl $crate::Handler {
                #[allow(unused_imports)]
                use super::*;
                $handler
            }

            mod outside {
                $crate::__conformance_tests! { $crate::conformance::outside => $($check)+ }
            }
        }
    };
    ($name:ident, $handler:expr, inside: $enter:expr $(,)?) => {
        mod $name {
            fn handler() -> impl $crate::Handler {
                #[allow(unused_imports)]
                use super::*;
                $handler
            }

            fn inside<H: $crate::Handler>(handler: &H, check: $crate::conformance::Check) {
                #[allow(unused_imports)]
                use super::*;
                $crate::conformance::inside(handler, check, $enter);
            }

            mod outside {
                $crate::__conformance_tests!($crate::conformance::outside);
            }

            mod inside {
                $crate::__conformance_tests!(super::inside);
            }
        }
    };
}

/// The list of checks.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($surroundings:path) => {
        $crate::__conformance_tests! { $surroundings =>
            handler_has_a_name
            handler_can_be_dropped_with_work_in_flight

            connect_carries_bytes_both_ways
            connect_sets_nodelay
            connect_works_over_ipv6
            connect_to_a_closed_port_is_refused
            connect_can_be_cancelled
            connect_handles_a_thousand_connections
            stream_fills_buffers_exactly
            stream_ends_after_its_last_bytes
            stream_survives_half_close_by_the_peer
            stream_can_be_half_closed
            stream_reset_by_the_peer_does_not_hang
            stream_applies_backpressure
            stream_carries_megabytes_both_ways
            stream_closes_when_dropped
            stream_can_move_between_tasks
            resolve_returns_literal_addresses_at_once
            resolve_agrees_with_the_system
            resolve_fails_for_an_unknown_host
            resolve_can_be_cancelled

            clock_never_goes_back
            clock_is_shared_by_clones
            timer_never_fires_early
            timers_fire_in_order
            timer_with_a_nearer_deadline_fires_first
            timer_in_the_past_fires_at_once
            timer_in_the_far_future_is_accepted
            timer_can_be_cancelled
            timer_can_move_between_tasks
            timers_scale_to_ten_thousand

            task_can_be_spawned_from_threads
            task_can_be_spawned_from_tasks
            task_outlives_its_handler
            task_is_dropped_when_it_ends
            task_panic_does_not_affect_others
            task_can_be_woken_from_a_thread
            task_can_be_woken_while_it_runs
            task_can_be_woken_by_many_threads_at_once
            tasks_scale_to_ten_thousand
            tasks_that_yield_do_not_starve_others

            job_runs_off_the_tasks
            job_can_spawn_and_dispatch
            job_panic_does_not_affect_others
            job_may_block
            jobs_can_all_block_at_once
            callback_queue_keeps_the_order
            callback_queue_survives_panics
            callback_queue_is_independent_of_others
            callback_queue_accepts_jobs_from_its_jobs
            callback_queue_can_be_dropped
        }
    };
    ($surroundings:path => $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $crate::conformance::run(
                    super::handler(),
                    $surroundings,
                    $crate::conformance::$check,
                );
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// Every check is in the list above.
    #[test]
    fn list_is_complete() {
        let (_, list) = include_str!("mod.rs").split_once("__conformance_tests {").unwrap();
        let listed: Vec<_> = list.split_whitespace().collect();
        let sources = [
            include_str!("jobs.rs"),
            include_str!("net.rs"),
            include_str!("tasks.rs"),
            include_str!("time.rs"),
        ];
        for source in sources {
            for check in source.split("\npub fn ").skip(1) {
                let (name, _) = check.split_once('<').unwrap();
                assert!(listed.contains(&name), "{name} is not in the list");
            }
        }
    }
}
