//! Filters for a [`Proxy`]: lose or count requests, replies and events, or act at a given packet.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use zk_client::AsyncResult;

use crate::{Direction, FrameAction, Proxy, lock};

pub(crate) const DELETE: i32 = 2;
pub(crate) const EXISTS: i32 = 3;
pub(crate) const SET_DATA: i32 = 5;
pub(crate) const GET_CHILDREN: i32 = 8;
pub(crate) const GET_CHILDREN2: i32 = 12;
pub(crate) const MULTI: i32 = 14;
pub(crate) const CREATE2: i32 = 15;
/// The xid of a notification.
const NOTIFICATION: i32 = -1;

pub(crate) fn int(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().expect("4 bytes"))
}

/// Whether a frame from a client is a request of `opcode`. The handshake has no opcode.
fn is_request(frame: &[u8], opcode: i32) -> bool {
    int(frame, 0) != 0 && int(frame, 4) == opcode
}

/// The path of a request whose record begins with a path.
fn path_of(request: &[u8]) -> String {
    let length = usize::try_from(int(request, 8)).expect("a length");
    String::from_utf8(request[12..12 + length].to_vec()).expect("UTF-8")
}

/// Drops the replies to the next `count` requests of `opcode` through `proxy`, and cuts the connection each
/// time: the requests are applied, but the client gets no reply. Returns the count of all such requests.
pub(crate) fn lose_replies(proxy: &Proxy, opcode: i32, count: usize) -> Arc<AtomicUsize> {
    let (seen, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(HashSet::new())));
    let (counted, doomed) = (seen.clone(), lost.clone());
    proxy.on_frame(Direction::ToServer, move |frame| {
        if is_request(frame, opcode) && counted.fetch_add(1, Ordering::Relaxed) < count {
            lock(&doomed).insert(int(frame, 0));
        }
        FrameAction::Pass
    });
    proxy.on_frame(Direction::ToClient, move |frame| {
        if lock(&lost).remove(&int(frame, 0)) { FrameAction::Cut } else { FrameAction::Pass }
    });
    seen
}

/// Drops the next `count` requests of `opcode` through `proxy`, and cuts the connection each time: the
/// requests are not applied. Returns the count of all such requests.
pub(crate) fn lose_requests(proxy: &Proxy, opcode: i32, count: usize) -> Arc<AtomicUsize> {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        let lost = is_request(frame, opcode) && counted.fetch_add(1, Ordering::Relaxed) < count;
        if lost { FrameAction::Cut } else { FrameAction::Pass }
    });
    seen
}

/// Removes the filters: everything passes.
pub(crate) fn pass_all(proxy: &Proxy) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.on_frame(direction, |_| FrameAction::Pass);
    }
}

/// Drops the next request of `opcode`, cuts the connection and refuses new ones. The receiver gets the path
/// of the request.
pub(crate) fn cut_off_at(proxy: &Arc<Proxy>, opcode: i32) -> mpsc::Receiver<String> {
    let (sender, received) = mpsc::channel();
    let gate = Arc::downgrade(proxy);
    proxy.on_frame(Direction::ToServer, move |frame| {
        if !is_request(frame, opcode) || sender.send(path_of(frame)).is_err() {
            return FrameAction::Pass;
        }
        if let Some(proxy) = gate.upgrade() {
            proxy.refuse(true);
        }
        FrameAction::Cut
    });
    received
}

/// Counts the requests of `opcode` that pass `proxy` from now on.
pub(crate) fn count_requests(proxy: &Proxy, opcode: i32) -> Arc<AtomicUsize> {
    lose_requests(proxy, opcode, 0)
}

/// Counts the events that pass `proxy` from now on.
pub(crate) fn count_events(proxy: &Proxy) -> Arc<AtomicUsize> {
    let events = Arc::new(AtomicUsize::new(0));
    let count = events.clone();
    proxy.on_frame(Direction::ToClient, move |frame| {
        if int(frame, 0) == NOTIFICATION {
            count.fetch_add(1, Ordering::Relaxed);
        }
        FrameAction::Pass
    });
    events
}

/// Starts a call, and drops its handle when packet `number`, counted over both directions, passes `proxy`. If
/// `cut` is set, the connection is cut there too. Returns the slot that has the handle until then.
pub(crate) fn give_up_at<T: Send + 'static>(
    proxy: &Proxy,
    number: usize,
    cut: bool,
    begin: impl FnOnce() -> AsyncResult<T>,
) -> Arc<Mutex<Option<AsyncResult<T>>>> {
    let handle = Arc::new(Mutex::new(None));
    let passed = Arc::new(AtomicUsize::new(0));
    // No packet passes before the handle is stored.
    let mut held = lock(&handle);
    for direction in [Direction::ToServer, Direction::ToClient] {
        let (handle, passed) = (handle.clone(), passed.clone());
        proxy.on_frame(direction, move |frame| {
            let is_call = int(frame, 0) > 0;
            if !is_call || passed.fetch_add(1, Ordering::Relaxed) != number {
                return FrameAction::Pass;
            }
            drop(lock(&handle).take());
            if cut { FrameAction::Cut } else { FrameAction::Pass }
        });
    }
    *held = Some(begin());
    drop(held);
    handle
}

pub(crate) fn is_given_up<T>(handle: &Mutex<Option<AsyncResult<T>>>) -> bool {
    lock(handle).is_none()
}
