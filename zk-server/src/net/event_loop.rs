//! [`EventLoop`]: the one thread that serves all connections.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpListener};

use super::runner::{Core, Shared};

/// The listener's token. Those of connections are their numbers.
const LISTENER: Token = Token(usize::MAX);
/// The token by which the wait is ended.
const WAKER: Token = Token(usize::MAX - 1);

/// How many events are taken at once.
const EVENTS: usize = 1024;
/// How many connections are accepted before those that are open get their turn.
const ACCEPTS: usize = 128;
/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct EventLoop {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// When to accept connections again, if some may be waiting.
    accept_at: Option<Instant>,
    shared: Arc<Shared>,
}

impl EventLoop {
    /// An event loop for what connects to `listener`, which does not block.
    pub(super) fn new(listener: std::net::TcpListener, core: Core) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let shared = Arc::new(Shared::new(core, waker));
        Ok(Self { poll, events: Events::with_capacity(EVENTS), listener, accept_at: None, shared })
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves until the core says that it is over, or the system fails.
    pub(super) fn run(mut self) {
        let mut wait = None;
        while self.wait(wait).is_ok() {
            let mut core = self.shared.lock();
            if core.is_over {
                break;
            }
            for event in &self.events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept_at = Some(Instant::now()),
                    _ => core.handle_event(event),
                }
            }
            if let Some(at) = self.accept_at
                && at <= Instant::now()
            {
                self.accept_at = accept(&self.listener, &mut core, &self.poll);
            }
            core.handle_due();
            wait = core.wait();
        }
        self.shared.lock().end();
    }

    /// Waits for events for as long as that, or until connections are to be accepted again.
    fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let accept = self.accept_at.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = [wait, accept].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

/// Accepts connections; when to go on, if more may be waiting.
fn accept(listener: &TcpListener, core: &mut Core, poll: &Poll) -> Option<Instant> {
    for _ in 0..ACCEPTS {
        match listener.accept() {
            // A client that cannot be served is dropped, and tries again.
            Ok((socket, peer)) => drop(core.accept(socket, peer, poll.registry())),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return None,
                // The client has given up meanwhile.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                // The system has no socket to give, or no memory. Whoever waits stays in its queue.
                _ => return Instant::now().checked_add(ACCEPT_PAUSE),
            },
        }
    }
    Some(Instant::now())
}
