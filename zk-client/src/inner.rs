//! [`ClientInner`]: what all clones of a client, its handles and its driver share.
//!
//! There is one lock. It is held while a request is encoded or while the outputs of the session are taken, but never
//! while user code runs or across I/O.
//!
//! # How a call wakes the driver
//! The driver sleeps when it has nothing to do, and leaves its waker behind ([`ClientInner::sleep_driver`]). Whoever
//! changes the client's state does so through [`ClientInner::with_lifecycle`], which unlocks and wakes the driver
//! ([`ClientInner::unlock_and_wake_driver`]). A driver that is awake is not woken again.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use zk_handler::Handler;
use zk_proto::{
    Chroot, HostPort, Request, Time,
    four_letter_word::refusal,
    session::{Config, Credential, Failure, Outcome, Reason, RequestId, SessionId},
};

use crate::{
    AsyncResult, Error,
    cell::{Cell, Wakers},
    dispatch::Dispatcher,
    from_reply::{FromReply, ReplyResult},
    lifecycle::{AfterStart, Lifecycle},
    pending_call::{MappedCall, PendingCall},
    result::Promise,
    runtime::{self, ErasedHandler},
    sasl::{SaslOptions, Steps},
    transport::Transport,
};

/// Spawns the driver of a client on its runtime. The builder supplies it, as it knows the type of the handler.
pub(crate) type SpawnDriver = Box<dyn Fn(Arc<ClientInner>) + Send + Sync>;

pub(crate) struct ClientInner {
    state: Mutex<State>,
    handler: Box<dyn ErasedHandler>,
    spawn_driver: SpawnDriver,
    pub(crate) dispatcher: Dispatcher,
    /// The mechanism with which connections log in.
    pub(crate) sasl: Steps,
}

/// What is under the lock.
pub(crate) struct State {
    pub(crate) lifecycle: Lifecycle,
    /// The waker of the driver, while it sleeps.
    sleeping_driver: Option<Waker>,
}

/// Names a watch of a client.
#[derive(Clone, Copy)]
pub(crate) struct WatchId {
    session_number: u64,
    /// The request that has armed it.
    request: RequestId,
}

impl ClientInner {
    pub(crate) fn new<H: Handler>(
        handler: H,
        transport: Transport,
        spawn_driver: SpawnDriver,
        mut config: Config,
        connect_timeout: Duration,
        chroot: Chroot,
        sasl: Option<SaslOptions>,
    ) -> Arc<Self> {
        config.sasl = sasl.is_some();
        let lifecycle = Lifecycle::new(config, chroot, connect_timeout);
        Arc::new(Self {
            state: Mutex::new(State { lifecycle, sleeping_driver: None }),
            dispatcher: Dispatcher::new(&handler),
            handler: runtime::erase(handler, transport),
            spawn_driver,
            sasl: Steps::new(sasl),
        })
    }

