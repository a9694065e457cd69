//! Authentication, and requests that a server refuses by its configuration. What is expected here is what ZooKeeper
//! 3.8.0 and 3.9.5 do.

mod fixture;

use zk_proto::{Acl, CreateMode, ErrorCode, Perms, Request, Response, jute::Secret, records::*};
use zk_server::{Config, Version};

use fixture::{Client, Fixture};

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
    match fixture.call(client, &Request::WhoAmI).1 {
        Ok(Response::WhoAmI(reply)) => {
            let ids = reply.client_info.iter();
            ids.map(|id| (id.auth_scheme.to_string(), id.user.to_string())).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn pairs(ids: &[(&str, &str)]) -> Vec<(String, String)> {
    ids.iter().map(|(scheme, user)| ((*scheme).to_owned(), (*user).to_owned())).collect()
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
