//! The fake server does to its clients exactly what the script says.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dqlite_proto::{Code, Event, Limits, Params, Request, RequestKind, Response, Session};
use dqlite_testkit::fake_server::{Act, FakeServer, rows};

/// Sends requests and drives the session until the events run out or the stream ends.
fn converse(server: &FakeServer, requests: &[Request<'_>]) -> (Vec<Event>, std::io::Result<()>) {
    let mut socket = TcpStream::connect(server.address()).expect("the server listens");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let mut session = Session::new(Limits::default());
    for request in requests {
        session.queue(request).expect("requests are fine");
    }
    socket
        .write_all(session.output())
        .expect("the server reads");
    let sent = session.output().len();
    session.sent(sent);
    let mut events = Vec::new();
    let mut bytes = [0; 4096];
    while events.iter().filter(|event| is_last(event)).count() < requests.len() {
        match socket.read(&mut bytes) {
            Ok(0) => return (events, Err(ErrorKind::UnexpectedEof.into())),
            Ok(read) => session.input().extend_from_slice(&bytes[..read]),
            Err(error) => return (events, Err(error)),
        }
        while let Some(event) = session.event().expect("the server speaks the protocol") {
            events.push(event);
        }
    }
    (events, Ok(()))
}

fn is_last(event: &Event) -> bool {
    !matches!(event, Event::Rows { done: false, .. })
}

#[test]
fn a_lone_leader_answers_everything() {
    let server = FakeServer::leader().unwrap();
    let (events, end) = converse(
        &server,
        &[Request::Leader, Request::open("app"), Request::cluster()],
    );
    end.unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(server.count(RequestKind::OPEN), 1);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_failure_is_a_reply() {
    let server = FakeServer::start(|_| Act::failure(Code::BUSY, "database is locked")).unwrap();
    let (events, end) = converse(&server, &[Request::open("app")]);
    end.unwrap();
    assert!(matches!(&events[..], [Event::Failed { failure, .. }] if failure.code == Code::BUSY));
}

#[test]
fn a_result_may_come_in_frames_and_byte_by_byte() {
    let server = FakeServer::start(|call| match call.request {
        Request::QuerySql { .. } => {
            let part = rows(&["n"], &[&[1], &[2]], false);
            let last = rows(&["n"], &[&[3]], true);
            Act::replies(&[part, last]).bytewise()
        }
        _ => call.usual(),
    })
    .unwrap();
    let params = Params::new();
    let query = Request::QuerySql {
        sql: "SELECT n",
        params: params.as_ref(),
    };
    let (events, end) = converse(&server, &[Request::open("app"), query]);
    end.unwrap();
    let frames = events
        .iter()
        .filter(|event| matches!(event, Event::Rows { .. }));
    assert_eq!(frames.count(), 2);
    assert_eq!(server.seen()[1].sql.as_deref(), Some("SELECT n"));
}

#[test]
fn connections_end_after_exactly_n_bytes() {
    let whole = Act::reply(&Response::Empty).len();
    assert_eq!(whole, 16);
    for n in 0..whole {
        let server = FakeServer::start(move |call| call.usual().cut_at(n)).unwrap();
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(&handshake_and_leader()).unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), n);
    }
}

#[test]
fn a_reset_is_a_reset() {
    let server = FakeServer::start(|_| Act::reset()).unwrap();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(&handshake_and_leader()).unwrap();
    let error = socket.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn silence_keeps_the_connection_open() {
    let server = FakeServer::start(|_| Act::silence()).unwrap();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(&handshake_and_leader()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let error = socket.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_pause_is_at_least_as_long_as_said() {
    let pause = Duration::from_millis(50);
    let server = FakeServer::start(move |call| call.usual().split_at(8, pause)).unwrap();
    let begun = Instant::now();
    let (_, end) = converse(&server, &[Request::Leader]);
    end.unwrap();
    assert!(begun.elapsed() >= pause);
}

#[test]
fn hanging_up_ends_connections_and_not_the_server() {
    let server = FakeServer::leader().unwrap();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(&handshake_and_leader()).unwrap();
    let mut first = [0; 8];
    socket.read_exact(&mut first).unwrap();
    server.hang_up();
    let mut rest = Vec::new();
    // What was under way may still arrive; then the stream ends.
    let _reset_or_end = socket.read_to_end(&mut rest);
    let (_, end) = converse(&server, &[Request::Leader]);
    end.unwrap();
}

fn handshake_and_leader() -> Vec<u8> {
    let mut session = Session::new(Limits::default());
    session
        .queue(&Request::Leader)
        .expect("LEADER is always fine");
    session.output().to_vec()
}
