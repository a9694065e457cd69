//! The conformance suite: the tests that every [`Handler`] must pass, for any handler to run with one line.
//!
//! In the crate of the handler, make `zk-handler` a dev-dependency with the feature `conformance`, and write in
//! `tests/conformance.rs`:
//!
//! ```ignore
//! zk_handler::conformance!(my_runtime, MyHandler::new());
//! ```
//!
//! This creates a module `my_runtime` with two `#[test]`s for each of the functions below:
//! - `outside::*` runs on a plain thread that does not belong to the runtime, like the `main` of a program.
//! - `inside::*` runs inside the runtime: by default in a dispatched job, where callbacks run. If the runtime can be
//!   entered in another way, pass that:
//!
//! ```ignore
//! zk_handler::conformance!(my_runtime, MyHandler::new(), inside: |_, check| block_on(async { check() }));
//! ```
//!
//! A handler without real sockets and threads, such as that of a simulation, can run a selection of the tests, from
//! outside: `only: timer_never_fires_early task_can_be_spawned_from_tasks`.
//!
//! If the runtime has a pool of threads for blocking work, add the test [`works_while_the_pool_is_full`], which needs to
//! know how to fill the pool.
//!
//! The expression of the handler is evaluated for each test. It may refer to the same runtime each time. The tests use the
//! handler as the client does, through its trait. They take a few seconds. All waits have a timeout, and a test that fails
//! says what it was waiting for.
//!
//! A minor version may add, rename or remove tests.

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

/// A test that is to be run inside a runtime. It blocks the thread until it is done.
pub type Check = Box<dyn FnOnce() + Send>;

/// The timeout of a test.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs `check` with `handler` on a new thread, in the context that `enter` provides.
///
/// # Panics
/// If the test fails.
pub fn run<H: Handler>(handler: H, enter: fn(&H, Check), check: fn(H)) {
    let (done, result) = channel();
    let name = thread::current().name().unwrap_or("conformance").to_owned();
    let thread = thread::Builder::new().name(name).spawn(move || {
        let subject = handler.clone();
        let check = move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(|| check(subject))));
        };
        enter(&handler, Box::new(check));
    });
    thread.expect("a thread for the test");
    match result.recv_timeout(LIMIT) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("the test did not end within {LIMIT:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("the runtime dropped the test"),
    }
}

/// Runs `check` on the calling thread.
#[doc(hidden)]
pub fn outside<H: Handler>(_: &H, check: Check) {
    check();
}

/// Runs `check` inside the runtime, by `enter`.
#[doc(hidden)]
pub fn inside<H: Handler>(handler: &H, check: Check, enter: impl FnOnce(&H, Check)) {
    enter(handler, check);
}

/// Creates the tests of the [`conformance`](mod@crate::conformance) suite for a handler.
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

/// The list of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($enter:path) => {
        $crate::__conformance_tests! { $enter =>
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
    ($enter:path => $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $crate::conformance::run(
                    super::handler(),
                    $enter,
                    $crate::conformance::$check,
                );
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// Every test is in the list above.
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
