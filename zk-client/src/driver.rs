//! The driver: one task per client that moves bytes and time between a handler and a session.
//!
//! Each turn takes one look at the connection (one write of all that is queued, one read of all that
//! has arrived) and one at the session, under its lock, until neither has anything more; then it sleeps.
//! Results are handed out between the two, with no lock held.

use std::{
    fmt,
    future::Future,
    io,
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
    shared::{Action, DriverState, Effect, Shared, SpawnDriver},
};

pub(crate) struct Driver<H: Handler> {
    shared: Arc<Shared>,
    handler: H,
    connection: Connection<H::Stream>,
    /// What has happened on the connection since the session last heard of it.
    news: News,
    reader: FrameReader,
    writing: BytesMut,
    timer: Option<Timer>,
    effects: Vec<Effect>,
    actions: Vec<Action>,
    wakers: Wakers,
    /// Attempts so far: where to begin in the addresses of a host that has several.
    attempts: usize,
    max_reply: usize,
    done: bool,
}

enum Connection<S> {
    None,
    Opening(Pin<Box<dyn Future<Output = io::Result<S>> + Send>>),
    Open(S),
}

enum News {
    None,
    Connected,
    Received,
    Lost(Cause),
}

/// How a look at the session went.
#[derive(PartialEq, Eq)]
enum Look {
    /// There is nothing to do but wait; the session's callers wake the driver from now on.
    Idle,
    /// There was something, and there may be more.
    Busy,
    /// The session has ended: there is nothing to do but what it has asked for last.
    Ended,
}

struct Timer {
    due: Time,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// How many turns the driver takes before it lets other tasks run.
const TURNS: usize = 32;

/// How the driver of a client that runs on `handler` is spawned.
pub(crate) fn spawn_on(handler: impl Handler) -> SpawnDriver {
    Box::new(move |shared| handler.spawn(Driver::new(shared, handler.clone())))
}

impl<H: Handler> Driver<H> {
    pub(crate) fn new(shared: Arc<Shared>, handler: H) -> Self {
        let max_reply = shared.lock().session.config().max_reply;
        Self {
            shared,
            handler,
            connection: Connection::None,
            news: News::None,
            reader: FrameReader::new(max_reply),
            writing: BytesMut::new(),
            timer: None,
            effects: Vec::new(),
            actions: Vec::new(),
            wakers: Wakers::default(),
            attempts: 0,
            max_reply,
            done: false,
        }
    }

