//! Tests of the harness itself.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use zk_tests::minimal_client::Session;
use zk_tests::{
    Certificates, ClientAuth, Direction, Ensemble, FrameAction, Holder, Mode, Node, Options, Proxy,
    eventually, shared_ensemble, zk_cli_with,
};

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough to show that something does not happen.
const MOMENT: Duration = Duration::from_millis(200);
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const RECONFIG: i32 = 16;
const AUTH: i32 = 100;
const NO_AUTH: i32 = -102;

fn string(value: &str) -> Vec<u8> {
    let length = i32::try_from(value.len()).expect("a short string");
    [&length.to_be_bytes(), value.as_bytes()].concat()
}

/// The body of a `create` request for a persistent node without data, with an ACL for one identity.
fn create(path: &str, scheme: &str, id: &str) -> Vec<u8> {
    let mut body = string(path);
    body.extend((-1_i32).to_be_bytes()); // no data
    body.extend(1_i32.to_be_bytes()); // one ACL
    body.extend(31_i32.to_be_bytes()); // all permissions
    body.extend(string(scheme));
    body.extend(string(id));
    body.extend(0_i32.to_be_bytes()); // persistent
    body
}

fn get_data(path: &str) -> Vec<u8> {
    let mut body = string(path);
    body.push(0); // no watch
    body
}

fn become_super(session: &mut Session) {
    let mut body = 0_i32.to_be_bytes().to_vec();
    body.extend(string("digest"));
    body.extend(string("super:test"));
    assert_eq!(session.request(AUTH, &body).unwrap().error, 0);
}

fn open(ensemble: &Ensemble, node: usize) -> Session {
    let address = ensemble.node(node).address();
    Session::open(address, SESSION_TIMEOUT).expect("a server that serves opens a session")
}

// Servers

#[test]
fn standalone_serves() {
    let ensemble = shared_ensemble();
    let node = ensemble.node(0);
    assert_eq!(ensemble.len(), 1);
    assert_eq!(ensemble.hosts(), node.address().to_string());
    assert_eq!(node.four_letter_word("ruok"), "imok");
    assert_eq!(node.mode(), Some(Mode::Standalone));
    assert_eq!(ensemble.leader(), 0);
    open(ensemble, 0).close().expect("the session is open");
}

#[test]
fn options_reach_the_server() {
    let ensemble = Options::default()
        .tick_time(Duration::from_millis(250))
        .config("maxSessionTimeout=7000")
        .property(
            "zookeeper.serverCnxnFactory",
            "org.apache.zookeeper.server.NettyServerCnxnFactory",
        )
        .start(1);
    let conf = ensemble.node(0).four_letter_word("conf");
    assert!(conf.contains("tickTime=250\n"), "{conf}");
    assert!(conf.contains("maxSessionTimeout=7000\n"), "{conf}");
    let envi = ensemble.node(0).four_letter_word("envi");
    assert!(envi.contains("zookeeper.version="), "{envi}");
}

/// What OpenSSL's client gets as the mode of a server, over TLS, with the certificate of `client` if any.
fn mode_over_tls(address: SocketAddr, client: Option<Holder>) -> Result<String, String> {
    let certificates = Certificates::shared();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1"]);
    openssl.arg("-connect").arg(address.to_string());
    openssl.arg("-CAfile").arg(certificates.authority());
    if let Some(client) = client {
        openssl.arg("-cert").arg(certificates.chain(client));
        openssl.arg("-key").arg(certificates.key(client));
    }
    let mut openssl = openssl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("OpenSSL is installed");
    // If it does not read its input, its output shows it.
    let _ = openssl.stdin.as_mut().expect("it is piped").write_all(b"srvr");
    let output = openssl.wait_with_output().expect("it ends when the server has answered");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let answer = text(&output.stdout);
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    mode.map(str::to_owned).ok_or_else(|| text(&output.stderr))
}

