//! The stub: a server that does as little as possible, in a process of its own, so that the client dominates what is
//! measured.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, exit},
    sync::Arc,
    thread,
};

use bytes::{Bytes, BytesMut};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use zk_proto::{
    ErrorCode, OpCode, Response,
    frame::{DEFAULT_MAX_BUFFER, Frame, FrameReader, write_frame},
    jute::{Decode, Encode, Reader, Secret},
    records::{
        ConnectRequest, ConnectResponse, GetDataRequest, GetDataResponse, ReplyHeader,
        RequestHeader, Stat,
    },
};

use crate::{DATA_LEN, HUGE_LEN, HUGE_PATH, LARGE_LEN, LARGE_PATH};

/// The argument that makes a benchmark run as the stub.
const ARGUMENT: &str = "--be-the-stub";

/// The service of a stub that speaks the protocol of ZooKeeper.
pub(crate) const ZOOKEEPER: &str = "zookeeper";

/// The length of a request to an echo.
pub(crate) const ECHO_LEN: usize = 40;

/// Runs the stub if this process was started for that. Must be called first in `main`.
pub fn serve_if_asked() {
    let mut arguments = env::args().skip_while(|argument| argument != ARGUMENT).skip(1);
    if let Some(service) = arguments.next() {
        let files: Vec<_> = arguments.map(PathBuf::from).collect();
        let served = match &files[..] {
            [chain, key] => {
                server_config(chain, key).and_then(|config| serve(&service, Some(&config)))
            }
            _ => serve(&service, None),
        };
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
    /// Starts a stub that does `service`: [`ZOOKEEPER`], or the length of the answers of an echo. With a certificate
    /// and its key, it takes TLS.
    pub(crate) fn start(service: &str, tls: Option<(&Path, &Path)>) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args([ARGUMENT, service])
            .args(tls.iter().flat_map(|(chain, key)| [chain, key]))
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

fn server_config(chain: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(chain).map_err(io::Error::other)?;
    let chain = chain.collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(chain, key).map_err(io::Error::other)?))
}

/// Serves until the standard input ends, which happens when the parent process ends.
fn serve(service: &str, tls: Option<&Arc<ServerConfig>>) -> io::Result<()> {
    let (tls, echo) = (tls.cloned(), service.parse::<usize>().ok());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            match tls.clone().map(ServerConnection::new) {
                Some(Ok(session)) => {
                    let stream = StreamOwned::new(session, stream);
                    thread::spawn(move || answer_or_echo(stream, echo))
                }
                _ => thread::spawn(move || answer_or_echo(stream, echo)),
            };
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn answer_or_echo(stream: impl Read + Write, echo: Option<usize>) -> io::Result<()> {
    match echo {
        Some(length) => serve_echo(stream, length),
        None => answer(stream),
    }
}

/// Answers each request of [`ECHO_LEN`] bytes with `length` bytes, with one write for all requests of one read.
fn serve_echo(mut stream: impl Read + Write, length: usize) -> io::Result<()> {
    let (mut input, mut pending, mut output) = (vec![0; 64 << 10], 0, Vec::new());
    loop {
        let read = stream.read(&mut input)?;
        if read == 0 {
            return Ok(());
        }
        pending += read;
        output.resize(pending / ECHO_LEN * length, b'x');
        pending %= ECHO_LEN;
        stream.write_all(&output)?;
        stream.flush()?;
    }
}

/// Serves one connection, with one write for all requests of one read.
fn answer(mut stream: impl Read + Write) -> io::Result<()> {
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
        stream.flush()?;
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
    static HUGE: [u8; HUGE_LEN] = [b'x'; HUGE_LEN];

    let mut reader = Reader::new(packet);
    let request = RequestHeader::decode(&mut reader)?;
    let header = ReplyHeader { xid: request.xid, zxid: 1, err: ErrorCode::Ok };
    let response = match request.op {
        OpCode::GetData => {
            let path = GetDataRequest::decode(&mut reader)?.path;
            let data: &[u8] = match path {
                LARGE_PATH => &LARGE,
                HUGE_PATH => &HUGE,
                _ => &DATA,
            };
            let data = Some(Bytes::from_static(data));
            Response::GetData(GetDataResponse { data, stat: Stat::default() })
        }
        _ => Response::Empty,
    };
    write_frame(output, |out| response.encode(&header, out));
    Ok(())
}
