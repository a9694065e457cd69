//! Authentication, and requests that a server refuses by its configuration. What is expected here is what ZooKeeper
//! 3.8.0 and 3.9.5 do.

mod fixture;
mod identities;

use zk_proto::{Acl, CreateMode, ErrorCode, Perms, Request, Response, jute::Secret, records::*};
use zk_server::{Config, Version};

use fixture::{Client, Fixture};
use identities::{identities, pairs};

/// A configuration for each version.
fn configs() -> [Config; 2] {
    [Version::V3_8, Version::V3_9].map(|version| {
        let mut config = Config::default();
        config.version = version;
        config
    })
}

fn auth<'a>(scheme: &'a str, credential: &'a str) -> Request<'a> {
    let auth = Secret::new(Some(credential.as_bytes()));
    Request::Auth(AuthPacket { auth_type: 0, scheme, auth })
}

/// Creates a znode that only `scheme:id` may use.
fn create_for(
    fixture: &mut Fixture,
    client: &mut Client,
    path: &str,
    (scheme, id): (&'static str, &'static str),
) -> Result<Response, ErrorCode> {
    let acl = [Acl::new(Perms::ALL, scheme, id)];
    let acl = Some(acl.as_slice().into());
    let create = CreateRequest { path, data: None, acl, flags: CreateMode::Persistent };
    fixture.call(client, &Request::Create(create)).1
}

fn who_am_i(fixture: &mut Fixture, client: &mut Client) -> Vec<(String, String)> {
    identities(fixture.call(client, &Request::WhoAmI).1)
}

#[test]
fn a_standalone_server_refuses_to_be_reconfigured() {
    for (enabled, refusal) in
        [(false, ErrorCode::ReconfigDisabled), (true, ErrorCode::Unimplemented)]
    {
        for mut config in configs() {
            config.reconfig_enabled = enabled;
            let mut fixture = Fixture::with(config);
            let (mut client, ..) = fixture.open();
            let reconfig = Request::Reconfig(ReconfigRequest {
                joining_servers: None,
                leaving_servers: None,
                new_members: Some("server.1=127.0.0.1:1:2;3"),
                cur_config_id: -1,
            });
            let before = fixture.server.last_zxid();
            assert_eq!(fixture.call(&mut client, &reconfig).1, Err(refusal));
            assert_eq!(fixture.server.last_zxid(), before + 1);
            fixture.call(&mut client, &Request::Ping).1.expect("the session goes on");
        }
    }
}

#[test]
fn the_owner_of_a_certificate_is_an_identity() {
    for mut config in configs() {
        config.x509 = true;
        let mut fixture = Fixture::with(config);
        let (mut client, ..) = fixture.open();
        fixture.server.handle_certificate(client.id, "CN=client");
        let expected = pairs(&[("ip", "127.0.0.1"), ("x509", "CN=client")]);
        assert_eq!(who_am_i(&mut fixture, &mut client), expected);

        // A client may ask for it again, as Java's does.
        fixture.call(&mut client, &auth("x509", "")).1.expect("it has a certificate");
        assert_eq!(who_am_i(&mut fixture, &mut client), expected);

        create_for(&mut fixture, &mut client, "/own", ("x509", "CN=client")).unwrap();
        create_for(&mut fixture, &mut client, "/auth", ("auth", "")).unwrap();
        // Names are compared as text.
        create_for(&mut fixture, &mut client, "/other", ("x509", "cn=client")).unwrap();
        let (mut stranger, ..) = fixture.open();
        for (path, own, strangers) in [
            ("/own", Ok(()), Err(ErrorCode::NoAuth)),
            ("/auth", Ok(()), Err(ErrorCode::NoAuth)),
            ("/other", Err(ErrorCode::NoAuth), Err(ErrorCode::NoAuth)),
        ] {
            let get = Request::GetData(GetDataRequest { path, watch: false.into() });
            assert_eq!(fixture.call(&mut client, &get).1.map(drop), own, "{path}");
            assert_eq!(fixture.call(&mut stranger, &get).1.map(drop), strangers, "{path}");
        }
        let refused = fixture.call(&mut stranger, &auth("x509", "CN=client")).1;
        assert_eq!(refused, Err(ErrorCode::AuthFailed));
        assert!(stranger.closed);
    }
}

