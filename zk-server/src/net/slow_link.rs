//! Slow links: [`SlowLink`], which says how slow one is, and [`Pipe`], one direction of it. Both are pure:
//! the caller says what the time is.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use zk_proto::Time;

/// A limited bandwidth lets bytes pass in pieces that take a second divided by this.
const PIECES_PER_SECOND: u64 = 100;

/// How slow a connection is, in each direction: for [`TestServer::slow_down`] and
/// [`ClientConnection::slow_down`].
///
/// ```
/// use std::time::Duration;
/// use zk_server::{SlowLink, TestServer};
///
/// let server = TestServer::start()?;
/// // A round trip takes 100 ms, and a reply of 1 MB ten seconds more.
/// server.slow_down(SlowLink::new().delay(Duration::from_millis(50)).bandwidth(100_000));
/// // … how does the client take it? …
/// server.full_speed();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The delay is one of real time, also while the server's clock is stopped, and passes in steps of about a
/// millisecond. Bytes stay in order. While 1 MiB is under way in one direction no more enters it, so that
/// the sender is held up as it would be by TCP. To connect takes no longer than before: the system
/// does that.
///
/// [`TestServer::slow_down`]: crate::TestServer::slow_down
/// [`ClientConnection::slow_down`]: crate::ClientConnection::slow_down
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlowLink {
    delay: Duration,
    bandwidth: Option<u64>,
}

impl SlowLink {
    /// A link that is not slow: no delay, and no limit to the bandwidth.
    #[must_use]
    pub const fn new() -> Self {
        Self { delay: Duration::ZERO, bandwidth: None }
    }

    /// How long each byte is under way, in either direction. A round trip takes twice as long. Default 0.
    #[must_use]
    pub const fn delay(mut self, one_way: Duration) -> Self {
        self.delay = one_way;
        self
    }

    /// How many bytes pass in a second, in either direction. Zero counts as one; for a link on which
    /// nothing passes, freeze it. Default no limit.
    #[must_use]
    pub const fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(if bytes_per_second == 0 { 1 } else { bytes_per_second });
        self
    }

    /// How many of `len` bytes pass at once.
    fn piece(&self, len: usize) -> usize {
        let Some(bandwidth) = self.bandwidth else { return len };
        let piece = bandwidth.checked_div(PIECES_PER_SECOND).unwrap_or(0).max(1);
        len.min(usize::try_from(piece).unwrap_or(usize::MAX))
    }

    /// How long the line is taken up by `len` bytes.
    fn time_of(&self, len: usize) -> Duration {
        let nanos = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(1_000_000_000);
        let nanos = self.bandwidth.and_then(|bandwidth| nanos.checked_div(bandwidth));
        Duration::from_nanos(nanos.unwrap_or(0))
    }
}

/// One direction of a slow link: bytes go in at one end, and come out at the other in the same order, at
/// the link's bandwidth and after its delay. The end of the stream goes in as an empty piece, and comes
/// out as one.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// What is under way, with the time at which it went in.
    queue: VecDeque<(Time, Bytes)>,
    len: usize,
    /// When the line was free again after what has come out.
    free: Time,
}

impl Pipe {
    pub(crate) fn push(&mut self, now: Time, bytes: Bytes) {
        self.len = self.len.saturating_add(bytes.len());
        self.queue.push_back((now, bytes));
    }

    /// How many bytes are under way.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is under way, not even the end.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next piece that has come through by `now`. What the link is like counts for all that is under
    /// way.
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

    /// When [`pop`](Self::pop) has a piece to give; `None` while nothing is under way.
    pub(crate) fn due(&self, link: SlowLink) -> Option<Time> {
        self.next(link).map(|(_, sent)| sent.after(link.delay))
    }

    /// The length of the next piece, and when the line is done with it.
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

    /// What comes out by `now`.
    fn drain(pipe: &mut Pipe, link: SlowLink, now: Time) -> Vec<u8> {
        std::iter::from_fn(|| pipe.pop(link, now)).flatten().collect()
    }

    #[test]
    fn a_delay_holds_each_byte_as_long() {
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
    fn a_bandwidth_spreads_bytes_over_time() {
        let link = SlowLink::new().bandwidth(1000);
        let mut pipe = Pipe::default();
        pipe.push(at(0), vec![7; 2000].into());
        for (now, expected) in [(9, 0), (10, 10), (100, 90), (1000, 900), (1999, 990), (5000, 10)] {
            assert_eq!(drain(&mut pipe, link, at(now)).len(), expected, "at {now} ms");
        }
        // It does not make up for the time in which there was nothing to send.
        pipe.push(at(5000), vec![7; 1000].into());
        assert_eq!(drain(&mut pipe, link, at(5500)).len(), 500);
    }

    #[test]
    fn what_follows_waits_for_the_line_and_then_for_the_delay() {
        let link = SlowLink::new().bandwidth(1000).delay(Duration::from_secs(3));
        let mut pipe = Pipe::default();
        pipe.push(at(0), vec![1; 1000].into());
        pipe.push(at(0), vec![2; 1000].into());
        assert_eq!(drain(&mut pipe, link, at(4000)), vec![1; 1000]);
        assert_eq!(drain(&mut pipe, link, at(5000)), vec![2; 1000]);
    }

    #[test]
    fn a_byte_a_second_passes_byte_by_byte() {
        for link in [SlowLink::new().bandwidth(1), SlowLink::new().bandwidth(0)] {
            let mut pipe = Pipe::default();
            pipe.push(at(0), "abc".into());
            assert_eq!(drain(&mut pipe, link, at(999)), b"");
            assert_eq!(drain(&mut pipe, link, at(1000)), b"a");
            assert_eq!(drain(&mut pipe, link, at(3000)), b"bc");
        }
    }

    #[test]
    fn the_end_comes_out_last() {
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
    fn a_link_that_gets_fast_lets_all_pass_at_once() {
        let slow = SlowLink::new().delay(Duration::from_secs(60)).bandwidth(1);
        let mut pipe = Pipe::default();
        pipe.push(at(0), "held".into());
        pipe.push(at(1), " up".into());
        assert_eq!(drain(&mut pipe, slow, at(1000)), b"");
        assert_eq!(drain(&mut pipe, SlowLink::new(), at(1000)), b"held up");
    }
}
