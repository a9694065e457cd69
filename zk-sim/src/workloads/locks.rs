//! Clients that contend for a lock, a shared lock or a semaphore.
//!
//! What must hold:
//! - at no moment do two contenders believe that they hold what only one may hold, even if they were paused;
//! - what is written under a lock is written with fencing tokens that never decrease;
//! - after recovery, every contender acquires it;
//! - contenders that give up at any moment leave no node behind.
//!
//! In some runs the sequence numbers are used up in the meantime; then every contender has to get that error. In
//! some, contenders may not list the children of the lock's node at times; then acquiring may fail.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use zk_client::{
    Acl, AsyncResult, Error, ErrorCode, ErrorKind, Handler, OPEN_ACL_UNSAFE, Perms,
    recipes::{Lease, Lock, LockGuard, ReadLock, Semaphore, SemaphoreOptions, WriteLock},
};

use crate::{
    Change, Sim, SimHandler,
    clients::{Clients, NO_START_TIMEOUT, SimClient, lock},
};

const PATH: &str = "/contested";
/// Where contenders for a lease wait.
const SEMAPHORE_QUEUE: &str = "/contested-__lock__";
/// What is written under the lock.
const FENCED: &str = "/fenced";

/// What the clients contend for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contested {
    Lock,
    SharedLock,
    /// With so many leases.
    Semaphore(usize),
}

/// What is wrong with the node whose children are the contenders' nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// The sequence numbers are used up after so many.
    SequenceExhausted(i32),
    /// Its children may not be listed at times.
    Unreadable,
}

/// The recipe that a contender uses.
enum Recipe {
    Lock(Lock),
    Read(ReadLock),
    Write(WriteLock),
    Semaphore(Semaphore),
}

/// What a contender has acquired.
#[derive(Debug, Clone)]
enum Guard {
    Lock(LockGuard),
    Lease(Lease),
}

/// How a contender waits.
#[derive(Debug, Clone, Copy)]
enum WaitMode {
    Endless,
    Timeout(Duration),
    /// It drops the handle after a while.
    Drop(Duration),
    /// It cancels the call after a while.
    Cancel(Duration),
    /// It does not wait.
    Try,
}

/// What the contenders have acquired, and how far they are.
#[derive(Default)]
struct Progress {
    held: Vec<Held>,
    last_id: u64,
    contenders: Vec<ContenderState>,
    /// Whether the clients have recovered from all faults.
    is_recovered: bool,
    is_over: bool,
}

struct ContenderState {
    client: SimClient,
    /// How often it has acquired what it contends for since the recovery.
    acquired: u64,
    has_ended: bool,
}

impl Progress {
    /// Whether something is true of all contenders whose process was not killed.
    fn all(&self, mut is_true: impl FnMut(&ContenderState) -> bool) -> bool {
        self.contenders.iter().all(|contender| contender.client.is_dead() || is_true(contender))
    }
}

struct Held {
    id: u64,
    client: SimClient,
    is_exclusive: bool,
    guard: Guard,
}