#[test]
fn the_scheme_x509_needs_a_secure_port() {
    for config in configs() {
        let mut fixture = Fixture::with(config);
        let (mut client, ..) = fixture.open();
        let refused = create_for(&mut fixture, &mut client, "/a", ("x509", "CN=client"));
        assert_eq!(refused, Err(ErrorCode::InvalidAcl));
    }
}

#[test]
fn a_server_may_demand_authentication() {
    for mut config in configs() {
        config.enforced_schemes = vec!["digest".into(), "sasl".into()];
        let mut fixture = Fixture::with(config);
        for request in [Request::Ping, Request::WhoAmI, Request::CloseSession] {
            let (mut client, ..) = fixture.open();
            // This identity is not among those that are demanded.
            fixture.call(&mut client, &auth("ip", "")).1.unwrap();
            let refused = fixture.call(&mut client, &request).1;
            assert_eq!(refused, Err(ErrorCode::SessionClosedRequireSaslAuth), "{request:?}");
            assert!(client.closed);
        }
        let (mut client, ..) = fixture.open();
        fixture.call(&mut client, &auth("digest", "ann:secret")).1.unwrap();
        fixture.call(&mut client, &Request::WhoAmI).1.unwrap();
    }
}

#[cfg(feature = "sasl-digest-md5")]
mod sasl {
    use bytes::Bytes;
    use zk_proto::{
        jute::{Decode as _, Reader},
        sasl::{Mechanism as _, Step, digest_md5},
    };

    use super::*;

    const PASSWORD: &str = "canary-of-bob";

    /// A configuration for each version, with the user bob.
    fn with_bob() -> [Config; 2] {
        configs().map(|mut config| {
            let bob = ("bob".to_owned(), PASSWORD.to_owned());
            config.sasl_users = Some(Secret::new([bob].into()));
            config
        })
    }

    /// Sends a token. Returns the header and the token of the reply.
    fn send(
        fixture: &mut Fixture,
        client: &mut Client,
        token: &[u8],
    ) -> (ReplyHeader, Option<Bytes>) {
        client.xid += 1;
        let xid = client.xid;
        let request = Request::Sasl(SaslRequest { token: Secret::new(Some(token)) });
        fixture.send(client, |out| request.encode(xid, out));
        let frames = fixture.receive(client);
        let mut input = Reader::new(&frames[0]);
        let header = ReplyHeader::decode(&mut input).unwrap();
        assert_eq!((header.xid, header.zxid, frames.len()), (xid, 0, 1));
        let reply = SaslResponse::decode(&mut input).unwrap();
        (header, reply.token.expose().clone())
    }

    /// Logs in as `user`. Returns the error and the token of the last reply.
    fn log_in(
        fixture: &mut Fixture,
        client: &mut Client,
        user: &str,
        password: &str,
    ) -> (ErrorCode, Option<Bytes>) {
        let mut mechanism =
            digest_md5::Client::new(user, Secret::new(password.to_owned()), 1).unwrap();
        let mut last = (ErrorCode::Ok, Some(Bytes::new()));
        while let Step::Respond(token) =
            mechanism.step(last.1.as_deref().unwrap_or_default()).expect("a proof")
        {
            let (header, answer) = send(fixture, client, token.expose());
            last = (header.err, answer);
            if !last.0.is_ok() || last.1.is_none() {
                break;
            }
        }
        last
    }

    #[test]
    fn a_user_who_proves_to_know_the_password_is_an_identity() {
        for config in with_bob() {
            let mut fixture = Fixture::with(config);
            let (mut client, ..) = fixture.open();
            let (err, proof) = log_in(&mut fixture, &mut client, "bob", PASSWORD);
            assert_eq!(err, ErrorCode::Ok);
            assert!(proof.unwrap().starts_with(b"rspauth="));
            let expected = pairs(&[("ip", "127.0.0.1"), ("sasl", "bob")]);
            assert_eq!(who_am_i(&mut fixture, &mut client), expected);

            create_for(&mut fixture, &mut client, "/bob", ("sasl", "bob")).unwrap();
            create_for(&mut fixture, &mut client, "/own", ("auth", "")).unwrap();
            create_for(&mut fixture, &mut client, "/eve", ("sasl", "eve/host@REALM")).unwrap();
            let invalid = create_for(&mut fixture, &mut client, "/no", ("sasl", "a@b@c"));
            assert_eq!(invalid, Err(ErrorCode::InvalidAcl));
            for (path, expected) in
                [("/bob", Ok(())), ("/own", Ok(())), ("/eve", Err(ErrorCode::NoAuth))]
            {
                let get = Request::GetData(GetDataRequest { path, watch: false.into() });
                assert_eq!(fixture.call(&mut client, &get).1.map(drop), expected, "{path}");
            }

            // The exchange is over: a further token is refused.
            let (header, token) = send(&mut fixture, &mut client, b"");
            assert_eq!((header.err, token), (ErrorCode::AuthFailed, None));
            assert!(client.closed);
        }
    }

