//! The calls that are about the servers and about the session itself.

use zk_client::Handler;

use super::context::TestContext;

pub async fn a_session_learns_who_it_is<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let who = async || {
        let identities = ctx.ok("who_am_i", zk.who_am_i()).await;
        let mut who: Vec<_> =
            identities.iter().map(|it| format!("{}:{}", it.auth_scheme, it.user)).collect();
        who.sort();
        who
    };
    assert_eq!(who().await, ["ip:127.0.0.1"]);
    ctx.ok("add_auth", zk.add_auth("digest", "ann:a secret")).await;
    ctx.ok("add_auth", zk.add_auth("digest", "bob:another")).await;
    assert_eq!(who().await, ["digest:ann", "digest:bob", "ip:127.0.0.1"]);
}
