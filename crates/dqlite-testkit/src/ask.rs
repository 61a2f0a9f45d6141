//! One request to one server, over a plain socket: what a test asks a node behind its client's
//! back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use dqlite_proto::{Event, Limits, NodeInfo, Request, Response, Session};

/// How long a server may take, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Dials `address`, sends one request and gives its reply; a failure is an error with its text.
pub fn ask(address: &str, request: &Request<'_>) -> io::Result<Response> {
    let deadline = Instant::now() + PATIENCE;
    let mut found = address.to_socket_addrs()?;
    let place = found.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let mut socket = TcpStream::connect_timeout(&place, PATIENCE)?;
    let mut session = Session::new(Limits::default());
    session.queue(request).map_err(io::Error::other)?;
    socket.write_all(session.output())?;
    let sent = session.output().len();
    session.sent(sent);
    let mut bytes = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut bytes)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => session.input().extend_from_slice(&bytes[..read]),
        }
        match session.event().map_err(io::Error::other)? {
            None | Some(Event::Rows { .. }) => {}
            Some(Event::Reply { response, .. }) => return Ok(response),
            Some(Event::Failed { failure, .. }) => return Err(io::Error::other(failure)),
        }
    }
}

/// Whom a node takes for the leader.
pub fn leader(address: &str) -> io::Result<Option<String>> {
    match ask(address, &Request::Leader)? {
        Response::Server { id, address } => Ok((id != 0).then_some(address)),
        other => Err(unexpected(&other)),
    }
}

/// The members that a node knows.
pub fn members(address: &str) -> io::Result<Vec<NodeInfo>> {
    match ask(address, &Request::cluster())? {
        Response::Servers(members) => Ok(members),
        other => Err(unexpected(&other)),
    }
}

/// A node's own copy of a database: names and contents of its files.
pub fn dump(address: &str, database: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    match ask(address, &Request::Dump { name: database })? {
        Response::Files(files) => Ok(files
            .into_iter()
            .map(|file| (file.name, file.content.to_vec()))
            .collect()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(response: &Response) -> io::Error {
    io::Error::other(format!("unexpected reply of type {}", response.kind()))
}
