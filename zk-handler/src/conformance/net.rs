//! Tests of connections and name resolution.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    pin::Pin,
    sync::{Mutex, PoisonError, mpsc::channel},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use super::util::{
    Gate, Pattern, Rng, accept, connect, echo, echo_back, listen, pair, poll_once, read,
    read_exact, read_to_end, recv, run, spawn, write_all,
};
use crate::{AsyncRead, AsyncWrite, Handler};

/// A connection carries bytes in both directions.
pub fn connect_carries_bytes_both_ways<H: Handler>(handler: H) {
    let (mut stream, mut peer) = pair(&handler);
    let answer = spawn(&handler, async move {
        write_all(&mut stream, b"question").await?;
        read_to_end(&mut stream).await
    });
    let mut question = [0; 8];
    peer.read_exact(&mut question).expect("the question");
    assert_eq!(&question, b"question");
    peer.write_all(b"answer").expect("the answer");
    drop(peer);
    assert_eq!(recv(&answer, "an answer").expect("an answer"), b"answer");
}

/// A second small write does not wait for the acknowledgement of the first. With Nagle's algorithm and delayed
/// acknowledgements, that would take 40 ms.
pub fn connect_sets_nodelay<H: Handler>(handler: H) {
    const ROUNDS: usize = 60;
    let (mut stream, mut peer) = pair(&handler);
    let took = spawn(&handler, async move {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            write_all(&mut stream, b"a").await?;
            write_all(&mut stream, b"b").await?;
            read_exact(&mut stream, &mut [0]).await?;
            took.push(begun.elapsed());
        }
        std::io::Result::Ok(took)
    });
    for _ in 0..ROUNDS {
        peer.read_exact(&mut [0; 2]).expect("two bytes");
        peer.write_all(b"c").expect("to write");
    }
    let took = recv(&took, "the rounds").expect("the rounds");
    let slow = took.iter().filter(|took| **took > Duration::from_millis(25)).count();
    assert!(slow <= ROUNDS / 2, "{slow} of {ROUNDS} rounds were slow: is TCP_NODELAY set?");
}

/// Connections over IPv6 work, if the machine has IPv6.
pub fn connect_works_over_ipv6<H: Handler>(handler: H) {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
    let address = listener.local_addr().expect("an address");
    let stream = run(&handler, "connect", connect(handler.clone(), address)).expect("connect");
    let peer = accept(&listener);
    drop(stream);
    assert_eq!(echo_back(peer).expect("the end"), 0);
}

/// If nothing listens at the address, the error is `ConnectionRefused`.
pub fn connect_to_a_closed_port_is_refused<H: Handler>(handler: H) {
    // The local port of a connection: nothing listens on it, and no other program gets it.
    let (_listener, address) = listen();
    let taken = TcpStream::connect(address).expect("a connection");
    let unused = taken.local_addr().expect("its address");
    let refused = run(&handler, "connect", connect(handler.clone(), unused));
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
}

/// Dropping the future ends the attempt, and leaves no connection open.
pub fn connect_can_be_cancelled<H: Handler>(handler: H) {
    for _ in 0..50 {
        let (listener, address) = listen();
        let inside = handler.clone();
        run(&handler, "an attempt", async move { drop(poll_once(inside.connect(address)).await) });
        // The attempt may or may not have established a connection. If it has, that is accepted first, and must be
        // closed. If not, the next connection is the one that is opened here.
        let end =
            TcpStream::connect(address).expect("a connection").local_addr().expect("an address");
        loop {
            let (mut peer, from) = listener.accept().expect("a connection");
            if from == end {
                break;
            }
            peer.set_read_timeout(Some(super::util::TIMEOUT)).expect("a time-out");
            // Either the end of the stream or a reset.
            assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0);
        }
    }
}

