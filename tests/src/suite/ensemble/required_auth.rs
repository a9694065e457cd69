//! Servers that require authentication. A client without credentials gets an error that says so, and does not
//! reconnect.

use zk_client::{ConnectionState, Error, SaslOptions};

use super::*;
use crate::Ensemble;

const IDLE: Duration = Duration::from_millis(1500);

fn assert_demanded(error: &Error, outcome: Outcome, sent: &str) {
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::AuthFailed, Some(outcome)), "{error}");
    let text = error.to_string();
    assert!(text.contains("the server demands authentication"), "{text}");
    assert!(text.contains("enforce.auth.schemes") && text.contains(sent), "{text}");
}

/// The session of a client that sends only pings ends, and the client does not reconnect.
async fn an_idle_client_ends<H: Handler>(
    ctx: &EnsembleContext<H>,
    builder: ClientBuilder,
) -> Client {
    let zk = builder.build_on(ctx.handler.clone()).expect("the options are good");
    let mut changes = ctx.changes(&zk);
    ctx.within("to start", zk.start()).await.expect("the server makes sessions for anybody");
    changes.expect(&[Connected, Lost]).await;
    assert_eq!(zk.connection_state(), ConnectionState::AuthFailed);
    let accepted = ctx.accepted();
    ctx.sleep(2 * IDLE).await;
    assert_eq!(ctx.accepted(), accepted, "it came back");
    zk
}

/// `zookeeper.enforce.auth.enabled` with a scheme that the client knows.
pub async fn a_server_can_require_digest_credentials<H: Handler>(handler: H) {
    let options = Options::default().enforce_auth(&["digest"]);
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let builder = || client(ctx.proxy_hosts(0), IDLE);

    let zk = an_idle_client_ends(&ctx, builder()).await;
    let error = zk.exists("/").await.expect_err("the session has ended");
    assert_demanded(&error, Outcome::NotSent, "no credential was sent");
    zk.add_auth("digest", "ann:1").await.expect("it is for the next session");
    ctx.within("to start again", zk.start()).await.expect("now it has what is demanded");
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the session lives");
    assert_eq!(zk.connection_state(), ConnectionState::Connected);
    zk.stop().await.expect("it can be stopped");

    // A client that makes a call gets the error from that call.
    let zk = ctx.start(builder()).await;
    let mut changes = ctx.changes(&zk);
    let error = zk.exists("/").await.expect_err("the server refuses it");
    assert_demanded(&error, Outcome::NotApplied, "no credential was sent");
    changes.expect(&[Lost]).await;

    let zk = ctx.start(builder().auth("digest", "ann:1")).await;
    let session = zk.session_id();
    zk.create("/mine", b"", CreateMode::Ephemeral).await.expect("the credential does");
    ctx.sleep(2 * IDLE).await;
    assert_eq!((zk.state(), zk.session_id()), (Connected, session));

    // A credential that is withdrawn is missing on the next connection. Another one takes its place.
    zk.replace_auth("digest", "bob:2").await.expect("the server knows the scheme");
    zk.reconnect().await.expect("there is a credential");
    zk.exists("/").await.expect("the credential does");
    assert!(zk.remove_auth("digest", "bob:2"));
    let mut changes = ctx.changes(&zk);
    zk.reconnect().await.expect("the server says so at the first request only");
    let error = zk.exists("/").await.expect_err("the server refuses it");
    assert_demanded(&error, Outcome::NotApplied, "no credential was sent");
    changes.expect(&[Suspended, Connected, Lost]).await;
}

