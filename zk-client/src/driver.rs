//! The driver: the event loop of a client, one task that moves bytes and time between a handler and a session.
//!
//! Each turn polls the connection once (one write of all that is queued, one read of all that has arrived), polls the
//! session once under the client's lock, and then dispatches results and acts on the connection with no lock held. When a
//! turn finds nothing to do, the driver sleeps until the connection, the timer or a [call](crate::inner) wakes it.

use std::{
    fmt,
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use zk_handler::{AsyncRead, AsyncWrite, Handler};
use zk_proto::{Time, frame::FrameReader, session::Cause};

use crate::{
    cell::Wakers,
    connect::{open, probe},
    dispatch::Effect,
    inner::{ClientInner, SpawnDriver},
    lifecycle::Action,
    transport::{Stream, Transport},
};

pub(crate) struct Driver<H: Handler> {
    inner: Arc<ClientInner>,
    handler: H,
    transport: Transport,
    connection: Connection<Stream<H::Stream>>,
    /// What has happened on the connection since the last poll of the session.
    event: ConnectionEvent,
    reader: FrameReader,
    /// What the session has sent, and the connection has not taken yet.
    unwritten: BytesMut,
    /// Whether the connection may have taken bytes that it has not sent yet.
    is_unflushed: bool,
    /// The first error of a write. What has arrived before is read nevertheless: replies, and with TLS, the reason.
    write_error: Option<io::Error>,
    timer: Option<Timer>,
    /// Buffers, which keep their memory from turn to turn.
    effects: Vec<Effect>,
    actions: Vec<Action>,
    wakers: Wakers,
    /// How many attempts to connect there were. It says with which address of a host to begin.
    attempts: usize,
    max_reply: usize,
    has_ended: bool,
}

enum Connection<S> {
    None,
    Opening(Pin<Box<dyn Future<Output = io::Result<S>> + Send>>),
    Open(S),
}

enum ConnectionEvent {
    None,
    Connected,
    Received,
    Lost(Cause),
}

/// The result of a poll of the session.
#[derive(PartialEq, Eq)]
enum Progress {
    /// There is nothing to do: the driver sleeps, and will be woken.
    Idle,
    /// There was something to do, and there may be more.
    Busy,
    /// The session has ended.
    Ended,
}

struct Timer {
    deadline: Time,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How many turns the driver takes before it lets other tasks run.
const MAX_TURNS: usize = 32;

/// Returns the function that spawns the driver of a client on `handler`.
pub(crate) fn spawn_on(handler: impl Handler, transport: Transport) -> SpawnDriver {
    Box::new(move |inner| handler.spawn(Driver::new(inner, handler.clone(), transport.clone())))
}

impl<H: Handler> Driver<H> {
    fn new(inner: Arc<ClientInner>, handler: H, transport: Transport) -> Self {
        let max_reply = inner.lock().lifecycle.session.config().max_reply;
        Self {
            inner,
            handler,
            transport,
            connection: Connection::None,
            event: ConnectionEvent::None,
            reader: FrameReader::new(max_reply),
            unwritten: BytesMut::new(),
            is_unflushed: false,
            write_error: None,
            timer: None,
            effects: Vec::new(),
            actions: Vec::new(),
            wakers: Wakers::default(),
            attempts: 0,
            max_reply,
            has_ended: false,
        }
    }

    /// Writes and reads once, and leaves the result in `event`.
    fn poll_connection(&mut self, context: &mut Context<'_>) {
        match &mut self.connection {
            Connection::None => {}
            Connection::Opening(opening) => match opening.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(stream)) => {
                    self.connection = Connection::Open(stream);
                    self.reader = FrameReader::new(self.max_reply);
                    self.forget_written();
                    self.event = ConnectionEvent::Connected;
                }
                Poll::Ready(Err(error)) => self.lose_connection(Cause::of(error)),
            },
            Connection::Open(stream) => {
                let mut stream = Pin::new(stream);
                if self.write_error.is_none() {
                    let (unwritten, is_unflushed) = (&mut self.unwritten, &mut self.is_unflushed);
                    let written = write(stream.as_mut(), context, unwritten, is_unflushed);
                    self.write_error = written.err();
                }
                match stream.as_mut().poll_read(context, self.reader.spare()) {
                    Poll::Pending => {
                        if let Some(error) = self.write_error.take() {
                            self.lose_connection(Cause::of(error));
                        }
                    }
                    Poll::Ready(Ok(read @ 1..)) => {
                        self.reader.advance(read);
                        self.event = ConnectionEvent::Received;
                    }
                    Poll::Ready(Ok(0)) => {
                        // Servers close a connection of the wrong kind without a word.
                        let may_want_tls = stream.is_plain() && self.reader.received() == 0;
                        self.lose_connection(match may_want_tls {
                            true => {
                                "closed by the server (it may not be serving, or take TLS only)"
                                    .into()
                            }
                            false => "closed by the server".into(),
                        });
                    }
                    Poll::Ready(Err(error)) => self.lose_connection(match error.kind() {
                        io::ErrorKind::InvalidData => Cause::below(error),
                        _ => Cause::of(error),
                    }),
                }
            }
        }
    }

    fn lose_connection(&mut self, cause: Cause) {
        self.connection = Connection::None;
        self.forget_written();
        self.event = ConnectionEvent::Lost(cause);
    }

    fn forget_written(&mut self) {
        self.unwritten.clear();
        self.is_unflushed = false;
        self.write_error = None;
    }

    /// Hands the session what has happened and takes its outputs, under the client's lock. If there is nothing to do, sets
    /// the timer and leaves the waker of `context` to those who will have something.
    fn poll_session(&mut self, context: &Context<'_>) -> Progress {
        let now = Time::from_origin(self.handler.now());
        let mut state = self.inner.lock();
        let lifecycle = &mut state.lifecycle;
        let mut is_busy = true;
        // A call may have made the session leave the connection. Then the event is of the connection that was left.
        lifecycle.take_outputs(now, &mut self.effects, &mut self.actions);
        if self.actions.iter().any(Action::leaves_connection) {
            self.event = ConnectionEvent::None;
        }
        match mem::replace(&mut self.event, ConnectionEvent::None) {
            ConnectionEvent::None => is_busy = false,
            ConnectionEvent::Connected => lifecycle.session.handle_connected(now),
            ConnectionEvent::Received => lifecycle.session.handle_data(now, &mut self.reader),
            ConnectionEvent::Lost(cause) => lifecycle.session.handle_disconnected(now, cause),
        }
        if lifecycle.session.poll_timeout().is_some_and(|deadline| deadline <= now) {
            lifecycle.session.handle_timeout(now);
        }
        lifecycle.check_start_deadline(now, &mut self.effects);
        lifecycle.take_outputs(now, &mut self.effects, &mut self.actions);
        if matches!(self.connection, Connection::Open(_)) && self.unwritten.is_empty() {
            is_busy |= lifecycle.session.poll_transmit(now, &mut self.unwritten);
        }
        if lifecycle.check_session_end(&mut self.effects) {
            return Progress::Ended;
        }
        if is_busy || !self.effects.is_empty() || !self.actions.is_empty() {
            return Progress::Busy;
        }
        let deadline = lifecycle.next_deadline();
        ClientInner::sleep_driver(state, context.waker());
        self.set_timer(deadline);
        Progress::Idle
    }

    /// Sets the timer to go off at `deadline` or earlier. Most deadlines move on with every packet: an earlier timer is
    /// kept, and the driver sleeps again when it goes off.
    fn set_timer(&mut self, deadline: Option<Time>) {
        let Some(deadline) = deadline else { return };
        if self.timer.as_ref().is_none_or(|timer| timer.deadline > deadline) {
            let sleep = Box::pin(self.handler.sleep_until(deadline.since_origin()));
            self.timer = Some(Timer { deadline, sleep });
        }
    }

    /// Whether the timer has gone off.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        let is_over = timer.sleep.as_mut().poll(context).is_ready();
        if is_over {
            self.timer = None;
        }
        is_over
    }

    fn perform_actions(&mut self) {
        for action in mem::take(&mut self.actions) {
            match action {
                Action::Disconnect => {
                    // The last request, a close, was written already as far as the connection took it.
                    if let Connection::Open(stream) = &mut self.connection {
                        stream.close_now(&mut Context::from_waker(Waker::noop()));
                    }
                    self.connection = Connection::None;
                    self.forget_written();
                    self.event = ConnectionEvent::None;
                }
                Action::Connect(host, deadline) => {
                    self.attempts += 1;
                    let (handler, transport) = (self.handler.clone(), self.transport.clone());
                    let opening = open(handler, transport, host, deadline, self.attempts);
                    self.connection = Connection::Opening(Box::pin(opening));
                }
                Action::TakeSaslStep(request) => self.inner.take_sasl_step(request),
                Action::Probe(host, deadline) => {
                    let (inner, handler) = (self.inner.clone(), self.handler.clone());
                    let transport = self.transport.clone();
                    self.handler.spawn(async move {
                        let answer = probe(handler, transport, host.clone(), deadline).await;
                        inner.with_lifecycle(|lifecycle, now| {
                            lifecycle.session.handle_probed(now, &host, answer);
                        });
                    });
                }
            }
        }
    }
}

