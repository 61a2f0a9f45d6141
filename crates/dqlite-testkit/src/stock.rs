//! Stock engines: libdqlite as packaged, in a process of its own, listening by itself.
//!
//! No function stands in front of the engine's libraries, no gateway in front of its listener: what
//! these nodes do is what everybody else's nodes do. They are what ours are compared with.
//!
//! ```no_run
//! use dqlite_testkit::stock::{StockCluster, StockOptions};
//!
//! let cluster = StockCluster::start(3, &StockOptions::default())?;
//! let leader = cluster.wait_for_leader()?;
//! cluster.node(leader).kill()?;
//! # Ok::<(), dqlite_testkit::cluster::ClusterError>(())
//! ```

use std::fmt::Debug;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_proto::{Request, Role};
use tempfile::TempDir;

use crate::cluster::{ClusterError, await_that};
use crate::engine::engine;
use crate::{ask, ports};

/// How long a node may take to serve, or to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(2);
/// The id that founds a cluster of one in an empty directory.
const FOUNDER: u64 = 1;
const HOST: &str = env!("DQLITE_STOCK_HOST");

/// How a stock node is set up. The defaults are the engine's own.
#[derive(Clone, Debug)]
pub struct StockOptions {
    /// A bundle's directory, or any directory with a libdqlite.so.0 and what it needs.
    pub engine: PathBuf,
    /// One way; the engine's default if absent.
    pub network_latency_ms: Option<u32>,
    /// How long a writer waits for another; 0 is not at all, as the engine does by default.
    pub busy_timeout_ms: u32,
    /// Entries between snapshots, and entries kept behind one; the engine's defaults if absent.
    pub snapshots: Option<(u32, u32)>,
    /// Threads of the engine's pool; libuv's default of 4 if absent.
    pub worker_threads: Option<u32>,
    /// Where the data is; a temporary directory of the node if absent.
    pub data_dir: Option<PathBuf>,
    /// Raft id; 1, which founds a cluster, if absent.
    pub id: Option<u64>,
    /// Where it listens; a free port of 127.0.0.1 if absent.
    pub address: Option<String>,
}

impl Default for StockOptions {
    fn default() -> Self {
        Self {
            engine: engine(),
            network_latency_ms: None,
            busy_timeout_ms: 0,
            snapshots: None,
            worker_threads: None,
            data_dir: None,
            id: None,
            address: None,
        }
    }
}

/// One stock node. Its process ends with this value, or with the process that holds it.
#[derive(Debug)]
pub struct StockNode {
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Its raft id.
    pub id: u64,
    process: Mutex<Process>,
    words: Arc<Mutex<String>>,
    data_dir: PathBuf,
    _directory: Option<TempDir>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl StockNode {
    /// Starts a node; returns when the engine serves.
    pub fn start(options: &StockOptions) -> io::Result<Self> {
        let directory = match &options.data_dir {
            Some(_) => None,
            None => Some(tempfile::tempdir()?),
        };
        let own = directory.as_ref().map(|owned| owned.path().to_owned());
        let data_dir = options.data_dir.clone().or(own).unwrap_or_default();
        fs::create_dir_all(&data_dir)?;
        let address = match &options.address {
            Some(address) => address.clone(),
            None => ports::free_address()?,
        };
        let id = options.id.unwrap_or(FOUNDER);
        let mut child = command(options, id, &address, &data_dir)?.spawn()?;
        let words = collect(child.stderr.take());
        let lines = lines(child.stdout.take());
        let node = Self {
            address,
            pid: child.id(),
            id,
            process: Mutex::new(Process { child, lines }),
            words,
            data_dir,
            _directory: directory,
        };
        let said = node.process().lines.recv_timeout(PATIENCE);
        match said.as_deref() {
            Ok("ready") => Ok(node),
            other => Err(io::Error::other(format!(
                "the stock engine does not start: {other:?} {}",
                node.words()
            ))),
        }
    }

    /// Whether the process is still there.
    pub fn is_alive(&self) -> bool {
        self.ended().is_none()
    }

    /// How the process ended, if it did.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process().child.try_wait().ok().flatten()
    }

