//! Ways to servers that are not the kernel's: a tunnel, a proxy, a network that a test made up.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::address::Address;
use crate::config::Config;
use crate::wire::Stream;

/// Opens connections for the asynchronous driver; see [`Config::with_dialer`].
///
/// The search bounds how long it may take. Of a configuration with TLS the handshake is with the
/// server, through whatever the dialer has opened; else encryption is the dialer's own affair.
///
/// ```no_run
/// use dqlite_client::{Address, dialer::{Dialer, Dialling, Socket}};
///
/// #[derive(Debug)]
/// struct Tunnel;
///
/// impl Dialer for Tunnel {
///     fn dial(&self, address: &Address) -> Dialling {
///         let target = address.to_string();
///         Box::pin(async move {
///             let mut tunnel = tokio::net::TcpStream::connect("tunnel:1080").await?;
///             tokio::io::AsyncWriteExt::write_all(&mut tunnel, target.as_bytes()).await?;
///             Ok(Box::new(tunnel) as Box<dyn Socket>)
///         })
///     }
/// }
/// ```
///
/// [`Config::with_dialer`]: crate::Config::with_dialer
pub trait Dialer: Send + Sync + fmt::Debug {
    /// Connects to a server.
    fn dial(&self, address: &Address) -> Dialling;
}

/// A connection being opened.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Socket>>> + Send>>;

/// What bytes travel on.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Config {
    /// The same with connections of the asynchronous driver opened by `dialer`.
    #[must_use]
    pub fn with_dialer(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }
}

/// A connection that somebody else has opened.
pub(crate) struct Dialled(Mutex<Box<dyn Socket>>);

impl Dialled {
    pub(crate) fn new(socket: Box<dyn Socket>) -> Self {
        Self(Mutex::new(socket))
    }

    fn socket(self: Pin<&mut Self>) -> Pin<&mut Box<dyn Socket>> {
        let socket = self.get_mut().0.get_mut();
        Pin::new(socket.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stream for Dialled {
    fn is_quiet(&self) -> bool {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cx = Context::from_waker(Waker::noop());
        // Whatever is there to be read, the session is over: the byte is not missed.
        let mut byte = [0];
        let read = Pin::new(&mut *socket).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }
}

impl AsyncRead for Dialled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_read(cx, into)
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}
