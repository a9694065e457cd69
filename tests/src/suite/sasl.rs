//! Logging in with SASL and DIGEST-MD5. tests/src/suite/ensemble/required_auth.rs has servers that demand it.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use zk_client::{
    Acl, Backoff, Client, ClientBuilder, ConnectionState, CreateMode, CreateOptions, Error,
    ErrorCode, ErrorKind, Handler, HostPort, OPEN_ACL_UNSAFE, Outcome, Perms, SaslOptions,
    SessionState, TlsOptions, rustls,
    sasl::{Mechanism, SaslError, Secret, Step, UserPassword},
};
use zk_server::{TestServer, Version};

use super::{
    context::TestContext,
    proxy_filters::int,
    shared_server::{SharedServer, shared_server},
};
use crate::{
    Certificates, ClientAuth, Demand, Direction, Ensemble, FrameAction, Holder, Options, Proxy,
    ScriptedConnection, ScriptedServer, TlsProxy, embedded_config, lock, server_config,
};

/// The users of the server and their passwords.
const USERS: [(&str, &str); 3] =
    [("bob", "bob's password"), ("ann", "ann's \"pass\\word\""), ("zoë", "пароль")];

const SASL: i32 = 102;

/// The server of these tests: ZooKeeper or an embedded one, as the shared server is.
enum SaslServer {
    Real(Ensemble),
    Embedded { server: TestServer, tls: TlsProxy },
}

impl SaslServer {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Real(ensemble) => ensemble.node(0).address(),
            Self::Embedded { server, .. } => server.address(),
        }
    }

    fn tls_hosts(&self) -> String {
        match self {
            Self::Real(ensemble) => ensemble.tls_hosts(),
            Self::Embedded { tls, .. } => tls.address().to_string(),
        }
    }
}

fn server() -> &'static SaslServer {
    static SERVER: OnceLock<SaslServer> = OnceLock::new();

    SERVER.get_or_init(|| match shared_server() {
        SharedServer::Real(_) => {
            let options = Options::default().sasl_digest_md5(&USERS).tls(ClientAuth::None);
            SaslServer::Real(options.start(1))
        }
        SharedServer::Embedded { version, .. } => embedded(*version),
    })
}

fn embedded(version: Version) -> SaslServer {
    let mut config = embedded_config(version);
    let users = USERS.iter().map(|(user, password)| ((*user).into(), (*password).into()));
    config.sasl_users = Some(Secret::new(users.collect::<BTreeMap<String, String>>()));
    let server = TestServer::start_with(config).expect("there is a port");
    let config = server_config(Holder::Server, Demand::Nothing, rustls::DEFAULT_VERSIONS);
    let tls = TlsProxy::new(server.address(), config);
    SaslServer::Embedded { server, tls }
}

/// A builder for a client of the server of these tests.
fn builder(host: SocketAddr) -> ClientBuilder {
    Client::builder()
        .hosts(host.to_string())
        .default_acl(&OPEN_ACL_UNSAFE)
        .connection_retry(Backoff {
            min: Duration::from_millis(20),
            max: Duration::from_millis(100),
        })
        .reconnect_spread(Duration::ZERO)
}

fn bob() -> SaslOptions {
    SaslOptions::digest_md5(USERS[0].0, USERS[0].1)
}

/// The identities of `zk` besides its address, each as `scheme:user`.
async fn identities<H: Handler>(ctx: &TestContext<H>, zk: &Client) -> Vec<String> {
    let all = ctx.ok("who_am_i", zk.who_am_i()).await;
    let named = all.iter().filter(|identity| identity.auth_scheme != "ip");
    let mut names: Vec<_> =
        named.map(|identity| format!("{}:{}", identity.auth_scheme, identity.user)).collect();
    names.sort();
    names
}

