//! Finding the leader over real sockets.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, clients};
use crate::support::{LONG, TIMEOUT, config, modern, runtime};
use dqlite_client::proto::{Request, RequestKind, Response};
use dqlite_client::{
    Address, AttemptKind, Code, Config, Error, ErrorKind, NodeInfo, Outcome, Role, blocking, fd,
};
use dqlite_testkit::fake_server::{Act, Call, FakeServer};

/// A server that answers LEADER with what the cell holds.
fn follower(leader: &Arc<Mutex<String>>) -> FakeServer {
    let leader = Arc::clone(leader);
    FakeServer::start(move |call| match call.request {
        Request::Leader => {
            let address = leader.lock().expect("no test panicked").clone();
            let id = u64::from(!address.is_empty());
            Act::reply(&Response::Server { id, address })
        }
        _ => modern(call),
    })
    .expect("a server")
}

fn names(leader: &str) -> Arc<Mutex<String>> {
    Arc::new(Mutex::new(leader.to_owned()))
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// The error of each driver, and how long it took.
fn failures(config: &Config) -> [(Error, Duration); 2] {
    [Client::blocking, Client::tokio].map(|connect| {
        let started = Instant::now();
        let error = connect(config).err().expect("nobody leads");
        (error, started.elapsed())
    })
}

#[test]
fn a_redirect_is_followed() {
    let leader = FakeServer::start(modern).unwrap();
    let follower = follower(&names(leader.address()));
    for client in clients(&config(&[follower.address()])) {
        drop(client);
    }
    assert_eq!(leader.count(RequestKind::OPEN), 2);
    assert_eq!(follower.count(RequestKind::OPEN), 0);
    assert_eq!(
        follower.connections(),
        1,
        "the second search knows the leader"
    );
}

#[test]
fn dead_silent_and_foreign_servers_delay_nobody() {
    let silent = FakeServer::start(|_| Act::silence()).unwrap();
    let foreign = FakeServer::start(|_| Act::bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).unwrap();
    let closing = FakeServer::start(|_| Act::close()).unwrap();
    let (dead, leader) = (nobody(), FakeServer::start(modern).unwrap());
    let hosts = [
        &dead,
        silent.address(),
        foreign.address(),
        closing.address(),
        leader.address(),
    ];
    let started = Instant::now();
    for client in clients(&config(&hosts)) {
        drop(client);
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn the_error_names_every_reason_and_comes_in_time() {
    let silent = FakeServer::start(|_| Act::silence()).unwrap();
    let foreign = FakeServer::start(|_| Act::bytes(vec![0xff; 64])).unwrap();
    let closing = FakeServer::start(|_| Act::close()).unwrap();
    let waiting = follower(&names(""));
    let dead = nobody();
    let lost = follower(&names(&dead));
    let hosts = [
        &dead,
        silent.address(),
        foreign.address(),
        closing.address(),
        waiting.address(),
        lost.address(),
    ];
    let limit = TIMEOUT * 8;
    let config = config(&hosts).with_connect_timeout(limit);
    for (error, elapsed) in failures(&config) {
        assert!(elapsed >= limit && elapsed < LONG / 2, "{elapsed:?}");
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::NoLeader, Outcome::NotSent)
        );
        let kind = |at: usize| {
            let attempt = error
                .attempts()
                .iter()
                .find(|attempt| attempt.address == hosts[at]);
            attempt
                .unwrap_or_else(|| panic!("{} is missing: {error}", hosts[at]))
                .kind
                .clone()
        };
        assert_eq!(kind(0), AttemptKind::Refused);
        assert_eq!(kind(1), AttemptKind::Timeout);
        assert_eq!(kind(2), AttemptKind::NotDqlite);
        assert_eq!(kind(3), AttemptKind::Closed);
        assert_eq!(kind(4), AttemptKind::NoLeader);
        assert_eq!(kind(5), AttemptKind::Redirected { to: dead.clone() });
        let text = error.to_string();
        assert!(
            text.contains(&format!("says {dead} leads: connection refused")),
            "{text}"
        );
    }
}

#[test]
fn an_election_is_waited_for() {
    let leader = names("");
    let server = follower(&leader);
    let address = server.address().to_owned();
    let elected = Arc::clone(&leader);
    let reached = thread::spawn(move || {
        // The election ends once both clients have asked in vain.
        let deadline = Instant::now() + LONG;
        while server.count(RequestKind::LEADER) < 4 && Instant::now() < deadline {
            thread::yield_now();
        }
        *elected.lock().unwrap() = server.address().to_owned();
        server
    });
    let config = config(&[&address]);
    let other = config.clone();
    let second = thread::spawn(move || Client::tokio(&other).map(drop));
    Client::blocking(&config).map(drop).unwrap();
    second.join().unwrap().unwrap();
    drop(reached.join().unwrap());
}

#[test]
fn a_leader_that_refuses_to_open_says_why() {
    let server = FakeServer::start(|call| match call.request {
        Request::Open { .. } => Act::failure(Code::CANTOPEN, "unable to open database file"),
        _ => modern(call),
    })
    .unwrap();
    for (error, elapsed) in failures(&config(&[server.address()])) {
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Rejected, Some(Code::CANTOPEN))
        );
        assert!(elapsed < LONG / 2);
    }
    let deposed = FakeServer::start(|call| match call.request {
        Request::Open { .. } => Act::failure(Code::NOT_LEADER, "not leader"),
        _ => modern(call),
    })
    .unwrap();
    let config = config(&[deposed.address()]).with_connect_timeout(TIMEOUT * 8);
    for (error, _) in failures(&config) {
        assert_eq!(error.kind(), ErrorKind::NoLeader);
        assert_eq!(error.attempts()[0].kind, AttemptKind::Rejected);
    }
}

