//! SASL with Kerberos (GSSAPI): real servers, and a KDC of MIT's krb5.

use std::{
    fs,
    process::Command,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, Instant},
};

use zk_client::{
    Acl, Backoff, Client, ClientBuilder, ConnectionState, CreateOptions, Error, ErrorCode,
    ErrorKind, Handler, Perms, SessionState, ThreadHandler, TlsOptions,
    sasl::{GssapiOptions, SaslOptions},
};
use zk_tests::{
    Certificates, ClientAuth, Direction, Ensemble, FrameAction, Holder, Kdc, Node, Options, Proxy,
    eventually, runtimes, suite::recorded_log,
};

/// Longer than anything here takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Declares a test of this name that runs in a child process, with a KDC.
macro_rules! kerberos_test {
    ($name:ident, $test:expr) => {
        #[test]
        fn $name() {
            Kdc::run_test(stringify!($name), $test);
        }
    };
}

/// A server at `localhost` that takes Kerberos.
fn server(kdc: &Kdc) -> Ensemble {
    kdc.server_options(Options::default()).start(1)
}

fn hosts(server: &Ensemble) -> String {
    format!("localhost:{}", server.node(0).address().port())
}

fn through(proxy: &Proxy) -> String {
    format!("localhost:{}", proxy.address().port())
}

fn builder(hosts: String, options: GssapiOptions) -> ClientBuilder {
    Client::builder()
        .hosts(hosts)
        .sasl(SaslOptions::gssapi(options))
        .session_timeout(Duration::from_secs(30))
        .connect_timeout(LIMIT)
        .connection_retry(Backoff {
            min: Duration::from_millis(50),
            max: Duration::from_millis(200),
        })
}

fn connect(builder: ClientBuilder) -> Result<Client, Error> {
    builder.connect_on(ThreadHandler::new()).get()
}

/// Who the server believes the client to be, by SASL.
fn sasl_user(zk: &Client) -> Option<String> {
    let identities = zk.who_am_i().get().expect("an answer");
    let mut sasl = identities.into_iter().filter(|identity| &*identity.auth_scheme == "sasl");
    let user = sasl.next().map(|identity| identity.user.to_string());
    assert!(sasl.next().is_none(), "one login gives one identity");
    user
}

/// The error of a client that cannot log in, which is final and comes at once.
#[track_caller]
fn refusal(hosts: String, options: GssapiOptions) -> String {
    let begun = Instant::now();
    let error = connect(builder(hosts.clone(), options)).expect_err("the login fails");
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert!(begun.elapsed() < LIMIT / 2, "it is final: {error}");
    let text = error.to_string();
    assert!(text.contains(&hosts), "it names the host: {text}");
    text
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "it says {word:?}: {text}");
    }
}

async fn logs_in_and_uses_its_acl<H: Handler>(handler: H, hosts: String) {
    let path = format!("/kerberos-{}", handler.name());
    let zk = builder(hosts.clone(), GssapiOptions::new())
        .connect_on(handler.clone())
        .await
        .expect("a session");
    let identities = zk.who_am_i().await.expect("an answer");
    let user = identities.iter().find(|identity| &*identity.auth_scheme == "sasl");
    assert_eq!(user.map(|identity| &*identity.user), Some("client@ZK.TEST"), "{identities:?}");

    let acl = Acl::sasl("client@ZK.TEST", Perms::ALL).expect("a principal");
    let options = CreateOptions::persistent().acl(&[acl]);
    zk.create(&path, b"mine", options).await.expect("a node");
    assert_eq!(&*zk.get(&path).await.expect("its owner reads it").0, b"mine");
    zk.stop().await.expect("a closed session");

    let other = Client::builder().hosts(hosts).connect_on(handler).await.expect("a session");
    let error = other.get(&path).await.expect_err("it is the other one's");
    assert_eq!(error.kind(), ErrorKind::Server(ErrorCode::NoAuth));
    other.stop().await.expect("a closed session");
}

