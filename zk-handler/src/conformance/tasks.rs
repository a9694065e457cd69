//! Tasks and wakers.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use super::util::{Gate, echo, echo_back, expect, pair, read, run, sleep, spawn, yield_now};
use crate::Handler;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The handler has a name for logs.
pub fn handler_has_a_name<H: Handler>(handler: H) {
    assert!(!handler.name().is_empty());
}

/// Whoever drops the handler does not wait for what is still going on.
pub fn handler_may_be_dropped_with_work_in_flight<H: Handler>(handler: H) {
    let (mut stream, _peer) = pair(&handler);
    let (dropped, drops) = channel();
    let inside = handler.clone();
    let running = Gate::default();
    let (started, starts) = channel();
    handler.spawn({
        let (inside, started) = (handler.clone(), started.clone());
        async move {
            let _ = started.send(());
            sleep(&inside, Duration::from_secs(100_000)).await;
        }
    });
    handler.spawn({
        let started = started.clone();
        async move {
            let _ = started.send(());
            let _ = read(&mut stream, &mut [0]).await;
        }
    });
    handler.dispatch({
        let running = running.clone();
        move || {
            let _ = started.send(());
            running.pass();
        }
    });
    for _ in 0..3 {
        expect(&starts, "work in flight");
    }
    thread::spawn(move || {
        drop(handler);
        drop(inside);
        let _ = dropped.send(());
    });
    expect(&drops, "to drop the handler");
    running.open();
}

/// Tasks may be spawned from any thread, and all run.
pub fn task_spawned_from_threads<H: Handler>(handler: H) {
    let (ran, runs) = channel();
    for thread in 0..8_usize {
        let (handler, ran) = (handler.clone(), ran.clone());
        thread::spawn(move || {
            for number in 0..250 {
                let ran = ran.clone();
                handler.spawn(async move {
                    let _ = ran.send(thread * 250 + number);
                });
            }
        });
    }
    let mut all: Vec<_> = (0..2000).map(|_| expect(&runs, "all tasks")).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2000), "a task ran twice");
}

/// Tasks may be spawned from tasks.
pub fn task_spawned_from_tasks<H: Handler>(handler: H) {
    fn descend<H: Handler>(handler: H, depth: usize, done: std::sync::mpsc::Sender<usize>) {
        handler.clone().spawn(async move {
            if depth == 0 {
                let _ = done.send(0);
                return;
            }
            let _ = done.send(depth);
            descend(handler, depth - 1, done);
        });
    }
    let (done, depths) = channel();
    descend(handler, 500, done);
    for depth in (0..=500).rev() {
        assert_eq!(expect(&depths, "the next task"), depth);
    }
}

/// A task runs to its end when nobody is left who has the handler.
pub fn task_runs_without_its_handler<H: Handler>(handler: H) {
    let (stream, peer) = pair(&handler);
    let timer = handler.sleep_until_from_within();
    let done = spawn(&handler, async move {
        let mut stream = stream;
        timer().await;
        echo(&mut stream, 3).await.map(|_| ())
    });
    drop(handler);
    echo_back(peer).expect("the peer");
    expect(&done, "the task").expect("the task");
}

/// A way to sleep without the handler.
trait SleepWithin: Handler {
    fn sleep_until_from_within(&self) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static;
}