/// `zookeeper.sessionRequireClientSASLAuth`.
pub async fn a_server_can_require_sasl<H: Handler>(handler: H) {
    let options = Options::default().sasl_digest_md5(&USERS).required_sasl();
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let builder = || client(ctx.proxy_hosts(0), IDLE).auth("digest", "ann:1");
    let zk = an_idle_client_ends(&ctx, builder()).await;
    let error = zk.exists("/").await.expect_err("the session has ended");
    assert_demanded(&error, Outcome::NotSent, "these schemes were sent: digest");
    let zk = ctx.start(builder()).await;
    let error = zk.exists("/").await.expect_err("the server refuses it");
    assert_demanded(&error, Outcome::NotApplied, "these schemes were sent: digest");
    zk.stop().await.expect("it can be stopped");

    // A client that logs in is kept, also while it only sends pings, and over reconnects.
    zk.set_sasl(SaslOptions::digest_md5("bob", "secret"));
    ctx.within("to start again", zk.start()).await.expect("now it does what is demanded");
    let session = zk.session_id();
    ctx.sleep(2 * IDLE).await;
    zk.reconnect().await.expect("it logs in again");
    zk.exists("/").await.expect("the login does");
    assert_eq!((zk.state(), zk.session_id()), (Connected, session));
    zk.stop().await.expect("it can be stopped");

    let error = refused(&ctx, "bob", "wrong").await;
    assert!(error.contains("the server refused the credentials"), "{error}");
}

/// `zookeeper.allowSaslFailedClients`: the server serves a client that it has refused. The client does not go on with
/// it, as it may be any server.
pub async fn a_server_that_lets_refused_clients_in_is_not_used<H: Handler>(handler: H) {
    let options = Options::default()
        .sasl_digest_md5(&USERS)
        .property("zookeeper.allowSaslFailedClients", "true");
    let ctx = EnsembleContext::of(handler, options, 1).await;
    let error = refused(&ctx, "bob", "wrong").await;
    assert!(error.contains("zookeeper.allowSaslFailedClients"), "{error}");
    let builder = client(ctx.proxy_hosts(0), IDLE).sasl(SaslOptions::digest_md5("bob", "secret"));
    ctx.start(builder).await;
}

/// A server without a quorum takes SASL, too. The client logs in there, and again when there is a quorum.
pub async fn a_read_only_server_can_be_logged_in_to<H: Handler>(handler: H) {
    let options = Options::default()
        .config("localSessionsEnabled=true")
        .config("localSessionsUpgradingEnabled=true")
        .sasl_digest_md5(&USERS);
    let ctx = EnsembleContext::with(handler, options).await;
    ctx.with_ensemble(|ensemble| {
        ensemble.node(1).kill();
        ensemble.node(2).kill();
    })
    .await;
    let login = SaslOptions::digest_md5("bob", "secret");
    let builder = client(ctx.hosts(0), LONG).read_only(true).connect_timeout(LIMIT).sasl(login);
    let zk = ctx.start(builder).await;
    let mut changes = ctx.changes(&zk);
    assert_eq!(zk.state(), ConnectedReadOnly);
    assert_logged_in(&zk).await;
    ctx.with_ensemble(Ensemble::start_all).await;
    changes.until(Connected).await;
    assert_logged_in(&zk).await;
}

const USERS: [(&str, &str); 1] = [("bob", "secret")];

async fn assert_logged_in(zk: &Client) {
    let identities = zk.who_am_i().await.expect("the server answers");
    let is_bob = identities.iter().any(|it| it.auth_scheme == "sasl" && it.user == "bob");
    assert!(is_bob, "{identities:?}");
}

/// The error of a start with this password, which the server refuses. The client does not come back.
async fn refused<H: Handler>(ctx: &EnsembleContext<H>, user: &str, password: &str) -> String {
    let accepted = ctx.accepted();
    let login = SaslOptions::digest_md5(user, password);
    let builder = client(ctx.proxy_hosts(0), IDLE).sasl(login);
    let start = builder.connect_on(ctx.handler.clone());
    let error = ctx.within("a start to fail", start).await.expect_err("the password is wrong");
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    ctx.sleep(IDLE).await;
    assert_eq!(ctx.accepted(), accepted + 1, "it came back");
    error.to_string()
}