#[test]
fn a_keytab_gets_a_ticket() {
    let kdc = Kdc::start();
    kdc.kinit("client", &[]);
    let list =
        Command::new("/usr/bin/klist").arg(kdc.ticket_caches()).output().expect("klist runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("Default principal: client@ZK.TEST"), "{list}");
}

kerberos_test!(a_client_logs_in_with_a_ticket_on_every_runtime, |kdc| {
    let server = server(kdc);
    kdc.kinit("client", &[]);
    runtimes::tokio(|handler| logs_in_and_uses_its_acl(handler, hosts(&server)));
    runtimes::smol(|handler| logs_in_and_uses_its_acl(handler, hosts(&server)));
    runtimes::async_std(|handler| logs_in_and_uses_its_acl(handler, hosts(&server)));
    runtimes::thread(|handler| logs_in_and_uses_its_acl(handler, hosts(&server)));
});

kerberos_test!(a_client_logs_in_on_a_runtime_with_one_thread, |kdc| {
    let server = server(kdc);
    kdc.kinit("client", &[]);
    runtimes::tokio_current_thread(|handler| logs_in_and_uses_its_acl(handler, hosts(&server)));
});

kerberos_test!(a_keytab_serves_several_principals, |kdc| {
    let server = server(kdc);
    kdc.add_principal("app/host1");
    kdc.add_to_client_keytab(&["client", "app/host1"]);
    for (options, user) in [
        (GssapiOptions::new(), "client@ZK.TEST"),
        (GssapiOptions::new().principal("app/host1"), "app/host1@ZK.TEST"),
        (GssapiOptions::new().principal("client@ZK.TEST"), "client@ZK.TEST"),
    ] {
        let zk = connect(builder(hosts(&server), options)).expect("a session");
        assert_eq!(sasl_user(&zk).as_deref(), Some(user));
    }
});

kerberos_test!(a_password_is_asked_for_at_each_connection, |kdc| {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static PASSWORD: Mutex<&str> = Mutex::new("first");
    let password = || *PASSWORD.lock().expect("a password");

    let server = server(kdc);
    let proxy = Proxy::new(server.node(0).address());
    kdc.add_principal_with_password("user", password());
    let options = SaslOptions::gssapi_with(move || {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Error>(GssapiOptions::new().principal("user").password(password()))
    });
    let builder = builder(through(&proxy), GssapiOptions::new()).sasl(options);
    let zk = connect(builder).expect("a session");
    assert_eq!(sasl_user(&zk).as_deref(), Some("user@ZK.TEST"));
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);

    kdc.kadmin("cpw -pw second user");
    *PASSWORD.lock().expect("a password") = "second";
    reconnect(&proxy, &zk);
    assert_eq!(sasl_user(&zk).as_deref(), Some("user@ZK.TEST"));
    assert_eq!(ASKED.load(Ordering::Relaxed), 2);
});

/// Cuts the connection, and waits until the client is connected again with the same session.
fn reconnect(proxy: &Proxy, zk: &Client) {
    let (session, accepted) = (zk.session_id(), proxy.accepted());
    proxy.cut_rst();
    eventually(LIMIT, "a new connection", || (proxy.accepted() > accepted).then_some(()));
    eventually(LIMIT, "a reconnect", || zk.connected().then_some(()));
    assert_eq!(zk.session_id(), session);
}

kerberos_test!(a_reconnect_logs_in_again, |kdc| {
    let server = server(kdc);
    let proxy = Proxy::new(server.node(0).address());
    kdc.kinit("client", &[]);
    let zk = connect(builder(through(&proxy), GssapiOptions::new())).expect("a session");
    for _ in 0..5 {
        reconnect(&proxy, &zk);
        assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
    }
});

kerberos_test!(a_client_logs_in_on_the_next_server, |kdc| {
    let servers = kdc.server_options(Options::default()).start(3);
    let host = |node: &Node| format!("localhost:{}", node.address().port());
    let hosts: Vec<_> = servers.nodes().iter().map(host).collect();
    kdc.add_to_client_keytab(&["client"]);
    let zk = connect(builder(hosts.join(","), GssapiOptions::new())).expect("a session");
    let session = zk.session_id();
    for _ in 0..2 {
        let connected = zk.host().expect("it is connected");
        let server = servers.nodes().iter().find(|node| host(node) == connected);
        let server = server.expect("one of the servers");
        server.kill();
        eventually(LIMIT, "another server", || {
            (zk.connected() && zk.host()? != connected).then_some(())
        });
        assert_eq!(zk.session_id(), session);
        assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
        server.start();
        servers.wait_serving();
    }
});

kerberos_test!(many_clients_log_in_at_the_same_time, |kdc| {
    let server = server(kdc);
    kdc.add_to_client_keytab(&["client"]);
    let starts: Vec<_> = (0..32)
        .map(|_| builder(hosts(&server), GssapiOptions::new()).connect_on(ThreadHandler::new()))
        .collect();
    for start in starts {
        let zk = start.get().expect("a session");
        assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
    }
});