    /// Waits for the process to end; `None` if it has not by then.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => thread::sleep(POLL_EVERY),
                ended => return ended,
            }
        }
    }

    /// Ends the process with SIGKILL, and returns when it is gone.
    pub fn kill(&self) -> io::Result<()> {
        let mut process = self.process();
        process.child.kill()?;
        process.child.wait().map(drop)
    }

    /// Stops and frees the node as a careful host would, and gives how its process ended; `None`
    /// if that took longer than `patience`.
    pub fn stop(&self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(input) = self.process().child.stdin.as_mut() {
            input.write_all(b"stop\n")?;
        }
        Ok(self.wait(patience))
    }

    /// What the process has written to stderr: the last line names a failed assertion.
    pub fn words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.clone()
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StockNode {
    fn drop(&mut self) {
        let process = self.process.get_mut();
        let child = &mut process.unwrap_or_else(PoisonError::into_inner).child;
        // It may have ended by itself: then there is nobody to kill, and the wait takes no time.
        drop(child.kill());
        drop(child.wait());
    }
}

/// Through the bundle's own loader where the directory has one.
fn command(options: &StockOptions, id: u64, address: &str, data_dir: &Path) -> io::Result<Command> {
    let engine = options.engine.canonicalize()?;
    let loader = fs::read_dir(&engine)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b"ld-linux")
        });
    let mut command = Command::new(loader.as_deref().unwrap_or(Path::new(HOST)));
    if loader.is_some() {
        command
            .args(["--inhibit-cache", "--library-path"])
            .args([&engine, Path::new(HOST)])
            .env_remove("LD_LIBRARY_PATH");
    } else {
        command.env("LD_LIBRARY_PATH", &engine);
    }
    let (threshold, trailing) = options.snapshots.unwrap_or_default();
    let numbers = [
        options.network_latency_ms.unwrap_or_default(),
        options.busy_timeout_ms,
        threshold,
        trailing,
    ];
    command
        .arg(engine.join("libdqlite.so.0"))
        .arg(id.to_string())
        .arg(address)
        .arg(data_dir)
        .args(numbers.map(|number| number.to_string()))
        .env_remove("LD_PRELOAD")
        .env_remove("UV_THREADPOOL_SIZE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(threads) = options.worker_threads {
        command.env("UV_THREADPOOL_SIZE", threads.to_string());
    }
    Ok(command)
}

/// Keeps the end of what a process says: a node that dies has written its trace.
fn collect(stderr: Option<ChildStderr>) -> Arc<Mutex<String>> {
    const KEPT: usize = 64 << 10;
    let words = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&words);
    thread::spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut bytes) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_str(&String::from_utf8_lossy(&bytes[..read]));
            if kept.len() > 2 * KEPT {
                let cut = kept.ceil_char_boundary(kept.len() - KEPT);
                kept.drain(..cut);
            }
        }
    });
    words
}

fn lines(stdout: Option<ChildStdout>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let Some(stdout) = stdout else { return };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| send.send(line).is_ok()) {}
    });
    receive
}

/// Makes the nodes behind the first one members of its cluster.
pub fn join(nodes: Vec<StockNode>, role: Role) -> Result<Vec<StockNode>, ClusterError> {
    let cluster = StockCluster { nodes };
    cluster.wait_for_leader()?;
    for node in cluster.nodes.iter().skip(1) {
        cluster.add(node, role)?;
    }
    Ok(cluster.nodes)
}

/// Stock nodes by index, from 0; the first founded the cluster.
#[derive(Debug)]
pub struct StockCluster {
    nodes: Vec<StockNode>,
}

impl StockCluster {
    /// Starts `size` nodes, all of them voters; `options` holds for each, but for id, address and
    /// directory.
    pub fn start(size: usize, options: &StockOptions) -> Result<Self, ClusterError> {
        Self::start_in(size, options, |_| None)
    }

