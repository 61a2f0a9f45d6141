//! Real nodes that speak TLS: who is let in, who is not, and certificates that change.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

mod change;
mod cluster;
mod dialer;
mod init;
mod refusal;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use dqlite::{Config, Node, NodeBuilder};
use dqlite_client::tls::{Files, Tls};
use dqlite_testkit::certificates::{Authority, Issued};
use dqlite_testkit::{engine, ports};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const HOST: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_secs(40);

/// Nodes, their signer and their files. All nodes share one pair of files.
struct Place {
    // Dropped before the directory they live in.
    nodes: Vec<Node>,
    folder: TempDir,
    signer: Authority,
}

impl Place {
    /// Describes so many nodes; none is started.
    fn describe(size: usize, options: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Authority::new("first CA");
        signer.write(&folder.path().join("ca.pem")).unwrap();
        let issued = signer.issue(&[HOST]);
        issued.write(folder.path(), "node").unwrap();
        signer.issue(&["app"]).write(folder.path(), "app").unwrap();
        let addresses: Vec<String> = (0..size).map(|_| ports::free_address().unwrap()).collect();
        let at = |name: &str| folder.path().join(name);
        let node = |(index, address): (usize, &String)| {
            let builder = Node::builder(address, at(&format!("n{index}")))
                .executable(EXECUTABLE)
                .engine(engine())
                .restart(false)
                .ready_grace(Duration::ZERO)
                .option("tls_reload_interval", 1.0)
                .option("handshake_timeout", 2.0)
                .tls(at("node.pem"), at("node.key"), at("ca.pem"));
            let builder = if size > 1 {
                builder.cluster(&addresses)
            } else {
                builder
            };
            options(builder).build().unwrap()
        };
        let nodes = addresses.iter().enumerate().map(node).collect();
        Self {
            nodes,
            folder,
            signer,
        }
    }

    /// Starts so many nodes, and waits until all are ready.
    fn start(size: usize) -> Self {
        let place = Self::describe(size, |builder| builder);
        place.start_all();
        place
    }

    fn start_all(&self) {
        for node in &self.nodes {
            node.start().unwrap();
        }
        for node in &self.nodes {
            node.wait_ready(PATIENCE).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, index: usize) -> &str {
        self.nodes[index].address()
    }

    /// The files of `stem`, trusting the place's signers.
    fn files(&self, stem: &str) -> Files {
        let at = |end: &str| self.path(&format!("{stem}.{end}"));
        Files::new(self.path("ca.pem")).with_identity(at("pem"), at("key"))
    }

    fn issue(&self, stem: &str, issued: &Issued) -> Files {
        issued.write(self.folder.path(), stem).unwrap();
        self.files(stem)
    }

    /// A client of all nodes without TLS.
    fn plain(&self) -> Config {
        let addresses: Vec<&str> = self.nodes.iter().map(Node::address).collect();
        Config::parse(&addresses.join(","))
            .unwrap()
            .with_database("app")
            .with_timeout(Duration::from_secs(10))
            .with_connect_timeout(Duration::from_secs(10))
    }

    /// The same with TLS.
    fn client(&self, files: Files) -> Config {
        self.plain().with_tls(Tls::load(files).unwrap())
    }
}

/// Asks until it is so.
fn await_that(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "no {what} in time");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Copies a file over another at once, as careful operators do.
fn replace(text: &str, path: &Path) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}
