//! Three nodes form a cluster by TLS alone, lose their leader and get it back.

use std::time::Duration;

use dqlite::blocking::{Admin, Connection};
use dqlite::{Node, NodeError, Role};
use dqlite_testkit::engine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{EXECUTABLE, HOST, PATIENCE, Place, await_that};

fn voters(place: &Place) -> usize {
    let config = place.client(place.files("app"));
    let members = Admin::new(&config).cluster().unwrap_or_default();
    let voters = members.iter().filter(|member| member.role == Role::Voter);
    voters.count()
}

#[test]
fn a_cluster_forms_fails_over_and_restores() {
    let place = Place::start(3);
    await_that("three voters", || voters(&place) == 3);
    let config = place.client(place.files("app"));
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (n)", ()).unwrap();
    connection.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    // A result of several megabytes streams through.
    let large = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) \
                 SELECT n, printf('%0100d', n) FROM c";
    let rows = connection.query(large, ()).unwrap();
    assert_eq!(rows.len(), 50_000);
    assert_eq!(rows[49_999].get::<i64>(0).unwrap(), 50_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rows = runtime.block_on(async {
        let mut connection = dqlite::connect(&config).await?;
        connection.query(large, ()).await
    });
    assert_eq!(rows.unwrap().len(), 50_000);

    let leader = connection.address().to_owned();
    let lead = place
        .nodes
        .iter()
        .find(|node| node.address() == leader)
        .unwrap();
    let pid = lead.pid().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let mut connection = Connection::open(&config).unwrap();
    assert_ne!(connection.address(), leader);
    connection.execute("INSERT INTO t VALUES (2)", ()).unwrap();

    await_that("the end of the process", || lead.pid() != Some(pid));
    lead.start().unwrap();
    lead.wait_ready(PATIENCE).unwrap();
    await_that("three voters again", || voters(&place) == 3);
    let row = connection.query_one("SELECT count(*) FROM t", ()).unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 2);
}

#[test]
fn a_node_with_bad_files_says_which_check_failed() {
    let place = Place::describe(1, |builder| builder);
    let start = |cert: &str, key: &str| {
        let node = Node::builder(place.address(0), place.path("bad"))
            .executable(EXECUTABLE)
            .engine(engine())
            .restart(false)
            .tls(place.path(cert), place.path(key), place.path("ca.pem"))
            .build()
            .unwrap();
        let error: NodeError = node.start().unwrap_err();
        assert!(!place.path("bad").exists(), "nothing is made before");
        error.to_string()
    };
    let expired = place
        .signer
        .issue_expired(&[HOST], Duration::from_hours(49));
    expired.write(place.folder.path(), "expired").unwrap();
    let elsewhere = place.signer.issue(&["10.9.9.9"]);
    elsewhere.write(place.folder.path(), "elsewhere").unwrap();
    for (cert, key, wanted) in [
        ("none.pem", "node.key", "none.pem: no such file"),
        (
            "node.pem",
            "app.key",
            "app.key: does not match the certificate in",
        ),
        (
            "expired.pem",
            "expired.key",
            "expired.pem: certificate expired 2 days ago",
        ),
        (
            "elsewhere.pem",
            "elsewhere.key",
            "elsewhere.pem: certificate is for 10.9.9.9; the others dial 127.0.0.1",
        ),
    ] {
        let error = start(cert, key);
        assert!(error.contains(wanted), "{error}\nwanted {wanted}");
    }
    let error = Node::builder(place.address(0), place.path("bad"))
        .option("tls_cert", "only.pem")
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("go together"), "{error}");
}
