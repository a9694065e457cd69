//! Lost connections and misbehaving servers, and the errors that callers get.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use zk_client::{Client, CreateMode, Error, ErrorKind, Handler, OpCode, Outcome, SessionState};

use super::{
    context::TestContext,
    proxy_filters::{EXISTS, SET_DATA, int},
    shared_server::{client_builder, new_proxy, scripted_server, shared_server},
};
use crate::{Direction, FrameAction, ResolverHandler, ScriptedServer, lock, tasks::with_timeout};

#[track_caller]
fn assert_lost(error: &Error, outcome: Outcome, cause: &str) {
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(outcome)),
        "{error}"
    );
    assert!(error.to_string().contains(cause), "no {cause} in: {error}");
}

/// The data version of `path`.
async fn version<H: Handler>(ctx: &TestContext<H>, zk: &Client, path: &str) -> i32 {
    ctx.ok("exists", zk.exists(path)).await.expect("it is there").version
}

/// A filter that applies `action` to the first frame that has the integer `code` at offset `at`, and a count
/// of such frames.
fn on_first(
    code: i32,
    at: usize,
    action: FrameAction,
) -> (Arc<AtomicUsize>, impl FnMut(&[u8]) -> FrameAction + Send + 'static) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let filter = move |frame: &[u8]| {
        // The handshake has no opcode.
        if int(frame, 0) != 0
            && int(frame, at) == code
            && count.fetch_add(1, Ordering::Relaxed) == 0
        {
            return action;
        }
        FrameAction::Pass
    };
    (seen, filter)
}

pub async fn a_lost_reply_leaves_the_outcome_unknown<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let session = zk.session_id();
    let (sent, pass) = on_first(SET_DATA, 4, FrameAction::Pass);
    proxy.on_frame(Direction::ToServer, pass);
    // The next reply is that of the write. It is applied, but its reply is lost.
    proxy.on_frame(Direction::ToClient, {
        let mut first = true;
        move |frame| {
            let is_reply = int(frame, 0) > 0 && frame.len() > 16;
            let cut = is_reply && std::mem::replace(&mut first, false);
            if cut { FrameAction::Cut } else { FrameAction::Pass }
        }
    });
    let set = zk.set("/node", b"once", None);
    let error = ctx.err("a write without an answer", set).await;
    assert_lost(&error, Outcome::Unknown, "connection loss");
    assert_eq!((error.operation(), error.path()), (Some(OpCode::SetData), Some("/node")));
    assert_eq!(error.host().map(ToString::to_string), Some(proxy.address().to_string()));
    assert!(!error.is_retryable() && error.to_string().contains("outcome unknown"), "{error}");
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(version(&ctx, &zk, "/node").await, 1);
    assert_eq!((sent.load(Ordering::Relaxed), zk.session_id()), (1, session));
}

pub async fn a_lost_request_leaves_the_outcome_unknown<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (sent, cut) = on_first(SET_DATA, 4, FrameAction::Cut);
    proxy.on_frame(Direction::ToServer, cut);
    let error = ctx.err("a write that is lost", zk.set("/node", b"never", None)).await;
    assert_lost(&error, Outcome::Unknown, "connection loss");
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(version(&ctx, &zk, "/node").await, 0);
    assert_eq!(sent.load(Ordering::Relaxed), 1);
    assert_eq!(ctx.ok("set", zk.set("/node", b"again", 0)).await.version, 1);
}

pub async fn no_write_is_applied_twice<H: Handler>(handler: H) {
    const WRITES: usize = 400;

    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    ctx.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let cutter = async {
        for _ in 0..8 {
            let accepted = proxy.accepted();
            proxy.cut_rst();
            ctx.wait_until("to connect again", || proxy.accepted() > accepted && zk.connected())
                .await;
            ctx.ok("a call in between", zk.exists("/")).await;
        }
    };
    let writer = {
        let (zk, handler) = (zk.clone(), ctx.handler.clone());
        crate::tasks::spawn(&ctx.handler, async move {
            let (mut done, mut unknown) = (0, 0);
            for n in 0..WRITES {
                // Several calls at once, and a pause now and then so that the connection can be cut in
                // between.
                let calls: Vec<_> = (0..4).map(|_| zk.set("/node", b"", None)).collect();
                for call in calls {
                    match call.await.map_err(|error| error.outcome()) {
                        Ok(_) => done += 1,
                        Err(Some(Outcome::Unknown)) => unknown += 1,
                        Err(Some(Outcome::NotSent)) => {}
                        Err(outcome) => panic!("the server has refused: {outcome:?}"),
                    }
                }
                if n % 16 == 0 {
                    handler.sleep_until(handler.now() + Duration::from_millis(5)).await;
                }
            }
            (done, unknown)
        })
    };
    cutter.await;
    let (done, unknown) = ctx.within("the writer", writer).await;
    let version = version(&ctx, &zk, "/node").await;
    assert!(
        (done..=done + unknown).contains(&version),
        "{done} done, {unknown} unknown, {version} in truth"
    );
}