/// Checks that SASL has failed for good with this error.
fn assert_failed(error: &Error, address: SocketAddr, what: &str) {
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert_eq!(error.host(), Some(&HostPort::new("127.0.0.1", address.port())), "{error}");
    let text = error.to_string();
    let expected = format!("SASL authentication on {address} failed: ");
    assert!(text.contains(&expected) && text.contains(what), "no {what} in: {text}");
}

/// A proxy in front of the server, and the opcodes of what passes to the server: 0 for the handshake.
fn recording_proxy() -> (Proxy, Arc<Mutex<Vec<i32>>>) {
    let proxy = Proxy::new(server().address());
    let opcodes = Arc::new(Mutex::new(Vec::new()));
    let record = opcodes.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        let opcode = if int(frame, 0) == 0 { 0 } else { int(frame, 4) };
        lock(&record).push(opcode);
        FrameAction::Pass
    });
    (proxy, opcodes)
}

pub async fn a_client_logs_in_with_a_password<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for (user, password) in USERS {
        let options = SaslOptions::digest_md5(user, password);
        let zk = ctx.connect(builder(server().address()).sasl(options)).await;
        assert_eq!(zk.state(), SessionState::Connected);
        assert_eq!(identities(&ctx, &zk).await, [format!("sasl:{user}")]);
        // Together with other credentials.
        ctx.ok("add_auth", zk.add_auth("digest", "joe:1")).await;
        assert_eq!(identities(&ctx, &zk).await, ["digest:joe", &format!("sasl:{user}")]);
        ctx.ok("stop", zk.stop()).await;
    }
}

pub async fn an_acl_can_name_a_user_of_sasl<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.connect(builder(server().address()).sasl(bob())).await;
    let path = format!("{}-acl", ctx.root());
    let options = CreateOptions::persistent().acl([Acl::sasl("bob", Perms::ALL).expect("a name")]);
    ctx.ok("create", zk.create(&path, b"his", options)).await;
    assert_eq!(ctx.ok("get", zk.get(&path)).await.0, b"his"[..]);
    let ann = SaslOptions::digest_md5(USERS[1].0, USERS[1].1);
    for other in [None, Some(ann)] {
        let other = match other {
            None => builder(server().address()),
            Some(options) => builder(server().address()).sasl(options),
        };
        let other = ctx.connect(other).await;
        let error = ctx.err("a read by another user", other.get(&path)).await;
        assert_eq!(error.code(), Some(ErrorCode::NoAuth));
        ctx.ok("stop", other.stop()).await;
    }
    ctx.ok("delete", zk.delete(&path, None)).await;
}

pub async fn a_login_works_over_tls<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let tls = TlsOptions::new().authorities_file(Certificates::shared().authority());
    let builder = builder(server().address()).hosts(server().tls_hosts()).tls(tls);
    let zk = ctx.connect(builder.clone().sasl(bob())).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
    let error =
        builder.sasl(SaslOptions::digest_md5("bob", "wrong")).connect_on(ctx.handler.clone());
    let error = ctx.err("a start with a wrong password", error).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
}

pub async fn a_wrong_password_and_an_unknown_user_are_refused_for_good<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for options in
        [SaslOptions::digest_md5("bob", "wrong"), SaslOptions::digest_md5("nobody", "wrong")]
    {
        let proxy = Proxy::new(server().address());
        let zk = ctx.build(builder(proxy.address()).sasl(options));
        let mut states = zk.states();
        let waiting = {
            let started = zk.start();
            let waiting = zk.exists("/");
            let error = ctx.err("a start", started).await;
            assert_failed(&error, proxy.address(), "the server refused the credentials");
            waiting
        };
        let error = ctx.err("a call that waited", waiting).await;
        assert_failed(&error, proxy.address(), "the server refused the credentials");
        assert_eq!(error.outcome(), Some(Outcome::NotSent));
        assert_eq!(zk.state(), SessionState::Lost);
        assert_eq!(zk.connection_state(), ConnectionState::AuthFailed);
        ctx.short_wait().await;
        assert_eq!(proxy.accepted(), 1, "it came back");
        let error = ctx.err("a later call", zk.exists("/")).await;
        assert_failed(&error, proxy.address(), "the server refused the credentials");
        ctx.ok("stop", zk.stop()).await;
        assert_eq!(ctx.within("the states to end", states.changed()).await, None);
    }
}

