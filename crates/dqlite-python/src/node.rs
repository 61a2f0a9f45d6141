//! A supervised node: the Python face of `dqlite::Node`.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use dqlite::control::{FromNode, Tried};
use dqlite::{Changes, Event, NodeError, Role, Stopped};
use dqlite_proto::{Outcome, Retry};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::blocking::{duration, signalled};
use crate::errors::Raise;

/// A supervised child process; see `dqlite.Node`.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Node {
    node: dqlite::Node,
}

/// How a node stopped: handed over, leader afterwards, seconds, killed, how the process ended.
type HowStopped = (bool, Option<String>, f64, bool, String);

#[pymethods]
impl Node {
    /// `options` is a JSON object with the options that are set.
    #[new]
    fn new(py: Python<'_>, address: &str, data_dir: &str, options: &str) -> PyResult<Self> {
        let options = serde_json::from_str(options)
            .map_err(|error| PyValueError::new_err(format!("options are no JSON: {error}")))?;
        let node = dqlite::Node::builder(address, data_dir)
            .options(options)
            .app("python", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| raise(py, address, 0, error))?;
        Ok(Self { node })
    }

    fn start(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        self.patiently(py, |node, interrupt| {
            node.start_within(duration(timeout), interrupt)
        })
    }

    fn wait_ready(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        self.patiently(py, |node, interrupt| {
            node.wait_ready_within(duration(timeout), interrupt)
        })
    }

    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<HowStopped> {
        let stopped = self.patiently(py, |node, interrupt| {
            node.stop_within(duration(timeout), interrupt)
        })?;
        let Stopped {
            handed_over,
            leader,
            took,
            killed,
            ending,
            ..
        } = stopped;
        Ok((handed_over, leader, took.as_secs_f64(), killed, ending))
    }

    /// Whether leadership was given away, and who leads afterwards.
    fn handover(
        &self,
        py: Python<'_>,
        timeout: f64,
        roles: bool,
    ) -> PyResult<(bool, Option<String>)> {
        let answer = self.patiently(py, |node, interrupt| {
            node.handover_within(duration(timeout), roles, interrupt)
        })?;
        Ok((answer.moved, answer.leader))
    }

    fn leave(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        self.patiently(py, |node, interrupt| {
            node.leave_within(duration(timeout), interrupt)
        })
    }

    /// A JSON document.
    fn status(&self, py: Python<'_>, timeout: f64) -> PyResult<String> {
        let status = self.patiently(py, |node, _| node.status(duration(timeout)));
        Ok(status?.to_string())
    }

    /// A JSON document.
    fn explain(&self, py: Python<'_>, timeout: f64) -> PyResult<String> {
        let grounds = self.patiently(py, |node, _| node.explain(duration(timeout)));
        Ok(grounds?.to_string())
    }

    fn reload_tls(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        self.patiently(py, |node, _| node.reload_tls(duration(timeout)))
    }

    #[pyo3(signature = (log_level, trace_sql, slow_statement_ms, leader_probe_limit, timeout))]
    fn set(
        &self,
        py: Python<'_>,
        log_level: Option<String>,
        trace_sql: Option<String>,
        slow_statement_ms: Option<u64>,
        leader_probe_limit: Option<u32>,
        timeout: f64,
    ) -> PyResult<()> {
        let changes = Changes {
            log_level,
            trace_sql,
            slow_statement_ms,
            leader_probe_limit,
        };
        self.patiently(py, |node, _| node.set(&changes, duration(timeout)))
    }

    /// Everything that happens from now on.
    fn events(&self) -> NodeEvents {
        NodeEvents {
            receiver: Mutex::new(self.node.events()),
        }
    }

    fn set_log_level(&self, py: Python<'_>, level: &str, timeout: f64) -> PyResult<()> {
        self.patiently(py, |node, _| node.set_log_level(level, duration(timeout)))
    }

    fn after_fork(&self) {
        self.node.after_fork();
    }

    #[getter]
    fn id(&self) -> u64 {
        self.node.id()
    }

    #[getter]
    fn data_dir(&self) -> String {
        self.node.data_dir().display().to_string()
    }

    #[getter]
    fn is_running(&self) -> bool {
        self.node.is_running()
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.node.state().name()
    }