kerberos_test!(a_connection_that_is_cut_during_the_exchange_is_retried, |kdc| {
    let server = server(kdc);
    kdc.kinit("client", &[]);
    // The exchange has three requests. Each of them, and each reply, is lost once.
    for lost in 1..=3 {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let proxy = Proxy::new(server.node(0).address());
            let mut seen = 0;
            proxy.on_frame(direction, move |_frame| {
                seen += 1;
                // The first frame is the handshake's.
                if seen == lost + 1 { FrameAction::Cut } else { FrameAction::Pass }
            });
            let zk = connect(builder(through(&proxy), GssapiOptions::new())).expect("a session");
            assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
            assert_eq!(proxy.accepted(), 2, "request {lost}, {direction:?}");
        }
    }
});

kerberos_test!(a_client_logs_in_over_mutual_tls, |kdc| {
    let server = kdc.server_options(Options::default().tls(ClientAuth::Need)).start(1);
    kdc.kinit("client", &[]);
    let certificates = Certificates::shared();
    let tls = TlsOptions::new()
        .authorities_file(certificates.authority())
        .identity_files(certificates.chain(Holder::Client), certificates.key(Holder::Client));
    let hosts = format!("localhost:{}", server.node(0).tls_address().port());
    let zk = connect(builder(hosts, GssapiOptions::new()).tls(tls)).expect("a session");
    assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
    let identities = zk.who_am_i().get().expect("an answer");
    assert!(identities.iter().any(|identity| &*identity.auth_scheme == "x509"), "{identities:?}");
});

kerberos_test!(a_server_that_requires_sasl_takes_kerberos, |kdc| {
    let server = kdc.server_options(Options::default().required_sasl()).start(1);
    kdc.kinit("client", &[]);
    let zk = connect(builder(hosts(&server), GssapiOptions::new())).expect("a session");
    assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));

    let anonymous = Client::builder().hosts(hosts(&server)).connect_timeout(LIMIT);
    let anonymous = connect(anonymous).expect("it is refused at its first request");
    let error = anonymous.exists("/").get().expect_err("SASL is required");
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
});

kerberos_test!(a_login_without_credentials_says_what_to_do, |kdc| {
    let server = server(kdc);
    let options = GssapiOptions::new;
    let says = ["kinit", "KRB5CCNAME", "KRB5_CLIENT_KTNAME"];
    assert_says(&refusal(hosts(&server), options()), &says);
    kdc.kinit("client", &[]);
    let text = refusal(hosts(&server), options().principal("nobody"));
    assert_says(&text, &["nobody"]);
    assert_says(&text, &says);
    let text = refusal(hosts(&server), options().password("secret"));
    assert_says(&text, &["principal"]);
});

kerberos_test!(a_login_to_an_unknown_service_says_its_name, |kdc| {
    let server = server(kdc);
    kdc.kinit("client", &[]);
    let text = refusal(hosts(&server), GssapiOptions::new().service("zk"));
    assert_says(&text, &["zk@localhost", "zk/localhost@ZK.TEST", "not found", "service_host"]);
    let text = refusal(hosts(&server), GssapiOptions::new().service_host("other.localhost"));
    assert_says(&text, &["zookeeper@other.localhost", "not found", "service_host"]);
});

kerberos_test!(a_keytab_with_an_old_key_is_told_as_such, |kdc| {
    let server = server(kdc);
    kdc.add_to_client_keytab(&["client"]);
    kdc.change_key("client");
    let text = refusal(hosts(&server), GssapiOptions::new());
    assert_says(&text, &["key", "export the keytab again"]);
    let text = refusal(hosts(&server), GssapiOptions::new().principal("client").password("wrong"));
    assert_says(&text, &["the password is not"]);
    assert!(!text.contains("wrong"), "the password is not shown: {text}");
});

kerberos_test!(an_expired_ticket_ends_a_start_and_not_a_session, |kdc| {
    let server = server(kdc);
    let proxy = Proxy::new(server.node(0).address());
    kdc.kinit("client", &[]);
    let zk = connect(builder(through(&proxy), GssapiOptions::new())).expect("a session");
    let session = zk.session_id();

    kdc.kinit_expired("client");
    let text = refusal(hosts(&server), GssapiOptions::new());
    assert_says(&text, &["expired", "kinit"]);

    let accepted = proxy.accepted();
    proxy.cut_rst();
    eventually(LIMIT, "several attempts", || (proxy.accepted() > accepted + 2).then_some(()));
    assert_eq!(zk.state(), SessionState::Suspended);
    kdc.kinit("client", &[]);
    eventually(LIMIT, "a reconnect", || zk.connected().then_some(()));
    assert_eq!(zk.session_id(), session);
    assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
});

