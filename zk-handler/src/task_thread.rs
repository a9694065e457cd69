//! Marks for threads that run tasks and so must not block.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
};

thread_local!(static IS_TASK_THREAD: Cell<bool> = const { Cell::new(false) });

/// Marks the calling thread as one that runs the tasks of a runtime. The mark lasts until the thread ends.
///
/// For runtimes that can run code when one of their threads starts. [`mark_polling_threads`] is for the others.
pub fn mark_task_thread() {
    IS_TASK_THREAD.set(true);
}

/// Returns whether the calling thread was marked by [`mark_task_thread`] or [`mark_polling_threads`].
#[must_use]
pub fn is_task_thread() -> bool {
    IS_TASK_THREAD.get()
}

/// Runs `task`, and [marks](mark_task_thread) every thread that polls it.
///
/// For runtimes whose threads run nothing but tasks, and cannot be marked when they start: wrap each task in it that is
/// spawned. The future is as cancel-safe as `task`.
pub async fn mark_polling_threads<F: Future>(task: F) -> F::Output {
    let mut task = pin!(task);
    poll_fn(|context| {
        mark_task_thread();
        task.as_mut().poll(context)
    })
    .await
}
