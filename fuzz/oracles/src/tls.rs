//! A client with TLS, and what is at the other end: a server of rustls whose bytes may be changed on the way, or anything.

use std::{
    future::Future,
    io::{self, Read, Write},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use arbitrary::{Arbitrary, Unstructured};
use zk_client::{
    Client, TlsOptions,
    rustls::{
        ServerConfig, ServerConnection,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use zk_handler::{AsyncRead, AsyncWrite, Handler};

use crate::memory;

const AUTHORITY: &str = include_str!("tls/authority.pem");
const SERVER: &str = include_str!("tls/server.pem");
const SERVER_KEY: &str = include_str!("tls/server-key.pem");

/// What a client may use of the heap beside the bytes of the input, whatever arrives: a few buffers of 64 kB.
const MEMORY: usize = 2 << 20;
/// How often a client may run in a step before it counts as hanging.
const MAX_RUNS: usize = 1_000;

/// The types of the records of TLS.
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Up to this many bytes of the server arrive.
    Deliver(u16),
    /// All bytes of the server arrive, in pieces of this length.
    DeliverAll(u8),
    /// A byte of those that the server has sent changes on the way.
    Corrupt { at: u16, with: u8 },
    /// These bytes arrive, from anybody.
    Inject(&'a [u8]),
    /// The server sends these bytes in TLS.
    Send(&'a [u8]),
    /// The server ends TLS.
    CloseNotify,
    /// The connection ends.
    Close,
    /// The connection takes this many bytes at once from now on; none if it is 0.
    Capacity(u8),
    /// This many times 64 ms pass.
    Tick(u8),
    /// The client is asked for something.
    Call,
}

/// Runs a client with TLS against a server that does not behave.
///
/// The client neither panics nor spins, and uses a bounded amount of memory. It sends records of TLS alone, and before
/// the handshake has ended no application data. What the server decrypts is the protocol of ZooKeeper.
///
/// # Panics
/// Panics if that is not the case.
pub fn tls(input: &[u8]) {
    // Loads what the process loads once.
    LazyLock::force(&CONFIG);
    let mut rest = Unstructured::new(input);
    let has_server = rest.arbitrary().unwrap_or(true);
    let mut steps = Vec::new();
    while steps.len() < 64 && !rest.is_empty() {
        steps.extend(rest.arbitrary::<Step<'_>>());
    }
    memory::within(MEMORY.saturating_add(input.len() * 64), || World::new(has_server).play(&steps));
}

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let chain = vec![CertificateDer::from_pem_slice(SERVER.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("a certificate"))
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection, as the client sees it.
#[derive(Default)]
struct Wire {
    to_client: Vec<u8>,
    from_client: Vec<u8>,
    capacity: usize,
    is_closed: bool,
    waker: Option<Waker>,
}

impl Wire {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Default)]
struct Shared {
    now: Duration,
    tasks: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The newest connection.
    wire: Option<Arc<Mutex<Wire>>>,
    /// How many connections there were.
    connections: usize,
    sleepers: Vec<Waker>,
}

/// A runtime that the world runs by hand.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<Shared>>);

impl Handler for ByHand {
    type Stream = Stream;

    fn name(&self) -> &'static str {
        "by hand"
    }

    fn now(&self) -> Duration {
        lock(&self.0).now
    }

    fn random(&self) -> u64 {
        7
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<Stream> {
        let wire = Arc::new(Mutex::new(Wire { capacity: usize::MAX, ..Wire::default() }));
        let mut shared = lock(&self.0);
        shared.wire = Some(wire.clone());
        shared.connections += 1;
        Ok(Stream(wire))
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.0.clone();
        std::future::poll_fn(move |context| {
            let mut shared = lock(&shared);
            if shared.now >= deadline {
                return Poll::Ready(());
            }
            shared.sleepers.push(context.waker().clone());
            Poll::Pending
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).tasks.push(Box::pin(task));
    }

    fn dispatch(&self, job: impl FnOnce() + Send + 'static) {
        job();
    }
}

struct Stream(Arc<Mutex<Wire>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.0);
        let length = wire.to_client.len().min(buffer.len());
        if length == 0 && !wire.is_closed {
            wire.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        for (to, from) in buffer.iter_mut().zip(wire.to_client.drain(..length)) {
            *to = from;
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.0);
        if wire.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(wire.capacity);
        if length == 0 {
            wire.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        wire.from_client.extend(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct World {
    handler: ByHand,
    flag: Arc<Flag>,
    client: Client,
    /// What the server is: `None` if bytes come from the steps alone.
    has_server: bool,
    peer: Peer,
}

/// The other end of one connection.
struct Peer {
    /// The number of the connection.
    number: usize,
    session: Option<ServerConnection>,
    /// What the server has sent and has not arrived yet.
    outgoing: Vec<u8>,
    /// What the client has sent and is not checked yet: less than a record.
    record: Vec<u8>,
    /// What the server has decrypted.
    plain: Vec<u8>,
    /// Whether the server has found an error, or has ended TLS. It reads no more then.
    is_over: bool,
}

impl Peer {
    fn new(number: usize, has_server: bool) -> Self {
        let session = has_server.then(|| ServerConnection::new(CONFIG.clone()).expect("a session"));
        Self {
            number,
            session,
            outgoing: Vec::new(),
            record: Vec::new(),
            plain: Vec::new(),
            is_over: false,
        }
    }

    /// Takes what the client has sent.
    fn receive(&mut self, bytes: &[u8]) {
        self.record.extend(bytes);
        while let Some((&[kind, major, _, high, low], rest)) = self.record.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            assert!(
                (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind) && major == 3,
                "the client sent something else than TLS: {:?}",
                self.record
            );
            if rest.len() < length {
                break;
            }
            // Without a server there is nobody with the key of the certificate, so that no handshake can end.
            assert!(
                self.session.is_some() || kind != APPLICATION_DATA,
                "application data before the handshake has ended"
            );
            self.record.drain(..length + 5);
        }
        let Some(session) = self.session.as_mut().filter(|_| !self.is_over) else { return };
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if session.read_tls(&mut bytes).is_err() || session.process_new_packets().is_err() {
                self.is_over = true;
                break;
            }
            let _ = session.reader().read_to_end(&mut self.plain);
        }
        let _ = session.write_tls(&mut self.outgoing);
        if let Some(start) = self.plain.first_chunk::<4>() {
            let length = u32::from_be_bytes(*start);
            assert!((44..=45).contains(&length), "no handshake of ZooKeeper: {:?}", self.plain);
        }
    }
}

impl World {
    fn new(has_server: bool) -> Self {
        let handler = ByHand::default();
        let client = Client::builder()
            .hosts("127.0.0.1:2281")
            .tls(TlsOptions::new().authorities_pem(AUTHORITY))
            .build_on(handler.clone())
            .expect("the options are good");
        drop(client.start());
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self { handler, flag, client, has_server, peer: Peer::new(0, has_server) }
    }

    fn play(mut self, steps: &[Step<'_>]) {
        self.run();
        for step in steps {
            self.perform(step);
            self.run();
        }
        let Self { handler, client, .. } = self;
        drop(client);
        lock(&handler.0).wire = None;
        // Tasks own the handler, which owns the tasks.
        let tasks = std::mem::take(&mut lock(&handler.0).tasks);
        drop(tasks);
    }

    fn wire(&self) -> Option<Arc<Mutex<Wire>>> {
        lock(&self.handler.0).wire.clone()
    }

    /// Runs the tasks until they wait for something.
    fn run(&mut self) {
        let waker = Waker::from(self.flag.clone());
        let mut context = Context::from_waker(&waker);
        let mut runs = 0;
        loop {
            let woken = self.flag.0.swap(false, Ordering::Relaxed);
            let tasks = std::mem::take(&mut lock(&self.handler.0).tasks);
            let left: Vec<_> = tasks
                .into_iter()
                .filter_map(|mut task| {
                    task.as_mut().poll(&mut context).is_pending().then_some(task)
                })
                .collect();
            let mut shared = lock(&self.handler.0);
            let has_spawned = !shared.tasks.is_empty();
            shared.tasks.extend(left);
            drop(shared);
            self.exchange();
            if !woken && !has_spawned && !self.flag.0.load(Ordering::Relaxed) {
                return;
            }
            runs += 1;
            assert!(runs < MAX_RUNS, "the client does not come to rest");
        }
    }

    /// Passes to the other end what the client has sent.
    fn exchange(&mut self) {
        let number = lock(&self.handler.0).connections;
        if number != self.peer.number {
            self.peer = Peer::new(number, self.has_server);
        }
        if let Some(wire) = self.wire() {
            let bytes = std::mem::take(&mut lock(&wire).from_client);
            if !bytes.is_empty() {
                self.peer.receive(&bytes);
            }
        }
    }

    fn arrive(&self, bytes: &[u8]) {
        if let Some(wire) = self.wire() {
            let mut wire = lock(&wire);
            wire.to_client.extend(bytes);
            wire.wake();
        }
    }

    fn perform(&mut self, step: &Step<'_>) {
        match *step {
            Step::Deliver(length) => self.deliver(usize::from(length)),
            Step::DeliverAll(piece) => {
                // The answers to these bytes are for a later step.
                let pieces = self.peer.outgoing.len().div_ceil(usize::from(piece).max(1));
                for _ in 0..pieces.min(64) {
                    self.deliver(usize::from(piece).max(1));
                    self.run();
                }
                self.deliver(usize::MAX);
            }
            Step::Corrupt { at, with } => {
                let length = self.peer.outgoing.len();
                if let Some(at) = usize::from(at).checked_rem(length) {
                    self.peer.outgoing[at] ^= with;
                }
            }
            Step::Inject(bytes) => self.arrive(bytes),
            Step::Send(bytes) => {
                if let Some(session) = &mut self.peer.session {
                    let _ = session.writer().write_all(bytes);
                    let _ = session.write_tls(&mut self.peer.outgoing);
                }
            }
            Step::CloseNotify => {
                if let Some(session) = &mut self.peer.session {
                    session.send_close_notify();
                    let _ = session.write_tls(&mut self.peer.outgoing);
                    self.peer.is_over = true;
                }
            }
            Step::Close => {
                if let Some(wire) = self.wire() {
                    let mut wire = lock(&wire);
                    wire.is_closed = true;
                    wire.wake();
                }
            }
            Step::Capacity(capacity) => {
                if let Some(wire) = self.wire() {
                    let mut wire = lock(&wire);
                    wire.capacity = usize::from(capacity);
                    wire.wake();
                }
            }
            Step::Tick(times) => {
                let mut shared = lock(&self.handler.0);
                shared.now += Duration::from_millis(64) * u32::from(times);
                let sleepers = std::mem::take(&mut shared.sleepers);
                drop(shared);
                sleepers.into_iter().for_each(Waker::wake);
            }
            Step::Call => drop(self.client.exists("/")),
        }
    }

    fn deliver(&mut self, length: usize) {
        let length = length.min(self.peer.outgoing.len());
        let bytes: Vec<_> = self.peer.outgoing.drain(..length).collect();
        if !bytes.is_empty() {
            self.arrive(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_without_faults_ends_in_the_handshake_of_zookeeper() {
        let mut world = World::new(true);
        world.run();
        for _ in 0..3 {
            world.perform(&Step::DeliverAll(100));
            world.run();
        }
        assert!(world.peer.plain.len() >= 48, "{:?}", world.peer.plain);
        assert!(!world.peer.is_over);
    }
}
