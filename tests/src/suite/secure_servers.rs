//! TLS with ZooKeeper's own servers, or that of an embedded server. [`tls`](super::tls) has the tests by a server of rustls.

use std::{
    fs,
    sync::{Arc, LazyLock},
    time::Duration,
};

use zk_client::{
    Backoff, Client, ClientBuilder, CreateMode, ErrorKind, Handler, SessionState, TlsOptions,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use zk_server::Version;

use super::{
    context::TestContext,
    recorded_log,
    shared_server::{SecureServer, version},
    tls::{trusting, with},
};
use crate::{
    Certificates, ClientAuth, Ensemble, Holder, Options, Proxy, ResolverHandler,
    process::TempDirectory,
};

/// A server that demands a certificate that is not revoked.
static DEMANDING: LazyLock<SecureServer> = LazyLock::new(|| {
    SecureServer::start(&Options::default().tls(ClientAuth::Need).check_revocation())
});

/// A server whose certificate has expired, and that wants nothing of clients.
static EXPIRED: LazyLock<SecureServer> = LazyLock::new(|| {
    let options = Options::default().tls(ClientAuth::None);
    SecureServer::start(&options.server_certificate(Holder::ExpiredServer))
});

/// The subjects of the client's certificates that the server has seen.
async fn subjects<H: Handler>(ctx: &TestContext<H>, zk: &Client) -> Vec<String> {
    let identities = ctx.ok("who_am_i", zk.who_am_i()).await;
    let proven = identities.into_iter().filter(|identity| identity.auth_scheme == "x509");
    proven.map(|identity| identity.user.to_string()).collect()
}

/// The error of a client that cannot start. It tries again, and not more often than the backoff says.
async fn failure<H: Handler>(
    ctx: &TestContext<H>,
    server: &SecureServer,
    option: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> String {
    let proxy = Proxy::new(server.tls_address());
    let host = proxy.address().to_string();
    let pause = Duration::from_millis(300);
    let builder = option(ctx.builder_at(&host))
        .connect_timeout(Duration::from_millis(1_500))
        .connection_retry(Backoff { min: pause, max: pause });
    let error = ctx.err("a start", builder.connect_on(ctx.handler.clone())).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = error.to_string();
    assert!(error.contains(&host), "{error}");
    // At once, and then after at least half of each pause.
    let attempts = proxy.accepted();
    assert!((1..=10).contains(&attempts), "{attempts} connections in 1.5 s: {error}");
    error
}

pub async fn a_certificate_identifies_the_client<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    for host in ["localhost", "127.0.0.1"] {
        let hosts = format!("{host}:{}", DEMANDING.tls_address().port());
        let zk = ctx.connect(ctx.builder_at(hosts).tls(with(Holder::Client))).await;
        assert_eq!(subjects(&ctx, &zk).await, ["CN=client"]);
        let large = vec![7; 700_000];
        let mode = CreateMode::EphemeralSequential;
        let path = ctx.ok("create", zk.create("/large-", &large, mode)).await;
        assert_eq!(ctx.ok("get", zk.get(&path)).await.0, large);
        let calls: Vec<_> = (0..200).map(|_| zk.exists(&path)).collect();
        for call in calls {
            assert!(ctx.ok("exists", call).await.is_some());
        }
        assert_eq!(ctx.ok("ruok", zk.four_letter_word("ruok")).await, "imok");
        ctx.ok("stop", zk.stop()).await;
    }
}

pub async fn a_certificate_that_changes_on_disk_identifies_the_client_next<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let folder = TempDirectory::new().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let copy = |holder| {
        fs::copy(Certificates::shared().chain(holder), &chain).expect("the file is copied");
        fs::copy(Certificates::shared().key(holder), &key).expect("the file is copied");
    };
    copy(Holder::Client);
    let proxy = Proxy::new(DEMANDING.tls_address());
    let tls = trusting().identity_files(&chain, &key);
    let zk = ctx.connect(ctx.builder_at(proxy.address()).tls(tls)).await;
    assert_eq!(subjects(&ctx, &zk).await, ["CN=client"]);
    let session = zk.session_id();

    copy(Holder::SecondClient);
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.within("the reconnection", async {
        while states.changed().await != Some(SessionState::Connected) {}
    })
    .await;
    assert_eq!(subjects(&ctx, &zk).await, ["CN=client-2"]);
    assert_eq!(zk.session_id(), session);
}

