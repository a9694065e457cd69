//! Connections that are lost, servers that make no sense, and what callers are told.

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
    contest::{EXISTS, SET_DATA, int},
    site::{Site, proxy, race, shared},
};
use crate::{Direction, Fake, Named, Verdict, lock};

#[track_caller]
fn assert_lost(error: &Error, outcome: Outcome, cause: &str) {
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Some(outcome)),
        "{error}"
    );
    assert!(error.to_string().contains(cause), "no {cause} in: {error}");
}

/// How often the data of `path` were set.
async fn version<H: Handler>(site: &Site<H>, zk: &Client, path: &str) -> i32 {
    site.ok("exists", zk.exists(path)).await.expect("it is there").version
}

/// Acts on the first frame whose int at `at` is `code` by `verdict`, and counts such frames.
fn on_first(
    code: i32,
    at: usize,
    verdict: Verdict,
) -> (Arc<AtomicUsize>, impl FnMut(&[u8]) -> Verdict + Send + 'static) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let filter = move |frame: &[u8]| {
        // The handshake has no opcode.
        if int(frame, 0) != 0
            && int(frame, at) == code
            && count.fetch_add(1, Ordering::Relaxed) == 0
        {
            return verdict;
        }
        Verdict::Pass
    };
    (seen, filter)
}

pub async fn a_reply_that_is_lost_leaves_the_outcome_unknown<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let session = zk.session_id();
    let (sent, pass) = on_first(SET_DATA, 4, Verdict::Pass);
    proxy.on_frame(Direction::ToServer, pass);
    // The next reply is that to the write: it is done, and nobody hears of it.
    proxy.on_frame(Direction::ToClient, {
        let mut first = true;
        move |frame| {
            let is_reply = int(frame, 0) > 0 && frame.len() > 16;
            let cut = is_reply && std::mem::replace(&mut first, false);
            if cut { Verdict::Cut } else { Verdict::Pass }
        }
    });
    let set = zk.set("/node", b"once", None);
    let error = site.err("a write without an answer", set).await;
    assert_lost(&error, Outcome::Unknown, "connection loss");
    assert_eq!((error.operation(), error.path()), (Some(OpCode::SetData), Some("/node")));
    assert_eq!(error.host().map(ToString::to_string), Some(proxy.address().to_string()));
    assert!(!error.is_retryable() && error.to_string().contains("outcome unknown"), "{error}");
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(version(&site, &zk, "/node").await, 1);
    assert_eq!((sent.load(Ordering::Relaxed), zk.session_id()), (1, session));
}

pub async fn a_request_that_is_lost_leaves_the_outcome_unknown<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let (sent, cut) = on_first(SET_DATA, 4, Verdict::Cut);
    proxy.on_frame(Direction::ToServer, cut);
    let error = site.err("a write that is lost", zk.set("/node", b"never", None)).await;
    assert_lost(&error, Outcome::Unknown, "connection loss");
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(version(&site, &zk, "/node").await, 0);
    assert_eq!(sent.load(Ordering::Relaxed), 1);
    assert_eq!(site.ok("set", zk.set("/node", b"again", 0)).await.version, 1);
}

