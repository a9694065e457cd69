//! Slow links: [`SlowLink`], the delay and bandwidth of one, and [`Pipe`], one direction of it. Neither has a clock:
//! the caller passes the time.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use zk_proto::Time;

/// With a limited bandwidth, this many pieces pass in a second.
const PIECES_PER_SECOND: u64 = 100;

/// The delay and the bandwidth of a network link, for [`TestServer::slow_down`] and
/// [`ClientConnection::slow_down`].
///
/// ```
/// use std::time::Duration;
/// use zk_server::{SlowLink, TestServer};
///
/// let server = TestServer::start()?;
/// // A round trip takes 100 ms, and a reply of 1 MB ten seconds more.
/// server.slow_down(SlowLink::new().delay(Duration::from_millis(50)).bandwidth(100_000));
/// // … check how the client behaves …
/// server.full_speed();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Delays are in real time, even while the server's clock is stopped, and have a resolution of about a millisecond.
/// Bytes stay in order. Up to 1 MiB is in flight in each direction; then the sender is blocked, as it would be by TCP.
/// Connecting is not slowed down, since the system does that.
///
/// [`TestServer::slow_down`]: crate::TestServer::slow_down
/// [`ClientConnection::slow_down`]: crate::ClientConnection::slow_down
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlowLink {
    delay: Duration,
    bandwidth: Option<u64>,
}

impl SlowLink {
    /// A link that is not slow: no delay, and no bandwidth limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { delay: Duration::ZERO, bandwidth: None }
    }

    /// Sets the delay of each byte in each direction. A round trip takes twice as long. Default: 0.
    #[must_use]
    pub const fn delay(mut self, one_way: Duration) -> Self {
        self.delay = one_way;
        self
    }

    /// Sets how many bytes pass in a second in each direction. Zero counts as one; to stop all traffic, freeze the
    /// connection instead. Default: no limit.
    #[must_use]
    pub const fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(if bytes_per_second == 0 { 1 } else { bytes_per_second });
        self
    }

    /// How many of `len` bytes pass as one piece.
    fn piece(&self, len: usize) -> usize {
        let Some(bandwidth) = self.bandwidth else { return len };
        let piece = bandwidth.checked_div(PIECES_PER_SECOND).unwrap_or(0).max(1);
        len.min(usize::try_from(piece).unwrap_or(usize::MAX))
    }

    /// How long it takes to send `len` bytes.
    fn time_of(&self, len: usize) -> Duration {
        let nanos = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(1_000_000_000);
        let nanos = self.bandwidth.and_then(|bandwidth| nanos.checked_div(bandwidth));
        Duration::from_nanos(nanos.unwrap_or(0))
    }
}

/// One direction of a slow link. Bytes come out in the order in which they were pushed, at the link's bandwidth and
/// after its delay. An empty piece stands for the end of the stream.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// The pieces in flight, with the time at which each was pushed.
    queue: VecDeque<(Time, Bytes)>,
    len: usize,
    /// When the last piece that has come out had been sent.
    free: Time,
}

impl Pipe {
    pub(crate) fn push(&mut self, now: Time, bytes: Bytes) {
        self.len = self.len.saturating_add(bytes.len());
        self.queue.push_back((now, bytes));
    }

    /// The number of bytes in flight.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in flight, not even the end of the stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Removes the next piece that has arrived by `now`. `link` applies to all that is in flight.
    pub(crate) fn pop(&mut self, link: SlowLink, now: Time) -> Option<Bytes> {
        let (len, sent) = self.next(link)?;
        if sent.after(link.delay) > now {
            return None;
        }
        self.free = sent;
        self.len = self.len.saturating_sub(len);
        let (_, bytes) = self.queue.front_mut()?;
        let piece = bytes.split_to(len);
        if bytes.is_empty() {
            self.queue.pop_front();
        }
        Some(piece)
    }

    /// When [`pop`](Self::pop) returns the next piece; `None` if nothing is in flight.
    pub(crate) fn due(&self, link: SlowLink) -> Option<Time> {
        self.next(link).map(|(_, sent)| sent.after(link.delay))
    }

