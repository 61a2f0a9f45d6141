//! Streams between engines through TLS.
//!
//! The engine gets one end of a socket pair at once; a task carries its bytes. Until the other
//! node has shaken hands nothing is read from the engine, and after a second without one the pair
//! is closed: the engine's next write fails and it asks again, without a pause of its own.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dqlite_client::tls::Tls;
use dqlite_client::tls::stream::{self, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::time::{timeout, timeout_at};

use crate::address;
use crate::engine::{Dialer, PlainDialer};

const PARKED_AT_MOST: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 64 << 10;
/// A pause of the engine after which an old stream is closed: it is between two messages then.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(5);
/// One line of the log for each address and so much time.
const QUIET: Duration = Duration::from_mins(1);

/// Connects the engine to its peers through TLS.
#[derive(Clone)]
pub(crate) struct TlsDialer {
    tls: Tls,
    plain: PlainDialer,
    runtime: Handle,
    age_max: Option<Duration>,
    noted: Arc<Mutex<HashMap<String, Instant>>>,
}

impl TlsDialer {
    /// Sockets are set up as `plain` does; `runtime` carries the bytes; streams older than
    /// `age_max` are closed, and their certificates judged again.
    pub(crate) fn new(
        tls: Tls,
        plain: PlainDialer,
        runtime: Handle,
        age_max: Option<Duration>,
    ) -> Self {
        Self {
            tls,
            plain,
            runtime,
            age_max,
            noted: Arc::default(),
        }
    }

    /// As the engine's connect function wants it.
    pub(crate) fn into_dialer(self) -> Dialer {
        Box::new(move |address| self.dial(address))
    }

    fn dial(&self, address: &str) -> io::Result<OwnedFd> {
        let (engine, ours) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let (dialer, address) = (self.clone(), address.to_owned());
        self.runtime.spawn(async move {
            if let Err(reason) = dialer.carry(ours, &address).await {
                tracing::debug!("stream to {address} ended: {reason}");
            }
        });
        Ok(engine.into())
    }

    async fn carry(&self, ours: StdStream, address: &str) -> io::Result<()> {
        let engine = UnixStream::from_std(ours)?;
        let deadline = tokio::time::Instant::now() + PARKED_AT_MOST;
        let stream = loop {
            match timeout_at(deadline, self.reach(address)).await {
                Ok(Ok(stream)) => break stream,
                Ok(Err(reason)) => self.note(address, &reason),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
            if timeout_at(deadline, tokio::time::sleep(TRY_EVERY))
                .await
                .is_err()
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        // A tenth more or less, so that streams opened together are not closed together.
        let age = self
            .age_max
            .map(|age| age.mul_f64(0.9 + 0.2 * fastrand::f64()));
        pump(engine, stream, age).await
    }

    async fn reach(&self, address: &str) -> Result<Stream, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|reason| reason.to_string())?;
        self.plain
            .tune(&stream)
            .map_err(|reason| reason.to_string())?;
        let host = address::host(address);
        stream::connect(&self.tls.identity(), &host, stream)
            .await
            .map_err(|reason| format!("tls: {reason}"))
    }

    fn note(&self, address: &str, reason: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        noted.retain(|_, at| now - *at < QUIET);
        if noted.insert(address.to_owned(), now).is_none() {
            tracing::warn!("no stream to {address}: {reason}");
        }
    }
}

/// Carries bytes until either side ends, or until the stream is too old.
async fn pump(mut engine: UnixStream, stream: Stream, age: Option<Duration>) -> io::Result<()> {
    let (mut from_engine, mut to_engine) = engine.split();
    let (mut from_peer, mut to_peer) = tokio::io::split(stream);
    let end = age.map(|age| Instant::now() + age);
    let out = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let old = end.is_some_and(|end| Instant::now() >= end);
            let limit = if old {
                BETWEEN_MESSAGES
            } else {
                end.map_or(Duration::MAX, |end| end - Instant::now())
            };
            let read = match timeout(limit, from_engine.read(&mut buffer)).await {
                Ok(read) => read?,
                Err(_) if old => 0,
                Err(_) => continue,
            };
            if read == 0 {
                return to_peer.shutdown().await;
            }
            to_peer.write_all(&buffer[..read]).await?;
            to_peer.flush().await?;
        }
    };
    // Dropping both ends closes what is left: a stream carries messages one way only, so its end
    // on either side is the end.
    tokio::select! {
        ended = out => ended,
        ended = tokio::io::copy(&mut from_peer, &mut to_engine) => ended.map(drop),
    }
}