pub async fn nothing_is_ever_done_twice<H: Handler>(handler: H) {
    const WRITES: usize = 400;

    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    site.ok("a node", zk.create("/node", b"", CreateMode::Persistent)).await;
    let cutter = async {
        for _ in 0..8 {
            let accepted = proxy.accepted();
            proxy.cut_rst();
            site.when("to connect again", || proxy.accepted() > accepted && zk.connected()).await;
            site.ok("a call in between", zk.exists("/")).await;
        }
    };
    let writer = {
        let (zk, handler) = (zk.clone(), site.handler.clone());
        super::site::spawned(&site.handler, async move {
            let (mut done, mut unknown) = (0, 0);
            for n in 0..WRITES {
                // Many at once, and now and then a pause to let the connection be cut in between.
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
    let (done, unknown) = site.within("the writer", writer).await;
    let version = version(&site, &zk, "/node").await;
    assert!(
        (done..=done + unknown).contains(&version),
        "{done} done, {unknown} unknown, {version} in truth"
    );
}

pub async fn calls_made_while_suspended_are_sent_in_order_after_it<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let session = zk.session_id();
    site.cut_off(&zk, &proxy).await;
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
    site.moment().await;
    assert!(creates.iter().all(|create| !create.ready()));
    let refused = proxy.accepted();
    site.when("another attempt", || proxy.accepted() > refused).await;
    proxy.refuse(false);
    for (n, create) in creates.into_iter().enumerate() {
        assert_eq!(site.ok("a queued call", create).await, *format!("/n-{n:010}"));
    }
    assert_eq!(site.ok("children", watch).await.len(), 50);
    let (_, watch) = site.ok("a queued watch", exists).await;
    site.ok("create", zk.create("/later", b"", CreateMode::Persistent)).await;
    site.ok("the watch", watch).await;
    site.when("all callbacks", || lock(&order).len() == 50).await;
    assert_eq!(*lock(&order), (0..50).collect::<Vec<_>>());
    assert_eq!(zk.session_id(), session);
}

pub async fn a_reply_with_the_wrong_xid_remakes_the_connection<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    let session = zk.session_id();
    // Without its reply, the next one comes out of turn.
    let mut first = true;
    proxy.on_frame(Direction::ToClient, move |frame| {
        let swallow = int(frame, 0) > 0 && std::mem::replace(&mut first, false);
        if swallow { Verdict::Drop } else { Verdict::Pass }
    });
    let calls = [zk.exists("/a"), zk.exists("/b")];
    for call in calls {
        let error = site.err("a call out of turn", call).await;
        assert_lost(&error, Outcome::Unknown, "out of turn");
    }
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    site.ok("a call later", zk.exists("/")).await;
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
}

pub async fn a_connection_cut_inside_a_frame_is_remade<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let mut states = zk.states();
    let session = zk.session_id();
    // In the length, the header and the body.
    for bytes in [1, 4, 7, 20, 21, 60] {
        proxy.drop_after(Direction::ToClient, bytes);
        let error = site.err("a call cut in its reply", zk.exists("/")).await;
        assert_lost(&error, Outcome::Unknown, "closed by the server");
        site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        site.ok("a call later", zk.exists("/")).await;
    }
    assert_eq!((zk.session_id(), states.try_next()), (session, None));
}

pub async fn a_handshake_cut_anywhere_is_tried_again<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (proxy, zk) = site.proxied().await;
    let session = zk.session_id();
    for bytes in [0, 3, 4, 20, 40] {
        site.cut_off(&zk, &proxy).await;
        proxy.drop_after(Direction::ToClient, bytes);
        proxy.refuse(false);
        site.ok("a queued call", zk.exists("/")).await;
    }
    assert_eq!(zk.session_id(), session);
}

/// A session with a fake server that answers each `exists` of the first connection by `answer`.
async fn faked<H: Handler>(
    site: &Site<H>,
    answer: impl Fn(&mut crate::Conversation, i32) -> std::io::Result<()> + Send + Sync + 'static,
) -> (Fake, Client) {
    let fake = Fake::new(move |number, client| {
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
    // Without a chroot, for which the client would look.
    let hosts = fake.address().to_string();
    let zk = site.connect(site.builder_at(fake.address()).hosts(hosts)).await;
    (fake, zk)
}

pub async fn a_body_that_cannot_be_decoded_fails_its_call_alone<H: Handler>(handler: H) {
    let site = Site::new(handler);
    for length in [0, 67] {
        let (_fake, zk) = faked(&site, move |client, xid| match xid {
            1 => client.reply(xid, 0, &vec![0; length]),
            // Longer than it has to be.
            _ => client.reply(xid, 0, &[0; 69]),
        })
        .await;
        let mut states = zk.states();
        let (first, second) = (zk.exists("/a"), zk.exists("/b"));
        let error = site.err("a call", first).await;
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidReply, Some(Outcome::Applied))
        );
        assert!(error.to_string().contains("undecodable reply"), "{error}");
        assert_eq!(error.path(), Some("/a"));
        assert!(site.ok("the call after it", second).await.is_some());
        assert_eq!((zk.session_id().map(|id| id.0), states.try_next()), (Some(0x77), None));
        site.ok("to stop", zk.stop()).await;
    }
}

