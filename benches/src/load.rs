//! The load: how many requests are under way at once, and for how long.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use crate::Peer;

/// How many requests are under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// So many tasks ...
    pub tasks: usize,
    /// ... each with so many requests under way.
    pub window: usize,
}

/// When a task stops to send.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many requests.
    Sent(usize),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.tasks, self.window)
    }
}

impl Load {
    /// Puts `peer` under this load, and returns each request's latency in nanoseconds, in no order.
    ///
    /// # Panics
    /// When a request fails.
    pub async fn put<P: Peer>(self, peer: &P, until: Until) -> Vec<u32> {
        let until = match until {
            Until::Sent(requests) => Until::Sent(requests / self.tasks),
            elapsed => elapsed,
        };
        let tasks: Vec<_> = (0..self.tasks)
            .map(|_| tokio::spawn(keep_under_way(peer.clone(), self.window, until)))
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.append(&mut task.await.expect("a task that does not panic"));
        }
        latencies
    }
}

/// One task of a [`Load`]: keeps `window` requests under way. With each reply the next one is sent.
pub async fn keep_under_way<P: Peer>(peer: P, window: usize, until: Until) -> Vec<u32> {
    let start = Instant::now();
    let (end, mut left) = match until {
        Until::Elapsed(time) => (start + time, usize::MAX),
        Until::Sent(requests) => (start + Duration::from_secs(3600), requests),
    };
    let mut latencies = Vec::with_capacity(left.min(1 << 22));
    let mut under_way: VecDeque<_> = (0..window).map(|_| (start, peer.get())).collect();
    left = left.saturating_sub(window);
    while let Some((sent, reply)) = under_way.pop_front() {
        reply.await;
        let now = Instant::now();
        latencies.push(u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX));
        if left > 0 && now < end {
            left -= 1;
            under_way.push_back((now, peer.get()));
        }
    }
    latencies
}