#[test]
fn a_server_with_tls_can_demand_certificates() {
    let ensemble = Options::default().tls(ClientAuth::Need).check_revocation().start(1);
    let address = ensemble.node(0).tls_address();
    assert_eq!(ensemble.tls_hosts(), address.to_string());
    for client in [Holder::Client, Holder::SecondClient] {
        assert_eq!(mode_over_tls(address, Some(client)).as_deref(), Ok("standalone"), "{client:?}");
    }
    for client in [Holder::ForeignClient, Holder::ExpiredClient, Holder::RevokedClient] {
        mode_over_tls(address, Some(client)).expect_err("its certificate is not good");
    }
    mode_over_tls(address, None).expect_err("it has no certificate");
    open(&ensemble, 0).close().expect("the plain port serves too");
}

#[test]
fn servers_of_an_ensemble_can_use_tls() {
    let ensemble = Options::default().tls(ClientAuth::Need).start(3);
    // They were not told to look for revoked certificates.
    let mode = |node: &Node| mode_over_tls(node.tls_address(), Some(Holder::RevokedClient));
    let mut modes: Vec<_> = ensemble.nodes().iter().map(mode).collect();
    modes.sort();
    assert_eq!(modes, ["follower", "follower", "leader"].map(|mode| Ok(mode.to_owned())));
}

#[test]
fn a_server_can_have_a_bad_certificate() {
    for (holder, problem) in [
        (Holder::ExpiredServer, "certificate has expired"),
        (Holder::MisnamedServer, "IP address mismatch"),
        (Holder::ForeignServer, "verify error"),
    ] {
        let ensemble = Options::default().tls(ClientAuth::None).server_certificate(holder).start(1);
        let error = mode_over_tls(ensemble.node(0).tls_address(), None).expect_err("it is bad");
        assert!(error.contains(problem), "{holder:?}: {error}");
    }
}

#[test]
fn servers_can_require_sasl_from_users_with_passwords() {
    let ensemble =
        Options::default().sasl_digest_md5(&[("bob", "a\"b\\c")]).required_sasl().start(3);
    let mut session = open(&ensemble, 0);
    assert!(session.request(GET_DATA, &get_data("/")).map_or(true, |reply| reply.error != 0));

    let login = |password: &str| {
        let file = ensemble.directory().join("login.conf");
        let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
        let login =
            format!("Client {{ {module} required username=\"bob\" password=\"{password}\"; }};");
        fs::write(&file, login).expect("the directory can be written to");
        let file = file.display().to_string();
        let properties =
            [("java.security.auth.login.config", &*file), ("zookeeper.fips-mode", "false")];
        zk_cli_with(&properties, &ensemble.hosts(), &["create /mine x sasl:bob:r", "getAcl /mine"])
    };
    let printed = login("a\\\"b\\\\c");
    assert!(printed.contains("Created /mine") && printed.contains("'sasl,'bob"), "{printed}");
    let printed = login("wrong");
    assert!(!printed.contains("'sasl,'bob"), "{printed}");
}

#[test]
fn a_server_can_demand_credentials() {
    let ensemble = Options::default().enforce_auth(&["digest"]).start(1);
    let mut session = open(&ensemble, 0);
    assert!(session.request(GET_DATA, &get_data("/")).map_or(true, |reply| reply.error != 0));
    let mut session = open(&ensemble, 0);
    become_super(&mut session);
    assert_eq!(session.request(GET_DATA, &get_data("/")).unwrap().error, 0);
}

#[test]
#[should_panic(expected = "no-such-factory")]
fn a_failed_start_shows_the_log() {
    let options = Options::default().property("zookeeper.serverCnxnFactory", "no-such-factory");
    drop(options.start(1));
}

#[test]
#[should_panic(expected = "Address already in use")]
fn a_taken_port_shows_in_the_log() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options::default().config(format!("clientPort={port}"));
    drop(options.start(1));
}

#[test]
fn the_super_user_may_do_anything() {
    let mut session = open(shared_ensemble(), 0);
    let create = create("/closed", "digest", "nobody:nothing");
    assert_eq!(session.request(CREATE, &create).unwrap().error, 0);
    let get = get_data("/closed");
    assert_eq!(session.request(GET_DATA, &get).unwrap().error, NO_AUTH);

    become_super(&mut session);
    assert_eq!(session.request(GET_DATA, &get).unwrap().error, 0);
}

