//! A minimal ZooKeeper client: a blocking session with one request at a time. It encodes requests by hand, so
//! that it shares no code with the library under test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::frame;

/// The timeout of a connection, and of a reply.
const LIMIT: Duration = Duration::from_secs(5);
const CLOSE_SESSION: i32 = -11;

/// The answer of the server at `address` to a four-letter word.
pub fn four_letter_word(address: SocketAddr, word: &str) -> io::Result<String> {
    four_letter_word_within(address, word, LIMIT)
}

/// As [`four_letter_word`], with a timeout.
pub fn four_letter_word_within(
    address: SocketAddr,
    word: &str,
    limit: Duration,
) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A connected session. Dropping it closes the connection and leaves the session to expire.
/// [`close`](Self::close) ends the session.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    id: i64,
    password: Vec<u8>,
    xid: i32,
}

/// The reply to a request.
#[derive(Debug)]
pub struct Reply {
    /// The zxid of the server's last transaction.
    pub zxid: i64,
    /// Zero, or an error code of the protocol.
    pub error: i32,
    /// The record after the header.
    pub body: Vec<u8>,
}

impl Session {
    /// Opens a new session with the server at `address`.
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        Self::connect(address, timeout, 0, &[0; 16])?
            .ok_or_else(|| io::Error::other("the server refused to open a session"))
    }

    /// Resumes an existing session, as its owner does after a connection loss. Returns `None` if the session
    /// has expired or the password is wrong.
    pub fn resume(address: SocketAddr, id: i64, password: &[u8]) -> io::Result<Option<Self>> {
        Self::connect(address, Duration::from_secs(60), id, password)
    }

    fn connect(
        address: SocketAddr,
        timeout: Duration,
        id: i64,
        password: &[u8],
    ) -> io::Result<Option<Self>> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut session = Self { stream, id, password: password.to_vec(), xid: 0 };

        let mut request = Vec::new();
        request.extend(0_i32.to_be_bytes()); // protocol version
        request.extend(0_i64.to_be_bytes()); // last zxid seen
        request.extend(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
        request.extend(id.to_be_bytes());
        request.extend(length(password).to_be_bytes());
        request.extend(password);
        request.push(0); // not read-only
        session.send(&request)?;

        let response = session.receive()?;
        let mut response = response.as_slice();
        let _protocol_version = i32::from_be_bytes(take(&mut response)?);
        let timeout = i32::from_be_bytes(take(&mut response)?);
        session.id = i64::from_be_bytes(take(&mut response)?);
        let length = u32::from_be_bytes(take(&mut response)?) as usize;
        let password = response.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        session.password = password.to_vec();
        Ok((timeout > 0).then_some(session))
    }

    /// The session's id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The password with which the session can be [resumed](Self::resume).
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    /// Sends a request of type `opcode` with `body` as its record, and waits for
    /// the reply. Notifications that come before it are dropped.
    pub fn request(&mut self, opcode: i32, body: &[u8]) -> io::Result<Reply> {
        self.xid += 1;
        let mut request = Vec::new();
        request.extend(self.xid.to_be_bytes());
        request.extend(opcode.to_be_bytes());
        request.extend(body);
        self.send(&request)?;
        loop {
            let reply = self.receive()?;
            let mut reply = reply.as_slice();
            let xid = i32::from_be_bytes(take(&mut reply)?);
            let zxid = i64::from_be_bytes(take(&mut reply)?);
            let error = i32::from_be_bytes(take(&mut reply)?);
            if xid == self.xid {
                return Ok(Reply { zxid, error, body: reply.to_vec() });
            }
        }
    }

    /// Ends the session.
    pub fn close(mut self) -> io::Result<()> {
        match self.request(CLOSE_SESSION, &[])?.error {
            0 => Ok(()),
            error => Err(io::Error::other(format!("closeSession failed: {error}"))),
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut bytes = length(frame).to_be_bytes().to_vec();
        bytes.extend(frame);
        self.stream.write_all(&bytes)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        frame::receive(&mut self.stream)
    }
}

/// The length of a frame, as the protocol encodes it.
fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("a frame is far shorter than 2 GiB")
}

/// Splits the next `N` bytes off `bytes`.
fn take<const N: usize>(bytes: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    *bytes = rest;
    Ok(*head)
}
