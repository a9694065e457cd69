//! When to stop the work of a task.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use crate::{Error, Event, inner::ClientInner};

/// When to stop: the caller has given up, or a timeout has passed.
pub(crate) struct Stop {
    abandoned: Event,
    timeout: Option<Duration>,
    timer: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Stop {
    pub(crate) fn new(client: &ClientInner, abandoned: Event, timeout: Option<Duration>) -> Self {
        let timer = timeout.map(|timeout| Box::pin(client.sleep(timeout)) as Pin<Box<_>>);
        Self { abandoned, timeout, timer: Mutex::new(timer) }
    }

    /// No timeout.
    pub(crate) fn on(abandoned: Event) -> Self {
        Self { abandoned, timeout: None, timer: Mutex::new(None) }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.is_set()
    }

    /// The error of work that was stopped. `what` is what it waited for.
    pub(crate) fn error(&self, what: &str) -> Error {
        if self.is_abandoned() {
            Error::cancelled(None)
        } else {
            Error::timeout(what, self.timeout.unwrap_or_default())
        }
    }
}

/// Runs `task`, and returns its result; `None` if it has to stop first. Then the task is dropped.
pub(crate) async fn until_stopped<T>(stop: &Stop, task: impl Future<Output = T>) -> Option<T> {
    let mut task = pin!(task);
    let mut abandoned = pin!(stop.abandoned.happened());
    poll_fn(|context| {
        if let Poll::Ready(value) = task.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        if abandoned.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let mut timer = stop.timer.lock().unwrap_or_else(PoisonError::into_inner);
        match timer.as_mut() {
            Some(timer) => timer.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// Returns the result of the future that completes first. The other is dropped.
pub(crate) async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => other.as_mut().poll(context),
    })
    .await
}
