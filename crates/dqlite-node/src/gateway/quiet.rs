//! A socket that wakes its task for what was asked for, and for nothing else.
//!
//! The runtime's own streams are always told of room to write as well: each message that a peer
//! takes out wakes the writer, who has nothing to write. At the speed of a point query those idle
//! wake-ups are half of what a gateway costs.

use std::cell::RefCell;
use std::future::Future as _;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::flow::trim;

const SCRATCH_BYTES: usize = 64 << 10;
const LOOK_EVERY: Duration = Duration::from_millis(2);

thread_local! {
    /// What was read a moment ago: the memory of a connection grows with what it has to keep.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// A connected stream socket.
#[derive(Debug)]
pub(crate) struct Quiet {
    socket: AsyncFd<Socket>,
    /// There while the socket takes no more.
    full: Option<Full>,
}

/// How room in a full socket is awaited.
#[derive(Debug)]
enum Full {
    /// Told by the kernel, through a descriptor of its own.
    Watched(AsyncFd<OwnedFd>),
    /// Looked for again: the process has no descriptor to spare.
    Unwatched(Pin<Box<Sleep>>),
}

/// What a look at a stream has shown.
#[derive(Debug)]
pub(super) enum Look {
    /// So many bytes; 0 at the end of the stream.
    Came(io::Result<usize>),
    Nothing,
    /// Only the runtime can tell.
    Blind,
}

impl Full {
    fn of(socket: &Socket) -> Self {
        let twin = socket.as_fd().try_clone_to_owned();
        match twin.and_then(|twin| watch(twin, Interest::WRITABLE)) {
            Ok(twin) => Self::Watched(twin),
            Err(_) => Self::Unwatched(Box::pin(sleep(LOOK_EVERY))),
        }
    }
}

impl Quiet {
    /// Takes a socket that does not block.
    pub(crate) fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = Socket::from(socket.into());
        Ok(Self {
            socket: watch(socket, Interest::READABLE)?,
            full: None,
        })
    }

    /// Adds what there is to `buffer`; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        buffer: &mut BytesMut,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        trim(buffer);
        SCRATCH.with_borrow_mut(|scratch| {
            let read = ready!(self.poll_take(scratch, context))?;
            buffer.extend_from_slice(&scratch[..read]);
            Poll::Ready(Ok(read))
        })
    }

    /// The same without being told that there is something.
    pub(super) fn look(&self, buffer: &mut BytesMut) -> Look {
        trim(buffer);
        SCRATCH.with_borrow_mut(|scratch| match self.socket.get_ref().read(scratch) {
            Ok(read) => {
                buffer.extend_from_slice(&scratch[..read]);
                Look::Came(Ok(read))
            }
            Err(reason) => match reason.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Look::Nothing,
                _ => Look::Came(Err(reason)),
            },
        })
    }

    fn poll_take(&self, into: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            match guard.try_io(|socket| socket.get_ref().read(into)) {
                Ok(Ok(read)) => {
                    // *Kernel*: what comes behind a short read, or an end, is told anew.
                    if read > 0 && read < into.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Ok(Err(reason)) if reason.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(reason)) => return Poll::Ready(Err(reason)),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_put(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let wrote = match &mut self.full {
                None => self.socket.get_ref().write(bytes),
                Some(Full::Unwatched(pause)) => {
                    ready!(pause.as_mut().poll(context));
                    self.full = None;
                    continue;
                }
                Some(Full::Watched(full)) => {
                    let mut guard = ready!(full.poll_write_ready(context))?;
                    match guard.try_io(|_| self.socket.get_ref().write(bytes)) {
                        Ok(wrote) => wrote,
                        Err(_would_block) => continue,
                    }
                }
            };
            match wrote {
                Err(reason) if reason.kind() == io::ErrorKind::WouldBlock => {
                    self.full = Some(Full::of(self.socket.get_ref()));
                }
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                wrote => return Poll::Ready(wrote),
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor asks for the proof that the descriptor stays open: an owner's does"
)]
fn watch<T: Into<OwnedFd> + AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsFd for Quiet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl AsyncRead for Quiet {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.poll_take(buffer.initialize_unfilled(), context))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_put(bytes, context)
    }

    /// Called when everything was taken: room is no news any more.
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.full = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (Quiet, Quiet) {
        let (one, other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        (Quiet::new(one).unwrap(), Quiet::new(other).unwrap())
    }

    #[tokio::test]
    async fn more_than_a_socket_holds_passes_in_both_directions() {
        let (mut one, mut other) = pair();
        let sent: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        for _ in 0..2 {
            let (wrote, mut got) = (sent.clone(), vec![0; sent.len()]);
            let (wrote, read) = tokio::join!(
                async {
                    one.write_all(&wrote).await?;
                    one.flush().await
                },
                other.read_exact(&mut got)
            );
            wrote.unwrap();
            read.unwrap();
            assert!(got == sent);
            assert!(one.full.is_none());
            std::mem::swap(&mut one, &mut other);
        }
    }

    #[tokio::test]
    async fn without_a_descriptor_to_spare_room_is_looked_for() {
        let (mut one, mut other) = pair();
        let sent = vec![7; 3 << 20];
        one.full = Some(Full::Unwatched(Box::pin(sleep(LOOK_EVERY))));
        let mut got = vec![0; sent.len()];
        let (wrote, read) = tokio::join!(one.write_all(&sent), other.read_exact(&mut got));
        wrote.unwrap();
        read.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn bytes_and_an_end_that_were_there_together_are_both_seen() {
        let (mut one, mut other) = pair();
        one.write_all(b"last words").await.unwrap();
        one.shutdown().await.unwrap();
        let mut buffer = BytesMut::new();
        let mut read = async || {
            std::future::poll_fn(|context| other.poll_fill(&mut buffer, context))
                .await
                .unwrap()
        };
        assert_eq!(read().await, 10);
        assert_eq!(read().await, 0);
        assert_eq!(&buffer[..], b"last words");
    }

    #[tokio::test]
    async fn a_look_finds_what_came_and_the_end_and_spoils_no_later_wait() {
        let (one, mut other) = pair();
        let mut buffer = BytesMut::new();
        assert!(matches!(one.look(&mut buffer), Look::Nothing));
        other.write_all(b"first").await.unwrap();
        assert!(matches!(one.look(&mut buffer), Look::Came(Ok(5))));
        assert_eq!(&buffer[..], b"first");
        let mut one = one;
        let (told, sent) = tokio::join!(
            std::future::poll_fn(|context| one.poll_fill(&mut buffer, context)),
            other.write_all(b" second")
        );
        assert_eq!(told.unwrap(), 7);
        sent.unwrap();
        assert_eq!(&buffer[..], b"first second");
        drop(other);
        assert!(matches!(one.look(&mut buffer), Look::Came(Ok(0))));
    }

    #[tokio::test]
    async fn what_comes_later_wakes_the_reader() {
        let (mut one, mut other) = pair();
        let later = tokio::spawn(async move {
            for byte in 0..100 {
                one.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        for byte in 0..100 {
            assert_eq!(other.read_u8().await.unwrap(), byte);
        }
        later.await.unwrap();
    }
}
