//! Host names and IPv6 addresses as addresses of members: the engine itself takes numbers only.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use dqlite::blocking::Connection;
use dqlite::{Config, Node};
use dqlite_proto::Role;
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{ask, engine, ports};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn one_cluster_of_a_name_a_number_and_an_ipv6_address() {
    let port = || ports::free_port().unwrap();
    let places = [
        format!("localhost:{}", port()),
        format!("127.0.0.1:{}", port()),
        format!("[::1]:{}", port()),
    ];
    let directory = tempfile::tempdir().unwrap();
    let node = |(index, place): (usize, &String)| {
        let node = Node::builder(place, directory.path().join(format!("n{index}")))
            .executable(EXECUTABLE)
            .engine(engine())
            .restart(false)
            .cluster(&places)
            .build()
            .unwrap();
        node.start().unwrap();
        node
    };
    let nodes: Vec<Node> = places.iter().enumerate().map(node).collect();
    await_that("three voters under the addresses given", || {
        for place in &places {
            let members = ask::members(place).map_err(|error| error.to_string())?;
            let voters = members.iter().filter(|one| one.role == Role::Voter);
            let mut names: Vec<&String> = voters.map(|one| &one.address).collect();
            names.sort();
            let mut wanted: Vec<&String> = places.iter().collect();
            wanted.sort();
            if names != wanted {
                return Err(format!("{place}: {members:?}"));
            }
        }
        Ok(())
    })
    .unwrap();
    // Each leads once, so each dials both others by what they are called.
    let mut config = Config::parse(&places.join(","))
        .unwrap()
        .with_database("app");
    config.connect_timeout = PATIENCE;
    let mut connection = Connection::open(&config).unwrap();
    connection
        .execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)", ())
        .unwrap();
    drop(connection);
    for (n, node) in (1_i64..).zip(&nodes) {
        node.wait_ready(PATIENCE).unwrap();
        let mut admin = dqlite::cluster::blocking::Admin::new(&config);
        admin.transfer(Some(node.id())).unwrap();
        await_that("its turn to lead", || match ask::leader(node.address()) {
            Ok(Some(leader)) if leader == node.address() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .unwrap();
        let mut connection = Connection::open(&config).unwrap();
        let written = connection.execute("INSERT INTO numbers VALUES (?)", (n,));
        written.unwrap();
    }
    let resolved = places[0].to_socket_addrs().unwrap().count();
    println!("three leaders in turn; localhost has {resolved} addresses here");
    for place in &places {
        await_that("a copy of everything", || {
            let dump = ask::dump(place, "app").map_err(|error| error.to_string())?;
            if dump == ask::dump(&places[0], "app").map_err(|error| error.to_string())? {
                Ok(())
            } else {
                Err("differs".to_owned())
            }
        })
        .unwrap();
    }
}
