//! Moves bytes between a client and its own connection to the engine.
//!
//! Nothing is held beyond one bounded buffer per direction: when one side cannot take more, the
//! other is not read. When the client goes away, what the engine still owes is read to the end
//! and thrown away before the engine's side is closed (see [`Flight`] for the reason).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::flight::Flight;

const BUFFER_BYTES: usize = 64 << 10;

/// How far the gateway is with its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Connections live as long as their clients want.
    Serving,
    /// A connection ends as soon as it is owed nothing.
    Draining,
    /// Clients are cut off; what the engine still owes is thrown away.
    Cutting,
}

/// Serves one client until either side ends; `first` is what was read of it already.
pub(super) async fn run<C>(
    client: C,
    engine: UnixStream,
    first: &[u8],
    permit: OwnedSemaphorePermit,
    mut phase: watch::Receiver<Phase>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut relay = Relay {
        client: Some(client),
        engine,
        up: Pipe::holding(first),
        down: Pipe::holding(&[]),
        flight: Flight::new(),
        leaving: false,
        permit: Some(permit),
    };
    loop {
        let now = *phase.borrow_and_update();
        relay.leaving |= now >= Phase::Draining && !relay.flight.is_raft();
        if now == Phase::Cutting {
            relay.client = None;
        }
        tokio::select! {
            () = std::future::poll_fn(|context| relay.poll(context)) => return,
            changed = phase.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

struct Relay<C> {
    /// `None` once the client is gone: replies are thrown away from then on.
    client: Option<C>,
    engine: UnixStream,
    up: Pipe,
    down: Pipe,
    flight: Flight,
    /// No more requests are taken; the relay ends when the engine owes nothing.
    leaving: bool,
    /// Held while the connection counts against the limit.
    permit: Option<OwnedSemaphorePermit>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Relay<C> {
    /// Ready at the end of the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_up(context) {
            Poll::Ready(Err(Broken::Engine)) => return Poll::Ready(()),
            Poll::Ready(Err(Broken::Client)) => self.client = None,
            Poll::Ready(Ok(())) => self.leaving = true,
            Poll::Pending => {}
        }
        loop {
            if self.is_over() {
                return Poll::Ready(());
            }
            match ready!(self.poll_down(context)) {
                Err(Broken::Engine) => return Poll::Ready(()),
                Err(Broken::Client) => self.client = None,
                Ok(()) => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        if self.client.is_some() && !(self.leaving && self.up.is_empty()) {
            return false;
        }
        self.flight.is_raft() || self.flight.owed() == 0 && self.down.is_empty()
    }

    /// Client to engine; ready when the client has no more to say.
    fn poll_up(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.up.is_empty() {
                let Some(client) = self.client.as_mut().filter(|_| !self.leaving) else {
                    return Poll::Pending;
                };
                let filled = ready!(self.up.poll_fill(client, context));
                if filled.map_err(|_| Broken::Client)? == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            let taken = ready!(self.up.poll_drain(&mut self.engine, context));
            let taken = taken.map_err(|_| Broken::Engine)?;
            self.flight.sent(taken).map_err(|_| Broken::Client)?;
            if self.flight.is_raft() {
                self.permit = None;
            }
        }
    }

    /// Engine to client: one piece further.
    fn poll_down(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.down.is_empty() {
            let filled = ready!(self.down.poll_fill(&mut self.engine, context));
            if filled.map_err(|_| Broken::Engine)? == 0 {
                return Poll::Ready(Err(Broken::Engine));
            }
            if !self.flight.is_raft() {
                self.flight
                    .received(self.down.held())
                    .map_err(|_| Broken::Engine)?;
            }
        }
        match &mut self.client {
            None => self.down.clear(),
            Some(client) => {
                let written = ready!(self.down.poll_drain(client, context));
                written.map_err(|_| Broken::Client)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

enum Broken {
    Client,
    Engine,
}

/// A buffer that is filled when it is empty and drained until it is.
struct Pipe {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Pipe {
    fn holding(first: &[u8]) -> Self {
        let mut bytes = vec![0; BUFFER_BYTES].into_boxed_slice();
        bytes[..first.len()].copy_from_slice(first);
        Self {
            bytes,
            start: 0,
            end: first.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn clear(&mut self) {
        self.start = self.end;
    }

    /// Reads into the empty buffer; 0 at the end of the stream.
    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        from: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(&mut self.bytes);
        ready!(Pin::new(from).poll_read(context, &mut space))?;
        (self.start, self.end) = (0, space.filled().len());
        Poll::Ready(Ok(self.end))
    }

    /// Writes what the stream takes, and returns just that.
    fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        to: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&[u8]>> {
        let start = self.start;
        let written = ready!(Pin::new(to).poll_write(context, &self.bytes[start..self.end]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.start += written;
        Poll::Ready(Ok(&self.bytes[start..self.start]))
    }
}
