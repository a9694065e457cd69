//! Passwords, data and session passwords do not appear in logs, errors or `Debug` output.

use std::{fs, time::Duration};

use zk_client::{
    Acl, AddWatchMode, CREATOR_ALL_ACL, CreateMode, CreateOptions, Error, Handler, OperationResult,
    Perms, SessionState, TlsOptions, digest_acl, digest_credential,
    rustls::{
        pki_types::{PrivateKeyDer, pem::PemObject},
        version,
    },
};

use super::{
    canary::{Canary, displayed, shown},
    context::TestContext,
    recorded_log,
    shared_server::{new_proxy, shared_server},
};
use crate::{Certificates, Demand, Holder, TlsProxy, server_config};

pub async fn secrets_do_not_appear_in_logs_or_values<H: Handler>(handler: H) {
    const PASSWORD: &str = "canary-password-1f6a";
    const LATER: &str = "canary-later-77ce";
    const REPLACED: &str = "canary-replaced-03b2";
    const DATA: &str = "canary-data-b01d";
    const IN_HOSTS: &str = "canary-hosts-5e10";

    recorded_log::record();
    let ctx = TestContext::new(handler);
    let proxy = new_proxy();
    let builder = ctx
        .builder_at(proxy.address())
        .auth("digest", format!("ann:{PASSWORD}"))
        .default_acl([Acl::new(Perms::ALL, "digest", format!("ann:{PASSWORD}"))])
        .max_request(10_000)
        .max_reply(10_000);
    let hash = digest_credential("ann", PASSWORD);
    let mut texts = vec![("the builder", shown(&builder))];
    let bad_hosts = builder.clone().hosts(format!("ann:{IN_HOSTS}@{}", proxy.address()));
    texts.push(("a builder with a password in its hosts", shown(&bad_hosts)));
    let error = ctx.err("hosts", bad_hosts.connect_on(ctx.handler.clone())).await;
    texts.push(("an error", displayed(&error)));
    let zk = ctx.connect(builder.clone()).await;
    let ticket = zk.client_id().expect("it is connected");
    let password = ticket.password.expose().clone();

    // Calls that succeed.
    let pending = zk.get("/");
    texts.push(("a pending result", shown(&pending)));
    let options = CreateOptions::persistent().acl(&CREATOR_ALL_ACL);
    let closed = CreateOptions::persistent().acl([Acl::new(
        Perms::ALL,
        "digest",
        format!("ann:{PASSWORD}"),
    )]);
    texts.push(("options", shown(&closed)));
    let created = zk.create("/node", DATA, &options);
    ctx.wait_until("the node", || created.ready()).await;
    texts.push(("a result", shown(&created)));
    let read = zk.get_and_watch("/node");
    ctx.wait_until("the data", || read.ready()).await;
    texts.push(("a result with data", shown(&read)));
    let (data, stat, watch) = ctx.ok("the data", read).await;
    assert_eq!(data, DATA);
    texts.push(("a stat", shown(&stat)));
    texts.push(("a watch", shown(&watch)));
    let auth = zk.add_auth("digest", format!("bob:{LATER}"));
    texts.push(("a result of add_auth", shown(&auth)));
    ctx.ok("add_auth", auth).await;
    let transaction = zk
        .transaction()
        .create("/other", DATA, options)
        .set("/node", DATA, None)
        .create("/third", DATA, CreateOptions::persistent().acl(&CREATOR_ALL_ACL));
    texts.push(("a transaction", shown(&transaction)));
    let results = ctx.ok("commit", transaction.commit()).await;
    texts.push(("results", shown(&results)));
    let results: Vec<OperationResult> = results.committed().expect("it is committed");
    texts.push(("operations' results", shown(&results)));
    let event = ctx.ok("the watch", watch.clone()).await;
    texts.push(("an event", shown(&event)));
    let (acls, _) = ctx.ok("get_acls", zk.get_acls("/node")).await;
    assert!(acls.iter().any(|acl| acl.id.id == hash), "the hash is read back");
    texts.push(("an ACL", shown(&acls)));
    texts.extend(acls.iter().map(|acl| ("an entry of an ACL", displayed(acl))));
    let hashed = digest_acl("ann", PASSWORD, Perms::ALL);
    texts.push(("an ACL of a password", displayed(&hashed)));
    let not_hashed = Acl::digest_id(format!("ann:{PASSWORD}"), Perms::ALL);
    let not_hashed = Error::from(not_hashed.expect_err("it is a password"));
    texts.push(("an error of an ACL", displayed(&not_hashed)));
    let identities = ctx.ok("who_am_i", zk.who_am_i()).await;
    texts.push(("identities", shown(&identities)));
    let mut persistent = ctx.ok("add_watch", zk.add_watch("/node", AddWatchMode::Persistent)).await;
    ctx.ok("set", zk.set("/node", DATA, None)).await;
    texts.push(("an item", shown(&ctx.within("an item", persistent.next()).await)));
    texts.push(("a persistent watch", shown(&persistent)));
    let replaced = zk.replace_auth("digest", format!("ann:{REPLACED}"));
    texts.push(("a result of replace_auth", shown(&replaced)));
    ctx.ok("replace_auth", replaced).await;
    ctx.ok("replace_auth", zk.replace_auth("digest", format!("ann:{PASSWORD}"))).await;
    ctx.ok("to reconnect", zk.reconnect()).await;

    // Calls that fail.
    let errors = [
        ctx.err("create", zk.create("/node", DATA, CreateOptions::persistent())).await,
        ctx.err("create", zk.create("/missing/node", DATA, closed)).await,
        ctx.err("set", zk.set("/node", DATA, 77)).await,
        ctx.err("set", zk.set("/node", DATA.repeat(1_000), None)).await,
        ctx.err("set", zk.set("/missing", DATA, None)).await,
        ctx.err("set_acls", zk.set_acls("/node", &CREATOR_ALL_ACL, 77)).await,
        zk.set_hosts(&format!("ann:{IN_HOSTS}@host")).expect_err("no list of hosts"),
        ctx.ok("commit", zk.transaction().set("/node", DATA, 77).set("/", DATA, None).commit())
            .await
            .committed()
            .expect_err("a bad version"),
    ];
    for error in &errors {
        texts.push(("an error", displayed(error)));
    }

    // Calls over a lost connection.
    let mut states = zk.states();
    proxy.hold(crate::Direction::ToClient);
    let lost = zk.set("/node", DATA, None);
    ctx.cut_off(&zk, &proxy).await;
    proxy.release();
    texts.push(("the states", shown(&states)));
    let queued = zk.set("/node", DATA, None);
    texts.push(("a queued result", shown(&queued)));
    texts.push(("a client that is suspended", shown(&zk)));
    texts.push(("an error", displayed(&ctx.err("a lost call", lost).await)));
    proxy.refuse(false);
    ctx.ok("a queued call", queued).await;
    ctx.expect_states(&mut states, &[SessionState::Suspended, SessionState::Connected]).await;
    texts.push(("a client", shown(&zk)));
    texts.push(("a ticket", shown(&ticket)));
    let id = zk.session_id().expect("it is connected");
    texts.push(("a session's id", displayed(&id)));
    texts.push(("a chroot", shown(zk.chroot())));
    let resumed = ctx.build(builder.client_id(ticket.clone()));
    texts.push(("a client that is to resume", shown(&resumed)));
    let builder = ctx.builder().client_id(ticket).auth("digest", format!("ann:{PASSWORD}"));
    texts.push(("a builder with a session", shown(&builder)));

    // Refused credentials.
    let error = ctx.err("nonsense", zk.add_auth("nonsense", format!("cid:{LATER}"))).await;
    texts.push(("an error", displayed(&error)));
    let error = ctx.err("a call", zk.set("/node", DATA, None)).await;
    texts.push(("an error", displayed(&error)));
    let _ = zk.create("/", DATA, CreateMode::Persistent).on_complete(|_| {});

    let log = recorded_log::recorded();
    assert!(log.contains("connecting") && log.contains("SUSPENDED"), "nothing is recorded");
    texts.push(("the log", log));
    let canaries = [
        Canary::new("password", PASSWORD.as_bytes()),
        Canary::new("password that was added", LATER.as_bytes()),
        Canary::new("password that replaced it", REPLACED.as_bytes()),
        Canary::new("hash of the password", hash.trim_start_matches("ann:").as_bytes()),
        Canary::new("password in the hosts", IN_HOSTS.as_bytes()),
        Canary::new("data", DATA.as_bytes()),
        Canary::new("session's password", &password),
        Canary::new("session's password, in part", &password[..6]),
    ];
    for (place, text) in &texts {
        for canary in &canaries {
            canary.assert_absent(place, text);
        }
    }
}

