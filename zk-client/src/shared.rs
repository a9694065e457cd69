//! What all clones of a client, its handles and its driver share.
//!
//! There is one lock, around [`Core`]. It is held for as long as it takes to encode a request or to take
//! in what has arrived, never while user code runs, and never across I/O.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use zk_handler::{CallbackQueue, Handler};
use zk_proto::{
    Chroot, ErrorCode, HostPort, Request, Time,
    records::ExistsRequest,
    session::{
        Config, Credential, Failure, Outcome, Output, Reason, Reply, RequestId, Session, SessionId,
        SessionState,
    },
};

use crate::{
    AsyncResult, Error, WatchedEvent,
    cell::{Cell, Wakers},
    listeners::Listeners,
    result::Promise,
    runtime::{self, ErasedHandler},
};

/// Spawns the driver of a client on its runtime. The builder supplies it, as it knows the type of the handler.
pub(crate) type SpawnDriver = Box<dyn Fn(Arc<Shared>) + Send + Sync>;

pub(crate) struct Shared {
    core: Mutex<Core>,
    handler: Box<dyn ErasedHandler>,
    spawn_driver: SpawnDriver,
    /// Callbacks of results and listeners of states.
    pub(crate) completions: CallbackQueue,
    /// Callbacks of watches.
    pub(crate) events: CallbackQueue,
    pub(crate) listeners: Listeners,
    connect_timeout: Duration,
}

pub(crate) struct Core {
    pub(crate) session: Session<Arc<dyn Complete>>,
    /// How many sessions were begun: ids of requests are unique within one of them.
    sessions: u64,
    /// What sessions are made with; credentials and hosts that were added stay for the next one.
    config: Config,
    /// That of the list of hosts.
    chroot: Chroot,
    /// Since this start, nobody has looked whether it is there.
    chroot_is_unseen: bool,
    pub(crate) driver: DriverState,
    starting: Vec<Promise<()>>,
    pub(crate) start_deadline: Option<Time>,
    /// There was a session since the driver runs: a start that takes too long does not end it.
    has_started: bool,
    /// The last of the credentials that the session was started with, until the server has taken it: the
    /// start is not done before.
    start_auth: Option<RequestId>,
    stopping: Vec<Promise<()>>,
    /// Those who want the client started again once it has stopped; a later stop takes that back.
    restarting: Vec<Promise<()>>,
}

/// Whether the driver needs to be woken.
pub(crate) enum DriverState {
    /// It does not run: the client was not started, or is stopped.
    Absent,
    /// It runs, and will look at the session before it sleeps.
    Awake,
    /// It sleeps.
    Asleep(Waker),
}

/// What the session carries for a request: who waits for its end, and for the event of the watch that it
/// arms.
pub(crate) trait Complete: Send + Sync {
    fn complete(
        &self,
        result: Result<Reply, Box<Failure>>,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    );

    /// Where the event goes, if the request arms a watch.
    fn event(&self) -> Option<&Cell<WatchedEvent>> {
        None
    }
}

/// What is to be made of a reply; the type says which reply that is.
pub(crate) trait FromReply: Sized {
    fn from_reply(result: Result<Reply, Box<Failure>>) -> Result<Self, Error>;
}

impl<T: FromReply + Send + 'static> Complete for Cell<T> {
    fn complete(
        &self,
        result: Result<Reply, Box<Failure>>,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        Self::complete(self, T::from_reply(result), Some(callback_queue), wakers);
    }
}

/// A call whose result takes more than the reply to make.
struct Mapped<T, F> {
    cell: Arc<Cell<T>>,
    map: Mutex<Option<F>>,
}

impl<T, F> Complete for Mapped<T, F>
where
    T: Send + 'static,
    F: FnOnce(Result<Reply, Box<Failure>>) -> Result<T, Error> + Send,
{
    fn complete(
        &self,
        result: Result<Reply, Box<Failure>>,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(map) = map {
            self.cell.complete(map(result), Some(callback_queue), wakers);
        }
    }
}

