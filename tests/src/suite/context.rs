//! [`Site`], where a test does its work, and how it waits.

use std::{
    fmt::{Debug, Display},
    future::{Future, poll_fn},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use zk_client::{
    Backoff, Client, ClientBuilder, Error, Handler, OPEN_ACL_UNSAFE, SessionState, States,
};

use zk_server::{SessionId, TestServer, Version};

use crate::{
    Ensemble, Proxy, embedded_config, lock, raw, server::asked_version, version_under_test,
};

/// How long anything may take that a test waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(25);
/// How long a whole test may take.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// How attempts to connect are spaced, so that tests that are about something else are quick.
const RECONNECT: Backoff =
    Backoff { min: Duration::from_millis(5), max: Duration::from_millis(50) };
/// How often a condition is looked at that nobody announces.
const INTERVAL: Duration = Duration::from_millis(5);

/// The server that all tests of a binary share.
pub(crate) enum Shared {
    Real(&'static Ensemble),
    Embedded { server: TestServer, version: Version },
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// The server that all tests of a binary share: ZooKeeper, unless [`share_embedded`] came first.
pub(crate) fn shared() -> &'static Shared {
    SHARED.get_or_init(|| Shared::Real(crate::shared()))
}

/// Has all tests of this binary share an embedded server, set up as ZooKeeper is for tests. It behaves as
/// the newest release that it can, unless `ZK_TEST_VERSION` names one.
///
/// # Panics
///
/// If it cannot start.
pub fn share_embedded() {
    SHARED.get_or_init(|| {
        let version = asked_version().unwrap_or_default();
        let server = TestServer::start_with(embedded_config(version)).expect("there is a port");
        Shared::Embedded { server, version }
    });
}

impl Shared {
    /// The connect string.
    pub(crate) fn hosts(&self) -> String {
        self.address().to_string()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) => ensemble.node(0).address(),
            Self::Embedded { server, .. } => server.address(),
        }
    }

    /// Which release it is, or behaves as.
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::Real(_) => version_under_test(),
            Self::Embedded { version, .. } => *version,
        }
    }

    /// The answer to a word of four letters.
    #[track_caller]
    pub(crate) fn four_letter(&self, word: &str) -> String {
        raw::four_letter(self.address(), word).expect("the server answers")
    }

    /// Ends a session behind its owner's back.
    #[track_caller]
    pub(crate) fn expire_session(&self, id: i64, password: &[u8]) {
        match self {
            Self::Real(ensemble) => ensemble.expire_session(id, password),
            Self::Embedded { server, .. } => assert!(server.expire_session(SessionId(id))),
        }
    }
}

/// Runs `test`, and gives it up if it hangs, be it in a blocking call.
///
/// # Panics
///
/// If `test` does, or if it takes too long.
pub fn guard(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let runner = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match ended.recv_timeout(TEST_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test hangs"),
        _ => {
            if let Err(panic) = runner.join() {
                resume_unwind(panic);
            }
        }
    }
}

/// Runs `test`, which sees for itself that it does not hang.
pub fn unguarded(test: impl FnOnce()) {
    test();
}

/// Runs `test` as a task of `handler`, as it is meant to be.
pub(crate) async fn task<H: Handler, F>(handler: H, test: impl FnOnce(H) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let test = test(handler.clone());
    spawned(&handler, test).await;
}

