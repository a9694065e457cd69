//! Connections in memory: two pipes each, in which bytes take their time, come in pieces, stick, and get
//! lost with all that is behind them.
//!
//! What TCP promises holds: bytes come in order, once, and none is missing before one that has come.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::{Context, Poll, Waker},
    time::Duration,
};

use zk_proto::frame::LENGTH_LEN;
use zk_server::ConnectionId;

use crate::{
    executor::{Core, Event},
    faults::Grant,
    heard::Heard,
};

/// How many bytes a server sends before it closes a connection after its first answers: a session, and that
/// a credential is taken.
const FIRST_ANSWERS: usize = 41 + 20;

/// How many bytes may be under way before a writer has to wait.
const WINDOW: usize = 32 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// How a connection ends that nobody has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both ends learn of it, and what was under way is lost.
    Reset,
    /// Both ends read what was under way, and then the end.
    Close,
    /// The client alone reads the end, as of a connection that is half closed.
    HalfClose,
    /// Nothing comes through any more, and nobody is told.
    Silence,
}

#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    End,
    Reset,
}

#[derive(Default)]
struct Pipe {
    under_way: VecDeque<(Duration, Parcel)>,
    bytes: usize,
    last_due: Duration,
    held_until: Duration,
    /// After how many bytes the connection is cut, and how.
    cut_after: Option<(usize, Cut)>,
    /// How long each byte takes, if it is long.
    pace: Option<Duration>,
    /// By how much the next packet's length is too large.
    promise: u32,
    /// Something was sent.
    has_begun: bool,
    /// Whatever is sent is lost, or has been ended.
    is_shut: bool,
}

/// The client's end.
#[derive(Default)]
struct End {
    arrived: VecDeque<u8>,
    is_ended: bool,
    is_reset: bool,
    is_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Connection {
    /// The client's.
    process: usize,
    to_server: Pipe,
    to_client: Pipe,
    client: End,
    heard: Heard,
    is_served: bool,
    /// Nothing comes through any more, so that the ends cannot know of each other.
    is_silent: bool,
    latency: Duration,
}

#[derive(Default)]
pub(crate) struct Network {
    connections: BTreeMap<u64, Connection>,
}

impl Network {
    /// Those that are open at both ends.
    pub(crate) fn open(&self) -> Vec<u64> {
        let open = |(_, c): &(&u64, &Connection)| c.is_served && !c.client.is_dropped;
        self.connections.iter().filter(open).map(|(id, _)| *id).collect()
    }

    /// How many have an end that does not know that the other one is closed, and should.
    pub(crate) fn left(&self) -> usize {
        self.connections.values().filter(|connection| !connection.is_silent).count()
    }

