//! `dqlite tls`: from nothing to a node that speaks TLS.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::{Config, Node};
use dqlite_testkit::{engine, ports};

use crate::{EXECUTABLE, HOST, PATIENCE};

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