/// A thousand connections at once, all in use; fewer if the limit of open files is low. Each connection takes two files,
/// one for each end.
pub fn connect_handles_a_thousand_connections<H: Handler>(handler: H) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let count = 1000.min(files_to_spare() / 2);
    if count < 1000 {
        #[expect(clippy::print_stdout, reason = "shown if a test fails")]
        {
            println!("{count} connections instead of 1000: the limit on open files is low");
        }
    }
    let (listener, address) = listen();
    let (accepted, peers) = channel();
    thread::spawn(move || {
        let peers: Vec<_> = (0..count).map(|_| accept(&listener)).collect();
        let _ = accepted.send(peers);
    });
    let all_connected = Gate::default();
    let (connected, connections) = channel();
    let (answered, answers) = channel();
    for number in 0..count as u64 {
        let (connected, answered) = (connected.clone(), answered.clone());
        let (all_connected, inside) = (all_connected.clone(), handler.clone());
        handler.spawn(async move {
            let stream = inside.connect(address).await;
            let _ = connected.send(stream.as_ref().map(|_| ()).map_err(ToString::to_string));
            let Ok(mut stream) = stream else { return };
            let exchange = async {
                let mut answer = [0; 8];
                // Send at once: a listener whose backlog has overflowed may not know a connection that the client
                // considers established, until it receives data.
                write_all(&mut stream, &number.to_be_bytes()).await?;
                all_connected.opened().await;
                read_exact(&mut stream, &mut answer).await?;
                std::io::Result::Ok(u64::from_be_bytes(answer) == number + 1)
            };
            let _ = answered.send(exchange.await.map_err(|error| error.to_string()));
        });
    }
    for number in 0..count {
        let connected = recv(&connections, &format!("connection {number} of {count}"));
        connected.unwrap_or_else(|error| panic!("connection {number} of {count}: {error}"));
    }
    let mut peers = recv(&peers, "all connections");
    all_connected.open();
    for peer in &mut peers {
        let mut number = [0; 8];
        peer.read_exact(&mut number).expect("a number");
        peer.write_all(&(u64::from_be_bytes(number) + 1).to_be_bytes()).expect("to write");
    }
    for number in 0..count {
        assert_eq!(recv(&answers, &format!("answer {number} of {count}")), Ok(true));
    }
}

/// How many more files this process may open, less some for other tests.
fn files_to_spare() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = limit.and_then(|line| line.split_whitespace().nth(3));
    let soft = match soft {
        Some("unlimited") => usize::MAX,
        soft => soft.and_then(|number| number.parse().ok()).unwrap_or(256),
    };
    let open = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    soft.saturating_sub(open + 128)
}

/// A read that exactly fills its buffer does not prevent the next read from being woken.
pub fn stream_fills_buffers_exactly<H: Handler>(handler: H) {
    let (mut stream, peer) = pair(&handler);
    let echoing = thread::spawn(move || echo_back(peer));
    let exchange = run(&handler, "all rounds", async move {
        let pattern = Pattern::new();
        let mut rng = Rng(3);
        let mut buffer = vec![0; 3000];
        for round in 0..1000 {
            let size = 1 + rng.below(3000);
            write_all(&mut stream, pattern.at(round..round + size)).await?;
            read_exact(&mut stream, &mut buffer[..size]).await?;
            assert!(&buffer[..size] == pattern.at(round..round + size), "other bytes than sent");
        }
        std::io::Result::Ok(())
    });
    exchange.expect("all rounds");
    echoing.join().expect("the peer").expect("the peer");
}

/// The last bytes and the end of the stream right after them are both read, whatever the timing.
pub fn stream_ends_after_its_last_bytes<H: Handler>(handler: H) {
    const ROUNDS: usize = 200;
    let (listener, address) = listen();
    let sending = thread::spawn(move || {
        for round in 0..ROUNDS {
            let mut peer = accept(&listener);
            peer.write_all(&[7; 100]).expect("to write");
            if round % 2 == 0 {
                thread::yield_now();
            }
        }
    });
    let inside = handler.clone();
    let ends = run(&handler, "all ends", async move {
        for round in 0..ROUNDS {
            let mut stream = inside.connect(address).await?;
            if round % 3 == 0 {
                super::util::yield_now().await;
            }
            assert_eq!(read_to_end(&mut stream).await?, [7; 100]);
        }
        std::io::Result::Ok(())
    });
    ends.expect("all ends");
    sending.join().expect("the peer");
}

/// After the peer has shut down its writing side, writing still works.
pub fn stream_survives_half_close_by_the_peer<H: Handler>(handler: H) {
    let (mut stream, mut peer) = pair(&handler);
    peer.write_all(b"last").expect("to write");
    peer.shutdown(Shutdown::Write).expect("to shut down");
    let (ended, end) = channel();
    let writing = spawn(&handler, async move {
        let said = read_to_end(&mut stream).await?;
        // Another read returns the end again.
        assert_eq!(read(&mut stream, &mut [0]).await?, 0);
        let _ = ended.send(said);
        for _ in 0..100 {
            write_all(&mut stream, b"still here").await?;
        }
        std::io::Result::Ok(())
    });
    assert_eq!(recv(&end, "the end"), b"last");
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("what follows");
    assert_eq!(received.len(), 1000);
    recv(&writing, "to write").expect("to write");
}

