//! What the gateway asks of a client's stream.

use std::os::fd::{AsFd, BorrowedFd};

use dqlite_client::tls::Peer;
use dqlite_client::tls::stream::Stream;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream of bytes to and from a client.
pub(crate) trait Client: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Whether the other end has closed, although not all that it sent was read.
    fn has_left(&self) -> bool;

    /// Who it is by its certificate; nobody in particular without TLS.
    fn certificate(&self) -> Option<Peer> {
        None
    }
}

impl Client for Stream {
    fn has_left(&self) -> bool {
        is_hung_up(self.socket().as_fd())
    }

    fn certificate(&self) -> Option<Peer> {
        self.peer()
    }
}

impl Client for TcpStream {
    fn has_left(&self) -> bool {
        is_hung_up(self.as_fd())
    }
}

impl Client for UnixStream {
    fn has_left(&self) -> bool {
        is_hung_up(self.as_fd())
    }
}

#[cfg(test)]
impl Client for tokio::io::DuplexStream {
    fn has_left(&self) -> bool {
        false
    }
}

/// Whether the peer of a socket has closed it.
pub(crate) fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    let closed = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let ended = closed | PollFlags::POLLHUP | PollFlags::POLLERR;
    let mut asked = [PollFd::new(socket, closed)];
    let answered = poll(&mut asked, PollTimeout::ZERO).unwrap_or(0);
    let [asked] = asked;
    // `None` is a flag that the crate has no name for: the one asked for.
    answered > 0 && asked.revents().is_none_or(|seen| seen.intersects(ended))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_peer_s_end_shows_behind_what_was_not_read() {
        let (near, mut far) = UnixStream::pair().unwrap();
        assert!(!near.has_left());
        far.write_all(b"unread").await.unwrap();
        assert!(!near.has_left());
        drop(far);
        assert!(near.has_left());
    }
}
