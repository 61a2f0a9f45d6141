//! TLS: who may be trusted, who we are, and the state of one encrypted connection.
//!
//! ```text
//!   Files ──load──► Identity ──► a handshake, each with a verifier that remembers its reason
//!   (paths, PEM)    (checked)         │
//!        ▲              ▲             ├─► Channel: without blocking, under the fd driver
//!        └──── Tls ─────┘             └─► stream: under tokio, for clients and for servers
//!     reads again what changed
//! ```
//!
//! TLS 1.3, and 1.2 only if it is asked for; the provider is explicit and the same everywhere.
//! A server is dialled by the host of its address, or by one `server_name` for all; servers always
//! want a certificate of their clients. Sessions are never resumed: each connection is judged by
//! the certificates of its own day. Unix sockets are protected by their mode and carry no TLS.
//!
//! A client's handshake ends before the server has judged its certificate, so a refusal may come
//! as an answer to the first request; it is reported as an error of TLS all the same.

mod certificate;
mod channel;
mod failure;
mod files;
mod identity;
mod options;
mod peer;
#[cfg(feature = "tokio")]
pub mod stream;
mod witness;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use certificate::Facts;
pub(crate) use channel::Channel;
pub use failure::TlsError;
pub use files::{Files, MinVersion, Source};
pub use identity::Identity;
pub(crate) use options::Options;
pub use peer::Peer;

use self::files::Stamp;

/// How often a client looks whether its files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A set of files and what was last read from them. Clones are one.
///
/// ```no_run
/// use dqlite_client::Config;
/// use dqlite_client::tls::{Files, Tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let files = Files::new("ca.pem").with_identity("app.pem", "app.key");
/// let config = Config::parse("h1:9001,h2:9001/app")?.with_tls(Tls::load(files)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    /// The host of a node, which its certificate must cover.
    node: Option<String>,
    state: Mutex<State>,
}

struct State {
    identity: Arc<Identity>,
    /// What was read, or could not be read.
    stamp: Stamp,
    looked: Instant,
}

impl Tls {
    /// For a client: reads the files now, and again at a connection when they have changed. What
    /// cannot be used then leaves everything as it was.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        Self::new(files, None)
    }

    /// For a client, as `DQLITE_TLS_CA`, `_CERT`, `_KEY` and `_NAME` say; without a CA the system's
    /// signers are trusted.
    pub fn from_environment() -> Result<Self, TlsError> {
        Options::default()
            .or_environment(crate::config::variable)
            .load()
    }

    /// For a node at `host`: reads the files now, and again only by [`reload`](Self::reload). A
    /// set that would not do for the node is refused.
    pub fn for_node(files: Files, host: &str) -> Result<Self, TlsError> {
        Self::new(files, Some(host.to_owned()))
    }

    fn new(files: Files, node: Option<String>) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let identity = Arc::new(read(&files, node.as_deref())?);
        let state = Mutex::new(State {
            identity,
            stamp,
            looked: Instant::now(),
        });
        Ok(Self(Arc::new(Shared { files, node, state })))
    }

    /// What is in force.
    pub fn identity(&self) -> Arc<Identity> {
        if self.0.node.is_none()
            && self.state().looked.elapsed() >= LOOK_EVERY
            && let Err(error) = self.reload(false)
        {
            tracing::warn!(target: "dqlite", %error, "changed TLS files are not used");
        }
        Arc::clone(&self.state().identity)
    }

    /// Reads the files if they have changed since they were last looked at, or in any case if
    /// `forced`. `true`: there is another set in force. An error leaves the former one in force,
    /// and is given once for each change.
    pub fn reload(&self, forced: bool) -> Result<bool, TlsError> {
        let stamp = self.0.files.stamp();
        {
            let mut state = self.state();
            state.looked = Instant::now();
            if !forced && state.stamp == stamp {
                return Ok(false);
            }
            state.stamp = stamp;
        }
        let identity = Arc::new(read(&self.0.files, self.0.node.as_deref())?);
        self.state().identity = identity;
        Ok(true)
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.0.files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(files: &Files, node: Option<&str>) -> Result<Identity, TlsError> {
    let identity = Identity::load(files)?;
    if let Some(host) = node {
        identity.check_node(host)?;
    }
    Ok(identity)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

#[cfg(test)]
mod tests;