/// `poll_close` ends the stream for the peer. What the peer sends afterwards still arrives.
pub fn stream_can_be_half_closed<H: Handler>(handler: H) {
    let (mut stream, mut peer) = pair(&handler);
    let answer = spawn(&handler, async move {
        write_all(&mut stream, b"last").await?;
        poll_fn(|context| Pin::new(&mut stream).poll_close(context)).await?;
        read_to_end(&mut stream).await
    });
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("the end");
    assert_eq!(received, b"last");
    peer.write_all(b"answer").expect("to write");
    drop(peer);
    assert_eq!(recv(&answer, "an answer").expect("an answer"), b"answer");
}

/// A reset ends reads and writes, with or without an error.
pub fn stream_reset_by_the_peer_does_not_hang<H: Handler>(handler: H) {
    let (mut stream, peer) = pair(&handler);
    let (waiting, waits) = channel::<()>();
    let ended = spawn(&handler, async move {
        write_all(&mut stream, b"never read").await.expect("to write");
        let mut waiting = Some(waiting);
        let read = poll_fn(|context| {
            let poll = Pin::new(&mut stream).poll_read(context, &mut [0]);
            waiting.take();
            poll
        })
        .await;
        for _ in 0..10_000 {
            if let Err(error) = write_all(&mut stream, &[0; 1000]).await {
                return (read.unwrap_or(0), Some(error.kind()));
            }
        }
        (read.unwrap_or(0), None)
    });
    assert!(waits.recv_timeout(super::util::TIMEOUT).is_err());
    assert_eq!(peer.peek(&mut [0]).expect("something to read"), 1);
    // Closing a socket with unread data resets the connection.
    drop(peer);
    let (read, error) = recv(&ended, "the reader and the writer to end");
    assert_eq!(read, 0);
    assert!(error.is_some(), "writes to a connection that was reset never fail");
}

/// A writer blocks while the peer does not read, and continues when it does. No bytes are lost.
pub fn stream_applies_backpressure<H: Handler>(handler: H) {
    const LIMIT: usize = 1 << 28;
    const MORE: usize = 1 << 21;
    let (mut stream, mut peer) = pair(&handler);
    let (blocked, blocks) = channel();
    let written = spawn(&handler, async move {
        let pattern = Pattern::new();
        let (mut written, mut goal) = (0, LIMIT);
        while written < goal {
            let bytes = pattern.at(written..written + (goal - written).min(Pattern::MAX_LEN));
            written += poll_fn(|context| {
                let poll = Pin::new(&mut stream).poll_write(context, bytes);
                if poll.is_pending() && goal == LIMIT {
                    goal = written + MORE;
                    let _ = blocked.send(());
                }
                poll
            })
            .await?;
        }
        std::io::Result::Ok(written)
    });
    recv(&blocks, "the writer to block");
    let pattern = Pattern::new();
    let mut buffer = vec![0; Pattern::MAX_LEN];
    let mut received = 0;
    loop {
        let count = peer.read(&mut buffer).expect("to read");
        if count == 0 {
            break;
        }
        assert!(
            &buffer[..count] == pattern.at(received..received + count),
            "other bytes than sent"
        );
        received += count;
    }
    let written = recv(&written, "the writer").expect("to write");
    assert!(written < LIMIT, "the writer never blocked");
    assert_eq!(received, written);
}

/// One task sends and receives megabytes at the same time, in pieces of various sizes.
pub fn stream_carries_megabytes_both_ways<H: Handler>(handler: H) {
    const TOTAL: usize = 4 << 20;
    let (mut stream, peer) = pair(&handler);
    let mut writer = peer.try_clone().expect("a clone");
    let writing = thread::spawn(move || {
        let (pattern, mut rng, mut written) = (Pattern::new(), Rng(5), 0);
        while written < TOTAL {
            let size = (1 + rng.below(Pattern::MAX_LEN)).min(TOTAL - written);
            writer.write_all(pattern.at(written..written + size)).expect("to write");
            written += size;
        }
    });
    let mut reader = peer;
    let reading = thread::spawn(move || {
        let (pattern, mut rng, mut received) = (Pattern::new(), Rng(6), 0);
        let mut buffer = vec![0; Pattern::MAX_LEN];
        while received < TOTAL {
            let size = 1 + rng.below(Pattern::MAX_LEN);
            let count = reader.read(&mut buffer[..size]).expect("to read");
            assert!(count > 0, "the end after {received} bytes");
            assert!(&buffer[..count] == pattern.at(received..received + count), "other bytes");
            received += count;
        }
    });
    let exchange = run(&handler, "megabytes", async move {
        let (pattern, mut rng) = (Pattern::new(), Rng(8));
        let (mut written, mut received) = (0, 0);
        let mut buffer = vec![0; Pattern::MAX_LEN];
        poll_fn(|context| {
            loop {
                let mut stream = Pin::new(&mut stream);
                let mut pending = true;
                if written < TOTAL {
                    let size = (1 + rng.below(Pattern::MAX_LEN)).min(TOTAL - written);
                    let bytes = pattern.at(written..written + size);
                    if let Poll::Ready(count) = stream.as_mut().poll_write(context, bytes)? {
                        written += count;
                        pending = false;
                    }
                }
                if received < TOTAL {
                    let size = 1 + rng.below(Pattern::MAX_LEN);
                    let poll = stream.as_mut().poll_read(context, &mut buffer[..size])?;
                    if let Poll::Ready(count) = poll {
                        assert!(count > 0, "the end after {received} bytes");
                        let expected = pattern.at(received..received + count);
                        assert!(&buffer[..count] == expected, "other bytes than sent");
                        received += count;
                        pending = false;
                    }
                }
                if (written, received) == (TOTAL, TOTAL) {
                    return Poll::Ready(std::io::Result::Ok(()));
                }
                if pending {
                    return Poll::Pending;
                }
            }
        })
        .await
    });
    exchange.expect("megabytes");
    writing.join().expect("the peer's writer");
    reading.join().expect("the peer's reader");
}

