//! [`TestContext`]: what a test of the suite needs, and how it waits.

use std::{
    fmt::{Debug, Display},
    future::Future,
    panic::resume_unwind,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use zk_client::{
    Backoff, Client, ClientBuilder, Error, Handler, OPEN_ACL_UNSAFE, SessionState, States, Ustring,
};

use super::shared_server::{new_proxy, shared_server};
use crate::{
    Proxy, minimal_client,
    tasks::{spawn_blocking, with_timeout},
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

/// A test's own part of the shared server: a root that no other test uses.
pub(crate) struct TestContext<H> {
    pub(crate) handler: H,
    root: String,
}

impl<H: Handler> TestContext<H> {
    pub(crate) fn new(handler: H) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);

        let root = format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        make_node(&root);
        Self { handler, root }
    }

    /// The root of this test, as the server knows it.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A client of the shared server, not started.
    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder_at(shared_server().hosts())
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
    pub(crate) async fn client_via_proxy(&self) -> (Proxy, Client) {
        let proxy = new_proxy();
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
            match with_timeout(&self.handler, LIMIT, future).await {
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
    pub(crate) fn eventually<T>(
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
    pub(crate) fn wait_until(
        &self,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> impl Future<Output = ()> {
        self.eventually(what, move || condition().then_some(()))
    }

    /// Waits long enough to tell that something does not happen. Never to have something happen.
    pub(crate) async fn short_wait(&self) {
        self.handler.sleep_until(self.handler.now() + Duration::from_millis(150)).await;
    }

    /// The next states are these.
    #[track_caller]
    pub(crate) fn expect_states(
        &self,
        states: &mut States,
        expected: &[SessionState],
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for (at, expected) in expected.iter().enumerate() {
                match with_timeout(&self.handler, LIMIT, states.changed()).await {
                    Some(state) if state == Some(*expected) => {}
                    other => panic!("{caller}: state {at} is {other:?}, not {expected}"),
                }
            }
        }
    }

    /// Ends the session of `zk` behind its back.
    pub(crate) async fn expire_session(&self, zk: &Client) {
        let ticket = zk.client_id().expect("it has a session");
        spawn_blocking(move || {
            shared_server().expire_session(ticket.id.0, ticket.password.expose())
        })
        .await;
    }

    /// Cuts `zk` off by its `proxy`, until the proxy accepts connections again.
    pub(crate) async fn cut_off(&self, zk: &Client, proxy: &Proxy) {
        proxy.refuse(true);
        proxy.cut_rst();
        self.wait_until("the client to notice", || zk.state() == SessionState::Suspended).await;
    }

    /// The names of the nodes below `path`.
    pub(crate) async fn children(&self, zk: &Client, path: &str) -> Vec<Ustring> {
        let mut names = self.ok("the nodes", zk.get_children(path)).await;
        names.sort();
        names
    }

    /// Waits until there are `count` nodes below `path`.
    #[track_caller]
    pub(crate) fn wait_for_children(
        &self,
        zk: &Client,
        path: &str,
        count: usize,
    ) -> impl Future<Output = ()> {
        self.within("the nodes to be as many", async move {
            while zk.get_children(path).await.map_or(0, |names| names.len()) != count {
                self.handler.sleep_until(self.handler.now() + Duration::from_millis(5)).await;
            }
        })
    }

    /// Expires the session of `zk`, which is behind `proxy`, and lets it begin a new one.
    pub(crate) async fn lose_session(&self, zk: &Client, proxy: &Proxy) {
        let mut states = zk.states();
        self.cut_off(zk, proxy).await;
        self.expire_session(zk).await;
        proxy.refuse(false);
        self.expect_states(
            &mut states,
            &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
        )
        .await;
    }

    /// How many watches on data there are below the root of this test: of each session one for each path.
    pub(crate) fn data_watch_count(&self) -> usize {
        let below = format!("{}/", self.root);
        let answer = shared_server().four_letter_word("wchp");
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
        shared_server().four_letter_word("wchp").lines().any(|line| line == path)
    }
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
    let server = shared_server().address();
    let mut session = minimal_client::Session::open(server, LIMIT).expect("the server serves");
    let reply = session.request(CREATE, &body.concat()).expect("the server answers");
    assert_eq!(reply.error, 0, "cannot create {path}");
    session.close().expect("the server answers");
}