pub async fn a_refused_client_can_start_with_another_password<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let options = SaslOptions::digest_md5("bob", "wrong");
    let zk = ctx.build(builder(server().address()).sasl(options));
    let error = ctx.err("a start", zk.start()).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    zk.set_sasl(bob());
    ctx.ok("a start", zk.start()).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
    // The next connection logs in as somebody else, and the one after that as nobody.
    zk.set_sasl(SaslOptions::digest_md5(USERS[1].0, USERS[1].1));
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
    ctx.ok("reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:ann"]);
    zk.set_sasl(None);
    ctx.ok("reconnect", zk.reconnect()).await;
    assert!(identities(&ctx, &zk).await.is_empty());
    // A session that is refused while it goes on ends.
    zk.set_sasl(SaslOptions::digest_md5("bob", "wrong"));
    let error = ctx.err("reconnect", zk.reconnect()).await;
    assert_failed(&error, server().address(), "the server refused the credentials");
    assert_eq!(zk.state(), SessionState::Lost);
}

pub async fn a_login_that_is_cut_at_any_packet_is_retried<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    // Each way there is a packet of the handshake and two of the login.
    for direction in [Direction::ToServer, Direction::ToClient] {
        for packet in 1..=3 {
            let proxy = Proxy::new(server().address());
            let passed = AtomicUsize::new(0);
            proxy.on_frame(direction, move |_| {
                match passed.fetch_add(1, Ordering::Relaxed) + 1 == packet {
                    true => FrameAction::Cut,
                    false => FrameAction::Pass,
                }
            });
            let zk = ctx.build(builder(proxy.address()).sasl(bob()));
            let mut states = zk.states();
            ctx.ok("a start", zk.start()).await;
            ctx.expect_states(&mut states, &[SessionState::Connected]).await;
            assert_eq!(proxy.accepted(), 2, "packet {packet} {direction:?}");
            assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
            ctx.ok("stop", zk.stop()).await;
        }
    }
}

pub async fn every_connection_logs_in_before_anything_else<H: Handler>(handler: H) {
    const SET_WATCHES: i32 = 101;
    const AUTH: i32 = 100;
    const EXISTS: i32 = 3;

    let ctx = TestContext::new(handler);
    let (proxy, opcodes) = recording_proxy();
    let zk = ctx.build(builder(proxy.address()).sasl(bob()).auth("digest", "joe:1"));
    let started = zk.start();
    let path = format!("{}-none", ctx.root());
    let watch = zk.exists_and_watch(&path);
    ctx.ok("start", started).await;
    let (_, watch) = ctx.ok("exists_and_watch", watch).await;
    assert_eq!(*lock(&opcodes), [0, SASL, SASL, AUTH, EXISTS]);

    let mut states = zk.states();
    proxy.refuse(true);
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended]).await;
    lock(&opcodes).clear();
    let waiting = zk.exists("/");
    proxy.refuse(false);
    ctx.expect_states(&mut states, &[SessionState::Connected]).await;
    ctx.ok("exists", waiting).await;
    assert_eq!(*lock(&opcodes), [0, SASL, SASL, AUTH, SET_WATCHES, EXISTS]);
    assert_eq!(identities(&ctx, &zk).await, ["digest:joe", "sasl:bob"]);
    ctx.ok("create", zk.create(&path, b"", CreateMode::Ephemeral)).await;
    ctx.ok("the event", watch).await;
}

