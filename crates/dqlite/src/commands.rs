//! What a running node can be asked besides handing over and leaving.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control::ToNode;
use crate::node::{Node, patient};
use crate::node_error::NodeError;

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

    /// Changes what the node logs: `error`, `warn`, `info`, `debug` or `trace`. A restart begins
    /// with the option `log_level` again.
    pub fn set_log_level(&self, level: &str, timeout: Duration) -> Result<(), NodeError> {
        let set = |n| ToNode::Set {
            n,
            log_level: Some(level.to_owned()),
            trace_sql: None,
            slow_statement_ms: None,
            leader_probe_limit: None,
        };
        self.ask(timeout, set).map(drop)
    }

    fn ask(
        &self,
        timeout: Duration,
        request: impl FnOnce(u32) -> ToNode,
    ) -> Result<Value, NodeError> {
        self.request(request, Instant::now() + timeout, &mut patient)
    }
}
