//! The I/O thread: which handlers share it, when it ends, and what belongs to it.

use std::{
    cell::RefCell,
    future::Future,
    io::{self, ErrorKind, Read},
    net::{Ipv4Addr, TcpListener, TcpStream},
    pin::{Pin, pin},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use zk_handler::{AsyncRead, Handler};
use zk_handler_thread::{Stream, ThreadHandler};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `task` on `handler` and returns its result.
fn run<T: Send + 'static>(
    handler: &ThreadHandler,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let (say, said) = channel();
    handler.spawn(async move { say.send(task.await).expect("the receiver is alive") });
    said.recv_timeout(TIMEOUT).expect("the task to end")
}

/// The thread of `handler`'s tasks.
fn thread_of(handler: &ThreadHandler) -> ThreadId {
    run(handler, async { thread::current().id() })
}

/// A connection of `handler`, and its other end.
fn pair(handler: &ThreadHandler) -> (Stream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let inside = handler.clone();
    let stream = run(handler, async move { inside.connect(address).await });
    let (peer, _) = listener.accept().expect("a connection");
    peer.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    (stream.expect("a connection"), peer)
}

/// Polls a read once.
fn read(stream: &mut Stream) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut [0])
}

fn is_refused<T>(poll: &Poll<io::Result<T>>) -> bool {
    matches!(poll, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Other)
}

/// A receiver that is disconnected when the thread of `handler` ends.
fn end_of(handler: &ThreadHandler) -> Receiver<()> {
    thread_local!(static GUARD: RefCell<Option<Sender<()>>> = const { RefCell::new(None) });

    let (guard, end) = channel();
    handler.spawn(async move { GUARD.set(Some(guard)) });
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
fn the_io_thread_may_not_block_and_others_may() {
    let handler = ThreadHandler::new();
    let inside = handler.clone();
    assert!(!run(&handler, async move { inside.may_block() }));
    assert!(handler.may_block());
}

#[test]
fn the_thread_ends_after_the_last_handler_and_the_last_task() {
    let (first, second) = (ThreadHandler::new(), ThreadHandler::new());
    let end = end_of(&first);
    let clone = first.clone();
    drop(first);
    thread_of(&clone);
    let sleep = clone.sleep_until(clone.now() + Duration::from_millis(50));
    let (say, said) = channel();
    clone.spawn(async move {
        sleep.await;
        say.send(()).expect("the receiver is alive");
    });
    drop(clone);
    said.recv_timeout(TIMEOUT).expect("the task to end");
    // The sender is dropped with the thread.
    assert_eq!(end.recv_timeout(TIMEOUT), Err(RecvTimeoutError::Disconnected));
    thread_of(&second);
}

#[test]
fn a_connection_works_only_on_its_thread() {
    let (first, second) = (ThreadHandler::new(), ThreadHandler::new());
    let (mut stream, mut peer) = pair(&first);
    assert!(is_refused(&read(&mut stream)));
    let (refused, mut stream) = run(&second, async { (is_refused(&read(&mut stream)), stream) });
    assert!(refused);
    // The connection still works on its own thread.
    let (waits, stream) = run(&first, async { (read(&mut stream).is_pending(), stream) });
    assert!(waits);
    run(&second, async { drop(stream) });
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);

    let address = peer.local_addr().expect("an address");
    let connect = pin!(first.connect(address));
    assert!(is_refused(&connect.poll(&mut Context::from_waker(Waker::noop()))));
}

#[test]
fn a_connection_may_outlive_the_thread() {
    let handler = ThreadHandler::new();
    let end = end_of(&handler);
    let (mut stream, mut peer) = pair(&handler);
    drop(handler);
    assert_eq!(end.recv_timeout(TIMEOUT), Err(RecvTimeoutError::Disconnected));
    assert!(is_refused(&read(&mut stream)));
    drop(stream);
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_timer_works_on_any_thread_handler() {
    let (first, second) = (ThreadHandler::new(), ThreadHandler::new());
    let deadline = first.now() + Duration::from_millis(50);
    run(&second, first.sleep_until(deadline));
    assert!(first.now() >= deadline);
}

#[test]
#[should_panic(expected = "a timer of a ThreadHandler only works in its tasks")]
fn a_timer_panics_outside_of_tasks() {
    let handler = ThreadHandler::new();
    let sleep = pin!(handler.sleep_until(Duration::MAX));
    let _ = sleep.poll(&mut Context::from_waker(Waker::noop()));
}
