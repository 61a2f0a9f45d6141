//! What the tests share.

use std::thread;
use std::time::{Duration, Instant};

use dqlite_client::proto::Request;
use dqlite_client::{Address, Code, Config};
use dqlite_testkit::fake_server::{Act, Call};
use tokio::runtime::{Builder, Runtime};

/// How long the tests wait for what does not happen.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(300);

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Waits for what another thread or task is about to do.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

pub(crate) fn config(hosts: &[&str]) -> Config {
    let hosts = hosts
        .iter()
        .map(|host| Address::parse(host).expect("an address"));
    Config::new(hosts)
        .with_timeout(LONG)
        .with_connect_timeout(LONG)
}

/// Answers the probes of a session as an engine of 1.18.2 or later does.
pub(crate) fn modern(call: &Call<'_>) -> Act {
    match call.request {
        Request::Prepare { sql: "" } | Request::QuerySql { sql: "", .. } => {
            Act::failure(Code::ERROR, "unrecognized schema version")
        }
        _ => call.usual(),
    }
}