#[test]
fn members_are_learnt_and_survive_the_host_that_named_them() {
    let leader = FakeServer::start(modern).unwrap();
    let address = leader.address().to_owned();
    let spare = FakeServer::start(move |call| match call.request {
        Request::Leader => Act::reply(&Response::Server {
            id: 0,
            address: String::new(),
        }),
        Request::Cluster { .. } => Act::reply(&Response::Servers(vec![
            NodeInfo {
                id: 1,
                address: address.clone(),
                role: Role::Voter,
            },
            NodeInfo {
                id: 2,
                address: call.address.to_owned(),
                role: Role::Spare,
            },
        ])),
        _ => modern(call),
    })
    .unwrap();
    let config = config(&[spare.address()]);
    for client in clients(&config) {
        drop(client);
    }
    drop(spare);
    for client in clients(&config) {
        drop(client);
    }
    assert_eq!(
        leader.count(RequestKind::CLUSTER),
        1,
        "members are fresh for a while"
    );
}

#[test]
fn names_are_resolved_and_unknown_ones_reported() {
    let server = FakeServer::start(|call| match call.request {
        Request::Leader => {
            let address = call.address.replace("127.0.0.1", "localhost");
            Act::reply(&Response::Server { id: 1, address })
        }
        _ => modern(call),
    })
    .unwrap();
    let name = server.address().replace("127.0.0.1", "LocalHost");
    for client in clients(&config(&[&name])) {
        drop(client);
    }
    let unknown = config(&["no-such-host.invalid:1"]).with_connect_timeout(TIMEOUT);
    for (error, _) in failures(&unknown) {
        assert_eq!(error.kind(), ErrorKind::NoLeader);
        let kind = &error.attempts()[0].kind;
        assert!(
            matches!(kind, AttemptKind::Unresolved | AttemptKind::Timeout),
            "{error}"
        );
    }
}