pub async fn calls_made_while_suspended_are_sent_in_order_after_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let session = zk.session_id();
    ctx.cut_off(&zk, &proxy).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let creates: Vec<_> = (0..50)
        .map(|n| {
            let create = zk.create("/n-", format!("{n}"), CreateMode::PersistentSequential);
            let order = order.clone();
            create.on_complete(move |_| lock(&order).push(n));
            create
        })
        .collect();
    let (exists, watch) = (zk.exists_and_watch("/later"), zk.get_children("/"));
    ctx.short_wait().await;
    assert!(creates.iter().all(|create| !create.ready()));
    let refused = proxy.accepted();
    ctx.wait_until("another attempt", || proxy.accepted() > refused).await;
    proxy.refuse(false);
    for (n, create) in creates.into_iter().enumerate() {
        assert_eq!(ctx.ok("a queued call", create).await, *format!("/n-{n:010}"));
    }
    assert_eq!(ctx.ok("children", watch).await.len(), 50);
    let (_, watch) = ctx.ok("a queued watch", exists).await;
    ctx.ok("create", zk.create("/later", b"", CreateMode::Persistent)).await;
    ctx.ok("the watch", watch).await;
    ctx.wait_until("all callbacks", || lock(&order).len() == 50).await;
    assert_eq!(*lock(&order), (0..50).collect::<Vec<_>>());
    assert_eq!(zk.session_id(), session);
}

pub async fn a_reply_with_the_wrong_xid_forces_a_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    let session = zk.session_id();
    // The reply to the first call is dropped, so that the next reply is out of order.
    let mut first = true;
    proxy.on_frame(Direction::ToClient, move |frame| {
        let swallow = int(frame, 0) > 0 && std::mem::replace(&mut first, false);
        if swallow { FrameAction::Drop } else { FrameAction::Pass }
    });
    let calls = [zk.exists("/a"), zk.exists("/b")];
    for call in calls {
        let error = ctx.err("a call out of turn", call).await;
        assert_lost(&error, Outcome::Unknown, "out of turn");
    }
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    ctx.ok("a call later", zk.exists("/")).await;
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
}

pub async fn a_connection_cut_inside_a_frame_is_replaced<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let mut states = zk.states();
    let session = zk.session_id();
    // In the length, the header and the body.
    for bytes in [1, 4, 7, 20, 21, 60] {
        proxy.drop_after(Direction::ToClient, bytes);
        let error = ctx.err("a call cut in its reply", zk.exists("/")).await;
        assert_lost(&error, Outcome::Unknown, "closed by the server");
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        ctx.ok("a call later", zk.exists("/")).await;
    }
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
}

pub async fn a_handshake_cut_anywhere_is_retried<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (proxy, zk) = ctx.client_via_proxy().await;
    let session = zk.session_id();
    for bytes in [0, 3, 4, 20, 40] {
        ctx.cut_off(&zk, &proxy).await;
        proxy.drop_after(Direction::ToClient, bytes);
        proxy.refuse(false);
        ctx.ok("a queued call", zk.exists("/")).await;
    }
    assert_eq!(zk.session_id(), session);
}

/// A session with a scripted server that replies to each `exists` of the first connection with `answer`.
async fn scripted_session<H: Handler>(
    ctx: &TestContext<H>,
    answer: impl Fn(&mut crate::ScriptedConnection, i32) -> std::io::Result<()> + Send + Sync + 'static,
) -> (ScriptedServer, Client) {
    let server = scripted_server(move |number, client| {
        client.handshake(0x77)?;
        loop {
            let request = client.request()?;
            match request.opcode {
                EXISTS if number == 0 => answer(client, request.xid)?,
                EXISTS => client.reply(request.xid, -101, &[])?,
                -11 => return client.reply(request.xid, 0, &[]),
                opcode => panic!("an operation {opcode}"),
            }
        }
    });
    // Without a chroot, because the client would check that it exists.
    let hosts = server.address().to_string();
    let zk = ctx.connect(ctx.builder_at(server.address()).hosts(hosts)).await;
    (server, zk)
}

pub async fn an_undecodable_reply_fails_only_its_call<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    for length in [0, 67] {
        let (_server, zk) = scripted_session(&ctx, move |client, xid| match xid {
            1 => client.reply(xid, 0, &vec![0; length]),
            // One byte longer than the record.
            _ => client.reply(xid, 0, &[0; 69]),
        })
        .await;
        let mut states = zk.states();
        let (first, second) = (zk.exists("/a"), zk.exists("/b"));
        let error = ctx.err("a call", first).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidReply, Some(Outcome::Applied))
        );
        assert!(error.to_string().contains("invalid reply"), "{error}");
        assert_eq!(error.path(), Some("/a"));
        assert!(ctx.ok("the call after it", second).await.is_some());
        assert_eq!((zk.session_id().map(|id| id.0), states.try_next()), (Some(0x77), None));
        ctx.ok("to stop", zk.stop()).await;
    }
}