/// Dropping a stream closes the connection, even if a read is pending.
pub fn stream_closes_when_dropped<H: Handler>(handler: H) {
    let (stream, peer) = pair(&handler);
    drop(stream);
    assert_eq!(echo_back(peer).expect("the end"), 0);
    let (mut stream, peer) = pair(&handler);
    run(&handler, "a read", async move {
        assert!(poll_once(read(&mut stream, &mut [0])).await.is_none(), "nothing was sent");
    });
    assert_eq!(echo_back(peer).expect("the end"), 0);
}

/// If a stream is polled by one task and then by another, the last one is woken.
pub fn stream_can_move_between_tasks<H: Handler>(handler: H) {
    let (stream, peer) = pair(&handler);
    let echoing = thread::spawn(move || echo_back(peer));
    let mut stream = run(&handler, "the first task", async move {
        let mut stream = stream;
        assert!(poll_once(read(&mut stream, &mut [0])).await.is_none(), "nothing was sent");
        stream
    });
    for _ in 0..10 {
        stream = run(&handler, "the next task", async move {
            echo(&mut stream, 10).await.expect("an echo");
            assert!(poll_once(read(&mut stream, &mut [0])).await.is_none(), "nothing was sent");
            stream
        });
    }
    drop(stream);
    echoing.join().expect("the peer").expect("the peer");
}

fn resolve<H: Handler>(handler: &H, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let (inside, host) = (handler.clone(), host.to_owned());
    run(handler, "to resolve", async move { inside.resolve(&host, port).await })
}

/// IP addresses are resolved at once, without a lookup.
pub fn resolve_returns_literal_addresses_at_once<H: Handler>(handler: H) {
    for address in ["127.0.0.1", "::1", "192.0.2.7", "2001:db8::7"] {
        let expected = SocketAddr::new(address.parse().expect("an address"), 2181);
        let inside = handler.clone();
        let found =
            run(
                &handler,
                "a first look",
                async move { poll_once(inside.resolve(address, 2181)).await },
            );
        let found = found.unwrap_or_else(|| panic!("{address} is not resolved at once"));
        assert_eq!(found.expect(address), [expected]);
    }
}

/// A name resolves to all the addresses that the system knows.
pub fn resolve_agrees_with_the_system<H: Handler>(handler: H) {
    let system = ("localhost", 2181).to_socket_addrs().expect("localhost");
    let found = resolve(&handler, "localhost", 2181).expect("localhost");
    assert!(!found.is_empty(), "no address");
    assert!(found.iter().all(|address| address.port() == 2181 && address.ip().is_loopback()));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), system.collect());
}

/// An invalid name is an error: no label of a name has more than 63 characters.
pub fn resolve_fails_for_an_unknown_host<H: Handler>(handler: H) {
    let name = format!("{}.invalid", "x".repeat(64));
    let found = resolve(&handler, &name, 2181);
    assert!(found.is_err(), "{found:?}");
}

/// Dropped lookups do not affect later ones.
pub fn resolve_can_be_cancelled<H: Handler>(handler: H) {
    let inside = handler.clone();
    let found = run(&handler, "to resolve", async move {
        for _ in 0..50 {
            drop(poll_once(inside.resolve("localhost", 1)).await);
        }
        inside.resolve("localhost", 2181).await
    });
    assert!(!found.expect("localhost").is_empty());
}

/// The stream implements the traits of `futures-io`.
#[expect(dead_code, reason = "a check by the compiler")]
fn stream_is_a_stream<H: Handler>(stream: H::Stream) -> impl AsyncRead + AsyncWrite + Unpin + Send {
    stream
}
