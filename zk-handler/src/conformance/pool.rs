//! The test that a handler does not depend on the runtime's pool of threads for blocking work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
};

use super::{
    Check,
    util::{Gate, echo, echo_back, pair, recv, run, spawn},
};
use crate::{CallbackQueue, Handler};

/// Names are resolved, connections opened, and callbacks run while all threads of the runtime's pool for blocking work
/// are blocked.
///
/// `fill` passes a job to that pool: `|job| drop(handle.spawn_blocking(job))`. It is called 600 times, which is more than
/// the default number of threads of tokio's pool and of the crate `blocking`. This test is not part of
/// [`conformance!`](crate::conformance!), since it depends on the pool.
///
/// # Panics
/// If the test fails.
pub fn works_while_the_pool_is_full<H: Handler>(handler: H, fill: impl Fn(Check)) {
    const JOBS: usize = 600;
    let gate = Gate::default();
    let ended = Arc::new(AtomicUsize::new(0));
    let (begun, begins) = channel();
    for _ in 0..JOBS {
        let (gate, begun, ended) = (gate.clone(), begun.clone(), ended.clone());
        fill(Box::new(move || {
            let _ = begun.send(());
            gate.block();
            ended.fetch_add(1, Ordering::Relaxed);
        }));
    }
    recv(&begins, "a job in the pool");

    let inside = handler.clone();
    let resolving = spawn(&handler, async move { inside.resolve("localhost", 2181).await });
    assert!(!recv(&resolving, "a name").expect("localhost").is_empty());

    let (mut stream, peer) = pair(&handler);
    let echoing = thread::spawn(move || echo_back(peer));
    run(&handler, "a connection", async move { echo(&mut stream, 10).await.expect("an echo") });
    echoing.join().expect("the peer").expect("the peer");

    let queues: Vec<_> =
        (0..40).map(|_| CallbackQueue::new("behind a full pool", handler.clone())).collect();
    let (called, calls) = channel();
    for queue in &queues {
        let (gate, called) = (gate.clone(), called.clone());
        queue.push(move || {
            let _ = called.send(());
            gate.block();
        });
    }
    for number in 0..queues.len() {
        recv(&calls, &format!("callback {number}, beside others that block"));
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0, "the jobs in the pool did not block");
    gate.open();
}
