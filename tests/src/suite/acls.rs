//! Access lists and credentials.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use zk_client::{
    Acl, CREATOR_ALL_ACL, Client, CreateMode, CreateOptions, Error, ErrorCode, Handler,
    OPEN_ACL_UNSAFE, Perms, READ_ACL_UNSAFE,
};

use zk_server::Version;

use super::site::{Site, proxy, shared};
use crate::{Direction, Proxy, Verdict, lock};

const AUTH: i32 = -4;
const SET_WATCHES: i32 = -8;

#[track_caller]
fn assert_no_auth<T: Debug>(result: Result<T, Error>) {
    let error = result.expect_err("it is not allowed");
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
}

/// A node that only its creator may touch.
async fn closed_node<H: Handler>(site: &Site<H>, zk: &Client) {
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    site.ok("a closed node", zk.create("/closed", b"mine", options)).await;
}

/// For each connection through `proxy`, the xids that the client sends, pings apart.
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
        Verdict::Pass
    });
    connections
}

pub async fn acls_are_read_and_written_by_version<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (acls, stat) = site.ok("get_acls", zk.get_acls("/node")).await;
    assert_eq!((acls, stat.aversion), (OPEN_ACL_UNSAFE.to_vec(), 0));
    let both = [
        Acl::new(Perms::ALL, "world", "anyone"),
        Acl::new(Perms::READ | Perms::ADMIN, "ip", "127.0.0.1"),
    ];
    let stat = site.ok("set_acls", zk.set_acls("/node", &both, 0)).await;
    assert_eq!((stat.aversion, stat.version), (1, 0));
    let (acls, same) = site.ok("get_acls", zk.get_acls("/node")).await;
    assert_eq!((acls, same), (both.to_vec(), stat));
    let error = site.err("set_acls", zk.set_acls("/node", &both, 0)).await;
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));
    site.ok("set_acls", zk.set_acls("/node", &READ_ACL_UNSAFE, None)).await;
    assert_no_auth(zk.set("/node", b"", None).await);
    site.ok("to read", zk.get("/node")).await;
    let error = site.err("get_acls", zk.get_acls("/missing")).await;
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}

/// ZooKeeper writes characters above U+FFFF as no UTF-8.
pub async fn an_identity_of_any_characters_is_read_back<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let session = zk.session_id();
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let acl = [Acl::new(Perms::ALL, "digest", "ann 😀 größe:x"), Acl::open_unsafe()];
    let before = zk.get("/node");
    site.ok("set_acls", zk.set_acls("/node", &acl, None)).await;
    let (read, after) = (zk.get_acls("/node"), zk.get("/node"));
    site.ok("a call before", before).await;
    let (read, _) = site.ok("get_acls", read).await;
    assert_eq!(read, acl);
    assert_eq!(
        &read[0].id.id.wire().expect("not null")[..],
        b"ann \xed\xa0\xbd\xed\xb8\x80 gr\xc3\xb6\xc3\x9fe:x"
    );
    site.ok("a call behind", after).await;
    assert_eq!(zk.session_id(), session);
}

pub async fn an_acl_that_means_nothing_is_refused<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.client().await;
    let nonsense = [Acl::new(Perms::ALL, "nonsense", "who")];
    for acl in [&nonsense[..], &CREATOR_ALL_ACL, &[]] {
        let options = CreateOptions::persistent().acl(acl);
        let error = site.err("create", zk.create("/node", b"", options)).await;
        assert_eq!(error.code(), Some(ErrorCode::InvalidAcl), "{acl:?}: {error}");
    }
}