    pub(crate) fn forget_wakers(&mut self) {
        self.connections.clear();
    }
}

impl Connection {
    fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl Core {
    /// A connection comes about.
    pub(crate) fn open_connection(&mut self, process: usize, machine: usize) -> u64 {
        let id = self.next_id();
        let latency = Duration::from_micros(self.random.u64(50..5_000));
        let mut connection = Connection {
            process,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            client: End::default(),
            heard: Heard::default(),
            is_served: true,
            is_silent: false,
            latency,
        };
        if let Some(cut) = self.draw_cut() {
            connection.pipe(cut.0).cut_after = Some((cut.1, cut.2));
        }
        if self.host.machines[machine].answers_once {
            connection.to_client.cut_after = Some((FIRST_ANSWERS, Cut::Close));
        }
        self.network.connections.insert(id, connection);
        self.trace.step(self.now, "connected", id, machine as u64);
        self.serve_connected(ConnectionId(id), machine);
        id
    }

    /// Puts `bytes` on their way, in pieces.
    pub(crate) fn send(&mut self, id: u64, direction: Direction, bytes: &[u8]) {
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let pipe = connection.pipe(direction);
        if pipe.is_shut {
            return;
        }
        let mut bytes = bytes.to_vec();
        if !std::mem::replace(&mut pipe.has_begun, true) {
            spoil_handshake(&mut self.odd_grant, direction, &mut bytes);
        }
        if pipe.promise > 0
            && let Some(prefix) = bytes.first_chunk_mut::<LENGTH_LEN>()
        {
            *prefix =
                (u32::from_be_bytes(*prefix) + std::mem::take(&mut pipe.promise)).to_be_bytes();
        }
        let bytes = bytes.as_slice();
        let cut = pipe.cut_after.take_if(|(left, _)| *left <= bytes.len());
        if let Some((left, _)) = &mut pipe.cut_after {
            *left -= bytes.len();
        }
        let mut bytes = match cut {
            // The server takes what comes.
            Some((_, Cut::HalfClose)) if direction == Direction::ToServer => bytes,
            Some((left, _)) => bytes.get(..left).unwrap_or(bytes),
            None => bytes,
        };
        while !bytes.is_empty() {
            let whole = self.random.u8(..4) > 0;
            let len = if whole { bytes.len() } else { self.random.usize(1..=bytes.len()) };
            let (piece, rest) = bytes.split_at(len);
            self.put(id, direction, Parcel::Bytes(piece.to_vec()));
            bytes = rest;
        }
        if let Some((_, cut)) = cut {
            self.cut(id, cut);
        }
    }

    fn put(&mut self, id: u64, direction: Direction, parcel: Parcel) {
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let latency = connection.latency + Duration::from_micros(self.random.u64(..200));
        let pipe = connection.pipe(direction);
        if pipe.is_shut {
            return;
        }
        match &parcel {
            Parcel::Bytes(bytes) => pipe.bytes += bytes.len(),
            Parcel::End | Parcel::Reset => pipe.is_shut = true,
        }
        let due = (self.now + latency).max(pipe.last_due);
        pipe.last_due = due;
        pipe.under_way.push_back((due, parcel));
        self.schedule(due, Event::Arrival(id, direction));
    }

    /// The writer has said that no more will come.
    pub(crate) fn send_end(&mut self, id: u64, direction: Direction) {
        self.put(id, direction, Parcel::End);
    }

    pub(crate) fn cut(&mut self, id: u64, cut: Cut) {
        self.trace.step(self.now, "cut", id, cut as u64);
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        match cut {
            Cut::Reset => {
                for direction in [Direction::ToServer, Direction::ToClient] {
                    let Some(connection) = self.network.connections.get_mut(&id) else { return };
                    let pipe = connection.pipe(direction);
                    // An end that is under way goes down with the rest; the reset is told instead.
                    let ends =
                        matches!(pipe.under_way.back(), Some((_, Parcel::End | Parcel::Reset)));
                    pipe.is_shut &= !ends;
                    pipe.under_way.clear();
                    pipe.bytes = 0;
                    pipe.held_until = Duration::ZERO;
                    self.put(id, direction, Parcel::Reset);
                }
            }
            Cut::Close => {
                self.put(id, Direction::ToServer, Parcel::End);
                self.put(id, Direction::ToClient, Parcel::End);
            }
            Cut::HalfClose => self.put(id, Direction::ToClient, Parcel::End),
            Cut::Silence => {
                connection.is_silent = true;
                for pipe in [&mut connection.to_server, &mut connection.to_client] {
                    pipe.under_way.clear();
                    pipe.bytes = 0;
                    pipe.is_shut = true;
                }
            }
        }
    }

    /// Nothing arrives in one direction for a while.
    pub(crate) fn hold(&mut self, id: u64, direction: Direction, until: Duration) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.pipe(direction).held_until = until;
        }
        self.schedule(until, Event::Arrival(id, direction));
    }

