//! Access lists and credentials.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use zk_client::{
    Acl, CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, Error, ErrorCode, Handler,
    OPEN_ACL_UNSAFE, Perms, READ_ACL_UNSAFE, digest_acl, digest_credential,
};

use zk_server::Version;

use super::{
    context::TestContext,
    shared_server::{new_proxy, shared_server},
};
use crate::{Direction, FrameAction, Proxy, lock};

const AUTH: i32 = -4;
const SET_WATCHES: i32 = -8;

#[track_caller]
fn assert_no_auth<T: Debug>(result: Result<T, Error>) {
    let error = result.expect_err("it is not allowed");
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
}

/// A node that only its creator may touch.
async fn closed_node<H: Handler>(ctx: &TestContext<H>, zk: &Client) {
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("a closed node", zk.create("/closed", b"mine", options)).await;
}

/// The xids that the client sends through `proxy`, without pings, for each connection.
fn record_xids(proxy: &Proxy) -> Arc<Mutex<Vec<Vec<i32>>>> {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let list = connections.clone();
    proxy.on_frame(Direction::ToServer, move |frame| {
        let xid = i32::from_be_bytes(frame[..4].try_into().expect("4 bytes"));
        let mut list = lock(&list);
        match xid {
            // The handshake: protocol version 0.
            0 => list.push(Vec::new()),
            -2 => {}
            xid => list.last_mut().expect("a handshake comes first").push(xid),
        }
        FrameAction::Pass
    });
    connections
}

pub async fn acls_are_read_and_written_by_version<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (acls, stat) = ctx.ok("get_acls", zk.get_acls("/node")).await;
    assert_eq!((acls, stat.aversion), (OPEN_ACL_UNSAFE.to_vec(), 0));
    let both = [
        Acl::new(Perms::ALL, "world", "anyone"),
        Acl::new(Perms::READ | Perms::ADMIN, "ip", "127.0.0.1"),
    ];
    let stat = ctx.ok("set_acls", zk.set_acls("/node", &both, 0)).await;
    assert_eq!((stat.aversion, stat.version), (1, 0));
    let (acls, same) = ctx.ok("get_acls", zk.get_acls("/node")).await;
    assert_eq!((acls, same), (both.to_vec(), stat));
    let error = ctx.err("set_acls", zk.set_acls("/node", &both, 0)).await;
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));
    ctx.ok("set_acls", zk.set_acls("/node", &READ_ACL_UNSAFE, None)).await;
    assert_no_auth(zk.set("/node", b"", None).await);
    ctx.ok("to read", zk.get("/node")).await;
    let error = ctx.err("get_acls", zk.get_acls("/missing")).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}

/// ZooKeeper does not encode characters above U+FFFF as UTF-8 but as surrogate pairs.
pub async fn an_acl_id_with_any_characters_is_read_back<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let session = zk.session_id();
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let acl = [Acl::new(Perms::ALL, "digest", "ann 😀 größe:x"), Acl::open_unsafe()];
    let before = zk.get("/node");
    ctx.ok("set_acls", zk.set_acls("/node", &acl, None)).await;
    let (read, after) = (zk.get_acls("/node"), zk.get("/node"));
    ctx.ok("a call before", before).await;
    let (read, _) = ctx.ok("get_acls", read).await;
    assert_eq!(read, acl);
    assert_eq!(
        &read[0].id.id.wire().expect("not null")[..],
        b"ann \xed\xa0\xbd\xed\xb8\x80 gr\xc3\xb6\xc3\x9fe:x"
    );
    ctx.ok("a call behind", after).await;
    assert_eq!(zk.session_id(), session);
}

pub async fn an_invalid_acl_is_refused<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let nonsense = [Acl::new(Perms::ALL, "nonsense", "who")];
    for acl in [&nonsense[..], &CREATOR_ALL_ACL, &[]] {
        let options = CreateOptions::persistent().acl(acl);
        let error = ctx.err("create", zk.create("/node", b"", options)).await;
        assert_eq!(error.code(), Some(ErrorCode::InvalidAcl), "{acl:?}: {error}");
    }
}

