//! A node: speaks the protocol of an engine of 1.18, and replicates nothing but numbers.

use std::io;
use std::time::Duration;

use dqlite_client::proto::{
    Code, Columns, Failure, Header, NodeInfo, Request, RequestKind, Response, Role, RowsFrame,
    ValueRef,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::sleep;
use turmoil::net::tcp::OwnedReadHalf;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{Flaw, NODES, Op, Shared, address, lock};

/// What one connection has opened.
#[derive(Debug, Default)]
struct Session {
    /// The term in which the database was opened.
    term: Option<u64>,
    /// Writes of the transaction that is open.
    transaction: Option<Vec<Op>>,
    statements: Vec<String>,
}

/// Accepts connections until the machine crashes.
pub(crate) async fn run(node: usize, world: Shared) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", 9001)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let world = Shared::clone(&world);
        // A client that leaves is no error of the node.
        tokio::spawn(async move { drop(converse(stream, node, &world).await) });
    }
}

/// Reads requests while others are answered, because INTERRUPT overtakes them.
async fn converse(stream: TcpStream, node: usize, world: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut requests) = unbounded_channel();
    let (end, ended) = watch::channel(0);
    tokio::spawn(hear(reader, sender, end));
    let mut session = Session::default();
    while let Some((number, header, body)) = requests.recv().await {
        let request = Request::decode(header, &body).map_err(io::Error::other)?;
        let kind = u64::from(header.kind);
        let pause = {
            let mut world = lock(world);
            world.note("request", kind << 8 | node as u64);
            world.nodes[node].pause
        };
        let mut turn = Turn {
            number,
            ended: ended.clone(),
        };
        let ended = turn.is_ended_within(pause).await;
        let response = if ended && is_statement(&request) {
            Some(fail(Code::INTERRUPT, "interrupted"))
        } else {
            answer(&request, node, &mut session, world, &mut turn).await
        };
        let Some(response) = response else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        writer.write_all(&bytes).await?;
    }
    Ok(())
}

/// A request by its number, and which ones are to be ended.
struct Turn {
    number: u64,
    ended: watch::Receiver<u64>,
}

impl Turn {
    /// Waits; `true` if the request is to be ended meanwhile.
    async fn is_ended_within(&mut self, time: Duration) -> bool {
        let number = self.number;
        tokio::select! {
            biased;
            Ok(_) = self.ended.wait_for(|until| *until >= number) => true,
            () = sleep(time) => false,
        }
    }
}

type Heard = (u64, Header, Vec<u8>);

async fn hear(
    mut reader: OwnedReadHalf,
    requests: UnboundedSender<Heard>,
    end: watch::Sender<u64>,
) -> io::Result<()> {
    let mut word = [0; 8];
    reader.read_exact(&mut word).await?;
    for number in 1.. {
        reader.read_exact(&mut word).await?;
        let header = Header::decode(word);
        let size = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        let mut body = vec![0; size];
        reader.read_exact(&mut body).await?;
        if RequestKind(header.kind) == RequestKind::INTERRUPT {
            end.send_replace(number);
        }
        // Nobody answers any more.
        drop(requests.send((number, header, body)));
    }
    Ok(())
}

/// Whether INTERRUPT ends it.
const fn is_statement(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Exec { .. }
            | Request::ExecSql { .. }
            | Request::Query { .. }
            | Request::QuerySql { .. }
    )
}

fn fail(code: Code, message: &str) -> Response {
    let message = message.to_owned();
    Response::Failure(Failure { code, message })
}

/// The answer; none if the connection ends instead.
async fn answer(
    request: &Request<'_>,
    node: usize,
    session: &mut Session,
    world: &Shared,
    turn: &mut Turn,
) -> Option<Response> {
    let itself = lock(world).nodes[node];
    Some(match *request {
        Request::Leader => match itself.leader {
            Some(leader) => Response::Server {
                id: leader as u64 + 1,
                address: address(leader),
            },
            None => Response::Server {
                id: 0,
                address: String::new(),
            },
        },
        Request::Client { .. } => Response::Welcome {
            heartbeat_timeout_ms: itself.capabilities.to_welcome(),
        },
        Request::Cluster { .. } => Response::Servers((0..NODES).map(member).collect()),
        Request::Open { .. } if itself.leader == Some(node) => {
            session.term = Some(itself.term);
            Response::Db { id: 0 }
        }
        Request::Open { .. } => fail(Code::NOT_LEADER, "not leader"),
        Request::Prepare { sql: "" } | Request::QuerySql { sql: "", .. } => {
            fail(Code::ERROR, "unrecognized schema version")
        }
        Request::Prepare { sql } => {
            session.statements.push(sql.to_owned());
            Response::Stmt {
                id: u32::try_from(session.statements.len()).ok()? - 1,
                params: 0,
                tail: Some(0),
            }
        }
        Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => {
            return statement(sql, node, session, world, turn).await;
        }
        Request::Exec { statement: id, .. } | Request::Query { statement: id, .. } => {
            let sql = session.statements.get(id as usize)?.clone();
            return statement(&sql, node, session, world, turn).await;
        }
        _ => Response::Empty,
    })
}