#[test]
fn an_ensemble_can_be_reconfigured() {
    let ensemble = Ensemble::of(3);
    // A follower leaves, because the leader could stop before it replies.
    let leader = ensemble.leader();
    let leaver = (leader + 1) % ensemble.len() + 1;
    let mut session = open(&ensemble, leader);
    become_super(&mut session);
    let mut body = (-1_i32).to_be_bytes().to_vec(); // none joins
    body.extend(string(&leaver.to_string()));
    body.extend((-1_i32).to_be_bytes()); // no new list of all members
    body.extend((-1_i64).to_be_bytes()); // whatever the version
    assert_eq!(session.request(RECONFIG, &body).unwrap().error, 0);

    // The changed configuration survives a restart.
    let leader = ensemble.node(leader);
    leader.restart();
    leader.wait_serving();
    let conf = leader.four_letter_word("conf");
    assert_eq!(conf.matches("\nserver.").count(), 2, "{conf}");
    assert!(!conf.contains(&format!("server.{leaver}=")), "{conf}");
}

#[test]
fn a_restart_keeps_the_data() {
    let ensemble = Ensemble::standalone();
    let node = ensemble.node(0);
    let create = create("/kept", "world", "anyone");
    let mut session = open(&ensemble, 0);
    assert_eq!(session.request(CREATE, &create).unwrap().error, 0);

    node.kill();
    assert!(!node.is_running());
    node.start();
    node.wait_serving();
    node.restart();
    node.wait_serving();
    let reply = open(&ensemble, 0).request(GET_DATA, &get_data("/kept"));
    assert_eq!(reply.unwrap().error, 0);
}

#[test]
fn an_ensemble_survives_its_leader() {
    let ensemble = Ensemble::of(3);
    assert_eq!(ensemble.hosts().split(',').count(), 3);
    let first = ensemble.leader();

    ensemble.node(first).kill();
    ensemble.wait_serving();
    let second = ensemble.leader();
    assert_ne!(first, second);

    ensemble.node(first).start();
    ensemble.wait_serving();
    assert_eq!(ensemble.leader(), second);
    ensemble.node(first).wait_mode(Mode::Follower);
}

#[test]
fn a_server_without_quorum_is_read_only() {
    let ensemble = Ensemble::of(3);
    ensemble.node(0).stop();
    ensemble.node(1).stop();
    ensemble.node(2).wait_mode(Mode::ReadOnly);

    ensemble.start_all();
    ensemble.wait_serving();
    ensemble.kill_all();
    assert!(ensemble.nodes().iter().all(|node| !node.is_running()));
}

#[test]
fn a_paused_server_is_silent() {
    let ensemble = Ensemble::standalone();
    let node = ensemble.node(0);
    node.pause();
    assert!(node.is_running());
    assert_eq!(node.mode(), None);
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    stream.write_all(b"ruok").unwrap();
    let silence = stream.read(&mut [0; 4]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);

    node.resume();
    node.wait_serving();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"imok");

    node.pause();
    node.stop();
}

/// The owner of an expired session is disconnected, and then refused.
fn expire(ensemble: &Ensemble, node: usize) {
    let mut session = open(ensemble, node);
    let (id, password) = (session.id(), session.password().to_vec());
    ensemble.expire_session(id, &password);

    eventually(LIMIT, "the owner to be disconnected", || {
        session.request(GET_DATA, &get_data("/")).err()
    });
    let address = ensemble.node(node).address();
    let resumed = Session::resume(address, id, &password).unwrap();
    assert!(resumed.is_none(), "session {id:#x} lives");
}

#[test]
fn a_session_can_be_expired() {
    expire(shared_ensemble(), 0);
}

#[test]
fn a_session_can_be_expired_through_another_server() {
    let ensemble = Ensemble::of(3);
    for node in 0..ensemble.len() {
        expire(&ensemble, node);
    }
}

