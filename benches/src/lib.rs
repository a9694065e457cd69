//! Shared code of the benchmarks: clients behind one trait, loads, servers, and measurement of resource usage.

mod echo;
mod load;
mod peer;
mod server;
mod stub;
mod usage;

pub use echo::Echo;
pub use load::{Load, Until, keep_in_flight};
pub use peer::{Ours, Peer, Theirs};
pub use server::{DATA_LEN, HUGE_LEN, HUGE_PATH, LARGE_LEN, LARGE_PATH, PATH, Server};
pub use stub::serve_if_asked;
pub use usage::{Usage, median, percentile};

/// Runs `task` on a tokio runtime with this number of `workers`, or on the current thread if it is 0.
///
/// # Panics
/// If the runtime cannot be created.
pub fn block_on<T: Send + 'static>(
    workers: usize,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        workers => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    // As a task, because the future of `block_on` itself does not run on a worker.
    runtime.block_on(async { tokio::spawn(task).await.expect("the task does not panic") })
}
