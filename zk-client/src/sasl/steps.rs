//! The steps of a client's mechanism: which mechanism is the one of the present connection, and which step comes next.
//! [`run`](super::run) takes the steps.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use zk_proto::{
    HostPort,
    jute::Secret,
    sasl::{Mechanism, SaslError, Step},
    session::SaslStepId,
};

use super::{Maker, SaslOptions};

/// A step that the session asks for.
pub(crate) struct StepRequest {
    /// The session's number: the ids of steps are unique within a session.
    pub(crate) session_number: u64,
    pub(crate) step: SaslStepId,
    pub(crate) host: Arc<HostPort>,
    /// `None` at the beginning of a connection.
    pub(crate) token: Option<Secret<Bytes>>,
}

impl StepRequest {
    pub(super) const fn id(&self) -> StepId {
        (self.session_number, self.step)
    }
}

/// The number of a session, and one of its steps.
pub(crate) type StepId = (u64, SaslStepId);

pub(crate) type Answer = Result<Step, SaslError>;

/// The options of a client, and its mechanism.
pub(crate) struct Steps(Mutex<State>);

struct State {
    options: Option<SaslOptions>,
    /// The step that was asked for last.
    last: Option<StepId>,
    /// The mechanism of the present connection, while it does not run.
    mechanism: Option<Running>,
    /// The job that the thread does next.
    waiting: Option<Job>,
    has_thread: bool,
}

/// Where a step is taken.
pub(crate) enum Place {
    Here(Job),
    /// On the thread, which has to be spawned first.
    NewThread,
    /// On the thread, which is busy.
    Thread,
    /// There are no options.
    Nowhere,
}

/// A step to be taken.
pub(crate) struct Job {
    request: StepRequest,
    work: Work,
}

enum Work {
    Begin(Maker, u128),
    Continue(Running),
}

/// A mechanism between two steps.
pub(crate) struct Running {
    mechanism: Box<dyn Mechanism>,
    may_block: bool,
}

impl Work {
    const fn may_block(&self) -> bool {
        match self {
            Self::Begin(maker, _) => maker.may_block,
            Self::Continue(running) => running.may_block,
        }
    }
}

impl Steps {
    pub(crate) const fn new(options: Option<SaslOptions>) -> Self {
        Self(Mutex::new(State {
            options,
            last: None,
            mechanism: None,
            waiting: None,
            has_thread: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the options of later connections.
    pub(crate) fn set_options(&self, options: Option<SaslOptions>) {
        let old = mem::replace(&mut self.lock().options, options);
        // It may own what the user gave, so it is dropped with no lock held.
        drop(old);
    }

    /// Decides where a step is taken. `seed` is random. One that waits for the thread already is of an older connection, and
    /// is dropped.
    pub(super) fn place(&self, request: StepRequest, seed: u128) -> Place {
        let mut state = self.lock();
        state.last = Some(request.id());
        // What is dropped may own what the user gave, so it is dropped with no lock held.
        let mechanism = state.mechanism.take();
        let (work, _dropped) = match &request.token {
            Some(_) => (mechanism.map(Work::Continue), None),
            None => {
                let maker = state.options.as_ref().map(|options| options.maker.clone());
                (maker.map(|maker| Work::Begin(maker, seed)), mechanism)
            }
        };
        let (place, _replaced) = match work {
            None => (Place::Nowhere, None),
            Some(work) if work.may_block() => {
                let replaced = state.waiting.replace(Job { request, work });
                match mem::replace(&mut state.has_thread, true) {
                    true => (Place::Thread, replaced),
                    false => (Place::NewThread, replaced),
                }
            }
            Some(work) => (Place::Here(Job { request, work }), None),
        };
        drop(state);
        place
    }

    /// The next job of the thread. The thread ends if there is none.
    pub(super) fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.waiting.take();
        state.has_thread = job.is_some();
        job
    }

    /// Keeps the mechanism for its next step, unless another step was asked for meanwhile.
    pub(super) fn keep(&self, id: StepId, running: Option<Running>) {
        let mut state = self.lock();
        let old = if state.last == Some(id) {
            mem::replace(&mut state.mechanism, running)
        } else {
            running
        };
        drop(state);
        drop(old);
    }
}

impl Job {
    pub(super) const fn id(&self) -> StepId {
        self.request.id()
    }

    /// Takes the step. Returns the mechanism as well, if it takes another one.
    pub(super) fn run(self) -> (Answer, Option<Running>) {
        let Self { request, work } = self;
        let token = request.token.as_ref().map(|token| &**token.expose()).unwrap_or_default();
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let mut running = match work {
                Work::Continue(running) => running,
                Work::Begin(maker, seed) => Running {
                    mechanism: (maker.make)(&request.host, seed)?,
                    may_block: maker.may_block,
                },
            };
            let step = running.mechanism.step(token)?;
            Ok((step, running))
        }));
        match stepped {
            Ok(Ok((step @ Step::Respond(_), running))) => (Ok(step), Some(running)),
            Ok(Ok((step, _))) => (Ok(step), None),
            Ok(Err(error)) => (Err(error), None),
            // Its message may contain anything.
            Err(_) => {
                (Err(SaslError::Unavailable("the mechanism or callback panicked".into())), None)
            }
        }
    }
}