#[test]
fn a_unix_socket_is_kept_when_its_node_leads() {
    let server = FakeServer::start(modern).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let target = server.address().to_owned();
    thread::spawn(move || {
        for mut inbound in listener.incoming().flatten() {
            let mut outbound = std::net::TcpStream::connect(&target).unwrap();
            let (mut back, mut forth) = (
                outbound.try_clone().unwrap(),
                UnixStream::try_clone(&inbound).unwrap(),
            );
            thread::spawn(move || std::io::copy(&mut back, &mut forth));
            thread::spawn(move || std::io::copy(&mut inbound, &mut outbound));
        }
    });
    let advertised = Address::parse(server.address()).unwrap();
    let socket = Address::unix(&path, Some(advertised));
    let config = Config::new([socket]).with_timeout(Duration::from_secs(5));
    let mut connection = blocking::Connection::open(&config).unwrap();
    assert_eq!(connection.address(), path.to_str().unwrap());
    connection.execute("DELETE FROM t", ()).unwrap();
    let connection = runtime().block_on(dqlite_client::connect(&config)).unwrap();
    assert_eq!(connection.address(), path.to_str().unwrap());
    assert!(!connection.is_lost());
    let anonymous = Config::new([Address::unix(&path, None)]);
    let connection = blocking::Connection::open(&anonymous).unwrap();
    assert_eq!(
        connection.address(),
        server.address(),
        "a name that is not known is a redirect"
    );
}

#[test]
fn dialling_is_interrupted_when_the_caller_says_so() {
    let silent = FakeServer::start(|_| Act::silence()).unwrap();
    let mut asked = 0;
    let mut interrupt = || {
        asked += 1;
        asked == 2
    };
    let started = Instant::now();
    let deadline = started + Duration::from_secs(30);
    let error = fd::dial(&config(&[silent.address()]), deadline, &mut interrupt).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Usage, "interrupted")
    );
    assert!(started.elapsed() < LONG);
}

#[test]
fn a_server_of_any_class_is_recognised_once() {
    let server = FakeServer::start(modern).unwrap();
    for client in clients(&config(&[server.address()])) {
        drop(client);
    }
    assert_eq!(
        server.count(RequestKind::PREPARE),
        1,
        "the probes are not repeated"
    );
}

