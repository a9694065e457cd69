//! What a client hears on a connection, and the rule that it does not stay on one without an answer.

use std::time::Duration;

use zk_proto::{
    frame::{Frame, FrameReader},
    jute::{Decode, Reader},
    records::{ConnectResponse, ReplyHeader, xid},
};

use crate::tap::LIMIT;

/// How much later than it should a client may leave a connection.
const SLACK: Duration = Duration::from_millis(30);

/// So many bytes may stand in for an answer on a slow link.
const PROGRESS: usize = 16 << 10;

/// For how many session timeouts they may do so.
const PATIENCE: u32 = 16;

/// The client's end of a connection.
pub(crate) struct Heard {
    frames: FrameReader,
    /// The session timeout, once it is granted.
    timeout: Option<Duration>,
    answered: Duration,
    bytes: usize,
}

impl Default for Heard {
    fn default() -> Self {
        let frames = FrameReader::new(LIMIT);
        Self { frames, timeout: None, answered: Duration::ZERO, bytes: 0 }
    }
}

impl Heard {
    /// The client has read bytes.
    pub(crate) fn read(&mut self, now: Duration, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.frames.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = self.frames.next_frame() {
            let mut input = Reader::new(&frame);
            let is_answer = if self.timeout.is_none() {
                let Ok(response) = ConnectResponse::decode(&mut input) else { return };
                let timeout = u64::try_from(response.timeout).unwrap_or(0);
                self.timeout = Some(Duration::from_millis(timeout));
                true
            } else {
                ReplyHeader::decode(&mut input).is_ok_and(|it| it.xid != xid::NOTIFICATION)
            };
            if is_answer {
                (self.answered, self.bytes) = (now, 0);
            }
        }
    }

    /// Whether a client that was free to act since `free` should have left by now: for how long it has had no
    /// answer.
    pub(crate) fn overdue(&self, now: Duration, free: Duration) -> Option<Duration> {
        let timeout = self.timeout?;
        let longest = if self.bytes < PROGRESS { timeout * 2 / 3 } else { timeout * PATIENCE };
        // Clocks may run slow by a hundredth.
        let limit = longest.mul_f64(1.02) + SLACK;
        let silence = now.saturating_sub(self.answered.max(free));
        (silence > limit).then_some(silence)
    }
}
