//! [`Transport`]: whether the connections of a client use TLS, and [`Stream`], one of its connections.
//!
//! It is decided once for a client, so that all of its connections to all hosts are alike. Without the features of TLS,
//! there is nothing to decide, and a [`Stream`] is the handler's stream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use zk_handler::{AsyncRead, AsyncWrite};
use zk_proto::HostPort;

#[cfg(feature = "tls-no-provider")]
use {
    crate::tls::{TlsSource, TlsStream, handshake},
    rustls::{ClientConfig, pki_types::ServerName},
};

/// How the connections of a client are made.
#[derive(Clone, Default)]
pub(crate) struct Transport {
    #[cfg(feature = "tls-no-provider")]
    pub(crate) tls: Option<Arc<TlsSource>>,
}

/// What one connection to a host needs beside the handler's stream.
pub(crate) struct Wrap {
    #[cfg(feature = "tls-no-provider")]
    tls: Option<(Arc<ClientConfig>, ServerName<'static>, Arc<HostPort>)>,
}

/// A connection: the handler's stream, or TLS on it.
pub(crate) enum Stream<S> {
    Plain(S),
    #[cfg(feature = "tls-no-provider")]
    Tls(Box<TlsStream<S>>),
}

impl Transport {
    /// Prepares a connection to `host`.
    #[cfg(feature = "tls-no-provider")]
    pub(crate) async fn prepare(&self, host: &Arc<HostPort>) -> io::Result<Wrap> {
        let Some(tls) = &self.tls else { return Ok(Wrap { tls: None }) };
        let name = tls.name_of(&host.host).map_err(io::Error::other)?;
        Ok(Wrap { tls: Some((tls.config().await?, name, host.clone())) })
    }

    /// Prepares a connection to `host`.
    #[cfg(not(feature = "tls-no-provider"))]
    pub(crate) async fn prepare(&self, _: &Arc<HostPort>) -> io::Result<Wrap> {
        Ok(Wrap {})
    }
}

impl Wrap {
    /// Turns a new stream of the handler into a connection, by a handshake if there is TLS.
    pub(crate) async fn wrap<S>(&self, stream: S) -> io::Result<Stream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        #[cfg(feature = "tls-no-provider")]
        if let Some((config, name, host)) = &self.tls {
            let stream = handshake(config.clone(), name.clone(), host, stream).await?;
            return Ok(Stream::Tls(Box::new(stream)));
        }
        Ok(Stream::Plain(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Whether there is no TLS.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Flushes what was written, and tells the server that the connection ends, as far as this is possible without
    /// waiting. The connection is dropped next.
    pub(crate) fn close_now(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Plain(stream) => {
                let _ = Pin::new(stream).poll_flush(context);
            }
            #[cfg(feature = "tls-no-provider")]
            Self::Tls(stream) => stream.close_now(context),
        }
    }
}

/// Calls a method of the stream, whichever it is.
macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(feature = "tls-no-provider")]
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_read, context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_close, context)
    }
}
