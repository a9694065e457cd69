//! The stub: a server that does as little as possible, in a process of its own, so that the client dominates what is
//! measured.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio, exit},
    thread,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    ErrorCode, OpCode, Response,
    frame::{DEFAULT_MAX_BUFFER, Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{
        ConnectRequest, ConnectResponse, GetDataRequest, GetDataResponse, ReplyHeader,
        RequestHeader, Stat,
    },
};

use crate::{DATA_LEN, LARGE_LEN, LARGE_PATH};

/// The argument that makes a benchmark run as the stub.
const ARGUMENT: &str = "--be-the-stub";

/// Runs the stub if this process was started for that. Must be called first in `main`.
pub fn serve_if_asked() {
    if env::args().any(|argument| argument == ARGUMENT) {
        let served = serve();
        exit(i32::from(served.is_err()));
    }
}

/// The process of the stub.
#[derive(Debug)]
pub(crate) struct Stub {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Stub {
    pub(crate) fn start() -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { process, address })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until the standard input ends, which happens when the parent process ends.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

/// Serves one connection, with one write for all requests of one read.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = FrameReader::new(DEFAULT_MAX_BUFFER);
    let mut output = BytesMut::new();
    let mut greeted = false;
    loop {
        let read = stream.read(input.spare())?;
        if read == 0 {
            return Ok(());
        }
        input.advance(read);
        while let Some(frame) = input.next_frame().map_err(io::Error::other)? {
            let Frame::Whole(packet) = frame else { return Ok(()) };
            if greeted {
                reply(&packet, &mut output).map_err(io::Error::other)?;
            } else {
                greet(&packet, &mut output).map_err(io::Error::other)?;
                greeted = true;
            }
        }
        stream.write_all(&output)?;
        output.clear();
    }
}

fn greet(packet: &Bytes, output: &mut BytesMut) -> Result<(), zk_proto::DecodeError> {
    let request = ConnectRequest::decode_all(packet)?;
    let response = ConnectResponse {
        protocol_version: 0,
        timeout: request.timeout,
        session_id: 1,
        password: Secret::new(Some(Bytes::from_static(&[1; 16]))),
        read_only: request.read_only.map(|_| false.into()),
    };
    write_frame(output, |out| response.encode(out));
    Ok(())
}

fn reply(packet: &Bytes, output: &mut BytesMut) -> Result<(), zk_proto::DecodeError> {
    static DATA: [u8; DATA_LEN] = [b'x'; DATA_LEN];
    static LARGE: [u8; LARGE_LEN] = [b'x'; LARGE_LEN];

    let mut reader = Reader::new(packet);
    let request = RequestHeader::decode(&mut reader)?;
    let header = ReplyHeader { xid: request.xid, zxid: 1, err: ErrorCode::Ok };
    let response = match request.op {
        OpCode::GetData => {
            let path = GetDataRequest::decode(&mut reader)?.path;
            let data: &[u8] = if path == LARGE_PATH { &LARGE } else { &DATA };
            let data = Some(Bytes::from_static(data));
            Response::GetData(GetDataResponse { data, stat: Stat::default() })
        }
        _ => Response::Empty,
    };
    write_frame(output, |out| response.encode(&header, out));
    Ok(())
}