#[test]
#[should_panic(expected = "no session 0x1234")]
fn an_unknown_session_cannot_be_expired() {
    shared_ensemble().expire_session(0x1234, &[0; 16]);
}

#[test]
fn a_crash_leaves_nothing_behind() {
    const VICTIM: &str = "ZK_TESTS_VICTIM";
    if env::var_os(VICTIM).is_some() {
        let ensemble = Ensemble::standalone();
        let pid = ensemble.node(0).pid().expect("the server runs");
        let report = format!("{pid}\n{}\n", ensemble.directory().display());
        io::stderr().write_all(report.as_bytes()).unwrap();
        thread::park_timeout(LIMIT);
        panic!("this process was not killed");
    }

    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["a_crash_leaves_nothing_behind", "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut report = BufReader::new(victim.stderr.take().unwrap()).lines();
    let mut line = || report.next().expect("a whole report").unwrap();
    let pid = line();
    let pid = pid.parse().ok().and_then(Pid::from_raw);
    let pid = pid.expect("the first line is the pid");
    let directory = line();
    assert!(test_kill_process(pid).is_ok());
    assert!(Path::new(&directory).exists());

    victim.kill().unwrap(); // SIGKILL
    victim.wait().unwrap();
    eventually(LIMIT, "the server to end", || test_kill_process(pid).is_err().then_some(()));
    eventually(LIMIT, "the directory to go", || (!Path::new(&directory).exists()).then_some(()));
}

#[test]
fn a_drop_leaves_nothing_behind() {
    let ensemble = Ensemble::standalone();
    let directory = ensemble.directory().to_owned();
    let log = File::open(directory.join("node1/log")).expect("the server has a log");
    drop(ensemble);
    assert!(!directory.exists());
    drop(log);
}

#[test]
#[should_panic(expected = "waiting for nothing")]
fn eventually_gives_up() {
    eventually(MOMENT, "nothing", || None::<()>);
}

// The proxy

/// A proxy, and both ends of a connection through it.
fn proxied() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::new(listener.local_addr().unwrap());
    let client = TcpStream::connect(proxy.address()).unwrap();
    let (server, _) = listener.accept().unwrap();
    eventually(LIMIT, "the connection to be counted", || (proxy.connections() == 1).then_some(()));
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
    }
    (proxy, client, server)
}

fn receive(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
}

fn assert_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

fn assert_ended(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short frame");
    [&length.to_be_bytes(), body].concat()
}

#[test]
fn a_proxy_passes_bytes_and_ends() {
    let (proxy, mut client, mut server) = proxied();
    assert_eq!((proxy.accepted(), proxy.connections()), (1, 1));
    client.write_all(b"question").unwrap();
    assert_eq!(receive(&mut server, 8), b"question");
    server.write_all(b"answer").unwrap();
    assert_eq!(receive(&mut client, 6), b"answer");

    // One direction ends and the other does not.
    client.shutdown(Shutdown::Write).unwrap();
    assert_ended(&mut server);
    server.write_all(b"more").unwrap();
    drop(server);
    assert_eq!(receive(&mut client, 4), b"more");
    assert_ended(&mut client);
    eventually(LIMIT, "the connection to end", || (proxy.connections() == 0).then_some(()));
}

#[test]
fn a_proxy_cuts() {
    let (proxy, mut client, mut server) = proxied();
    proxy.cut_fin();
    assert_eq!(proxy.connections(), 0);
    assert_ended(&mut client);
    assert_ended(&mut server);

    let (proxy, mut client, mut server) = proxied();
    proxy.cut_rst();
    assert_reset(&mut client);
    assert_reset(&mut server);

    let (proxy, mut client, mut server) = proxied();
    drop(proxy);
    assert_reset(&mut client);
    assert_reset(&mut server);
}

