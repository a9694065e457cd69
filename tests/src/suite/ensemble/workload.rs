//! A workload that increments a counter without pause, and a log to check it with.
//!
//! Each write is a transaction. It sets the counter to the next number, with a version check, and creates a
//! log node that names the attempt. So the log says which attempts were applied and in which order, whatever
//! results the calls had.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use zk_client::{
    AsyncResult, Client, CreateMode, Error, ErrorCode, ErrorKind, Outcome, TransactionResults,
};
use zk_handler::Handler;

use super::context::{EnsembleContext, is_connection_loss};

const COUNTER: &str = "/workload";
const LOG: &str = "/log";

/// The maximum number of writes in flight.
const WINDOW: usize = 200;

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteResult {
    Acknowledged,
    /// Not applied.
    NotDone,
    /// Applied once or not at all.
    Unknown,
}

/// One write.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The new value of the counter.
    number: i32,
    fate: WriteResult,
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// A writer, and a reader that checks that the counter never decreases.
pub(super) struct CounterWorkload {
    progress: Arc<Progress>,
    written: Pin<Box<dyn Future<Output = Vec<Attempt>> + Send>>,
    read: Pin<Box<dyn Future<Output = usize> + Send>>,
}

/// A summary to print.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
pub(super) struct WorkloadSummary {
    pub(super) acknowledged: usize,
    /// Writes with an unknown outcome, and how many of them were applied.
    pub(super) unknown: usize,
    pub(super) unknown_done: usize,
    pub(super) not_done: usize,
    pub(super) reads: usize,
}

impl CounterWorkload {
    /// Writes every `interval` with `zk`, and reads with `reader`.
    pub(super) async fn start<H: Handler>(
        ctx: &EnsembleContext<H>,
        zk: &Client,
        reader: &Client,
        interval: Duration,
    ) -> Self {
        for path in [COUNTER, LOG] {
            zk.create(path, b"0", CreateMode::Persistent).await.expect("the node is new");
        }
        let progress = Arc::<Progress>::default();
        let handler = || ctx.handler.clone();
        let writing = write(handler(), zk.clone(), progress.clone(), interval);
        let reading = read(handler(), reader.clone(), progress.clone(), interval);
        let written = ctx.spawn(writing);
        let read = ctx.spawn(reading);
        Self { progress, written, read }
    }

