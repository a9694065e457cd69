//! Tasks and timers of the user on the client's runtime.

use std::time::Duration;

use crate::{
    AsyncResult, Client, Error, Event,
    stop::{Stop, until_stopped},
};

impl Client {
    /// Runs `task` on the client's runtime, and returns a handle on its result. If the handle is dropped, the task goes on.
    pub fn spawn<T: Clone + Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> AsyncResult<T> {
        self.inner().spawn_task(task)
    }

    /// Runs a task on the client's runtime, and returns a handle on its result. The task gets an event that is set when the
    /// handle is cancelled or dropped, so that it can stop and undo what it did.
    pub fn spawn_cancellable<T, R>(&self, task: impl FnOnce(Event) -> R) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let abandon = Event::new();
        self.inner().spawn_task(task(abandon.clone())).abandoned_by(abandon)
    }

    /// Does what [`spawn_cancellable`](Self::spawn_cancellable) does, for a task that is a request.
    pub(crate) fn request_cancellable<T, R>(&self, task: impl FnOnce(Event) -> R) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let abandon = Event::new();
        self.inner().spawn_request(task(abandon.clone())).abandoned_by(abandon)
    }

    /// Waits for `duration`. The timer is one of the client's runtime, but the future can be awaited anywhere. If that
    /// runtime has ended, it completes at once.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, the timer is stopped.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (inner, due) = (self.inner().clone(), self.inner().now().after(duration));
        let slept = self.spawn_cancellable(move |abandon| async move {
            until_stopped(&Stop::on(abandon), inner.sleep_until(due)).await;
            Ok(())
        });
        async {
            let _ = slept.await;
        }
    }
}