    /// The length of the next piece, and when it has been sent.
    fn next(&self, link: SlowLink) -> Option<(usize, Time)> {
        let (entered, bytes) = self.queue.front()?;
        let len = link.piece(bytes.len());
        Some((len, self.free.max(*entered).after(link.time_of(len))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_origin(Duration::from_millis(millis))
    }

    /// All bytes that have arrived by `now`.
    fn drain(pipe: &mut Pipe, link: SlowLink, now: Time) -> Vec<u8> {
        std::iter::from_fn(|| pipe.pop(link, now)).flatten().collect()
    }

    #[test]
    fn each_byte_is_delayed() {
        let link = SlowLink::new().delay(Duration::from_millis(50));
        let mut pipe = Pipe::default();
        pipe.push(at(0), "first".into());
        pipe.push(at(20), "second".into());
        assert_eq!((pipe.len(), pipe.due(link)), (11, Some(at(50))));
        assert_eq!(drain(&mut pipe, link, at(49)), b"");
        assert_eq!(drain(&mut pipe, link, at(50)), b"first");
        assert_eq!((pipe.len(), pipe.due(link)), (6, Some(at(70))));
        assert_eq!(drain(&mut pipe, link, at(1000)), b"second");
        assert_eq!((pipe.len(), pipe.due(link)), (0, None));
    }

    #[test]
    fn a_bandwidth_limit_spreads_bytes_over_time() {
        let link = SlowLink::new().bandwidth(1000);
        let mut pipe = Pipe::default();
        pipe.push(at(0), vec![7; 2000].into());
        for (now, expected) in [(9, 0), (10, 10), (100, 90), (1000, 900), (1999, 990), (5000, 10)] {
            assert_eq!(drain(&mut pipe, link, at(now)).len(), expected, "at {now} ms");
        }
        // Unused bandwidth is not saved up.
        pipe.push(at(5000), vec![7; 1000].into());
        assert_eq!(drain(&mut pipe, link, at(5500)).len(), 500);
    }

    #[test]
    fn bandwidth_and_delay_add_up() {
        let link = SlowLink::new().bandwidth(1000).delay(Duration::from_secs(3));
        let mut pipe = Pipe::default();
        pipe.push(at(0), vec![1; 1000].into());
        pipe.push(at(0), vec![2; 1000].into());
        assert_eq!(drain(&mut pipe, link, at(4000)), vec![1; 1000]);
        assert_eq!(drain(&mut pipe, link, at(5000)), vec![2; 1000]);
    }

    #[test]
    fn a_bandwidth_of_zero_counts_as_one() {
        for link in [SlowLink::new().bandwidth(1), SlowLink::new().bandwidth(0)] {
            let mut pipe = Pipe::default();
            pipe.push(at(0), "abc".into());
            assert_eq!(drain(&mut pipe, link, at(999)), b"");
            assert_eq!(drain(&mut pipe, link, at(1000)), b"a");
            assert_eq!(drain(&mut pipe, link, at(3000)), b"bc");
        }
    }

    #[test]
    fn the_end_of_the_stream_arrives_last() {
        let link = SlowLink::new().delay(Duration::from_millis(50));
        let mut pipe = Pipe::default();
        pipe.push(at(0), "last".into());
        pipe.push(at(10), Bytes::new());
        assert_eq!(pipe.pop(link, at(50)).as_deref(), Some(b"last".as_slice()));
        assert_eq!((pipe.len(), pipe.is_empty(), pipe.due(link)), (0, false, Some(at(60))));
        assert_eq!(pipe.pop(link, at(59)), None);
        assert_eq!(pipe.pop(link, at(60)), Some(Bytes::new()));
        assert!(pipe.is_empty());
    }

    #[test]
    fn bytes_in_flight_arrive_at_once_when_the_link_gets_fast() {
        let slow = SlowLink::new().delay(Duration::from_secs(60)).bandwidth(1);
        let mut pipe = Pipe::default();
        pipe.push(at(0), "held".into());
        pipe.push(at(1), " up".into());
        assert_eq!(drain(&mut pipe, slow, at(1000)), b"");
        assert_eq!(drain(&mut pipe, SlowLink::new(), at(1000)), b"held up");
    }
}
