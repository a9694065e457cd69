//! TLS, by a server of rustls in front of the shared server. tests/tests/tls.rs has the tests on ZooKeeper's own TLS.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use zk_client::{
    Backoff, Client, CreateMode, ErrorKind, Handler, SessionState, TlsOptions,
    rustls::{
        self, HandshakeKind, ProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        version,
    },
};

use super::{context::TestContext, shared_server::shared_server};
use crate::{
    Certificates, Demand, Direction, FrameAction, Holder, Proxy, TlsProxy, process::TempDirectory,
    server_config,
};

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];
/// Each version alone.
const EACH: [&[&rustls::SupportedProtocolVersion]; 2] = [&[&version::TLS12], &[&version::TLS13]];

fn certificates() -> &'static Certificates {
    Certificates::shared()
}

/// Trusts the authority of the tests.
pub(super) fn trusting() -> TlsOptions {
    TlsOptions::new().authorities_file(certificates().authority())
}

/// Trusts the authority, and has a certificate.
pub(super) fn with(holder: Holder) -> TlsOptions {
    trusting().identity_files(certificates().chain(holder), certificates().key(holder))
}

/// The content of a file.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

/// A server in front of the shared one.
fn proxy(
    holder: Holder,
    demand: Demand,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsProxy {
    TlsProxy::new(shared_server().address(), server_config(holder, demand, versions))
}

/// Starts a client that fails for a reason with these words, which its first error and its listeners are told. It tries
/// again, and not more often than the backoff says.
async fn fails<H: Handler>(
    ctx: &TestContext<H>,
    server: &TlsProxy,
    tls: TlsOptions,
    words: &[&str],
) {
    let before = server.accepted();
    let pause = Duration::from_millis(150);
    let builder = ctx
        .builder_at(server.address())
        .tls(tls)
        .connect_timeout(Duration::from_millis(500))
        .connection_retry(Backoff { min: pause, max: pause });
    let error = ctx.err("a start", builder.connect_on(ctx.handler.clone())).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let text = error.to_string();
    let host = server.address().to_string();
    for word in words.iter().copied().chain([host.as_str()]) {
        assert!(text.contains(word), "no {word} in: {text}");
    }
    // At once, and then after at least half of each pause.
    let attempts = server.accepted() - before;
    assert!((1..=7).contains(&attempts), "{attempts} connections in 500 ms: {text}");
}

pub async fn a_session_works_over_both_versions<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for versions in EACH {
        let server = proxy(Holder::Server, Demand::Nothing, versions);
        let hosts = format!("localhost:{}", server.address().port());
        let zk = ctx.connect(ctx.builder_at(&hosts).tls(trusting())).await;
        let large = vec![7; 700_000];
        ctx.ok("create", zk.create("/node", &large, CreateMode::Persistent)).await;
        let calls: Vec<_> = (0..200).map(|_| zk.exists("/node")).collect();
        for call in calls {
            assert!(ctx.ok("exists", call).await.is_some());
        }
        assert_eq!(ctx.ok("get", zk.get("/node")).await.0, large);
        assert_eq!(ctx.ok("ruok", zk.four_letter_word("ruok")).await, "imok");
        ctx.ok("delete", zk.delete("/node", None)).await;
        ctx.ok("stop", zk.stop()).await;
        let handshakes = server.handshakes();
        assert_eq!(handshakes.len(), 2, "the session and the four-letter word: {handshakes:?}");
        for handshake in handshakes {
            assert_eq!(handshake.version, Some(versions[0].version));
            assert_eq!(handshake.name.as_deref(), Some("localhost"), "by SNI");
        }
    }
}

