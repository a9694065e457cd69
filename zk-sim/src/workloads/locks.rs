//! Clients that contend for a lock, for the two sides of a shared one, or for a semaphore.
//!
//! What must hold:
//! - no two clients are sure at one moment of what only one may hold, be they paused or not;
//! - what is written under a lock is written under fencing tokens that never decrease;
//! - in calm, everybody gets a turn;
//! - whoever gave up waiting, at whatever moment, leaves no node behind.
//!
//! In some worlds the sequence numbers are used up on the way: then everybody is told so. In some, those who
//! contend may not list each other at times: then an acquire may fail.

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
    clients::{Actor, FOREVER, Stage, lock},
};

const PATH: &str = "/contested";
/// Where those wait who want a lease.
const TURNS: &str = "/contested-__lock__";
/// What is written under the lock.
const FENCED: &str = "/fenced";

/// What is contended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prize {
    Lock,
    Shared,
    Semaphore(usize),
}

/// What is out of the ordinary with the node that those who wait have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Its sequence numbers are used up after so many.
    Exhausted(i32),
    /// It may not be read at times.
    Unreadable,
}

/// One way to get it.
enum Way {
    Lock(Lock),
    Read(ReadLock),
    Write(WriteLock),
    Semaphore(Semaphore),
}

/// It, held.
#[derive(Debug, Clone)]
enum Grip {
    Lock(LockGuard),
    Lease(Lease),
}

/// How long to wait for it.
#[derive(Debug, Clone, Copy)]
enum Patience {
    Endless,
    Timeout(Duration),
    /// The handle is dropped, or cancelled, after a while.
    Dropped(Duration),
    Cancelled(Duration),
    None,
}

/// Who believes to hold what.
#[derive(Default)]
struct Court {
    holdings: Vec<Holding>,
    last_id: u64,
    contenders: Vec<Standing>,
    is_calm: bool,
    is_over: bool,
}

/// How a contender fares.
struct Standing {
    actor: Actor,
    /// How often it had a turn in calm.
    turns: u64,
    has_ended: bool,
}

impl Court {
    /// Whether it is so for all whose process was not killed.
    fn all(&self, mut is_so: impl FnMut(&Standing) -> bool) -> bool {
        self.contenders.iter().all(|standing| standing.actor.is_dead() || is_so(standing))
    }
}

struct Holding {
    id: u64,
    actor: Actor,
    alone: bool,
    grip: Grip,
}

/// Runs the world.
///
/// # Errors
/// What broke.
pub fn locks(sim: &Sim) -> Result<(), String> {
    let mut random = sim.random();
    let prize = match random.u8(..4) {
        0 => Prize::Shared,
        1 => Prize::Semaphore(random.usize(1..=3)),
        _ => Prize::Lock,
    };
    let trouble = match random.u8(..8) {
        0 => Trouble::Exhausted(random.i32(0..60)),
        1 => Trouble::Unreadable,
        _ => Trouble::None,
    };
    sim.note(|| format!("{prize:?}, trouble: {trouble:?}"));
    sim.create(FENCED);
    let queue = prize.queue();
    if trouble != Trouble::None {
        sim.create(queue);
    }
    if let Trouble::Exhausted(after) = trouble {
        sim.set_sequence(queue, i32::MAX - after);
    }
    let stage = Stage::new(sim, random.usize(3..=6), FOREVER);
    let court = Arc::new(Mutex::new(Court::default()));
    for actor in &stage.actors {
        for _ in 0..random.usize(1..=2) {
            let number = lock(&court).contenders.len();
            let standing = Standing { actor: actor.clone(), turns: 0, has_ended: false };
            lock(&court).contenders.push(standing);
            let contender = Contender {
                sim: sim.clone(),
                actor: actor.clone(),
                court: court.clone(),
                random: sim.random(),
                prize,
                trouble,
                number,
            };
            actor.handler.spawn(contender.contend());
        }
    }
    let look = || check_holders(sim, &lock(&court), prize);
    if trouble == Trouble::Unreadable {
        let process = sim.process();
        let court = court.clone();
        process.spawn(shut_at_times(sim.clone(), process.clone(), court, sim.random(), queue));
    }
    stage.rough(Duration::from_secs(random.u64(5..40)), look)?;
    stage.calm(look)?;
    lock(&court).is_calm = true;
    if trouble == Trouble::Unreadable {
        sim.set_acl(queue, &OPEN_ACL_UNSAFE);
    }
    stage.wait("everybody has a turn", Duration::from_secs(120), || {
        look();
        lock(&court).all(|standing| standing.turns > 0)
    })?;
    lock(&court).is_over = true;
    stage.wait("all have ended", Duration::from_secs(120), || {
        look();
        lock(&court).all(|standing| standing.has_ended)
    })?;
    stage.wait("no node is left", 2 * stage.timeout, || {
        [PATH, TURNS]
            .iter()
            .all(|path| sim.children(path).is_none_or(|children| children.is_empty()))
    })?;
    check_tokens(sim)?;
    stage.watch_no_more()?;
    lock(&court).contenders.clear();
    stage.close()
}

