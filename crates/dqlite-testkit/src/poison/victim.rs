//! Who gets the poison: nodes of ours, or stock ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dqlite::Node;
use dqlite_proto::Role;
use tempfile::TempDir;

use crate::cluster::{Cluster, ClusterError};
use crate::engine::engine;
use crate::stock::{StockNode, StockOptions};
use crate::{ask, ports};

/// How long a node may take to stop, or to start again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a row wants to be tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixture {
    /// Nodes.
    pub nodes: usize,
    /// Entries between snapshots, and kept behind one; the engine's defaults if absent.
    pub snapshots: Option<(u32, u32)>,
    /// One way; the default of the kind of node if absent.
    pub latency_ms: Option<u32>,
}

impl Fixture {
    /// One node as it comes.
    pub const ONE: Self = Self {
        nodes: 1,
        snapshots: None,
        latency_ms: None,
    };
    /// Three voters as they come.
    pub const THREE: Self = Self {
        nodes: 3,
        ..Self::ONE
    };
}

/// Which nodes are to be tried.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Of this executable, as users run them, but not started again after a crash.
    Ours(PathBuf),
    /// Of the engine as it is packaged.
    Stock,
}

/// Nodes under trial.
#[derive(Debug)]
pub enum Victim {
    /// Ours.
    Ours {
        /// The nodes.
        cluster: Cluster,
        /// What they are processes of.
        executable: PathBuf,
    },
    /// Stock; `None` in the place of a node that was stopped.
    Stock {
        /// By index.
        nodes: Vec<Option<StockNode>>,
        /// How to start each again.
        options: Vec<StockOptions>,
        /// Where all the data is.
        directory: TempDir,
    },
}

impl Victim {
    /// Starts nodes; they are all voters when this returns.
    pub fn start(kind: &Kind, fixture: &Fixture) -> Result<Self, ClusterError> {
        match kind {
            Kind::Ours(executable) => {
                let cluster = Cluster::start_with(executable, fixture.nodes, |builder| {
                    let mut builder = builder.option("handshake_timeout", 1.0);
                    if let Some((threshold, trailing)) = fixture.snapshots {
                        builder = builder
                            .option("snapshot_threshold", threshold)
                            .option("snapshot_trailing", trailing);
                    }
                    match fixture.latency_ms {
                        Some(latency) => builder.option("network_latency_ms", latency),
                        None => builder,
                    }
                })?;
                Ok(Self::Ours {
                    cluster,
                    executable: executable.clone(),
                })
            }
            Kind::Stock => Self::stock(fixture),
        }
    }

    fn stock(fixture: &Fixture) -> Result<Self, ClusterError> {
        let directory = tempfile::tempdir()?;
        let option = |index: usize| {
            Ok(StockOptions {
                network_latency_ms: fixture.latency_ms,
                snapshots: fixture.snapshots,
                data_dir: Some(directory.path().join(format!("n{index}"))),
                id: Some(1 + index as u64),
                address: Some(ports::free_address()?),
                ..StockOptions::default()
            })
        };
        let options = (0..fixture.nodes)
            .map(option)
            .collect::<io::Result<Vec<_>>>()?;
        let nodes = options
            .iter()
            .map(StockNode::start)
            .collect::<io::Result<Vec<_>>>()?;
        let nodes = crate::stock::join(nodes, Role::Voter)?;
        Ok(Self::Stock {
            nodes: nodes.into_iter().map(Some).collect(),
            options,
            directory,
        })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Ours { cluster, .. } => cluster.nodes().len(),
            Self::Stock { nodes, .. } => nodes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a node listens.
    pub fn address(&self, index: usize) -> String {
        match self {
            Self::Ours { cluster, .. } => cluster.address(index),
            Self::Stock { options, .. } => options[index].address.clone().unwrap_or_default(),
        }
    }

    /// The address of the leader, once there is one.
    pub fn leader(&self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            for index in 0..self.len() {
                let address = self.address(index);
                let leader = ask::leader(&address).ok().flatten();
                if leader.as_deref() == Some(&address) {
                    return leader;
                }
            }
            let all_dead = (0..self.len()).all(|index| self.pid(index).is_none());
            if all_dead || Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process of a node.
    pub fn pid(&self, index: usize) -> Option<u32> {
        match self {
            Self::Ours { cluster, .. } => cluster.node(index).pid(),
            Self::Stock { nodes, .. } => {
                let node = nodes[index].as_ref().filter(|node| node.is_alive());
                node.map(|node| node.pid)
            }
        }
    }

    /// Where a node keeps its data.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        match self {
            Self::Ours { cluster, .. } => cluster.directory().join(format!("n{index}")),
            Self::Stock { options, .. } => options[index].data_dir.clone().unwrap_or_default(),
        }
    }

    /// A directory for whatever else a row needs.
    pub fn scratch(&self) -> &Path {
        match self {
            Self::Ours { cluster, .. } => cluster.directory(),
            Self::Stock { directory, .. } => directory.path(),
        }
    }

