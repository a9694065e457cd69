//! Transactions: they are applied as a whole or not at all, with one result per operation.

use std::time::Duration;

use zk_client::{
    CreateMode, CreateOptions, ErrorCode, ErrorKind, Handler, OperationResult, Outcome,
    TransactionResults,
};

use super::context::TestContext;

/// The error kinds of the operations.
fn kinds(results: &TransactionResults) -> Vec<ErrorKind> {
    results.iter().map(|result| result.as_ref().expect_err("all of them fail").kind()).collect()
}

pub async fn results_are_in_the_order_of_operations<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/old", b"", CreateMode::Persistent)).await;
    let results = zk
        .transaction()
        .check("/old", 0)
        .create("/a", b"data", CreateMode::Persistent)
        .create("/a/seq-", b"", CreateMode::EphemeralSequential)
        .create("/c", (), CreateOptions::container())
        .create("/t", b"", CreateOptions::ttl(Duration::from_secs(60)))
        .set("/a", b"more data", 0)
        .delete("/old", None)
        .commit();
    let results = ctx.ok("commit", results).await;
    assert_eq!(results.len(), 7);
    let results = results.committed().expect("it is committed");
    let OperationResult::Set(stat) = &results[5] else { panic!("{results:?}") };
    assert_eq!((stat.version, stat.data_length), (1, 9));
    let expected = [
        OperationResult::Checked,
        OperationResult::Created("/a".into()),
        OperationResult::Created("/a/seq-0000000000".into()),
        OperationResult::Created("/c".into()),
        OperationResult::Created("/t".into()),
        OperationResult::Set(*stat),
        OperationResult::Deleted,
    ];
    assert_eq!(results, expected);
    let mut children = ctx.ok("children", zk.get_children("/")).await;
    children.sort();
    assert_eq!(children, ["a", "c", "t"]);
    let zxids = ["/a", "/c", "/t"].map(|path| zk.exists(path));
    for zxid in zxids {
        let stat_of = ctx.ok("exists", zxid).await.expect("it is there");
        assert_eq!(stat_of.czxid, stat.mzxid, "one transaction is one zxid");
    }
}

pub async fn an_empty_transaction_commits<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let results = ctx.ok("commit", zk.transaction().commit()).await;
    assert_eq!(results.len(), 0);
    assert_eq!(results.committed().expect("it is committed"), []);
}

pub async fn a_failure_rolls_back_the_whole_transaction<H: Handler>(handler: H) {
    use ErrorCode::{BadVersion, NoNode, NodeExists, NotEmpty, RuntimeInconsistency};
    use ErrorKind::{RolledBack, Server};

    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a tree", zk.ensure_path("/tree/leaf")).await;
    let after = Server(RuntimeInconsistency);
    let begin = || zk.transaction().create("/new", b"", CreateMode::Persistent);
    let cases = [
        (begin().check("/tree", 7).delete("/tree/leaf", None), BadVersion),
        (begin().set("/missing", b"", None).delete("/tree/leaf", None), NoNode),
        (begin().delete("/tree", None).delete("/tree/leaf", None), NotEmpty),
        (
            begin().create("/tree", b"", CreateMode::Persistent).delete("/tree/leaf", None),
            NodeExists,
        ),
    ];
    for (transaction, code) in cases {
        let results = ctx.ok("commit", transaction.commit()).await;
        assert_eq!(kinds(&results), [RolledBack, Server(code), after]);
        let culprit = results.get(1).and_then(|result| result.as_ref().err()).cloned();
        let culprit = culprit.expect("it failed");
        assert_eq!((culprit.code(), culprit.outcome()), (Some(code), Some(Outcome::NotApplied)));
        assert!(culprit.to_string().contains(culprit.path().expect("it has one")), "{culprit}");
        let error = results.committed().expect_err("it is not committed");
        assert_eq!(error.to_string(), culprit.to_string());
    }
    let results = ctx.ok("commit", begin().delete("/missing", None).commit()).await;
    assert_eq!(kinds(&results), [RolledBack, Server(NoNode)]);
    let first = zk.transaction().check("/missing", 0).delete("/tree/leaf", None).commit();
    assert_eq!(kinds(&ctx.ok("commit", first).await), [Server(NoNode), after]);
    assert_eq!(ctx.ok("exists", zk.exists("/new")).await, None);
    assert!(ctx.ok("exists", zk.exists("/tree/leaf")).await.is_some());
}

pub async fn paths_are_relative_to_the_chroot<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    ctx.ok("a node", zk.create("/app", b"", CreateMode::Persistent)).await;
    let app = zk.with_chroot("/app").expect("a good path");
    let results = app
        .transaction()
        .check("/", 0)
        .create("/a", b"", CreateMode::Persistent)
        .create("/a/s", b"", CreateMode::PersistentSequential)
        .commit();
    let results = ctx.ok("commit", results).await.committed().expect("it is committed");
    assert_eq!(results[1], OperationResult::Created("/a".into()));
    assert_eq!(results[2], OperationResult::Created("/a/s0000000000".into()));
    assert!(ctx.ok("exists", zk.exists("/app/a/s0000000000")).await.is_some());
    let results = ctx.ok("commit", app.transaction().delete("/missing", None).commit()).await;
    let error = results.committed().expect_err("it is not committed");
    assert_eq!((error.path(), error.code()), (Some("/missing"), Some(ErrorCode::NoNode)));
}

pub async fn invalid_operations_fail_before_anything_is_sent<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let makepath = CreateOptions::persistent().makepath();
    let begin = || zk.transaction().create("/first", b"", CreateMode::Persistent);
    let cases = [
        begin().create("/a/b", b"", makepath).commit(),
        begin().create("/t", b"", CreateMode::PersistentWithTtl(Duration::ZERO)).commit(),
        begin().delete("no/slash", None).commit(),
        begin().check("/a/../b", 0).commit(),
    ];
    for commit in cases {
        let error = ctx.err("commit", commit).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidInput, Some(Outcome::NotSent))
        );
    }
    drop(begin());
    assert!(ctx.ok("children", zk.get_children("/")).await.is_empty());
}

pub async fn watches_fire_for_each_operation<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (zk, other) = (ctx.client().await, ctx.client().await);
    ctx.ok("a node", zk.create("/old", b"", CreateMode::Persistent)).await;
    let (_, created) = ctx.ok("a watch", zk.exists_and_watch("/new")).await;
    let (_, _, deleted) = ctx.ok("a watch", zk.get_and_watch("/old")).await;
    let (_, _, children) = ctx.ok("a watch", zk.get_children_and_watch("/")).await;
    let commit = other
        .transaction()
        .create("/new", b"", CreateMode::Persistent)
        .delete("/old", None)
        .commit();
    ctx.ok("commit", commit).await.committed().expect("it is committed");
    assert_eq!(ctx.ok("the creation", created).await.path, "/new");
    assert_eq!(ctx.ok("the deletion", deleted).await.path, "/old");
    assert_eq!(ctx.ok("the children", children).await.path, "/");
}
