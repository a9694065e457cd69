//! One process with clients on one runtime. They contend until standard input ends, and print events to
//! standard output.

use std::{
    fs,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use zk_client::{
    Client, Error, ErrorCode, ErrorKind, Handler, OPEN_ACL_UNSAFE, OperationResult, Outcome,
    SessionState,
};
use zk_handler_async_std::AsyncStdHandler;
use zk_handler_smol::SmolHandler;
use zk_handler_thread::ThreadHandler;
use zk_handler_tokio::TokioHandler;
use zk_tests::{CountingHandler, eventually};

use crate::{
    FENCED, SESSION_TIMEOUT,
    event::Event,
    held_lock::{HeldLock, LockKind},
};

/// The time that a client may take to stop.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `clients` clients of `hosts` on `runtime`.
pub(crate) fn run(runtime: &str, hosts: &str, clients: usize, kind: LockKind) {
    match runtime {
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_keep_alive(Duration::from_millis(500))
                .enable_all()
                .build()
                .expect("a runtime");
            run_on(TokioHandler::new(runtime.handle().clone()), hosts, clients, kind);
        }
        "smol" => run_on(SmolHandler, hosts, clients, kind),
        "async-std" => run_on(AsyncStdHandler, hosts, clients, kind),
        "thread" => run_on(ThreadHandler::new(), hosts, clients, kind),
        other => panic!("no runtime {other}"),
    }
}

