//! `dqlite tls`: from nothing to a node that speaks TLS.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use dqlite::blocking::Connection;
use dqlite::{Config, Node};
use dqlite_testkit::certificates::Authority;
use dqlite_testkit::{engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{EXECUTABLE, HOST, PATIENCE, Place, await_that};

fn dqlite_tls(directory: &Path, verb: &str, arguments: &[&str]) -> Output {
    Command::new(EXECUTABLE)
        .args(["tls", verb])
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn an_authority_is_made_once_and_serves_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("tls");
    let address = ports::free_address().unwrap();
    let nodes = ["--node", &address, "db1.example:9001", "--name", "cluster"];
    let made = dqlite_tls(&directory, "init", &nodes);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    assert!(
        said.contains("Next:") && said.contains("dqlites://"),
        "{said}"
    );
    let mut files: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let host = format!("{HOST}.pem");
    assert!(files.contains(&host) && files.len() == 8, "{files:?}");
    for file in &files {
        let mode = directory
            .join(file)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = dqlite_tls(&directory, "init", &nodes);
    assert_eq!(again.status.code(), Some(5));
    let more = dqlite_tls(&directory, "issue", &["--node", "db2.example:9001"]);
    let said = String::from_utf8_lossy(&more.stderr).into_owned();
    assert!(more.status.success(), "{said}");

    let at = |name: &str| directory.join(name);
    let node = Node::builder(&address, folder.path().join("n"))
        .executable(EXECUTABLE)
        .engine(engine())
        .tls(at(&host), at(&format!("{HOST}.key")), at("ca.pem"))
        .build()
        .unwrap();
    node.start().unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let directory = directory.display();
    let url = format!(
        "dqlites://{address}/app?ca={directory}/ca.pem&cert={directory}/client.pem\
         &key={directory}/client.key"
    );
    let config = Config::parse(&url)
        .unwrap()
        .with_timeout(Duration::from_secs(10));
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (n)", ()).unwrap();
    let check = |url: &str| {
        let output = Command::new(EXECUTABLE)
            .args(["tls", "check", url])
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(check(&url), (Some(0), format!("{address}  good\n")));
    let (status, said) = check(&format!("{url}&server_name=db9"));
    assert_eq!(status, Some(3));
    assert!(
        said.contains("certificate is for 127.0.0.1, cluster; dialled db9"),
        "{said}"
    );
    // What was issued later is as good.
    let url = url.replace("client.", "db2.example.");
    Connection::open(&Config::parse(&url).unwrap()).unwrap();
}

#[test]
fn certificates_are_shown_and_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("tls");
    let made = dqlite_tls(&directory, "init", &["--node", "db1.example:9001"]);
    assert!(made.status.success());
    let show = |arguments: &[&str]| {
        let show = Command::new(EXECUTABLE)
            .args(["tls", "show"])
            .args(arguments)
            .current_dir(&directory)
            .output()
            .unwrap();
        (
            show.status.code(),
            String::from_utf8_lossy(&show.stdout).into_owned(),
            String::from_utf8_lossy(&show.stderr).into_owned(),
        )
    };
    let (status, said, _) = show(&["ca.pem", "db1.example.pem"]);
    assert_eq!(status, Some(0), "{said}");
    for words in [
        "ca.pem\n  subject  CN=dqlite CA",
        "db1.example.pem\n  subject  CN=db1.example\n",
        "  names    db1.example\n",
        " days left\n",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let signer = Authority::new("CA");
    let expired = signer.issue_expired(&["db2"], Duration::from_hours(49));
    expired.write(&directory, "old").unwrap();
    let (status, said, _) = show(&["old.pem"]);
    assert_eq!(status, Some(3));
    assert!(said.contains("expired 2 days ago"), "{said}");
    let (_, said, _) = show(&["old.pem", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["names"], serde_json::json!(["db2"]));
    assert_eq!(document["wrong"], "expired 2 days ago");
    for (file, words) in [("none.pem", "no such file"), ("ca.key", "no certificate")] {
        let (status, _, said) = show(&[file]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(file) && said.contains(words), "{said}");
    }
}

#[test]
fn a_node_tells_of_its_certificates_and_reads_them_again_when_it_is_hung_up() {
    let place = Place::describe(1, |builder| builder.option("tls_reload_interval", 3600));
    place.start_all();
    let node = &place.nodes[0];
    let facts = || node.status(PATIENCE).unwrap()["tls"].clone();
    let before = facts();
    assert_eq!(before["subject"], format!("CN={HOST}"));
    assert_eq!(before["names"], serde_json::json!([HOST]));
    let days = Duration::from_hours(24 * 20);
    let now = SystemTime::now();
    let longer = place.signer.issue_between(&[HOST], now, now + days);
    place.issue("node", &longer);
    let pid = i32::try_from(node.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    await_that("the new certificate", || {
        facts()["not_after"] != before["not_after"]
    });
    assert_eq!(node.restarts(), 0);

    // The URL holds all that a client needs, whatever is in the names of the files.
    let url = node.url();
    assert!(url.starts_with("dqlites://127.0.0.1:"), "{url}");
    let config = Config::parse(&url).unwrap().with_database("app");
    let mut connection = Connection::open(&config).unwrap();
    connection.execute("CREATE TABLE t (n)", ()).unwrap();
}