    #[test]
    fn wrong_credentials_end_the_connection() {
        for (enforced, refusal) in [
            (vec![], ErrorCode::AuthFailed),
            (vec!["digest".to_owned()], ErrorCode::AuthFailed),
            (vec!["sasl".to_owned()], ErrorCode::SessionClosedRequireSaslAuth),
        ] {
            for mut config in with_bob() {
                config.enforced_schemes = enforced.clone();
                config.allow_failed_sasl = enforced == ["sasl"];
                let mut fixture = Fixture::with(config);
                for (user, password) in [("bob", "wrong"), ("eve", PASSWORD)] {
                    let (mut client, ..) = fixture.open();
                    let reply = log_in(&mut fixture, &mut client, user, password);
                    assert_eq!(reply, (refusal, None), "{user}");
                    assert!(client.closed);
                }
                let (mut client, ..) = fixture.open();
                let (header, challenge) = send(&mut fixture, &mut client, b"ignored");
                assert!(header.err.is_ok() && challenge.is_some());
                assert_eq!(send(&mut fixture, &mut client, b"garbage").0.err, refusal);
                assert!(client.closed);
            }
        }
    }

    #[test]
    fn a_refused_client_may_be_let_in() {
        for mut config in with_bob() {
            config.allow_failed_sasl = true;
            let mut fixture = Fixture::with(config);
            let (mut client, ..) = fixture.open();
            let reply = log_in(&mut fixture, &mut client, "bob", "wrong");
            assert_eq!(reply, (ErrorCode::Ok, None));
            assert_eq!(who_am_i(&mut fixture, &mut client), pairs(&[("ip", "127.0.0.1")]));
            let (header, token) = send(&mut fixture, &mut client, b"");
            assert_eq!((header.err, token), (ErrorCode::Ok, None), "it has one attempt");
            assert!(!client.closed);
        }
    }

    #[test]
    fn sasl_satisfies_a_server_that_demands_it() {
        for mut config in with_bob() {
            config.enforced_schemes = vec!["sasl".to_owned()];
            config.sasl_super_user = Some("bob".to_owned());
            let mut fixture = Fixture::with(config);
            let (mut client, ..) = fixture.open();
            assert!(log_in(&mut fixture, &mut client, "bob", PASSWORD).0.is_ok());
            let expected = pairs(&[("ip", "127.0.0.1"), ("sasl", "bob"), ("super", "")]);
            assert_eq!(who_am_i(&mut fixture, &mut client), expected);
            create_for(&mut fixture, &mut client, "/a", ("digest", "ann:x")).unwrap();
            let get = Request::GetData(GetDataRequest { path: "/a", watch: false.into() });
            fixture.call(&mut client, &get).1.expect("the super user has all permissions");

            let (mut other, ..) = fixture.open();
            let refused = fixture.call(&mut other, &Request::Ping).1;
            assert_eq!(refused, Err(ErrorCode::SessionClosedRequireSaslAuth));
        }
    }

    #[test]
    fn each_connection_has_another_challenge() {
        let [config, _] = with_bob();
        let mut fixture = Fixture::with(config);
        let challenges: Vec<_> = (0..3)
            .map(|_| {
                let (mut client, ..) = fixture.open();
                send(&mut fixture, &mut client, b"").1.expect("a challenge")
            })
            .collect();
        assert!(challenges[0] != challenges[1] && challenges[1] != challenges[2]);
    }

    #[test]
    fn passwords_are_not_shown() {
        for config in with_bob() {
            assert!(!format!("{config:?}").contains("canary"));
            let mut fixture = Fixture::with(config);
            let (mut client, ..) = fixture.open();
            log_in(&mut fixture, &mut client, "bob", PASSWORD);
            assert!(!format!("{:?}", fixture.server).contains("canary"));
        }
    }
}
