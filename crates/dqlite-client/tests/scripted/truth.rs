//! What was reported as not having happened never happens, neither later nor behind the back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::support::{LONG, TIMEOUT, config, modern, runtime};
use dqlite_client::blocking::{Connection, Transaction};
use dqlite_client::proto::{Capabilities, Request, RequestKind, Response, Value};
use dqlite_client::{Code, Error, ErrorKind, Outcome, Policy, Result, Retry, connect};
use dqlite_testkit::fake_server::{Act, Call, FakeServer, Gate};

const INSERT: &str = "INSERT INTO t VALUES (?)";

/// More than any two sockets take without somebody who reads.
const MUCH: usize = 48 << 20;

/// A leader of this project; `act` decides about everything that is no greeting.
fn server(mut act: impl FnMut(&Call<'_>) -> Option<Act> + Send + 'static) -> FakeServer {
    FakeServer::start(move |call| match call.request {
        Request::Prepare { sql: "" } | Request::QuerySql { sql: "", .. } => modern(call),
        Request::Client { .. } => Act::reply(&Response::Welcome {
            heartbeat_timeout_ms: Capabilities::OURS.to_welcome(),
        }),
        _ => act(call).unwrap_or_else(|| call.usual()),
    })
    .expect("a server")
}

fn open(server: &FakeServer) -> Connection {
    Connection::open(&config(&[server.address()])).expect("a connection")
}

fn is(call: &Call<'_>, text: &str) -> bool {
    matches!(call.request, Request::ExecSql { sql, .. } if sql == text)
}

fn no_transaction() -> Act {
    let text = "cannot rollback - no transaction is active";
    Act::failure(Code::ERROR, text)
}

/// A server that stops reading behind `DELETE FROM t` until the gate opens; counts inserts.
fn busy(gate: &Gate) -> (FakeServer, Arc<AtomicUsize>) {
    let inserts = Arc::new(AtomicUsize::new(0));
    let (gate, counted) = (gate.clone(), Arc::clone(&inserts));
    let server = server(move |call| {
        inserts_of(call, &counted);
        is(call, "DELETE FROM t").then(|| call.usual().then(Act::wait(&gate)))
    });
    (server, inserts)
}

fn inserts_of(call: &Call<'_>, counted: &AtomicUsize) {
    if is(call, INSERT) {
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_write_that_was_partly_sent_at_its_deadline_never_happens() {
    for connect in [Client::blocking, Client::tokio] {
        let gate = Gate::default();
        let (server, inserts) = busy(&gate);
        let mut client = connect(&config(&[server.address()])).unwrap();
        client.execute("DELETE FROM t", &[]).unwrap();
        let much = [Value::Blob(vec![7; MUCH])];
        let error = client.within(TIMEOUT).execute(INSERT, &much).unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Timeout, Outcome::NotSent)
        );
        assert!(
            client.is_lost(),
            "half a request cannot be followed by another"
        );
        gate.open();
        let next = client.execute("DELETE FROM u", &[]).unwrap_err();
        assert_eq!(
            (next.kind(), next.outcome()),
            (ErrorKind::Lost, Outcome::NotSent)
        );
        client.reconnect().unwrap();
        client.execute("DELETE FROM u", &[]).unwrap();
        // Waits until everything that came has been read.
        drop(server);
        assert_eq!(inserts.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_write_that_was_partly_sent_when_it_was_given_up_never_happens() {
    let gate = Gate::default();
    let (server, inserts) = busy(&gate);
    let config = config(&[server.address()]);
    runtime().block_on(async {
        let mut connection = connect(&config).await.unwrap();
        connection.execute("DELETE FROM t", ()).await.unwrap();
        let write = connection.execute(INSERT, (vec![7_u8; MUCH],));
        assert!(tokio::time::timeout(TIMEOUT, write).await.is_err());
        assert!(connection.is_lost());
        gate.open();
        connection.reconnect().await.unwrap();
        connection.execute("DELETE FROM u", ()).await.unwrap();
    });
    drop(server);
    assert_eq!(inserts.load(Ordering::Relaxed), 0);
}

#[test]
fn nothing_of_many_is_sent_behind_their_deadline() {
    let mut slow = 15;
    let server = server(move |call| match call.request {
        // Some answers come while the server is given a moment more.
        Request::Exec { .. } if slow > 0 => {
            slow -= 1;
            Some(call.usual().after(TIMEOUT / 10))
        }
        _ => None,
    });
    let mut connection = open(&server);
    let sets = (0..5000).map(|n| (n,));
    let late = connection.within(TIMEOUT).execute_many(INSERT, sets);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    drop(connection);
    let seen = server.seen();
    let told = seen
        .iter()
        .position(|seen| seen.kind == RequestKind::INTERRUPT);
    let behind = &seen[told.unwrap_or(seen.len())..];
    assert!(behind.iter().all(|seen| seen.kind != RequestKind::EXEC));
}

#[test]
fn a_statement_whose_time_is_up_while_it_is_prepared_is_not_sent() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = server(move |call| match call.request {
        Request::Prepare { .. } => Some(call.usual().behind(&held)),
        _ => None,
    });
    let mut connection = open(&server);
    connection.execute(INSERT, (1,)).unwrap();
    let error = connection
        .within(TIMEOUT)
        .execute(INSERT, (2,))
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Refused)
    );
    gate.open();
    connection.execute("DELETE FROM u", ()).unwrap();
    assert_eq!(server.count(RequestKind::EXEC), 0);
    assert_eq!(server.count(RequestKind::FINALIZE), 1);
}

/// Runs six sets of which the third is refused in a way that may end the transaction.
fn many(rest: impl Fn(&Call<'_>, usize) -> Option<Act> + Send + 'static) -> Error {
    let executions = AtomicUsize::new(0);
    let server = server(move |call| {
        let at = match call.request {
            Request::Exec { .. } => executions.fetch_add(1, Ordering::Relaxed),
            _ => 9,
        };
        let full = || Act::failure(Code::FULL, "database or disk is full");
        rest(call, at).or_else(|| (at == 2).then(full))
    });
    let mut connection = open(&server);
    let sets = (0..6).map(|n| (n,));
    let refused = connection.execute_many(INSERT, sets);
    refused.expect_err("the third is refused")
}

#[test]
fn many_are_in_doubt_if_nobody_says_what_became_of_those_behind_the_refused_one() {
    // The server closes behind two successes, of the last one nothing is known.
    let error = many(|_, at| (at == 5).then(Act::close));
    assert_eq!((error.index(), error.code()), (Some(2), Some(Code::FULL)));
    assert_eq!(
        (error.outcome(), error.retry()),
        (Outcome::Unknown, Retry::No)
    );
    // All are answered, but not the question what they are part of.
    let error = many(|call, _| is(call, "ROLLBACK").then(Act::close));
    assert_eq!(
        (error.index(), error.outcome()),
        (Some(2), Outcome::Unknown)
    );
    // It says that it has undone everything.
    let error = many(|_, _| None);
    assert_eq!(
        (error.index(), error.outcome()),
        (Some(2), Outcome::Refused)
    );
    // Whoever does not lead any more executes nothing.
    let error = many(|_, at| match at {
        2 => Some(Act::failure(Code::NOT_LEADER, "not leader")),
        3 => Some(Act::close()),
        _ => None,
    });
    assert_eq!(
        (error.outcome(), error.retry()),
        (Outcome::Refused, Retry::Transaction)
    );
}

#[test]
fn many_in_a_savepoint_say_what_stays_of_them() {
    for (answer, outcome) in [
        (None, Outcome::Refused),
        (
            Some(Act::failure(Code::ERROR, "no such savepoint: dqlite_1")),
            Outcome::Unknown,
        ),
        (Some(Act::close()), Outcome::Unknown),
    ] {
        let executions = AtomicUsize::new(0);
        let server = server(move |call| match call.request {
            Request::Exec { .. } if executions.fetch_add(1, Ordering::Relaxed) == 2 => {
                Some(Act::failure(Code::FULL, "database or disk is full"))
            }
            _ if is(call, "ROLLBACK TO dqlite_1") => answer.clone(),
            _ => None,
        });
        let mut connection = open(&server);
        let mut transaction = connection.transaction().unwrap();
        let sets = (0..6).map(|n| (n,));
        let error = transaction.execute_many(INSERT, sets).unwrap_err();
        assert_eq!(
            (error.index(), error.outcome()),
            (Some(2), outcome),
            "{error}"
        );
        let next = transaction.execute("DELETE FROM t", ()).unwrap_err();
        assert_eq!(next.outcome(), Outcome::NotSent);
    }
}

/// A transaction that a conflict ended, with a write behind it.
fn astray(transaction: &mut Transaction<'_>) -> Result<()> {
    let conflict = transaction.execute("INSERT INTO unique_t VALUES (1)", ());
    assert!(conflict.is_err());
    transaction.execute("DELETE FROM t", ()).map(drop)
}

fn conflicts(rollback: Option<Act>) -> FakeServer {
    server(move |call| match call.request {
        _ if is(call, "INSERT INTO unique_t VALUES (1)") => Some(Act::failure(
            Code::CONSTRAINT_UNIQUE,
            "UNIQUE constraint failed",
        )),
        _ if is(call, "DELETE FROM busy") => Some(Act::failure(Code::BUSY, "database is locked")),
        _ if is(call, "ROLLBACK") => rollback.clone(),
        _ => None,
    })
}

#[test]
fn what_cannot_be_undone_is_not_called_undone() {
    for (rollback, undone) in [
        (None, true),
        (Some(no_transaction()), false),
        (Some(Act::close()), false),
    ] {
        let server = conflicts(rollback);
        let mut connection = open(&server);
        let mut transaction = connection.transaction().unwrap();
        astray(&mut transaction).unwrap();
        let rolled_back = transaction.rollback();
        assert_eq!(rolled_back.is_ok(), undone, "{rolled_back:?}");
        if let Err(error) = rolled_back {
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
    }
}

#[test]
fn a_run_that_may_stay_is_not_run_again() {
    for rollback in [no_transaction(), Act::close()] {
        let server = conflicts(Some(rollback));
        let mut connection = open(&server);
        let mut runs = 0;
        let result = connection.with_transaction(|transaction| {
            runs += 1;
            astray(transaction)?;
            transaction.execute("DELETE FROM busy", ())
        });
        result.unwrap_err();
        assert_eq!(runs, 1);
    }
}

#[test]
fn a_policy_alone_does_not_repeat_a_commit_in_doubt() {
    let server = server(|call| is(call, "COMMIT").then(Act::close));
    let mut connection = open(&server);
    let (mut runs, mut policy) = (0, Policy::default());
    policy.has_token = true;
    let result = connection.with_transaction_as(&policy, None, |transaction| {
        runs += 1;
        transaction.execute("DELETE FROM t", ())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::CommitUnknown);
    assert_eq!(runs, 1);
}

#[test]
fn no_time_is_too_long() {
    let server = server(|_| None);
    let config = config(&[server.address()]);
    let forever = config
        .with_timeout(Duration::MAX)
        .with_connect_timeout(Duration::MAX);
    let mut connection = Connection::open(&forever).unwrap();
    connection.execute("DELETE FROM t", ()).unwrap();
    connection
        .within(Duration::MAX)
        .execute("DELETE FROM t", ())
        .unwrap();
    let policy = Policy::default().with_timeout(Duration::MAX);
    let work = |transaction: &mut Transaction<'_>| transaction.execute("DELETE FROM t", ());
    connection.with_transaction_as(&policy, None, work).unwrap();
    runtime().block_on(async {
        let pool = dqlite_client::Pool::new(&forever, dqlite_client::pool::Options::default());
        let pool = pool.unwrap();
        let mut connection = pool.get_within(Duration::MAX).await.unwrap();
        connection.execute("DELETE FROM t", ()).await.unwrap();
        drop(connection);
        pool.close(LONG).await.unwrap();
    });
}
