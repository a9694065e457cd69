//! What the benchmarks share: clients behind one trait, the load that they are put under, servers to
//! put them before, and what they cost.

mod load;
mod peer;
mod server;
mod stub;
mod usage;

pub use load::{Load, Until, keep_under_way};
pub use peer::{Ours, Peer, Theirs};
pub use server::{DATA_LEN, LARGE_LEN, LARGE_PATH, PATH, Server};
pub use stub::serve_if_asked;
pub use usage::{Usage, median, percentile};

/// Runs `task` in a tokio runtime with so many `workers`; with none, in this thread alone.
///
/// # Panics
/// When there can be no runtime.
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
    // As a task: what `block_on` itself is given does not run on a worker.
    runtime.block_on(async { tokio::spawn(task).await.expect("the task does not panic") })
}