pub async fn bytes_that_are_no_packets_remake_the_connection<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let garbage: [&[u8]; 6] = [
        &(-1_i32).to_be_bytes(),
        &i32::MAX.to_be_bytes(),
        &0_i32.to_be_bytes(),
        // A ping, an auth and a setWatches that nobody has sent.
        &[&[0, 0, 0, 16][..], &(-2_i32).to_be_bytes(), &[0; 12]].concat(),
        &[&[0, 0, 0, 16][..], &(-4_i32).to_be_bytes(), &[0; 12]].concat(),
        &[&[0, 0, 0, 16][..], &(-8_i32).to_be_bytes(), &[0; 12]].concat(),
    ];
    for garbage in garbage.map(<[u8]>::to_vec) {
        let bytes = garbage.clone();
        let (_fake, zk) = faked(&site, move |client, _| {
            client.send_bytes(&bytes)?;
            client.drain()
        })
        .await;
        let mut states = zk.states();
        let error = site.err("a call", zk.exists("/a")).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionLoss, "{garbage:?}: {error}");
        assert_eq!(error.outcome(), Some(Outcome::Unknown), "{garbage:?}: {error}");
        site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(site.ok("a call later", zk.exists("/b")).await, None);
        site.ok("to stop", zk.stop()).await;
    }
}

pub async fn a_packet_that_never_ends_is_left_in_time<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let timeout = Duration::from_millis(1500);
    // It is whole but for its length; or it goes on, byte by byte.
    for goes_on in [false, true] {
        let fake = Fake::new(move |number, client| {
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
        let builder = site.builder_at(fake.address()).session_timeout(timeout);
        let zk = site.connect(builder).await;
        let mut states = zk.states();
        let begun = std::time::Instant::now();
        let error = site.err("a call", zk.exists("/a")).await;
        assert_lost(&error, Outcome::Unknown, "no answer for");
        assert!(error.to_string().contains("bytes of a packet are missing"), "{error}");
        assert!(begun.elapsed() >= timeout / 3, "{:?}", begun.elapsed());
        site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
        assert_eq!(site.ok("a call later", zk.exists("/b")).await, None);
        drop(zk);
    }
}

pub async fn what_a_client_does_not_know_does_no_harm<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let (_fake, zk) = faked(&site, |client, xid| {
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
    let error = site.err("a call", zk.exists("/a")).await;
    assert!(matches!(error.kind(), ErrorKind::Server(code) if code.code() == -31_337), "{error}");
    assert!(error.to_string().contains("-31337"), "{error}");
    assert_eq!((error.outcome(), states.try_next()), (Some(Outcome::Refused), None));
}

pub async fn a_session_that_comes_back_as_another_is_expired<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let fake = Fake::new(|number, client| {
        client.handshake(if number == 0 { 0x77 } else { 0x78 })?;
        loop {
            let request = client.request()?;
            match (number, request.opcode) {
                // It ends the first connection.
                (0, SET_DATA) => return Ok(()),
                (_, EXISTS) => client.reply(request.xid, -101, &[])?,
                (_, -11) => return client.reply(request.xid, 0, &[]),
                (_, opcode) => panic!("an operation {opcode}"),
            }
        }
    });
    let zk = site.connect(Client::builder().hosts(fake.address().to_string())).await;
    let mut states = zk.states();
    let (_, watch) = site.ok("a watch", zk.exists_and_watch("/node")).await;
    site.err("the end of the connection", zk.set("/node", b"", None)).await;
    site.expect(
        &mut states,
        &[SessionState::Suspended, SessionState::Lost, SessionState::Connected],
    )
    .await;
    assert_eq!(site.err("the watch", watch).await.kind(), ErrorKind::SessionExpired);
    assert_eq!(zk.session_id().map(|id| id.0), Some(0x78));
    site.ok("to stop", zk.stop()).await;
}

pub async fn servers_that_answer_once_and_close_are_left_alone<H: Handler>(handler: H) {
    const TIME: Duration = Duration::from_secs(3);

    let site = Site::new(handler);
    let connects = Arc::new(AtomicUsize::new(0));
    let fakes = [(); 3].map(|()| {
        let connects = connects.clone();
        Fake::new(move |_, client| {
            connects.fetch_add(1, Ordering::Relaxed);
            client.handshake(0x77)?;
            let xid = client.request()?.xid;
            client.reply(xid, -101, &[])
        })
    });
    let hosts: Vec<_> = fakes.iter().map(|fake| fake.address().to_string()).collect();
    let zk = site.connect(Client::builder().hosts(hosts.join(","))).await;
    let end = site.handler.now() + TIME;
    let mut answers = 0;
    while site.handler.now() < end {
        let call = zk.exists("/");
        answers +=
            usize::from(race(&site.handler, TIME, call).await.is_some_and(|end| end.is_ok()));
    }
    let connects = connects.load(Ordering::Relaxed);
    // A round of three at once and after 50, 150, 350, 750, 1550 and 3150 ms at the earliest.
    assert!(connects <= 3 * 7, "{connects} connects in {TIME:?}");
    assert!(answers > 3, "{answers} answers");
}

pub async fn bytes_may_come_one_by_one<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    proxy.trickle(true);
    let zk = site.connect(site.builder_at(proxy.address())).await;
    let data = vec![b'x'; 2_000];
    let calls: Vec<_> =
        (0..20).map(|n| zk.create(format!("/n{n}"), &data, CreateMode::Persistent)).collect();
    for call in calls {
        site.ok("create", call).await;
    }
    let (read, _, watch) = site.ok("get", zk.get_and_watch("/n7")).await;
    assert!(read == data);
    site.ok("set", zk.set("/n7", b"", None)).await;
    site.ok("the watch", watch).await;
    site.ok("to stop", zk.stop()).await;
}