    /// The server's next packet promises `more` bytes than come.
    pub(crate) fn promise(&mut self, id: u64, more: u32) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.to_client.promise = more;
        }
    }

    /// What the server sends comes in byte by byte, each after so long.
    pub(crate) fn trickle(&mut self, id: u64, pace: Duration) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.to_client.pace = Some(pace);
        }
    }

    /// Ends all holds, and all cuts and whatever else is still to come.
    pub(crate) fn release_all(&mut self) {
        let ids: Vec<_> = self.network.connections.keys().copied().collect();
        for id in ids {
            for direction in [Direction::ToServer, Direction::ToClient] {
                if let Some(connection) = self.network.connections.get_mut(&id) {
                    let pipe = connection.pipe(direction);
                    (pipe.cut_after, pipe.pace, pipe.promise) = (None, None, 0);
                }
                self.hold(id, direction, self.now);
            }
        }
    }

    /// What is due in a pipe comes out of it.
    pub(crate) fn arrive(&mut self, id: u64, direction: Direction) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut slowed = None;
        while let Some(connection) = self.network.connections.get_mut(&id) {
            let pipe = connection.pipe(direction);
            if pipe.held_until > self.now {
                break;
            }
            match pipe.under_way.front() {
                Some((due, _)) if *due <= self.now => {}
                _ => break,
            }
            let Some((due, mut parcel)) = pipe.under_way.pop_front() else { break };
            if let (Some(pace), Parcel::Bytes(bytes)) = (pipe.pace, &mut parcel) {
                let rest = bytes.split_off(1.min(bytes.len()));
                if !rest.is_empty() {
                    pipe.under_way.push_front((due, Parcel::Bytes(rest)));
                }
                pipe.held_until = self.now + pace;
                slowed = Some(pipe.held_until);
            }
            if let Parcel::Bytes(bytes) = &parcel {
                pipe.bytes -= bytes.len();
            }
            let size = if let Parcel::Bytes(bytes) = &parcel { bytes.len() as u64 } else { 0 };
            let end = &mut connection.client;
            match direction {
                Direction::ToClient => {
                    self.trace.step(self.now, "to client", id, size);
                    match parcel {
                        Parcel::Bytes(bytes) => end.arrived.extend(bytes),
                        Parcel::End => end.is_ended = true,
                        Parcel::Reset => {
                            end.is_reset = true;
                            if self.random.bool() {
                                end.arrived.clear();
                            }
                            wakers.extend(end.writer.take());
                        }
                    }
                    wakers.extend(end.reader.take());
                    let process = connection.process;
                    self.arrived_for(process);
                }
                Direction::ToServer => {
                    self.trace.step(self.now, "to server", id, size);
                    wakers.extend(end.writer.take());
                    match parcel {
                        Parcel::Bytes(bytes) => self.serve(ConnectionId(id), Some(bytes)),
                        Parcel::End | Parcel::Reset => self.serve(ConnectionId(id), None),
                    }
                }
            }
        }
        if let Some(until) = slowed {
            self.schedule(until, Event::Arrival(id, direction));
        }
        self.bury(id);
        wakers
    }

    /// The server has closed its end.
    pub(crate) fn closed_by_server(&mut self, id: u64) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.is_served = false;
        }
        self.send_end(id, Direction::ToClient);
        self.bury(id);
    }

    /// Forgets a connection that is closed at both ends.
    fn bury(&mut self, id: u64) {
        if self.network.connections.get(&id).is_some_and(|c| !c.is_served && c.client.is_dropped) {
            self.network.connections.remove(&id);
        }
    }

    // ---- the client's end --------------------------------------------------------------------------

    pub(crate) fn read(
        &mut self,
        id: u64,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return Poll::Ready(Ok(0));
        };
        let end = &mut connection.client;
        let most = end.arrived.len().min(buffer.len());
        if most == 0 {
            if end.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if end.is_ended || buffer.is_empty() {
                return Poll::Ready(Ok(0));
            }
            end.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = if self.random.u8(..4) > 0 { most } else { self.random.usize(1..=most) };
        for (place, byte) in buffer.iter_mut().zip(end.arrived.drain(..len)) {
            *place = byte;
        }
        connection.heard.read(self.now, buffer.get(..len).unwrap_or_default());
        Poll::Ready(Ok(len))
    }

    pub(crate) fn write(
        &mut self,
        id: u64,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = self.now;
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if connection.client.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let free = self.processes[connection.process].disturbed_until;
        let room = WINDOW.saturating_sub(connection.to_server.bytes);
        if room == 0 {
            connection.client.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let most = room.min(bytes.len());
        let whole = most == 0 || self.random.u8(..8) > 0;
        let len = if whole { most } else { self.random.usize(1..=most) };
        self.trace.step(now, "write", id, len as u64);
        let bytes = bytes.get(..len).unwrap_or(bytes);
        if let Some(silence) = connection.heard.overdue(now, free) {
            self.fail(|| format!("a client stays connected without an answer for {silence:?}"));
        }
        self.tap_written(id);
        self.send(id, Direction::ToServer, bytes);
        Poll::Ready(Ok(len))
    }

    /// The client shuts its end down, or drops it.
    pub(crate) fn closed_by_client(
        &mut self,
        id: u64,
        dropped: bool,
    ) -> Option<[Option<Waker>; 2]> {
        self.trace.step(self.now, "close", id, dropped.into());
        self.send_end(id, Direction::ToServer);
        let connection = self.network.connections.get_mut(&id)?;
        connection.client.is_dropped |= dropped;
        let end = &mut connection.client;
        let wakers = dropped.then(|| [end.reader.take(), end.writer.take()]);
        self.bury(id);
        wakers
    }
}

