//! The I/O thread: who shares it, and how long it lives.

use std::{
    cell::RefCell,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, ThreadId},
    time::Duration,
};

use zk_handler::Handler;
use zk_handler_thread::ThreadHandler;

const PATIENCE: Duration = Duration::from_secs(60);

/// The thread of `handler`'s tasks.
fn thread_of(handler: &ThreadHandler) -> ThreadId {
    let (say, said) = channel();
    handler.spawn(async move { say.send(thread::current().id()).expect("somebody waits") });
    said.recv_timeout(PATIENCE).expect("the task to run")
}

/// Hears of the end of `handler`'s thread.
fn end_of(handler: &ThreadHandler) -> Receiver<()> {
    thread_local!(static KEPT: RefCell<Option<Sender<()>>> = const { RefCell::new(None) });

    let (kept, end) = channel();
    handler.spawn(async move { KEPT.set(Some(kept)) });
    thread_of(handler);
    end
}

#[test]
fn clones_share_a_thread_and_others_do_not() {
    let (first, second) = (ThreadHandler::new(), ThreadHandler::new());
    assert_eq!(thread_of(&first), thread_of(&first.clone()));
    assert_ne!(thread_of(&first), thread_of(&second));
}

#[test]
fn the_thread_ends_with_the_last_handler_and_the_last_task() {
    let (first, second) = (ThreadHandler::new(), ThreadHandler::new());
    let end = end_of(&first);
    let clone = first.clone();
    drop(first);
    thread_of(&clone);
    let sleep = clone.sleep_until(clone.now() + Duration::from_millis(50));
    let (say, said) = channel();
    clone.spawn(async move {
        sleep.await;
        say.send(()).expect("somebody waits");
    });
    drop(clone);
    said.recv_timeout(PATIENCE).expect("the task to end");
    // The sender goes with the thread.
    assert_eq!(end.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    thread_of(&second);
}