pub async fn a_rotated_password_is_taken_up_at_the_next_connection<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let current = Arc::new(Mutex::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let (index, count) = (current.clone(), asked.clone());
    let options = SaslOptions::digest_md5_with(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let (user, password) = USERS[*lock(&index)];
        Ok::<_, io::Error>(UserPassword::new(user, password))
    });
    let zk = ctx.connect(builder(server().address()).sasl(options)).await;
    for (index, (user, _)) in USERS.iter().enumerate() {
        *lock(&current) = index;
        ctx.ok("reconnect", zk.reconnect()).await;
        assert_eq!(identities(&ctx, &zk).await, [format!("sasl:{user}")]);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1 + USERS.len(), "once for each connection");
}

pub async fn a_callback_that_fails_or_panics_is_asked_again<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let options =
        SaslOptions::digest_md5_with(move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the vault is sealed"),
            1 => panic!("this is part of the test"),
            _ => Ok(UserPassword::new(USERS[0].0, USERS[0].1)),
        });
    let zk = ctx.connect(builder(server().address()).sasl(options)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);

    // A start that times out says why.
    let sealed = SaslOptions::digest_md5_with(|| Err::<UserPassword, _>("the vault is sealed"));
    let builder = builder(server().address()).sasl(sealed);
    let start = builder.connect_timeout(Duration::from_millis(300)).connect_on(ctx.handler.clone());
    let error = ctx.err("a start", start).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("SASL: no credentials: the vault is sealed"), "{error}");
}

pub async fn a_callback_that_blocks_delays_only_its_client<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = begun.clone();
    let options = SaslOptions::digest_md5_with(move || {
        has_begun.store(true, Ordering::Relaxed);
        let _ = lock(&released).recv();
        Ok::<_, io::Error>(UserPassword::new(USERS[0].0, USERS[0].1))
    });
    let zk = ctx.build(builder(server().address()).sasl(options));
    let started = zk.start();
    ctx.wait_until("the callback to be asked", || begun.load(Ordering::Relaxed)).await;
    // Other clients of the same runtime go on, and this client's driver does as well.
    let other = ctx.connect(builder(server().address()).sasl(bob())).await;
    assert_eq!(identities(&ctx, &other).await, ["sasl:bob"]);
    let host = zk.host();
    assert_eq!((zk.state(), host.is_some()), (SessionState::Lost, true));
    drop(release);
    ctx.ok("start", started).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
}

pub async fn a_callback_that_hangs_does_not_hold_up_other_options<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let options = SaslOptions::digest_md5_with(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = lock(&released).recv();
        Err::<UserPassword, _>("too late")
    });
    let proxy = Proxy::new(server().address());
    let timeout = Duration::from_secs(1);
    let zk = ctx.build(builder(proxy.address()).session_timeout(timeout).sasl(options));
    let started = zk.start();
    ctx.wait_until("the client to try another connection", || proxy.accepted() > 1).await;
    zk.set_sasl(bob());
    ctx.ok("start", started).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one callback runs at a time");
    drop(release);
    ctx.short_wait().await;
    // The late answer changes nothing.
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
}

pub async fn a_server_without_sasl_is_an_error<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let address = shared_server().address();
    let start = builder(address).sasl(bob()).connect_on(ctx.handler.clone());
    let error = ctx.err("a start", start).await;
    assert_failed(&error, address, "the server has SASL not configured");
}

/// A server that grants a session and lets `serve` serve the rest, and what it received after the handshake.
fn scripted(
    serve: impl Fn(&mut ScriptedConnection) -> io::Result<()> + Send + Sync + 'static,
) -> ScriptedServer {
    ScriptedServer::new(move |_, connection| {
        connection.handshake(7)?;
        serve(connection)?;
        connection.drain()
    })
}

/// A record with one buffer.
fn buffer(token: &[u8]) -> Vec<u8> {
    let length = i32::try_from(token.len()).expect("a short token");
    [&length.to_be_bytes(), token].concat()
}