    /// The same, with a directory for each node.
    pub fn start_in(
        size: usize,
        options: &StockOptions,
        data_dir: impl Fn(usize) -> Option<PathBuf>,
    ) -> Result<Self, ClusterError> {
        let start = |index: usize| {
            StockNode::start(&StockOptions {
                id: Some(FOUNDER + index as u64),
                address: None,
                data_dir: data_dir(index),
                ..options.clone()
            })
        };
        let nodes = (0..size).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            nodes: join(nodes, Role::Voter)?,
        })
    }

    /// A node.
    pub fn node(&self, index: usize) -> &StockNode {
        &self.nodes[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[StockNode] {
        &self.nodes
    }

    /// The addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        let address = |node: &StockNode| node.address.clone();
        self.nodes.iter().map(address).collect()
    }

    /// Waits until one node leads and says so itself; gives its index.
    pub fn wait_for_leader(&self) -> Result<usize, ClusterError> {
        await_that("a leader of stock nodes", || {
            let leads = |node: &StockNode| {
                let leader = ask::leader(&node.address).ok().flatten();
                leader.as_deref() == Some(&node.address)
            };
            self.nodes.iter().position(leads).ok_or("none leads")
        })
    }

    /// Makes `node` a member by ADD and ASSIGN; a spare is not assigned.
    pub fn add(&self, node: &StockNode, role: Role) -> Result<(), ClusterError> {
        let add = Request::Add {
            id: node.id,
            address: &node.address,
        };
        let assign = Request::Assign { id: node.id, role };
        self.ask_leader(&add)?;
        if role != Role::Spare {
            self.ask_leader(&assign)?;
        }
        Ok(())
    }

    /// Sends a request to the leader until it is answered without a failure.
    fn ask_leader(&self, request: &Request<'_>) -> Result<(), ClusterError> {
        await_that("answer of the leader", || -> Result<(), Box<dyn Debug>> {
            let leader = self.wait_for_leader().map_err(boxed)?;
            let answer = ask::ask(&self.nodes[leader].address, request).map_err(boxed)?;
            drop(answer);
            Ok(())
        })
    }
}

fn boxed(error: impl Debug + 'static) -> Box<dyn Debug> {
    Box::new(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_node_serves_and_stops() {
        let node = StockNode::start(&StockOptions::default()).unwrap();
        let leader = ask::leader(&node.address).unwrap();
        assert_eq!(leader.as_deref(), Some(node.address.as_str()));
        assert!(node.is_alive());
        let ended = node.stop(PATIENCE).unwrap().unwrap();
        assert!(ended.success(), "{ended} {}", node.words());
    }

    #[test]
    fn the_engine_of_the_machine_s_suite_serves_too() {
        let unpacked = TempDir::new().unwrap();
        let packages = ["libdqlite0", "libraft2", "libuv1"];
        let options = StockOptions {
            engine: crate::engine::unpack(&packages, unpacked.path()).unwrap(),
            ..StockOptions::default()
        };
        let node = StockNode::start(&options).unwrap();
        let leader = ask::leader(&node.address).unwrap();
        assert_eq!(leader.as_deref(), Some(node.address.as_str()));
    }

    #[test]
    fn a_cluster_of_stock_nodes_survives_its_leader() {
        let options = StockOptions {
            network_latency_ms: Some(20),
            ..StockOptions::default()
        };
        let cluster = StockCluster::start(3, &options).unwrap();
        let former = cluster.wait_for_leader().unwrap();
        cluster.node(former).kill().unwrap();
        assert!(!cluster.node(former).is_alive());
        assert_ne!(cluster.wait_for_leader().unwrap(), former);
    }

    #[test]
    fn a_directory_of_another_node_s_lock_is_refused_with_the_engine_s_words() {
        let first = StockNode::start(&StockOptions::default()).unwrap();
        let second = StockNode::start(&StockOptions {
            data_dir: Some(first.data_dir().to_owned()),
            ..StockOptions::default()
        });
        let error = second.unwrap_err().to_string();
        assert!(error.contains("failed start"), "{error}");
    }
}
