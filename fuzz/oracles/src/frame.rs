//! Splitting a byte stream into frames.

use bytes::Bytes;
use zk_proto::frame::{DRAIN_LIMIT, Frame, FrameError, FrameReader, HEAD_LEN, LENGTH_LEN};

use crate::memory::within;

/// The memory of one chunk of the reader, and of the next one during the copy.
const CHUNKS: usize = 2 * (64 << 10);

/// Splits bytes into frames. The input is two bytes for the reader's limit, two lengths of reads, and the stream.
///
/// The frames agree with a simple implementation, for any lengths of reads, copied or read in place. The reader uses no
/// more memory than the received bytes and its chunks.
///
/// # Panics
/// Panics if that is not the case.
pub fn frame(input: &[u8]) {
    let Some((&[high, low, first, second], stream)) = input.split_first_chunk::<4>() else {
        return;
    };
    let limit = usize::from(u16::from_be_bytes([high, low]));
    let pieces = [usize::from(first).max(1), usize::from(second).max(1)];

    let expected = cut(stream, limit);
    let mut whole = FrameReader::new(limit);
    whole.extend(stream);
    let mut frames = Vec::new();
    let end = take(&mut whole, |frame| frames.push(frame));
    assert_eq!((&frames, &end), (&expected.0, &expected.1), "whole, limit {limit}");

    frames.clear();
    let end = read(stream, limit, pieces, |frame| frames.push(frame));
    assert_eq!((frames, end), expected, "in pieces of {pieces:?}, limit {limit}");

    within(4 * stream.len() + CHUNKS, || read(stream, limit, pieces, drop)).ok();
}

/// Reads `stream` in place, in pieces of alternating lengths.
fn read(
    stream: &[u8],
    limit: usize,
    pieces: [usize; 2],
    mut each: impl FnMut(Frame),
) -> Result<(), FrameError> {
    let mut reader = FrameReader::new(limit);
    let mut rest = stream;
    for piece in pieces.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let spare = reader.spare();
        let len = spare.len().min(piece).min(rest.len());
        assert!(len > 0, "no room to read into");
        let (head, tail) = rest.split_at(len);
        spare[..len].copy_from_slice(head);
        reader.advance(len);
        rest = tail;
        take(&mut reader, &mut each)?;
    }
    Ok(())
}

/// Takes all complete frames.
fn take(reader: &mut FrameReader, mut each: impl FnMut(Frame)) -> Result<(), FrameError> {
    while let Some(frame) = reader.next_frame()? {
        each(frame);
    }
    Ok(())
}

/// A simple implementation of the framing.
fn cut(mut stream: &[u8], limit: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut frames = Vec::new();
    while let Some((prefix, body)) = stream.split_first_chunk::<LENGTH_LEN>() {
        let length = i32::from_be_bytes(*prefix);
        if length < 0 || length as usize > DRAIN_LIMIT {
            return (frames, Err(FrameError::BadLength(length)));
        }
        let length = length as usize;
        if length > limit && length >= HEAD_LEN {
            let Some(head) = body.get(..HEAD_LEN) else { break };
            frames.push(Frame::Oversize { head: Bytes::copy_from_slice(head), length });
        } else {
            let Some(whole) = body.get(..length) else { break };
            frames.push(Frame::Whole(Bytes::copy_from_slice(whole)));
        }
        stream = body.get(length..).unwrap_or_default();
    }
    (frames, Ok(()))
}
