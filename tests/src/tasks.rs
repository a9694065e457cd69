//! Tasks on any runtime: spawn one, wait for one, and limit how long it takes.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use zk_client::Handler;

use crate::lock;

/// Runs `test` as a task of `handler`, to its end.
pub(crate) async fn run_test<H: Handler, F>(handler: H, test: impl FnOnce(H) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let test = test(handler.clone());
    spawn(&handler, test).await;
}

/// Spawns `task` on `handler`. The future that is returned waits for its result; it panics if the task does.
pub(crate) fn spawn<H, T, F>(handler: &H, task: F) -> impl Future<Output = T> + Send + use<H, T, F>
where
    H: Handler,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (sender, end) = oneshot();
    handler.spawn(async move {
        let mut task = pin!(task);
        let ended = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        sender.send(ended.await);
    });
    async {
        match end.await {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Runs `work`, which may block, on a thread of its own, and waits for its result.
pub(crate) async fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, end) = oneshot();
    thread::spawn(move || sender.send(catch_unwind(AssertUnwindSafe(work))));
    match end.await {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs `future` to its end on this thread, without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

struct Sender<T>(Arc<Mutex<Slot<T>>>);

enum Slot<T> {
    Empty(Option<Waker>),
    Full(Option<T>),
}

impl<T> Sender<T> {
    fn send(self, value: T) {
        if let Slot::Empty(Some(waker)) =
            std::mem::replace(&mut *lock(&self.0), Slot::Full(Some(value)))
        {
            waker.wake();
        }
    }
}

fn oneshot<T: Send>() -> (Sender<T>, impl Future<Output = T> + Send) {
    let slot = Arc::new(Mutex::new(Slot::Empty(None)));
    let sender = Sender(slot.clone());
    let end = poll_fn(move |context| match &mut *lock(&slot) {
        Slot::Empty(waker) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
        Slot::Full(value) => Poll::Ready(value.take().expect("it is not polled after it is ready")),
    });
    (sender, end)
}

/// The result of `future`, or `None` if it takes longer than `limit`.
pub(crate) async fn with_timeout<H: Handler, F: Future>(
    handler: &H,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(handler.sleep_until(handler.now() + limit));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}
