//! Loads: how many requests are in flight at once, and for how long.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::Peer;

/// The number of requests in flight.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The number of tasks.
    pub tasks: usize,
    /// The number of requests that each task has in flight.
    pub window: usize,
}

/// When a task stops sending.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this number of requests.
    Sent(usize),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.tasks, self.window)
    }
}

impl Load {
    /// Runs this load on `peer`. Returns the latency of each request in nanoseconds, unordered.
    ///
    /// # Panics
    /// If a request fails.
    pub async fn run<P: Peer>(self, peer: &P, until: Until) -> Vec<u32> {
        let until = match until {
            Until::Sent(requests) => Until::Sent(requests / self.tasks),
            elapsed => elapsed,
        };
        let tasks: Vec<_> = (0..self.tasks)
            .map(|_| tokio::spawn(keep_in_flight(peer.clone(), self.window, until)))
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.append(&mut task.await.expect("a task that does not panic"));
        }
        latencies
    }
}

/// One task of a [`Load`]: keeps `window` requests in flight, by sending one for each reply.
pub async fn keep_in_flight<P: Peer>(peer: P, window: usize, until: Until) -> Vec<u32> {
    let start = Instant::now();
    let (end, mut left) = match until {
        Until::Elapsed(time) => (start + time, usize::MAX),
        Until::Sent(requests) => (start + Duration::from_secs(3600), requests),
    };
    let mut latencies = Vec::with_capacity(left.min(1 << 22));
    let mut in_flight: VecDeque<_> = (0..window).map(|_| (start, peer.get())).collect();
    left = left.saturating_sub(window);
    while let Some((sent, reply)) = in_flight.pop_front() {
        reply.await;
        let now = Instant::now();
        latencies.push(u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX));
        if left > 0 && now < end {
            left -= 1;
            in_flight.push_back((now, peer.get()));
        }
    }
    latencies
}