/// Runs the workload.
///
/// # Errors
/// What does not hold.
pub fn locks(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let contested = match random.u8(..4) {
        0 => Contested::SharedLock,
        1 => Contested::Semaphore(random.usize(1..=3)),
        _ => Contested::Lock,
    };
    let trouble = match random.u8(..8) {
        0 => Trouble::SequenceExhausted(random.i32(0..60)),
        1 => Trouble::Unreadable,
        _ => Trouble::None,
    };
    sim.note(|| format!("{contested:?}, trouble: {trouble:?}"));
    sim.create(FENCED);
    let queue = contested.queue();
    if trouble != Trouble::None {
        sim.create(queue);
    }
    if let Trouble::SequenceExhausted(after) = trouble {
        sim.set_sequence(queue, i32::MAX - after);
    }
    let clients = Clients::start(sim, random.usize(3..=6), NO_START_TIMEOUT);
    let progress = Arc::new(Mutex::new(Progress::default()));
    for client in &clients.all {
        for _ in 0..random.usize(1..=2) {
            let number = lock(&progress).contenders.len();
            let state = ContenderState { client: client.clone(), acquired: 0, has_ended: false };
            lock(&progress).contenders.push(state);
            let contender = ContenderTask {
                sim: sim.clone(),
                client: client.clone(),
                progress: progress.clone(),
                random: sim.random(),
                contested,
                trouble,
                number,
            };
            client.process.spawn(contender.run());
        }
    }
    let check = || check_holders(sim, &lock(&progress), contested);
    if trouble == Trouble::Unreadable {
        let process = sim.process();
        let progress = progress.clone();
        process.spawn(forbid_reads(sim.clone(), process.clone(), progress, sim.random(), queue));
    }
    clients.run_with_faults(Duration::from_secs(random.u64(5..40)), check)?;
    clients.recover(check)?;
    lock(&progress).is_recovered = true;
    if trouble == Trouble::Unreadable {
        sim.set_acl(queue, &OPEN_ACL_UNSAFE);
    }
    clients.wait_until("all contenders have acquired it", Duration::from_secs(120), || {
        check();
        lock(&progress).all(|contender| contender.acquired > 0)
    })?;
    lock(&progress).is_over = true;
    clients.wait_until("all contenders have ended", Duration::from_secs(120), || {
        check();
        lock(&progress).all(|contender| contender.has_ended)
    })?;
    clients.wait_until("no node is left", 2 * clients.session_timeout, || {
        [PATH, SEMAPHORE_QUEUE]
            .iter()
            .all(|path| sim.children(path).is_none_or(|children| children.is_empty()))
    })?;
    check_fencing_tokens(sim)?;
    clients.check_no_watches()?;
    lock(&progress).contenders.clear();
    clients.stop()
}

/// Forbids and allows to list the children of the node at `path` in turn, until the clients have recovered.
async fn forbid_reads(
    sim: Sim,
    process: SimHandler,
    progress: Arc<Mutex<Progress>>,
    mut random: fastrand::Rng,
    path: &'static str,
) {
    let others = Perms::CREATE | Perms::DELETE | Perms::WRITE | Perms::ADMIN;
    let unreadable = [Acl::new(others, "world", "anyone")];
    while !lock(&progress).is_recovered {
        for acl in [unreadable.as_slice(), &OPEN_ACL_UNSAFE] {
            if !lock(&progress).is_recovered {
                sim.set_acl(path, acl);
            }
            process.sleep(Duration::from_micros(random.u64(..1_000_000))).await;
        }
    }
}

/// Acquires with a timeout or without.
macro_rules! acquire {
    ($what:expr, $timeout:expr) => {
        match $timeout {
            Some(timeout) => $what.acquire_timeout(timeout),
            None => $what.acquire(),
        }
    };
}

struct ContenderTask {
    sim: Sim,
    client: SimClient,
    progress: Arc<Mutex<Progress>>,
    random: fastrand::Rng,
    contested: Contested,
    trouble: Trouble,
    number: usize,
}