pub async fn an_address_gives_access_by_its_network<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let node = async |path: &str, network: &str, perms| {
        let acl = [Acl::ip(network, perms).expect("a network")];
        let options = CreateOptions::persistent().acl(acl);
        ctx.ok("a node", zk.create(path, b"data", options)).await;
    };
    node("/here", "127.0.0.1", Perms::READ).await;
    node("/near", "127.0.0.0/8", Perms::READ | Perms::WRITE).await;
    node("/all", "0.0.0.0/0", Perms::READ).await;
    node("/far", "10.0.0.0/8", Perms::ALL).await;
    for path in ["/here", "/near", "/all"] {
        assert_eq!(ctx.ok("get", zk.get(path)).await.0, "data");
    }
    ctx.ok("set", zk.set("/near", b"", None)).await;
    assert_no_auth(zk.set("/here", b"", None).await);
    assert_no_auth(zk.get("/far").await);
    // The address is no identity that an ACL of the scheme `auth` stands for.
    let options = CreateOptions::persistent().acl([Acl::auth(Perms::ALL)]);
    let error = ctx.err("create", zk.create("/own", b"", options)).await;
    assert_eq!(error.code(), Some(ErrorCode::InvalidAcl), "{error}");
}

pub async fn an_ipv6_address_in_an_acl_needs_a_new_server<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let acl = [Acl::ip("2001:db8::/32", Perms::ALL).expect("a network")];
    let created = zk.create("/node", b"", CreateOptions::persistent().acl(acl));
    match shared_server().version() {
        Version::V3_8 => {
            let error = ctx.err("create", created).await;
            assert_eq!(error.code(), Some(ErrorCode::InvalidAcl), "{error}");
        }
        _ => {
            ctx.ok("create", created).await;
            assert_no_auth(zk.get("/node").await);
        }
    }
}

pub async fn an_acl_of_the_own_identities_becomes_one_of_each<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let builder = ctx.builder().auth("digest", "ann:1").auth("digest", "bob:2");
    let zk = ctx.connect(builder).await;
    let acl = [Acl::auth(Perms::ALL), Acl::world(Perms::READ)];
    ctx.ok("a node", zk.create("/node", b"", CreateOptions::persistent().acl(acl))).await;
    let (mut acl, _) = ctx.ok("get_acls", zk.get_acls("/node")).await;
    acl.sort();
    let (ann, bob) = (digest_credential("ann", "1"), digest_credential("bob", "2"));
    let digest = |id| Acl::digest_id(id, Perms::ALL).expect("a hash");
    assert_eq!(acl, [Acl::world(Perms::READ), digest(ann), digest(bob)]);
    assert_eq!(acl[1].to_string(), "digest:ann:<secret>:cdrwa");
    // A client that may not administer the node does not see the hashes.
    let other = ctx.client().await;
    let (acl, _) = ctx.ok("get_acls", other.get_acls("/node")).await;
    assert!(acl.contains(&Acl::new(Perms::ALL, "digest", "ann:x")), "{acl:?}");
    // An ACL that is made of the hash lets in who knows the password.
    let acl = [digest_acl("cid", "3", Perms::ALL)];
    ctx.ok("set_acls", zk.set_acls("/node", &acl, None)).await;
    assert_no_auth(zk.get("/node").await);
    ctx.ok("add_auth", other.add_auth("digest", "cid:3")).await;
    ctx.ok("get", other.get("/node")).await;
}

