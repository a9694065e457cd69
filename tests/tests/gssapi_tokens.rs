//! The tokens of GSSAPI: servers written here, with the key of a real one or without it.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use libgssapi::{
    context::{SecurityContext, ServerCtx},
    credential::{Cred, CredUsage},
};
use zk_client::{
    Client, Error, ErrorKind, ThreadHandler,
    sasl::{GssapiOptions, SaslOptions},
};
use zk_tests::{Kdc, ScriptedConnection, ScriptedServer};

/// What ZooKeeper offers: all security layers, with large packets.
const OFFER: [u8; 4] = [7, 0, 0xff, 0xff];

fn connect(server: &ScriptedServer) -> Result<Client, Error> {
    Client::builder()
        .hosts(format!("localhost:{}", server.address().port()))
        .sasl(SaslOptions::gssapi(GssapiOptions::new()))
        .connect_timeout(Duration::from_secs(60))
        .connect_on(ThreadHandler::new())
        .get()
}

/// A server whose connections `serve` serves after the handshake.
fn server(
    serve: impl Fn(&mut ScriptedConnection) -> io::Result<()> + Send + Sync + 'static,
) -> ScriptedServer {
    ScriptedServer::new(move |_, connection| {
        connection.handshake(1)?;
        serve(connection)?;
        connection.drain()
    })
}

/// Reads the client's token. Returns it with the xid of its packet.
fn receive(connection: &mut ScriptedConnection) -> io::Result<(i32, Vec<u8>)> {
    const SASL: i32 = 102;

    let request = connection.request()?;
    assert_eq!(request.opcode, SASL, "nothing else is sent before the exchange ends");
    Ok((request.xid, request.body[4..].to_vec()))
}

fn answer(connection: &mut ScriptedConnection, xid: i32, token: &[u8]) -> io::Result<()> {
    let length = i32::try_from(token.len()).expect("a short token");
    connection.reply(xid, 0, &[&length.to_be_bytes(), token].concat())
}

fn answer_without_token(connection: &mut ScriptedConnection, xid: i32) -> io::Result<()> {
    connection.reply(xid, 0, &(-1_i32).to_be_bytes())
}

/// Takes the client's ticket. Returns the context, its answer, and the xid of the client's packet.
fn accept(connection: &mut ScriptedConnection) -> io::Result<(ServerCtx, Vec<u8>, i32)> {
    let (xid, token) = receive(connection)?;
    let key = Cred::acquire(None, None, CredUsage::Accept, None).expect("the server's key");
    let mut context = ServerCtx::new(Some(key));
    let token = context.step(&token, None).expect("a ticket").expect("an answer");
    Ok((context, token.to_vec(), xid))
}

/// Establishes a context with the client. Returns the xid of the client's last packet, which waits for the
/// offer.
fn establish(connection: &mut ScriptedConnection) -> io::Result<(ServerCtx, i32)> {
    let (context, token, xid) = accept(connection)?;
    answer(connection, xid, &token)?;
    let (xid, token) = receive(connection)?;
    assert_eq!(token, b"", "the context is established");
    Ok((context, xid))
}

/// As [`establish`], and reads the client's choice of a security layer.
fn negotiate(connection: &mut ScriptedConnection) -> io::Result<(Vec<u8>, i32)> {
    let (mut context, xid) = establish(connection)?;
    let offer = context.wrap(false, &OFFER).expect("an offer");
    answer(connection, xid, &offer)?;
    let (xid, choice) = receive(connection)?;
    Ok((context.unwrap(&choice).expect("a choice").to_vec(), xid))
}

#[track_caller]
fn assert_ends(server: &ScriptedServer, why: &str) {
    let error = connect(server).expect_err(why);
    assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error}");
    assert!(error.to_string().contains(why), "it says {why:?}: {error}");
}

#[test]
fn the_client_chooses_no_layer_and_names_its_principal() {
    Kdc::run_test("the_client_chooses_no_layer_and_names_its_principal", |kdc| {
        kdc.kinit("client", &[]);
        let (chosen, choice) = mpsc::channel();
        let server = server(move |connection| {
            let (choice, xid) = negotiate(connection)?;
            chosen.send(choice).expect("the test waits");
            answer_without_token(connection, xid)
        });
        let _zk = connect(&server).expect("a session");
        let choice = choice.recv().expect("the client's choice");
        assert_eq!(choice, [&[1, 0, 0, 0], &b"client@ZK.TEST"[..]].concat());
    });
}

