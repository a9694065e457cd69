//! Which threads run tasks, and so must not be blocked.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
};

thread_local!(static RUNS_TASKS: Cell<bool> = const { Cell::new(false) });

/// Notes that the calling thread belongs to a runtime and runs its tasks for as long as it lives.
pub fn mark_task_thread() {
    RUNS_TASKS.set(true);
}

/// Whether the calling thread was [marked](mark_task_thread) as one that runs tasks.
#[must_use]
pub fn is_task_thread() -> bool {
    RUNS_TASKS.get()
}

/// `task`, which [marks](mark_task_thread) each thread that it runs on: for runtimes whose threads run tasks and do
/// nothing else, and cannot be marked when they begin.
pub async fn mark_polling_threads<F: Future>(task: F) -> F::Output {
    let mut task = pin!(task);
    poll_fn(|context| {
        mark_task_thread();
        task.as_mut().poll(context)
    })
    .await
}