pub async fn digest_auth_keeps_others_out<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let owner = site.connect(site.builder().auth("digest", "ann:secret")).await;
    let other = site.client().await;
    closed_node(&site, &owner).await;

    assert_no_auth(other.get("/closed").await);
    assert_no_auth(other.get_and_watch("/closed").await);
    assert_no_auth(other.get_children("/closed").await);
    assert_no_auth(other.get_children_and_watch("/closed").await);
    assert_no_auth(other.set("/closed", b"", None).await);
    assert_no_auth(other.create("/closed/child", b"", CreateMode::Persistent).await);
    assert_no_auth(other.set_acls("/closed", &OPEN_ACL_UNSAFE, None).await);
    assert_no_auth(other.ensure_path("/closed/child").await);
    match shared().version() {
        Version::V3_8 => {
            site.ok("exists needs nothing", other.exists("/closed")).await;
        }
        _ => assert_no_auth(other.exists("/closed").await),
    }
    site.ok("it is there, whoever may read it", other.ensure_path("/closed")).await;
    let results = site.ok("commit", other.transaction().set("/closed", b"", None).commit()).await;
    assert_no_auth(results.committed());

    assert_eq!(site.ok("get", owner.get("/closed")).await.0, "mine");
    site.ok("a child", owner.create("/closed/child", b"", CreateMode::Persistent)).await;
    assert_no_auth(other.delete("/closed/child", None).await);
    assert_no_auth(other.delete_recursive("/closed").await);
    // Who is there already may be out of reach, and yet its children may be made.
    let options = CreateOptions::persistent().acl(&OPEN_ACL_UNSAFE);
    site.ok("an open node", owner.create("/closed/open", b"", options)).await;
    site.ok("below a closed one", other.ensure_path("/closed/open/a/b")).await;
    let makepath = CreateOptions::persistent().makepath();
    site.ok("below a closed one", other.create("/closed/open/c/d", b"", makepath)).await;

    let late = site.client().await;
    assert_no_auth(late.get("/closed").await);
    let (auth, get) = (late.add_auth("digest", "ann:secret"), late.get("/closed"));
    site.ok("add_auth", auth).await;
    assert_eq!(site.ok("get", get).await.0, "mine");
    assert_no_auth(
        site.connect(site.builder().auth("digest", "ann:wrong")).await.get("/closed").await,
    );
}

pub async fn credentials_go_first_on_every_connection<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    let xids = record_xids(&proxy);
    let zk = site.connect(site.builder_at(proxy.address()).auth("digest", "ann:secret")).await;
    closed_node(&site, &zk).await;
    let (_, _, watch) = site.ok("a watch", zk.get_and_watch("/closed")).await;
    site.ok("add_auth", zk.add_auth("digest", "bob:secret")).await;
    for _ in 0..3 {
        site.cut_off(&zk, &proxy).await;
        let queued = zk.get("/closed");
        proxy.refuse(false);
        site.ok("a call that was queued", queued).await;
    }
    // Given while there is no connection, it goes before what was queued all the same.
    site.cut_off(&zk, &proxy).await;
    let queued = zk.get("/closed");
    let auth = zk.add_auth("digest", "cid:secret");
    proxy.refuse(false);
    site.ok("add_auth", auth).await;
    site.ok("a call that was queued", queued).await;
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

pub async fn credentials_stay_for_the_next_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let zk = site.build(site.builder().auth("digest", "ann:secret"));
    // Given before the start, it is taken for granted until the server has its say.
    site.ok("add_auth", zk.add_auth("digest", "bob:secret")).await;
    site.ok("to start", zk.start()).await;
    closed_node(&site, &zk).await;
    site.ok("add_auth", zk.add_auth("digest", "cid:secret")).await;
    site.ok("to restart", zk.restart()).await;
    let (acls, _) = site.ok("get_acls", zk.get_acls("/closed")).await;
    assert_eq!(acls.len(), 2);
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    site.ok("a node of all three", zk.create("/three", b"", options)).await;
    assert_eq!(site.ok("get_acls", zk.get_acls("/three")).await.0.len(), 3);
}

pub async fn a_credential_given_in_a_restart_is_for_the_next_session<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    proxy.hold(Direction::ToClient);
    let (restart, auth) = (zk.restart(), zk.add_auth("digest", "ann:secret"));
    proxy.release();
    site.ok("add_auth", auth).await;
    site.ok("to restart", restart).await;
    closed_node(&site, &zk).await;
}
