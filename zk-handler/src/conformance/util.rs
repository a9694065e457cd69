//! Helpers of the tests.

use std::{
    future::{Future, poll_fn},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    pin::{Pin, pin},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::{AsyncRead, AsyncWrite, Handler};

/// The timeout for everything that takes a short time on an idle machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for the next message, and panics after [`TIMEOUT`].
#[track_caller]
pub(super) fn recv<T>(messages: &Receiver<T>, what: &str) -> T {
    match messages.recv_timeout(TIMEOUT) {
        Ok(message) => message,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: nothing within {TIMEOUT:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("{what}: the sender was dropped"),
    }
}

/// Spawns `task` on `handler`. The receiver gets its result.
pub(super) fn spawn<T: Send + 'static>(
    handler: &impl Handler,
    task: impl Future<Output = T> + Send + 'static,
) -> Receiver<T> {
    let (done, result) = channel();
    handler.spawn(async move {
        let _ = done.send(task.await);
    });
    result
}

/// Runs `task` on `handler` and waits for its result.
#[track_caller]
pub(super) fn run<T: Send + 'static>(
    handler: &impl Handler,
    what: &str,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    recv(&spawn(handler, task), what)
}

/// Polls `future` once.
pub(super) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Lets other tasks run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits until `duration` has passed on the handler's clock.
pub(super) async fn sleep<H: Handler>(handler: &H, duration: Duration) {
    handler.sleep_until(handler.now() + duration).await;
}

/// A gate that is closed at first and, once opened, stays open. Tasks and threads can wait for it.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<GateInner>);

#[derive(Default)]
struct GateInner {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    wakers: Vec<Waker>,
}

impl Gate {
    pub(super) fn open(&self) {
        let mut state = self.0.state.lock().unwrap();
        state.open = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.0.opened.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) async fn opened(&self) {
        poll_fn(|context| {
            let mut state = self.0.state.lock().unwrap();
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Blocks the thread until the gate is open, or until a timeout, so that the thread ends in any case.
    pub(super) fn block(&self) {
        let state = self.0.state.lock().unwrap();
        let _ = self.0.opened.wait_timeout_while(state, 2 * TIMEOUT, |state| !state.open).unwrap();
    }
}

pub(super) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// Accepts a connection that is already established, and sets its timeouts.
pub(super) fn accept(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().expect("a connection");
    peer.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    peer.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
    peer.set_nodelay(true).expect("no delay");
    peer
}

/// A connection of `handler`, and the peer.
#[track_caller]
pub(super) fn pair<H: Handler>(handler: &H) -> (H::Stream, TcpStream) {
    let (listener, address) = listen();
    let stream = run(handler, "connect", connect(handler.clone(), address)).expect("connect");
    (stream, accept(&listener))
}

pub(super) async fn connect<H: Handler>(handler: H, address: SocketAddr) -> io::Result<H::Stream> {
    handler.connect(address).await
}

pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> io::Result<usize> {
    poll_fn(|context| Pin::new(&mut *stream).poll_read(context, buffer)).await
}

pub(super) async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    mut buffer: &mut [u8],
) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(stream, buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer = &mut buffer[count..],
        }
    }
    Ok(())
}

pub(super) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match read(stream, &mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await
}

/// Sends `rounds` small messages, which the peer must send back. Returns the duration of each round.
pub(super) async fn echo(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    rounds: u32,
) -> io::Result<Vec<Duration>> {
    let mut took = Vec::new();
    for round in 0..rounds {
        let begun = Instant::now();
        let mut answer = [0; 4];
        write_all(stream, &round.to_be_bytes()).await?;
        read_exact(stream, &mut answer).await?;
        assert_eq!(u32::from_be_bytes(answer), round);
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// Sends everything back until the end of the stream.
pub(super) fn echo_back(peer: TcpStream) -> io::Result<u64> {
    io::copy(&mut &peer, &mut &peer)
}

/// A long sequence of known bytes.
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    /// The maximum length of a slice.
    pub(super) const MAX_LEN: usize = 1 << 16;
    const PERIOD: usize = 65_521;

    pub(super) fn new() -> Self {
        let mut rng = Rng(7);
        let period: Vec<u8> = (0..Self::PERIOD).map(|_| rng.below(256) as u8).collect();
        let mut pattern = period.clone();
        pattern.extend_from_slice(&period);
        pattern.extend_from_slice(&period[..64]);
        Self(pattern)
    }

    /// The bytes at `range`, which must not be longer than [`MAX_LEN`](Self::MAX_LEN).
    pub(super) fn at(&self, range: Range<usize>) -> &[u8] {
        let start = range.start % Self::PERIOD;
        &self.0[start..start + range.len()]
    }
}

/// A generator of reproducible pseudo-random numbers (xorshift).
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