pub async fn a_client_shows_its_certificate<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let folder = TempDirectory::new().expect("a folder");
    let both = folder.path().join("both.pem");
    let (chain, key) = (certificates().chain(Holder::Client), certificates().key(Holder::Client));
    fs::write(&both, text(&chain) + &text(&key)).expect("a file");
    let from_one_file = trusting().identity_files(&both, &both);
    let from_memory = TlsOptions::new()
        .authorities_pem(text(certificates().authority()))
        .identity_pem(text(chain), text(key));
    for versions in EACH {
        let server = proxy(Holder::Server, Demand::Certificate, versions);
        for tls in [with(Holder::Client), from_memory.clone(), from_one_file.clone()] {
            let zk = ctx.connect(ctx.builder_at(server.address()).tls(tls)).await;
            ctx.ok("a call", zk.exists("/")).await;
        }
    }
}

pub async fn a_servers_certificate_is_checked<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let server = proxy(Holder::ForeignServer, Demand::Nothing, BOTH);
    fails(&ctx, &server, trusting(), &["not from a trusted authority"]).await;
    fails(&ctx, &server, TlsOptions::new(), &["not from a trusted authority"]).await;

    server.set_config(server_config(Holder::MisnamedServer, Demand::Nothing, BOTH));
    fails(&ctx, &server, trusting(), &["not for `127.0.0.1`", "elsewhere.example"]).await;
    let named = trusting().server_name("zk2.example.com");
    fails(&ctx, &server, named, &["not for `zk2.example.com`", "elsewhere.example"]).await;

    server.set_config(server_config(Holder::ExpiredServer, Demand::Nothing, BOTH));
    fails(&ctx, &server, trusting(), &["has expired", "days ago"]).await;

    let list = certificates().revocation_list();
    server.set_config(server_config(Holder::RevokedServer, Demand::Nothing, BOTH));
    let strict = || trusting().revocations_file(&list);
    fails(&ctx, &server, strict(), &["certificate is revoked"]).await;
    let from_memory = trusting().revocations_pem(text(&list));
    fails(&ctx, &server, from_memory, &["certificate is revoked"]).await;
    server.set_config(server_config(Holder::Server, Demand::Nothing, BOTH));
    ctx.connect(ctx.builder_at(server.address()).tls(strict())).await;
}

pub async fn a_refused_client_is_told_why<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for versions in EACH {
        let server = proxy(Holder::Server, Demand::Unrevoked, versions);
        fails(&ctx, &server, trusting(), &["wants a client certificate"]).await;
        for (holder, why) in [
            (Holder::ForeignClient, "an authority that the server trusts"),
            (Holder::ExpiredClient, "it has expired"),
            (Holder::RevokedClient, "it is revoked"),
        ] {
            let words = ["refused the client's certificate", why];
            fails(&ctx, &server, with(holder), &words).await;
        }
    }
}

pub async fn the_wrong_kind_of_port_is_named<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let start = |builder: zk_client::ClientBuilder| {
        let builder = builder.connect_timeout(Duration::from_millis(500));
        ctx.err("a start", builder.connect_on(ctx.handler.clone()))
    };
    let plain = start(ctx.builder_at(shared_server().address()).tls(trusting())).await;
    assert!(plain.to_string().contains("ZooKeeper port without TLS?"), "{plain}");

    let server = proxy(Holder::Server, Demand::Nothing, BOTH);
    let without_tls = Client::builder().hosts(server.address().to_string());
    let secure = start(without_tls).await;
    assert!(secure.to_string().contains("it is TLS"), "{secure}");
}

pub async fn dangerous_options_skip_checks<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for versions in EACH {
        let server = proxy(Holder::MisnamedServer, Demand::Nothing, versions);
        let builder = || ctx.builder_at(server.address());
        ctx.connect(builder().tls(trusting().server_name("elsewhere.example"))).await;
        ctx.connect(builder().tls(trusting().dangerous_accept_any_host_name())).await;
        ctx.connect(builder().tls(TlsOptions::new().dangerous_accept_any_certificate())).await;
        let stranger = TlsOptions::new()
            .authorities_file(certificates().foreign_authority())
            .dangerous_accept_any_host_name();
        fails(&ctx, &server, stranger, &["not from a trusted authority"]).await;
        server.set_config(server_config(Holder::ExpiredServer, Demand::Nothing, versions));
        let tls = trusting().dangerous_accept_any_host_name();
        fails(&ctx, &server, tls, &["has expired"]).await;
        server.set_config(server_config(Holder::ForeignServer, Demand::Nothing, versions));
        ctx.connect(builder().tls(TlsOptions::new().dangerous_accept_any_certificate())).await;
    }
}