/// Does to a first packet what the next odd grant says, if that is about packets of this direction.
fn spoil_handshake(odd: &mut Option<Grant>, direction: Direction, packet: &mut [u8]) {
    // Where the session is in a ConnectRequest, and the timeout and the session in a ConnectResponse.
    let fields: &[(usize, &[u8])] = match (direction, &*odd) {
        (Direction::ToServer, Some(Grant::Another)) => &[(20, &[0; 8])],
        (Direction::ToClient, Some(Grant::Nameless)) => &[(12, &[0; 8])],
        (Direction::ToClient, Some(Grant::Refused(timeout))) => {
            &[(8, &timeout.to_be_bytes()), (12, &[0; 8])]
        }
        _ => return,
    };
    for (at, value) in fields {
        let Some(field) = packet.get_mut(*at..at + value.len()) else { return };
        field.copy_from_slice(value);
    }
    *odd = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{executor::Shared, trace::Trace};

    #[test]
    fn a_half_close_loses_nothing_on_its_way_to_the_server() {
        let shared = Shared::new(0, Trace::new(None));
        let mut core = shared.lock();
        let id = core.open_connection(0, 0);
        let connection = core.network.connections.get_mut(&id).expect("it is open");
        connection.to_server.cut_after = Some((3, Cut::HalfClose));
        for sent in 1..=3 {
            core.send(id, Direction::ToServer, &[0; 2]);
            assert_eq!(core.network.connections[&id].to_server.bytes, 2 * sent);
        }
        assert!(core.network.connections[&id].to_client.is_shut);
    }

    /// A reset that comes upon an end that is under way is told to the server, which would keep the connection
    /// for ever otherwise.
    #[test]
    fn a_reset_upon_an_end_leaves_no_connection() {
        for seed in 0..10 {
            let shared = Shared::new(seed, Trace::new(None));
            let mut core = shared.lock();
            let id = core.open_connection(0, 0);
            core.closed_by_client(id, true);
            core.cut(id, Cut::Reset);
            drop(core);
            while shared.step(Duration::from_secs(10)) {}
            assert_eq!(shared.lock().network.left(), 0, "seed {seed}");
        }
    }
}