pub async fn a_refused_client_is_told_why<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    for (tls, word) in [
        (trusting(), "client certificate"),
        (with(Holder::ForeignClient), "refused the client's certificate"),
        (with(Holder::ExpiredClient), "refused the client's certificate"),
        (with(Holder::RevokedClient), "refused the client's certificate"),
    ] {
        let error = failure(&ctx, &DEMANDING, |builder| builder.tls(tls)).await;
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

pub async fn a_servers_certificate_is_checked<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let stranger = TlsOptions::new().authorities_file(Certificates::shared().foreign_authority());
    let error = failure(&ctx, &DEMANDING, |builder| builder.tls(stranger)).await;
    assert!(error.contains("not from a trusted authority"), "{error}");
    let error = failure(&ctx, &EXPIRED, |builder| builder.tls(trusting())).await;
    assert!(error.contains("has expired"), "{error}");

    // The name that counts is the configured one, whatever its address.
    let address = DEMANDING.tls_address();
    let resolver = ResolverHandler::new(ctx.handler.clone(), move |_| Ok(vec![address]));
    let builder = ctx
        .builder_at(format!("elsewhere.example:{}", address.port()))
        .tls(with(Holder::Client))
        .connect_timeout(Duration::from_secs(1));
    let error = ctx.err("a start", builder.connect_on(resolver)).await.to_string();
    for word in ["not for `elsewhere.example`", "localhost"] {
        assert!(error.contains(word), "no {word} in: {error}");
    }
}

pub async fn the_wrong_kind_of_port_is_named<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let builder = ctx
        .builder_at(DEMANDING.address())
        .tls(with(Holder::Client))
        .connect_timeout(Duration::from_secs(1));
    let error = ctx.err("a start", builder.connect_on(ctx.handler.clone())).await.to_string();
    assert!(error.contains("ZooKeeper port without TLS?"), "{error}");
    // ZooKeeper closes the connection without a word.
    let error = failure(&ctx, &DEMANDING, |builder| builder).await;
    assert!(error.contains("it may not be serving, or take TLS only"), "{error}");
}

pub async fn a_reconnect_resumes_the_tls_session<H: Handler>(handler: H) {
    recorded_log::record();
    let ctx = TestContext::without_root(handler);
    let proxy = Proxy::new(DEMANDING.tls_address());
    let zk = ctx.connect(ctx.builder_at(proxy.address()).tls(with(Holder::Client))).await;
    let mut states = zk.states();
    for _ in 0..2 {
        ctx.ok("a call", zk.exists("/")).await;
        proxy.cut_rst();
        ctx.within("the reconnection", async {
            while states.changed().await != Some(SessionState::Connected) {}
        })
        .await;
    }
    assert_eq!(subjects(&ctx, &zk).await, ["CN=client"]);
    let log = recorded_log::recorded();
    let host = format!("host={}", proxy.address());
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&host)).collect();
    let handshakes: Vec<_> = lines.iter().filter(|line| line.contains("handshake=")).collect();
    assert!(handshakes.len() >= 3, "{handshakes:?}");
    // 3.9 makes a new configuration for each connection, and so resumes nothing, whatever the client offers.
    let (version, later) = match version() {
        Version::V3_8 => ("TLSv1_2", "Resumed"),
        _ => ("TLSv1_3", "Full"),
    };
    assert!(handshakes[0].contains("Full"), "{handshakes:?}");
    assert!(handshakes[1..].iter().all(|line| line.contains(later)), "{handshakes:?}");
    assert!(handshakes.iter().all(|line| line.contains(version)), "{handshakes:?}");
}

pub async fn a_user_can_bring_a_configuration<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let files = Certificates::shared();
    let read = |path| CertificateDer::pem_file_iter(path).expect("a file").flatten();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(read(files.authority()));
    let key = PrivateKeyDer::from_pem_file(files.key(Holder::Client)).expect("a key");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates(roots)
    .with_client_auth_cert(read(files.chain(Holder::Client)).collect(), key)
    .expect("a certificate");
    let tls = TlsOptions::from_config(config);
    let zk = ctx.connect(ctx.builder_at(DEMANDING.tls_address()).tls(tls)).await;
    assert_eq!(subjects(&ctx, &zk).await, ["CN=client"]);
}

pub async fn a_session_fails_over_with_tls<H: Handler>(handler: H) {
    static THREE: LazyLock<Ensemble> =
        LazyLock::new(|| Options::default().tls(ClientAuth::Need).start(3));

    let ctx = TestContext::without_root(handler);
    let proxies: Vec<_> = THREE.nodes().iter().map(|node| Proxy::new(node.tls_address())).collect();
    let hosts: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    let zk = ctx.connect(ctx.builder_at(hosts.join(",")).tls(with(Holder::Client))).await;
    let session = zk.session_id();
    let mode = CreateMode::EphemeralSequential;
    let path = ctx.ok("create", zk.create("/node-", b"", mode)).await;
    let mut states = zk.states();
    for proxy in &proxies {
        if proxy.connections() > 0 {
            proxy.refuse(true);
            proxy.cut_rst();
        }
    }
    ctx.within("the reconnection", async {
        while states.changed().await != Some(SessionState::Connected) {}
    })
    .await;
    assert_eq!(zk.session_id(), session);
    assert!(ctx.ok("exists", zk.exists(&path)).await.is_some());
}