/// A call that arms a watch.
struct WatchCall<T, F> {
    /// From when the request is queued until its reply is there. It must not stay longer: the session keeps
    /// its token for as long as the watch is armed, and this holds the client.
    call: Mutex<Option<Unanswered<T, F>>>,
    event: Arc<Cell<WatchedEvent>>,
}

/// What the reply to a [`WatchCall`] needs.
struct Unanswered<T, F> {
    cell: Arc<Cell<T>>,
    map: F,
    shared: Arc<Shared>,
    id: WatchId,
}

impl<T, F> Complete for WatchCall<T, F>
where
    T: Send + 'static,
    F: FnOnce(Result<Reply, Box<Failure>>, crate::Watch) -> Result<T, Error> + Send,
{
    fn complete(
        &self,
        result: Result<Reply, Box<Failure>>,
        callback_queue: &CallbackQueue,
        wakers: &mut Wakers,
    ) {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Unanswered { cell, map, shared, id }) = call {
            let watch = crate::Watch::new(shared, id, self.event.clone());
            cell.complete(map(result, watch), Some(callback_queue), wakers);
        }
    }

    fn event(&self) -> Option<&Cell<WatchedEvent>> {
        Some(&self.event)
    }
}

/// Which watch of a client.
#[derive(Clone, Copy)]
pub(crate) struct WatchId {
    /// The number of its session.
    session: u64,
    /// The request that has armed it.
    request: RequestId,
}

/// For a request whose end nobody waits for.
struct Unattended;

impl Complete for Unattended {
    fn complete(&self, _: Result<Reply, Box<Failure>>, _: &CallbackQueue, _: &mut Wakers) {}
}

/// The look whether the chroot is there.
struct LookForChroot(Chroot);

impl Complete for LookForChroot {
    fn complete(&self, result: Result<Reply, Box<Failure>>, _: &CallbackQueue, _: &mut Wakers) {
        if result.is_err_and(|failure| failure.reason == Reason::Server(ErrorCode::NoNode)) {
            tracing::warn!(chroot = %self.0, "the chroot does not exist: `ensure_path(\"/\")` creates it");
        }
    }
}

