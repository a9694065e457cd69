//! Connections in memory, as a state machine: two pipes each, in which bytes take their time, arrive in
//! pieces, are held up, or are lost together with all that follows them.
//!
//! What TCP promises holds: bytes arrive in order and once, and none is missing before one that has arrived.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::queue::Queue;

/// The bytes of a length prefix.
const PREFIX_LEN: usize = 4;

/// How many bytes may be in transit before a writer has to wait.
const WINDOW: usize = 32 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// How a connection ends that neither end has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both ends learn of it. What was in transit is lost.
    Reset,
    /// Both ends read what was in transit, and then the end of the stream.
    Close,
    /// Only the client reads the end of the stream.
    HalfClose,
    /// Nothing arrives any more, and neither end learns of it.
    Silence,
}

/// What has arrived at one end of a connection.
pub(crate) struct Delivery {
    pub(crate) connection: u64,
    /// The client's process.
    pub(crate) process: usize,
    pub(crate) content: Content,
    /// To be woken.
    pub(crate) wakers: [Option<Waker>; 2],
}

pub(crate) enum Content {
    /// So many bytes, or the end, which the client can read.
    ToClient(usize),
    /// Bytes for the server, or `None` for the end.
    ToServer(Option<Vec<u8>>),
}

#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Parcel {
    const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Reset => 0,
        }
    }
}

#[derive(Default)]
struct Pipe {
    in_transit: VecDeque<(Duration, Parcel)>,
    /// How many bytes are in transit.
    bytes: usize,
    last_due: Duration,
    held_until: Duration,
    /// After how many bytes the connection is cut, and how.
    cut_after: Option<(usize, Cut)>,
    /// How long each byte takes, if bytes arrive one by one.
    pace: Option<Duration>,
    /// How much is added to the length of the next packet.
    added_length: u32,
    has_sent: bool,
    /// Whatever is sent is lost.
    is_shut: bool,
}

impl Pipe {
    /// Takes what is due next. With a pace, that is one byte.
    fn pop_due(&mut self, now: Duration) -> Option<Parcel> {
        if !self.has_due(now) {
            return None;
        }
        let (due, mut parcel) = self.in_transit.pop_front()?;
        if let (Some(pace), Parcel::Bytes(bytes)) = (self.pace, &mut parcel) {
            let rest = bytes.split_off(1.min(bytes.len()));
            if !rest.is_empty() {
                self.in_transit.push_front((due, Parcel::Bytes(rest)));
            }
            self.held_until = now + pace;
        }
        self.bytes -= parcel.len();
        Some(parcel)
    }

    fn has_due(&self, now: Duration) -> bool {
        self.held_until <= now && self.in_transit.front().is_some_and(|(due, _)| *due <= now)
    }
}

/// The client's end.
#[derive(Default)]
struct ClientEnd {
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
    client: ClientEnd,
    /// Whether the server's end is open.
    is_served: bool,
    /// Nothing arrives any more, so that neither end can learn of the other.
    is_silent: bool,
    latency: Duration,
}

