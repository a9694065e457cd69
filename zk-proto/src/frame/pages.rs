//! Where small frames are copied to, so that they do not keep the buffer alive that they were read into.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// How much memory small frames share, in bytes. A value that is kept keeps no more than this alive.
const PAGE: usize = 2 << 10;

/// Up to this length frames share a page; a longer one has memory of its own.
const SHARED: usize = PAGE / 4;

/// How many pages that are full are remembered, to be used again once nobody has a frame in them any more.
const REMEMBERED: usize = 32;

/// How many of them are looked at for one that is free.
const LOOKS: usize = 2;

/// Memory that frames are copied to.
#[derive(Default)]
pub(super) struct Pages {
    page: Option<BytesMut>,
    /// Oldest first.
    full: VecDeque<BytesMut>,
}

impl Pages {
    /// A copy of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED {
            return Bytes::copy_from_slice(bytes);
        }
        let page = match &mut self.page {
            Some(page) if page.capacity() >= bytes.len() => page,
            _ => {
                let page = self.turn();
                self.page.insert(page)
            }
        };
        page.extend_from_slice(bytes);
        page.split().freeze()
    }

    /// Another page: one whose frames are gone, or else a fresh one.
    fn turn(&mut self) -> BytesMut {
        if let Some(mut page) = self.page.take() {
            if page.try_reclaim(PAGE) {
                return page;
            }
            self.full.push_back(page);
        }
        for _ in 0..LOOKS {
            let Some(mut oldest) = self.full.pop_front() else { break };
            if oldest.try_reclaim(PAGE) {
                return oldest;
            }
            // Somebody keeps a frame in it. It must not stand in the way of the others.
            if self.full.len() < REMEMBERED {
                self.full.push_back(oldest);
            }
        }
        BytesMut::with_capacity(PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pages `frames` lie in, if none of them is longer than a page.
    fn pages(frames: &[Bytes]) -> usize {
        let mut places: Vec<_> = frames.iter().map(|frame| frame.as_ptr() as usize).collect();
        places.sort_unstable();
        let mut last = None;
        places.retain(|place| {
            let new = last.is_none_or(|last| place - last >= PAGE);
            if new {
                last = Some(*place);
            }
            new
        });
        places.len()
    }

    #[test]
    fn small_frames_share_pages() {
        let mut pages_of = Pages::default();
        let frames: Vec<_> = (0..100_u8).map(|number| pages_of.copy(&[number; 100])).collect();
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(frame, &[number; 100][..]);
        }
        assert!(pages(&frames) <= 5 + 1, "{} pages", pages(&frames));
    }

    #[test]
    fn pages_are_used_again() {
        let mut pages_of = Pages::default();
        for kept in [1, 10, 100] {
            let mut window: VecDeque<_> = (0..kept).map(|_| pages_of.copy(&[1; 100])).collect();
            let mut places = alloc::collections::BTreeSet::new();
            for number in 0..10_000_u32 {
                window.pop_front();
                let frame = pages_of.copy(&[number as u8; 100]);
                places.insert(frame.as_ptr());
                window.push_back(frame);
            }
            assert!(places.len() <= 2 * (kept + PAGE / 100), "{} with {kept} kept", places.len());
        }
    }

    #[test]
    fn kept_frames_are_left_alone_and_few_pages_are_remembered() {
        let mut pages_of = Pages::default();
        let mut kept = Vec::new();
        for number in 0..20_000_u32 {
            let frame = pages_of.copy(&number.to_be_bytes().repeat(25));
            if number % 20 == 0 {
                kept.push((number, frame));
            }
        }
        assert!(pages_of.full.len() <= REMEMBERED);
        for (number, frame) in kept {
            assert_eq!(frame, number.to_be_bytes().repeat(25));
        }
    }

    #[test]
    fn other_lengths_are_copied_too() {
        let mut pages_of = Pages::default();
        for len in [0, 1, SHARED, SHARED + 1, PAGE, 10 * PAGE] {
            assert_eq!(pages_of.copy(&vec![7; len]), vec![7; len]);
        }
    }
}
