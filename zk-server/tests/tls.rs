//! TLS on a port of [`TestServer`]: who gets in, who a client is, and what hostile or slow clients get.

mod client;
mod identities;
mod process;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use zk_proto::{ErrorCode, Request, Response, jute::Reader, records::ReplyHeader};
use zk_server::{ClientAuth, Config, SlowLink, TestServer, TlsOptions};

use client::{Client, create, get};
use identities::{identities, pairs};

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An authority that signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for 127.0.0.1, whose owner has these attributes.
    fn sign(&self, owner: &[(DnType, &str)]) -> Identity {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in owner {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    fn server(&self, auth: ClientAuth) -> TlsOptions {
        let Identity { certificate, key } = self.sign(&[(DnType::CommonName, "server")]);
        TlsOptions::new(certificate, key).client_authorities(&*self.pem).client_auth(auth)
    }

    fn client(&self) -> Identity {
        self.sign(&[(DnType::CommonName, "client")])
    }
}

fn start(tls: &TlsOptions) -> TestServer {
    TestServer::start_with_tls(Config::default(), tls).expect("two ports")
}

/// A connection on which the handshake has not begun.
fn stream(
    server: &TestServer,
    authority: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsStream {
    let address = server.tls_address().expect("a server with TLS");
    stream_to(address, authority, identity, versions)
}

fn stream_to(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, client::connect(address).unwrap())
}

fn open(
    server: &TestServer,
    authority: &Authority,
    identity: Option<&Identity>,
) -> io::Result<Client<TlsStream>> {
    Client::over(stream(server, authority, identity, &BOTH))
}

fn who_am_i<S: io::Read + io::Write>(client: &mut Client<S>) -> Vec<(String, String)> {
    client.send(&[Request::WhoAmI]).unwrap();
    let frame = client.frame().unwrap();
    let mut input = Reader::new(&frame);
    let header = <ReplyHeader as zk_proto::jute::Decode>::decode(&mut input).unwrap();
    identities(Response::decode(zk_proto::OpCode::WhoAmI, header.err, &mut input))
}

#[test]
fn a_client_is_the_owner_of_its_certificate() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::Need));
    let client = authority.client();
    for version in BOTH {
        let stream = stream(&server, &authority, Some(&client), &[version]);
        let mut client = Client::over(stream).expect("a session");
        assert_eq!(client.socket.conn.protocol_version(), Some(version.version));
        let expected = pairs(&[("ip", "127.0.0.1"), ("x509", "CN=client")]);
        assert_eq!(who_am_i(&mut client), expected);
    }
    let mut plain = Client::open(server.address()).expect("a session in plain text");
    assert_eq!(who_am_i(&mut plain), pairs(&[("ip", "127.0.0.1")]));
}

#[test]
fn the_owner_is_printed_as_by_java() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::Need));
    let email = DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1]);
    let client = authority.sign(&[
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, " Example, \"Inc\"\u{e9} "),
        (email, "a@b"),
        (DnType::CommonName, "#1 + 1 = 2"),
    ]);
    let mut client = open(&server, &authority, Some(&client)).expect("a session");
    let owner =
        r#"CN=\#1 \+ 1 \= 2,1.2.840.113549.1.9.1=#0c03614062,O=\ Example\, \"Inc\"é\ ,C=DE"#;
    assert_eq!(who_am_i(&mut client)[1], ("x509".to_owned(), owner.to_owned()));
}

#[test]
fn a_client_certificate_is_needed_wanted_or_not_asked_for() {
    let authority = Authority::new();
    let own = authority.client();
    let foreign = Authority::new().client();
    for (auth, none, valid, invalid) in [
        (ClientAuth::Need, false, Some(true), false),
        (ClientAuth::Want, true, Some(true), false),
        // It has no effect then, even if it is not valid.
        (ClientAuth::None, true, Some(false), true),
    ] {
        let server = start(&authority.server(auth));
        for version in BOTH {
            let attempt = |identity| {
                let stream = stream(&server, &authority, identity, &[version]);
                Client::over(stream).map(|mut client| who_am_i(&mut client).len() == 2)
            };
            assert_eq!(attempt(None).ok(), none.then_some(false), "{auth:?}, none");
            assert_eq!(attempt(Some(&own)).ok(), valid, "{auth:?}, a valid one");
            let result = attempt(Some(&foreign));
            assert_eq!(result.as_ref().ok(), invalid.then_some(&false), "{auth:?}, another's");
            if let Err(error) = result {
                let text = error.to_string();
                assert!(text.contains("alert"), "the client learns why: {text}");
            }
        }
    }
}