#[test]
fn a_proxy_holds() {
    let (proxy, mut client, mut server) = proxied();
    proxy.hold(Direction::ToClient);
    client.write_all(b"question").unwrap();
    assert_eq!(receive(&mut server, 8), b"question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_silent(&mut client);
    proxy.release();
    assert_eq!(receive(&mut client, 6), b"answer");
    assert_ended(&mut client);

    // A connection that is held back can be cut, even if neither end reads.
    let (proxy, mut client, mut server) = proxied();
    proxy.hold(Direction::ToServer);
    client.write_all(&[0; 1 << 20]).unwrap();
    proxy.cut_rst();
    assert_reset(&mut client);
    assert_reset(&mut server);

    let (proxy, mut client, _server) = proxied();
    client.set_write_timeout(Some(MOMENT)).unwrap();
    while client.write(&[0; 1 << 20]).is_ok() {}
    proxy.cut_rst();
    assert_reset(&mut client);
}

#[test]
fn a_proxy_refuses() {
    let (proxy, mut client, mut server) = proxied();
    proxy.refuse(true);
    assert_reset(&mut TcpStream::connect(proxy.address()).unwrap());
    assert_eq!((proxy.accepted(), proxy.connections()), (2, 1));
    client.write_all(b"still here").unwrap();
    assert_eq!(receive(&mut server, 10), b"still here");

    // The same if no server listens.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::new(listener.local_addr().unwrap());
    drop(listener);
    assert_reset(&mut TcpStream::connect(proxy.address()).unwrap());
}

#[test]
fn a_proxy_counts_bytes() {
    let (proxy, mut client, mut server) = proxied();
    proxy.drop_after(Direction::ToServer, 5);
    client.write_all(b"abc").unwrap();
    assert_eq!(receive(&mut server, 3), b"abc");
    client.write_all(b"def").unwrap();
    assert_eq!(receive(&mut server, 2), b"de");
    assert_ended(&mut server);
    assert_ended(&mut client);
}

#[test]
fn a_proxy_delays() {
    let (proxy, mut client, mut server) = proxied();
    proxy.delay(MOMENT);
    let start = Instant::now();
    client.write_all(b"question").unwrap();
    assert_eq!(receive(&mut server, 8), b"question");
    server.write_all(b"answer").unwrap();
    assert_eq!(receive(&mut client, 6), b"answer");
    assert!(start.elapsed() >= 2 * MOMENT);
}

#[test]
fn a_proxy_trickles() {
    let (proxy, mut client, mut server) = proxied();
    proxy.trickle(true);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(4096).collect();
    client.write_all(&bytes).unwrap();
    assert_eq!(receive(&mut server, bytes.len()), bytes);
}

#[test]
fn a_proxy_filters_frames() {
    let (proxy, mut client, mut server) = proxied();
    // A frame that began before the filter was set passes unfiltered, and lengths can arrive in parts.
    let bytes = [frame(b"first"), frame(b"drop"), frame(b"pass")].concat();
    client.write_all(&bytes[..3]).unwrap();
    assert_eq!(receive(&mut server, 3), bytes[..3]);
    proxy.on_frame(Direction::ToServer, |frame| match frame {
        b"pass" => FrameAction::Pass,
        b"drop" => FrameAction::Drop,
        b"cut" => FrameAction::Cut,
        frame => panic!("an unexpected frame: {frame:?}"),
    });
    client.write_all(&bytes[3..11]).unwrap();
    assert_eq!(receive(&mut server, 6), bytes[3..9]);
    client.write_all(&bytes[11..]).unwrap();
    assert_eq!(receive(&mut server, 8), frame(b"pass"));

    client.write_all(&frame(b"cut")).unwrap();
    assert_ended(&mut server);
    assert_ended(&mut client);
}

#[test]
fn a_proxy_can_lose_the_reply_to_a_create() {
    let ensemble = shared_ensemble();
    let proxy = Proxy::new(ensemble.node(0).address());
    let mut session = Session::open(proxy.address(), SESSION_TIMEOUT).unwrap();
    proxy.on_frame(Direction::ToClient, |_| FrameAction::Cut);
    let create = create("/lost", "world", "anyone");
    session.request(CREATE, &create).unwrap_err();
    let reply = open(ensemble, 0).request(GET_DATA, &get_data("/lost"));
    assert_eq!(reply.unwrap().error, 0);
}
