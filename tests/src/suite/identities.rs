//! Identities by a certificate and by SASL, on a server that demands the one and offers the other.

use std::{
    fs,
    panic::resume_unwind,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use zk_client::{
    Acl, CREATOR_ALL_ACL, Client, ClientBuilder, CreateOptions, Error, ErrorCode, ErrorKind,
    Handler, Perms, SaslOptions, SessionState, TlsOptions, sasl::UserPassword,
};

use super::{
    canary::{Canary, displayed, shown},
    context::TestContext,
    recorded_log,
    shared_server::SecureServer,
};
use crate::{Certificates, ClientAuth, Holder, Options, Proxy, lock, process::TempDirectory};

const BOBS_PASSWORD: &str = "canary-of-bob-5c11";
const WRONG_PASSWORD: &str = "canary-wrong-0d9e";

static SERVER: LazyLock<SecureServer> = LazyLock::new(|| {
    let users = [("bob", BOBS_PASSWORD), ("eve", "hers")];
    SecureServer::start(&Options::default().tls(ClientAuth::Need).sasl_digest_md5(&users))
});

fn tls(holder: Holder) -> TlsOptions {
    let certificates = Certificates::shared();
    TlsOptions::new()
        .authorities_file(certificates.authority())
        .identity_files(certificates.chain(holder), certificates.key(holder))
}

fn builder<H: Handler>(ctx: &TestContext<H>, holder: Holder) -> ClientBuilder {
    ctx.builder_at(SERVER.tls_address()).tls(tls(holder))
}

/// A login of bob.
fn bob() -> SaslOptions {
    SaslOptions::digest_md5("bob", BOBS_PASSWORD)
}

/// Who the server believes the client to be, besides its address, sorted.
async fn identities<H: Handler>(ctx: &TestContext<H>, zk: &Client) -> Vec<String> {
    let known = ctx.ok("who_am_i", zk.who_am_i()).await;
    let known = known.iter().filter(|identity| identity.auth_scheme != "ip");
    let mut known: Vec<_> =
        known.map(|identity| format!("{}:{}", identity.auth_scheme, identity.user)).collect();
    known.sort();
    known
}

/// Creates a node with this ACL below a path that no other test uses.
async fn node<H: Handler>(ctx: &TestContext<H>, zk: &Client, acl: &[Acl]) -> String {
    let options = CreateOptions::persistent().sequence().acl(acl);
    ctx.ok("a node", zk.create("/of-an-identity-", b"data", options)).await.into()
}

#[track_caller]
fn assert_no_auth<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.expect_err("it is not allowed");
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
}

pub async fn a_certificate_gives_access_by_its_subject<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let zk = ctx.connect(builder(&ctx, Holder::Client)).await;
    let other = ctx.connect(builder(&ctx, Holder::SecondClient)).await;
    assert_eq!(identities(&ctx, &zk).await, ["x509:CN=client"]);
    let acl = [Acl::x509("CN=client", Perms::READ | Perms::ADMIN).expect("a subject")];
    let path = node(&ctx, &zk, &acl).await;
    ctx.ok("get", zk.get(&path)).await;
    assert_eq!(ctx.ok("get_acls", zk.get_acls(&path)).await.0, acl);
    assert_no_auth(other.get(&path).await);
    // The subject is compared as text.
    let spaced = [Acl::x509("CN = client", Perms::ALL).expect("a subject")];
    assert_no_auth(zk.get(node(&ctx, &zk, &spaced).await).await);
    // It is one of the own identities.
    let path = node(&ctx, &zk, &CREATOR_ALL_ACL).await;
    let (own, _) = ctx.ok("get_acls", zk.get_acls(&path)).await;
    assert_eq!(own, [Acl::x509("CN=client", Perms::ALL).expect("a subject")]);
    assert_no_auth(other.get(&path).await);
}

pub async fn a_login_gives_access_by_its_user<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let zk = ctx.connect(builder(&ctx, Holder::Client).sasl(bob())).await;
    let eve = SaslOptions::digest_md5("eve", "hers");
    let eve = ctx.connect(builder(&ctx, Holder::Client).sasl(eve)).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob", "x509:CN=client"]);
    let acl = [Acl::sasl("bob", Perms::READ).expect("a user")];
    let path = node(&ctx, &zk, &acl).await;
    ctx.ok("get", zk.get(&path)).await;
    assert_no_auth(eve.get(&path).await);
    // All identities count together.
    let (auth, both) = (zk.add_auth("digest", "ann:1"), [Acl::auth(Perms::ALL)]);
    ctx.ok("add_auth", auth).await;
    let path = node(&ctx, &zk, &both).await;
    let (own, _) = ctx.ok("get_acls", zk.get_acls(&path)).await;
    let mut schemes: Vec<_> = own.iter().map(|acl| acl.id.scheme.to_string()).collect();
    schemes.sort();
    assert_eq!(schemes, ["digest", "sasl", "x509"]);
    ctx.ok("eve has the same certificate", eve.get(&path)).await;
}

