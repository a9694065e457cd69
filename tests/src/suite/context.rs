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

use super::shared_server::{client_builder, new_proxy, shared_server};
use crate::{
    Proxy, minimal_client,
    tasks::{spawn_blocking, with_timeout},
};

/// The timeout of every wait of a test.
pub(crate) const LIMIT: Duration = Duration::from_secs(25);
/// The timeout of a whole test.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// A short backoff between attempts to connect, so that tests of other things are fast.
const RECONNECT: Backoff =
    Backoff { min: Duration::from_millis(5), max: Duration::from_millis(50) };
/// The interval at which a condition is polled.
const INTERVAL: Duration = Duration::from_millis(5);

/// Runs `test` with a timeout, even if it hangs in a blocking call.
///
/// # Panics
///
/// If `test` panics, or if it takes too long.
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

/// Runs `test`, which has its own timeouts.
pub fn unguarded(test: impl FnOnce()) {
    test();
}

/// What one test uses: a handler, and a root node of its own on the shared server.
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

    /// For tests with servers of their own: the root node is `/`.
    pub(crate) fn without_root(handler: H) -> Self {
        Self { handler, root: String::new() }
    }

    /// The absolute path of this test's root.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A builder for a client of the shared server.
    pub(crate) fn builder(&self) -> ClientBuilder {
        self.builder_at(shared_server().hosts())
    }

    /// A builder for a client of the servers at `hosts`, with a short reconnect backoff.
    pub(crate) fn builder_at(&self, hosts: impl Display) -> ClientBuilder {
        client_builder()
            .hosts(format!("{hosts}{}", self.root))
            .default_acl(&OPEN_ACL_UNSAFE)
            .connection_retry(RECONNECT)
            .reconnect_spread(Duration::ZERO)
    }

    /// A connected client of the shared server.
    pub(crate) async fn client(&self) -> Client {
        self.connect(self.builder()).await
    }

    /// Connects a client.
    pub(crate) async fn connect(&self, builder: ClientBuilder) -> Client {
        self.ok("to connect", builder.connect_on(self.handler.clone())).await
    }

    /// Builds a client without starting it.
    pub(crate) fn build(&self, builder: ClientBuilder) -> Client {
        builder.build_on(self.handler.clone()).expect("the options are good")
    }

    /// A proxy in front of the shared server, and a client through it.
    pub(crate) async fn client_via_proxy(&self) -> (Proxy, Client) {
        let proxy = new_proxy();
        let zk = self.connect(self.builder_at(proxy.address())).await;
        // For tests that count packets: the client has already checked its chroot.
        self.ok("to settle", zk.exists("/")).await;
        (proxy, zk)
    }

    /// The result of `future`, with a timeout.
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

    /// The value of `future`, which must succeed in time.
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

    /// The error of `future`, which must fail in time.
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

    /// Calls `probe` until it returns a value.
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

    /// Waits long enough to show that something does not happen. Not for waiting until something happens.
    pub(crate) async fn short_wait(&self) {
        self.handler.sleep_until(self.handler.now() + Duration::from_millis(150)).await;
    }

    /// Checks that the next states are `expected`.
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

    /// Expires the session of `zk` on the server.
    pub(crate) async fn expire_session(&self, zk: &Client) {
        let ticket = zk.client_id().expect("it has a session");
        spawn_blocking(move || {
            shared_server().expire_session(ticket.id.0, ticket.password.expose())
        })
        .await;
    }

    /// Disconnects `zk`, which is behind `proxy`, until the proxy accepts connections again.
    pub(crate) async fn cut_off(&self, zk: &Client, proxy: &Proxy) {
        proxy.refuse(true);
        proxy.cut_rst();
        self.wait_until("the client to notice", || zk.state() == SessionState::Suspended).await;
    }

    /// The sorted names of the children of `path`.
    pub(crate) async fn children(&self, zk: &Client, path: &str) -> Vec<Ustring> {
        let mut names = self.ok("the nodes", zk.get_children(path)).await;
        names.sort();
        names
    }

    /// Waits until `path` has `count` children.
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

    /// Expires the session of `zk`, which is behind `proxy`, and waits for its new session.
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

    /// The number of data watches below the root of this test. Each session counts once per path.
    pub(crate) fn data_watch_count(&self) -> usize {
        let below = format!("{}/", self.root);
        let answer = shared_server().four_letter_word("wchp");
        let mut lines = answer.lines().peekable();
        let mut count = 0;
        while let Some(line) = lines.next() {
            let watched = line.starts_with(&below);
            // The sessions are listed below their path.
            while lines.next_if(|line| line.starts_with('\t')).is_some() {
                count += usize::from(watched);
            }
        }
        count
    }

    /// Whether the server has a watch of any session on `path`.
    pub(crate) fn is_watched(&self, path: &str) -> bool {
        let path = format!("{}{path}", self.root);
        shared_server().four_letter_word("wchp").lines().any(|line| line == path)
    }
}

/// Creates a node without the library under test.
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
