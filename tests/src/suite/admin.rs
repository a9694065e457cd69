//! The calls that are about the servers and about the session itself.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use zk_client::{
    Client, Error, ErrorCode, ErrorKind, Handler, OpCode, Outcome, Reconfig, ServerMode,
    SessionState,
};
use zk_server::Version;

use super::{
    context::{LIMIT, TestContext},
    shared_server::shared_server,
};
use crate::{ScriptedServer, minimal_client, tasks::spawn_blocking};

const UNIMPLEMENTED: i32 = -6;
const WHO_AM_I: i32 = 107;

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

pub async fn a_server_says_its_version_mode_and_load<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    let version = match shared_server().version() {
        Version::V3_8 => [3, 8, 0],
        _ => [3, 9, 5],
    };
    assert_eq!(ctx.ok("version", zk.server_version()).await, version);
    assert_eq!(ctx.ok("mode", zk.server_mode()).await, ServerMode::Standalone);
    let stats = ctx.ok("stats", zk.server_stats()).await;
    assert_eq!((stats.version, stats.mode), (version, ServerMode::Standalone));
    assert!(stats.connections > 0 && stats.node_count > 2 && stats.received > 0, "{stats:?}");
    assert!(stats.zxid > 0 && stats.min_latency <= stats.max_latency, "{stats:?}");
    assert!(stats.build.starts_with("3."), "{stats:?}");

    let metrics = ctx.ok("metrics", zk.server_metrics()).await;
    assert_eq!(metrics["zk_server_state"], "standalone");
    assert!(metrics["zk_znode_count"].parse::<u64>().is_ok_and(|count| count > 2), "{metrics:?}");
    let settings = ctx.ok("settings", zk.server_settings()).await;
    assert!(settings["minSessionTimeout"].parse::<u64>().is_ok_and(|ms| ms > 0), "{settings:?}");
}

pub async fn any_server_can_be_asked<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    // A client that was never started, of another server.
    let zk = ctx.build(ctx.builder_at("127.0.0.1:1"));
    let host = shared_server().hosts();
    assert_eq!(ctx.ok("ruok", zk.four_letter_word_of(&host, "ruok")).await, "imok");
    let stats = ctx.ok("stats", zk.server_stats_of(&host)).await;
    assert_eq!(stats.mode, ServerMode::Standalone);
    let metrics = ctx.ok("metrics", zk.server_metrics_of(&host)).await;
    assert!(metrics["zk_version"].starts_with(&stats.build[..5]), "{metrics:?}");
    let settings = ctx.ok("settings", zk.server_settings_of(&host)).await;
    assert!(settings.contains_key("tickTime"), "{settings:?}");

    let error = ctx.err("no connection", zk.server_stats()).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed, "{error}");
    let error = ctx.err("nobody there", zk.server_stats_of("127.0.0.1:1")).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::ConnectionLoss, None), "{error}");
    assert_eq!(error.host().map(ToString::to_string).as_deref(), Some("127.0.0.1:1"));
    for host in ["", "host:port", "a:1/chroot"] {
        let error = ctx.err("no host", zk.server_stats_of(host)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// Answers one four-letter word with `answer`.
fn answer_once(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 4])?;
        stream.write_all(answer.as_bytes())
    });
    address
}

pub async fn refusals_of_four_letter_words_are_told_apart<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.build(ctx.builder());
    for (answer, kind, text) in [
        (
            "srvr is not executed because it is not in the whitelist.\n",
            ErrorKind::NotWhitelisted,
            "4lw.commands.whitelist",
        ),
        (
            "This ZooKeeper instance is not currently serving requests\n",
            ErrorKind::NotServing,
            "not serving",
        ),
        ("", ErrorKind::InvalidReply, "no answer"),
        ("HTTP/1.1 400 Bad Request\n", ErrorKind::InvalidReply, "not valid"),
    ] {
        let host = answer_once(answer).to_string();
        let error = ctx.err("a refusal", zk.server_stats_of(&host)).await;
        assert_eq!((error.kind(), error.outcome()), (kind, None), "{error}");
        for word in ["srvr", &host, text] {
            assert!(error.to_string().contains(word), "no {word} in: {error}");
        }
    }
    let host = answer_once("srvr is not executed because it is not in the whitelist.");
    let error = ctx.err("a refusal", zk.four_letter_word_of(host.to_string(), "srvr")).await;
    assert_eq!(error.kind(), ErrorKind::NotWhitelisted, "{error}");
}

pub async fn the_configuration_of_a_standalone_server_has_no_members<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let zk = ctx.client().await;
    // The node is outside of the chroot.
    assert!(!zk.chroot().is_root());
    let (config, stat) = ctx.ok("get_config", zk.get_config()).await;
    assert_eq!((config.members.len(), config.connect_string().len()), (0, 0), "{config}");
    let (same, same_stat, watch) = ctx.ok("get_config", zk.get_config_and_watch()).await;
    assert_eq!((same, same_stat), (config, stat));
    drop(watch);

    for change in [Reconfig::default().leaving("1"), Reconfig::default().new_members("")] {
        let error = ctx.err("reconfig", zk.reconfig(&change)).await;
        assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error}");
        assert_eq!(error.outcome(), Some(Outcome::NotApplied), "{error}");
        assert!(error.to_string().contains("standalone"), "{error}");
    }
    ctx.ok("the session goes on", zk.exists("/")).await;
}

/// A server without whoAmI: it answers an operation that it does not know, and closes the connection.
fn old_server() -> ScriptedServer {
    ScriptedServer::new(|_, connection| {
        connection.handshake(7)?;
        loop {
            let request = connection.request()?;
            match request.opcode {
                WHO_AM_I => {
                    connection.reply(request.xid, UNIMPLEMENTED, &[])?;
                    return Ok(());
                }
                _ => connection.reply(request.xid, -101, &[])?,
            }
        }
    })
}

pub async fn an_operation_that_a_server_does_not_know_fails_alone<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let server = old_server();
    let zk = ctx.connect(ctx.builder_at(server.address())).await;
    let mut states = zk.states();
    let session = zk.session_id();
    let error: Error = ctx.err("who_am_i", zk.who_am_i()).await;
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::NotApplied), "{error}");
    assert_eq!(error.operation(), Some(OpCode::WhoAmI));
    assert!(error.to_string().contains("whoAmI, which exists since ZooKeeper 3.7.0"), "{error}");
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(zk.session_id(), session);
    assert_eq!(ctx.ok("a call later", zk.exists("/")).await, None);
    assert_eq!(states.try_next(), None);
    leave(&zk);
}

pub async fn servers_answer_an_unknown_operation_and_close_the_connection<H: Handler>(_: H) {
    const NO_OPERATION: i32 = 999;

    spawn_blocking(|| {
        let server = shared_server().address();
        let mut session = minimal_client::Session::open(server, LIMIT).expect("it serves");
        let reply = session.request(NO_OPERATION, &[]).expect("it answers");
        assert_eq!((reply.error, reply.body.len()), (UNIMPLEMENTED, 0));
        session.request(WHO_AM_I, &[]).expect_err("the connection is closed");
        let resumed = minimal_client::Session::resume(server, session.id(), session.password());
        let resumed = resumed.expect("it serves").expect("the session goes on");
        resumed.close().expect("it answers");
    })
    .await;
}

/// The scripted server does not close sessions.
fn leave(zk: &Client) {
    drop(zk.stop());
}