impl Shared {
    pub(crate) fn new<H: Handler>(
        handler: H,
        spawn_driver: SpawnDriver,
        config: Config,
        connect_timeout: Duration,
        chroot: Chroot,
    ) -> Arc<Self> {
        let session = Session::new(config.clone(), 0);
        Arc::new(Self {
            core: Mutex::new(Core {
                session,
                config,
                chroot_is_unseen: false,
                chroot,
                sessions: 0,
                driver: DriverState::Absent,
                starting: Vec::new(),
                start_deadline: None,
                has_started: false,
                start_auth: None,
                stopping: Vec::new(),
                restarting: Vec::new(),
            }),
            completions: CallbackQueue::new("completions", handler.clone()),
            events: CallbackQueue::new("watches", handler.clone()),
            handler: runtime::erase(handler),
            spawn_driver,
            listeners: Listeners::default(),
            connect_timeout,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Time {
        self.handler.now()
    }

    /// For how much longer the servers surely keep the session, if it is one that is `wanted`.
    pub(crate) fn held_for(&self, wanted: impl FnOnce(SessionId) -> bool) -> Duration {
        let until = {
            let core = self.lock();
            // One look at both: the next session is held, too.
            core.session.session_id().filter(|id| wanted(*id)).and(core.session.held_until())
        };
        // The clock comes last, so that a pause before it counts.
        until.map_or(Duration::ZERO, |until| until.since(self.now()))
    }

    /// A unique id, of 128 bits of the handler's randomness.
    pub(crate) fn unique_id(&self) -> u128 {
        u128::from(self.handler.random()) << 64 | u128::from(self.handler.random())
    }

    /// A random number in 0..1.
    pub(crate) fn random_part(&self) -> f64 {
        // As many bits as an f64 has.
        let bits = u32::try_from(self.handler.random() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    pub(crate) fn runtime_name(&self) -> &'static str {
        self.handler.name()
    }

    /// Does something to the session, and sees to it that the driver takes notice.
    pub(crate) fn with_session<R>(&self, act: impl FnOnce(&mut Core, Time) -> R) -> R {
        let now = self.now();
        let mut core = self.lock();
        let result = act(&mut core, now);
        Self::unlock(core);
        result
    }

    /// Ends a lock under which the driver was given something to do.
    fn unlock(mut core: MutexGuard<'_, Core>) {
        let waker = core.driver.rouse();
        drop(core);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sends a request whose reply makes a `T`.
    pub(crate) fn call<T>(&self, chroot: &Chroot, request: &Request<'_>) -> AsyncResult<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        let cell = Cell::<T>::new();
        self.submit(chroot, request, cell.clone());
        AsyncResult::of_request(cell, self.completions.clone())
    }

    /// Sends a request whose result `map` makes.
    pub(crate) fn call_map<T, F>(
        &self,
        chroot: &Chroot,
        request: &Request<'_>,
        map: F,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        F: FnOnce(Result<Reply, Box<Failure>>) -> Result<T, Error> + Send + 'static,
    {
        let cell = Cell::new();
        let target = Mapped { cell: cell.clone(), map: Mutex::new(Some(map)) };
        self.submit(chroot, request, Arc::new(target));
        AsyncResult::of_request(cell, self.completions.clone())
    }

    /// Sends a request that arms a watch, which `map` gets together with the reply.
    pub(crate) fn call_watch<T>(
        self: &Arc<Self>,
        chroot: &Chroot,
        request: &Request<'_>,
        map: impl FnOnce(Result<Reply, Box<Failure>>, crate::Watch) -> Result<T, Error> + Send + 'static,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
    {
        let cell = Cell::new();
        let result = AsyncResult::of_request(cell.clone(), self.completions.clone());
        let submitted = self.with_session(|core, now| {
            let target = Arc::new(WatchCall { call: Mutex::new(None), event: Cell::new() });
            let request = core.session.submit(now, chroot, request, target.clone())?;
            let id = WatchId { session: core.sessions, request };
            let call = Unanswered { cell: cell.clone(), map, shared: self.clone(), id };
            *target.call.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
            Ok(())
        });
        if let Err(failure) = submitted {
            self.fail(&cell, failure);
        }
        result
    }

    fn submit(&self, chroot: &Chroot, request: &Request<'_>, target: Arc<dyn Complete>) {
        let submitted = self
            .with_session(|core, now| core.session.submit(now, chroot, request, target.clone()));
        if let Err(failure) = submitted {
            let mut wakers = Wakers::default();
            target.complete(Err(failure), &self.completions, &mut wakers);
            wakers.wake();
        }
    }

    fn fail<T: Send + 'static>(&self, cell: &Cell<T>, failure: Box<Failure>) {
        cell.complete(Err(failure.into()), Some(&self.completions), &mut Wakers::default());
    }

    pub(crate) fn add_auth(&self, credential: Credential) -> AsyncResult<()> {
        let cell = Cell::new();
        let result = AsyncResult::of_request(cell.clone(), self.completions.clone());
        let added = self.with_session(|core, _| {
            if !core.config.auth.contains(&credential) {
                core.config.auth.push(credential.clone());
            }
            // Then it is for the next session.
            if matches!(core.driver, DriverState::Absent) || core.session.is_closed() {
                return Ok(false);
            }
            core.session.add_auth(credential, cell.clone()).map(|_| true)
        });
        match added {
            Ok(true) => {}
            Ok(false) => {
                cell.complete(Ok(()), Some(&self.completions), &mut Wakers::default());
            }
            Err(failure) => self.fail(&cell, failure),
        }
        result
    }

    /// Removes a credential, from this session and from those to come; says whether it was there.
    pub(crate) fn remove_auth(&self, credential: &Credential) -> bool {
        self.with_session(|core, _| {
            let before = core.config.auth.len();
            core.config.auth.retain(|other| other != credential);
            core.session.remove_auth(credential) || core.config.auth.len() < before
        })
    }

    /// Sends a four-letter word to the server of the present connection.
    pub(crate) fn four_letter_word(self: &Arc<Self>, word: [u8; 4]) -> AsyncResult<String> {
        let host = {
            let core = self.lock();
            core.session.host().filter(|_| core.session.state().is_connected()).cloned()
        };
        let shared = self.clone();
        self.work(async move {
            let host = host.ok_or_else(|| Error::of_session(Reason::Closed))?;
            let deadline = shared.now().after(shared.connect_timeout);
            match shared.handler.four_letter_word(host.clone(), word, deadline).await {
                Ok(answer) => Ok(String::from_utf8_lossy(&answer).into_owned()),
                Err(error) => Err(Error::of_four_letter_word(word, host, error)),
            }
        })
    }

    pub(crate) fn set_hosts(&self, hosts: Vec<HostPort>) {
        self.with_session(|core, now| {
            core.config.hosts.clone_from(&hosts);
            core.session.set_hosts(now, hosts);
        });
    }

    /// Forgets a watch that nobody waits for, unless it was one of an earlier session.
    pub(crate) fn unwatch(&self, id: WatchId) {
        let now = self.now();
        let mut core = self.lock();
        if id.session != core.sessions {
            return;
        }
        let due = core.session.poll_timeout();
        let token = core.session.unwatch(now, id.request);
        // The driver sleeps until what was due before, which is mostly early enough.
        if core.session.poll_timeout() == due {
            drop(core);
        } else {
            Self::unlock(core);
        }
        // Not under the lock: it may be the last to hold what a user gave.
        drop(token);
    }

    pub(crate) fn start(self: &Arc<Self>) -> AsyncResult<()> {
        let mut core = self.lock();
        let (promise, result) = Promise::new(self.completions.clone(), None);
        if matches!(core.driver, DriverState::Absent) {
            core.starting.push(promise);
            self.drive(core);
        } else if core.session.is_closed() {
            core.restarting.push(promise);
        } else if core.session.state().is_connected() && core.starting.is_empty() {
            drop(core);
            promise.complete(Ok(()));
        } else {
            core.starting.push(promise);
            let deadline = self.now().after(self.connect_timeout);
            core.start_deadline.get_or_insert(deadline);
            Self::unlock(core);
        }
        result
    }

    /// Begins a session, for those who have started the client, and has it driven.
    fn drive(self: &Arc<Self>, mut core: MutexGuard<'_, Core>) {
        core.begin(self.now(), self.handler.random(), self.connect_timeout);
        drop(core);
        (self.spawn_driver)(self.clone());
    }

    /// The session has ended, and all that it had to say was said: its driver ends, and another session
    /// begins if somebody wanted it meanwhile.
    pub(crate) fn driver_ends(self: &Arc<Self>) {
        let mut core = self.lock();
        let stopping = std::mem::take(&mut core.stopping);
        core.starting = std::mem::take(&mut core.restarting);
        let mut wakers = Wakers::default();
        if core.starting.is_empty() {
            core.driver = DriverState::Absent;
            if !stopping.is_empty() {
                // However it has ended: by now it is also closed.
                core.session.close(self.now());
            }
            self.listeners.end_streams(&mut wakers);
            drop(core);
        } else {
            self.drive(core);
        }
        wakers.wake();
        for promise in stopping {
            promise.complete(Ok(()));
        }
    }

    pub(crate) fn stop(&self) -> AsyncResult<()> {
        let (promise, result) = Promise::new(self.completions.clone(), None);
        if let Some(promise) = self.close(Some(promise)) {
            promise.complete(Ok(()));
        }
        result
    }

    /// Closes the session, and has `stopped` kept once that is done; returns it if there is none.
    /// Whoever wants the client started again is refused.
    pub(crate) fn close(&self, mut stopped: Option<Promise<()>>) -> Option<Promise<()>> {
        let mut wakers = Wakers::default();
        let restarting = self.with_session(|core, now| {
            if matches!(core.driver, DriverState::Absent) {
                self.listeners.end_streams(&mut wakers);
                core.session.close(now);
            } else {
                core.stopping.extend(stopped.take());
                // One that has ended by itself is closed when its driver ends: see `driver_ends`.
                if core.session.end_reason().is_none() {
                    core.session.close(now);
                }
            }
            std::mem::take(&mut core.restarting)
        });
        wakers.wake();
        for promise in restarting {
            promise.complete(Err(Error::of_session(Reason::Closed)));
        }
        stopped
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handler.spawn(Box::pin(task));
    }

    pub(crate) fn sleep_until(&self, due: Time) -> impl Future<Output = ()> + Send {
        self.handler.sleep_until(due)
    }

    /// Completes after `duration`; for tasks of the runtime alone.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.handler.sleep_until(self.now().after(duration))
    }

    /// Works out a result in a task that is no request.
    pub(crate) fn work<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.work_out(None, task)
    }

    /// Works out the result of a request in a task that may need several packets for it.
    pub(crate) fn work_on<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.work_out(Some(Outcome::Unknown), task)
    }

    fn work_out<T: Clone + Send + 'static>(
        &self,
        given_up: Option<Outcome>,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        let (promise, result) = Promise::new(self.completions.clone(), given_up);
        self.spawn(async move { promise.complete(task.await) });
        result
    }
}

impl DriverState {
    /// Marks the driver as awake; the waker, if it slept.
    fn rouse(&mut self) -> Option<Waker> {
        match std::mem::replace(self, Self::Awake) {
            Self::Asleep(waker) => Some(waker),
            Self::Awake => None,
            Self::Absent => {
                *self = Self::Absent;
                None
            }
        }
    }
}

/// What follows from the session's outputs once no lock is held.
pub(crate) enum Effect {
    Complete(Arc<dyn Complete>, Result<Reply, Box<Failure>>),
    Event(Arc<dyn Complete>, Result<WatchedEvent, Error>),
    State(SessionState),
    /// No change of state follows.
    EndStates,
    Keep(Promise<()>, Result<(), Error>),
}

/// What the session asks of its driver.
pub(crate) enum Action {
    Connect(Arc<HostPort>, Time),
    Disconnect,
    Probe(Arc<HostPort>, Time),
}

impl Action {
    /// Whether it ends the present connection, or the attempt at one.
    pub(crate) const fn leaves_connection(&self) -> bool {
        matches!(self, Self::Connect(..) | Self::Disconnect)
    }
}

impl Core {
    /// Begins a session, for a driver to drive.
    fn begin(&mut self, now: Time, seed: u64, connect_timeout: Duration) {
        let mut config = self.config.clone();
        let credentials = std::mem::take(&mut config.auth);
        self.session = Session::new(config, seed);
        self.sessions += 1;
        self.start_auth = None;
        for credential in credentials {
            // Refused by a session that has ended, and by no other.
            self.start_auth = self.session.add_auth(credential, Arc::new(Unattended)).ok();
        }
        self.session.start(now);
        self.start_deadline = Some(now.after(connect_timeout));
        self.has_started = false;
        self.chroot_is_unseen = !self.chroot.is_root();
        self.driver = DriverState::Awake;
    }

    /// Asks once whether the chroot is there, behind the calls made so far, to log it if it is not. Nobody
    /// waits for the answer.
    fn look_for_chroot(&mut self, now: Time) {
        if !std::mem::take(&mut self.chroot_is_unseen) {
            return;
        }
        let request = Request::Exists(ExistsRequest { path: "/", watch: false.into() });
        let look = Arc::new(LookForChroot(self.chroot.clone()));
        // If it is refused, only a warning is missing.
        let _ = self.session.submit(now, &self.chroot, &request, look);
    }

    /// Takes in all that the session has to say.
    pub(crate) fn drain(
        &mut self,
        now: Time,
        effects: &mut Vec<Effect>,
        actions: &mut Vec<Action>,
    ) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { host, deadline } => actions.push(Action::Connect(host, deadline)),
                Output::Disconnect => actions.push(Action::Disconnect),
                Output::Probe { host, deadline } => actions.push(Action::Probe(host, deadline)),
                Output::Completed { id, token, result } => {
                    if self.start_auth == Some(id) && result.is_ok() {
                        self.start_auth = None;
                        self.started(&Ok(()), effects);
                    }
                    effects.push(Effect::Complete(token, result));
                }
                Output::Fired { token, event, .. } => {
                    effects.push(Effect::Event(token, Ok(event)));
                }
                Output::Unwatched { token, reason, .. } => {
                    effects.push(Effect::Event(token, Err(Error::of_session(reason))));
                }
                Output::State(state) => {
                    effects.push(Effect::State(state));
                    if state.is_connected() && self.start_auth.is_none() {
                        self.started(&Ok(()), effects);
                    }
                    if state.is_connected() {
                        self.look_for_chroot(now);
                    }
                }
                // No watch of this client's lasts, and so none has a gap.
                _ => {}
            }
        }
    }

    /// Ends the waiting of those who started the client.
    fn started(&mut self, result: &Result<(), Error>, effects: &mut Vec<Effect>) {
        self.start_deadline = None;
        self.has_started |= result.is_ok();
        let starting = self.starting.drain(..);
        effects.extend(starting.map(|promise| Effect::Keep(promise, result.clone())));
    }

    /// Gives up a start that takes too long.
    pub(crate) fn check_start(&mut self, now: Time, timeout: Duration, effects: &mut Vec<Effect>) {
        if self.start_deadline.is_some_and(|deadline| deadline <= now) {
            let error = match (self.session.last_failure(), self.session.host()) {
                (Some(cause), _) => Error::start_timeout(timeout, cause.clone()),
                (None, Some(host)) => {
                    Error::start_timeout(timeout, format!("{host} has not answered").into())
                }
                (None, None) => Error::start_timeout(timeout, "no host was tried".into()),
            };
            if !self.has_started {
                self.session.close(now);
            }
            self.started(&Err(error), effects);
        }
    }

    /// Whether the session has ended; then nobody waits for it to start any more.
    pub(crate) fn check_end(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(reason) = self.session.end_reason() else { return false };
        self.started(&Err(Error::of_session(reason)), effects);
        true
    }

    /// The runtime has ended, and the driver with it: nobody will start the client again.
    pub(crate) fn abandon(&mut self, effects: &mut Vec<Effect>) {
        self.driver = DriverState::Absent;
        effects.push(Effect::EndStates);
        let stopping = self.stopping.drain(..);
        effects.extend(stopping.map(|promise| Effect::Keep(promise, Ok(()))));
        let error = Error::runtime(None, "the runtime ended");
        let restarting = self.restarting.drain(..);
        effects.extend(restarting.map(|promise| Effect::Keep(promise, Err(error.clone()))));
    }
}

impl Shared {
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Carries out `effects`, in order. Call it with no lock held.
    pub(crate) fn carry_out(&self, effects: &mut Vec<Effect>, wakers: &mut Wakers) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Complete(target, result) => {
                    target.complete(result, &self.completions, wakers);
                }
                Effect::Event(target, event) => {
                    if let Some(cell) = target.event() {
                        cell.complete(event, Some(&self.events), wakers);
                    }
                }
                Effect::State(state) => self.listeners.tell(state, &self.completions, wakers),
                Effect::EndStates => self.listeners.end_streams(wakers),
                Effect::Keep(promise, result) => promise.complete(result),
            }
        }
        wakers.wake();
    }
}
