//! A minimal client on a blocking socket.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    AddWatchMode, CreateMode, OPEN_ACL_UNSAFE, Request,
    frame::{Frame, FrameReader, write_frame},
    jute::{Decode as _, Encode as _, Reader, Secret},
    records::*,
};

/// How long a reply may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A connection with a session.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    pub(crate) session: i64,
    incoming: FrameReader,
    xid: i32,
}

impl Client {
    /// Opens a session.
    pub(crate) fn open(server: SocketAddr) -> io::Result<Self> {
        Self::over(connect(server)?)
    }
}

/// A connection without a session.
pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    Ok(socket)
}

impl<S: io::Read + io::Write> Client<S> {
    /// Opens a session on a connection.
    pub(crate) fn over(socket: S) -> io::Result<Self> {
        let mut client = Self { socket, session: 0, incoming: FrameReader::new(4 << 20), xid: 0 };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 60_000,
            session_id: 0,
            password: Secret::new(None),
            read_only: Some(false.into()),
        };
        let mut packet = BytesMut::new();
        write_frame(&mut packet, |out| request.encode(out));
        client.socket.write_all(&packet)?;
        let response = ConnectResponse::decode_all(&client.frame()?).map_err(io::Error::other)?;
        client.session = response.session_id;
        Ok(client)
    }

    /// Sends requests without waiting for replies.
    pub(crate) fn send(&mut self, requests: &[Request<'_>]) -> io::Result<()> {
        let mut packets = BytesMut::new();
        for request in requests {
            self.xid += 1;
            write_frame(&mut packets, |out| request.encode(self.xid, out));
        }
        self.socket.write_all(&packets)
    }

    /// The next packet, without its length.
    pub(crate) fn frame(&mut self) -> io::Result<Bytes> {
        loop {
            match self.incoming.next_frame().map_err(io::Error::other)? {
                Some(Frame::Whole(frame)) => return Ok(frame),
                Some(_) => return Err(io::Error::other("a packet over the limit")),
                None => {}
            }
            let len = self.socket.read(self.incoming.spare())?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.incoming.advance(len);
        }
    }

    /// The header of the next reply or event.
    pub(crate) fn reply(&mut self) -> io::Result<ReplyHeader> {
        let frame = self.frame()?;
        ReplyHeader::decode(&mut Reader::new(&frame)).map_err(io::Error::other)
    }

    /// Sends a request, and returns the header of the next reply or event.
    pub(crate) fn call(&mut self, request: Request<'_>) -> io::Result<ReplyHeader> {
        self.send(&[request])?;
        self.reply()
    }
}

/// A request to create a persistent znode.
pub(crate) fn create<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::Create(CreateRequest {
        path,
        data: Some(data),
        acl: Some(OPEN_ACL_UNSAFE.as_slice().into()),
        flags: CreateMode::Persistent,
    })
}

/// A request for the data of a znode.
pub(crate) fn get(path: &str) -> Request<'_> {
    Request::GetData(GetDataRequest { path, watch: false.into() })
}

/// A request to set the data of a znode.
pub(crate) const fn set<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::SetData(SetDataRequest { path, data: Some(data), version: -1 })
}

/// A request to watch a znode and its descendants.
pub(crate) const fn watch_recursively(path: &str) -> Request<'_> {
    Request::AddWatch(AddWatchRequest { path, mode: AddWatchMode::PersistentRecursive })
}
