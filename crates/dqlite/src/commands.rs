//! What a running node can be asked besides handing over and leaving.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control::ToNode;
use crate::node::{Node, patient};
use crate::node_error::NodeError;

/// Options that change while a node runs; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: Option<String>,
    /// The level at which each statement is logged with its time, or `off`. Parameters are never
    /// logged.
    pub trace_sql: Option<String>,
    /// Milliseconds after which a statement is logged as a slow one; 0 = never.
    pub slow_statement_ms: Option<u64>,
    /// Nodes that this node asks for the leader at a time, 1 to 256.
    pub leader_probe_limit: Option<u32>,
}

/// What a running node can be asked besides handing over and leaving. All of it fails with
/// [`NodeError::NotRunning`] if there is no process.
impl Node {
    /// The last role decisions of this node, and what the rules say now, as a JSON document.
    pub fn explain(&self, timeout: Duration) -> Result<Value, NodeError> {
        self.ask(timeout, |n| ToNode::Explain { n })
    }

    /// Reads the certificates again. [`NodeError::Refused`] says which check failed; the old ones
    /// stay in use then.
    pub fn reload_tls(&self, timeout: Duration) -> Result<(), NodeError> {
        self.ask(timeout, |n| ToNode::ReloadTls { n }).map(drop)
    }

    /// Changes options of a running node, all of them or, with [`NodeError::Refused`], none. A
    /// process that is started again begins with the options that the node was built with.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), dqlite::NodeError> {
    /// # let node = dqlite::Node::builder("127.0.0.1:9001", "data/n1").start()?;
    /// let changes = dqlite::Changes {
    ///     slow_statement_ms: Some(250),
    ///     ..Default::default()
    /// };
    /// node.set(&changes, Duration::from_secs(5))?;
    /// # Ok(()) }
    /// ```
    pub fn set(&self, changes: &Changes, timeout: Duration) -> Result<(), NodeError> {
        let changes = changes.clone();
        let set = |n| ToNode::Set {
            n,
            log_level: changes.log_level,
            trace_sql: changes.trace_sql,
            slow_statement_ms: changes.slow_statement_ms,
            leader_probe_limit: changes.leader_probe_limit,
        };
        self.ask(timeout, set).map(drop)
    }

    /// Changes what the node logs: `error`, `warn`, `info`, `debug` or `trace`. See
    /// [`set`](Self::set).
    pub fn set_log_level(&self, level: &str, timeout: Duration) -> Result<(), NodeError> {
        let changes = Changes {
            log_level: Some(level.to_owned()),
            ..Changes::default()
        };
        self.set(&changes, timeout)
    }

    fn ask(
        &self,
        timeout: Duration,
        request: impl FnOnce(u32) -> ToNode,
    ) -> Result<Value, NodeError> {
        self.request(request, Instant::now() + timeout, &mut patient)
    }
}