pub async fn a_reconnect_resumes_the_tls_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for versions in EACH {
        let server = proxy(Holder::Server, Demand::Nothing, versions);
        // With a file, which is read again before each connection.
        let tls = trusting();
        let zk = ctx.connect(ctx.builder_at(server.address()).tls(tls)).await;
        for _ in 0..3 {
            ctx.ok("a call", zk.exists("/")).await;
            server.cut();
            ctx.ok("a call after it", zk.retry(|zk| zk.exists("/"))).await;
        }
        let kinds: Vec<_> = server.handshakes().iter().filter_map(|one| one.kind).collect();
        assert_eq!(kinds[0], HandshakeKind::Full, "{kinds:?}");
        assert!(kinds.len() >= 4, "{kinds:?}");
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
    }
}

pub async fn certificates_that_change_on_disk_are_used_next<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let folder = TempDirectory::new().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let copy_chain =
        |holder| fs::copy(certificates().chain(holder), &chain).expect("the file is copied");
    let copy_key = |holder| fs::copy(certificates().key(holder), &key).expect("the file is copied");
    copy_chain(Holder::RevokedClient);
    copy_key(Holder::RevokedClient);
    let server = proxy(Holder::Server, Demand::Certificate, BOTH);
    let tls = trusting().identity_files(&chain, &key);
    let builder = ctx.builder_at(server.address()).tls(tls);
    let builder = builder.session_timeout(Duration::from_secs(40));
    let zk = ctx.connect(builder.connect_timeout(Duration::from_secs(3))).await;
    let mut states = zk.states();

    // From now on, the server does not accept the first certificate, nor resume a session with it.
    server.set_config(server_config(Holder::Server, Demand::Unrevoked, BOTH));
    // The new certificate comes before its key.
    copy_chain(Holder::SecondClient);
    server.cut();
    ctx.within("the disconnection", async {
        while states.changed().await != Some(SessionState::Suspended) {}
    })
    .await;
    ctx.short_wait().await;
    assert!(!zk.connected());
    copy_key(Holder::SecondClient);
    ctx.within("the reconnection", async {
        while states.changed().await != Some(SessionState::Connected) {}
    })
    .await;
    ctx.ok("a call", zk.exists("/")).await;

    // A file that is gone is named by the error.
    fs::remove_file(&key).expect("the file");
    ctx.ok("stop", zk.stop()).await;
    let error = ctx.err("a start", zk.start()).await.to_string();
    let name = key.display().to_string();
    assert!(error.contains("cannot read") && error.contains(&name), "{error}");
}

pub async fn a_user_can_bring_a_configuration<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let read = |path| CertificateDer::pem_file_iter(path).expect("a file").flatten();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(read(certificates().authority()));
    let key = PrivateKeyDer::from_pem_file(certificates().key(Holder::Client)).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS12])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_auth_cert(read(certificates().chain(Holder::Client)).collect(), key)
        .expect("a certificate");
    let tls = TlsOptions::from_config(config);
    let server = proxy(Holder::Server, Demand::Certificate, BOTH);
    let zk = ctx.connect(ctx.builder_at(server.address()).tls(tls.clone())).await;
    ctx.ok("a call", zk.exists("/")).await;
    assert_eq!(server.handshakes()[0].version, Some(ProtocolVersion::TLSv1_2));

    let both = tls.authorities_file(certificates().authority());
    let error = ctx.builder().tls(both).build_on(ctx.handler.clone()).expect_err("both");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

