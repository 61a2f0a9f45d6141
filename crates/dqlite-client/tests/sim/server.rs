//! A node: speaks the protocol of an engine of 1.18, and replicates nothing but numbers.

use std::io;
use std::time::Duration;

use dqlite_client::proto::{
    Capabilities, Code, Columns, Failure, Header, NodeInfo, Request, Response, Role, RowsFrame,
    ValueRef,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{NODES, Op, Shared, address, lock};

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

async fn converse(mut stream: TcpStream, node: usize, world: &Shared) -> io::Result<()> {
    let mut word = [0; 8];
    stream.read_exact(&mut word).await?;
    let mut session = Session::default();
    loop {
        stream.read_exact(&mut word).await?;
        let header = Header::decode(word);
        let size = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        let mut body = vec![0; size];
        stream.read_exact(&mut body).await?;
        let request = Request::decode(header, &body).map_err(io::Error::other)?;
        let kind = u64::from(header.kind);
        let pause = {
            let mut world = lock(world);
            world.note("request", kind << 8 | node as u64);
            world.nodes[node].pause
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let Some(response) = answer(&request, node, &mut session, world).await else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        stream.write_all(&bytes).await?;
    }
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
            heartbeat_timeout_ms: Capabilities::default().to_welcome(),
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
            return statement(sql, node, session, world).await;
        }
        Request::Exec { statement: id, .. } | Request::Query { statement: id, .. } => {
            let sql = session.statements.get(id as usize)?.clone();
            return statement(&sql, node, session, world).await;
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
            Some(ops) => return commit(&ops, node, term, world).await,
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
            match &mut session.transaction {
                Some(ops) => ops.push(op),
                None => return commit(&[op], node, term, world).await,
            }
        }
        _ => return read(node, term, world).await,
    }
    Some(done)
}

/// Has a write decided by the cluster.
async fn commit(ops: &[Op], node: usize, term: u64, world: &Shared) -> Option<Response> {
    let (thinking, fate) = {
        let mut world = lock(world);
        (world.random.u64(0..40), world.random.u8(..))
    };
    sleep(Duration::from_millis(thinking)).await;
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
