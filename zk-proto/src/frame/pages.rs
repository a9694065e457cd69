//! Memory that small frames are copied to, so that they do not keep the receive buffer alive.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The size of a page in bytes. A small frame that is kept keeps no more than this alive.
const PAGE: usize = 2 << 10;

/// Frames up to this length share a page. A longer frame has an allocation of its own.
const SHARED: usize = PAGE / 4;

/// How many full pages are remembered, to be reused when all their frames have been dropped.
const REMEMBERED: usize = 32;

/// How many of them are checked when a page is needed.
const CHECKS: usize = 2;

/// The current page, and full pages for reuse.
#[derive(Default)]
pub(super) struct Pages {
    page: Option<BytesMut>,
    /// Oldest first.
    full: VecDeque<BytesMut>,
}

impl Pages {
    /// Returns a copy of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED {
            return Bytes::copy_from_slice(bytes);
        }
        let page = match &mut self.page {
            Some(page) if page.capacity() >= bytes.len() => page,
            _ => {
                let page = self.next_page();
                self.page.insert(page)
            }
        };
        page.extend_from_slice(bytes);
        page.split().freeze()
    }

    /// Returns a page whose frames have been dropped, or else a new one.
    fn next_page(&mut self) -> BytesMut {
        if let Some(mut page) = self.page.take() {
            if page.try_reclaim(PAGE) {
                return page;
            }
            self.full.push_back(page);
        }
        for _ in 0..CHECKS {
            let Some(mut oldest) = self.full.pop_front() else { break };
            if oldest.try_reclaim(PAGE) {
                return oldest;
            }
            // A frame in it is still in use. Move it to the back, so that the next pages are checked.
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

    /// How many pages `frames` use, if none of them is longer than a page.
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
    fn pages_are_reused() {
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
    fn kept_frames_are_not_overwritten_and_few_pages_are_remembered() {
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
    fn any_length_is_copied() {
        let mut pages_of = Pages::default();
        for len in [0, 1, SHARED, SHARED + 1, PAGE, 10 * PAGE] {
            assert_eq!(pages_of.copy(&vec![7; len]), vec![7; len]);
        }
    }
}