    #[getter]
    fn role(&self) -> Option<&'static str> {
        self.node.role().map(|role| match role {
            Role::Voter => "voter",
            Role::StandBy => "stand-by",
            Role::Spare => "spare",
        })
    }

    #[getter]
    fn leader(&self) -> Option<(u64, String)> {
        self.node.leader().map(|leader| (leader.id, leader.address))
    }

    #[getter]
    fn is_leader(&self) -> bool {
        self.node.is_leader()
    }

    #[getter]
    fn members(&self) -> Vec<String> {
        self.node
            .members()
            .into_iter()
            .map(|member| member.address)
            .collect()
    }

    #[getter]
    fn pid(&self) -> Option<u32> {
        self.node.pid()
    }

    #[getter]
    fn restarts(&self) -> u32 {
        self.node.restarts()
    }

    /// Path, version and bundle of the engine, once it is loaded.
    #[getter]
    fn engine(&self) -> Option<(String, String, Option<String>)> {
        self.node
            .engine()
            .map(|engine| (engine.path, engine.version, engine.bundle))
    }

    #[getter]
    fn url(&self) -> String {
        self.node.url()
    }

    #[getter]
    fn socket_path(&self) -> Option<String> {
        self.node
            .socket_path()
            .map(|path| path.display().to_string())
    }
}

/// The events of a node, for one reader.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct NodeEvents {
    receiver: Mutex<Receiver<Event>>,
}

#[pymethods]
impl NodeEvents {
    /// The next one as JSON; nothing if none comes in time. Logs and answers are no events here.
    fn next(&self, py: Python<'_>, timeout: f64) -> Option<String> {
        let deadline = Instant::now() + duration(timeout);
        py.detach(|| {
            let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match receiver.recv_timeout(left) {
                    Ok(Event::Control(FromNode::Reply { .. })) => {}
                    Ok(Event::Control(said)) => return serde_json::to_string(&said).ok(),
                    Ok(Event::Crashed(report)) => return Some(report.to_json().to_string()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        })
    }
}

impl Node {
    /// Waits with the GIL released; a signal ends the wait with whatever its handler raises.
    fn patiently<T: Send>(
        &self,
        py: Python<'_>,
        wait: impl FnOnce(&dqlite::Node, &mut dyn FnMut() -> bool) -> Result<T, NodeError> + Send,
    ) -> PyResult<T> {
        let mut raised = None;
        let done = py.detach(|| {
            let mut interrupt = || {
                raised = signalled();
                raised.is_some()
            };
            wait(&self.node, &mut interrupt)
        });
        match (raised, done) {
            (Some(error), _) => Err(error),
            (None, Ok(done)) => Ok(done),
            (None, Err(error)) => Err(raise(py, self.node.address(), self.node.id(), error)),
        }
    }
}

/// Stops nodes side by side. At interpreter exit Python can start no threads, but we can.
#[pyfunction]
pub(crate) fn stop_nodes(py: Python<'_>, nodes: Vec<Bound<'_, Node>>, timeout: f64) {
    let nodes: Vec<_> = nodes.into_iter().map(Bound::unbind).collect();
    let nodes: Vec<&dqlite::Node> = nodes.iter().map(|node| &node.get().node).collect();
    py.detach(|| {
        std::thread::scope(|scope| {
            for node in nodes {
                // What a stop has to tell, nobody reads any more.
                scope.spawn(|| node.stop_within(duration(timeout), &mut || false).map(drop));
            }
        });
    });
}

fn raise(py: Python<'_>, address: &str, id: u64, error: NodeError) -> PyErr {
    let text = match &error {
        // The node's own words name the places already.
        NodeError::EngineNotFound { text, tried }
            if tried.iter().all(|tried| text.contains(&tried.place)) =>
        {
            text.clone()
        }
        error => error.to_string(),
    };
    let node = |name| {
        let raise = Raise::new(py, name, text.as_str()).with("node_address", address);
        if id == 0 {
            raise
        } else {
            raise.with("node_id", id)
        }
    };
    match error {
        NodeError::Config(_) => node("NodeConfigError"),
        NodeError::Launch { .. } => node("NodeStartError").with("stage", "launch"),
        NodeError::Start { stage, .. } => node("NodeStartError").with("stage", stage.name()),
        NodeError::EngineNotFound { tried, .. } => {
            let tried: Vec<_> = tried.into_iter().map(|t| (t.place, t.reason)).collect();
            node("EngineNotFoundError")
                .with("stage", "locate")
                .with("tried", tried)
        }
        NodeError::AlreadyRunning { .. } => node("NodeAlreadyRunningError"),
        NodeError::NotRunning { .. } => node("NodeNotRunningError"),
        NodeError::NotReady { tried, .. } => {
            let missing = |Tried { place, reason }: Tried| (place, "not-ready", reason, 0.0);
            let attempts: Vec<_> = tried.into_iter().map(missing).collect();
            Raise::new(py, "NoLeaderError", text.as_str())
                .with("address", address)
                .with("attempts", attempts)
                .outcome(Outcome::NotSent, Retry::Elsewhere)
        }
        NodeError::Stop { .. } => node("NodeStopError"),
        NodeError::Forked { .. } | NodeError::Interrupted => {
            Raise::new(py, "InterfaceError", text.as_str())
        }
        _ => node("NodeError"),
    }
    .error()
}