/// Writes `unwritten` as far as the connection takes it, and flushes it.
fn write(
    mut stream: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    unwritten: &mut BytesMut,
    is_unflushed: &mut bool,
) -> io::Result<()> {
    while !unwritten.is_empty() {
        match stream.as_mut().poll_write(context, unwritten)? {
            Poll::Pending => break,
            Poll::Ready(0) => {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "closed while writing"));
            }
            Poll::Ready(written) => {
                unwritten.advance(written);
                *is_unflushed = true;
            }
        }
    }
    if *is_unflushed && stream.as_mut().poll_flush(context)?.is_ready() {
        *is_unflushed = false;
    }
    Ok(())
}

/// No field is ever pinned in place.
impl<H: Handler> Unpin for Driver<H> {}

impl<H: Handler> Future for Driver<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..MAX_TURNS {
            this.poll_connection(context);
            let progress = this.poll_session(context);
            if progress == Progress::Idle {
                if this.poll_timer(context) {
                    continue;
                }
                return Poll::Pending;
            }
            this.inner.dispatcher.dispatch(&mut this.effects, &mut this.wakers);
            this.perform_actions();
            if progress == Progress::Ended {
                this.has_ended = true;
                this.inner.end_driver();
                return Poll::Ready(());
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<H: Handler> Drop for Driver<H> {
    /// If the runtime drops the driver before the session has ended: fails all calls, and tries to tell the server.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let now = Time::from_origin(self.handler.now());
        let mut state = self.inner.lock();
        let lifecycle = &mut state.lifecycle;
        lifecycle.session.close(now);
        lifecycle.session.poll_transmit(now, &mut self.unwritten);
        if let Connection::Open(stream) = &mut self.connection {
            let context = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut *stream).poll_write(context, &self.unwritten);
            stream.close_now(context);
        }
        lifecycle.session.handle_disconnected(now, "the runtime ended");
        lifecycle.take_outputs(now, &mut self.effects, &mut self.actions);
        lifecycle.check_session_end(&mut self.effects);
        lifecycle.abandon(&mut self.effects);
        drop(state);
        self.inner.dispatcher.dispatch(&mut self.effects, &mut self.wakers);
    }
}

impl<H: Handler> fmt::Debug for Driver<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({})", self.handler.name())
    }
}
