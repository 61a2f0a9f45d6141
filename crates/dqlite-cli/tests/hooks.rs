//! The functions with which the executable stands in front of the engine's libraries: exported
//! from it alone, called by the engine, and doing what they are for, on a real node.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dqlite::Node;
use dqlite::proto::{Value, ValueRef};
use dqlite_client::blocking::Connection;
use dqlite_client::{Address, Config};
use dqlite_testkit::{engine, ports};
use serde_json::Value as Json;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const EXPORTED: [&str; 16] = [
    "calloc",
    "free",
    "malloc",
    "realloc",
    "sqlite3_bind_parameter_count",
    "sqlite3_close",
    "sqlite3_close_v2",
    "sqlite3_column_count",
    "sqlite3_column_decltype",
    "sqlite3_exec",
    "sqlite3_prepare_v2",
    "sqlite3_set_authorizer",
    "sqlite3_step",
    "sqlite3_stmt_readonly",
    "sqlite3_vfs_register",
    "sysconf",
];

/// One node, its process, and a connection to it.
struct Served {
    connection: Connection,
    node: Node,
    _directory: TempDir,
}

impl Served {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let address = ports::free_address().unwrap();
        let node = Node::builder(address.clone(), directory.path().join("node"))
            .executable(EXECUTABLE)
            .engine(engine())
            .start()
            .unwrap();
        let config = Config::new([Address::parse(&address).unwrap()]);
        let connection = Connection::open(&config).unwrap();
        Self {
            connection,
            node,
            _directory: directory,
        }
    }

    fn run(&mut self, sql: &str) {
        self.connection.execute(sql, ()).unwrap();
    }

    fn cells(&mut self, sql: &str) -> Vec<Value> {
        let rows = self.connection.query(sql, ()).unwrap();
        let cells = |row: &dqlite::Row| -> Vec<Value> {
            (0..row.len())
                .map(|at| row.get_ref(at).unwrap().to_owned())
                .collect()
        };
        rows.iter().flat_map(cells).collect()
    }

    /// The same process still serves, reads and writes.
    fn assert_unharmed(mut self, pid: Option<u32>) {
        self.run("CREATE TABLE after(v)");
        self.run("INSERT INTO after(v) VALUES (1)");
        assert_eq!(self.cells("SELECT v FROM after"), [Value::Integer(1)]);
        assert_eq!(self.node.pid(), pid);
        self.node.stop().unwrap();
    }
}

fn info(configure: impl FnOnce(&mut Command) -> &mut Command) -> (Output, Json) {
    let mut command = Command::new(EXECUTABLE);
    command
        .args(["engine", "info", "--json"])
        .env_remove("DQLITE_ENGINE");
    let output = configure(&mut command).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output, report)
}