#[test]
fn large_requests_and_replies_pass() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let mut client = open(&server, &authority, None).expect("a session");
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(client.call(create("/large", &data)).unwrap().err, ErrorCode::Ok);
    for _ in 0..3 {
        client.send(&vec![get("/large"); 5]).unwrap();
        for _ in 0..5 {
            let frame = client.frame().unwrap();
            assert_eq!(&frame[20..][..data.len()], &data);
        }
    }
}

#[test]
fn four_letter_words_are_answered_in_tls() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let mut stream = stream(&server, &authority, None, &BOTH);
    stream.write_all(b"ruok").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server ends TLS properly");
    assert_eq!(answer, "imok");
}

#[test]
fn the_wrong_kind_of_client_is_disconnected_without_an_answer() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let plain = Client::open(server.tls_address().unwrap());
    assert_eq!(plain.map(drop).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

    let mut stream = stream(&server, &authority, None, &BOTH);
    stream.sock = client::connect(server.address()).unwrap();
    stream.write_all(b"ruok").unwrap_err();
}

#[test]
fn a_handshake_may_arrive_byte_by_byte_but_not_take_for_ever() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let mut stream = stream(&server, &authority, None, &BOTH);
    let mut hello = Vec::new();
    stream.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        stream.sock.write_all(&[byte]).unwrap();
    }
    stream.write_all(b"ruok").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "imok");

    let options = authority.server(ClientAuth::None).handshake_timeout(Duration::from_millis(50));
    let server = start(&options);
    for sent in [b"".as_slice(), b"ruok", &[0x16, 3, 1]] {
        let mut silent = client::connect(server.tls_address().unwrap()).unwrap();
        silent.write_all(sent).unwrap();
        assert_eq!(silent.read(&mut [0]).expect("the end of the stream"), 0);
    }
    // After the handshake, the client may be silent.
    let mut client = open(&server, &authority, None).expect("a session");
    let mut late = client::connect(server.tls_address().unwrap()).unwrap();
    assert_eq!(late.read(&mut [0]).expect("the end of the stream"), 0);
    assert_eq!(client.call(get("/")).unwrap().err, ErrorCode::Ok);
}

#[test]
fn a_client_that_does_not_read_its_replies_has_to_wait() {
    const GETS: usize = 2_000;

    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let mut slow = open(&server, &authority, None).expect("a session");
    slow.call(create("/large", &[b'x'; 100_000])).expect("a reply");
    slow.send(&vec![get("/large"); GETS]).expect("a write");
    // Until the server handles no more of them. Other clients are served meanwhile.
    let mut other = open(&server, &authority, None).expect("a session");
    let received = || {
        let mut stream = stream(&server, &authority, None, &BOTH);
        stream.write_all(b"cons").unwrap();
        let mut cons = String::new();
        stream.read_to_string(&mut cons).unwrap();
        let line = cons.lines().find(|line| line.contains(&format!("sid={:#x},", slow.session)));
        let count = line.and_then(|line| line.split("recved=").nth(1)?.split(',').next());
        count.expect("a count").parse::<u64>().unwrap()
    };
    let (mut handled, mut same) = (0, 0);
    while same < 20 {
        other.call(get("/large")).expect("a reply");
        let now = received();
        same = if now == handled { same + 1 } else { 0 };
        handled = now;
    }
    assert!((10..300).contains(&handled), "{handled} requests were handled");
    for _ in 0..GETS {
        assert_eq!(slow.reply().expect("a reply").err, ErrorCode::Ok);
    }
}