#[test]
fn a_server_without_the_key_is_not_believed() {
    Kdc::run_test("a_server_without_the_key_is_not_believed", |kdc| {
        kdc.kinit("client", &[]);
        // Tokens of Kerberos begin with 0x60 and a length.
        let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
        let tokens: [&[u8]; 8] = [
            b"x",
            b"not a token of Kerberos",
            &[0; 200],
            &[0x60],
            &[0x60, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[&[0x60, 0x0d], &oid[..], &[0x02, 0x00]].concat(),
            &[&[0x60, 0x0e], &oid[..], &[0x02, 0x00, 0x6f]].concat(),
            &[0xff; 100_000],
        ];
        for token in tokens {
            let token = token.to_vec();
            let server = server(move |connection| {
                let (xid, _) = receive(connection)?;
                answer(connection, xid, &token)
            });
            assert_ends(&server, "cannot verify the answer of zookeeper@localhost");
        }
    });
}

#[test]
fn the_answer_of_another_connection_is_not_believed() {
    Kdc::run_test("the_answer_of_another_connection_is_not_believed", |kdc| {
        kdc.kinit("client", &[]);
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let record = recorded.clone();
        let real = server(move |connection| {
            let (_, token, _) = accept(connection)?;
            *record.lock().expect("a record") = token;
            // The client is left without an answer to its ticket: another server has it.
            Err(io::ErrorKind::ConnectionAborted.into())
        });
        let other = Client::builder()
            .hosts(format!("localhost:{}", real.address().port()))
            .sasl(SaslOptions::gssapi(GssapiOptions::new()))
            .build_on(ThreadHandler::new())
            .expect("good options");
        let _started = other.start_async();
        let token = zk_tests::eventually(Duration::from_secs(30), "an answer", || {
            let token = recorded.lock().expect("a record").clone();
            (!token.is_empty()).then_some(token)
        });
        let replaying = server(move |connection| {
            let (xid, _) = receive(connection)?;
            answer(connection, xid, &token)
        });
        assert_ends(&replaying, "cannot verify the answer of zookeeper@localhost");
    });
}

#[test]
fn an_invalid_offer_ends_the_client() {
    Kdc::run_test("an_invalid_offer_ends_the_client", |kdc| {
        kdc.kinit("client", &[]);
        let offers: [(&'static [u8], &str); 5] = [
            (&[6, 0, 0xff, 0xff], "no exchange without a security layer"),
            (&[], "the server's offer"),
            (&[1, 0, 0], "the server's offer"),
            (&[1, 0, 0, 0, 0], "the server's offer"),
            (&[0xff; 60_000], "the server's offer"),
        ];
        for (offer, why) in offers {
            let server = server(move |connection| {
                let (mut context, xid) = establish(connection)?;
                let offer = context.wrap(false, offer).expect("an offer");
                answer(connection, xid, &offer)
            });
            assert_ends(&server, why);
        }
    });
}

#[test]
fn an_offer_that_is_not_the_servers_is_not_believed() {
    Kdc::run_test("an_offer_that_is_not_the_servers_is_not_believed", |kdc| {
        kdc.kinit("client", &[]);
        // Without protection, nothing at all, and with each byte changed in turn.
        let plain = server(|connection| {
            let (_, xid) = establish(connection)?;
            answer(connection, xid, &OFFER)
        });
        assert_ends(&plain, "cannot verify the offer of zookeeper@localhost");
        let empty = server(|connection| {
            let (_, xid) = establish(connection)?;
            answer_without_token(connection, xid)
        });
        assert_ends(&empty, "the server's offer of security layers is empty");
        // The length of the token is 32. Bytes 6 and 7 say how far the rest is rotated, and are not protected
        // (RFC 4121, section 4.2.5): a turn by 256 bytes changes nothing here.
        for at in (0..32).filter(|at| *at != 6) {
            let changed = server(move |connection| {
                let (mut context, xid) = establish(connection)?;
                let mut offer = context.wrap(false, &OFFER).expect("an offer").to_vec();
                assert_eq!(offer.len(), 32);
                offer[at] ^= 1;
                answer(connection, xid, &offer)
            });
            assert_ends(&changed, "cannot verify the offer of zookeeper@localhost");
        }
    });
}

#[test]
fn a_token_after_the_last_one_ends_the_client() {
    Kdc::run_test("a_token_after_the_last_one_ends_the_client", |kdc| {
        kdc.kinit("client", &[]);
        let server = server(|connection| {
            let (_, xid) = negotiate(connection)?;
            answer(connection, xid, b"more")
        });
        assert_ends(&server, "a token after the last one");
    });
}
