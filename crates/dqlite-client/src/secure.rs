//! What stands between a session and its socket: nothing, or TLS.

use std::io::{self, Read as _};

use bytes::BytesMut;
use socket2::Socket;

#[cfg(feature = "tls")]
use crate::address::Address;
#[cfg(feature = "tokio")]
use crate::dialer;
use crate::error::AttemptKind;
#[cfg(feature = "tls")]
use crate::tls::{Tls, TlsError};
#[cfg(all(feature = "tls", feature = "tokio"))]
use crate::transport;
#[cfg(feature = "tokio")]
use crate::wire::Stream;
#[cfg(all(feature = "tls", feature = "tokio"))]
use socket2::SockRef;
#[cfg(feature = "tokio")]
use tokio::net::TcpStream;

/// How connections over TCP are secured.
#[derive(Clone, Debug, Default)]
pub(crate) enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// By TLS.
    #[cfg(feature = "tls")]
    Tls(Tls),
}

/// The state between a session and a socket that does not block.
#[derive(Debug)]
pub(crate) enum Channel {
    /// Bytes pass as they are.
    Plain,
    /// They pass encrypted.
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::Channel>),
}

/// A way to a server that is not one.
pub(crate) type Missed = (AttemptKind, String);

/// Bytes with which a server that speaks TLS answers to one who speaks none: the content type of
/// an alert, the first byte of every version.
const ALERT: [u8; 2] = [21, 3];

impl Security {
    /// Begins a connection to `address`; Unix sockets are protected by their mode.
    #[cfg(feature = "tls")]
    pub(crate) fn channel(&self, address: &Address) -> Result<Channel, Missed> {
        match (self, address.host()) {
            (Self::Tls(tls), Some(host)) => crate::tls::Channel::client(&tls.identity(), host)
                .map(|channel| Channel::Tls(Box::new(channel)))
                .map_err(|error| missed(&error)),
            _ => Ok(Channel::Plain),
        }
    }

    /// Begins a connection.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, reason = "its twin may fail")]
    pub(crate) fn channel(&self, _: &crate::address::Address) -> Result<Channel, Missed> {
        match self {
            Self::Plain => Ok(Channel::Plain),
        }
    }
}

/// Under tokio.
#[cfg(feature = "tokio")]
impl Security {
    /// Secures a connection to `address`; it is verified before this returns.
    #[cfg(feature = "tls")]
    pub(crate) async fn stream(
        &self,
        address: &Address,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, Missed> {
        match (self, address.host()) {
            (Self::Tls(tls), Some(host)) => {
                let secured = crate::tls::stream::connect(&tls.identity(), host, stream).await;
                let secured = secured.map_err(|error| missed(&error))?;
                Ok(Box::new(secured))
            }
            _ => Ok(Box::new(stream)),
        }
    }

    /// Secures a connection.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "its twin waits")]
    pub(crate) async fn stream(
        &self,
        _: &crate::address::Address,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, Missed> {
        match self {
            Self::Plain => Ok(Box::new(stream)),
        }
    }
}

/// For sockets that somebody else has opened.
#[cfg(feature = "tokio")]
impl Security {
    /// Secures a connection to `address` on its way through a dialer.
    #[cfg(feature = "tls")]
    pub(crate) async fn socket(
        &self,
        address: &Address,
        socket: Box<dyn dialer::Socket>,
    ) -> Result<Box<dyn dialer::Socket>, Missed> {
        match (self, address.host()) {
            (Self::Tls(tls), Some(host)) => {
                let secured = crate::tls::stream::connect(&tls.identity(), host, socket).await;
                Ok(Box::new(secured.map_err(|error| missed(&error))?))
            }
            _ => Ok(socket),
        }
    }

    /// Leaves a connection as it is.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "its twin waits")]
    pub(crate) async fn socket(
        &self,
        _: &crate::address::Address,
        socket: Box<dyn dialer::Socket>,
    ) -> Result<Box<dyn dialer::Socket>, Missed> {
        match self {
            Self::Plain => Ok(socket),
        }
    }
}

#[cfg(all(feature = "tls", feature = "tokio"))]
impl Stream for crate::tls::stream::Stream {
    fn hurry(&self) {
        transport::hurry(&SockRef::from(self.socket()));
    }

    fn is_quiet(&self) -> bool {
        !self.holds_bytes() && transport::is_quiet(&SockRef::from(self.socket()))
    }
}

impl Channel {
    /// Whether bytes of the caller may pass.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(feature = "tls")]
            Self::Tls(channel) => channel.is_open(),
        }
    }

    /// Takes bytes and hands what it can to the kernel.
    pub(crate) fn send(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain => socket.send_with_flags(bytes, nix::libc::MSG_NOSIGNAL),
            #[cfg(feature = "tls")]
            Self::Tls(channel) => channel.send(socket, bytes),
        }
    }

    /// Hands to the kernel what was taken before; `false` when some is left.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "nothing waits without TLS")
    )]
    pub(crate) fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        match self {
            Self::Plain => {
                let _ = socket;
                Ok(true)
            }
            #[cfg(feature = "tls")]
            Self::Tls(channel) => channel.flush(socket),
        }
    }

    /// Reads once and appends to `input`; 0 at the end.
    pub(crate) fn fill(
        &mut self,
        socket: &Socket,
        scratch: &mut [u8],
        input: &mut BytesMut,
    ) -> io::Result<usize> {
        match self {
            Self::Plain => {
                let bytes = (&mut &*socket).read(scratch)?;
                input.extend_from_slice(&scratch[..bytes]);
                Ok(bytes)
            }
            #[cfg(feature = "tls")]
            Self::Tls(channel) => channel.fill(socket, scratch, input),
        }
    }

    /// Says goodbye, where that is a question.
    pub(crate) fn close(&mut self, socket: &Socket) {
        match self {
            Self::Plain => {
                let _ = socket;
            }
            #[cfg(feature = "tls")]
            Self::Tls(channel) => channel.close(socket),
        }
    }
}

/// What a failed handshake means for a search.
#[cfg(feature = "tls")]
pub(crate) fn missed(error: &TlsError) -> Missed {
    let kind = if error.is_passing() {
        AttemptKind::Closed
    } else {
        AttemptKind::Tls
    };
    (kind, format!("tls: {error}"))
}

/// The same, if an error of a connection is one.
#[cfg(feature = "tls")]
pub(crate) fn refusal(error: &io::Error) -> Option<Missed> {
    TlsError::within(error).as_ref().map(missed)
}

/// Without TLS there is none.
#[cfg(not(feature = "tls"))]
pub(crate) const fn refusal(_: &io::Error) -> Option<Missed> {
    None
}

/// What it means when the server's first bytes are these and it has closed the connection.
pub(crate) fn answered_in_tls(bytes: &[u8]) -> Option<Missed> {
    bytes.starts_with(&ALERT).then(|| {
        let text = "tls: the server speaks TLS and this connection does not; use dqlites://";
        (AttemptKind::Tls, text.to_owned())
    })
}