    /// Stops a node as a careful host would; an error says what was wrong with its end.
    pub fn stop(&mut self, index: usize) -> Result<(), String> {
        match self {
            Self::Ours { cluster, .. } => {
                let begun = Instant::now();
                let stopped = cluster.stop_node(index).map_err(|e| e.to_string())?;
                if begun.elapsed() > PATIENCE {
                    return Err(format!("the stop took {:?}: {stopped:?}", begun.elapsed()));
                }
                Ok(())
            }
            Self::Stock { nodes, .. } => {
                let Some(node) = nodes[index].take() else {
                    return Ok(());
                };
                if let Some(ended) = node.ended() {
                    return Err(format!("dies ({ended}){}", last(&node)));
                }
                match node.stop(PATIENCE).map_err(|e| e.to_string())? {
                    Some(ended) if ended.success() => Ok(()),
                    Some(ended) => Err(format!("dies at stop ({ended}){}", last(&node))),
                    None => Err("stop never returns".into()),
                }
            }
        }
    }

    /// Starts a stopped node again.
    pub fn start_again(&mut self, index: usize) -> Result<(), String> {
        match self {
            Self::Ours { cluster, .. } => cluster.start_node(index).map_err(|e| e.to_string()),
            Self::Stock { nodes, options, .. } => {
                let node = StockNode::start(&options[index]);
                nodes[index] = Some(node.map_err(|e| format!("locked out: {e}"))?);
                Ok(())
            }
        }
    }

    /// Tries to start a stopped node under another id; a node that starts is stopped again.
    pub fn start_as(&mut self, index: usize, id: u64) -> Result<(), String> {
        match self {
            Self::Ours {
                cluster,
                executable,
            } => {
                let former = cluster.node(index);
                let node = Node::builder(former.address(), former.data_dir())
                    .executable(executable)
                    .engine(engine())
                    .node_id(id)
                    .start()
                    .map_err(|e| e.to_string())?;
                node.stop().map(drop).map_err(|e| e.to_string())
            }
            Self::Stock { options, .. } => {
                let node = StockNode::start(&StockOptions {
                    id: Some(id),
                    ..options[index].clone()
                });
                node.map(drop).map_err(|e| e.to_string())
            }
        }
    }

    /// Starts another one that keeps so many entries behind a snapshot.
    pub fn start_with_trailing(&self, trailing: u32) -> Result<(), String> {
        let address = ports::free_address().map_err(|e| e.to_string())?;
        let directory = self.scratch().join("trailing");
        match self {
            Self::Ours { executable, .. } => {
                let builder = Node::builder(address, directory).executable(executable);
                let builder = builder
                    .engine(engine())
                    .option("snapshot_trailing", trailing);
                builder.start().map(drop).map_err(|e| e.to_string())
            }
            Self::Stock { .. } => {
                let node = StockNode::start(&StockOptions {
                    snapshots: Some((1024, trailing)),
                    data_dir: Some(directory),
                    id: Some(1),
                    address: Some(address),
                    ..StockOptions::default()
                });
                node.map(drop).map_err(|e| e.to_string())
            }
        }
    }

    /// How the node ended, in a few words; `None` while it lives.
    pub fn death(&self, index: usize) -> Option<String> {
        match self {
            Self::Ours { cluster, .. } => {
                let node = cluster.node(index);
                let gone = node.pid().is_none();
                gone.then(|| format!("dies ({:?})", node.why()))
            }
            Self::Stock { nodes, .. } => {
                let node = nodes[index].as_ref()?;
                let ended = node.wait(Duration::ZERO)?;
                Some(format!("dies ({ended}){}", last(node)))
            }
        }
    }

    /// Open descriptors of a node's process.
    pub fn descriptors(&self, index: usize) -> usize {
        let list = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.pid(index).map_or(0, list)
    }
}

/// A node that is to join others and holds nothing.
#[derive(Debug)]
pub enum Newcomer {
    /// Ours.
    Ours(Box<Node>),
    /// Stock.
    Stock(Box<StockNode>),
}

impl Newcomer {
    /// Starts one beside the first node of `victim`; nodes of ours ask to be added.
    pub fn start(victim: &Victim) -> Result<Self, String> {
        let address = ports::free_address().map_err(|e| e.to_string())?;
        let directory = victim.scratch().join("newcomer");
        match victim {
            Victim::Ours { executable, .. } => {
                let builder = Node::builder(address, directory).executable(executable);
                let builder = builder.engine(engine()).cluster([victim.address(0)]);
                let node = builder.restart(false).start();
                Ok(Self::Ours(Box::new(node.map_err(|e| e.to_string())?)))
            }
            Victim::Stock { .. } => {
                let node = StockNode::start(&StockOptions {
                    data_dir: Some(directory),
                    id: Some(2),
                    address: Some(address),
                    ..StockOptions::default()
                });
                Ok(Self::Stock(Box::new(node.map_err(|e| e.to_string())?)))
            }
        }
    }

    /// Its raft id.
    pub fn id(&self) -> u64 {
        match self {
            Self::Ours(node) => node.id(),
            Self::Stock(node) => node.id,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        match self {
            Self::Ours(node) => node.address(),
            Self::Stock(node) => &node.address,
        }
    }

    /// Whether its process runs.
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Ours(node) => node.pid().is_some(),
            Self::Stock(node) => node.is_alive(),
        }
    }
}

/// The line of a failed assertion, if there was one.
fn last(node: &StockNode) -> String {
    let words = node.words();
    let line = words
        .lines()
        .rev()
        .find(|line| line.contains("ssertion") || line.contains("(): invalid"));
    line.map(|line| format!(": {}", line.trim()))
        .unwrap_or_default()
}