fn member(node: usize) -> NodeInfo {
    NodeInfo {
        id: node as u64 + 1,
        address: address(node),
        role: Role::Voter,
    }
}

async fn statement(
    sql: &str,
    node: usize,
    session: &mut Session,
    world: &Shared,
    turn: &mut Turn,
) -> Option<Response> {
    let itself = lock(world).nodes[node];
    let leads = itself.leader == Some(node);
    let term = match session.term {
        Some(term) if leads && term == itself.term => term,
        _ if leads => return Some(fail(Code(12), "no database opened")),
        _ => return Some(fail(Code::NOT_LEADER, "not leader")),
    };
    let done = Response::Result {
        last_insert_id: 1,
        rows_affected: 1,
    };
    let verb = sql.split(' ').next().unwrap_or_default();
    match verb {
        "BEGIN" => session.transaction = Some(Vec::new()),
        "ROLLBACK" if session.transaction.take().is_none() => {
            return Some(fail(
                Code::ERROR,
                "cannot rollback - no transaction is active",
            ));
        }
        "ROLLBACK" => {}
        "COMMIT" => match session.transaction.take() {
            Some(ops) => {
                let answer = commit(&ops, node, term, world, turn).await;
                if matches!(&answer, Some(Response::Failure(why)) if why.code == Code::INTERRUPT) {
                    session.transaction = Some(ops);
                }
                return answer;
            }
            None => {
                return Some(fail(
                    Code::ERROR,
                    "cannot commit - no transaction is active",
                ));
            }
        },
        "INSERT" => {
            if lock(world).random.u8(..) < 8 {
                return Some(fail(Code::BUSY, "database is locked"));
            }
            let digits = sql.trim_end_matches(')').rsplit('(').next()?;
            let op: Op = digits.parse().ok()?;
            let Some(ops) = &mut session.transaction else {
                return commit(&[op], node, term, world, turn).await;
            };
            ops.push(op);
            let thinking = Duration::from_millis(lock(world).random.u64(0..10));
            if turn.is_ended_within(thinking).await {
                // A write that is ended takes its transaction with it.
                session.transaction = None;
                return Some(fail(Code::INTERRUPT, "interrupted"));
            }
        }
        _ => return read(node, term, world).await,
    }
    Some(done)
}

/// Has a write decided by the cluster. Once it is proposed nothing ends it.
async fn commit(
    ops: &[Op],
    node: usize,
    term: u64,
    world: &Shared,
    turn: &mut Turn,
) -> Option<Response> {
    let (thinking, fate) = {
        let mut world = lock(world);
        let longest = if world.random.u8(..) < 30 { 400 } else { 40 };
        (world.random.u64(0..longest), world.random.u8(..))
    };
    if turn.is_ended_within(Duration::from_millis(thinking)).await {
        let mut world = lock(world);
        world.note("ended", ops[..].first().copied().unwrap_or_default());
        if world.flaw == Flaw::EndedAndDone {
            world.apply(ops);
        }
        return Some(fail(Code::INTERRUPT, "interrupted"));
    }
    while lock(world).nodes[node].is_cut {
        sleep(Duration::from_millis(20)).await;
    }
    let mut world = lock(world);
    if fate < 5 {
        return None;
    }
    if world.decides(node, term) {
        world.apply(ops);
        world.note("applied", ops[..].first().copied().unwrap_or_default());
        let answered = fate >= 12;
        return answered.then_some(Response::Result {
            last_insert_id: 1,
            rows_affected: 1,
        });
    }
    // It was proposed by one who lost the lead: the next one may have had it in its log.
    if world.random.bool() {
        world.apply(ops);
    }
    Some(fail(Code::LEADERSHIP_LOST, "leadership lost"))
}

/// Reads behind a barrier.
async fn read(node: usize, term: u64, world: &Shared) -> Option<Response> {
    while lock(world).nodes[node].is_cut {
        sleep(Duration::from_millis(20)).await;
    }
    let world = lock(world);
    if !world.decides(node, term) {
        return Some(fail(Code::LEADERSHIP_LOST, "leadership lost"));
    }
    let count = i64::try_from(world.applied.len()).ok()?;
    let columns = std::sync::Arc::new(Columns::new(&["n"]));
    let rows = [vec![ValueRef::Integer(count)]];
    Some(Response::Rows(RowsFrame::build(columns, &rows, true)))
}
