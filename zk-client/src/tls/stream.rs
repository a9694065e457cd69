//! [`TlsStream`]: TLS over a handler's stream, by `futures-rustls`.
//!
//! It adds three things:
//! - errors that say what is the matter ([`explain`]);
//! - whatever arrived before the connection broke is read before the error is returned;
//! - reads from the socket are larger than rustls' 4 kB ([`Buffered`]).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_rustls::TlsConnector;
use rustls::{ClientConfig, ProtocolVersion, pki_types::ServerName};
use zk_handler::{AsyncRead, AsyncWrite};
use zk_proto::HostPort;

use crate::tls::explain::{Peer, explain};

pub(crate) struct TlsStream<S> {
    inner: futures_rustls::client::TlsStream<Buffered<S>>,
    peer: Peer,
    /// The error that ends the connection, as soon as everything before it has been read.
    failed: Option<io::Error>,
}

/// Does the handshake on a new connection. Nothing else is sent before it has ended well.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: &HostPort,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let has_identity = config.client_auth_cert_resolver.has_certs();
    let mut peer = Peer { name: name.clone(), has_identity, is_open: false, has_answered: false };
    let connecting = TlsConnector::from(config).connect(name, Buffered::new(stream));
    match connecting.into_fallible().await {
        Ok(inner) => {
            let session = inner.get_ref().1;
            tracing::debug!(
                %host,
                protocol = session.protocol_version().and_then(|version| ProtocolVersion::as_str(&version)),
                cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
                handshake = ?session.handshake_kind(),
                "TLS is established"
            );
            peer.is_open = true;
            Ok(TlsStream { inner, peer, failed: None })
        }
        Err((error, stream)) => {
            peer.has_answered = stream.has_received;
            Err(explain(error, &peer))
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Reads the records that have arrived already, as rustls returns 16 kB at once, the length of a record. `read` bytes
    /// of `buffer` are there. Returns how many there are then.
    fn read_on(&mut self, context: &mut Context<'_>, buffer: &mut [u8], mut read: usize) -> usize {
        while self.inner.get_ref().0.has_unread()
            && let Some(rest @ [_, ..]) = buffer.get_mut(read..)
        {
            match Pin::new(&mut self.inner).poll_read(context, rest) {
                Poll::Ready(Ok(more @ 1..)) => read = read.saturating_add(more),
                // The next read returns the end again.
                Poll::Ready(Ok(_)) | Poll::Pending => break,
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        read
    }

    /// Tells the server that the connection ends, as far as this is possible without waiting.
    pub(crate) fn close_now(&mut self, context: &mut Context<'_>) {
        let _ = Pin::new(&mut self.inner).poll_close(context);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.failed.is_none() {
            match ready!(Pin::new(&mut this.inner).poll_read(context, buffer)) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(read) => {
                    this.peer.has_answered = true;
                    return Poll::Ready(Ok(this.read_on(context, buffer, read)));
                }
                Err(error) => this.failed = Some(error),
            }
        }
        // What rustls has decrypted before the error is still there.
        let session = this.inner.get_mut().1;
        if let Ok(read @ 1..) = io::Read::read(&mut session.reader(), buffer) {
            return Poll::Ready(Ok(read));
        }
        let error = this.failed.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(Err(explain(error, &this.peer)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

const SMALLEST: usize = 4 << 10;
const LARGEST: usize = 64 << 10;

/// Reads from the socket as much as there is, since rustls asks for 4 kB at once.
struct Buffered<S> {
    stream: S,
    buffer: Vec<u8>,
    /// What was read and not taken yet.
    start: usize,
    end: usize,
    has_received: bool,
}

impl<S> Buffered<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; SMALLEST], start: 0, end: 0, has_received: false }
    }

    const fn has_unread(&self) -> bool {
        self.start < self.end
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.has_unread() {
            if this.end == this.buffer.len() && this.buffer.len() < LARGEST {
                this.buffer.resize(this.buffer.len().saturating_mul(2), 0);
            }
            (this.start, this.end) = (0, 0);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut this.buffer))?;
            this.end = read.min(this.buffer.len());
            this.has_received |= read > 0;
        }
        let received = this.buffer.get(this.start..this.end).unwrap_or_default();
        let taken = received.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..taken), received.get(..taken)) {
            to.copy_from_slice(from);
        }
        this.start = this.start.saturating_add(taken);
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(context)
    }
}