pub async fn a_slow_line_is_no_hindrance<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let proxy = proxy();
    proxy.delay(Duration::from_millis(100));
    let zk = site.connect(site.builder_at(proxy.address())).await;
    let begun = std::time::Instant::now();
    let calls: Vec<_> =
        (0..200).map(|n| zk.create(format!("/n{n}"), b"", CreateMode::Persistent)).collect();
    for call in calls {
        site.ok("create", call).await;
    }
    // One after the other they would take 40 s.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

pub async fn dead_and_silent_hosts_are_passed_over<H: Handler>(handler: H) {
    let site = Site::new(handler);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let silent = (silent.local_addr().expect("it is bound"), silent);
    let proxy = proxy();
    let hosts = format!("127.0.0.1:1,no-such-host.invalid,{},{}", silent.0, proxy.address());
    let builder = site.builder_at(hosts).randomize_hosts(false);
    let zk = site.connect(builder.session_timeout(Duration::from_secs(2))).await;
    assert_eq!(zk.host(), Some(proxy.address().to_string()));
    // After a loss as well, and within the session.
    let session = zk.session_id();
    let mut states = zk.states();
    proxy.cut_rst();
    site.expect(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    assert_eq!(zk.host(), Some(proxy.address().to_string()));
    if states.try_next().is_none() {
        assert_eq!(zk.session_id(), session);
    }
}

pub async fn a_name_that_hangs_is_timed_out_and_passed_over<H: Handler>(handler: H) {
    // Whoever asks for "hangs" hears nothing until the test is over.
    let (over, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let address = shared().address();
    let site = Site::new(Named::new(handler, move |name| {
        if name == "hangs" {
            let _ = lock(&gate).recv();
        }
        Ok(vec![address])
    }));
    let builder = |hosts: String| {
        let builder = site.builder_at(hosts).randomize_hosts(false);
        builder.session_timeout(Duration::from_secs(2)).connect_timeout(Duration::from_secs(5))
    };
    let port = address.port();
    let zk = site.connect(builder(format!("hangs:{port},works:{port}"))).await;
    assert_eq!(zk.host(), Some(format!("works:{port}")));
    let hopeless = builder(format!("hangs:{port}")).connect_on(site.handler.clone());
    let error = site.err("to connect", hopeless).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("timed out resolving hangs"), "{error}");
    drop(over);
}
