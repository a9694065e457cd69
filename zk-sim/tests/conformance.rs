//! The handler of the simulation, put through what it can be of the conformance suite, at the speed of the real
//! time beside the threads that check it.
//!
//! The checks that are left out open real sockets (`connect_*`, `stream_*`, `resolve_*`, and three of tasks),
//! or have callbacks that block, for which the one thread of a simulation has no others.

use std::{
    thread,
    time::{Duration, Instant},
};

use zk_sim::{Sim, SimHandler};

/// Longer than a check may take.
const LIMIT: Duration = Duration::from_secs(300);

fn handler() -> SimHandler {
    let sim = Sim::new(0, None);
    let handler = sim.process();
    let begun = Instant::now();
    thread::spawn(move || sim.run_in_real_time(|| begun.elapsed() > LIMIT));
    handler
}

zk_handler::conformance!(simulation, handler(), only:
    handler_has_a_name
    clock_never_goes_back
    clock_is_shared_by_clones
    timer_is_never_early
    timer_goes_off_in_order
    timer_that_is_nearer_overtakes
    timer_in_the_past_goes_off_at_once
    timer_in_the_far_future_does_no_harm
    timer_may_be_dropped
    timer_moves_between_tasks
    timers_by_the_thousand
    task_spawned_from_threads
    task_spawned_from_tasks
    task_is_dropped_when_it_ends
    task_that_panics_harms_no_other
    task_woken_from_a_thread
    task_woken_while_it_runs
    task_woken_by_many_at_once
    tasks_by_the_thousand
    job_may_spawn_and_dispatch
    job_that_panics_harms_no_other
    lane_keeps_the_order
    lane_survives_panics
    lane_takes_jobs_from_its_jobs
    lane_may_be_dropped
);
