//! The tasks of one recipe object that can be cancelled together.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{AsyncResult, Client, Error, Event};

/// The running tasks of one object, which can be stopped together. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct RunningTasks(Arc<Mutex<Vec<Event>>>);

impl RunningTasks {
    /// Does what [`Client::spawn_cancellable`] does, for a task that [`cancel`](Self::cancel) stops too.
    pub(super) fn spawn<T, R>(
        &self,
        client: &Client,
        task: impl FnOnce(Event) -> R,
    ) -> AsyncResult<T>
    where
        T: Clone + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        client.spawn_cancellable(|abandon| {
            let entry = self.enter(abandon.clone());
            let task = task(abandon);
            async {
                let _entry = entry;
                task.await
            }
        })
    }

    /// Stops the running tasks, as if their callers had given up.
    pub(super) fn cancel(&self) {
        let abandoned = mem::take(&mut *self.events());
        abandoned.iter().for_each(Event::set);
    }

    fn enter(&self, abandon: Event) -> RunningTask {
        self.events().push(abandon.clone());
        RunningTask { tasks: self.clone(), abandon }
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running task.
struct RunningTask {
    tasks: RunningTasks,
    abandon: Event,
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.tasks.events().retain(|event| !event.is_same(&self.abandon));
    }
}