pub async fn secrets_of_tls_do_not_appear_in_logs_or_values<H: Handler>(handler: H) {
    const DATA: &str = "canary-data-over-tls-7f1c";

    recorded_log::record();
    let ctx = TestContext::new(handler);
    let certificates = Certificates::shared();
    let text = |path| fs::read_to_string(path).expect("a file");
    let chain = text(certificates.chain(Holder::Client));
    let key = text(certificates.key(Holder::Client));
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let authority = text(certificates.authority());
    let trusting = || TlsOptions::new().authorities_pem(authority.clone());
    let versions = [&version::TLS12, &version::TLS13];
    let config = server_config(Holder::Server, Demand::Certificate, &versions);
    let server = TlsProxy::new(shared_server().address(), config);

    let options = trusting().identity_pem(chain.clone(), key.clone());
    let mut texts = vec![("options", shown(&options))];
    let builder = ctx.builder_at(server.address()).tls(options);
    texts.push(("a builder", shown(&builder)));
    let zk = ctx.connect(builder).await;
    ctx.ok("create", zk.create("/node", DATA, CreateMode::Persistent)).await;
    ctx.ok("to reconnect", zk.reconnect()).await;
    ctx.ok("get", zk.get("/node")).await;
    texts.push(("a client", shown(&zk)));

    // Options that are wrong: a key of another certificate, a key that is cut off, a key in place of a certificate.
    let other = text(certificates.chain(Holder::SecondClient));
    let half = &key[..key.len() / 2];
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let broken = key.replacen("\n", "\n!", 2);
    for options in [
        trusting().identity_pem(other, key.clone()),
        trusting().identity_pem(chain.clone(), half.to_owned()),
        trusting().identity_pem(chain.clone(), encrypted),
        trusting().identity_pem(chain.clone(), broken),
        trusting().identity_pem(key.clone(), key.clone()),
        TlsOptions::new().authorities_pem(key.clone()),
        trusting().revocations_pem(key.clone()),
    ] {
        let builder = ctx.builder_at(server.address()).tls(options);
        let error = builder.build_on(ctx.handler.clone()).expect_err("the options are wrong");
        texts.push(("an error", displayed(&error)));
    }
    // A server that is not trusted.
    let stranger = TlsOptions::new().identity_pem(chain, key.clone());
    let builder = ctx.builder_at(server.address()).tls(stranger);
    let builder = builder.connect_timeout(Duration::from_millis(300));
    let error = ctx.err("a start", builder.connect_on(ctx.handler.clone())).await;
    texts.push(("an error", displayed(&error)));

    let log = recorded_log::recorded();
    assert!(log.contains("rustls"), "rustls logs nothing");
    texts.push(("the log", log));
    let line = key.lines().nth(1).expect("a line of base64");
    let der = der.secret_der();
    let canaries = [
        Canary::new("key", line.as_bytes()),
        Canary::new("key in binary", &der[der.len() / 3..][..16]),
        Canary::new("data", DATA.as_bytes()),
    ];
    for (place, text) in &texts {
        for canary in &canaries {
            canary.assert_absent(place, text);
        }
    }
}