fn run_on<H: Handler>(handler: H, hosts: &str, clients: usize, kind: LockKind) {
    let handler = CountingHandler::new(handler);
    warm_up(&handler, hosts);
    let before = Usage::now();

    let stopping = Arc::new(AtomicBool::new(false));
    let (done, ends) = mpsc::channel();
    for number in 0..clients {
        let zk = client(hosts).build_on(handler.clone()).expect("the options are good");
        let client =
            LockClient { number, kind, zk, handler: handler.clone(), stopping: stopping.clone() };
        let done = done.clone();
        handler.spawn(async move {
            client.run().await;
            let _ = done.send(());
        });
    }
    let _ = io::stdin().read_to_end(&mut Vec::new());
    stopping.store(true, Ordering::Release);
    for _ in 0..clients {
        ends.recv_timeout(LIMIT).expect("a client does not end");
    }
    let deadline = Instant::now() + LIMIT;
    while handler.tasks() > 0 || !before.covers(&Usage::now()) {
        assert!(
            Instant::now() < deadline,
            "{runtime}: {} tasks are left; {before:?} became {:?}",
            handler.tasks(),
            Usage::now(),
            runtime = handler.name(),
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lets the runtime start the threads that it keeps.
fn warm_up<H: Handler>(handler: &CountingHandler<H>, hosts: &str) {
    let zk = client(hosts).build_on(handler.clone()).expect("the options are good");
    zk.start().get().expect("a session");
    zk.stop().get().expect("a stop");
    drop(zk);
    eventually(LIMIT, "the first client to go", || (handler.tasks() == 0).then_some(()));
}

fn client(hosts: &str) -> zk_client::ClientBuilder {
    Client::builder().hosts(hosts).session_timeout(SESSION_TIMEOUT).default_acl(&OPEN_ACL_UNSAFE)
}

/// The resources of this process that could leak.
#[derive(Debug)]
struct Usage {
    /// The names of the threads, without those that runtimes keep for blocking work.
    threads: Vec<String>,
    files: usize,
}

impl Usage {
    fn now() -> Self {
        let entries = |folder| fs::read_dir(folder).expect("a folder of this process").flatten();
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).ok();
        Self {
            threads: entries("/proc/self/task")
                .filter_map(name)
                .filter(|name| !name.starts_with("blocking-"))
                .collect(),
            files: entries("/proc/self/fd").count(),
        }
    }

    fn covers(&self, later: &Self) -> bool {
        later.threads.len() <= self.threads.len() && later.files <= self.files
    }
}

/// Prints `event`. The output may be closed if the run has ended.
fn emit(event: &Event) {
    let _ = writeln!(io::stdout(), "{event}");
}

struct LockClient<H> {
    number: usize,
    kind: LockKind,
    zk: Client,
    handler: H,
    stopping: Arc<AtomicBool>,
}

impl<H: Handler> LockClient<H> {
    async fn run(self) {
        let listener = self.zk.add_listener(self.listener());
        while !self.stopping.load(Ordering::Acquire) {
            // A start fails in a long outage.
            if self.zk.start().await.is_err() {
                continue;
            }
            match self.hold().await {
                Ok(()) => {}
                Err(error) if is_fault(&error) && self.kind == LockKind::Correct => {
                    self.pause(50).await
                }
                // A faulty lock leaves its node behind, which must not be how it is detected.
                Err(error) if is_fault(&error) => drop(self.zk.stop().await),
                Err(error) => {
                    let what = error.to_string();
                    emit(&Event::Wrong { client: self.number, what });
                    self.pause(1000).await;
                }
            }
        }
        let _ = self.zk.stop().await;
        self.zk.remove_listener(listener);
    }

    /// A listener that prints when sessions begin and expire.
    fn listener(&self) -> impl FnMut(SessionState) + Send + 'static {
        let (zk, client, last) = (self.zk.clone(), self.number, AtomicI64::new(0));
        let stopping = self.stopping.clone();
        move |state| match state {
            SessionState::Lost if stopping.load(Ordering::Acquire) => {}
            SessionState::Lost => emit(&Event::Lost { client }),
            SessionState::Connected => {
                let Some(ticket) = zk.client_id() else { return };
                if last.swap(ticket.id.0, Ordering::Relaxed) != ticket.id.0 {
                    let (id, password) = (ticket.id.0, ticket.password.expose().to_vec());
                    emit(&Event::Session { client, id, password });
                }
            }
            _ => {}
        }
    }

    /// Acquires the lock, writes under it a few times, and releases it.
    async fn hold(&self) -> Result<(), Error> {
        let held_lock = HeldLock::take(&self.zk, self.kind, &self.number.to_string()).await?;
        let token = held_lock.token();
        let session = self.zk.session_id().map_or(0, |session| session.0);
        emit(&Event::Acquired { client: self.number, token });
        let sample = || {
            let at = self.handler.now();
            if held_lock.is_held() {
                emit(&Event::Held { token, session, at });
            }
        };
        for _ in 0..fastrand::u32(1..5) {
            sample();
            // Also if the lock is not held any more: then the write must be refused.
            let written = self.write(&held_lock).await;
            sample();
            match written {
                // The lock may still be held.
                Err(error) if error.kind() == ErrorKind::ConnectionLoss => {}
                // The lock was lost with the session, so a write in the next session must be refused.
                Err(error) if error.kind() == ErrorKind::SessionExpired => {
                    return self.write(&held_lock).await.and(Err(error));
                }
                written => written?,
            }
            self.pause(fastrand::u64(1..40)).await;
        }
        match fastrand::u8(..) {
            0..64 => {
                held_lock.abandon();
                Ok(())
            }
            _ => held_lock.release().await,
        }
    }

    async fn write(&self, held_lock: &HeldLock) -> Result<(), Error> {
        let token = held_lock.token();
        let write = held_lock.transaction().set(FENCED, token.to_be_bytes(), None);
        let written = match write.commit().await {
            Ok(results) => results.committed(),
            Err(error) => Err(error),
        };
        match written {
            Ok(results) => {
                let Some(OperationResult::Set(stat)) = results.get(1) else {
                    unreachable!("the second operation is a set")
                };
                emit(&Event::Wrote { token, zxid: stat.mzxid });
                Ok(())
            }
            Err(error) if error.code() == Some(ErrorCode::NoNode) => {
                emit(&Event::Refused { token });
                Ok(())
            }
            Err(error) => {
                if error.outcome() == Some(Outcome::Unknown) {
                    emit(&Event::Unknown { token });
                }
                Err(error)
            }
        }
    }

    async fn pause(&self, milliseconds: u64) {
        let until = self.handler.now() + Duration::from_millis(milliseconds);
        self.handler.sleep_until(until).await;
    }
}

/// Whether an error can be caused by the faults.
fn is_fault(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionLoss
            | ErrorKind::SessionExpired
            | ErrorKind::ConnectionClosed
            | ErrorKind::Timeout
    ) || matches!(
        error.code(),
        Some(ErrorCode::SessionExpired | ErrorCode::SessionMoved | ErrorCode::NoNode)
    )
}
