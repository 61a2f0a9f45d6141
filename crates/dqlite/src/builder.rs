//! The description of a node before there is one.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::control::{App, Options};
use crate::node::Node;
use crate::node_error::NodeError;
use crate::settings::Settings;

/// Describes a node; made by [`Node::builder`].
///
/// Options without a method of their own are set by [`option`](Self::option), under the names
/// that Python and the command line use. All are checked together by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a description starts nothing"]
pub struct NodeBuilder {
    options: Options,
    app: Option<App>,
}

impl NodeBuilder {
    pub(crate) fn new(address: String, data_dir: &Path) -> Self {
        let builder = Self {
            options: Options::new(),
            app: None,
        };
        builder
            .option("address", address)
            .path("data_dir", data_dir)
    }

    /// Sets an option by name. `null` means its default.
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }

    /// Sets many options by name.
    pub fn options(mut self, options: Options) -> Self {
        self.options.extend(options);
        self
    }

    /// The addresses of all nodes, the same list on each. The first entry founds the cluster once
    /// it has seen that there is none; the others join it.
    pub fn cluster<T: Into<String>>(self, addresses: impl IntoIterator<Item = T>) -> Self {
        let addresses = addresses
            .into_iter()
            .map(|address| Value::from(address.into()));
        self.option("cluster", addresses.collect::<Value>())
    }

    /// Encrypts everything on TCP: the certificate, its key, and who may sign those of clients and
    /// other nodes, a PEM file each. The certificate must cover the host of the address, and be
    /// good for servers and clients.
    pub fn tls(self, cert: impl AsRef<Path>, key: impl AsRef<Path>, ca: impl AsRef<Path>) -> Self {
        self.path("tls_cert", cert.as_ref())
            .path("tls_key", key.as_ref())
            .path("tls_ca", ca.as_ref())
    }

    /// What to listen on, `HOST:PORT`, where the advertised address is none of this machine's.
    pub fn bind_address(self, address: &str) -> Self {
        self.option("bind_address", address)
    }

    /// The id wanted on a first start. Without it the node finds its own.
    pub fn node_id(self, id: u64) -> Self {
        self.option("node_id", id)
    }

    /// The time that a message takes between nodes, in whole milliseconds; elections follow after
    /// 15 to 30 times as much. All members must use the same. Default 20 ms.
    pub fn network_latency(self, latency: Duration) -> Self {
        self.option("network_latency_ms", milliseconds(latency))
    }

    /// How long a writer waits for another one, in whole milliseconds. Default 5 s.
    pub fn busy_timeout(self, timeout: Duration) -> Self {
        self.option("busy_timeout_ms", milliseconds(timeout))
    }

    /// The engine: a bundle directory or a library. Without it `DQLITE_ENGINE`, a bundle beside
    /// the executable, the user's cache directory and the system's library are tried.
    pub fn engine(self, path: impl AsRef<Path>) -> Self {
        self.path("engine", path.as_ref())
    }

    /// The executable `dqlite`. Without it `DQLITE_EXECUTABLE`, the directory of the running
    /// executable and `PATH` are tried.
    pub fn executable(self, path: impl AsRef<Path>) -> Self {
        self.path("executable", path.as_ref())
    }

    /// How long a start may take until the node serves. Default 30 s.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.option("start_timeout", timeout.as_secs_f64())
    }

    /// How long a start waits for a node that serves to be ready. Default 1 s.
    pub fn ready_grace(self, grace: Duration) -> Self {
        self.option("ready_grace", grace.as_secs_f64())
    }

    /// How long a stop may take before the process is killed. Default 10 s.
    pub fn stop_timeout(self, timeout: Duration) -> Self {
        self.option("stop_timeout", timeout.as_secs_f64())
    }

    /// Whether a process that crashed is started again. Default true.
    pub fn restart(self, restart: bool) -> Self {
        self.option("restart", if restart { "on-crash" } else { "never" })
    }

    /// More than `crashes` within `window` are a crash loop, after which the node stays down.
    /// Default 5 in 60 s.
    pub fn restart_limit(self, crashes: u32, window: Duration) -> Self {
        let pair = vec![Value::from(crashes), Value::from(window.as_secs_f64())];
        self.option("restart_limit", pair)
    }

    /// Names the application in the node's log.
    pub fn app(mut self, name: &str, version: &str) -> Self {
        self.app = Some(App {
            pid: std::process::id(),
            name: name.to_owned(),
            version: version.to_owned(),
        });
        self
    }

    /// Checks everything that can be checked without a look at the machine. Starts nothing and
    /// touches no file; all complaints come in one [`NodeError::Config`].
    pub fn build(self) -> Result<Node, NodeError> {
        Settings::new(self.options, self.app).map(Node::new)
    }

    /// Builds the node and starts it: see [`Node::start`].
    pub fn start(self) -> Result<Node, NodeError> {
        let node = self.build()?;
        node.start()?;
        Ok(node)
    }

    /// The control channel carries UTF-8. Another path is put down as the list of its bytes,
    /// which the check refuses.
    fn path(self, name: &str, path: &Path) -> Self {
        let bytes = || path.as_os_str().as_bytes().into();
        self.option(name, path.to_str().map_or_else(bytes, Value::from))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
