//! A server without an engine: a script decides what each request gets, byte by byte.
//!
//! ```
//! use dqlite_proto::{Request, Response};
//! use dqlite_testkit::fake_server::{Act, FakeServer};
//!
//! // Answers like a lone leader, but loses the connection in the middle of the first result.
//! let server = FakeServer::start(|call| match call.request {
//!     Request::ExecSql { .. } => call.usual().cut_at(5),
//!     _ => call.usual(),
//! })?;
//! assert!(server.address().starts_with("127.0.0.1:"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use dqlite_proto::frame::{HANDSHAKE, HANDSHAKE_LEGACY};
use dqlite_proto::{
    Code, Columns, Failure, Header, Metadata, NodeInfo, Request, RequestKind, Response, Role,
    RowsFrame, ValueRef,
};

/// The id under which a fake server leads.
pub const ID: u64 = 1;

/// A request that arrived.
#[derive(Debug)]
pub struct Call<'a> {
    /// The connection, counted from 0.
    pub connection: usize,
    /// The request's place on its connection, counted from 0.
    pub index: usize,
    /// What was asked.
    pub request: Request<'a>,
    /// The server's own address.
    pub address: &'a str,
}

impl Call<'_> {
    /// What a lone leader with an empty database would answer.
    pub fn usual(&self) -> Act {
        let address = self.address.to_owned();
        Act::reply(&match self.request {
            Request::Leader => Response::Server { id: ID, address },
            Request::Client { .. } => Response::Welcome {
                heartbeat_timeout_ms: 15_000,
            },
            Request::Open { .. } => Response::Db { id: 0 },
            Request::Prepare { sql } => Response::Stmt {
                id: u32::try_from(self.index).unwrap_or_default(),
                params: sql.bytes().filter(|byte| *byte == b'?').count() as u64,
                tail: None,
            },
            Request::Exec { .. } | Request::ExecSql { .. } => Response::Result {
                last_insert_id: 1,
                rows_affected: 1,
            },
            Request::Query { .. } | Request::QuerySql { .. } => rows(&["n"], &[&[1]], true),
            Request::Cluster { .. } => {
                let role = Role::Voter;
                Response::Servers(vec![NodeInfo {
                    id: ID,
                    address,
                    role,
                }])
            }
            Request::Dump { .. } => Response::Files(Vec::new()),
            Request::Describe { .. } => Response::Metadata(Metadata {
                failure_domain: 0,
                weight: 0,
            }),
            _ => Response::Empty,
        })
    }
}

/// A frame of whole numbers.
pub fn rows(columns: &[&str], rows: &[&[i64]], done: bool) -> Response {
    let value = |number: &i64| ValueRef::Integer(*number);
    let rows: Vec<Vec<ValueRef<'_>>> = rows
        .iter()
        .map(|row| row.iter().map(value).collect())
        .collect();
    Response::Rows(RowsFrame::build(
        Arc::new(Columns::new(columns)),
        &rows,
        done,
    ))
}

/// What a request gets.
#[derive(Clone, Debug, Default)]
pub struct Act {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Wait(Gate),
    WaitForMore,
    Close,
    Reset,
    Mute,
}

impl Act {
    /// One reply.
    pub fn reply(response: &Response) -> Self {
        Self::replies(std::slice::from_ref(response))
    }

    /// Several replies in a row, as the frames of one result are.
    pub fn replies(responses: &[Response]) -> Self {
        let mut bytes = Vec::new();
        for response in responses {
            response.encode(&mut bytes);
        }
        Self::bytes(bytes)
    }

    /// The server says no.
    pub fn failure(code: Code, message: &str) -> Self {
        let message = message.to_owned();
        Self::reply(&Response::Failure(Failure { code, message }))
    }

    /// Any bytes, such as garbage.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            steps: vec![Step::Send(bytes)],
        }
    }

    /// No answer, to this request or any later one, on a connection that stays open.
    pub fn silence() -> Self {
        Self {
            steps: vec![Step::Mute],
        }
    }

    /// The connection ends instead of an answer.
    pub fn close() -> Self {
        Self {
            steps: vec![Step::Close],
        }
    }

    /// The connection is reset instead of an answer.
    pub fn reset() -> Self {
        Self {
            steps: vec![Step::Reset],
        }
    }

    /// The connection ends after `n` bytes of the answer.
    #[must_use]
    pub fn cut_at(self, n: usize) -> Self {
        self.until(n, Step::Close)
    }

    /// The connection is reset after `n` bytes of the answer.
    #[must_use]
    pub fn reset_at(self, n: usize) -> Self {
        self.until(n, Step::Reset)
    }

    /// Nothing more comes after `n` bytes of the answer.
    #[must_use]
    pub fn stall_at(self, n: usize) -> Self {
        self.until(n, Step::Mute)
    }

    /// The answer comes in two parts, `n` bytes and the rest, with a pause between them.
    #[must_use]
    pub fn split_at(self, n: usize, pause: Duration) -> Self {
        let bytes = self.sent();
        let (head, tail) = bytes.split_at(n.min(bytes.len()));
        Self {
            steps: vec![
                Step::Send(head.to_vec()),
                Step::Pause(pause),
                Step::Send(tail.to_vec()),
            ],
        }
    }

    /// The answer comes byte by byte, each in a packet of its own as far as the kernel agrees.
    #[must_use]
    pub fn bytewise(self) -> Self {
        Self {
            steps: self
                .sent()
                .iter()
                .map(|byte| Step::Send(vec![*byte]))
                .collect(),
        }
    }

    /// The answer comes later.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.steps.insert(0, Step::Pause(pause));
        self
    }

    /// The answer comes when the gate is open; until then nothing is read, either.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.steps.insert(0, Step::Wait(gate.clone()));
        self
    }

    /// The answer comes when the client has sent something more, or given up.
    #[must_use]
    pub fn when_told_more(mut self) -> Self {
        self.steps.insert(0, Step::WaitForMore);
        self
    }

    /// Nothing but waiting until the gate is open.
    pub fn wait(gate: &Gate) -> Self {
        Self::default().behind(gate)
    }

    /// Then something else.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// Length of the answer in bytes.
    pub fn len(&self) -> usize {
        self.sent().len()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn until(self, n: usize, end: Step) -> Self {
        let mut bytes = self.sent();
        bytes.truncate(n);
        Self {
            steps: vec![Step::Send(bytes), end],
        }
    }

    fn sent(&self) -> Vec<u8> {
        let bytes = self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        bytes.flatten().copied().collect()
    }
}