impl Connection {
    const fn pipe(&mut self, direction: Direction) -> &mut Pipe {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

pub(crate) struct Network {
    connections: BTreeMap<u64, Connection>,
    /// The pipes in which something may be due.
    arrivals: Queue<(u64, Direction)>,
    opened: u64,
    random: fastrand::Rng,
}

impl Network {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self { connections: BTreeMap::new(), arrivals: Queue::new(), opened: 0, random }
    }

    /// The connections that are open at both ends.
    pub(crate) fn open_connections(&self) -> Vec<u64> {
        let open = |(_, c): &(&u64, &Connection)| c.is_served && !c.client.is_dropped;
        self.connections.iter().filter(open).map(|(id, _)| *id).collect()
    }

    /// How many connections have an end that is open though the other end is closed, and that should have
    /// learned of it.
    pub(crate) fn leaked(&self) -> usize {
        self.connections.values().filter(|connection| !connection.is_silent).count()
    }

    /// Forgets all connections.
    pub(crate) fn clear(&mut self) {
        self.connections.clear();
    }

    /// Opens a connection of a client in `process` and returns its number.
    pub(crate) fn open(&mut self, process: usize) -> u64 {
        self.opened += 1;
        let connection = Connection {
            process,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            client: ClientEnd::default(),
            is_served: true,
            is_silent: false,
            latency: Duration::from_micros(self.random.u64(50..5_000)),
        };
        self.connections.insert(self.opened, connection);
        self.opened
    }

    // ---- faults ------------------------------------------------------------------------------------

    fn change_pipe(&mut self, id: u64, direction: Direction, change: impl FnOnce(&mut Pipe)) {
        if let Some(connection) = self.connections.get_mut(&id) {
            change(connection.pipe(direction));
        }
    }

    /// Cuts the connection once `bytes` more were sent in this direction.
    pub(crate) fn cut_after(&mut self, id: u64, direction: Direction, bytes: usize, cut: Cut) {
        self.change_pipe(id, direction, |pipe| pipe.cut_after = Some((bytes, cut)));
    }

    /// Delivers nothing in one direction until then.
    pub(crate) fn hold(&mut self, id: u64, direction: Direction, until: Duration) {
        self.change_pipe(id, direction, |pipe| pipe.held_until = until);
        self.arrivals.push(until, (id, direction));
    }

    /// Adds to the length prefix of the server's next packet.
    pub(crate) fn add_to_length(&mut self, id: u64, more: u32) {
        self.change_pipe(id, Direction::ToClient, |pipe| pipe.added_length = more);
    }

    /// Delivers what the server sends byte by byte, each after `pace`.
    pub(crate) fn trickle(&mut self, id: u64, pace: Duration) {
        self.change_pipe(id, Direction::ToClient, |pipe| pipe.pace = Some(pace));
    }

    /// Ends all faults that have not come into effect or still are in effect.
    pub(crate) fn heal(&mut self, now: Duration) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            for direction in [Direction::ToServer, Direction::ToClient] {
                self.change_pipe(id, direction, |pipe| {
                    (pipe.cut_after, pipe.pace, pipe.added_length) = (None, None, 0);
                });
                self.hold(id, direction, now);
            }
        }
    }

    /// Cuts a connection.
    pub(crate) fn cut(&mut self, now: Duration, id: u64, cut: Cut) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match cut {
            Cut::Reset => {
                for direction in [Direction::ToServer, Direction::ToClient] {
                    self.change_pipe(id, direction, |pipe| {
                        // An end that is in transit is lost too; the reset takes its place.
                        let ends = matches!(
                            pipe.in_transit.back(),
                            Some((_, Parcel::End | Parcel::Reset))
                        );
                        pipe.is_shut &= !ends;
                        pipe.in_transit.clear();
                        pipe.bytes = 0;
                        pipe.held_until = Duration::ZERO;
                    });
                    self.put(now, id, direction, Parcel::Reset);
                }
            }
            Cut::Close => {
                self.put(now, id, Direction::ToServer, Parcel::End);
                self.put(now, id, Direction::ToClient, Parcel::End);
            }
            Cut::HalfClose => self.put(now, id, Direction::ToClient, Parcel::End),
            Cut::Silence => {
                connection.is_silent = true;
                for pipe in [&mut connection.to_server, &mut connection.to_client] {
                    pipe.in_transit.clear();
                    pipe.bytes = 0;
                    pipe.is_shut = true;
                }
            }
        }
    }

    // ---- sending and delivery ----------------------------------------------------------------------

    /// Whether anything was ever sent in this direction.
    pub(crate) fn has_sent(&self, id: u64, direction: Direction) -> bool {
        self.connections.get(&id).is_some_and(|connection| match direction {
            Direction::ToServer => connection.to_server.has_sent,
            Direction::ToClient => connection.to_client.has_sent,
        })
    }

    /// Sends bytes, which arrive in pieces.
    pub(crate) fn send(&mut self, now: Duration, id: u64, direction: Direction, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = connection.pipe(direction);
        if pipe.is_shut {
            return;
        }
        pipe.has_sent = true;
        if pipe.added_length > 0
            && let Some(prefix) = bytes.first_chunk_mut::<PREFIX_LEN>()
        {
            let length = u32::from_be_bytes(*prefix) + std::mem::take(&mut pipe.added_length);
            *prefix = length.to_be_bytes();
        }
        let cut = pipe.cut_after.take_if(|(left, _)| *left <= bytes.len());
        if let Some((left, _)) = &mut pipe.cut_after {
            *left -= bytes.len();
        }
        let mut bytes = match cut {
            // A half close does not affect what the client sends.
            Some((_, Cut::HalfClose)) if direction == Direction::ToServer => &*bytes,
            Some((left, _)) => bytes.get(..left).unwrap_or(bytes),
            None => &*bytes,
        };
        while !bytes.is_empty() {
            let whole = self.random.u8(..4) > 0;
            let len = if whole { bytes.len() } else { self.random.usize(1..=bytes.len()) };
            let (piece, rest) = bytes.split_at(len);
            self.put(now, id, direction, Parcel::Bytes(piece.to_vec()));
            bytes = rest;
        }
        if let Some((_, cut)) = cut {
            self.cut(now, id, cut);
        }
    }

    fn put(&mut self, now: Duration, id: u64, direction: Direction, parcel: Parcel) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let latency = connection.latency + Duration::from_micros(self.random.u64(..200));
        let pipe = connection.pipe(direction);
        if pipe.is_shut {
            return;
        }
        pipe.bytes += parcel.len();
        pipe.is_shut = !matches!(parcel, Parcel::Bytes(_));
        let due = (now + latency).max(pipe.last_due);
        pipe.last_due = due;
        pipe.in_transit.push_back((due, parcel));
        self.arrivals.push(due, (id, direction));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.arrivals.next_due()
    }

    /// Delivers what is due next, if anything is due in the pipe whose turn it is.
    pub(crate) fn handle_timeout(&mut self, now: Duration) -> Option<Delivery> {
        let (id, direction) = self.arrivals.pop_due(now)?;
        let connection = self.connections.get_mut(&id)?;
        let pipe = connection.pipe(direction);
        let parcel = pipe.pop_due(now)?;
        // Whatever else was held up is next.
        let next = if pipe.has_due(now) { Some(now) } else { pipe.pace.map(|_| pipe.held_until) };
        if let Some(next) = next {
            self.arrivals.push(next, (id, direction));
        }
        let client = &mut connection.client;
        let (content, wakers) = match direction {
            Direction::ToClient => {
                let len = parcel.len();
                let mut writer = None;
                match parcel {
                    Parcel::Bytes(bytes) => client.arrived.extend(bytes),
                    Parcel::End => client.is_ended = true,
                    Parcel::Reset => {
                        client.is_reset = true;
                        if self.random.bool() {
                            client.arrived.clear();
                        }
                        writer = client.writer.take();
                    }
                }
                (Content::ToClient(len), [writer, client.reader.take()])
            }
            Direction::ToServer => {
                let bytes = match parcel {
                    Parcel::Bytes(bytes) => Some(bytes),
                    Parcel::End | Parcel::Reset => None,
                };
                (Content::ToServer(bytes), [client.writer.take(), None])
            }
        };
        Some(Delivery { connection: id, process: connection.process, content, wakers })
    }

    /// Closes the server's end.
    pub(crate) fn close_server_end(&mut self, now: Duration, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_served = false;
        }
        self.put(now, id, Direction::ToClient, Parcel::End);
        self.forget_closed(id);
    }

    /// Forgets a connection that is closed at both ends.
    fn forget_closed(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|c| !c.is_served && c.client.is_dropped) {
            self.connections.remove(&id);
        }
    }

    // ---- the client's end --------------------------------------------------------------------------

    pub(crate) fn poll_read(
        &mut self,
        id: u64,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Ok(0));
        };
        let client = &mut connection.client;
        let most = client.arrived.len().min(buffer.len());
        if most == 0 {
            if client.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if client.is_ended || buffer.is_empty() {
                return Poll::Ready(Ok(0));
            }
            client.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = if self.random.u8(..4) > 0 { most } else { self.random.usize(1..=most) };
        for (place, byte) in buffer.iter_mut().zip(client.arrived.drain(..len)) {
            *place = byte;
        }
        Poll::Ready(Ok(len))
    }

    /// How many of `len` bytes the client can [`send`](Self::send) now.
    pub(crate) fn poll_write(
        &mut self,
        id: u64,
        context: &Context<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if connection.client.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let room = WINDOW.saturating_sub(connection.to_server.bytes);
        if room == 0 {
            connection.client.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let most = room.min(len);
        let whole = most == 0 || self.random.u8(..8) > 0;
        Poll::Ready(Ok(if whole { most } else { self.random.usize(1..=most) }))
    }

    /// The client shuts its end down: it sends no more.
    pub(crate) fn shut_client_end(&mut self, now: Duration, id: u64) {
        self.put(now, id, Direction::ToServer, Parcel::End);
    }

    /// The client drops its end. The wakers are to be dropped while no lock is held.
    pub(crate) fn drop_client_end(&mut self, now: Duration, id: u64) -> [Option<Waker>; 2] {
        self.shut_client_end(now, id);
        let Some(connection) = self.connections.get_mut(&id) else { return [None, None] };
        let client = &mut connection.client;
        client.is_dropped = true;
        let wakers = [client.reader.take(), client.writer.take()];
        self.forget_closed(id);
        wakers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_close_loses_nothing_that_the_client_sends() {
        let mut network = Network::new(fastrand::Rng::with_seed(0));
        let id = network.open(0);
        network.cut_after(id, Direction::ToServer, 3, Cut::HalfClose);
        for sent in 1..=3 {
            network.send(Duration::ZERO, id, Direction::ToServer, &mut [0; 2]);
            assert_eq!(network.connections[&id].to_server.bytes, 2 * sent);
        }
        assert!(network.connections[&id].to_client.is_shut);
    }

    /// A reset replaces an end that is in transit. The server has to learn of it, or it would keep the
    /// connection for ever.
    #[test]
    fn reset_after_close_reaches_the_server() {
        for seed in 0..10 {
            let mut network = Network::new(fastrand::Rng::with_seed(seed));
            let id = network.open(0);
            let _wakers = network.drop_client_end(Duration::ZERO, id);
            network.cut(Duration::ZERO, id, Cut::Reset);
            while let Some(due) = network.poll_timeout() {
                if let Some(Delivery { content: Content::ToServer(None), .. }) =
                    network.handle_timeout(due)
                {
                    network.close_server_end(due, id);
                }
            }
            assert_eq!(network.leaked(), 0, "seed {seed}");
        }
    }
}
