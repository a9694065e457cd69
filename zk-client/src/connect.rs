//! How a connection to a host is opened: look up its addresses, connect to one of them, do the handshake of TLS if
//! there is TLS, all within a deadline. Four-letter words have a connection of their own each.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use zk_handler::{AsyncRead, AsyncWrite, Handler};
use zk_proto::{HostPort, Time, session::Probed};

use crate::transport::{Stream, Transport, Wrap};

/// Opens a connection to one of `host`'s addresses. Each address gets an equal share of the remaining time.
/// Each `attempt` begins with another address, so that a dead one is not always tried first.
pub(crate) async fn open<H: Handler>(
    handler: H,
    transport: Transport,
    host: Arc<HostPort>,
    deadline: Time,
    attempt: usize,
) -> io::Result<Stream<H::Stream>> {
    let wrap = within(&handler, deadline, transport.prepare(&host)).await;
    let wrap = wrap.map_err(|error| timed_out(error, "timed out reading certificates"))?;
    let resolving = within(&handler, deadline, handler.resolve(&host.host, host.port)).await;
    let mut addresses = resolving
        .map_err(|error| timed_out(error, &format!("timed out resolving {}", host.host)))?;
    if let Some(turn) = attempt.checked_rem(addresses.len()) {
        addresses.rotate_left(turn);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "host has no address");
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        match connect_within_share(&handler, &wrap, *address, deadline, left).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same error, or if it is a timeout, one that says `what` took too long.
fn timed_out(error: io::Error, what: &str) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(error.kind(), what),
        _ => error,
    }
}

async fn connect_within_share<H: Handler>(
    handler: &H,
    wrap: &Wrap,
    address: SocketAddr,
    deadline: Time,
    left: usize,
) -> io::Result<Stream<H::Stream>> {
    let now = Time::from_origin(handler.now());
    let share = deadline.since(now) / u32::try_from(left).unwrap_or(u32::MAX);
    let end = now.after(share);
    let stream = within(handler, end, handler.connect(address)).await?;
    let wrapping = within(handler, end, wrap.wrap(stream)).await;
    wrapping.map_err(|error| timed_out(error, "timed out in the TLS handshake"))
}

/// The longest answer to a four-letter word that is accepted.
const MAX_ANSWER: usize = 4 << 20;

/// Whether `host` serves and accepts writes, by its answer to `isro`.
pub(crate) async fn probe<H: Handler>(
    handler: H,
    transport: Transport,
    host: Arc<HostPort>,
    deadline: Time,
) -> Probed {
    match four_letter_word(handler, transport, host, *b"isro", deadline).await {
        Ok(answer) => Probed::of_answer(&answer),
        Err(_) => Probed::Unusable,
    }
}

/// Sends a four-letter word to `host` on a connection of its own, and returns the answer.
pub(crate) async fn four_letter_word<H: Handler>(
    handler: H,
    transport: Transport,
    host: Arc<HostPort>,
    word: [u8; 4],
    deadline: Time,
) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = open(handler.clone(), transport, host, deadline, 0).await?;
        let mut unsent: &[u8] = &word;
        while !unsent.is_empty() {
            let written =
                poll_fn(|context| Pin::new(&mut stream).poll_write(context, unsent)).await?;
            unsent = unsent.get(written.max(1)..).unwrap_or_default();
        }
        poll_fn(|context| Pin::new(&mut stream).poll_flush(context)).await?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 8 << 10]);
        loop {
            let read =
                poll_fn(|context| Pin::new(&mut stream).poll_read(context, &mut buffer)).await?;
            match buffer.get(..read) {
                None | Some([]) => return Ok(answer),
                Some(more) if answer.len() + more.len() <= MAX_ANSWER => answer.extend(more),
                Some(_) => return Err(io::Error::other("the answer is too long")),
            }
        }
    };
    within(&handler, deadline, exchange).await
}

/// Runs `task`, and fails with `TimedOut` at `deadline`. The clock is read at every poll, because the session has a
/// timer for the same deadline: if that one wakes the driver first, the error must still say which step took too
/// long.
async fn within<H: Handler, T>(
    handler: &H,
    deadline: Time,
    task: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut task = pin!(task);
    let mut sleep = pin!(handler.sleep_until(deadline.since_origin()));
    poll_fn(|context| {
        if let Poll::Ready(result) = task.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        let timed_out =
            sleep.as_mut().poll(context).is_ready() || Time::from_origin(handler.now()) >= deadline;
        match timed_out {
            true => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "timed out"))),
            false => Poll::Pending,
        }
    })
    .await
}