/// Lets nobody list the children of the node at `path`, again and again, until it is calm.
async fn shut_at_times(
    sim: Sim,
    process: SimHandler,
    court: Arc<Mutex<Court>>,
    mut random: fastrand::Rng,
    path: &'static str,
) {
    let others = Perms::CREATE | Perms::DELETE | Perms::WRITE | Perms::ADMIN;
    let unreadable = [Acl::new(others, "world", "anyone")];
    while !lock(&court).is_calm {
        for acl in [unreadable.as_slice(), &OPEN_ACL_UNSAFE] {
            if !lock(&court).is_calm {
                sim.set_acl(path, acl);
            }
            process.sleep(Duration::from_micros(random.u64(..1_000_000))).await;
        }
    }
}

/// With a timeout or without.
macro_rules! acquire {
    ($what:expr, $timeout:expr) => {
        match $timeout {
            Some(timeout) => $what.acquire_timeout(timeout),
            None => $what.acquire(),
        }
    };
}

struct Contender {
    sim: Sim,
    actor: Actor,
    court: Arc<Mutex<Court>>,
    random: fastrand::Rng,
    prize: Prize,
    trouble: Trouble,
    number: usize,
}

impl Contender {
    async fn contend(mut self) {
        while !lock(&self.court).is_over {
            let pause = self.millis(400);
            self.actor.handler.sleep(pause).await;
            let way = self.way();
            let patience = self.patience();
            match way.take(&self.actor, patience).await {
                Ok(Some(grip)) => self.hold(grip, way.alone(self.prize)).await,
                Ok(None) => {}
                Err(error) => match error.kind() {
                    ErrorKind::Timeout | ErrorKind::Cancelled => {}
                    ErrorKind::SequenceExhausted
                        if matches!(self.trouble, Trouble::Exhausted(_)) =>
                    {
                        let mut court = lock(&self.court);
                        if court.is_calm {
                            // It is as good as a turn: there are no more.
                            court.contenders[self.number].turns += 1;
                        }
                    }
                    ErrorKind::Server(ErrorCode::NoAuth) if self.trouble == Trouble::Unreadable => {
                    }
                    _ => self.sim.fail(|| format!("no lock, but {error:?}")),
                },
            }
        }
        lock(&self.court).contenders[self.number].has_ended = true;
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(..most * 1_000))
    }

    fn way(&mut self) -> Way {
        let client = &self.actor.client;
        match self.prize {
            Prize::Lock => Way::Lock(Lock::new(client, PATH)),
            Prize::Shared if self.random.bool() => Way::Read(ReadLock::new(client, PATH)),
            Prize::Shared => Way::Write(WriteLock::new(client, PATH)),
            Prize::Semaphore(leases) => {
                let options = SemaphoreOptions::default().max_leases(leases);
                Way::Semaphore(Semaphore::with(client, PATH, options))
            }
        }
    }

    fn patience(&mut self) -> Patience {
        let most = [20, 300, 3_000][self.random.usize(..3)];
        let while_ = self.millis(most);
        match self.random.u8(..8) {
            _ if lock(&self.court).is_calm => Patience::Endless,
            0 => Patience::Timeout(while_),
            1 | 2 => Patience::Dropped(while_),
            3 => Patience::Cancelled(while_),
            4 => Patience::None,
            _ => Patience::Endless,
        }
    }

    async fn hold(&mut self, grip: Grip, alone: bool) {
        self.sim.note(|| {
            let (number, client) = (self.number, self.actor.number);
            format!("contender {number} of client {client} has {grip:?}")
        });
        let id = {
            let mut court = lock(&self.court);
            court.last_id += 1;
            if court.is_calm {
                court.contenders[self.number].turns += 1;
            }
            let (id, actor) = (court.last_id, self.actor.clone());
            court.holdings.push(Holding { id, actor, alone, grip: grip.clone() });
            check_holders(&self.sim, &court, self.prize);
            id
        };
        for _ in 0..self.random.u8(..4) {
            let pause = self.millis(200);
            self.actor.handler.sleep(pause).await;
            if let Grip::Lock(guard) = &grip
                && alone
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
        if !lock(&self.court).is_calm && self.random.u8(..8) == 0 {
            let pause = self.millis(10_000);
            self.actor.handler.sleep(pause).await;
        }
        self.sim
            .note(|| format!("contender {} of client {} lets go", self.number, self.actor.number));
        let (kept, others) = {
            let mut court = lock(&self.court);
            std::mem::take(&mut court.holdings).into_iter().partition(|held| held.id != id)
        };
        lock(&self.court).holdings = kept;
        drop::<Vec<_>>(others);
        match self.random.u8(..3) {
            0 => drop(grip),
            1 => drop(grip.release()),
            _ => match grip.release().await {
                Err(error) if error.kind() != ErrorKind::Cancelled => {
                    self.sim.fail(|| format!("a release ends with {error:?}"));
                }
                _ => {}
            },
        }
    }
}