pub async fn digest_auth_keeps_others_out<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let owner = ctx.connect(ctx.builder().auth("digest", "ann:secret")).await;
    let other = ctx.client().await;
    closed_node(&ctx, &owner).await;

    assert_no_auth(other.get("/closed").await);
    assert_no_auth(other.get_and_watch("/closed").await);
    assert_no_auth(other.get_children("/closed").await);
    assert_no_auth(other.get_children_and_watch("/closed").await);
    assert_no_auth(other.set("/closed", b"", None).await);
    assert_no_auth(other.create("/closed/child", b"", CreateMode::Persistent).await);
    assert_no_auth(other.set_acls("/closed", &OPEN_ACL_UNSAFE, None).await);
    assert_no_auth(other.ensure_path("/closed/child").await);
    match shared_server().version() {
        Version::V3_8 => {
            ctx.ok("exists needs nothing", other.exists("/closed")).await;
        }
        _ => assert_no_auth(other.exists("/closed").await),
    }
    ctx.ok("it is there, whoever may read it", other.ensure_path("/closed")).await;
    let results = ctx.ok("commit", other.transaction().set("/closed", b"", None).commit()).await;
    assert_no_auth(results.committed());

    assert_eq!(ctx.ok("get", owner.get("/closed")).await.0, "mine");
    ctx.ok("a child", owner.create("/closed/child", b"", CreateMode::Persistent)).await;
    assert_no_auth(other.delete("/closed/child", None).await);
    assert_no_auth(other.delete_recursive("/closed").await);
    // A parent that exists may be unreadable, but its children can still be created.
    let options = CreateOptions::persistent().acl(&OPEN_ACL_UNSAFE);
    ctx.ok("an open node", owner.create("/closed/open", b"", options)).await;
    ctx.ok("below a closed one", other.ensure_path("/closed/open/a/b")).await;
    let makepath = CreateOptions::persistent().makepath();
    ctx.ok("below a closed one", other.create("/closed/open/c/d", b"", makepath)).await;

    let late = ctx.client().await;
    assert_no_auth(late.get("/closed").await);
    let (auth, get) = (late.add_auth("digest", "ann:secret"), late.get("/closed"));
    ctx.ok("add_auth", auth).await;
    assert_eq!(ctx.ok("get", get).await.0, "mine");
    assert_no_auth(
        ctx.connect(ctx.builder().auth("digest", "ann:wrong")).await.get("/closed").await,
    );
}

pub async fn credentials_are_sent_first_on_every_connection<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let xids = record_xids(&proxy);
    let zk = ctx.connect(ctx.builder_at(proxy.address()).auth("digest", "ann:secret")).await;
    closed_node(&ctx, &zk).await;
    let (_, _, watch) = ctx.ok("a watch", zk.get_and_watch("/closed")).await;
    ctx.ok("add_auth", zk.add_auth("digest", "bob:secret")).await;
    for _ in 0..3 {
        ctx.cut_off(&zk, &proxy).await;
        let queued = zk.get("/closed");
        proxy.refuse(false);
        ctx.ok("a call that was queued", queued).await;
    }
    // A credential that is added while disconnected is also sent before queued calls.
    ctx.cut_off(&zk, &proxy).await;
    let queued = zk.get("/closed");
    let auth = zk.add_auth("digest", "cid:secret");
    proxy.refuse(false);
    ctx.ok("add_auth", auth).await;
    ctx.ok("a call that was queued", queued).await;
    assert!(!watch.ready());

    let xids = lock(&xids).clone();
    assert_eq!(xids.len(), 5);
    assert_eq!(xids[0][0], AUTH);
    for (at, xids) in xids[1..].iter().enumerate() {
        let credentials = if at == 3 { 3 } else { 2 };
        let specials = xids.iter().take_while(|xid| **xid < 0).copied().collect::<Vec<_>>();
        assert_eq!(specials, [vec![AUTH; credentials], vec![SET_WATCHES]].concat(), "{xids:?}");
        assert!(xids[specials.len()..].iter().all(|xid| *xid > 0), "{xids:?}");
    }
}

pub async fn credentials_are_sent_again_in_the_next_session<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder().auth("digest", "ann:secret"));
    // A credential that is added before the start counts as accepted until the server replies.
    ctx.ok("add_auth", zk.add_auth("digest", "bob:secret")).await;
    ctx.ok("to start", zk.start()).await;
    closed_node(&ctx, &zk).await;
    ctx.ok("add_auth", zk.add_auth("digest", "cid:secret")).await;
    ctx.ok("to restart", zk.restart()).await;
    let (acls, _) = ctx.ok("get_acls", zk.get_acls("/closed")).await;
    assert_eq!(acls.len(), 2);
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("a node of all three", zk.create("/three", b"", options)).await;
    assert_eq!(ctx.ok("get_acls", zk.get_acls("/three")).await.0.len(), 3);
}

pub async fn a_credential_added_during_a_restart_applies_to_the_next_session<H: Handler>(
    handler: H,
) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    proxy.hold(Direction::ToClient);
    let (restart, auth) = (zk.restart(), zk.add_auth("digest", "ann:secret"));
    proxy.release();
    ctx.ok("add_auth", auth).await;
    ctx.ok("to restart", restart).await;
    closed_node(&ctx, &zk).await;
}
