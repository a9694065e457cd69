//! The conformance suite on the handler of the simulation, which runs at the speed of real time beside the threads of
//! the checks.
//!
//! Left out are checks that open real sockets (`connect_*`, `stream_*`, `resolve_*` and three of tasks), and checks
//! with callbacks that block, since a simulation has only one thread.

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
    task_is_dropped_when_it_ends
    task_panic_does_not_affect_others
    task_can_be_woken_from_a_thread
    task_can_be_woken_while_it_runs
    task_can_be_woken_by_many_threads_at_once
    tasks_scale_to_ten_thousand
    job_can_spawn_and_dispatch
    job_panic_does_not_affect_others
    callback_queue_keeps_the_order
    callback_queue_survives_panics
    callback_queue_accepts_jobs_from_its_jobs
    callback_queue_can_be_dropped
);
