//! [`EventLoop`]: the one thread that serves all connections.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpListener};

use super::runner::{Runner, Security, SharedRunner};

/// The token of the waker. Connections use their ids as tokens.
const WAKER: Token = Token(usize::MAX);
/// The token of the first port; the other ones have those above it.
const FIRST_PORT: usize = usize::MAX - 8;

/// How many events one call of `poll` returns at most.
const EVENTS: usize = 1024;
/// How many connections are accepted before the open ones are served again.
const ACCEPTS: usize = 128;
/// How long to wait before the next attempt if the system has no socket available.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct EventLoop {
    poll: Poll,
    events: Events,
    ports: Vec<Port>,
    runner: Arc<SharedRunner>,
}

/// A listener, and what protects its connections.
struct Port {
    listener: TcpListener,
    security: Security,
    token: Token,
    /// When to accept connections again; `None` until the listener is readable.
    accept_at: Option<Instant>,
}

impl EventLoop {
    /// Creates an event loop for `listeners`, at most a few, which must be non-blocking.
    pub(super) fn new(
        listeners: Vec<(std::net::TcpListener, Security)>,
        runner: Runner,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut ports = Vec::with_capacity(listeners.len());
        for (token, (listener, security)) in (FIRST_PORT..).zip(listeners) {
            let mut listener = TcpListener::from_std(listener);
            let token = Token(token);
            poll.registry().register(&mut listener, token, Interest::READABLE)?;
            ports.push(Port { listener, security, token, accept_at: None });
        }
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let runner = Arc::new(SharedRunner::new(runner, waker));
        Ok(Self { poll, events: Events::with_capacity(EVENTS), ports, runner })
    }

    pub(super) const fn runner(&self) -> &Arc<SharedRunner> {
        &self.runner
    }

    /// Serves connections until the runner is shut down, or the system fails.
    pub(super) fn run(mut self) {
        let mut timeout = None;
        while self.wait(timeout).is_ok() {
            let mut runner = self.runner.lock();
            if runner.is_shut_down {
                break;
            }
            for event in &self.events {
                let token = event.token();
                if let Some(port) = self.ports.iter_mut().find(|port| port.token == token) {
                    port.accept_at = Some(Instant::now());
                } else if token != WAKER {
                    runner.handle_event(event);
                }
            }
            for port in &mut self.ports {
                if port.accept_at.is_some_and(|at| at <= Instant::now()) {
                    port.accept_at = port.accept(&mut runner, &self.poll);
                }
            }
            runner.handle_due();
            timeout = runner.timeout();
        }
        self.runner.lock().shut_down();
    }

    /// Waits for events until `timeout` has passed, or until connections are to be accepted again.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let accept_at = self.ports.iter().filter_map(|port| port.accept_at).min();
        let accept = accept_at.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = [timeout, accept].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl Port {
    /// Accepts connections. Returns when to try again if more may be waiting.
    fn accept(&self, runner: &mut Runner, poll: &Poll) -> Option<Instant> {
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                // A client whose socket cannot be set up is dropped. It connects again.
                Ok((socket, peer)) => {
                    drop(runner.accept(socket, peer, self.security, poll.registry()));
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return None,
                    // The client has given up.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    // The system is out of sockets or memory. Clients stay in the listener's queue.
                    _ => return Instant::now().checked_add(ACCEPT_PAUSE),
                },
            }
        }
        Some(Instant::now())
    }
}