impl Prize {
    /// The node that those who wait have in common.
    const fn queue(self) -> &'static str {
        match self {
            Self::Lock | Self::Shared => PATH,
            Self::Semaphore(_) => TURNS,
        }
    }
}

impl Way {
    /// Whether nobody else may hold it at the same time.
    const fn alone(&self, prize: Prize) -> bool {
        match self {
            Self::Lock(_) | Self::Write(_) => true,
            Self::Read(_) => false,
            Self::Semaphore(_) => matches!(prize, Prize::Semaphore(1)),
        }
    }

    async fn take(&self, actor: &Actor, patience: Patience) -> Result<Option<Grip>, Error> {
        match self {
            Self::Lock(lock) => {
                let try_it = || lock.try_acquire();
                take(actor, patience, |t| acquire!(lock, t), try_it, Grip::Lock).await
            }
            Self::Read(lock) => {
                let try_it = || lock.try_acquire();
                take(actor, patience, |t| acquire!(lock, t), try_it, Grip::Lock).await
            }
            Self::Write(lock) => {
                let try_it = || lock.try_acquire();
                take(actor, patience, |t| acquire!(lock, t), try_it, Grip::Lock).await
            }
            Self::Semaphore(semaphore) => {
                let try_it = || semaphore.try_acquire();
                take(actor, patience, |t| acquire!(semaphore, t), try_it, Grip::Lease).await
            }
        }
    }
}

async fn take<T: Clone + Send + 'static>(
    actor: &Actor,
    patience: Patience,
    acquire: impl Fn(Option<Duration>) -> AsyncResult<T>,
    try_acquire: impl Fn() -> AsyncResult<Option<T>>,
    grip: fn(T) -> Grip,
) -> Result<Option<Grip>, Error> {
    match patience {
        Patience::Endless => acquire(None).await.map(|held| Some(grip(held))),
        Patience::Timeout(after) => acquire(Some(after)).await.map(|held| Some(grip(held))),
        Patience::None => try_acquire().await.map(|held| held.map(grip)),
        Patience::Dropped(after) | Patience::Cancelled(after) => {
            let mut handle = acquire(None);
            let mut sleep = pin!(actor.handler.sleep(after));
            let taken = poll_fn(|context| {
                if let Poll::Ready(result) = pin!(&mut handle).poll(context) {
                    return Poll::Ready(Some(result));
                }
                sleep.as_mut().poll(context).map(|()| None)
            });
            match taken.await {
                Some(result) => result.map(|held| Some(grip(held))),
                None => {
                    if matches!(patience, Patience::Cancelled(_)) {
                        handle.cancel();
                    }
                    drop(handle);
                    Ok(None)
                }
            }
        }
    }
}

impl Grip {
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

/// No more are sure of it than may be. A session that was ended behind its owner's back is no fault of
/// the owner's, and who was killed is sure of nothing.
fn check_holders(sim: &Sim, court: &Court, prize: Prize) {
    let sure = |held: &&Holding| {
        let session = held.actor.client.session_id();
        held.grip.is_held()
            && !held.actor.is_dead()
            && session.is_none_or(|session| !sim.ended_early(session))
    };
    let holders: Vec<_> = court.holdings.iter().filter(sure).collect();
    let most = match prize {
        Prize::Semaphore(leases) => leases,
        _ if holders.iter().any(|held| held.alone) => 1,
        _ => usize::MAX,
    };
    if holders.len() > most {
        let paths: Vec<_> = holders
            .iter()
            .map(|held| match &held.grip {
                Grip::Lock(guard) => guard.path().to_owned(),
                Grip::Lease(lease) => lease.path().to_owned(),
            })
            .collect();
        sim.fail(|| format!("{} holders of {prize:?}: {paths:?}", holders.len()));
    }
}

/// What was written was written in the order of its tokens.
fn check_tokens(sim: &Sim) -> Result<(), String> {
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
                    "two writers: {:#x} wrote under {token:#x}, after one under {last:#x}",
                    record.zxid
                ));
            }
            last = token;
        }
    }
    Ok(())
}