#[test]
fn bytes_after_the_end_of_a_session_are_ignored() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    let mut client = open(&server, &authority, None).expect("a session");
    client.call(create("/large", &[b'x'; 40_000])).expect("a reply");
    // The end of the session is on its way for seconds, after the data.
    server.slow_down(SlowLink::new().bandwidth(20_000));
    client.send(&[get("/large"), Request::CloseSession]).expect("a write");
    while !server.sessions().is_empty() {
        std::thread::yield_now();
    }
    client.socket.sock.write_all(&[0xff; 40]).expect("a write");
    assert_eq!(client.reply().expect("the data").err, ErrorCode::Ok);
    assert_eq!(client.reply().expect("the end").err, ErrorCode::Ok);
    server.full_speed();
    open(&server, &authority, None).expect("the server goes on");
}

#[test]
fn certificates_are_replaced_for_new_connections() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = start(&first.server(ClientAuth::None));
    let mut old = open(&server, &first, None).expect("a session");
    server.replace_tls(&second.server(ClientAuth::None)).expect("certificates");
    open(&server, &first, None).map(drop).expect_err("another authority");
    open(&server, &second, None).expect("the new authority");
    assert_eq!(old.call(get("/")).unwrap().err, ErrorCode::Ok);
    server.replace_tls(&TlsOptions::new("", "")).expect_err("no certificate");
    open(&server, &second, None).expect("the previous certificates");
}

#[test]
fn the_test_kit_works_on_tls() {
    let authority = Authority::new();
    let server = start(&authority.server(ClientAuth::None));
    server.slow_down(SlowLink::new().delay(Duration::from_millis(1)).bandwidth(10_000_000));
    let mut client = open(&server, &authority, None).expect("a session");
    client.call(create("/a", &[b'x'; 100_000])).expect("a reply");
    client.call(get("/a")).expect("a reply");
    server.full_speed();
    server.freeze();
    client.send(&[get("/a")]).unwrap();
    server.thaw();
    assert_eq!(client.reply().unwrap().err, ErrorCode::Ok);
    server.restart();
    assert_eq!(client.frame().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(server.connections().len(), 0);
    drop(server);
}

#[test]
fn the_program_serves_tls() {
    let authority = Authority::new();
    let directory = std::env::temp_dir().join(format!("zk-server-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let Identity { certificate, key } = authority.sign(&[(DnType::CommonName, "server")]);
    let certificate = file("certificate", &certificate);
    let key = file("key", &key);
    let users = file("users", "bob:secret\n\n");
    let mut args = vec!["--tls-address", "127.0.0.1:0", "--tls-certificate", &certificate];
    args.extend(["--tls-key", &key, "--tls-client-auth", "none"]);
    if cfg!(feature = "sasl-digest-md5") {
        args.extend(["--sasl-users", &users]);
    }
    let server = process::Process::start(&args);
    let address = server.tls_address.expect("the second line");
    let mut stream = stream_to(address, &authority, None, &BOTH);
    stream.write_all(b"ruok").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "imok");
    Client::open(server.address).expect("a session in plain text");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn options_name_what_is_wrong_and_hide_the_key() {
    let authority = Authority::new();
    let Identity { certificate, key } = authority.client();
    let other = authority.client().key;
    let no_authority = TlsOptions::new(&*certificate, &*key);
    for (options, expected) in [
        (TlsOptions::new("", &*key), "the certificate of the server cannot be used: there is no"),
        (TlsOptions::new(&*certificate, ""), "the private key of the server cannot be used"),
        (TlsOptions::new(&*certificate, &*certificate), "the private key of the server cannot"),
        (no_authority.clone(), "the authorities of clients cannot be used: there is no"),
        (
            TlsOptions::new(&*certificate, other).client_auth(ClientAuth::None),
            "the certificate of the server cannot be used",
        ),
    ] {
        let error = TestServer::start_with_tls(Config::default(), &options).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(expected), "{text}");
    }
    let shown = format!("{no_authority:?}");
    assert_eq!(shown, "TlsOptions { client_auth: Need, handshake_timeout: 10s, .. }");
}
