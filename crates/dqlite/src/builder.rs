//! The description of a node before there is one.

mod options;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::control::{App, Options};
use crate::node::Node;
use crate::node_error::NodeError;
use crate::options::KNOWN;
use crate::settings::Settings;

/// Describes a node; made by [`Node::builder`].
///
/// Each option has a method; [`option`](Self::option) takes them by the names that Python uses. All
/// are checked together by [`build`](Self::build).
///
/// ```
/// use std::time::Duration;
///
/// let node = dqlite::Node::builder("127.0.0.1:9001", "data/n1")
///     .voters(5)
///     .statement_timeout(Duration::from_secs(30))
///     .build()
///     .unwrap();
/// assert_eq!(node.address(), "127.0.0.1:9001");
/// ```
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

    /// The names that [`option`](Self::option) knows.
    ///
    /// ```
    /// let mut names = dqlite::NodeBuilder::option_names();
    /// assert!(names.any(|name| name == "network_latency_ms"));
    /// ```
    pub fn option_names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|known| known.name)
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
