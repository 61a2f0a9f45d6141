//! What can go wrong with a [`Node`](crate::Node).

use std::fmt;

use serde_json::Value;

use crate::control::{Stage, Tried};

/// An error of a [`Node`](crate::Node).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Options that cannot be right; no process was started and no file was touched.
    #[error("{}", Complaints(.0))]
    Config(Vec<Complaint>),
    /// The executable `dqlite` was not found, or could not be started.
    #[error("{text}{}", Places(.tried, .text))]
    Launch {
        /// What failed.
        text: String,
        /// Every place that was searched.
        tried: Vec<Tried>,
    },
    /// The node did not come up; nothing of it is left behind.
    #[error("node {address} did not start: {}: {text}{}", .stage.name(), Places(.tried, .text))]
    Start {
        /// The address of the node.
        address: String,
        /// The step that failed.
        stage: Stage,
        /// What the node said, or how it ended and the end of its log.
        text: String,
        /// Every place that was tried, where there was something to search.
        tried: Vec<Tried>,
    },
    /// There is no dqlite engine that will do.
    #[error("{text}{}", Places(.tried, .text))]
    EngineNotFound {
        /// What was needed.
        text: String,
        /// Every place that was tried.
        tried: Vec<Tried>,
    },
    /// [`start`](crate::Node::start) of a node that runs.
    #[error("node {address} is running already")]
    AlreadyRunning {
        /// The address of the node.
        address: String,
    },
    /// A call that needs a running node.
    #[error("node {address} is not running: {reason}")]
    NotRunning {
        /// The address of the node.
        address: String,
        /// Its state, and why.
        reason: String,
    },
    /// The node runs, and was not ready in time.
    #[error("node {address} is not ready: {reason}{}", Places(.tried, .reason))]
    NotReady {
        /// The address of the node.
        address: String,
        /// Its state, and why.
        reason: String,
        /// The members that are missing, with the reason of each.
        tried: Vec<Tried>,
    },
    /// The node refused a request, or did not answer it in time.
    #[error("node {address}: {text}")]
    Refused {
        /// The address of the node.
        address: String,
        /// A stable name of the reason.
        code: String,
        /// The reason in words.
        text: String,
    },
    /// The process survived SIGKILL: the kernel holds it.
    #[error("process {pid} of node {address} did not end after SIGKILL")]
    Stop {
        /// The address of the node.
        address: String,
        /// The process.
        pid: u32,
    },
    /// The wait was given up because the caller's interrupt said so.
    #[error("interrupted")]
    Interrupted,
    /// The process that owns this node forked, and this is the copy: it may not use the node.
    #[error("node {address} belongs to process {owner}, which this process was forked from")]
    Forked {
        /// The address of the node.
        address: String,
        /// The process that owns it.
        owner: u32,
    },
    /// A client connection of the node could not be opened, or failed.
    #[error(transparent)]
    Client(#[from] dqlite_client::Error),
}

/// One option that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The option.
    pub option: String,
    /// Its value as JSON; empty if the option is missing.
    pub value: String,
    /// Why it will not do.
    pub reason: String,
}

impl Complaint {
    pub(crate) fn new(option: &str, value: &Value, reason: impl Into<String>) -> Self {
        Self {
            option: option.into(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn missing(option: &str) -> Self {
        Self {
            option: option.into(),
            value: String::new(),
            reason: "is required".into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            value,
            reason,
        } = self;
        match value.as_str() {
            "" => write!(f, "{option} {reason}"),
            value => write!(f, "{option} = {value}: {reason}"),
        }
    }
}

/// Why there is no executable.
pub(crate) fn no_executable(tried: Vec<Tried>) -> NodeError {
    let text = "executable dqlite not found; install it, or name it by the option executable \
                or by DQLITE_EXECUTABLE";
    NodeError::Launch {
        text: text.into(),
        tried,
    }
}

struct Complaints<'a>(&'a [Complaint]);

impl fmt::Display for Complaints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{complaint}")?;
        }
        Ok(())
    }
}

/// Places that were tried, and the sentence before them, which may name some already.
struct Places<'a>(&'a [Tried], &'a str);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Tried { place, reason } in self.0 {
            if self.1.contains(place) && self.1.contains(reason) {
                continue;
            }
            write!(f, "\n  {place}: {reason}")?;
        }
        Ok(())
    }
}
