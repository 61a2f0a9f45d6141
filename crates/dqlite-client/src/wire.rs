//! One connection under tokio: a stream and the session on it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use dqlite_proto::{ProtocolError, Session};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Empty};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::clock;
use crate::error::{Error, Loss, Result};
use crate::exchange::{self, Drain, Exchange, Stop};
use crate::transport;

/// Room made for each read.
const READ_BYTES_MAX: usize = 64 << 10;

/// What a session can run on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    /// Has what came in acknowledged at once, where that is a question.
    fn hurry(&self) {}

    /// Whether nothing has come and nobody has closed it. Asks the kernel: what tokio knows is as
    /// old as its last look.
    fn is_quiet(&self) -> bool;
}

impl Stream for TcpStream {
    fn hurry(&self) {
        transport::hurry(&SockRef::from(self));
    }

    fn is_quiet(&self) -> bool {
        transport::is_quiet(&SockRef::from(self))
    }
}

impl Stream for UnixStream {
    fn is_quiet(&self) -> bool {
        transport::is_quiet(&SockRef::from(self))
    }
}

impl Stream for Empty {
    fn is_quiet(&self) -> bool {
        false
    }
}

/// A connection. Every exchange may be given up by dropping its future: a server that can is told
/// to end it, and what is left of it is read and thrown away before the next one begins.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    session: Session,
    address: Address,
    /// A part of a reply has come, and more is due.
    mid_reply: bool,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>, session: Session, address: Address) -> Self {
        Self {
            stream,
            session,
            address,
            mid_reply: false,
        }
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) const fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether a request would be the first thing that happens. Nothing is sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.session.is_idle() && !self.session.is_lost() && self.stream.is_quiet()
    }

    /// Makes sure that a request would reach somebody; see [`crate::fd`]'s function of that name.
    pub(crate) async fn ready(&mut self, deadline: Instant) -> Result<()> {
        self.cut();
        if self.session.is_lost() {
            return Err(Error::ended(self.address.as_str()));
        }
        if !self.session.is_idle() {
            let drained = self.bounded(&mut Drain, deadline).await;
            drained.map_err(|stop| stop.plain(&mut self.session, self.address.as_str()))?;
        } else if !self.stream.is_quiet() {
            self.session.lose();
        }
        if self.session.is_lost() {
            return Err(Error::ended(self.address.as_str()));
        }
        Ok(())
    }

    /// Drives an exchange to its end, at most until `deadline`.
    pub(crate) async fn run<X: Exchange>(
        &mut self,
        exchange: &mut X,
        deadline: Instant,
    ) -> Result<X::Output> {
        let mut call = Call {
            wire: self,
            is_over: false,
        };
        let mut result = call.wire.bounded(exchange, deadline).await;
        if let Err(Stop::Late(after)) = result
            && exchange.stop()
            && exchange::end(&mut call.wire.session)
        {
            let until = clock::now() + exchange::GRACE;
            result = Stop::ended(after, call.wire.bounded(exchange, until).await);
        }
        call.is_over = true;
        drop(call);
        let result =
            result.map_err(|stop| stop.settle(exchange, &mut self.session, self.address.as_str()));
        self.hang_up();
        result
    }

    /// Gives up what is under way, without waiting; a server that can is told to end it.
    pub(crate) fn cut(&mut self) {
        if exchange::cut(&mut self.session) {
            // What the kernel does not take now is sent with the next call.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self.write(&mut cx);
        }
        self.hang_up();
    }

    /// Closes the connection if half a request is on its way: its rest will never come.
    fn hang_up(&mut self) {
        if self.session.is_cut() {
            self.stream = Box::new(tokio::io::empty());
        }
    }

    async fn bounded<X: Exchange>(
        &mut self,
        exchange: &mut X,
        deadline: Instant,
    ) -> Result<X::Output, Stop> {
        let started = clock::now();
        let driven = tokio::time::timeout_at(deadline.into(), self.drive(exchange));
        driven
            .await
            .unwrap_or_else(|_| Err(Stop::Late(deadline.saturating_duration_since(started))))
    }

    async fn drive<X: Exchange>(&mut self, exchange: &mut X) -> Result<X::Output, Stop> {
        loop {
            while let Some(event) = self.session.event().map_err(|error| self.garbage(error))? {
                let output = exchange.event(&mut self.session, event).map_err(Stop::of)?;
                if let Some(output) = output {
                    return Ok(output);
                }
            }
            if let Some(output) = exchange.rest(&self.session) {
                return Ok(output);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Stop> {
        match poll_fn(|cx| self.poll(cx)).await {
            Ok(0) => Err(self.broken(Loss::Closed)),
            Ok(_) => {
                self.mid_reply = true;
                Ok(())
            }
            Err(error) => Err(self.broken(Loss::Io(error))),
        }
    }

    /// Reads once, for a reply that is taken from the session as it comes.
    pub(crate) async fn more(&mut self, deadline: Instant) -> Result<()> {
        let started = clock::now();
        let read = tokio::time::timeout_at(deadline.into(), self.read()).await;
        let read = read.unwrap_or_else(|_| Err(Stop::Late(deadline - started)));
        read.map_err(|stop| stop.plain(&mut self.session, self.address.as_str()))
    }

    /// Writes what there is to write, and reads. A server that refuses may close at once, so what
    /// it said is read even when writing has failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.session.pending() <= 1 && !self.session.output().is_empty() {
            self.mid_reply = false;
        }
        let failed = self.write(cx).err();
        if self.mid_reply && self.session.pending() > 0 {
            self.stream.hurry();
        }
        let input = self.session.input();
        input.reserve(READ_BYTES_MAX);
        match (pin!(self.stream.read_buf(input)).poll(cx), failed) {
            (Poll::Pending, Some(error)) => Poll::Ready(Err(error)),
            (read, _) => read,
        }
    }

    /// Writes as much as the kernel takes.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.session.output().is_empty() {
            match Pin::new(&mut *self.stream).poll_write(cx, self.session.output()) {
                Poll::Ready(Ok(bytes)) => self.session.sent(bytes),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn garbage(&mut self, error: ProtocolError) -> Stop {
        if error == ProtocolError::EmptyPart {
            // The server writes for ever. Kept open and unread it stands still; closed, it would
            // hold the read transaction and a thread until it restarts.
            std::mem::forget(std::mem::replace(
                &mut self.stream,
                Box::new(tokio::io::empty()),
            ));
        }
        self.broken(Loss::Protocol(error))
    }

    fn broken(&self, loss: Loss) -> Stop {
        Stop::Broken(Error::lost(self.address.as_str(), loss))
    }
}

/// A call under way; dropped before its end, it is given up.
struct Call<'w> {
    wire: &'w mut Wire,
    is_over: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.wire.cut();
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
