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

#[cfg(test)]
mod tests {
    use dqlite_proto::frame::HANDSHAKE;
    use dqlite_proto::rows::PART;
    use dqlite_proto::{Header, Request, ResponseKind};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;

    struct Rig {
        client: DuplexStream,
        engine: UnixStream,
        phase: watch::Sender<Phase>,
        permits: std::sync::Arc<Semaphore>,
        relay: JoinHandle<()>,
    }

    /// A relay between a client with a small window and an engine played by the test.
    async fn rig() -> Rig {
        let (client, near) = duplex(1024);
        let (engine, far) = UnixStream::pair().unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        let permits = std::sync::Arc::new(Semaphore::new(1));
        let permit = std::sync::Arc::clone(&permits).try_acquire_owned().unwrap();
        let relay = tokio::spawn(async move {
            run(near, far, &HANDSHAKE.to_le_bytes(), permit, phases).await;
        });
        let mut rig = Rig {
            client,
            engine,
            phase,
            permits,
            relay,
        };
        assert_eq!(rig.engine.read_u64_le().await.unwrap(), HANDSHAKE);
        rig
    }

    fn request(request: &Request<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        request.encode(0, &mut bytes).unwrap();
        bytes
    }

    fn reply(kind: ResponseKind, words: u32, last: u64) -> Vec<u8> {
        let mut bytes = Header {
            words,
            kind: kind.0,
            schema: 0,
        }
        .encode()
        .to_vec();
        bytes.resize(words as usize * 8, 7);
        bytes.extend(last.to_le_bytes());
        bytes
    }

    #[tokio::test]
    async fn bytes_pass_unchanged_in_both_directions() {
        let mut rig = rig().await;
        let asked = request(&Request::Leader);
        rig.client.write_all(&asked).await.unwrap();
        let mut seen = vec![0; asked.len()];
        rig.engine.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, asked);
        let answer = reply(ResponseKind::SERVER, 2, 0);
        rig.engine.write_all(&answer).await.unwrap();
        let mut seen = vec![0; answer.len()];
        rig.client.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, answer);
        drop(rig.client);
        rig.relay.await.unwrap();
        assert_eq!(rig.engine.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_vanished_client_s_result_is_read_to_its_end() {
        let mut rig = rig().await;
        rig.client
            .write_all(&request(&Request::Leader))
            .await
            .unwrap();
        rig.engine.read_exact(&mut [0; 16]).await.unwrap();
        let part = reply(ResponseKind::ROWS, 512, PART);
        rig.engine.write_all(&part).await.unwrap();
        drop(rig.client);
        for _ in 0..1000 {
            rig.engine.write_all(&part).await.unwrap();
        }
        assert!(!rig.relay.is_finished(), "the result is not complete");
        rig.engine
            .write_all(&reply(ResponseKind::ROWS, 2, u64::MAX))
            .await
            .unwrap();
        rig.relay.await.unwrap();
    }

    #[tokio::test]
    async fn a_draining_gateway_answers_what_was_asked_and_no_more() {
        let mut rig = rig().await;
        rig.client
            .write_all(&request(&Request::Leader))
            .await
            .unwrap();
        rig.engine.read_exact(&mut [0; 16]).await.unwrap();
        rig.phase.send_replace(Phase::Draining);
        tokio::task::yield_now().await;
        assert!(!rig.relay.is_finished(), "a reply is owed");
        let answer = reply(ResponseKind::SERVER, 2, 0);
        rig.engine.write_all(&answer).await.unwrap();
        let mut seen = Vec::new();
        rig.client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, answer);
        rig.relay.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_and_the_rest_thrown_away() {
        let mut rig = rig().await;
        rig.client
            .write_all(&request(&Request::Leader))
            .await
            .unwrap();
        rig.engine.read_exact(&mut [0; 16]).await.unwrap();
        rig.phase.send_replace(Phase::Cutting);
        let part = reply(ResponseKind::ROWS, 512, PART);
        for _ in 0..1000 {
            rig.engine.write_all(&part).await.unwrap();
        }
        rig.engine
            .write_all(&reply(ResponseKind::ROWS, 2, u64::MAX))
            .await
            .unwrap();
        rig.relay.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_between_engines_does_not_count_and_is_not_parsed() {
        let mut rig = rig().await;
        let connect = request(&Request::Connect {
            id: 2,
            address: "b:1",
        });
        rig.client.write_all(&connect).await.unwrap();
        rig.engine
            .read_exact(&mut vec![0; connect.len()])
            .await
            .unwrap();
        rig.client.write_all(&[0xff; 4096]).await.unwrap();
        rig.engine.read_exact(&mut [0; 4096]).await.unwrap();
        assert_eq!(rig.permits.available_permits(), 1);
        rig.phase.send_replace(Phase::Draining);
        rig.client.write_all(&[1; 64]).await.unwrap();
        rig.engine.read_exact(&mut [0; 64]).await.unwrap();
        drop(rig.client);
        rig.relay.await.unwrap();
    }
}
