//! The state machine over the C interface: which calls are made, in which order, and what becomes
//! of failures. The library is made on the spot, as the real engine aborts where an order is wrong
//! and fails only when its machine does.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use dqlite_node::engine::{Dialer, Engine, EngineConfig, EngineError, Library};
use tempfile::TempDir;

/// Writes the name of each call into a file; the call named by FAIL fails.
const SOURCE: &str = r#"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
typedef unsigned long long u64;
static int (*connect_func)(void *, const char *, int *);
static void *connect_arg;
static char message[64];
static void note(const char *call) {
    FILE *file = fopen(LOG, "a"); fprintf(file, "%s\n", call); fclose(file);
}
static int done(const char *call) {
    note(call);
    if (strcmp(call, FAIL) != 0) return 0;
    snprintf(message, sizeof message, "%s", REASON);
    return 1;
}
#define SET(name, type) int dqlite_node_set_##name(void *n, type v) { return done(#name); }
int dqlite_version_number(void) { return 11801; }
int dqlite_node_create(u64 id, const char *a, const char *d, void **n) {
    *n = message; return done("create");
}
void dqlite_node_destroy(void *n) { note("destroy"); }
int dqlite_node_set_bind_address(void *n, const char *a) { note(a); return done("bind"); }
const char *dqlite_node_get_bind_address(void *n) { return "@made"; }
int dqlite_node_set_connect_func(void *n, int (*f)(void *, const char *, int *), void *arg) {
    connect_func = f; connect_arg = arg; return 0;
}
SET(network_latency_ms, unsigned)
SET(failure_domain, u64)
SET(block_size, unsigned long)
SET(auto_recovery, bool)
SET(snapshot_compression, bool)
int dqlite_node_set_snapshot_params(void *n, unsigned a, unsigned b) {
    return done("snapshot_params");
}
int dqlite_node_start(void *n) {
    int fd = -1;
    int code = connect_func(connect_arg, "peer:1", &fd);
    note(code == 0 && fd >= 0 ? "connected" : code != 0 && fd == -1 ? "not connected" : "?");
    return done("start");
}
int dqlite_node_stop(void *n) { return done("stop"); }
const char *dqlite_node_errmsg(void *n) { note("errmsg"); return message; }
// Found when the library is opened; nothing here calls them.
#define UNUSED(name) void sqlite3_##name(void) {}
UNUSED(bind_parameter_count) UNUSED(close) UNUSED(close_v2) UNUSED(column_count)
UNUSED(column_decltype) UNUSED(column_type) UNUSED(db_config) UNUSED(db_filename) UNUSED(exec)
UNUSED(interrupt) UNUSED(limit) UNUSED(open_v2) UNUSED(set_authorizer) UNUSED(sql) UNUSED(step)
UNUSED(stmt_readonly) UNUSED(vfs_register)
"#;

struct Made {
    directory: TempDir,
    library: &'static Library,
}

impl Made {
    fn sound() -> Self {
        Self::failing("nothing", "")
    }

    fn failing(call: &str, reason: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (code, library, log) = (at("engine.c"), at("libmade.so"), at("calls"));
        std::fs::write(&code, SOURCE).unwrap();
        std::fs::write(&log, "").unwrap();
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-w"])
            .arg(format!("-DLOG=\"{}\"", log.display()))
            .arg(format!("-DFAIL=\"{call}\""))
            .arg(format!("-DREASON=\"{reason}\""))
            .arg("-o")
            .args([&library, &code])
            .status()
            .unwrap();
        assert!(status.success());
        let library = Library::open_with(&library, true).unwrap();
        Self { directory, library }
    }

    fn config(&self) -> EngineConfig {
        EngineConfig::new(1, "peer:2", self.directory.path())
    }

    fn run(&self, config: &EngineConfig, dialer: Dialer) -> Result<(), EngineError> {
        let bound = Engine::create(self.library, config, dialer)?.bind()?;
        assert_eq!(bound.abstract_name(), "made");
        bound.start()?.stop()
    }

    /// The calls after the set-up.
    fn calls(&self) -> Vec<String> {
        let all = std::fs::read_to_string(self.directory.path().join("calls")).unwrap();
        let after = all
            .rsplit_once("snapshot_params\n")
            .map_or(all.as_str(), |(_, after)| after);
        after.lines().map(str::to_owned).collect()
    }
}