    // ---- the lock, and how the driver is woken ----------------------------------------------------

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` under the lock, and then wakes the driver so that it sees the change.
    pub(crate) fn with_lifecycle<R>(&self, act: impl FnOnce(&mut Lifecycle, Time) -> R) -> R {
        let now = self.now();
        let mut state = self.lock();
        let result = act(&mut state.lifecycle, now);
        Self::unlock_and_wake_driver(state);
        result
    }

    fn unlock_and_wake_driver(mut state: MutexGuard<'_, State>) {
        let driver = state.sleeping_driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Called by the driver when it has nothing to do: from now on, changes wake it.
    pub(crate) fn sleep_driver(mut state: MutexGuard<'_, State>, waker: &Waker) {
        state.sleeping_driver = Some(waker.clone());
    }

    // ---- the handler ------------------------------------------------------------------------------

    pub(crate) fn runtime_name(&self) -> &'static str {
        self.handler.name()
    }

    pub(crate) fn now(&self) -> Time {
        self.handler.now()
    }

    /// A unique id: 128 bits of the handler's randomness.
    pub(crate) fn unique_id(&self) -> u128 {
        u128::from(self.handler.random()) << 64 | u128::from(self.handler.random())
    }

    /// A random number in 0..1.
    pub(crate) fn random_part(&self) -> f64 {
        // 32 bits, which an f64 holds exactly.
        let bits = u32::try_from(self.handler.random() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handler.spawn(Box::pin(task));
    }

    /// Completes at `deadline`. Await it in tasks of the client's runtime only.
    pub(crate) fn sleep_until(&self, deadline: Time) -> impl Future<Output = ()> + Send {
        self.handler.sleep_until(deadline)
    }

    /// Completes after `duration`. Await it in tasks of the client's runtime only.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.handler.sleep_until(self.now().after(duration))
    }

    /// Runs a task that is not a request, and returns a handle on its result.
    pub(crate) fn spawn_task<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.spawn_promised(None, task)
    }

    /// Runs a task that is a request of the user, and may send several to the server.
    pub(crate) fn spawn_request<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.spawn_promised(Some(Outcome::Unknown), task)
    }

    fn spawn_promised<T: Clone + Send + 'static>(
        &self,
        outcome_if_given_up: Option<Outcome>,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        let (promise, result) = self.promise(outcome_if_given_up);
        self.spawn(async move { promise.complete(task.await) });
        result
    }

    fn promise<T: Clone + Send + 'static>(
        &self,
        outcome_if_given_up: Option<Outcome>,
    ) -> (Promise<T>, AsyncResult<T>) {
        Promise::new(self.dispatcher.completions.clone(), outcome_if_given_up)
    }

    // ---- requests ---------------------------------------------------------------------------------

    /// Sends a request. `T` is made from its reply.
    pub(crate) fn call<T>(&self, chroot: &Chroot, request: &Request<'_>) -> AsyncResult<T>
    where
        T: FromReply + Clone + Send + 'static,
    {
        let cell = Cell::<T>::new();
        self.submit(chroot, request, cell.clone());
        self.handle_of(cell)
    }

    /// Sends a request. `map` makes the result from its reply.
    pub(crate) fn call_map<T, F>(
        &self,
        chroot: &Chroot,
        request: &Request<'_>,
        map: F,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        F: FnOnce(ReplyResult) -> Result<T, Error> + Send + 'static,
    {
        let cell = Cell::new();
        self.submit(chroot, request, Arc::new(MappedCall::new(cell.clone(), map)));
        self.handle_of(cell)
    }

    fn submit(&self, chroot: &Chroot, request: &Request<'_>, call: Arc<dyn PendingCall>) {
        let submitted = self.with_lifecycle(|lifecycle, now| {
            lifecycle.session.submit(now, chroot, request, call.clone())
        });
        if let Err(failure) = submitted {
            self.fail(&*call, failure);
        }
    }

    /// Completes a call that the session has refused.
    fn fail(&self, call: &dyn PendingCall, failure: Box<Failure>) {
        let mut wakers = Wakers::default();
        call.complete(Err(failure), &self.dispatcher.completions, &mut wakers);
        wakers.wake();
    }

    /// Completes a cell that nobody waits for yet.
    pub(crate) fn complete<T: Send + 'static>(&self, cell: &Cell<T>, result: Result<T, Error>) {
        cell.complete(result, Some(&self.dispatcher.completions), &mut Wakers::default());
    }

    pub(crate) fn handle_of<T: Clone + Send + 'static>(
        &self,
        cell: Arc<Cell<T>>,
    ) -> AsyncResult<T> {
        AsyncResult::of_request(cell, self.dispatcher.completions.clone())
    }

    /// The id of the watch that `request`, which was just submitted, arms.
    pub(crate) fn watch_id(lifecycle: &Lifecycle, request: RequestId) -> WatchId {
        WatchId { session_number: lifecycle.session_number(), request }
    }

    /// Removes a watch that nobody waits for. Does nothing if its session is not the present one.
    pub(crate) fn unwatch(&self, id: WatchId) {
        let now = self.now();
        let mut state = self.lock();
        if id.session_number != state.lifecycle.session_number() {
            return;
        }
        let deadline = state.lifecycle.session.poll_timeout();
        let call = state.lifecycle.session.unwatch(now, id.request);
        // The driver need not wake up, unless it has to be earlier than it knows.
        if state.lifecycle.session.poll_timeout() == deadline {
            drop(state);
        } else {
            Self::unlock_and_wake_driver(state);
        }
        // The call is dropped with no lock held: it may own what the user gave.
        drop(call);
    }

    pub(crate) fn add_auth(&self, credential: Credential) -> AsyncResult<()> {
        self.call_of_session(|lifecycle, _, call| lifecycle.add_auth(credential, call))
    }

    pub(crate) fn replace_auth(&self, credential: Credential) -> AsyncResult<()> {
        self.call_of_session(|lifecycle, _, call| lifecycle.replace_auth(credential, call))
    }

    pub(crate) fn reconnect(&self) -> AsyncResult<()> {
        self.call_of_session(|lifecycle, now, call| {
            lifecycle.session.reconnect(now, call).map(|_| true)
        })
    }

    /// Makes a call that the session carries out without a request. `act` returns whether the session takes the call;
    /// otherwise it is complete.
    fn call_of_session(
        &self,
        act: impl FnOnce(&mut Lifecycle, Time, Arc<dyn PendingCall>) -> Result<bool, Box<Failure>>,
    ) -> AsyncResult<()> {
        let cell = Cell::<()>::new();
        match self.with_lifecycle(|lifecycle, now| act(lifecycle, now, cell.clone())) {
            Ok(true) => {}
            Ok(false) => self.complete(&cell, Ok(())),
            Err(failure) => self.complete(&cell, Err(failure.into())),
        }
        self.handle_of(cell)
    }

    /// Sets how later connections log in.
    pub(crate) fn set_sasl(&self, options: Option<SaslOptions>) {
        let is_on = options.is_some();
        self.sasl.set_options(options);
        self.with_lifecycle(|lifecycle, _| lifecycle.set_sasl(is_on));
    }

    /// Sends a four-letter word to `host`, or to the server of the present connection. `read` makes the result from the
    /// answer; `None` if it is not valid.
    pub(crate) fn four_letter_word<T: Clone + Send + 'static>(
        self: &Arc<Self>,
        host: Option<HostPort>,
        word: [u8; 4],
        read: impl FnOnce(&Self, &HostPort, &str) -> Option<T> + Send + 'static,
    ) -> AsyncResult<T> {
        let (host, timeout) = {
            let state = self.lock();
            let session = &state.lifecycle.session;
            let present = || session.host().filter(|_| session.state().is_connected()).cloned();
            (host.map(Arc::new).or_else(present), state.lifecycle.connect_timeout())
        };
        let inner = self.clone();
        self.spawn_task(async move {
            let host = host.ok_or_else(|| Error::of_session(Reason::Closed))?;
            let deadline = inner.now().after(timeout);
            match inner.handler.four_letter_word(host.clone(), word, deadline).await {
                Ok(answer) => match refusal(&answer) {
                    None => read(&inner, &host, &String::from_utf8_lossy(&answer))
                        .ok_or_else(|| Error::of_bad_answer(word, host, answer.is_empty())),
                    Some(refusal) => Err(Error::of_refused_word(word, host, refusal)),
                },
                Err(error) => Err(Error::of_four_letter_word(word, host, error)),
            }
        })
    }

    /// Notes the version of a server, for errors.
    pub(crate) fn note_server_version(&self, host: &HostPort, version: [u32; 3]) {
        self.lock().lifecycle.session.note_server_version(host, version);
    }

    /// For how much longer the servers certainly keep the session, if `condition` is true of its id.
    pub(crate) fn held_for(&self, condition: impl FnOnce(SessionId) -> bool) -> Duration {
        let until = {
            let state = self.lock();
            let session = &state.lifecycle.session;
            // Both under one lock: the next session has a time of its own.
            session.session_id().filter(|id| condition(*id)).and(session.held_until())
        };
        // The clock is read last, so that a pause of this thread counts.
        until.map_or(Duration::ZERO, |until| until.since(self.now()))
    }

    // ---- start and stop ---------------------------------------------------------------------------

    pub(crate) fn start(self: &Arc<Self>) -> AsyncResult<()> {
        let (promise, result) = self.promise(None);
        let now = self.now();
        let mut state = self.lock();
        match state.lifecycle.start(now, promise, || self.handler.random()) {
            AfterStart::SpawnDriver => self.spawn_driver(state),
            AfterStart::Waiting => Self::unlock_and_wake_driver(state),
            AfterStart::Connected(promise) => {
                drop(state);
                promise.complete(Ok(()));
            }
        }
        result
    }

    /// A new driver is awake.
    fn spawn_driver(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.sleeping_driver = None;
        drop(state);
        (self.spawn_driver)(self.clone());
    }

    pub(crate) fn stop(&self) -> AsyncResult<()> {
        let (promise, result) = self.promise(None);
        self.close(Some(promise));
        result
    }

    /// Stops the client, and completes `promise` when it has stopped.
    pub(crate) fn close(&self, promise: Option<Promise<()>>) {
        let mut wakers = Wakers::default();
        let after = self.with_lifecycle(|lifecycle, now| {
            if !lifecycle.is_running() {
                self.dispatcher.listeners.end_streams(&mut wakers);
            }
            lifecycle.stop(now, promise)
        });
        wakers.wake();
        for promise in after.refused {
            promise.complete(Err(Error::of_session(Reason::Closed)));
        }
        if let Some(promise) = after.already_stopped {
            promise.complete(Ok(()));
        }
    }

    /// Called by the driver when the session has ended and all its results were dispatched.
    pub(crate) fn end_driver(self: &Arc<Self>) {
        let now = self.now();
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        let after = state.lifecycle.end_driver(now, || self.handler.random());
        if after.restarts {
            self.spawn_driver(state);
        } else {
            state.sleeping_driver = None;
            self.dispatcher.listeners.end_streams(&mut wakers);
            drop(state);
        }
        wakers.wake();
        for promise in after.stopped {
            promise.complete(Ok(()));
        }
    }
}