#[test]
fn the_first_reply_may_come_in_any_pieces() {
    let server = FakeServer::start(|call: &Call<'_>| modern(call).bytewise()).unwrap();
    for mut client in clients(&config(&[server.address()])) {
        client.execute("DELETE FROM t", &[]).unwrap();
    }
}

#[test]
fn a_leader_that_hangs_is_left_behind() {
    let hung = Arc::new(Mutex::new(false));
    let switch = Arc::clone(&hung);
    let first = FakeServer::start(move |call| {
        if *switch.lock().unwrap() {
            Act::silence()
        } else {
            modern(call)
        }
    })
    .unwrap();
    let second = FakeServer::start(modern).unwrap();
    let config = config(&[first.address()]);
    drop(clients(&config));
    *hung.lock().unwrap() = true;
    let mut both = config.clone();
    both.hosts.push(Address::parse(second.address()).unwrap());
    let started = Instant::now();
    for connect in [Client::blocking, Client::tokio] {
        drop(connect(&both).unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(second.count(RequestKind::OPEN), 2);
}

#[test]
fn a_loop_of_ones_own_can_drive_a_link() {
    let server = FakeServer::start(|call| modern(call).bytewise()).unwrap();
    let deadline = Instant::now() + LONG;
    let config = config(&[server.address()]);
    let mut link = fd::dial(&config, deadline, &mut fd::never).unwrap();
    let mut wanted = 300;
    let mut queued = 0;
    while wanted > 0 {
        while queued < 300 && link.session_mut().queue(&Request::Leader).is_ok() {
            queued += 1;
        }
        let flushed = link.flush().unwrap();
        let ready = fd::wait(&link, true, !flushed, deadline, &mut fd::never).unwrap();
        assert!(!ready.is_late());
        if ready.readable {
            assert_ne!(link.fill().unwrap(), fd::Filled::Eof);
        }
        while let Some(event) = link.event().unwrap() {
            assert!(matches!(event, dqlite_client::proto::Event::Reply { .. }));
            wanted -= 1;
        }
    }
    assert!(link.session().is_idle());
    let past = Instant::now();
    assert!(
        fd::wait(&link, true, false, past, &mut fd::never)
            .unwrap()
            .is_late()
    );
}

/// Callers of both drivers that look for the leader at the same time.
fn crowd(config: &Config, each: usize) -> Vec<Result<(), Error>> {
    let blocking = (0..each).map(|_| {
        let config = config.clone();
        thread::spawn(move || vec![blocking::Connection::open(&config).map(drop)])
    });
    let blocking: Vec<_> = blocking.collect();
    let config = config.clone();
    let tokio = thread::spawn(move || {
        runtime().block_on(async {
            let callers = (0..each).map(|_| {
                let config = config.clone();
                tokio::spawn(async move { dqlite_client::connect(&config).await.map(drop) })
            });
            let mut results = Vec::new();
            for caller in callers.collect::<Vec<_>>() {
                results.push(caller.await.expect("no panic"));
            }
            results
        })
    });
    let threads = blocking.into_iter().chain([tokio]);
    threads
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect()
}

#[test]
fn a_crowd_asks_everybody_once() {
    const EACH: usize = 12;
    const IN_VAIN: usize = 10;
    let mut asked = 0;
    let server = FakeServer::start(move |call| match call.request {
        Request::Leader => {
            asked += 1;
            let elected = asked > IN_VAIN;
            let address = if elected { call.address } else { "" }.to_owned();
            let id = u64::from(elected);
            Act::reply(&Response::Server { id, address })
        }
        _ => modern(call),
    })
    .unwrap();
    for result in crowd(&config(&[server.address()]), EACH) {
        result.unwrap();
    }
    assert_eq!(server.count(RequestKind::OPEN), 2 * EACH);
    // One search in vain and then with success; everybody else asks the leader that it found.
    let asked = server.count(RequestKind::LEADER);
    assert!(asked <= IN_VAIN + 2 * EACH, "{asked} questions");
}

#[test]
fn whoever_waits_for_a_search_knows_its_reasons_and_its_own_deadline() {
    let waiting = follower(&names(""));
    let dead = nobody();
    let limit = TIMEOUT * 10;
    let config = config(&[waiting.address(), &dead]).with_connect_timeout(limit);
    let started = Instant::now();
    for result in crowd(&config, 4) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoLeader);
        assert_eq!(error.attempts().len(), 2, "{error}");
    }
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn a_search_that_is_given_up_goes_on_for_the_others() {
    let leader = names("");
    let server = follower(&leader);
    let config = config(&[server.address()]);
    runtime().block_on(async {
        let first = {
            let config = config.clone();
            tokio::spawn(async move { dqlite_client::connect(&config).await.map(drop) })
        };
        while server.count(RequestKind::LEADER) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let second = {
            let config = config.clone();
            tokio::spawn(async move { dqlite_client::connect(&config).await.map(drop) })
        };
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        server.address().clone_into(&mut leader.lock().unwrap());
        second.await.unwrap().unwrap();
    });
}

#[test]
fn connections_made_before_a_change_of_leaders_can_be_told() {
    let second = FakeServer::start(modern).unwrap();
    let leader = names("");
    let first = follower(&leader);
    first.address().clone_into(&mut leader.lock().unwrap());
    let config = config(&[first.address()]);
    drop(clients(&config));
    let before = config.epoch();
    drop(clients(&config));
    assert_eq!(config.epoch(), before, "nothing has happened");
    second.address().clone_into(&mut leader.lock().unwrap());
    drop(clients(&config));
    assert_ne!(config.epoch(), before);
}
