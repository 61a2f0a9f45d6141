//! A client that sends exactly what a test says, well-formed or not, and reads replies one by one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dqlite_proto::frame::HANDSHAKE;
use dqlite_proto::{Failure, Header, Request, Response, ResponseKind, message, reply, rows};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);
const REPLY_TEXT_MAX: usize = 64 << 10;

/// One connection over TCP, behind its handshake.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

/// A reply to one request: the last of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Header of the last message.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
    /// How many messages there were.
    pub messages: usize,
}

impl Raw {
    /// Dials a node and shakes hands.
    pub fn dial(address: &str) -> io::Result<Self> {
        let mut raw = Self::silent(address)?;
        raw.send_bytes(&HANDSHAKE.to_le_bytes())?;
        Ok(raw)
    }

    /// Dials a node and says nothing.
    pub fn silent(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Dials a node and opens a database.
    pub fn open(address: &str, database: &str) -> io::Result<Self> {
        let mut raw = Self::dial(address)?;
        raw.ask(&Request::open(database))?;
        Ok(raw)
    }

    /// The socket itself.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends requests in one write.
    pub fn send(&mut self, requests: &[Request<'_>]) -> io::Result<()> {
        self.send_bytes(&encode(requests))
    }

    /// Reads a whole reply, of as many messages as it has.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut messages = 0;
        loop {
            let mut header = [0; 8];
            self.stream.read_exact(&mut header)?;
            let header = Header::decode(header);
            let size = usize::try_from(header.body_bytes()).map_err(io::Error::other)?;
            let mut body = vec![0; size];
            self.stream.read_exact(&mut body)?;
            messages += 1;
            let part =
                header.kind == ResponseKind::ROWS.0 && body.ends_with(&rows::PART.to_le_bytes());
            if !part {
                return Ok(Reply {
                    header,
                    body,
                    messages,
                });
            }
        }
    }

    /// Sends one request and reads its reply; a failure is an error with its text.
    pub fn ask(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        self.send(&[*request])?;
        let reply = self.reply()?;
        match reply.failure() {
            Some(failure) => Err(io::Error::other(failure)),
            None => Ok(reply),
        }
    }

    /// Sends one statement that is no query, without parameters.
    pub fn run(&mut self, sql: &str) -> io::Result<Reply> {
        self.ask(&exec(sql))
    }

    /// Whether the server closes the connection, with nothing more to read.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut [0; 1]) {
            Ok(read) => Ok(read == 0),
            Err(reason) if reason.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(reason) => Err(reason),
        }
    }
}

impl Reply {
    /// What kind of message it is.
    pub const fn kind(&self) -> ResponseKind {
        ResponseKind(self.header.kind)
    }

    /// The failure, if it is one.
    pub fn failure(&self) -> Option<Failure> {
        let failed = self.kind() == ResponseKind::FAILURE;
        failed
            .then(|| reply::failure(&self.body, REPLY_TEXT_MAX).ok())
            .flatten()
    }

    /// Code of the failure, or 0 for a success.
    pub fn code(&self) -> u64 {
        self.failure().map_or(0, |failure| failure.code.0)
    }

    /// The message, decoded.
    pub fn decode(&self) -> io::Result<Response> {
        let limits = dqlite_proto::Limits::default();
        let asked = message::Asked::new(&limits);
        let body = dqlite_proto::Bytes::copy_from_slice(&self.body);
        Response::decode(self.header, &body, &asked).map_err(io::Error::other)
    }
}

/// The bytes of requests.
pub fn encode(requests: &[Request<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in requests {
        request
            .encode(0, &mut bytes)
            .expect("a request that can be encoded");
    }
    bytes
}

/// `EXEC_SQL` without parameters.
pub const fn exec(sql: &str) -> Request<'_> {
    Request::ExecSql {
        sql,
        params: dqlite_proto::ParamsRef::NONE,
    }
}

/// `QUERY_SQL` without parameters.
pub const fn query(sql: &str) -> Request<'_> {
    Request::QuerySql {
        sql,
        params: dqlite_proto::ParamsRef::NONE,
    }
}
