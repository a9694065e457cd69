//! Random input: the server replies or closes the connection, and still works afterwards.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use proptest::{collection::vec, prelude::*};
use zk_proto::{
    frame::write_frame,
    jute::{Encode, Secret},
    records::ConnectRequest,
};
use zk_server::{Config, ConnectionId, Output, Server, Time};

/// An action of a client.
#[derive(Debug, Clone)]
enum Action {
    /// Sends arbitrary bytes.
    Bytes(Vec<u8>),
    /// Sends a request to connect.
    Handshake { timeout: i32, session: i64, read_only: Option<bool> },
    /// Sends a request of an existing operation with arbitrary bytes as its record.
    Request { op: i32, body: Vec<u8> },
    /// Lets time pass.
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let handshake = (any::<i32>(), 0..2_i64, any::<Option<bool>>());
    // Bytes that often look like lengths and paths.
    let body = vec(prop_oneof![Just(0), Just(0), Just(1), Just(b'/'), any::<u8>()], 0..60);
    prop_oneof![
        1 => vec(any::<u8>(), 0..40).prop_map(Action::Bytes),
        2 => handshake.prop_map(|(timeout, session, read_only)| {
            Action::Handshake { timeout, session, read_only }
        }),
        6 => (prop_oneof![-11..23_i32, 100..108_i32], body)
            .prop_map(|(op, body)| Action::Request { op, body }),
        1 => (0..30_000_u64).prop_map(Action::Wait),
    ]
}

proptest! {
    #[test]
    fn the_server_survives_any_input(actions in vec((0..2_u64, action()), 1..60)) {
        let mut server = Server::new(Config::default(), 7);
        let mut now = Time::ZERO;
        let mut numbers = [0, 1].map(ConnectionId);
        for connection in numbers {
            server.handle_connected(now, connection, "127.0.0.1:1".parse().unwrap());
        }
        for (client, action) in actions {
            let number = &mut numbers[client as usize];
            let mut bytes = BytesMut::new();
            match action {
                Action::Bytes(some) => bytes.put_slice(&some),
                Action::Handshake { timeout, session, read_only } => {
                    let request = ConnectRequest {
                        protocol_version: 0,
                        last_zxid_seen: 0,
                        timeout,
                        session_id: session,
                        password: Secret::new(None),
                        read_only: read_only.map(Into::into),
                    };
                    write_frame(&mut bytes, |out| request.encode(out));
                }
                Action::Request { op, body } => write_frame(&mut bytes, |out| {
                    out.put_i32(1);
                    out.put_i32(op);
                    out.put_slice(&body);
                }),
                Action::Wait(millis) => {
                    now = now.after(Duration::from_millis(millis));
                    server.handle_timeout(now);
                    prop_assert!(server.poll_timeout().is_none_or(|due| due > now));
                }
            }
            server.handle_data(now, *number, &bytes);
            let mut closed = Vec::new();
            while let Some(output) = server.poll_output() {
                if let Output::Disconnect(connection) = output {
                    closed.push(connection);
                }
            }
            for connection in closed {
                let sent = &mut BytesMut::new();
                server.poll_transmit(connection, sent);
                server.handle_disconnected(connection);
                let at = numbers.iter().position(|number| *number == connection).unwrap();
                numbers[at] = ConnectionId(connection.0 + 2);
                server.handle_connected(now, numbers[at], "127.0.0.1:1".parse().unwrap());
            }
        }
        // The server still works.
        let last = ConnectionId(u64::MAX);
        server.handle_connected(now, last, "127.0.0.1:1".parse().unwrap());
        server.handle_data(now, last, b"ruok");
        let mut answer = BytesMut::new();
        prop_assert!(server.poll_transmit(last, &mut answer));
        prop_assert_eq!(answer.as_ref(), b"imok");
    }
}
