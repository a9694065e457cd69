//! Frames read without the library under test: for the minimal client and the scripted server.

use std::io::{self, Read};

/// The maximum length of a frame.
const MAX_FRAME: usize = 0x20_0000;

/// Reads one frame, without its length.
pub(crate) fn receive(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}
