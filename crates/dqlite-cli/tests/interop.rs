//! go-dqlite's own demonstration program and our Node: one directory for both in turn, and one
//! cluster of both.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::{Config, Node};
use dqlite_proto::Role;
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{ask, engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_mins(1);
/// As the program makes it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS model (key TEXT, value TEXT, UNIQUE(key))";

/// The program `dqlite-demo` of this machine's package go-dqlite, and where nodes live.
struct Lab {
    demo: PathBuf,
    directory: TempDir,
}

/// A running `dqlite-demo`.
struct Demo {
    child: Child,
    api: String,
    address: String,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let download = Command::new("apt-get")
            .args(["download", "go-dqlite"])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(download.status.success(), "{download:?}");
        let mut packages = fs::read_dir(&directory).unwrap();
        let package = packages.next().unwrap().unwrap().path();
        let unpacked = Command::new("dpkg-deb")
            .arg("-x")
            .args([&package, directory.path()])
            .output()
            .unwrap();
        assert!(unpacked.status.success(), "{unpacked:?}");
        let demo = directory.path().join("usr/bin/dqlite-demo");
        Self { demo, directory }
    }

    /// Where the program stores what a node of this address has.
    fn data_dir(&self, address: &str) -> PathBuf {
        self.directory.path().join("data").join(address)
    }

    /// Starts the program on our engine, with the libc that the engine came with.
    fn demo(&self, address: &str, join: &[&str]) -> Demo {
        let api = ports::free_address().unwrap();
        let bundle = engine();
        let mut command = Command::new(bundle.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&bundle).arg(&self.demo);
        command.args(["--api", &api, "--db", address, "--dir"]);
        command.arg(self.directory.path().join("data"));
        for other in join {
            command.args(["--join", other]);
        }
        let log = fs::File::create(self.directory.path().join(format!("{address}.log"))).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let demo = Demo {
            child,
            api,
            address: address.to_owned(),
        };
        await_that("the program's own interface", || {
            TcpStream::connect(&demo.api).map(drop)
        })
        .unwrap();
        demo
    }

    fn node(&self, address: &str, cluster: &[&str]) -> Node {
        let node = Node::builder(address, self.data_dir(address))
            .executable(EXECUTABLE)
            .engine(engine())
            // The program keeps the engine's own timers: an election after three seconds.
            .option("network_latency_ms", 200)
            .option("offline_after", 10.0)
            .cluster(cluster.iter().copied())
            .build()
            .unwrap();
        node.start().unwrap();
        node.wait_ready(PATIENCE).unwrap();
        node
    }
}

impl Demo {
    /// One request to the program; the body of its answer.
    fn request(&self, method: &str, key: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.api).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} /{key} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.trim().to_owned()
    }

    fn put(&self, key: &str, value: &str) {
        assert_eq!(self.request("PUT", key, value), "done");
    }

    fn get(&self, key: &str) -> String {
        self.request("GET", key, "")
    }

    /// Ends it as its user would: it hands over first.
    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ends a program that a failed test left running; it may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: &str) -> Connection {
    let mut config = Config::parse(address).unwrap().with_database("demo");
    config.connect_timeout = PATIENCE;
    Connection::open(&config).unwrap()
}

fn value(connection: &mut Connection, key: &str) -> String {
    let row = connection.query_one("SELECT value FROM model WHERE key = ?", (key,));
    row.and_then(|row| row.get(0)).unwrap()
}

fn insert(connection: &mut Connection, key: &str, value: &str) {
    let sql = "INSERT OR REPLACE INTO model (key, value) VALUES (?, ?)";
    connection.execute(sql, (key, value)).unwrap();
}

fn text(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn a_directory_moves_from_go_dqlite_to_us_and_back() {
    let lab = Lab::new();
    let place = ports::free_address().unwrap();
    let demo = lab.demo(&place, &[]);
    for n in 0..20 {
        demo.put(&format!("k{n}"), &format!("v{n}"));
    }
    demo.stop();
    let directory = lab.data_dir(&place);
    let theirs = ["info.yaml", "cluster.yaml"].map(|name| text(&directory, name));

    let node = lab.node(&place, &[]);
    let mut connection = connect(&place);
    for n in 0..20 {
        assert_eq!(value(&mut connection, &format!("k{n}")), format!("v{n}"));
    }
    insert(&mut connection, "ours", "written by our node");
    drop(connection);
    let stopped = node.stop().unwrap();
    assert!(!stopped.killed, "{stopped:?}");
    let ours = ["info.yaml", "cluster.yaml"].map(|name| text(&directory, name));
    assert_eq!(ours, theirs);

    let demo = lab.demo(&place, &[]);
    assert_eq!(demo.get("ours"), "written by our node");
    assert_eq!(demo.get("k19"), "v19");
    demo.put("k20", "v20");
    demo.stop();
    let _node = lab.node(&place, &[]);
    assert_eq!(value(&mut connect(&place), "k20"), "v20");
}

#[test]
fn go_dqlite_opens_a_directory_that_we_made() {
    let lab = Lab::new();
    let place = ports::free_address().unwrap();
    let node = lab.node(&place, &[]);
    let mut connection = connect(&place);
    connection.execute(TABLE, ()).unwrap();
    for n in 0..20 {
        insert(&mut connection, &format!("k{n}"), &format!("v{n}"));
    }
    drop(connection);
    node.stop().unwrap();
    let directory = lab.data_dir(&place);
    assert_eq!(
        text(&directory, "info.yaml"),
        format!("ID: 3297041220608546238\nAddress: {place}\nRole: 0\n")
    );
    let demo = lab.demo(&place, &[]);
    for n in 0..20 {
        assert_eq!(demo.get(&format!("k{n}")), format!("v{n}"));
    }
    demo.stop();
    // The program wrote the same identity again, or none.
    assert!(text(&directory, "info.yaml").starts_with("ID: 3297041220608546238\n"));
}

#[test]
fn one_cluster_of_both_serves_from_every_side() {
    let lab = Lab::new();
    let [first, second, third] = [(); 3].map(|()| ports::free_address().unwrap());
    let founder = lab.demo(&first, &[]);
    founder.put("founder", "go");
    let node = lab.node(&second, &[&first]);
    let joiner = lab.demo(&third, &[&first, &second]);
    let voters = |address: &str| {
        let members = ask::members(address).map_err(|error| error.to_string())?;
        let voters = members.iter().filter(|one| one.role == Role::Voter).count();
        if voters == 3 {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    };
    await_that("three voters", || voters(&second)).unwrap();

    let mut connection = connect(&second);
    assert_eq!(value(&mut connection, "founder"), "go");
    insert(&mut connection, "node", "ours");
    for demo in [&founder, &joiner] {
        assert_eq!(demo.get("node"), "ours");
        let key = demo.address.replace([':', '.'], "-");
        demo.put(&key, "theirs");
        assert_eq!(value(&mut connection, &key), "theirs");
    }
    drop(connection);

    // Their founder goes, handing over; ours and the other one are the majority.
    founder.stop();
    let mut connection = connect(&format!("{second},{third}"));
    insert(&mut connection, "after", "the founder");
    assert_eq!(joiner.get("after"), "the founder");
    assert_eq!(value(&mut connection, "founder"), "go");
    drop(connection);

    // It comes back as one of our nodes, on the directory that it left.
    let replaced = lab.node(&first, &[]);
    await_that("three voters again", || voters(&second)).unwrap();
    assert_eq!(value(&mut connect(&first), "after"), "the founder");
    drop((replaced, node));
    joiner.stop();
}
