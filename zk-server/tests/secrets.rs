//! The server does not show passwords, hashes of passwords, session passwords or data.

mod fixture;

use std::fmt::Debug;

use zk_proto::{Acl, CreateMode, Perms, Request, jute::Secret, records::*};
use zk_server::Config;

use fixture::Fixture;

#[track_caller]
fn assert_silent(value: &dyn Debug, secrets: &[&[u8]]) {
    let text = format!("{value:?}\n{value:#?}");
    for secret in secrets {
        let list = format!("{secret:?}");
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [&*String::from_utf8_lossy(secret), list.trim_matches(['[', ']']), &hex] {
            assert!(!text.contains(form), "{form} is shown: {text}");
        }
    }
}

#[test]
fn secrets_and_data_are_not_shown() {
    let mut config = Config::default();
    config.super_digest = Secret::new(Some("super:canary-super-hash".to_owned()));
    #[cfg(feature = "sasl-digest-md5")]
    {
        let users = [("bob".to_owned(), "canary-of-bob".to_owned())];
        config.sasl_users = Some(Secret::new(users.into()));
    }
    assert_silent(&config, &[b"canary-super-hash", b"canary-of-bob"]);

    let mut fixture = Fixture::with(config);
    let (mut client, id, password) = fixture.open();
    let credential = Secret::new(Some(&b"ann:canary-password"[..]));
    let auth = Request::Auth(AuthPacket { auth_type: 0, scheme: "digest", auth: credential });
    let acl = [Acl::new(Perms::ALL, "digest", "bob:canary-hash"), Acl::auth(Perms::ALL)];
    let create = CreateRequest {
        path: "/node",
        data: Some(b"canary-data"),
        acl: Some(acl.as_slice().into()),
        flags: CreateMode::Persistent,
    };
    let get = GetDataRequest { path: "/node", watch: true.into() };
    let get_acl = GetAclRequest { path: "/node" };
    // Hashed by the server: see `zk_client::digest_credential`.
    let hash = b"I8rr0dD8QYzHhNp1ZZbN4/PI+Og=";
    let secrets: [&[u8]; 7] = [
        b"canary-super-hash",
        b"canary-of-bob",
        b"canary-password",
        b"canary-hash",
        b"canary-data",
        &password,
        hash,
    ];

    fixture.call(&mut client, &auth).1.unwrap();
    for request in [Request::Create(create), Request::GetData(get), Request::GetAcl(get_acl)] {
        assert_silent(&request, &secrets);
        let reply = fixture.call(&mut client, &request).1.unwrap();
        assert_silent(&reply, &secrets);
        assert_silent(&fixture.server, &secrets);
    }
    // Bytes that wait for the rest of their packet, and a session that is resumed.
    let set = SetDataRequest { path: "/node", data: Some(b"canary-data"), version: -1 };
    fixture.send(&client, |out| Request::SetData(set).encode(9, out));
    assert_silent(&fixture.server, &secrets);
    let (_, resumed) = fixture.handshake(id, &password, 0, false);
    assert_silent(&resumed, &secrets);
    assert_silent(&fixture.server, &secrets);
}

#[cfg(feature = "sasl-digest-md5")]
#[test]
fn logins_are_not_shown() {
    use zk_proto::{
        Response,
        sasl::{Mechanism, Step, digest_md5},
    };

    let mut config = Config::default();
    let users = [("bob".to_owned(), "canary-of-bob".to_owned())];
    config.sasl_users = Some(Secret::new(users.into()));
    let mut fixture = Fixture::with(config);
    let (mut client, ..) = fixture.open();
    let password = Secret::new("canary-of-bob".to_owned());
    let mut mechanism = digest_md5::Client::new("bob", password, 7).unwrap();
    let mut secrets = vec![b"canary-of-bob".to_vec()];
    let mut token = Vec::new();
    while let Step::Respond(answer) = mechanism.step(&token).unwrap() {
        if !answer.expose().is_empty() {
            secrets.push(answer.expose().to_vec());
        }
        let request = Request::Sasl(SaslRequest { token: Secret::new(Some(answer.expose())) });
        let (_, reply) = fixture.call(&mut client, &request);
        let known: Vec<_> = secrets.iter().map(Vec::as_slice).collect();
        assert_silent(&request, &known);
        assert_silent(&mechanism, &known);
        assert_silent(&reply, &known);
        assert_silent(&fixture.server, &known);
        let Ok(Response::Sasl(reply)) = reply else { panic!("{reply:?}") };
        token = reply.token.expose().clone().unwrap_or_default().to_vec();
    }
}
