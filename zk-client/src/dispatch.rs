//! The dispatch of results: to calls, watches, listeners and promises, with no lock held.

use std::sync::Arc;

use zk_handler::{CallbackQueue, Handler};
use zk_proto::session::SessionState;

use crate::{
    Error,
    cell::Wakers,
    from_reply::ReplyResult,
    listeners::Listeners,
    pending_call::{PendingCall, WatchNotice},
    result::Promise,
};

/// A result to be dispatched.
pub(crate) enum Effect {
    CompleteCall(Arc<dyn PendingCall>, ReplyResult),
    /// Something happened to the watch that the call has armed.
    NotifyWatch(Arc<dyn PendingCall>, WatchNotice),
    ChangeState(SessionState),
    /// The client has stopped: no change of state follows.
    EndStates,
    CompletePromise(Promise<()>, Result<(), Error>),
}

/// Where results go.
pub(crate) struct Dispatcher {
    /// Runs the callbacks of results, and the listeners.
    pub(crate) completions: CallbackQueue,
    /// Runs the callbacks of watches.
    pub(crate) events: CallbackQueue,
    pub(crate) listeners: Listeners,
}

impl Dispatcher {
    pub(crate) fn new<H: Handler>(handler: &H) -> Self {
        Self {
            completions: CallbackQueue::new("completions", handler.clone()),
            events: CallbackQueue::new("watches", handler.clone()),
            listeners: Listeners::default(),
        }
    }

    /// Dispatches `effects` in order, and wakes the tasks that wait for them. Call it with no lock held.
    pub(crate) fn dispatch(&self, effects: &mut Vec<Effect>, wakers: &mut Wakers) {
        for effect in effects.drain(..) {
            match effect {
                Effect::CompleteCall(call, reply) => {
                    call.complete(reply, &self.completions, wakers);
                }
                Effect::NotifyWatch(call, notice) => {
                    call.notify_watch(notice, &self.events, wakers);
                }
                Effect::ChangeState(state) => {
                    self.listeners.notify(state, &self.completions, wakers);
                }
                Effect::EndStates => self.listeners.end_streams(wakers),
                Effect::CompletePromise(promise, result) => promise.complete(result),
            }
        }
        wakers.wake();
    }
}