    /// Waits until `by` more writes are acknowledged.
    pub(super) fn advance<'s, H: Handler>(
        &self,
        ctx: &'s EnsembleContext<H>,
        by: usize,
    ) -> impl Future<Output = ()> + use<'s, H> {
        let progress = self.progress.clone();
        let acknowledged = move || progress.acknowledged.load(Ordering::Relaxed);
        let goal = acknowledged() + by;
        async move {
            while acknowledged() < goal {
                ctx.sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Ends the workload and checks the log.
    pub(super) async fn finish<H: Handler>(
        self,
        ctx: &EnsembleContext<H>,
        zk: &Client,
    ) -> WorkloadSummary {
        self.progress.stop.store(true, Ordering::Relaxed);
        let attempts = ctx.within("the writer to end", self.written).await;
        let reads = ctx.within("the reader to end", self.read).await;
        ctx.within("the log to be checked", check(zk, &attempts, reads)).await
    }
}

async fn write<H: Handler>(
    handler: H,
    zk: Client,
    progress: Arc<Progress>,
    interval: Duration,
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut due = handler.now();
    let stop = || progress.stop.load(Ordering::Relaxed);
    while !stop() {
        // Writes are pipelined until one fails. Then all writes in flight are awaited.
        let mut number = settled_value(&zk).await;
        let mut under_way = VecDeque::new();
        let mut failed = false;
        loop {
            if !failed && !stop() && under_way.len() < WINDOW {
                number += 1;
                under_way
                    .push_back((number, write_one(&zk, number, attempts.len() + under_way.len())));
            }
            due = (due + interval).max(handler.now());
            if !failed && !stop() {
                handler.sleep_until(due).await;
            }
            while under_way.front().is_some_and(|(_, result)| failed || stop() || result.ready()) {
                let Some((number, result)) = under_way.pop_front() else { break };
                let fate = fate(result.await, failed);
                if fate == WriteResult::Acknowledged {
                    progress.acknowledged.fetch_add(1, Ordering::Relaxed);
                } else {
                    failed = true;
                }
                attempts.push(Attempt { number, fate });
            }
            if (failed || stop()) && under_way.is_empty() {
                break;
            }
        }
    }
    attempts
}

fn write_one(zk: &Client, number: i32, attempt: usize) -> AsyncResult<TransactionResults> {
    zk.transaction()
        .set(COUNTER, number.to_string(), number - 1)
        .create(format!("{LOG}/{number}"), attempt.to_string(), CreateMode::Persistent)
        .commit()
}

/// Classifies a result. Once a write has `failed`, the writes that follow it fail as well.
fn fate(result: Result<TransactionResults, Error>, failed: bool) -> WriteResult {
    let error = match result.and_then(TransactionResults::committed) {
        Ok(_) => return WriteResult::Acknowledged,
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::ConnectionLoss if error.outcome() == Some(Outcome::NotSent) => {
            WriteResult::NotDone
        }
        ErrorKind::ConnectionLoss if error.outcome() == Some(Outcome::Unknown) => {
            WriteResult::Unknown
        }
        ErrorKind::Server(ErrorCode::BadVersion) if failed => WriteResult::NotDone,
        _ => panic!("a write failed with {error:?} (others before it: {failed})"),
    }
}

/// The counter after every earlier write is applied or never will be: the leader accepts no more requests
/// that the session sent through its former server, and `sync` waits for those that it has accepted.
async fn settled_value(zk: &Client) -> i32 {
    let settle = async || {
        zk.sync(COUNTER).await?;
        zk.get(COUNTER).await
    };
    loop {
        match settle().await {
            Ok((data, stat)) => {
                assert_eq!(data, stat.version.to_string(), "one number for each version");
                return stat.version;
            }
            Err(error) => assert!(is_connection_loss(&error), "{error}"),
        }
    }
}

async fn read<H: Handler>(
    handler: H,
    zk: Client,
    progress: Arc<Progress>,
    interval: Duration,
) -> usize {
    let mut last = 0;
    let mut reads = 0;
    while !progress.stop.load(Ordering::Relaxed) {
        match zk.get(COUNTER).await {
            Ok((_, stat)) => {
                assert!(stat.version >= last, "{} is read after {last}", stat.version);
                last = stat.version;
                reads += 1;
            }
            Err(error) => assert!(is_connection_loss(&error), "{error}"),
        }
        handler.sleep_until(handler.now() + interval).await;
    }
    reads
}

/// Compares the applied attempts with their results.
async fn check(zk: &Client, attempts: &[Attempt], reads: usize) -> WorkloadSummary {
    let last = settled_value(zk).await;
    let names = zk.get_children(LOG).await.expect("the log is there");
    assert_eq!(names.len(), usize::try_from(last).expect("it counts up"), "one node a number");
    let log: Vec<_> =
        (1..=last).map(|number| (number, zk.get(format!("{LOG}/{number}")))).collect();
    let mut applied = HashMap::new();
    for (number, entry) in log {
        let (data, _) = entry.await.unwrap_or_else(|error| panic!("number {number}: {error}"));
        let attempt: usize = str::from_utf8(&data).expect("text").parse().expect("a number");
        assert_eq!(applied.insert(attempt, number), None, "attempt {attempt} was applied twice");
    }
    let count = |fate| attempts.iter().filter(|attempt| attempt.fate == fate).count();
    let mut unknown_done = 0;
    for (index, attempt) in attempts.iter().enumerate() {
        let number = applied.remove(&index);
        match attempt.fate {
            WriteResult::Acknowledged => {
                assert_eq!(number, Some(attempt.number), "lost: {attempt:?}")
            }
            WriteResult::NotDone => assert_eq!(number, None, "done all the same: {attempt:?}"),
            WriteResult::Unknown => unknown_done += usize::from(number == Some(attempt.number)),
        }
    }
    assert!(applied.is_empty(), "applied without an attempt: {applied:?}");
    WorkloadSummary {
        acknowledged: count(WriteResult::Acknowledged),
        unknown: count(WriteResult::Unknown),
        unknown_done,
        not_done: count(WriteResult::NotDone),
        reads,
    }
}