impl ContenderTask {
    async fn run(mut self) {
        while !lock(&self.progress).is_over {
            let pause = self.millis(400);
            self.client.process.sleep(pause).await;
            let recipe = self.recipe();
            let mode = self.wait_mode();
            match recipe.acquire(&self.client, mode).await {
                Ok(Some(guard)) => self.hold(guard, recipe.is_exclusive(self.contested)).await,
                Ok(None) => {}
                Err(error) => match error.kind() {
                    ErrorKind::Timeout | ErrorKind::Cancelled => {}
                    ErrorKind::SequenceExhausted
                        if matches!(self.trouble, Trouble::SequenceExhausted(_)) =>
                    {
                        let mut progress = lock(&self.progress);
                        if progress.is_recovered {
                            // This counts, since no sequence number is left.
                            progress.contenders[self.number].acquired += 1;
                        }
                    }
                    ErrorKind::Server(ErrorCode::NoAuth) if self.trouble == Trouble::Unreadable => {
                    }
                    _ => self.sim.fail(|| format!("acquiring ended with {error:?}")),
                },
            }
        }
        lock(&self.progress).contenders[self.number].has_ended = true;
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(..most * 1_000))
    }

    fn recipe(&mut self) -> Recipe {
        let zk = &self.client.zk;
        match self.contested {
            Contested::Lock => Recipe::Lock(Lock::new(zk, PATH)),
            Contested::SharedLock if self.random.bool() => Recipe::Read(ReadLock::new(zk, PATH)),
            Contested::SharedLock => Recipe::Write(WriteLock::new(zk, PATH)),
            Contested::Semaphore(leases) => {
                let options = SemaphoreOptions::default().max_leases(leases);
                Recipe::Semaphore(Semaphore::with_options(zk, PATH, options))
            }
        }
    }

    fn wait_mode(&mut self) -> WaitMode {
        let most = [20, 300, 3_000][self.random.usize(..3)];
        let duration = self.millis(most);
        match self.random.u8(..8) {
            _ if lock(&self.progress).is_recovered => WaitMode::Endless,
            0 => WaitMode::Timeout(duration),
            1 | 2 => WaitMode::Drop(duration),
            3 => WaitMode::Cancel(duration),
            4 => WaitMode::Try,
            _ => WaitMode::Endless,
        }
    }

    async fn hold(&mut self, guard: Guard, is_exclusive: bool) {
        self.sim.note(|| {
            let (number, client) = (self.number, self.client.number);
            format!("contender {number} of client {client} holds {guard:?}")
        });
        let id = {
            let mut progress = lock(&self.progress);
            progress.last_id += 1;
            if progress.is_recovered {
                progress.contenders[self.number].acquired += 1;
            }
            let (id, client) = (progress.last_id, self.client.clone());
            let guard = guard.clone();
            progress.held.push(Held { id, client, is_exclusive, guard });
            check_holders(&self.sim, &progress, self.contested);
            id
        };
        for _ in 0..self.random.u8(..4) {
            let pause = self.millis(200);
            self.client.process.sleep(pause).await;
            if let Guard::Lock(guard) = &guard
                && is_exclusive
            {
                let token = guard.fencing_token().to_string();
                let written = guard.transaction().set(FENCED, token, None).commit();
                if self.random.bool() {
                    let _ = written.await;
                } else {
                    drop(written);
                }
            }
        }
        if !lock(&self.progress).is_recovered && self.random.u8(..8) == 0 {
            let pause = self.millis(10_000);
            self.client.process.sleep(pause).await;
        }
        self.sim.note(|| {
            format!("contender {} of client {} releases it", self.number, self.client.number)
        });
        let (kept, others) = {
            let mut progress = lock(&self.progress);
            std::mem::take(&mut progress.held).into_iter().partition(|held| held.id != id)
        };
        lock(&self.progress).held = kept;
        drop::<Vec<_>>(others);
        match self.random.u8(..3) {
            0 => drop(guard),
            1 => drop(guard.release()),
            _ => match guard.release().await {
                Err(error) if error.kind() != ErrorKind::Cancelled => {
                    self.sim.fail(|| format!("a release ended with {error:?}"));
                }
                _ => {}
            },
        }
    }
}

impl Contested {
    /// The node whose children are the contenders' nodes.
    const fn queue(self) -> &'static str {
        match self {
            Self::Lock | Self::SharedLock => PATH,
            Self::Semaphore(_) => SEMAPHORE_QUEUE,
        }
    }
}

impl Recipe {
    /// Whether only one contender may hold it at a time.
    const fn is_exclusive(&self, contested: Contested) -> bool {
        match self {
            Self::Lock(_) | Self::Write(_) => true,
            Self::Read(_) => false,
            Self::Semaphore(_) => matches!(contested, Contested::Semaphore(1)),
        }
    }