pub async fn bytes_that_are_not_packets_force_a_reconnect<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let garbage: [&[u8]; 6] = [
        &(-1_i32).to_be_bytes(),
        &i32::MAX.to_be_bytes(),
        &0_i32.to_be_bytes(),
        // Replies to a ping, an auth and a setWatches that were never sent.
        &[&[0, 0, 0, 16][..], &(-2_i32).to_be_bytes(), &[0; 12]].concat(),
        &[&[0, 0, 0, 16][..], &(-4_i32).to_be_bytes(), &[0; 12]].concat(),
        &[&[0, 0, 0, 16][..], &(-8_i32).to_be_bytes(), &[0; 12]].concat(),
    ];
    for garbage in garbage.map(<[u8]>::to_vec) {
        let bytes = garbage.clone();
        let (_server, zk) = scripted_session(&ctx, move |client, _| {
            client.send_bytes(&bytes)?;
            client.drain()
        })
        .await;
        let mut states = zk.states();
        let error = ctx.err("a call", zk.exists("/a")).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionLoss, "{garbage:?}: {error}");
        assert_eq!(error.outcome(), Some(Outcome::Unknown), "{garbage:?}: {error}");
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(ctx.ok("a call later", zk.exists("/b")).await, None);
        ctx.ok("to stop", zk.stop()).await;
    }
}

pub async fn a_packet_that_never_ends_times_out<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let timeout = Duration::from_millis(1500);
    // The packet stops short of its length, or it continues byte by byte.
    for goes_on in [false, true] {
        let server = scripted_server(move |number, client| {
            client.handshake(0x77)?;
            let xid = client.request()?.xid;
            if number > 0 {
                return client.reply(xid, -101, &[]).and_then(|()| client.drain());
            }
            client.send_bytes(&(1_i32 << 20).to_be_bytes())?;
            client.send_bytes(&[xid.to_be_bytes().as_slice(), &[0; 80]].concat())?;
            if !goes_on {
                return client.drain();
            }
            loop {
                client.send_bytes(&[0])?;
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let builder = ctx.builder_at(server.address()).session_timeout(timeout);
        let zk = ctx.connect(builder).await;
        let mut states = zk.states();
        let begun = std::time::Instant::now();
        let error = ctx.err("a call", zk.exists("/a")).await;
        assert_lost(&error, Outcome::Unknown, "no answer for");
        assert!(error.to_string().contains("bytes of a packet are missing"), "{error}");
        assert!(begun.elapsed() >= timeout / 3, "{:?}", begun.elapsed());
        ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(ctx.ok("a call later", zk.exists("/b")).await, None);
        drop(zk);
    }
}

pub async fn unknown_events_and_errors_are_harmless<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let (_server, zk) = scripted_session(&ctx, |client, xid| {
        // An event of an unknown kind, in an unknown state, for a path that nobody watches.
        let mut event = (-1_i32).to_be_bytes().to_vec();
        event.extend((-1_i64).to_be_bytes());
        event.extend(0_i32.to_be_bytes());
        event.extend(99_i32.to_be_bytes());
        event.extend(88_i32.to_be_bytes());
        event.extend(2_i32.to_be_bytes());
        event.extend(b"/a");
        client.send(&event)?;
        client.reply(xid, -31_337, &[])
    })
    .await;
    let mut states = zk.states();
    let error = ctx.err("a call", zk.exists("/a")).await;
    assert!(matches!(error.kind(), ErrorKind::Server(code) if code.code() == -31_337), "{error}");
    assert!(error.to_string().contains("-31337"), "{error}");
    assert_eq!((error.outcome(), states.try_next()), (Some(Outcome::NotApplied), None));
}

pub async fn a_session_resumed_with_another_id_is_expired<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let server = scripted_server(|number, client| {
        client.handshake(if number == 0 { 0x77 } else { 0x78 })?;
        loop {
            let request = client.request()?;
            match (number, request.opcode) {
                // A set closes the first connection.
                (0, SET_DATA) => return Ok(()),
                (_, EXISTS) => client.reply(request.xid, -101, &[])?,
                (_, -11) => return client.reply(request.xid, 0, &[]),
                (_, opcode) => panic!("an operation {opcode}"),
            }
        }
    });
    let zk = ctx.connect(client_builder().hosts(server.address().to_string())).await;
    let mut states = zk.states();
    let (_, watch) = ctx.ok("a watch", zk.exists_and_watch("/node")).await;
    ctx.err("the end of the connection", zk.set("/node", b"", None)).await;
    ctx.expect_states(
        &mut states,
        &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
    )
    .await;
    assert_eq!(ctx.err("the watch", watch).await.kind(), ErrorKind::SessionExpired);
    assert_eq!(zk.session_id().map(|id| id.0), Some(0x78));
    ctx.ok("to stop", zk.stop()).await;
}

