//! Framing: in both directions, every packet is an int length followed by that many bytes.
//!
//! [`FrameReader`] is the receive buffer. The owner of the socket reads directly into
//! [`spare`](FrameReader::spare). A frame that fills a large part of the buffer is returned as a slice of it; a
//! small one is copied, so that a frame that is kept does not keep the whole buffer alive. Invariants:
//! - a length is checked against the limit before memory is allocated for it, and the buffer grows with the
//!   bytes that were received, not with the length that was announced;
//! - a frame over the limit is not an error: its first bytes are returned, which identify the request that it
//!   answers, and its body is discarded as it arrives;
//! - the frames do not depend on how the bytes are split into reads.

mod pages;

use core::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use pages::Pages;

/// The length of a frame's length prefix in bytes.
pub const LENGTH_LEN: usize = 4;

/// How many bytes of an oversize frame are returned: a reply header
/// ([`ReplyHeader`](crate::records::ReplyHeader)).
pub const HEAD_LEN: usize = 16;

/// The largest frame that is accepted and discarded. A longer one is an error.
pub const DRAIN_LIMIT: usize = 256 << 20;

/// The server's default limit for a packet (`jute.maxbuffer`): 1,048,575 bytes.
pub const DEFAULT_MAX_BUFFER: usize = 0xf_ffff;

const SMALL_CHUNK: usize = 4 << 10;
const LARGE_CHUNK: usize = 64 << 10;

/// A frame shares the receive buffer, and keeps it alive, if it fills at least this fraction (1/4) of it.
const LARGE_PART: usize = 4;

/// Why a byte stream cannot be split into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A length is negative or larger than [`DRAIN_LIMIT`].
    #[error("frame length {0} is out of range")]
    BadLength(i32),
}

/// A frame without its length prefix. `Debug` does not show the content, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A frame within the limit.
    Whole(Bytes),
    /// A frame over the limit. Its body is discarded.
    Oversize {
        /// The first [`HEAD_LEN`] bytes.
        head: Bytes,
        /// The length of the whole frame in bytes.
        length: usize,
    },
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(frame) => write!(f, "Whole({} bytes)", frame.len()),
            Self::Oversize { length, .. } => write!(f, "Oversize({length} bytes)"),
        }
    }
}

/// Splits a byte stream into frames. `Debug` does not show their content.
///
/// ```
/// use zk_proto::frame::{Frame, FrameReader};
///
/// let mut reader = FrameReader::new(1024);
/// reader.extend(&[0, 0, 0, 2, b'h']);
/// assert_eq!(reader.next_frame(), Ok(None));
/// reader.extend(b"i");
/// assert_eq!(reader.next_frame(), Ok(Some(Frame::Whole("hi".into()))));
/// ```
pub struct FrameReader {
    /// All of it is initialised. `start..end` was received and is not split into frames yet; the rest is spare.
    buffer: BytesMut,
    start: usize,
    end: usize,
    /// The length at which the buffer was allocated. Large frames have been split off since.
    allocated: usize,
    pages: Pages,
    /// How many bytes of an oversize body are still to be discarded.
    drain: usize,
    limit: usize,
    chunk: usize,
    received: u64,
}

