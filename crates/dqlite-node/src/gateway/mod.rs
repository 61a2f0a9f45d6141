//! The gateway: everybody's way to the engine.
//!
//! ```text
//!  clients, other nodes ──TCP──► ┌─────────┐            ┌────────┐
//!                                │ gateway │ ─abstract─►│ engine │
//!  same machine ──node.sock────► └─────────┘   socket   └────────┘
//! ```
//!
//! The engine accepts connections of its own process only, so each connection gets a private one
//! behind the gateway. While there is no engine yet (a first start that still looks for its
//! cluster), [`early`] answers for it.

mod door;
mod early;
mod flight;
mod listener;
mod relay;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use self::listener::TcpOptions;
use crate::config::NodeConfig;

pub(crate) use self::door::Door;
pub(crate) use self::early::Early;
use self::listener::Listeners;
use self::relay::Phase;

/// Who answers behind the gateway.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// Nobody yet.
    Early(Early),
    /// The engine, at this abstract name.
    Engine(PathBuf),
}

/// A gateway that accepts connections.
#[derive(Debug)]
pub(crate) struct Gateway {
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    permits: Arc<Semaphore>,
    most: u32,
}

impl Gateway {
    /// Begins to accept, and to answer with `backend`.
    pub(crate) fn serve(
        listeners: Listeners,
        config: &NodeConfig,
        backend: watch::Receiver<Backend>,
    ) -> Self {
        let (phase, phases) = watch::channel(Phase::Serving);
        let most = config.max_connections;
        let permits = Arc::new(Semaphore::new(most as usize));
        let desk = Desk {
            backend,
            phase: phases,
            permits: Arc::clone(&permits),
            handshake: Duration::from_secs_f64(config.handshake_timeout),
            tcp: TcpOptions::new(config),
        };
        let accepting = tokio::spawn(desk.accept(listeners));
        Self {
            phase,
            accepting,
            permits,
            most,
        }
    }

    /// Connections of clients open now; streams between engines do not count.
    pub(crate) fn connections(&self) -> u64 {
        u64::from(self.most).saturating_sub(self.permits.available_permits() as u64)
    }

    /// Closes the listeners, then each connection as soon as it is owed nothing; those that are
    /// left when `limit` has passed lose their client. Gives the number that ended in peace.
    ///
    /// What the engine owes is still read when this returns: see [`drained`](Self::drained).
    pub(crate) async fn drain(&mut self, limit: Duration) -> u64 {
        let before = self.connections();
        self.phase.send_replace(Phase::Draining);
        // At the limit the others are cut off; no verdict depends on it.
        let _ = timeout(limit, self.permits.acquire_many(self.most)).await;
        let after = self.connections();
        self.phase.send_replace(Phase::Cutting);
        before.saturating_sub(after)
    }

    /// Waits until no connection to the engine is left.
    pub(crate) async fn drained(&mut self) {
        if !self.accepting.is_finished() {
            // The task ends by itself; if it panicked there is nothing left to wait for.
            let _ = (&mut self.accepting).await;
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Desk {
    backend: watch::Receiver<Backend>,
    phase: watch::Receiver<Phase>,
    permits: Arc<Semaphore>,
    handshake: Duration,
    tcp: TcpOptions,
}

impl Desk {
    /// Accepts until the gateway drains, then waits for the connections to end.
    async fn accept(self, listeners: Listeners) {
        let mut connections = JoinSet::new();
        let mut phase = self.phase.clone();
        let draining = draining(&mut phase);
        tokio::pin!(draining);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => break,
                Some(_) = connections.join_next() => {}
                accepted = listeners.tcp.accept() => match accepted {
                    // A stream that cannot be configured is one whose peer has gone.
                    Ok((stream, _)) if self.tcp.set(&stream).is_ok() => {
                        self.admit(&mut connections, stream);
                    }
                    Ok(_) => {}
                    Err(reason) => pause_after(&reason).await,
                },
                accepted = accept_unix(&listeners) => match accepted {
                    Ok(stream) => self.admit(&mut connections, stream),
                    Err(reason) => pause_after(&reason).await,
                },
            }
        }
        drop(listeners);
        while connections.join_next().await.is_some() {}
    }

    /// Takes a connection in, or closes it when there are too many.
    fn admit<S>(&self, connections: &mut JoinSet<()>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!("connection refused: max_connections are open");
            return;
        };
        let desk = self.clone();
        connections.spawn(async move {
            if let Err(reason) = desk.converse(stream, permit).await {
                tracing::debug!("connection ended: {reason}");
            }
        });
    }

    async fn converse<S>(mut self, mut stream: S, permit: OwnedSemaphorePermit) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut first = [0; 8];
        tokio::select! {
            read = timeout(self.handshake, stream.read_exact(&mut first)) => {
                read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            () = draining(&mut self.phase) => return Ok(()),
        }
        let version = u64::from_le_bytes(first);
        if version != dqlite_proto::frame::HANDSHAKE
            && version != dqlite_proto::frame::HANDSHAKE_LEGACY
        {
            return Err(io::Error::other(format!(
                "unknown protocol version {version:#x}"
            )));
        }
        let backend = self.backend.borrow_and_update().clone();
        match backend {
            Backend::Early(_) => early::answer(stream, &mut self.backend).await,
            Backend::Engine(name) => {
                let engine = UnixStream::connect(name).await?;
                relay::run(stream, engine, &first, permit, self.phase).await;
                Ok(())
            }
        }
    }
}

async fn draining(phase: &mut watch::Receiver<Phase>) {
    // Without a sender the gateway is gone, which is the same.
    let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
}

async fn accept_unix(listeners: &Listeners) -> io::Result<UnixStream> {
    match &listeners.unix {
        Some(unix) => unix.listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Out of descriptors: without a pause the loop would spin until one is free.
async fn pause_after(reason: &io::Error) {
    tracing::warn!("accept: {reason}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