fn dialer() -> Dialer {
    Box::new(|address| {
        assert_eq!(address, "peer:1");
        File::open("/dev/null").map(OwnedFd::from)
    })
}

#[test]
fn a_whole_life_is_every_call_once_and_in_order() {
    let made = Made::sound();
    made.run(&made.config(), dialer()).unwrap();
    assert_eq!(
        made.calls(),
        ["@", "bind", "connected", "start", "stop", "destroy"]
    );
}

#[test]
fn a_failure_before_the_start_is_told_once_and_frees_the_node() {
    for (call, before) in [("create", &["create"][..]), ("bind", &["@", "bind"])] {
        let made = Made::failing(call, "no luck");
        let error = made.run(&made.config(), dialer()).unwrap_err();
        assert_eq!(
            (error.step(), error.code(), error.message()),
            (call, 1, "no luck")
        );
        assert_eq!(made.calls(), [before, &["errmsg", "destroy"]].concat());
    }
}

#[test]
fn a_failed_start_frees_the_node_and_an_empty_reason_is_said_to_be_one() {
    let made = Made::failing("start", "");
    let error = made.run(&made.config(), dialer()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "start: the engine gave no reason (code 1)"
    );
    assert_eq!(
        made.calls(),
        ["@", "bind", "connected", "start", "errmsg", "destroy"]
    );
}

#[test]
fn a_node_that_runs_or_did_not_stop_is_never_destroyed() {
    let made = Made::sound();
    let bound = Engine::create(made.library, &made.config(), dialer())
        .unwrap()
        .bind()
        .unwrap();
    drop(bound.start().unwrap());
    assert_eq!(made.calls(), ["@", "bind", "connected", "start"]);
    let made = Made::failing("stop", "stuck");
    assert_eq!(
        made.run(&made.config(), dialer()).unwrap_err().to_string(),
        "stop: stuck (code 1)"
    );
    assert_eq!(made.calls().last().unwrap(), "errmsg");
}

#[test]
fn no_error_and_no_panic_of_the_dialler_gets_past_the_connect_function() {
    let refusing: Dialer = Box::new(|_| Err(io::Error::other("nobody there")));
    let panicking: Dialer = Box::new(|_| panic!("a bug in the dialler"));
    for dialer in [refusing, panicking] {
        let made = Made::sound();
        made.run(&made.config(), dialer).unwrap();
        assert_eq!(made.calls()[2], "not connected");
    }
}

#[test]
fn an_option_that_the_engine_lacks_is_refused_by_name() {
    let made = Made::sound();
    let dynamic = EngineConfig {
        snapshot_trailing_dynamic: true,
        ..made.config()
    };
    let patient = EngineConfig {
        busy_timeout_ms: 1234,
        ..made.config()
    };
    let options = [
        (dynamic, "snapshot_trailing_strategy=dynamic"),
        (patient, "busy_timeout_ms"),
    ];
    for (config, option) in options {
        let error = made.run(&config, dialer()).unwrap_err();
        assert_eq!(error.step(), option);
        let place = made.library.path().display().to_string();
        for word in ["needs engine >= 1.18.2", "1.18.1", &place] {
            assert!(error.to_string().contains(word), "no {word} in: {error}");
        }
        assert_eq!(made.calls().last().unwrap(), "destroy");
    }
}

#[test]
fn an_option_that_the_engine_refuses_is_named() {
    let made = Made::failing("block_size", "bad size");
    let config = EngineConfig {
        block_size_bytes: Some(3),
        ..made.config()
    };
    let error = made.run(&config, dialer()).unwrap_err();
    assert_eq!(error.to_string(), "block_size_bytes: bad size (code 1)");
}

#[test]
fn what_the_engine_would_cut_short_never_reaches_it() {
    let made = Made::sound();
    let long = EngineConfig {
        data_dir: PathBuf::from("d".repeat(895)),
        ..made.config()
    };
    let cut = EngineConfig {
        address: "peer\0:1".into(),
        ..made.config()
    };
    for (config, option, reason) in [(long, "data_dir", "894"), (cut, "address", "NUL")] {
        let error = made.run(&config, dialer()).unwrap_err();
        assert_eq!((error.step(), error.code()), (option, 0));
        assert!(error.message().contains(reason), "{error}");
    }
    assert_eq!(made.calls(), Vec::<String>::new());
}