pub async fn the_handshake_counts_within_the_connect_deadline<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let server = proxy(Holder::Server, Demand::Nothing, BOTH);
    let slow = Proxy::new(server.address());
    slow.hold(Direction::ToClient);
    let builder = ctx.builder_at(slow.address()).tls(trusting());
    let builder =
        builder.session_timeout(Duration::from_millis(600)).connect_timeout(Duration::from_secs(2));
    let error = ctx.err("a start", builder.connect_on(ctx.handler.clone())).await;
    assert!(error.to_string().contains("timed out in the TLS handshake"), "{error}");
}

pub async fn replies_before_a_truncation_are_not_lost<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let server_of_plain = Proxy::new(shared_server().address());
    let server = TlsProxy::new(
        server_of_plain.address(),
        server_config(Holder::Server, Demand::Nothing, BOTH),
    );
    for truncates in [true, false] {
        server.truncate(truncates);
        let slow = Proxy::new(server.address());
        let zk = ctx.connect(ctx.builder_at(slow.address()).tls(trusting())).await;
        ctx.ok("to settle", zk.exists("/")).await;
        let replies = Arc::new(AtomicUsize::new(0));
        let count = replies.clone();
        server_of_plain.on_frame(Direction::ToClient, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            FrameAction::Pass
        });
        slow.hold(Direction::ToClient);
        let calls: Vec<_> = (0..50).map(|_| zk.exists("/")).collect();
        let stopped = zk.stop();
        // The server closes the connection after its last reply. The replies and the end arrive together.
        ctx.wait_until("the replies", || replies.load(Ordering::Relaxed) > calls.len()).await;
        ctx.short_wait().await;
        slow.release();
        for call in calls {
            ctx.ok("a reply before the end", call).await;
        }
        ctx.ok("stop", stopped).await;
    }
}

pub async fn tls_options_are_checked_when_a_client_is_built<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let folder = TempDirectory::new().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let key = text(certificates().key(Holder::Client));
    let (missing, junk) = (folder.path().join("missing.pem"), file("junk.pem", "not PEM"));
    let torn = file("torn.pem", &key[..key.len() / 2]);
    let own = file("own.pem", &text(certificates().chain(Holder::Client)));
    let other = file("other-key.pem", &text(certificates().key(Holder::Server)));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let encrypted = file("encrypted.pem", &encrypted);
    let cases = [
        (TlsOptions::new().authorities_file(&missing), vec!["cannot read", "missing.pem"]),
        (TlsOptions::new().authorities_file(&junk), vec!["no certificate", "junk.pem"]),
        (trusting().identity_files(&missing, &own), vec!["cannot read", "missing.pem"]),
        (trusting().identity_files(&own, &junk), vec!["no private key", "junk.pem"]),
        (trusting().identity_files(&own, &encrypted), vec!["encrypted", "encrypted.pem"]),
        (trusting().identity_files(&own, &torn), vec!["not in PEM format", "torn.pem"]),
        (trusting().identity_files(&own, &other), vec!["does not belong", "own.pem", "other-key"]),
        (trusting().revocations_file(&own), vec!["no revocation list", "own.pem"]),
        (trusting().server_name("no name!"), vec!["no name!"]),
    ];
    let secret = key.lines().nth(1).expect("a line of the key");
    for (tls, words) in cases {
        let builder = Client::builder().hosts("127.0.0.1:1").tls(tls);
        assert!(!format!("{builder:?}").contains(secret));
        let error = builder.build_on(ctx.handler.clone()).expect_err("the options are wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert!(!text.contains(secret) && !format!("{error:?}").contains(secret));
    }
    let builder = Client::builder()
        .hosts("127.0.0.1:1")
        .tls(trusting().identity_pem(text(&own), key.clone()));
    assert!(!format!("{builder:?}").contains(secret), "{builder:?}");
    let error = Client::builder().hosts("a_b..c:1").tls(trusting()).build_on(ctx.handler.clone());
    assert!(error.expect_err("no name").to_string().contains("a_b..c"));
}