impl FrameReader {
    /// Creates a reader for a new connection that returns frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            start: 0,
            end: 0,
            allocated: 0,
            pages: Pages::default(),
            drain: 0,
            limit,
            chunk: SMALL_CHUNK,
            received: 0,
        }
    }

    /// The received bytes that are not split into frames yet.
    fn filled(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns free space to read into. Call [`advance`](Self::advance) after the read.
    pub fn spare(&mut self) -> &mut [u8] {
        let outgrown = self.end == 0 && self.allocated < self.chunk;
        if outgrown || self.buffer.len().saturating_sub(self.end) < self.chunk / 4 {
            self.make_room();
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Moves the received bytes, which are the incomplete last frame, to the front of this buffer or to a new one.
    fn make_room(&mut self) {
        let filled = self.end.saturating_sub(self.start);
        let enough = self.buffer.len().saturating_sub(filled) >= self.chunk / 4;
        if enough && self.allocated >= self.chunk && self.start >= filled {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            // Frames that were split off the old buffer keep it alive as long as they need it. The new buffer is sized
            // by the received bytes, so that an announced length cannot allocate memory.
            self.allocated = self.chunk.max(filled.saturating_mul(2));
            let mut fresh = BytesMut::zeroed(self.allocated);
            if let (Some(to), Some(from)) =
                (fresh.get_mut(..filled), self.buffer.get(self.start..self.end))
            {
                to.copy_from_slice(from);
            }
            self.buffer = fresh;
        }
        self.start = 0;
        self.end = filled;
    }

    /// Marks the first `len` bytes of [`spare`](Self::spare) as received.
    pub fn advance(&mut self, len: usize) {
        let spare = self.buffer.len().saturating_sub(self.end);
        let new = len.min(spare);
        self.end = self.end.saturating_add(new);
        self.received = self.received.saturating_add(u64::try_from(new).unwrap_or(u64::MAX));
        if len >= spare {
            self.chunk = self.chunk.saturating_mul(2).min(LARGE_CHUNK);
        }
        if self.drain > 0 {
            let gone = self.drain.min(self.filled().len());
            self.consume(gone);
            self.drain = self.drain.saturating_sub(gone);
        }
    }

    /// Appends a copy of bytes that were received elsewhere.
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare();
            let len = spare.len().min(bytes.len());
            let Some((head, rest)) = bytes.split_at_checked(len) else { return };
            if let Some(to) = spare.get_mut(..len) {
                to.copy_from_slice(head);
            }
            self.advance(len);
            bytes = rest;
        }
    }

    /// Returns the next `len` bytes without consuming them, or `None` if they have not all been received.
    #[must_use]
    pub fn peek(&self, len: usize) -> Option<&[u8]> {
        self.filled().get(..len)
    }

    /// Returns how many bytes have been received in total.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many bytes of the next frame are missing, or 0 if none of it has been received. Until its
    /// length is known, the missing bytes of the length count.
    ///
    /// Call this after [`next_frame`](Self::next_frame) has returned `None`.
    #[must_use]
    pub fn missing(&self) -> usize {
        if self.drain > 0 {
            return self.drain;
        }
        let received = self.filled();
        match received.split_first_chunk::<LENGTH_LEN>() {
            None if received.is_empty() => 0,
            None => LENGTH_LEN.saturating_sub(received.len()),
            Some((prefix, body)) => {
                let length = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
                length.saturating_sub(body.len())
            }
        }
    }

    /// Returns the next frame, or `None` if it has not been received completely.
    ///
    /// # Errors
    /// Returns an error if the next length is not valid. The connection cannot be used any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((prefix, body)) = self.filled().split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*prefix);
        let Some(len) = usize::try_from(length).ok().filter(|len| *len <= DRAIN_LIMIT) else {
            return Err(FrameError::BadLength(length));
        };
        if len > self.limit && len >= HEAD_LEN {
            if body.len() < HEAD_LEN {
                return Ok(None);
            }
            self.consume(LENGTH_LEN);
            let head = self.split(HEAD_LEN);
            self.drain = len.saturating_sub(HEAD_LEN);
            self.advance(0);
            return Ok(Some(Frame::Oversize { head, length: len }));
        }
        if body.len() < len {
            return Ok(None);
        }
        self.consume(LENGTH_LEN);
        Ok(Some(Frame::Whole(self.split(len))))
    }

    fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Splits off the next `len` bytes, which have been received.
    fn split(&mut self, len: usize) -> Bytes {
        if len.saturating_mul(LARGE_PART) < self.allocated {
            let filled = self.buffer.get(self.start..self.end).unwrap_or_default();
            let frame = self.pages.copy(filled.get(..len).unwrap_or_default());
            self.consume(len);
            return frame;
        }
        self.buffer.advance(self.start);
        self.end = self.end.saturating_sub(self.start).saturating_sub(len);
        self.start = 0;
        self.buffer.split_to(len).freeze()
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("filled", &self.filled().len())
            .field("drain", &self.drain)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Appends a frame to `out`: its length, and what `body` writes.
pub fn write_frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let len = out.len().saturating_sub(start).saturating_sub(LENGTH_LEN);
    if let Some(prefix) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<LENGTH_LEN>) {
        *prefix = i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut out = BytesMut::new();
        write_frame(&mut out, |out| out.put_slice(b"small"));
        write_frame(&mut out, |out| out.put_slice(&[7; 100]));
        write_frame(&mut out, |_| {});
        write_frame(&mut out, |out| out.put_slice(&[9; 20_000]));
        write_frame(&mut out, |out| out.put_slice(b"last"));
        out.to_vec()
    }

    fn frames(bytes: &[u8], chunk: usize, limit: usize) -> Vec<Frame> {
        let mut reader = FrameReader::new(limit);
        let mut frames = Vec::new();
        for part in bytes.chunks(chunk) {
            reader.extend(part);
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let bytes = stream();
        for limit in [64, 1_000, 100_000] {
            let whole = frames(&bytes, bytes.len(), limit);
            assert_eq!(whole.len(), 5);
            for chunk in [1, 2, 3, 5, 7, 16, 1_000, 4_096] {
                assert_eq!(frames(&bytes, chunk, limit), whole, "chunk {chunk}, limit {limit}");
            }
        }
    }

    #[test]
    fn an_oversize_frame_returns_its_head_and_the_next_frame_follows() {
        let frames = frames(&stream(), 1_000, 64);
        assert_eq!(frames[1], Frame::Oversize { head: vec![7; 16].into(), length: 100 });
        assert_eq!(frames[3], Frame::Oversize { head: vec![9; 16].into(), length: 20_000 });
        assert_eq!(frames[4], Frame::Whole("last".into()));
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for length in [-1, i32::MIN, i32::MAX, DRAIN_LIMIT as i32 + 1] {
            let mut reader = FrameReader::new(1_000);
            reader.extend(&length.to_be_bytes());
            assert_eq!(reader.next_frame(), Err(FrameError::BadLength(length)));
        }
    }

    #[test]
    fn an_announced_length_allocates_no_memory() {
        let mut reader = FrameReader::new(DRAIN_LIMIT);
        reader.extend(&(DRAIN_LIMIT as i32).to_be_bytes());
        assert_eq!(reader.next_frame(), Ok(None));
        reader.spare();
        assert!(reader.buffer.len() <= LARGE_CHUNK);
    }

    #[test]
    fn received_and_missing_bytes_are_counted() {
        let mut reader = FrameReader::new(64);
        for (bytes, received, missing) in [
            (&[][..], 0, 0),
            (&[0, 0], 2, 2),
            (&[0, 5], 4, 5),
            (b"hell", 8, 1),
            (b"o", 9, 0),
            (&[0, 0, 0, 100], 13, 100),
            (&[7; 20], 33, 80),
            (&[7; 80], 113, 0),
        ] {
            reader.extend(bytes);
            while reader.next_frame().unwrap().is_some() {}
            assert_eq!((reader.received(), reader.missing()), (received, missing));
        }
    }

    #[test]
    fn large_frames_share_the_buffer() {
        for len in [SMALL_CHUNK / LARGE_PART, 2_000] {
            let mut reader = FrameReader::new(10_000);
            let spare = reader.spare();
            let at = spare[LENGTH_LEN..].as_ptr();
            spare[..LENGTH_LEN].copy_from_slice(&(len as i32).to_be_bytes());
            reader.advance(LENGTH_LEN + len);
            let Ok(Some(Frame::Whole(frame))) = reader.next_frame() else { panic!("no frame") };
            assert_eq!((frame.as_ptr(), frame.len()), (at, len));
        }
    }

    #[test]
    fn small_frames_do_not_share_the_buffer() {
        let mut stream = BytesMut::new();
        for len in [100, 1_000, 10_000].into_iter().cycle().take(300) {
            write_frame(&mut stream, |out| out.put_bytes(len as u8, len));
        }
        let mut reader = FrameReader::new(100_000);
        let mut small = 0;
        // Each read fills the buffer, until the buffer has its maximum size.
        while !stream.is_empty() {
            let spare = reader.spare();
            let buffer = spare.as_ptr_range();
            let len = spare.len().min(stream.len());
            spare[..len].copy_from_slice(&stream.split_to(len));
            reader.advance(len);
            while let Some(Frame::Whole(frame)) = reader.next_frame().unwrap() {
                assert!(frame.iter().all(|byte| *byte == frame.len() as u8));
                if reader.allocated == LARGE_CHUNK {
                    assert!(!buffer.contains(&frame.as_ptr()), "{} bytes", frame.len());
                    small += 1;
                }
            }
        }
        assert!(small > 250, "{small} frames out of a large buffer");
    }

    #[test]
    fn a_buffer_whose_frames_were_copied_is_reused() {
        let mut stream = BytesMut::new();
        (0..1_000).for_each(|_| write_frame(&mut stream, |out| out.put_bytes(7, 100)));
        let mut reader = FrameReader::new(1_000);
        let mut buffers = alloc::collections::BTreeSet::new();
        for part in stream.chunks(500) {
            let spare = reader.spare();
            buffers.insert(spare.as_ptr_range().end);
            spare[..part.len()].copy_from_slice(part);
            reader.advance(part.len());
            while reader.next_frame().unwrap().is_some() {}
        }
        assert_eq!(buffers.len(), 1);
    }
}
