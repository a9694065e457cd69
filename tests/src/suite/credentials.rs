//! Credentials that are added, replaced and withdrawn while the client runs. `who_am_i` shows what the server believes.

use zk_client::{
    CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler, Outcome,
    SessionState::{Connected, Lost, Suspended},
};

use super::context::TestContext;

/// The identities that the server knows besides the address, sorted.
async fn identities<H: Handler>(ctx: &TestContext<H>, zk: &Client) -> Vec<String> {
    let known = ctx.ok("who_am_i", zk.who_am_i()).await;
    let mut known: Vec<_> = known
        .iter()
        .filter(|identity| identity.auth_scheme != "ip")
        .map(|identity| format!("{}:{}", identity.auth_scheme, identity.user))
        .collect();
    known.sort();
    known
}

/// A node that only the present identities of `zk` may read.
async fn private_node<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str) {
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("a private node", zk.create(path, b"mine", options)).await;
}

pub async fn a_withdrawn_credential_is_forgotten_at_the_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.connect(ctx.builder().auth("digest", "ann:1")).await;
    private_node(&ctx, &zk, "/of-ann").await;
    ctx.ok("an ephemeral node", zk.create("/alive", b"", CreateMode::Ephemeral)).await;
    let (_, watch) = ctx.ok("a watch", zk.exists_and_watch("/watched")).await;
    ctx.ok("add_auth", zk.add_auth("digest", "bob:2")).await;
    assert!(zk.remove_auth("digest", "ann:1"));
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann", "digest:bob"]);
    ctx.ok("this connection still has it", zk.get("/of-ann")).await;

    let (session, mut states) = (zk.session_id(), zk.states());
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:bob"]);
    let error = ctx.err("it is not ann's any more", zk.get("/of-ann")).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    // The session, its nodes and its watches are the same.
    ctx.expect_states(&mut states, &[Suspended, Connected]).await;
    assert_eq!(zk.session_id(), session);
    let alive = ctx.ok("exists", zk.exists("/alive")).await.expect("the session lives");
    assert_eq!(alive.owner(), session);
    assert!(!watch.ready());
    ctx.ok("to create", zk.create("/watched", b"", CreateMode::Persistent)).await;
    ctx.ok("the watch", watch).await;
}

pub async fn a_replaced_credential_is_the_only_one_of_its_scheme<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = ctx.builder().auth("digest", "ann:old").auth("digest", "bob:2");
    let zk = ctx.connect(builder.auth("ip", "")).await;
    private_node(&ctx, &zk, "/old").await;
    ctx.ok("replace_auth", zk.replace_auth("digest", "ann:new")).await;
    // Until the reconnect, the server knows both passwords. It shows no hash.
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann", "digest:ann", "digest:bob"]);
    ctx.ok("the old password", zk.get("/old")).await;
    ctx.ok("to reconnect", zk.reconnect()).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann"]);
    private_node(&ctx, &zk, "/new").await;
    let error = ctx.err("the old password is gone", zk.get("/old")).await;
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    // One that is there already is kept, and not sent again.
    ctx.ok("replace_auth", zk.replace_auth("digest", "ann:new")).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann"]);
    // A client that is stopped uses it for its next session.
    ctx.ok("to stop", zk.stop()).await;
    ctx.ok("replace_auth", zk.replace_auth("digest", "cid:3")).await;
    ctx.ok("to start", zk.start()).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:cid"]);
}

pub async fn the_server_knows_the_present_credentials_after_any_loss<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    assert_eq!(identities(&ctx, &zk).await, [""; 0]);
    ctx.ok("add_auth", zk.add_auth("digest", "ann:1")).await;
    ctx.ok("add_auth", zk.add_auth("digest", "bob:2")).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann", "digest:bob"]);

    // A lost connection: what was added, replaced or withdrawn meanwhile counts.
    ctx.cut_off(&zk, &proxy).await;
    assert!(zk.remove_auth("digest", "ann:1"));
    let added = zk.add_auth("digest", "cid:3");
    let asked = zk.who_am_i();
    proxy.refuse(false);
    ctx.ok("add_auth", added).await;
    assert_eq!(ctx.ok("who_am_i", asked).await.len(), 3, "the address, bob and cid");
    assert_eq!(identities(&ctx, &zk).await, ["digest:bob", "digest:cid"]);

    // A session that expires.
    assert!(zk.remove_auth("digest", "cid:3"));
    let session = zk.session_id();
    ctx.lose_session(&zk, &proxy).await;
    assert_ne!(zk.session_id(), session);
    assert_eq!(identities(&ctx, &zk).await, ["digest:bob"]);

    // A restart.
    ctx.ok("replace_auth", zk.replace_auth("digest", "dora:4")).await;
    ctx.ok("to restart", zk.restart()).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:dora"]);
}

pub async fn no_call_fails_by_a_reconnect<H: Handler>(handler: H) {
    const CALLS: usize = 200;

    let ctx = TestContext::new(handler);
    let (_proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let mut writes = Vec::new();
    let mut reconnects = Vec::new();
    for _ in 0..5 {
        writes.extend((0..CALLS).map(|_| zk.set("/node", b"x", None)));
        reconnects.push(zk.reconnect());
        let between = zk.exists("/node");
        writes.extend((0..CALLS).map(|_| zk.set("/node", b"x", None)));
        ctx.ok("a call in between", between).await;
    }
    let mut version = 0;
    for write in writes {
        version += 1;
        assert_eq!(ctx.ok("a write", write).await.version, version, "in order, each once");
    }
    for reconnect in reconnects {
        ctx.ok("to reconnect", reconnect).await;
    }
    assert_eq!(version, 10 * i32::try_from(CALLS).expect("a small number"));
}

pub async fn a_reconnect_waits_for_the_servers_and_ends_with_the_client<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.cut_off(&zk, &proxy).await;
    let reconnect = zk.reconnect();
    ctx.short_wait().await;
    assert!(!reconnect.ready());
    proxy.refuse(false);
    ctx.ok("to reconnect", reconnect).await;
    assert_eq!(zk.state(), Connected);

    ctx.cut_off(&zk, &proxy).await;
    let reconnect = zk.reconnect();
    ctx.ok("to stop", zk.stop()).await;
    let error = ctx.err("a reconnect that the stop ends", reconnect).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    let error = ctx.err("a reconnect of a stopped client", zk.reconnect()).await;
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionClosed, Some(Outcome::NotSent)),
        "{error}"
    );
    assert!(error.to_string().starts_with("reconnect"), "{error}");
}

pub async fn a_credential_refused_at_a_reconnect_ends_the_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.cut_off(&zk, &proxy).await;
    let mut states = zk.states();
    let added = zk.add_auth("nonsense", "who");
    let reconnect = zk.reconnect();
    proxy.refuse(false);
    for result in [added, reconnect] {
        let error = ctx.err("a refused credential", result).await;
        assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    }
    ctx.expect_states(&mut states, &[Connected, Lost]).await;
    // Replaced by one that the server knows, the client starts again.
    assert!(zk.remove_auth("nonsense", "who"));
    ctx.ok("replace_auth", zk.replace_auth("digest", "ann:1")).await;
    ctx.ok("to start", zk.start()).await;
    assert_eq!(identities(&ctx, &zk).await, ["digest:ann"]);
}