kerberos_test!(a_server_that_does_not_know_the_ticket_ends_the_client, |kdc| {
    let server = server(kdc);
    // The ticket is made with a key that the server's keytab has not.
    kdc.change_key("zookeeper/localhost");
    kdc.kinit("client", &[]);
    let zk = builder(hosts(&server), GssapiOptions::new())
        .build_on(ThreadHandler::new())
        .expect("good options");
    let error = zk.start().get().expect_err("the server refuses");
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert_says(&error.to_string(), &["refused", &hosts(&server)]);
    assert_eq!(zk.connection_state(), ConnectionState::AuthFailed);
});

kerberos_test!(a_stopped_kdc_is_tried_again, |kdc| {
    let server = server(kdc);
    let proxy = Proxy::new(server.node(0).address());
    kdc.add_to_client_keytab(&["client"]);
    kdc.stop();
    let zk = builder(through(&proxy), GssapiOptions::new())
        .build_on(ThreadHandler::new())
        .expect("good options");
    let started = zk.start();
    eventually(LIMIT, "several attempts", || (proxy.accepted() > 2).then_some(()));
    kdc.resume();
    started.get().expect("a session, now that the KDC is back");
    assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
});

kerberos_test!(a_start_without_a_kdc_times_out_and_says_so, |kdc| {
    let server = server(kdc);
    kdc.add_to_client_keytab(&["client"]);
    kdc.stop();
    let builder =
        builder(hosts(&server), GssapiOptions::new()).connect_timeout(Duration::from_secs(1));
    let error = connect(builder).expect_err("there is no KDC");
    assert_says(&error.to_string(), &["Cannot contact any KDC for realm 'ZK.TEST'", "krb5.conf"]);
});

kerberos_test!(a_silent_kdc_holds_up_neither_client_nor_stop, |kdc| {
    let server = server(kdc);
    kdc.add_to_client_keytab(&["client"]);
    kdc.pause();
    let zk = builder(hosts(&server), GssapiOptions::new())
        .session_timeout(Duration::from_secs(3))
        .connect_timeout(Duration::from_secs(5))
        .build_on(ThreadHandler::new())
        .expect("good options");
    let begun = Instant::now();
    // Attempts end at two thirds of the session timeout, so this is several of them.
    let error = zk.start().get().expect_err("the KDC is silent");
    assert!(begun.elapsed() < Duration::from_secs(20), "the library waits for longer");
    assert_says(&error.to_string(), &["SASL"]);
    assert_eq!(threads_named("zk-sasl"), 1, "one thread waits for the KDC");
    zk.stop().get().expect("a stop");
    assert!(begun.elapsed() < Duration::from_secs(20), "a stop does not wait for the KDC");

    kdc.resume();
    let restarted = Instant::now();
    let started = zk.start();
    started.get().unwrap_or_else(|error| panic!("after {:?}: {error}", restarted.elapsed()));
    assert_eq!(sasl_user(&zk).as_deref(), Some("client@ZK.TEST"));
});

kerberos_test!(neither_passwords_nor_tokens_are_shown, |kdc| {
    const PASSWORD: &str = "canary-kerberos-61c2";
    const WRONG: &str = "canary-kerberos-wrong-0f9e";

    recorded_log::record();
    let server = server(kdc);
    kdc.add_principal_with_password("user", PASSWORD);
    let options = GssapiOptions::new().principal("user").password(PASSWORD);
    let builder_of = |options: &GssapiOptions| builder(hosts(&server), options.clone());
    let mut shown = format!("{options:?} {:?}", builder_of(&options));
    let zk = connect(builder_of(&options)).expect("a session");
    assert_eq!(sasl_user(&zk).as_deref(), Some("user@ZK.TEST"));
    let wrong = options.clone().password(WRONG);
    let error = connect(builder_of(&wrong)).expect_err("the password is wrong");
    shown += &format!("{zk:?} {error} {error:?} {wrong:?} {}", recorded_log::recorded());

    assert!(shown.contains("authenticated with SASL"), "all levels are recorded: {shown}");
    // The beginning of a token of Kerberos: as a list, in hexadecimal, as text, and in base64.
    let tokens = ["[96, 130,", "6082", "60, 82,", "`\\x82", "YII"];
    for secret in [PASSWORD, WRONG].iter().chain(&tokens) {
        assert!(!shown.contains(secret), "{secret:?} is shown: {shown}");
    }
});

/// The number of threads of this process with this name.
fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("a list of threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim() == name).count()
}