pub async fn reconnects_to_servers_that_close_after_one_reply_are_limited<H: Handler>(handler: H) {
    const TIME: Duration = Duration::from_secs(3);

    let ctx = TestContext::new(handler);
    let connects = Arc::new(AtomicUsize::new(0));
    let servers = [(); 3].map(|()| {
        let connects = connects.clone();
        scripted_server(move |_, client| {
            connects.fetch_add(1, Ordering::Relaxed);
            client.handshake(0x77)?;
            let xid = client.request()?.xid;
            client.reply(xid, -101, &[])
        })
    });
    let hosts: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    let zk = ctx.connect(client_builder().hosts(hosts.join(","))).await;
    let end = ctx.handler.now() + TIME;
    let mut answers = 0;
    while ctx.handler.now() < end {
        let call = zk.exists("/");
        answers += usize::from(
            with_timeout(&ctx.handler, TIME, call).await.is_some_and(|end| end.is_ok()),
        );
    }
    let connects = connects.load(Ordering::Relaxed);
    // A round of three at once and after 50, 150, 350, 750, 1550 and 3150 ms at the earliest.
    assert!(connects <= 3 * 7, "{connects} connects in {TIME:?}");
    assert!(answers > 3, "{answers} answers");
}

pub async fn bytes_can_arrive_one_by_one<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    proxy.trickle(true);
    let zk = ctx.connect(ctx.builder_at(proxy.address())).await;
    let data = vec![b'x'; 2_000];
    let calls: Vec<_> =
        (0..20).map(|n| zk.create(format!("/n{n}"), &data, CreateMode::Persistent)).collect();
    for call in calls {
        ctx.ok("create", call).await;
    }
    let (read, _, watch) = ctx.ok("get", zk.get_and_watch("/n7")).await;
    assert!(read == data);
    ctx.ok("set", zk.set("/n7", b"", None)).await;
    ctx.ok("the watch", watch).await;
    ctx.ok("to stop", zk.stop()).await;
}

pub async fn calls_are_pipelined_over_a_slow_network<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    proxy.delay(Duration::from_millis(100));
    let zk = ctx.connect(ctx.builder_at(proxy.address())).await;
    let begun = std::time::Instant::now();
    let calls: Vec<_> =
        (0..200).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    for call in calls {
        ctx.ok("create", call).await;
    }
    // In sequence they would take 40 s.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

pub async fn dead_and_silent_hosts_are_skipped<H: Handler>(handler: H) {
    let ctx = TestContext::new(handler);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let silent = (silent.local_addr().expect("it is bound"), silent);
    let proxy = new_proxy();
    let hosts = format!("127.0.0.1:1,no-such-host.invalid,{},{}", silent.0, proxy.address());
    let builder = ctx.builder_at(hosts).randomize_hosts(false);
    let zk = ctx.connect(builder.session_timeout(Duration::from_secs(2))).await;
    assert_eq!(zk.host(), Some(proxy.address().to_string()));
    // The same after a connection loss, within the session timeout.
    let session = zk.session_id();
    let mut states = zk.states();
    proxy.cut_rst();
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(zk.host(), Some(proxy.address().to_string()));
    if states.try_next().is_none() {
        assert_eq!(zk.session_id(), session);
    }
}

pub async fn a_hanging_name_lookup_times_out_and_is_skipped<H: Handler>(handler: H) {
    // A lookup of "hangs" blocks until the test ends.
    let (over, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let address = shared_server().client_address();
    let ctx = TestContext::new(ResolverHandler::new(handler, move |name| {
        if name == "hangs" {
            let _ = lock(&gate).recv();
        }
        Ok(vec![address])
    }));
    let builder = |hosts: String| {
        let builder = ctx.builder_at(hosts).randomize_hosts(false);
        builder.session_timeout(Duration::from_secs(2)).connect_timeout(Duration::from_secs(5))
    };
    let port = address.port();
    let zk = ctx.connect(builder(format!("hangs:{port},localhost:{port}"))).await;
    assert_eq!(zk.host(), Some(format!("localhost:{port}")));
    let hopeless = builder(format!("hangs:{port}")).connect_on(ctx.handler.clone());
    let error = ctx.err("to connect", hopeless).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("timed out resolving hangs"), "{error}");
    drop(over);
}
