//! Administration: what is asked of whom, and that every change may be repeated.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{config, modern, runtime};
use dqlite_client::proto::{Metadata, Request, RequestKind, Response};
use dqlite_client::{Address, Code, Config, ErrorKind, NodeInfo, Result, Role, blocking, cluster};
use dqlite_testkit::fake_server::{Act, Call, FakeServer};

type Members = Arc<Mutex<Vec<NodeInfo>>>;

/// A lone leader that keeps its members; `twist` may answer first.
fn leader(
    mut twist: impl FnMut(&Call<'_>) -> Option<Act> + Send + 'static,
) -> (FakeServer, Members) {
    let members: Members = Arc::default();
    let kept = Arc::clone(&members);
    let server = FakeServer::start(move |call| {
        if let Some(act) = twist(call) {
            return act;
        }
        let mut members = kept.lock().expect("no test panicked");
        match call.request {
            Request::Add { id, address } => {
                members.push(NodeInfo {
                    id,
                    address: address.to_owned(),
                    role: Role::Spare,
                });
            }
            Request::Assign { id, role } => {
                members
                    .iter_mut()
                    .filter(|m| m.id == id)
                    .for_each(|m| m.role = role);
            }
            Request::Remove { id } => members.retain(|m| m.id != id),
            Request::Cluster { .. } => return Act::reply(&Response::Servers(members.clone())),
            Request::Describe { .. } => {
                let metadata = Metadata {
                    failure_domain: 3,
                    weight: 5,
                };
                return Act::reply(&Response::Metadata(metadata));
            }
            _ => return modern(call),
        }
        Act::reply(&Response::Empty)
    })
    .expect("a server");
    let itself = NodeInfo {
        id: 1,
        address: server.address().to_owned(),
        role: Role::Voter,
    };
    members.lock().expect("no test panicked").push(itself);
    (server, members)
}

/// Runs the same calls with both drivers.
macro_rules! both {
    ($config:expr, |$admin:ident| $($call:tt)*) => {{
        let $admin = &mut blocking::Admin::new($config);
        let first: Result<_> = both!(@sync $($call)*);
        let runtime = runtime();
        let second: Result<_> = runtime.block_on(async {
            let $admin = &mut cluster::tokio::Admin::new($config);
            both!(@async $($call)*)
        });
        [first, second]
    }};
    (@sync $admin:ident.$verb:ident($($argument:expr),*)) => { $admin.$verb($($argument),*) };
    (@async $admin:ident.$verb:ident($($argument:expr),*)) => {
        $admin.$verb($($argument),*).await
    };
}

#[test]
fn changes_are_confirmed_and_may_be_repeated() {
    let (server, members) = leader(|_| None);
    let config = &config(&[server.address()]);
    let added = both!(config, |admin| admin.add(7, "10.0.0.7:9001", Role::StandBy));
    assert!(added.into_iter().all(|result| result.is_ok()));
    assert_eq!(
        server.count(RequestKind::ADD),
        1,
        "the second call found it done"
    );
    assert_eq!(members.lock().unwrap()[1].role, Role::StandBy);
    let assigned = both!(config, |admin| admin.assign(7, Role::Spare));
    assert!(assigned.into_iter().all(|result| result.is_ok()));
    assert_eq!(
        server.count(RequestKind::ASSIGN),
        2,
        "one of them came with the addition"
    );
    for result in both!(config, |admin| admin.cluster()) {
        assert_eq!(result.unwrap().len(), 2);
    }
    for result in both!(config, |admin| admin.leader()) {
        assert_eq!(result.unwrap().address, server.address());
    }
    let removed = both!(config, |admin| admin.remove(7));
    assert!(removed.into_iter().all(|result| result.is_ok()));
    assert_eq!(server.count(RequestKind::REMOVE), 1);
}

#[test]
fn nodes_are_described_and_weighed() {
    let (server, _) = leader(|_| None);
    let config = &config(&[server.address()]);
    for result in both!(config, |admin| admin.describe(server.address())) {
        assert_eq!(
            result.unwrap(),
            Metadata {
                failure_domain: 3,
                weight: 5
            }
        );
    }
    for result in both!(config, |admin| admin.weight(server.address(), 9)) {
        result.unwrap();
    }
    for result in both!(config, |admin| admin.dump("app")) {
        assert!(result.unwrap().is_empty());
    }
    assert_eq!(server.count(RequestKind::WEIGHT), 2);
}

#[test]
fn changes_get_over_what_passes() {
    for kind in [RequestKind::ADD, RequestKind::REMOVE] {
        let mut faults = vec![
            Act::close(),
            Act::failure(Code::BUSY, "a configuration change is already in progress"),
            Act::failure(Code::NOT_LEADER, "not leader"),
            Act::failure(Code::LEADERSHIP_LOST, "leadership lost"),
        ];
        let (server, _) = leader(move |call| {
            (call.request.kind() == kind)
                .then(|| faults.pop())
                .flatten()
        });
        let mut admin = blocking::Admin::new(&config(&[server.address()]));
        admin.add(7, "10.0.0.7:9001", Role::Spare).unwrap();
        admin.remove(7).unwrap();
        assert_eq!(server.count(kind), 5);
    }
}

#[test]
fn a_lost_answer_is_looked_up_instead_of_asked_again() {
    let members: Arc<Mutex<Option<Members>>> = Arc::default();
    let cell = Arc::clone(&members);
    let (server, kept) = leader(move |call| match call.request {
        Request::Add { id, address } => {
            let node = NodeInfo {
                id,
                address: address.to_owned(),
                role: Role::Spare,
            };
            cell.lock()
                .unwrap()
                .as_ref()
                .unwrap()
                .lock()
                .unwrap()
                .push(node);
            Some(Act::close())
        }
        _ => None,
    });
    *members.lock().unwrap() = Some(kept);
    let config = &config(&[server.address()]);
    for result in both!(config, |admin| admin.add(7, "10.0.0.7:9001", Role::Spare)) {
        result.unwrap();
    }
    assert_eq!(server.count(RequestKind::ADD), 1);
}

#[test]
fn what_cannot_be_done_is_said_at_once() {
    let (server, _) = leader(|_| None);
    let config = &config(&[server.address()]);
    let started = Instant::now();
    for result in both!(config, |admin| admin.remove(1)) {
        assert!(result.unwrap_err().to_string().contains("last voter"));
    }
    for result in both!(config, |admin| admin.assign(9, Role::Voter)) {
        assert_eq!(result.unwrap_err().to_string(), "no member has the id 9");
    }
    for result in both!(config, |admin| admin.add(0, "10.0.0.9:1", Role::Voter)) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
    }
    for result in both!(config, |admin| admin.add(9, "0.0.0.0:1", Role::Voter)) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn any_node_can_be_probed_whether_it_leads_or_not() {
    let server = FakeServer::start(|call| match call.request {
        Request::Leader => Act::reply(&Response::Server {
            id: 0,
            address: String::new(),
        }),
        Request::Cluster { .. } => Act::reply(&Response::Servers(Vec::new())),
        _ => modern(call),
    })
    .unwrap();
    let address = Address::parse(server.address()).unwrap();
    let config = Config::new([address.clone()]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let first = blocking::probe(&config, &address, deadline).unwrap();
    let second = cluster::tokio::probe(&config, &address, deadline);
    let second = runtime().block_on(second).unwrap();
    assert_eq!(first, second);
    assert_eq!((first.leader, first.members.len()), (None, 0));
    drop(server);
    let error = blocking::probe(&config, &address, deadline).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("connect to {address}: connection refused")
    );
}

#[test]
fn dumps_go_to_writers_as_they_come() {
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let files = vec![
        dqlite_client::proto::File {
            name: "app".to_owned(),
            content: content.clone().into(),
        },
        dqlite_client::proto::File {
            name: "app-wal".to_owned(),
            content: Vec::new().into(),
        },
    ];
    let server = FakeServer::start(move |call| match call.request {
        Request::Dump { name: "app" } => Act::reply(&Response::Files(files.clone())),
        Request::Dump { .. } => Act::failure(Code(1002), "database does not exists"),
        _ => modern(call),
    })
    .unwrap();
    let config = &config(&[server.address()]);
    let folder = tempfile::tempdir().unwrap();
    let mut admin = blocking::Admin::new(config);
    let copied = admin.dump_to("app", |name, _| {
        std::fs::File::create(folder.path().join(name))
    });
    assert_eq!(copied.unwrap(), content.len() as u64);
    assert_eq!(std::fs::read(folder.path().join("app")).unwrap(), content);
    let log = std::fs::metadata(folder.path().join("app-wal")).unwrap();
    assert_eq!(log.len(), 0);
    let refused = admin.dump_to("none", |_, _| Ok(std::io::sink()));
    assert_eq!(refused.unwrap_err().code(), Some(Code(1002)));
    runtime().block_on(async {
        let mut admin = cluster::tokio::Admin::new(config);
        let mut sizes = Vec::new();
        let copied = admin.dump_to("app", |name, size| {
            sizes.push((name.to_owned(), size));
            Ok(tokio::io::sink())
        });
        assert_eq!(copied.await.unwrap(), content.len() as u64);
        let size = content.len() as u64;
        assert_eq!(sizes, [("app".to_owned(), size), ("app-wal".to_owned(), 0)]);
    });
}