/// What comes of `task`, which runs by itself from now on; its panic, if it panics.
pub(crate) fn spawned<H, T, F>(
    handler: &H,
    task: F,
) -> impl Future<Output = T> + Send + use<H, T, F>
where
    H: Handler,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (answer, end) = oneshot();
    handler.spawn(async move {
        let mut task = pin!(task);
        let ended = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        answer.give(ended.await);
    });
    async {
        match end.await {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Runs `work`, which may block, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, end) = oneshot();
    thread::spawn(move || answer.give(catch_unwind(AssertUnwindSafe(work))));
    match end.await {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

/// Waits in this thread for what comes of `future`, without any runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

struct Answer<T>(Arc<Mutex<Slot<T>>>);

enum Slot<T> {
    Empty(Option<Waker>),
    Full(Option<T>),
}

impl<T> Answer<T> {
    fn give(self, value: T) {
        if let Slot::Empty(Some(waker)) =
            std::mem::replace(&mut *lock(&self.0), Slot::Full(Some(value)))
        {
            waker.wake();
        }
    }
}

fn oneshot<T: Send>() -> (Answer<T>, impl Future<Output = T> + Send) {
    let slot = Arc::new(Mutex::new(Slot::Empty(None)));
    let answer = Answer(slot.clone());
    let end = poll_fn(move |context| match &mut *lock(&slot) {
        Slot::Empty(waker) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
        Slot::Full(value) => Poll::Ready(value.take().expect("polled once it is there")),
    });
    (answer, end)
}

/// What comes of `future`, or `None` if it takes longer than `limit`.
pub(crate) async fn race<H: Handler, F: Future>(
    handler: &H,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(handler.sleep_until(handler.now() + limit));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// A test's own part of the shared server: a root that no other test uses.
pub(crate) struct Site<H> {
    pub(crate) handler: H,
    root: String,
}

impl<H: Handler> Site<H> {
    pub(crate) fn new(handler: H) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);

        let root = format!("/site-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        make_node(&root);
        Self { handler, root }
    }

    /// The root of this site, as the server knows it.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A client of the shared server, not started.
    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder_at(shared().hosts())
    }

    /// A client of the servers at `hosts`, not started. It does not wait for long to connect again.
    pub(crate) fn builder_at(&self, hosts: impl Display) -> ClientBuilder {
        Client::builder()
            .hosts(format!("{hosts}{}", self.root))
            .default_acl(&OPEN_ACL_UNSAFE)
            .connection_retry(RECONNECT)
            .reconnect_spread(Duration::ZERO)
    }

    /// A client of the shared server.
    pub(crate) async fn client(&self) -> Client {
        self.connect(self.builder()).await
    }

    /// A client, connected.
    pub(crate) async fn connect(&self, builder: ClientBuilder) -> Client {
        self.ok("to connect", builder.connect_on(self.handler.clone())).await
    }

    /// A client, not started.
    pub(crate) fn build(&self, builder: ClientBuilder) -> Client {
        builder.build_on(self.handler.clone()).expect("the options are good")
    }

    /// A proxy in front of the shared server, and a client through it.
    pub(crate) async fn proxied(&self) -> (Proxy, Client) {
        let proxy = proxy();
        let zk = self.connect(self.builder_at(proxy.address())).await;
        // For tests that count packets: the client has looked for its chroot before.
        self.ok("to settle", zk.exists("/")).await;
        (proxy, zk)
    }

    /// What comes of `future`, in time.
    #[track_caller]
    pub(crate) fn within<F: Future>(
        &self,
        what: &str,
        future: F,
    ) -> impl Future<Output = F::Output> {
        let caller = std::panic::Location::caller();
        async move {
            match race(&self.handler, LIMIT, future).await {
                Some(value) => value,
                None => panic!("{caller}: timed out after {LIMIT:?} waiting for {what}"),
            }
        }
    }

    /// The value that comes of `future`, in time.
    #[track_caller]
    pub(crate) fn ok<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        let future = self.within(what, future);
        async move {
            match future.await {
                Ok(value) => value,
                Err(error) => panic!("{caller}: {what}: {error:?}"),
            }
        }
    }

    /// The error that comes of `future`, in time.
    #[track_caller]
    pub(crate) fn err<T: Debug>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Error> {
        let caller = std::panic::Location::caller();
        let future = self.within(what, future);
        async move {
            match future.await {
                Ok(value) => panic!("{caller}: {what} should have failed, but gave {value:?}"),
                Err(error) => error,
            }
        }
    }

    /// Asks `probe` again and again until it answers.
    #[track_caller]
    pub(crate) fn until<T>(
        &self,
        what: &str,
        mut probe: impl FnMut() -> Option<T>,
    ) -> impl Future<Output = T> {
        self.within(what, async move {
            loop {
                if let Some(answer) = probe() {
                    return answer;
                }
                self.handler.sleep_until(self.handler.now() + INTERVAL).await;
            }
        })
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn when(
        &self,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> impl Future<Output = ()> {
        self.until(what, move || condition().then_some(()))
    }

    /// Waits long enough to tell that something does not happen. Never to have something happen.
    pub(crate) async fn moment(&self) {
        self.handler.sleep_until(self.handler.now() + Duration::from_millis(150)).await;
    }

    /// The next states are these.
    #[track_caller]
    pub(crate) fn expect(
        &self,
        states: &mut States,
        expected: &[SessionState],
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for (at, expected) in expected.iter().enumerate() {
                match race(&self.handler, LIMIT, states.changed()).await {
                    Some(state) if state == Some(*expected) => {}
                    other => panic!("{caller}: state {at} is {other:?}, not {expected}"),
                }
            }
        }
    }

    /// Ends the session of `zk` behind its back.
    pub(crate) async fn expire(&self, zk: &Client) {
        let ticket = zk.client_id().expect("it has a session");
        blocking(move || shared().expire_session(ticket.id.0, ticket.password.expose())).await;
    }

    /// Cuts `zk` off by its `proxy`, until the proxy accepts connections again.
    pub(crate) async fn cut_off(&self, zk: &Client, proxy: &Proxy) {
        proxy.refuse(true);
        proxy.cut_rst();
        self.when("the client to notice", || zk.state() == SessionState::Suspended).await;
    }

    /// How many watches on data there are below the root of this site: of each session one for each path.
    pub(crate) fn watches(&self) -> usize {
        let below = format!("{}/", self.root);
        let answer = shared().four_letter("wchp");
        let mut lines = answer.lines().peekable();
        let mut count = 0;
        while let Some(line) = lines.next() {
            let watched = line.starts_with(&below);
            // The sessions stand below their path.
            while lines.next_if(|line| line.starts_with('\t')).is_some() {
                count += usize::from(watched);
            }
        }
        count
    }

    /// Whether any session watches `path`, as the server knows it.
    pub(crate) fn is_watched(&self, path: &str) -> bool {
        let path = format!("{}{path}", self.root);
        shared().four_letter("wchp").lines().any(|line| line == path)
    }
}

/// A proxy in front of the shared server.
pub(crate) fn proxy() -> Proxy {
    Proxy::new(shared().address())
}

/// Creates a node without the library that is under test.
fn make_node(path: &str) {
    const CREATE: i32 = 1;

    let string = |text: &str| {
        let length = i32::try_from(text.len()).expect("a short string");
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let body = [
        string(path),
        (-1_i32).to_be_bytes().to_vec(), // no data
        1_i32.to_be_bytes().to_vec(),    // one ACL
        31_i32.to_be_bytes().to_vec(),   // all permissions
        string("world"),
        string("anyone"),
        0_i32.to_be_bytes().to_vec(), // persistent
    ];
    let server = shared().address();
    let mut session = raw::Session::open(server, LIMIT).expect("the server serves");
    let reply = session.request(CREATE, &body.concat()).expect("the server answers");
    assert_eq!(reply.error, 0, "cannot create {path}");
    session.close().expect("the server answers");
}
