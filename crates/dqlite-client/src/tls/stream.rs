//! TLS under tokio: dialling and accepting.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::channel::speaks_no_tls;
use super::{Identity, Peer, TlsError};

/// What is read from the kernel at once; the library alone asks for 4 KiB.
const READ_BYTES: usize = 64 << 10;
/// The content type with which every client begins.
const HANDSHAKE: u8 = 22;

/// An encrypted connection whose peer is verified.
#[derive(Debug)]
pub struct Stream<S = TcpStream> {
    inner: TlsStream<BufReader<S>>,
}

/// Shakes hands with a server that was dialled as `host`.
///
/// Bound it by a timeout: the server may say nothing at all.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    identity: &Identity,
    host: &str,
    stream: S,
) -> Result<Stream<S>, TlsError> {
    let (config, seen) = identity.client()?;
    let name = identity.name(host)?;
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    let result = TlsConnector::from(config).connect(name, stream).await;
    match result {
        Ok(inner) => Ok(Stream {
            inner: inner.into(),
        }),
        Err(error) => Err(explain(&error, seen.get())),
    }
}

/// Shakes hands with a client that must show a certificate, within `limit`.
pub async fn accept(
    identity: &Identity,
    stream: TcpStream,
    limit: Duration,
) -> Result<Stream, TlsError> {
    let (config, seen) = identity.server()?;
    let mut first = [0; 8];
    let late = |_| TlsError::new("no TLS handshake in time");
    let shaken = async {
        let read = stream.peek(&mut first).await;
        let foreign = matches!(first.first(), Some(byte) if *byte != HANDSHAKE);
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let accepted = TlsAcceptor::from(config).accept(stream).await;
        match (accepted, read) {
            (Ok(inner), _) => Ok(Stream {
                inner: inner.into(),
            }),
            (Err(_), Ok(read)) if foreign && read > 0 => Err(speaks_no_tls(&first[..read])),
            (Err(error), _) => Err(explain(&error, seen.get())),
        }
    };
    timeout(limit, shaken).await.map_err(late)?
}

impl<S> Stream<S> {
    /// Who is at the other end.
    pub fn peer(&self) -> Option<Peer> {
        let (_, state) = self.inner.get_ref();
        let chain = state.peer_certificates()?;
        Some(Peer::new(
            chain.iter().map(|der| der.clone().into_owned()).collect(),
        ))
    }

    /// The socket below.
    pub fn socket(&self) -> &S
    where
        S: AsyncRead,
    {
        self.inner.get_ref().0.get_ref()
    }

    /// Whether bytes have been read from the socket that nobody has asked for yet.
    pub(crate) fn holds_bytes(&self) -> bool
    where
        S: AsyncRead,
    {
        !self.inner.get_ref().0.buffer().is_empty()
    }
}

fn explain(error: &io::Error, seen: Option<&String>) -> TlsError {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return TlsError::of(error, seen);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TlsError::closed(),
        _ => TlsError::network(error),
    }
}

/// Gives the library's errors in our words.
fn reworded<T>(polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    polled.map_err(|error| TlsError::within(&error).map_or(error, TlsError::into_io))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The library keeps what the kernel did not take; who waits for an answer writes no more.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.inner).poll_flush(cx) {
            tracing::debug!(target: "dqlite", %error, "cannot be written to any more");
        }
        match Pin::new(&mut self.inner).poll_read(cx, into) {
            // Every message of the protocol says how long it is: an end without goodbye is an end.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            polled => reworded(polled),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        reworded(Pin::new(&mut self.inner).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        reworded(Pin::new(&mut self.inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        reworded(Pin::new(&mut self.inner).poll_shutdown(cx))
    }
}
