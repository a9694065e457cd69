//! The rule that a client leaves a connection on which it gets no replies, checked on what it reads.

use std::time::Duration;

use zk_proto::{
    frame::{Frame, FrameReader},
    jute::{Decode, Reader},
    records::{ConnectResponse, ReplyHeader, xid},
};

use crate::servers::MAX_PACKET;

/// How much later than due a client may leave a connection.
const SLACK: Duration = Duration::from_millis(30);

/// Over a slow connection, so many bytes count as a reply.
const PROGRESS: usize = 16 << 10;

/// For how many session timeouts they do.
const PROGRESS_TIMEOUTS: u32 = 16;

/// What a client has read on a connection.
pub(crate) struct Liveness {
    frames: FrameReader,
    /// The session timeout, once it is granted.
    timeout: Option<Duration>,
    /// When it got the last reply.
    replied: Duration,
    bytes: usize,
}

impl Default for Liveness {
    fn default() -> Self {
        let frames = FrameReader::new(MAX_PACKET);
        Self { frames, timeout: None, replied: Duration::ZERO, bytes: 0 }
    }
}

impl Liveness {
    /// The client has read bytes.
    pub(crate) fn handle_read(&mut self, now: Duration, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.frames.extend(bytes);
        while let Ok(Some(Frame::Whole(frame))) = self.frames.next_frame() {
            let mut input = Reader::new(&frame);
            let is_reply = if self.timeout.is_none() {
                let Ok(response) = ConnectResponse::decode(&mut input) else { return };
                let timeout = u64::try_from(response.timeout).unwrap_or(0);
                self.timeout = Some(Duration::from_millis(timeout));
                true
            } else {
                ReplyHeader::decode(&mut input).is_ok_and(|it| it.xid != xid::NOTIFICATION)
            };
            if is_reply {
                (self.replied, self.bytes) = (now, 0);
            }
        }
    }

    /// Whether the client should have left the connection by now, if nothing has kept it from running since
    /// `free`. Returns for how long it has had no reply.
    pub(crate) fn overdue(&self, now: Duration, free: Duration) -> Option<Duration> {
        let timeout = self.timeout?;
        let longest =
            if self.bytes < PROGRESS { timeout * 2 / 3 } else { timeout * PROGRESS_TIMEOUTS };
        // Clocks may run slow by one percent.
        let limit = longest.mul_f64(1.02) + SLACK;
        let silence = now.saturating_sub(self.replied.max(free));
        (silence > limit).then_some(silence)
    }
}
