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

mod change;
mod client;
mod clock;
mod counters;
mod door;
mod eager;
mod early;
mod flow;
mod listener;
mod quiet;
mod register;
mod relay;
mod replies;
mod requests;
mod roll;
mod talk;
#[cfg(test)]
mod tests;
mod trail;

use std::future::ready;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use dqlite_client::tls::TlsError;
use dqlite_client::tls::stream::accept;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use self::client::Client;
use self::counters::{Reason, add};
use self::listener::{Listeners, TcpOptions};
use self::quiet::Quiet;
use self::relay::{Phase, Surroundings};
use self::talk::Rules;
use crate::config::NodeConfig;
use crate::peers::Peers;

pub(crate) use self::counters::Totals;
pub(crate) use self::door::Door;
pub(crate) use self::early::Early;
pub(crate) use self::register::Register;
pub(crate) use self::roll::{Roll, Scene};

/// How a client begins that speaks TLS: a handshake, in any version.
const CLIENT_HELLO: [u8; 2] = [22, 3];
/// A fatal alert that its user will understand: `no_application_protocol`.
const NO_TLS_HERE: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// Who answers behind the gateway.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// Nobody yet.
    Early(Early),
    /// The engine, whose private name these know.
    Engine(Arc<Peers>),
}

/// A gateway that accepts connections.
#[derive(Debug)]
pub(crate) struct Gateway {
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    permits: Arc<Semaphore>,
    most: u32,
    rules: Arc<Rules>,
}

impl Gateway {
    /// Begins to accept at most so many connections, and to answer with `backend`.
    pub(super) fn serve(
        listeners: Listeners,
        config: &NodeConfig,
        most: u32,
        rules: Arc<Rules>,
        backend: watch::Receiver<Backend>,
    ) -> Self {
        let (phase, phases) = watch::channel(Phase::Serving);
        let permits = Arc::new(Semaphore::new(most as usize));
        let desk = Desk {
            backend,
            phase: phases,
            permits: Arc::clone(&permits),
            rules: Arc::clone(&rules),
            handshake: Duration::from_secs_f64(config.handshake_timeout),
            tcp: TcpOptions::new(config),
        };
        let accepting = tokio::spawn(desk.accept(listeners));
        Self {
            phase,
            accepting,
            permits,
            most,
            rules,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.rules.counters.snapshot()
    }

    /// The names of the databases that were opened.
    pub(super) fn databases(&self) -> Vec<String> {
        self.rules.opened()
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
    rules: Arc<Rules>,
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
                        self.admit_tcp(&mut connections, stream);
                    }
                    Ok(_) => {}
                    Err(reason) => pause_after(&reason).await,
                },
                accepted = accept_unix(&listeners) => match accepted {
                    Ok(stream) => self.admit_plain(&mut connections, stream.into_std()),
                    Err(reason) => pause_after(&reason).await,
                },
            }
        }
        drop(listeners);
        while connections.join_next().await.is_some() {}
    }

    /// Takes in a connection over TCP; if the node speaks TLS, only by a handshake in which the
    /// client has shown a good certificate.
    fn admit_tcp(&self, connections: &mut JoinSet<()>, stream: TcpStream) {
        match self.rules.security.tls() {
            None => self.admit_plain(connections, stream.into_std()),
            Some(own) => {
                let (own, limit) = (own.clone(), self.handshake);
                let client = async move { accept(&own.identity(), stream, limit).await };
                self.admit(connections, client);
            }
        }
    }

    /// Takes a connection in that needs no securing.
    fn admit_plain(&self, connections: &mut JoinSet<()>, stream: io::Result<impl Into<OwnedFd>>) {
        match stream.and_then(Quiet::new) {
            Ok(client) => self.admit(connections, ready(Ok(client))),
            Err(reason) => tracing::warn!("connection refused: {reason}"),
        }
    }

    /// Takes a connection in when it is secured, or closes it when there are too many.
    fn admit<C: Client>(
        &self,
        connections: &mut JoinSet<()>,
        client: impl Future<Output = Result<C, TlsError>> + Send + 'static,
    ) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.rules.counters.refuse(Reason::Connections);
            tracing::warn!("connection refused: max_connections are open");
            return;
        };
        add(&self.rules.counters.accepted, 1);
        let desk = self.clone();
        connections.spawn(async move {
            let mut phase = desk.phase.clone();
            let client = tokio::select! {
                client = client => client,
                () = draining(&mut phase) => return,
            };
            let client = match client {
                Ok(client) => client,
                Err(reason) => {
                    desk.rules.counters.refuse(Reason::Tls);
                    tracing::info!("connection refused: tls: {reason}");
                    return;
                }
            };
            if let Err(reason) = desk.converse(client, permit).await {
                tracing::debug!("connection ended: {reason}");
            }
        });
    }

    async fn converse<C: Client>(
        mut self,
        mut client: C,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let mut first = [0; 8];
        let read = tokio::select! {
            read = timeout(self.handshake, client.read_exact(&mut first)) => read,
            () = draining(&mut self.phase) => return Ok(()),
        };
        let version = u64::from_le_bytes(first);
        let known = [
            dqlite_proto::frame::HANDSHAKE,
            dqlite_proto::frame::HANDSHAKE_LEGACY,
        ];
        if !matches!(read, Ok(Ok(_))) || !known.contains(&version) {
            self.rules.counters.refuse(Reason::Handshake);
            if first.starts_with(&CLIENT_HELLO) {
                client.write_all(&NO_TLS_HERE).await?;
            }
            return Err(io::Error::other("no handshake"));
        }
        let backend = self.backend.borrow_and_update().clone();
        match backend {
            Backend::Early(_) => early::answer(client, &mut self.backend).await,
            Backend::Engine(peers) => {
                let engine = UnixStream::connect(peers.engine()).await?;
                let engine = Quiet::new(engine.into_std()?)?;
                let around = Surroundings {
                    rules: self.rules,
                    phase: self.phase,
                    peers,
                    patience: self.handshake,
                };
                relay::run(client, engine, &first, permit, around).await;
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