    async fn acquire(&self, client: &SimClient, mode: WaitMode) -> Result<Option<Guard>, Error> {
        match self {
            Self::Lock(lock) => {
                let try_acquire = || lock.try_acquire();
                acquire(client, mode, |t| acquire!(lock, t), try_acquire, Guard::Lock).await
            }
            Self::Read(lock) => {
                let try_acquire = || lock.try_acquire();
                acquire(client, mode, |t| acquire!(lock, t), try_acquire, Guard::Lock).await
            }
            Self::Write(lock) => {
                let try_acquire = || lock.try_acquire();
                acquire(client, mode, |t| acquire!(lock, t), try_acquire, Guard::Lock).await
            }
            Self::Semaphore(semaphore) => {
                let try_acquire = || semaphore.try_acquire();
                acquire(client, mode, |t| acquire!(semaphore, t), try_acquire, Guard::Lease).await
            }
        }
    }
}

async fn acquire<T: Clone + Send + 'static>(
    client: &SimClient,
    mode: WaitMode,
    acquire: impl Fn(Option<Duration>) -> AsyncResult<T>,
    try_acquire: impl Fn() -> AsyncResult<Option<T>>,
    guard: fn(T) -> Guard,
) -> Result<Option<Guard>, Error> {
    match mode {
        WaitMode::Endless => acquire(None).await.map(|held| Some(guard(held))),
        WaitMode::Timeout(after) => acquire(Some(after)).await.map(|held| Some(guard(held))),
        WaitMode::Try => try_acquire().await.map(|held| held.map(guard)),
        WaitMode::Drop(after) | WaitMode::Cancel(after) => {
            let mut handle = acquire(None);
            let mut sleep = pin!(client.process.sleep(after));
            let taken = poll_fn(|context| {
                if let Poll::Ready(result) = pin!(&mut handle).poll(context) {
                    return Poll::Ready(Some(result));
                }
                sleep.as_mut().poll(context).map(|()| None)
            });
            match taken.await {
                Some(result) => result.map(|held| Some(guard(held))),
                None => {
                    if matches!(mode, WaitMode::Cancel(_)) {
                        handle.cancel();
                    }
                    drop(handle);
                    Ok(None)
                }
            }
        }
    }
}

impl Guard {
    fn is_held(&self) -> bool {
        match self {
            Self::Lock(guard) => guard.is_held(),
            Self::Lease(lease) => lease.is_held(),
        }
    }

    fn release(self) -> AsyncResult<()> {
        match self {
            Self::Lock(guard) => guard.release(),
            Self::Lease(lease) => lease.release(),
        }
    }
}

/// Checks that no more contenders believe to hold it than may. Sessions that ended in a way that their owners
/// could not know of do not count, nor do processes that were killed.
fn check_holders(sim: &Sim, progress: &Progress, contested: Contested) {
    let believes = |held: &&Held| {
        let session = held.client.zk.session_id();
        held.guard.is_held()
            && !held.client.is_dead()
            && session.is_none_or(|session| !sim.ended_early(session))
    };
    let holders: Vec<_> = progress.held.iter().filter(believes).collect();
    let most = match contested {
        Contested::Semaphore(leases) => leases,
        _ if holders.iter().any(|held| held.is_exclusive) => 1,
        _ => usize::MAX,
    };
    if holders.len() > most {
        let paths: Vec<_> = holders
            .iter()
            .map(|held| match &held.guard {
                Guard::Lock(guard) => guard.path().to_owned(),
                Guard::Lease(lease) => lease.path().to_owned(),
            })
            .collect();
        sim.fail(|| format!("{} holders of {contested:?}: {paths:?}", holders.len()));
    }
}

/// Checks that the fencing tokens of all writes never decrease.
fn check_fencing_tokens(sim: &Sim) -> Result<(), String> {
    let mut last = 0;
    for record in sim.log().iter().filter(|record| record.result == ErrorCode::Ok) {
        for change in &record.changes {
            let Change::Set(path, token) = change else { continue };
            if path != FENCED {
                continue;
            }
            let token = String::from_utf8_lossy(token).parse().unwrap_or(0);
            if token < last {
                return Err(format!(
                    "transaction {:#x} wrote with token {token:#x} after one with {last:#x}",
                    record.zxid
                ));
            }
            last = token;
        }
    }
    Ok(())
}
