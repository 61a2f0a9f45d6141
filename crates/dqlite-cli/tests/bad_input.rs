//! Directories and disks that a node cannot start on: one error each that says what to do.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::control::Stage;
use dqlite::{Config, Node, NodeBuilder, NodeError};
use dqlite_testkit::{engine, ports};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");

/// The directory of a node that was stopped.
struct Home {
    directory: TempDir,
    address: String,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            directory: tempfile::tempdir().unwrap(),
            address: ports::free_address().unwrap(),
        };
        let node = home.builder().start().unwrap();
        node.stop().unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("n").join(name)
    }

    fn builder(&self) -> NodeBuilder {
        Node::builder(&self.address, self.path(""))
            .executable(EXECUTABLE)
            .engine(engine())
            .restart(false)
    }
}

fn refusal(builder: NodeBuilder) -> (Stage, String) {
    match builder.build().unwrap().start() {
        Err(NodeError::Start { stage, text, .. }) => (stage, text),
        other => panic!("{other:?}"),
    }
}

/// What is done to the directory of a node that was stopped, where its next start fails, and what
/// is said.
type Case = (&'static str, fn(&Home), Stage, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "the identity of nobody",
        |home| fs::write(home.path("info.yaml"), "ID: 0\nAddress: a:1\n").unwrap(),
        Stage::DataDir,
        &["info.yaml", "the id is 0"],
    ),
    (
        "an identity cut off",
        |home| fs::write(home.path("info.yaml"), "ID: 32970412").unwrap(),
        Stage::DataDir,
        &["info.yaml", "missing field"],
    ),
    (
        "no identity",
        |home| fs::remove_file(home.path("info.yaml")).unwrap(),
        Stage::Identity,
        &["without info.yaml", "restore the file"],
    ),
    (
        "members that contradict each other",
        |home| {
            let twice = "- {ID: 1, Address: a:1}\n- {ID: 1, Address: b:1}\n";
            fs::write(home.path("cluster.yaml"), twice).unwrap();
        },
        Stage::DataDir,
        &["cluster.yaml", "there twice"],
    ),
    (
        "another version of the engine's files",
        |home| {
            for name in ["metadata1", "metadata2"] {
                if let Ok(mut bytes) = fs::read(home.path(name)) {
                    bytes[0] = 9;
                    fs::write(home.path(name), bytes).unwrap();
                }
            }
        },
        Stage::DataDir,
        &["format 9, not 1"],
    ),
    (
        "no data around the identity",
        |home| {
            for entry in fs::read_dir(home.path("")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none() {
                    fs::remove_file(path).unwrap();
                }
            }
        },
        Stage::Identity,
        &["without raft data", "restore the raft files"],
    ),
    (
        "a file of ours that is a directory",
        |home| {
            fs::remove_file(home.path("info.yaml")).unwrap();
            fs::create_dir(home.path("info.yaml")).unwrap();
        },
        Stage::DataDir,
        &["info.yaml", "directory"],
    ),
    (
        "a lock that is a directory",
        |home| {
            fs::remove_file(home.path("node.lock")).unwrap();
            fs::create_dir(home.path("node.lock")).unwrap();
        },
        Stage::DataDir,
        &["node.lock", "directory"],
    ),
    (
        "the mark of a node that left",
        |home| fs::write(home.path("left"), "{\"cause\":\"left\"}").unwrap(),
        Stage::Removed,
        &["no longer a member", "move the directory aside"],
    ),
    (
        "the mark of a join on a founder",
        |home| fs::write(home.path("join"), "").unwrap(),
        Stage::Identity,
        &["bootstrap id cannot join"],
    ),
];

#[test]
fn each_wrong_directory_has_its_error() {
    for (what, spoil, stage, words) in CASES {
        let home = Home::new();
        spoil(&home);
        let (at, text) = refusal(home.builder());
        assert_eq!(at, *stage, "{what}: {text}");
        for word in *words {
            assert!(text.contains(word), "{what}: no {word:?} in: {text}");
        }
    }
}

#[test]
fn the_directory_of_another_node_is_refused() {
    let home = Home::new();
    let (stage, text) = refusal(home.builder().node_id(7));
    assert_eq!(stage, Stage::Identity);
    assert!(
        text.contains("belongs to node 3297041220608546238, not 7"),
        "{text}"
    );
    let elsewhere = ports::free_address().unwrap();
    let (stage, text) = refusal(home.builder().option("address", elsewhere.as_str()));
    assert_eq!(stage, Stage::Identity);
    let both = text.contains(&home.address) && text.contains(&elsewhere);
    assert!(both && text.contains("keep the old address"), "{text}");
}

/// The executable in mount and user namespaces of its own, with a disk of this size as directory.
fn on_disk_of(size: &str, directory: &Path, data_dir: &Path) -> PathBuf {
    let script = directory.join("dqlite-on-a-small-disk");
    let mount = format!("mount -t tmpfs -o size={size} none {}", data_dir.display());
    let text = format!(
        "#!/bin/sh\nexec unshare -rm sh -c '{mount} && exec {EXECUTABLE} \"$@\"' sh \"$@\"\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn on_small_disk(size: &str) -> (TempDir, NodeBuilder) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("n");
    fs::create_dir(&data_dir).unwrap();
    let executable = on_disk_of(size, directory.path(), &data_dir);
    let builder = Node::builder(ports::free_address().unwrap(), &data_dir)
        .executable(executable)
        .engine(engine())
        .option("unix_socket", false)
        .restart(false);
    (directory, builder)
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let (_directory, builder) = on_small_disk("16k");
    let (stage, text) = refusal(builder);
    assert_eq!(stage, Stage::DataDir, "{text}");
    assert!(text.to_lowercase().contains("no space left"), "{text}");
}

#[test]
fn a_directory_without_permission_to_write_is_named() {
    let home = Home::new();
    let script = home.directory.path().join("dqlite-on-a-disk-to-read");
    let data_dir = home.path("");
    let data_dir = data_dir.display();
    let mount =
        format!("mount --bind {data_dir} {data_dir} && mount -o remount,bind,ro {data_dir}");
    let text = format!(
        "#!/bin/sh\nexec unshare -rm sh -c '{mount} && exec {EXECUTABLE} \"$@\"' sh \"$@\"\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (stage, text) = refusal(home.builder().executable(script).no_unix_socket());
    assert_eq!(stage, Stage::DataDir, "{text}");
    for word in ["ead-only", "let this user write there"] {
        assert!(text.contains(word), "{text}");
    }
    home.builder().start().unwrap().stop().unwrap();
}

#[test]
fn a_disk_that_fills_up_refuses_writes_and_keeps_what_it_has() {
    let (_directory, builder) = on_small_disk("60m");
    let node = builder.start().unwrap();
    let mut config = Config::parse(node.address()).unwrap().with_database("app");
    config.connect_timeout = Duration::from_secs(10);
    let mut connection = Connection::open(&config).unwrap();
    let sql = "CREATE TABLE heap (n INTEGER PRIMARY KEY, bytes BLOB)";
    connection.execute(sql, ()).unwrap();
    let mut written = 0_i64;
    let error = loop {
        assert!(written < 200, "the disk does not fill up");
        let sql = "INSERT INTO heap (bytes) VALUES (zeroblob(1000000))";
        match connection.execute(sql, ()) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("after {written} MB: {error}");
    assert!(written > 3, "{written}");
    assert!(node.is_running(), "the node died of a full disk");
    node.stop().unwrap();
}