fn names(tool: &str, arguments: &[&str], column: usize) -> BTreeSet<String> {
    let output = Command::new(tool)
        .args(arguments)
        .arg(EXECUTABLE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{tool}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_whitespace().nth(column))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_executable_exports_the_hooks_and_nothing_else_of_sqlite() {
    let defined = names("nm", &["--dynamic", "--defined-only"], 2);
    for name in EXPORTED {
        assert!(defined.contains(name), "{name} is not exported");
    }
    let allocators = [
        "memalign",
        "posix_memalign",
        "aligned_alloc",
        "valloc",
        "pvalloc",
    ];
    let stray = |name: &&String| {
        let hook = EXPORTED.contains(&name.as_str());
        !hook && (name.starts_with("sqlite3") || allocators.contains(&name.as_str()))
    };
    assert_eq!(
        defined.iter().filter(stray).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

#[test]
fn the_executable_needs_nothing_that_a_bundle_does_not_hold() {
    let output = Command::new("readelf")
        .args(["-d", EXECUTABLE])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    let needed = needed.filter_map(|line| line.split(['[', ']']).nth(1));
    for library in needed {
        let file = engine().join(library);
        assert!(file.is_file(), "{} is needed", file.display());
        assert_ne!(library, "libsqlite3.so.0");
        assert_ne!(library, "libdqlite.so.0");
    }
}

#[test]
fn the_engine_is_found_loaded_and_proven() {
    let (output, report) = info(|command| command.env("DQLITE_ENGINE", engine()));
    assert!(output.status.success(), "{report:#}");
    let hooks: BTreeSet<_> = report["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Json::as_str)
        .collect();
    assert_eq!(hooks, EXPORTED.into());
    assert!(
        report["version"].as_str().unwrap().starts_with("1.18."),
        "{report:#}"
    );
    assert_eq!(
        report["bundle"]["directory"],
        engine().canonicalize().unwrap().to_str().unwrap()
    );
}

#[test]
fn what_is_preloaded_does_not_reach_the_engine() {
    let foreign = TempDir::new().unwrap();
    let library = compile(
        foreign.path(),
        "const char *sqlite3_column_decltype(void) { return 0; }",
    );
    let (output, report) = info(|command| {
        command
            .env("DQLITE_ENGINE", engine())
            .env("LD_PRELOAD", &library)
            .env("LD_LIBRARY_PATH", foreign.path())
    });
    assert!(output.status.success(), "{report:#}");
}

#[test]
fn every_place_that_was_tried_is_told_with_the_fix() {
    let nowhere = TempDir::new().unwrap();
    let (output, report) = info(|command| command.env("XDG_CACHE_HOME", nowhere.path()));
    if output.status.success() {
        // This machine has an engine of its own.
        assert!(
            report["place"]
                .as_str()
                .unwrap()
                .starts_with("system library"),
            "{report:#}"
        );
        return;
    }
    let tried = report["tried"].as_array().unwrap();
    for place in [
        "beside the executable",
        "wheel dqlite-engine",
        "user cache",
        "system library",
    ] {
        let named = |tried: &&Json| tried["place"].as_str().unwrap().starts_with(place);
        let reason = tried.iter().find(named).unwrap()["reason"]
            .as_str()
            .unwrap();
        assert!(!reason.is_empty());
    }
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("tools/engine-bundle"), "{text}");
}

#[test]
fn a_library_that_is_no_engine_is_refused() {
    let foreign = TempDir::new().unwrap();
    let library = compile(foreign.path(), "int nothing(void) { return 0; }");
    let (output, report) = info(|command| command.arg("--engine").arg(&library));
    assert!(!output.status.success());
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("lacks dqlite_version_number"), "{error}");
}

fn compile(directory: &Path, source: &str) -> PathBuf {
    let (code, library) = (directory.join("foreign.c"), directory.join("libforeign.so"));
    fs::write(&code, source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &code])
        .status()
        .unwrap();
    assert!(status.success());
    library
}

#[test]
fn a_node_maps_no_library_from_outside_its_bundle() {
    let served = Served::start();
    let pid = served.node.pid().unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let bundle = engine().canonicalize().unwrap();
    let executable = Path::new(EXECUTABLE).canonicalize().unwrap();
    let mapped: BTreeSet<_> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .collect();
    assert!(mapped.contains(bundle.join("libdqlite.so.0").as_path()));
    let is_library = |path: &&&Path| path.to_string_lossy().contains(".so");
    for library in mapped.iter().filter(is_library) {
        assert!(
            library.starts_with(&bundle) || **library == executable,
            "{}",
            library.display()
        );
    }
    served.node.stop().unwrap();
}

#[test]
fn values_that_do_not_fit_their_declared_type_come_back_as_what_they_are() {
    let mut served = Served::start();
    let pid = served.node.pid();
    served.run("CREATE TABLE b(b BOOLEAN, d DATETIME)");
    served.run("CREATE VIEW w AS SELECT b AS z FROM b");
    for misfit in ["'yes'", "0.5", "x'00'"] {
        served.run(&format!("INSERT INTO b(b) VALUES ({misfit})"));
    }
    let misfits = [
        Value::Text("yes".into()),
        Value::Float(0.5),
        Value::Blob(vec![0]),
    ];
    assert_eq!(served.cells("SELECT b FROM b ORDER BY rowid"), misfits);
    assert_eq!(served.cells("SELECT z FROM w"), misfits);
    served.run("DELETE FROM b");
    for misfit in ["1.5", "x'00'"] {
        served.run(&format!("INSERT INTO b(d) VALUES ({misfit})"));
    }
    let misfits = [Value::Float(1.5), Value::Blob(vec![0])];
    assert_eq!(served.cells("SELECT d FROM b ORDER BY rowid"), misfits);
    served.assert_unharmed(pid);
}

#[test]
fn null_stays_null_and_fitting_values_keep_their_type() {
    let mut served = Served::start();
    let pid = served.node.pid();
    served.run("CREATE TABLE n(b BOOLEAN, d DATE, t DATETIME, s TIMESTAMP)");
    served.run("INSERT INTO n VALUES (NULL, NULL, NULL, NULL)");
    assert_eq!(served.cells("SELECT * FROM n"), vec![Value::Null; 4]);
    served.run("DELETE FROM n");
    served.run("INSERT INTO n VALUES (1, 86400, '2024-01-02', 7)");
    assert_eq!(
        served.cells("SELECT * FROM n"),
        [
            Value::Boolean(1),
            Value::UnixTime(86400),
            Value::Iso8601("2024-01-02".into()),
            Value::UnixTime(7),
        ]
    );
    served.assert_unharmed(pid);
}

#[test]
fn wide_rows_do_not_overflow_the_reply() {
    let mut served = Served::start();
    let pid = served.node.pid();
    let columns = |count: usize| {
        (0..count)
            .map(|i| i.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let names: Vec<_> = (0..500).map(|i| format!("c{i}")).collect();
    served.run(&format!("CREATE TABLE wide({})", names.join(",")));
    for _ in 0..20 {
        served.run(&format!("INSERT INTO wide VALUES ({})", columns(500)));
    }
    for _ in 0..25 {
        let rows = served.connection.query("SELECT * FROM wide", ()).unwrap();
        assert_eq!(rows.len(), 20);
        for row in &rows {
            assert_eq!(row.len(), 500);
            assert_eq!(row.get_ref(499).unwrap(), ValueRef::Integer(499));
        }
    }
    // The widest that is sure to kill a stock engine.
    let sure = format!("SELECT {}", columns(508));
    for _ in 0..25 {
        assert_eq!(served.cells(&sure).last(), Some(&Value::Integer(507)));
    }
    served.assert_unharmed(pid);
}