/// Holds a server up until it is opened, whoever is faster. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Lets through who waits, and who comes.
    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// A gate holds nobody up whose server is being stopped.
    fn wait(&self, stopping: &AtomicBool) {
        while !self.0.load(Ordering::Acquire) && !stopping.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A request that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The connection, counted from 0.
    pub connection: usize,
    /// Its type.
    pub kind: RequestKind,
    /// Its statement, if it has one.
    pub sql: Option<String>,
}

type Script = dyn FnMut(&Call<'_>) -> Act + Send;

struct Shared {
    address: String,
    script: Mutex<Box<Script>>,
    seen: Mutex<Vec<Seen>>,
    /// Copies of the connections' sockets, by number.
    sockets: Mutex<Vec<Option<TcpStream>>>,
    stopping: AtomicBool,
}

/// A server at work until it is dropped.
pub struct FakeServer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Starts a server whose `script` is asked for each request of each connection.
    pub fn start(script: impl FnMut(&Call<'_>) -> Act + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?.to_string(),
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            sockets: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("fake-server".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// A server that answers like a lone leader.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method has one lifetime, the script must have any"
    )]
    pub fn leader() -> io::Result<Self> {
        Self::start(|call| call.usual())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Everything that was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many requests of a type were seen.
    pub fn count(&self, kind: RequestKind) -> usize {
        self.seen().iter().filter(|seen| seen.kind == kind).count()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.shared.sockets).len()
    }

    /// Ends all connections, as a server that dies does. New ones are accepted.
    pub fn hang_up(&self) {
        for socket in lock(&self.shared.sockets).iter().flatten() {
            // A connection that has ended is what was asked for.
            let _ended = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The acceptor sees the flag with its next connection: this one.
        let _woken = TcpStream::connect(self.address());
        if let Some(acceptor) = self.acceptor.take() {
            let _panicked = acceptor.join();
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for (connection, socket) in listener.incoming().filter_map(Result::ok).enumerate() {
            if shared.stopping.load(Ordering::Acquire) {
                break;
            }
            lock(&shared.sockets).push(socket.try_clone().ok());
            scope.spawn(move || {
                // A client that leaves is no error of the server.
                let end = converse(&socket, connection, shared).unwrap_or(End::Close);
                match end {
                    End::Close => drop(socket.shutdown(Shutdown::Both)),
                    // The reset goes out when the last copy is closed.
                    End::Reset => drop(lock(&shared.sockets)[connection].take()),
                }
            });
        }
        for socket in lock(&shared.sockets).iter().flatten() {
            let _ended = socket.shutdown(Shutdown::Both);
        }
    });
}

/// How the server ends a connection.
#[derive(Clone, Copy)]
enum End {
    Close,
    Reset,
}

fn converse(mut socket: &TcpStream, connection: usize, shared: &Shared) -> io::Result<End> {
    socket.set_nodelay(true)?;
    let mut word = [0; 8];
    socket.read_exact(&mut word)?;
    if ![HANDSHAKE, HANDSHAKE_LEGACY].contains(&u64::from_le_bytes(word)) {
        return Ok(End::Close);
    }
    let mut mute = false;
    let mut index = 0;
    loop {
        socket.read_exact(&mut word)?;
        let header = Header::decode(word);
        let size = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        let mut body = vec![0; size];
        socket.read_exact(&mut body)?;
        let request = Request::decode(header, &body).map_err(io::Error::other)?;
        lock(&shared.seen).push(Seen {
            connection,
            kind: request.kind(),
            sql: statement(&request).map(str::to_owned),
        });
        let address = &shared.address;
        let call = Call {
            connection,
            index,
            request,
            address,
        };
        let act = lock(&shared.script)(&call);
        if !mute && let Some(end) = perform(act, socket, &mut mute, &shared.stopping)? {
            return Ok(end);
        }
        index += 1;
    }
}

/// Does what the script said; tells when that ends the connection.
fn perform(
    act: Act,
    mut socket: &TcpStream,
    mute: &mut bool,
    stopping: &AtomicBool,
) -> io::Result<Option<End>> {
    for step in act.steps {
        match step {
            Step::Send(bytes) => socket.write_all(&bytes)?,
            Step::Pause(pause) => thread::sleep(pause),
            Step::Wait(gate) => gate.wait(stopping),
            Step::WaitForMore => drop(socket.peek(&mut [0])?),
            Step::Close => return Ok(Some(End::Close)),
            Step::Reset => {
                let linger = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&socket, sockopt::Linger, &linger)?;
                return Ok(Some(End::Reset));
            }
            Step::Mute => {
                *mute = true;
                break;
            }
        }
    }
    Ok(None)
}

fn statement<'a>(request: &Request<'a>) -> Option<&'a str> {
    match request {
        Request::Prepare { sql } | Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => {
            Some(sql)
        }
        _ => None,
    }
}
