//! What the gateway asks of a client's stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use bytes::BytesMut;
use dqlite_client::tls::Peer;
use dqlite_client::tls::stream::Stream;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite};

use super::flow;
use super::quiet::{Look, Quiet};

/// A stream of bytes to and from a client.
pub(crate) trait Client: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Whether the other end has closed, although not all that it sent was read.
    fn has_left(&self) -> bool;

    /// Who it is by its certificate; nobody in particular without TLS.
    fn certificate(&self) -> Option<Peer> {
        None
    }

    /// Adds what there is to `buffer`; 0 at the end of the stream.
    fn poll_fill(
        &mut self,
        buffer: &mut BytesMut,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        Self: Sized,
    {
        flow::poll_fill(self, buffer, context)
    }

    /// The same without being told that there is something.
    fn look(&mut self, _: &mut BytesMut) -> Look {
        Look::Blind
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

impl Client for Quiet {
    fn has_left(&self) -> bool {
        is_hung_up(self.as_fd())
    }

    fn poll_fill(
        &mut self,
        buffer: &mut BytesMut,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_fill(buffer, context)
    }

    fn look(&mut self, buffer: &mut BytesMut) -> Look {
        Self::look(self, buffer)
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
    use std::os::unix::net::UnixStream;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_peer_s_end_shows_behind_what_was_not_read() {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let (near, mut far) = (Quiet::new(near).unwrap(), Quiet::new(far).unwrap());
        assert!(!near.has_left());
        far.write_all(b"unread").await.unwrap();
        assert!(!near.has_left());
        drop(far);
        assert!(near.has_left());
    }
}