    /// One look at the connection: leaves what has come of it in `news`.
    fn poll_connection(&mut self, context: &mut Context<'_>) {
        match &mut self.connection {
            Connection::None => {}
            Connection::Opening(opening) => match opening.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(stream)) => {
                    self.connection = Connection::Open(stream);
                    self.reader = FrameReader::new(self.max_reply);
                    self.writing.clear();
                    self.news = News::Connected;
                }
                Poll::Ready(Err(error)) => self.lost(Cause::of(error)),
            },
            Connection::Open(stream) => {
                let mut stream = Pin::new(stream);
                let mut wrote = false;
                while !self.writing.is_empty() {
                    match stream.as_mut().poll_write(context, &self.writing) {
                        Poll::Pending => break,
                        Poll::Ready(Ok(written @ 1..)) => {
                            self.writing.advance(written);
                            wrote = true;
                        }
                        Poll::Ready(Ok(0)) => return self.lost("closed while writing".into()),
                        Poll::Ready(Err(error)) => return self.lost(Cause::of(error)),
                    }
                }
                if wrote && let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(context) {
                    return self.lost(Cause::of(error));
                }
                match stream.as_mut().poll_read(context, self.reader.spare()) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(read @ 1..)) => {
                        self.reader.advance(read);
                        self.news = News::Received;
                    }
                    Poll::Ready(Ok(0)) => self.lost("closed by the server".into()),
                    Poll::Ready(Err(error)) => self.lost(Cause::of(error)),
                }
            }
        }
    }

    fn lost(&mut self, cause: Cause) {
        self.connection = Connection::None;
        self.writing.clear();
        self.news = News::Lost(cause);
    }

    /// One look at the session, under its lock.
    fn poll_session(&mut self, context: &Context<'_>) -> Look {
        let now = Time::from_origin(self.handler.now());
        let mut guard = self.shared.lock();
        let core = &mut *guard;
        let mut busy = true;
        // Callers may have had the session leave a connection: what has come of that is no news.
        core.drain(now, &mut self.effects, &mut self.actions);
        if self.actions.iter().any(Action::leaves_connection) {
            self.news = News::None;
        }
        match std::mem::replace(&mut self.news, News::None) {
            News::None => busy = false,
            News::Connected => core.session.handle_connected(now),
            News::Received => core.session.handle_data(now, &mut self.reader),
            News::Lost(cause) => core.session.handle_disconnected(now, cause),
        }
        if core.session.poll_timeout().is_some_and(|due| due <= now) {
            core.session.handle_timeout(now);
        }
        core.check_start(now, self.shared.connect_timeout(), &mut self.effects);
        core.drain(now, &mut self.effects, &mut self.actions);
        if matches!(self.connection, Connection::Open(_)) && self.writing.is_empty() {
            busy |= core.session.poll_transmit(now, &mut self.writing);
        }
        if core.check_end(&mut self.effects) {
            return Look::Ended;
        }
        if busy || !self.effects.is_empty() || !self.actions.is_empty() {
            return Look::Busy;
        }
        let due = [core.session.poll_timeout(), core.start_deadline].into_iter().flatten().min();
        core.driver = DriverState::Asleep(context.waker().clone());
        drop(guard);
        self.set_timer(due);
        Look::Idle
    }

    /// Sees to it that the timer goes off no later than `due`. One that goes off earlier will do: most
    /// deadlines move on with every packet, and need no timer of their own.
    fn set_timer(&mut self, due: Option<Time>) {
        let Some(due) = due else { return };
        if self.timer.as_ref().is_none_or(|timer| timer.due > due) {
            let sleep = Box::pin(self.handler.sleep_until(due.since_origin()));
            self.timer = Some(Timer { due, sleep });
        }
    }

    /// Whether the timer has gone off.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        let gone = timer.sleep.as_mut().poll(context).is_ready();
        if gone {
            self.timer = None;
        }
        gone
    }

    fn act(&mut self) {
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Disconnect => {
                    // What is still to be written, such as a last request, goes as far as it can.
                    self.connection = Connection::None;
                    self.writing.clear();
                    self.news = News::None;
                }
                Action::Connect(host, deadline) => {
                    self.attempts += 1;
                    self.connection = Connection::Opening(Box::pin(open(
                        self.handler.clone(),
                        host,
                        deadline,
                        self.attempts,
                    )));
                }
                Action::Probe(host, deadline) => {
                    let shared = self.shared.clone();
                    let handler = self.handler.clone();
                    self.handler.spawn(async move {
                        let writable =
                            probe(handler, host.clone(), deadline).await.unwrap_or(false);
                        shared.with_session(|core, now| {
                            core.session.handle_probed(now, &host, writable);
                        });
                    });
                }
            }
        }
    }
}

/// No field is ever pinned in place.
impl<H: Handler> Unpin for Driver<H> {}

impl<H: Handler> Future for Driver<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..TURNS {
            this.poll_connection(context);
            let look = this.poll_session(context);
            if look == Look::Idle {
                if this.poll_timer(context) {
                    continue;
                }
                return Poll::Pending;
            }
            this.shared.carry_out(&mut this.effects, &mut this.wakers);
            this.act();
            if look == Look::Ended {
                this.done = true;
                this.shared.driver_ends();
                return Poll::Ready(());
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<H: Handler> Drop for Driver<H> {
    /// The runtime ends before the client did: whoever waits is told, and so is the server if it can be.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let now = Time::from_origin(self.handler.now());
        let mut guard = self.shared.lock();
        let core = &mut *guard;
        core.session.close(now);
        core.session.poll_transmit(now, &mut self.writing);
        if let Connection::Open(stream) = &mut self.connection {
            let context = &mut Context::from_waker(Waker::noop());
            let _ = Pin::new(stream).poll_write(context, &self.writing);
        }
        core.session.handle_disconnected(now, "the runtime ended");
        core.drain(now, &mut self.effects, &mut self.actions);
        core.check_end(&mut self.effects);
        core.abandon(&mut self.effects);
        drop(guard);
        self.shared.carry_out(&mut self.effects, &mut self.wakers);
    }
}

impl<H: Handler> fmt::Debug for Driver<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({})", self.handler.name())
    }
}