const CHALLENGE: &[u8] = b"realm=\"zk-sasl-md5\",nonce=\"n\",charset=utf-8,algorithm=md5-sess";

pub async fn a_server_that_proves_nothing_gets_no_request<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proof = b"rspauth=00000000000000000000000000000000".as_slice();
    let cases: [(Vec<&[u8]>, &str); 4] = [
        (vec![CHALLENGE, proof], "did not prove that it knows the password"),
        (vec![CHALLENGE, b""], "sent no proof"),
        (vec![b"nonce=\"n\",algorithm=sha-512"], "offers no algorithm"),
        (vec![b"nonsense"], "invalid token"),
    ];
    for (tokens, what) in cases {
        let received = Arc::new(Mutex::new(None));
        let report = received.clone();
        let server = scripted(move |connection| {
            for token in &tokens {
                let request = connection.request()?;
                assert_eq!(request.opcode, SASL);
                connection.reply(request.xid, 0, &buffer(token))?;
            }
            // Nothing comes after that.
            *lock(&report) = Some(connection.request().map(|request| request.opcode).ok());
            Ok(())
        });
        let zk = ctx.build(builder(server.address()).auth("digest", "joe:1").sasl(bob()));
        let started = zk.start();
        let waiting = zk.create("/secret", b"", CreateMode::Persistent);
        let error = ctx.err("a start", started).await;
        assert_failed(&error, server.address(), what);
        let error = ctx.err("a call", waiting).await;
        assert_eq!(error.outcome(), Some(Outcome::NotSent));
        let received = ctx.eventually("the connection to end", || *lock(&received)).await;
        assert_eq!(received, None, "{what}");
    }
}

pub async fn a_login_that_does_not_end_is_given_up<H: Handler>(handler: H) {
    /// Answers every token with the same one.
    struct Endless;

    impl Mechanism for Endless {
        fn name(&self) -> &str {
            "ENDLESS"
        }

        fn step(&mut self, _: &[u8]) -> Result<Step, SaslError> {
            Ok(Step::Respond(Secret::new(zk_client::Bytes::from_static(b"more"))))
        }
    }

    let ctx = TestContext::new(handler);
    let server = scripted(|connection| {
        loop {
            let request = connection.request()?;
            connection.reply(request.xid, 0, &buffer(b"more"))?;
        }
    });
    let options = SaslOptions::mechanism(|_| Ok(Endless));
    let start = builder(server.address()).sasl(options).connect_on(ctx.handler.clone());
    let error = ctx.err("a start", start).await;
    assert_failed(&error, server.address(), "too many tokens");

    // A server that stops in the middle is left in time for another attempt.
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = attempts.clone();
    let silent = scripted(move |connection| {
        count.fetch_add(1, Ordering::Relaxed);
        let request = connection.request()?;
        assert_eq!(request.opcode, SASL);
        Ok(())
    });
    let builder = builder(silent.address()).session_timeout(Duration::from_millis(600));
    let start =
        builder.sasl(bob()).connect_timeout(Duration::from_secs(2)).connect_on(ctx.handler.clone());
    let error = ctx.err("a start", start).await;
    assert!(error.to_string().contains("SASL: the server has not answered in time"), "{error}");
    assert!(attempts.load(Ordering::Relaxed) >= 2);
}

pub async fn a_mechanism_of_the_users_own_can_log_in<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let seen = hosts.clone();
    let options = SaslOptions::mechanism(move |host| {
        lock(&seen).push(host.clone());
        let password = Secret::new(USERS[0].1.to_owned());
        zk_proto::sasl::digest_md5::Client::new(USERS[0].0, password, 1)
    });
    let address = server().address();
    let zk = ctx.connect(builder(address).sasl(options)).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob"]);
    assert_eq!(*lock(&hosts), [HostPort::new("127.0.0.1", address.port())]);
}
