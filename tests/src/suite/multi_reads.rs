//! Several reads in one packet: each fails alone.

use zk_client::{
    CREATOR_ALL_ACL, CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler, OpCode, Outcome,
    ReadResult,
};

use super::context::TestContext;

pub async fn reads_are_answered_in_order_and_fail_alone<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, owner) = (ctx.client().await, ctx.client().await);
    ctx.ok("auth", owner.add_auth("digest", "ann:secret")).await;
    let closed = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    ctx.ok("a closed node", owner.create("/closed", b"mine", closed)).await;
    ctx.ok("a node", zk.create("/a", b"data", CreateMode::Persistent)).await;
    ctx.ok("a node", zk.create("/a/null", (), CreateMode::Persistent)).await;
    ctx.ok("a node", zk.create("/a/empty", b"", CreateMode::Persistent)).await;
    let stat = ctx.ok("exists", zk.exists("/a")).await.expect("it is there");

    let results = zk
        .multi_read()
        .get("/a")
        .get("/missing")
        .get_children("/a")
        .get("/closed")
        .get("/a/null")
        .get_children("/closed")
        .get("/a/empty")
        .get_children("/a/empty")
        .get("/a")
        .send();
    let results = ctx.ok("the reads", results).await;
    let [first, missing, children, closed, null, closed_children, empty, none, last] = &results[..]
    else {
        panic!("{results:?}");
    };
    let ok = |result: &Result<ReadResult, _>| result.clone().expect("it may be read");
    assert_eq!(ok(first), ReadResult::Data(Some("data".into()), stat));
    assert_eq!(ok(last).into_data(), Some(("data".into(), stat)));
    let mut names = ok(children).into_children().expect("these are names");
    names.sort();
    assert_eq!(names, ["empty", "null"]);
    assert!(matches!(ok(null), ReadResult::Data(None, _)));
    assert!(matches!(ok(empty), ReadResult::Data(Some(data), _) if data.is_empty()));
    assert_eq!(ok(none), ReadResult::Children(Vec::new()));
    assert_eq!((ok(none).into_data(), ok(first).into_children()), (None, None));
    for (result, code, op, path) in [
        (missing, ErrorCode::NoNode, OpCode::GetData, "/missing"),
        (closed, ErrorCode::NoAuth, OpCode::GetData, "/closed"),
        (closed_children, ErrorCode::NoAuth, OpCode::GetChildren, "/closed"),
    ] {
        let error = result.clone().expect_err("it must not be read");
        assert_eq!((error.code(), error.outcome()), (Some(code), Some(Outcome::NotApplied)));
        assert_eq!((error.operation(), error.path()), (Some(op), Some(path)));
    }
    assert!(ctx.ok("no reads", zk.multi_read().send()).await.is_empty());
}

pub async fn paths_of_reads_are_relative_to_the_chroot<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a tree", zk.ensure_path("/app/node/leaf")).await;
    let app = zk.with_chroot("/app").expect("a good path");
    let reads = app.multi_read().get_children("/").get_children("/node").get("/leaf").send();
    let results = ctx.ok("the reads", reads).await;
    let names: Vec<_> =
        results[..2].iter().map(|result| result.clone().expect("it is there")).collect();
    assert_eq!(names[0], ReadResult::Children(vec!["node".into()]));
    assert_eq!(names[1], ReadResult::Children(vec!["leaf".into()]));
    let error = results[2].clone().expect_err("it is not there");
    assert_eq!((error.code(), error.path()), (Some(ErrorCode::NoNode), Some("/leaf")));
}

pub async fn an_invalid_read_is_not_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    for path in ["", "no/slash", "/a/", "/a/../b"] {
        for reads in [zk.multi_read().get("/").get(path), zk.multi_read().get_children(path)] {
            let error = ctx.err("a bad path", reads.send()).await;
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
            assert_eq!(error.outcome(), Some(Outcome::NotSent), "{path:?}: {error}");
        }
    }
}