pub async fn a_new_certificate_counts_after_a_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let folder = TempDirectory::new().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let certificates = Certificates::shared();
    let write = |holder| {
        fs::copy(certificates.chain(holder), &chain).expect("the file is copied");
        fs::copy(certificates.key(holder), &key).expect("the file is copied");
    };
    write(Holder::Client);
    let tls =
        TlsOptions::new().authorities_file(certificates.authority()).identity_files(&chain, &key);
    let zk = ctx.connect(ctx.builder_at(SERVER.tls_address()).tls(tls)).await;
    let session = zk.session_id();
    write(Holder::SecondClient);
    assert_eq!(identities(&ctx, &zk).await, ["x509:CN=client"]);
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["x509:CN=client-2"]);
    assert_eq!(zk.session_id(), session);
}

pub async fn another_login_counts_after_a_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::without_root(handler);
    let user = Arc::new(Mutex::new(("bob", BOBS_PASSWORD)));
    let asked = user.clone();
    let login = SaslOptions::digest_md5_with(move || {
        let (user, password) = *lock(&asked);
        Ok::<_, Error>(UserPassword::new(user, password))
    });
    let zk = ctx.connect(builder(&ctx, Holder::Client).sasl(login)).await;
    let session = zk.session_id();
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob", "x509:CN=client"]);
    *lock(&user) = ("eve", "hers");
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob", "x509:CN=client"]);
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:eve", "x509:CN=client"]);
    zk.set_sasl(bob());
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob", "x509:CN=client"]);
    zk.set_sasl(None);
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["x509:CN=client"]);
    assert_eq!(zk.session_id(), session);

    // A login that is refused at a reconnect ends the session. The client does not go on without it.
    let mut states = zk.states();
    zk.set_sasl(SaslOptions::digest_md5("bob", WRONG_PASSWORD));
    let error = ctx.err("a refused login", zk.reconnect()).await;
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Lost]).await;
    zk.set_sasl(bob());
    ctx.ok("to start", zk.start()).await;
    assert_eq!(identities(&ctx, &zk).await, ["sasl:bob", "x509:CN=client"]);
}

pub async fn secrets_of_logins_do_not_appear_in_logs_or_values<H: Handler>(handler: H) {
    recorded_log::record();
    let ctx = TestContext::without_root(handler);
    let options = bob();
    let credentials = UserPassword::new("bob", BOBS_PASSWORD);
    let mut texts = vec![("options", shown(&options)), ("credentials", shown(&credentials))];
    let builder = builder(&ctx, Holder::Client).sasl(options);
    texts.push(("a builder", shown(&builder)));
    let proxy = Proxy::new(SERVER.tls_address());
    let zk = ctx.connect(builder.clone().hosts(proxy.address().to_string())).await;
    texts.push(("a client", shown(&zk)));
    texts.push(("identities", shown(&ctx.ok("who_am_i", zk.who_am_i()).await)));
    ctx.ok("to reconnect", zk.reconnect()).await;
    ctx.cut_off(&zk, &proxy).await;
    texts.push(("a client that is suspended", shown(&zk)));
    proxy.refuse(false);
    ctx.ok("a call", zk.exists("/")).await;

    let wrong = builder.sasl(SaslOptions::digest_md5("bob", WRONG_PASSWORD));
    texts.push(("a builder", shown(&wrong)));
    let zk = ctx.build(wrong);
    texts.push(("an error", displayed(&ctx.err("a refused login", zk.start()).await)));
    texts.push(("an error", displayed(&ctx.err("a call", zk.exists("/")).await)));
    texts.push(("a client that was refused", shown(&zk)));
    // A callback that panics with its secret.
    let panics = || -> Result<UserPassword, Error> { resume_unwind(Box::new(WRONG_PASSWORD)) };
    let builder = self::builder(&ctx, Holder::Client).sasl(SaslOptions::digest_md5_with(panics));
    let builder = builder.connect_timeout(Duration::from_millis(500));
    let error = ctx.err("no login", builder.connect_on(ctx.handler.clone())).await;
    texts.push(("an error", displayed(&error)));

    let log = recorded_log::recorded();
    assert!(log.contains("SASL") && log.contains("rustls"), "nothing is recorded");
    texts.push(("the log", log));
    let canaries = [
        Canary::new("password", BOBS_PASSWORD.as_bytes()),
        Canary::new("wrong password", WRONG_PASSWORD.as_bytes()),
        // What a response of DIGEST-MD5 begins with.
        Canary::new("token", b"username=\"bob\""),
    ];
    for (place, text) in &texts {
        for canary in &canaries {
            canary.assert_absent(place, text);
        }
    }
}
