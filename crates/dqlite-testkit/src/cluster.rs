//! A cluster of real node processes on this machine, and the verbs of failure.
//!
//! Nodes get ports from the operating system and a directory each in one temporary directory.
//! Every wait is for a condition and has a deadline. A killed node stays down until it is started
//! again, unless the options say otherwise.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use dqlite::{Node, NodeBuilder, NodeError, Stopped};
use dqlite_proto::Role;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::engine::engine;
use crate::{ask, ports};

/// How long a cluster may take to reach any state that it should reach.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// What went wrong with a cluster under test.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A node did what it should not.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The machine did.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A condition did not come true in time: what was awaited, and what was seen last.
    #[error("{0}")]
    TimedOut(String),
}

type Result<T, E = ClusterError> = std::result::Result<T, E>;

/// Nodes by index, from 0; the first founds the cluster.
#[derive(Debug)]
pub struct Cluster {
    // Dropped before the directory they live in.
    nodes: Vec<Node>,
    directory: TempDir,
}

impl Cluster {
    /// Starts `size` nodes on `executable`, and waits until all are ready voters.
    pub fn start(executable: &Path, size: usize) -> Result<Self> {
        Self::start_with(executable, size, |builder| builder)
    }

    /// The same, with more options for each node.
    pub fn start_with(
        executable: &Path,
        size: usize,
        options: impl Fn(NodeBuilder) -> NodeBuilder,
    ) -> Result<Self> {
        let cluster = Self::describe(executable, size, options)?;
        for index in 0..size {
            cluster.start_node(index)?;
        }
        cluster.wait_for_voters(size)?;
        Ok(cluster)
    }

    /// The nodes of a cluster, none of which is started.
    pub fn describe(
        executable: &Path,
        size: usize,
        options: impl Fn(NodeBuilder) -> NodeBuilder,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let addresses = (0..size)
            .map(|_| ports::free_address())
            .collect::<io::Result<Vec<_>>>()?;
        let node = |(index, address): (usize, &String)| {
            let builder = Node::builder(address, directory.path().join(format!("n{index}")))
                .executable(executable)
                .engine(engine())
                .restart(false)
                .ready_grace(Duration::ZERO);
            let builder = if size > 1 {
                builder.cluster(&addresses)
            } else {
                builder
            };
            options(builder).build()
        };
        let nodes = addresses
            .iter()
            .enumerate()
            .map(node)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { nodes, directory })
    }

    /// The directory that holds everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The address of a node.
    pub fn address(&self, index: usize) -> String {
        self.nodes[index].address().to_owned()
    }

    /// The addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.address().to_owned())
            .collect()
    }

    /// Starts a node, without waiting until it is ready.
    pub fn start_node(&self, index: usize) -> Result<()> {
        Ok(self.nodes[index].start()?)
    }

    /// Stops a node as its user would.
    pub fn stop_node(&self, index: usize) -> Result<Stopped> {
        Ok(self.nodes[index].stop()?)
    }

    /// Ends a node's process with SIGKILL, and returns when it is gone.
    pub fn kill(&self, index: usize) -> Result<u32> {
        let pid = self.signal(index, Signal::SIGKILL)?;
        await_that(&format!("the end of process {pid}"), || {
            let now = self.nodes[index].pid();
            if now == Some(pid) { Err(now) } else { Ok(pid) }
        })
    }

    /// Freezes a node's process.
    pub fn pause(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::SIGSTOP).map(drop)
    }

    /// Lets a frozen process go on.
    pub fn resume(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::SIGCONT).map(drop)
    }

    /// Waits until one node leads and says so itself; gives its index.
    pub fn wait_for_leader(&self) -> Result<usize> {
        self.wait_for_leader_but(None)
    }

    /// Waits until a node other than `former` leads.
    pub fn wait_for_leader_but(&self, former: Option<usize>) -> Result<usize> {
        await_that("a leader", || {
            let candidates = (0..self.nodes.len()).filter(|index| Some(*index) != former);
            let mut answers = Vec::new();
            for index in candidates.filter(|index| self.nodes[*index].is_running()) {
                let address = self.nodes[index].address();
                let answer = ask::leader(address);
                if answer
                    .as_ref()
                    .is_ok_and(|leader| leader.as_deref() == Some(address))
                {
                    return Ok(index);
                }
                answers.push((address, answer));
            }
            Err(answers)
        })
    }

    /// Makes another node lead, by hand-over; gives its index.
    pub fn flip_leader(&self) -> Result<usize> {
        let former = self.wait_for_leader()?;
        self.nodes[former].handover(PATIENCE, false)?;
        self.wait_for_leader_but(Some(former))
    }

    /// Waits until the leader counts `wanted` voters and every running node is ready.
    pub fn wait_for_voters(&self, wanted: usize) -> Result<()> {
        await_that(&format!("{wanted} voters"), || {
            let mut seen = Vec::new();
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                let members = ask::members(node.address()).unwrap_or_default();
                let voters = members
                    .iter()
                    .filter(|member| member.role == Role::Voter)
                    .count();
                seen.push((node.address(), voters, node.state(), node.why()));
            }
            let settled = seen.iter().all(|(_, voters, ..)| *voters == wanted);
            if settled && !seen.is_empty() {
                Ok(())
            } else {
                Err(seen)
            }
        })?;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.wait_ready(PATIENCE)?;
        }
        Ok(())
    }

    /// Waits until all running nodes hold the same bytes of a database.
    pub fn wait_until_caught_up(&self, database: &str) -> Result<()> {
        await_that(&format!("equal copies of {database}"), || {
            let running = self.nodes.iter().filter(|node| node.is_running());
            let dumps: Vec<_> = running
                .map(|node| ask::dump(node.address(), database).ok())
                .collect();
            let sizes = |dump: &Option<Vec<(String, Vec<u8>)>>| {
                let files = dump.iter().flatten();
                files
                    .map(|(name, bytes)| (name.clone(), bytes.len()))
                    .collect::<Vec<_>>()
            };
            let equal = dumps.windows(2).all(|pair| pair[0] == pair[1]);
            if equal && dumps.iter().all(Option::is_some) {
                return Ok(());
            }
            Err(dumps.iter().map(sizes).collect::<Vec<_>>())
        })
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<u32> {
        let gone = || io::Error::other(format!("node {index} has no process"));
        let pid = self.nodes[index].pid().ok_or_else(gone)?;
        let raw = i32::try_from(pid).map_err(io::Error::other)?;
        kill(Pid::from_raw(raw), signal).map_err(io::Error::from)?;
        Ok(pid)
    }
}

/// Asks `look` until it finds what is awaited; its last error is part of the complaint.
pub fn await_that<T, E: Debug>(
    what: &str,
    mut look: impl FnMut() -> std::result::Result<T, E>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= deadline => {
                let text = format!("no {what} within {PATIENCE:?}; seen last: {seen:?}");
                return Err(ClusterError::TimedOut(text));
            }
            Err(_) => std::thread::sleep(POLL_EVERY),
        }
    }
}
