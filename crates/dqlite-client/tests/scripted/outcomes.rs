//! What a call reports when anything goes wrong at any byte.

use std::time::{Duration, Instant};

use crate::client::{Client, clients};
use crate::support::{LONG, TIMEOUT, config, modern, runtime, until};
use dqlite_client::proto::{Request, RequestKind, Value};
use dqlite_client::{Code, ErrorKind, FailureKind, Outcome, Retry};
use dqlite_testkit::fake_server::{Act, Call, FakeServer, Gate, rows};

fn usual(call: &Call<'_>) -> Act {
    call.usual()
}

const INSERT: &str = "INSERT INTO t VALUES (?)";
const SELECT: &str = "SELECT n FROM t";
const SEVEN: &[Value] = &[Value::Integer(7)];

/// A modern leader that treats real statements specially.
fn server(mut act: impl FnMut(&Call<'_>) -> Act + Send + 'static) -> FakeServer {
    FakeServer::start(move |call| match call.request {
        Request::ExecSql { .. } | Request::Query { .. } => act(call),
        Request::QuerySql { sql, .. } if !sql.is_empty() => act(call),
        Request::Prepare { sql } if !sql.is_empty() => act(call),
        _ => modern(call),
    })
    .expect("a server")
}

#[test]
fn replies_may_come_in_any_pieces() {
    for at in 0..=24 {
        let server = server(move |call| call.usual().split_at(at, Duration::from_millis(1)));
        for mut client in clients(&config(&[server.address()])) {
            let done = client.execute(INSERT, SEVEN).unwrap();
            assert_eq!((done.last_insert_id, done.rows_affected), (Some(1), 1));
            assert_eq!(
                client.query(SELECT, &[]).unwrap()[0].get::<i64>(0).unwrap(),
                1
            );
        }
    }
    let server = server(|call| call.usual().bytewise());
    for mut client in clients(&config(&[server.address()])) {
        client.execute(INSERT, SEVEN).unwrap();
        assert_eq!(client.query(SELECT, &[]).unwrap().len(), 1);
    }
}

#[test]
fn a_write_is_in_doubt_wherever_its_reply_ends() {
    for at in 0..24 {
        let cut = server(move |call| call.usual().cut_at(at));
        let reset = server(move |call| call.usual().reset_at(at));
        for server in [cut, reset] {
            for mut client in clients(&config(&[server.address()])) {
                let error = client.execute(INSERT, SEVEN).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
                assert_eq!(error.outcome(), Outcome::Unknown);
                assert!(!error.is_retryable());
                assert_eq!(error.address(), Some(server.address()));
                assert!(client.is_lost());
                let next = client.execute(INSERT, SEVEN).unwrap_err();
                assert_eq!(
                    (next.kind(), next.outcome()),
                    (ErrorKind::Lost, Outcome::NotSent)
                );
                client.reconnect().unwrap();
                assert!(!client.is_lost());
            }
        }
    }
}

#[test]
fn a_read_may_be_repeated_wherever_its_reply_ends() {
    for at in 0..48 {
        let server = server(move |call| call.usual().cut_at(at));
        for mut client in clients(&config(&[server.address()])) {
            let error = client.query(SELECT, &[]).unwrap_err();
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Lost, Retry::Elsewhere)
            );
            assert!(error.is_retryable());
        }
    }
}

#[test]
fn garbage_ends_the_connection() {
    for bytes in [
        vec![0; 16],
        vec![0xff; 64],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let server = server(move |_| Act::bytes(bytes.clone()));
        for mut client in clients(&config(&[server.address()])) {
            let error = client.execute(INSERT, SEVEN).unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Protocol, Outcome::Unknown)
            );
            assert!(client.is_lost());
        }
    }
}

#[test]
fn an_answer_that_does_not_fit_ends_the_connection() {
    let server = server(|_| Act::reply(&dqlite_client::proto::Response::Empty));
    for mut client in clients(&config(&[server.address()])) {
        assert_eq!(
            client.execute(INSERT, SEVEN).unwrap_err().kind(),
            ErrorKind::Protocol
        );
        assert!(client.is_lost());
    }
}

#[test]
fn silence_ends_at_the_deadline() {
    for at in [0, 4, 8, 20] {
        let server = server(move |call| call.usual().stall_at(at));
        for mut client in clients(&config(&[server.address()])) {
            let started = Instant::now();
            let error = client.within(TIMEOUT).execute(INSERT, SEVEN).unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Timeout, Outcome::Unknown)
            );
            assert!(started.elapsed() >= TIMEOUT && started.elapsed() < LONG / 2);
            let next = client.within(TIMEOUT).execute(INSERT, SEVEN).unwrap_err();
            assert_eq!(
                (next.kind(), next.outcome()),
                (ErrorKind::Timeout, Outcome::NotSent)
            );
        }
        let calls = || server.count(RequestKind::EXEC_SQL);
        until("the first call of each", || calls() >= 2);
        assert_eq!(calls(), 2, "the second call of each was not sent");
    }
}

/// A server that answers `SELECT slow` when the gate opens.
fn slow() -> (FakeServer, Gate) {
    let gate = Gate::default();
    let held = gate.clone();
    let server = server(move |call| match call.request {
        Request::QuerySql {
            sql: "SELECT slow", ..
        } => Act::reply(&rows(&["n"], &[&[13]], true)).behind(&held),
        _ => call.usual(),
    });
    (server, gate)
}

#[test]
fn a_late_reply_does_not_reach_the_next_call() {
    for connect in [Client::blocking, Client::tokio] {
        let (server, gate) = slow();
        let mut client = connect(&config(&[server.address()])).unwrap();
        let late = client
            .within(TIMEOUT)
            .query("SELECT slow", &[])
            .unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        gate.open();
        assert_eq!(
            client.query(SELECT, &[]).unwrap()[0].get::<i64>(0).unwrap(),
            1
        );
    }
}

#[test]
fn a_connection_that_ended_while_idle_sends_nothing() {
    let server = server(usual);
    let config = config(&[server.address()]);
    for connect in [Client::blocking, Client::tokio] {
        let mut client = connect(&config).unwrap();
        client.execute(INSERT, SEVEN).unwrap();
        let before = server.count(RequestKind::EXEC_SQL);
        server.hang_up();
        let error = client.execute(INSERT, SEVEN).unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Lost, Outcome::NotSent)
        );
        assert!(error.is_retryable());
        assert_eq!(server.count(RequestKind::EXEC_SQL), before);
    }
}

/// What the server says, and what that means: kind, outcome, retry, whether the session is over.
type No = (Code, &'static str, FailureKind, Outcome, Retry, bool);

const NOES: [No; 8] = {
    use Outcome::{Refused, Unknown};
    use Retry::{Elsewhere, Here};
    type Kind = FailureKind;
    [
        (
            Code::NOT_LEADER,
            "not leader",
            Kind::NotLeader,
            Refused,
            Elsewhere,
            true,
        ),
        (
            Code::NOTFOUND,
            "no database opened",
            Kind::NotLeader,
            Refused,
            Elsewhere,
            true,
        ),
        (
            Code::LEADERSHIP_LOST,
            "x",
            Kind::LeadershipLost,
            Unknown,
            Retry::No,
            true,
        ),
        (
            Code::IOERR,
            "leader exec failed",
            Kind::Raft,
            Unknown,
            Retry::No,
            false,
        ),
        (
            Code::BUSY,
            "database is locked",
            Kind::Busy,
            Refused,
            Here,
            false,
        ),
        (
            Code::CONSTRAINT_UNIQUE,
            "UNIQUE",
            Kind::Constraint,
            Refused,
            Retry::No,
            false,
        ),
        (
            Code::ERROR,
            "no such table: t",
            Kind::Sql,
            Refused,
            Retry::No,
            false,
        ),
        (
            Code(12_345),
            "unheard of",
            Kind::Sql,
            Refused,
            Retry::No,
            false,
        ),
    ]
};

#[test]
fn the_server_says_no() {
    for (code, text, kind, outcome, retry, lost) in NOES {
        let server = server(move |_| Act::failure(code, text));
        for mut client in clients(&config(&[server.address()])) {
            let error = client.execute(INSERT, SEVEN).unwrap_err();
            assert_eq!(
                (error.kind(), error.failure_kind()),
                (ErrorKind::Rejected, Some(kind))
            );
            assert_eq!((error.outcome(), error.retry()), (outcome, retry), "{text}");
            assert_eq!(error.code(), Some(code));
            assert_eq!(client.is_lost(), lost, "{text}");
        }
    }
}

#[test]
fn misuse_reaches_nobody() {
    let server = server(usual);
    for mut client in clients(&config(&[server.address()])) {
        let nul = [Value::Text("a\0b".to_owned())];
        for (sql, params, kind) in [
            ("", &[][..], ErrorKind::Usage),
            (" -- nothing\n;", &[], ErrorKind::Usage),
            (
                "INSERT INTO t VALUES (1); DELETE FROM t",
                &[],
                ErrorKind::Usage,
            ),
            (INSERT, &[], ErrorKind::Usage),
            (INSERT, &[Value::Null, Value::Null], ErrorKind::Usage),
            (INSERT, &nul, ErrorKind::Convert),
            ("INSERT INTO t VALUES ('\0')", &[], ErrorKind::Convert),
            (INSERT, &[Value::UnixTime(1)], ErrorKind::Convert),
        ] {
            let error = client.execute(sql, params).unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (kind, Outcome::NotSent),
                "{sql}: {error}"
            );
        }
        assert!(!client.is_lost());
    }
    let statement = |seen: &dqlite_testkit::fake_server::Seen| seen.sql.as_deref() != Some("");
    assert!(
        server
            .seen()
            .iter()
            .filter(|seen| seen.sql.is_some())
            .all(|seen| !statement(seen))
    );
}

#[test]
fn rows_come_in_frames_and_may_end_with_a_failure() {
    let whole = server(|_| {
        let frame = |values: &[&[i64]], done| rows(&["n"], values, done);
        Act::replies(&[
            frame(&[&[1], &[2]], false),
            frame(&[&[3]], false),
            frame(&[], true),
        ])
    });
    for mut client in clients(&config(&[whole.address()])) {
        let rows = client.query(SELECT, &[]).unwrap();
        let numbers: Vec<i64> = rows.iter().map(|row| row.get("n").unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }
    let broken = server(|_| {
        let part = Act::reply(&rows(&["n"], &[&[1]], false));
        part.then(Act::failure(Code::ERROR, "integer overflow"))
    });
    for mut client in clients(&config(&[broken.address()])) {
        let error = client.query(SELECT, &[]).unwrap_err();
        assert_eq!(error.code(), Some(Code::ERROR));
        assert!(!client.is_lost());
    }
    let endless = server(|_| Act::reply(&rows(&["n"], &[], false)));
    for mut client in clients(&config(&[endless.address()])) {
        let error = client.query(SELECT, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("column names too long"),
            "{error}"
        );
    }
}

#[test]
fn returning_is_prepared_and_forgotten() {
    let modern = server(usual);
    for mut client in clients(&config(&[modern.address()])) {
        let sql = "INSERT INTO t VALUES (?) RETURNING n";
        assert_eq!(client.query(sql, SEVEN).unwrap().len(), 1);
        assert_eq!(client.execute(sql, SEVEN).unwrap().rows_affected, 1);
        assert!(client.query(SELECT, &[]).is_ok());
    }
    assert_eq!(modern.count(RequestKind::QUERY), 4);
    // What comes a second time is kept.
    assert_eq!(modern.count(RequestKind::FINALIZE), 2);
    let old = FakeServer::leader().unwrap();
    for mut client in clients(&config(&[old.address()])) {
        let error = client.query("DELETE FROM t RETURNING n", &[]).unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Usage, Outcome::NotSent)
        );
    }
    assert_eq!(old.count(RequestKind::QUERY), 0);
}

#[test]
fn transactions_are_rolled_back_before_the_next_use() {
    let server = server(usual);
    for (at, mut client) in clients(&config(&[server.address()]))
        .into_iter()
        .enumerate()
    {
        client.transaction(&["DELETE FROM t"], false).unwrap();
        client.execute(INSERT, SEVEN).unwrap();
        client.transaction(&["DELETE FROM t"], true).unwrap();
        client.execute(INSERT, SEVEN).unwrap();
        let seen = server.seen();
        let here = seen.iter().filter(|seen| seen.connection == at);
        let sql: Vec<_> = here.filter_map(|seen| seen.sql.as_deref()).collect();
        let wanted = [
            "BEGIN IMMEDIATE",
            "DELETE FROM t",
            "ROLLBACK",
            INSERT,
            "BEGIN IMMEDIATE",
            "DELETE FROM t",
            "COMMIT",
            INSERT,
        ];
        assert_eq!(sql[sql.len() - 8..], wanted);
    }
}

#[test]
fn a_loss_in_a_transaction_undoes_it_unless_it_was_the_commit() {
    for (fatal, outcome, retry) in [
        ("BEGIN IMMEDIATE", Outcome::Refused, Retry::Elsewhere),
        ("DELETE FROM t", Outcome::Refused, Retry::Transaction),
        ("COMMIT", Outcome::Unknown, Retry::No),
    ] {
        let server = server(move |call| match call.request {
            Request::ExecSql { sql, .. } if sql == fatal => Act::close(),
            _ => call.usual(),
        });
        for mut client in clients(&config(&[server.address()])) {
            let error = client.transaction(&["DELETE FROM t"], true).unwrap_err();
            assert_eq!(
                (error.outcome(), error.retry()),
                (outcome, retry),
                "{fatal}"
            );
            assert_eq!(error.is_commit_ambiguous(), fatal == "COMMIT");
        }
    }
}

#[test]
fn a_commit_that_meets_a_lock_is_sent_again() {
    let mut refusals = [3, 3];
    let server = server(move |call| match call.request {
        Request::ExecSql { sql: "COMMIT", .. } if refusals[call.connection] > 0 => {
            refusals[call.connection] -= 1;
            Act::failure(Code::BUSY, "checkpoint in progress")
        }
        _ => call.usual(),
    });
    for mut client in clients(&config(&[server.address()])) {
        client.transaction(&["DELETE FROM t"], true).unwrap();
    }
}

#[test]
fn a_spent_transaction_refuses_until_it_is_rolled_back() {
    let server = server(|call| match call.request {
        Request::ExecSql {
            sql: "DELETE FROM t",
            ..
        } => Act::failure(Code::FULL, "full"),
        _ => call.usual(),
    });
    let mut connection =
        dqlite_client::blocking::Connection::open(&config(&[server.address()])).unwrap();
    let mut transaction = connection.transaction().unwrap();
    assert_eq!(
        transaction.execute("DELETE FROM t", ()).unwrap_err().code(),
        Some(Code::FULL)
    );
    let error = transaction.execute("SELECT 1", ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("roll it back"));
    transaction.rollback().unwrap();
    connection.execute("SELECT 1", ()).unwrap();
}

#[test]
fn a_dropped_future_leaves_a_clean_connection() {
    let (server, gate) = slow();
    runtime().block_on(async {
        let config = config(&[server.address()]);
        let mut connection = dqlite_client::connect(&config).await.unwrap();
        let given_up = tokio::time::timeout(TIMEOUT / 10, connection.query("SELECT slow", ()));
        assert!(given_up.await.is_err());
        gate.open();
        let row = connection.query_one("SELECT 1", ()).await.unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 1);
    });
}

#[test]
fn a_dropped_future_leaves_a_transaction_to_be_rolled_back() {
    let (server, gate) = slow();
    runtime().block_on(async {
        let config = config(&[server.address()]);
        let mut connection = dqlite_client::connect(&config).await.unwrap();
        let mut transaction = connection.transaction().await.unwrap();
        let given_up = tokio::time::timeout(TIMEOUT / 10, transaction.query("SELECT slow", ()));
        assert!(given_up.await.is_err());
        let next = transaction.execute("SELECT 1", ()).await.unwrap_err();
        assert_eq!(next.kind(), ErrorKind::Usage);
        drop(transaction);
        gate.open();
        connection.query_one("SELECT 2", ()).await.unwrap();
    });
    let sql: Vec<_> = server
        .seen()
        .into_iter()
        .filter_map(|seen| seen.sql)
        .collect();
    assert_eq!(sql[sql.len() - 2..], ["ROLLBACK", "SELECT 2"]);
}

#[test]
fn a_row_is_expected() {
    let server = server(|_| Act::reply(&rows(&["n"], &[], true)));
    let mut connection =
        dqlite_client::blocking::Connection::open(&config(&[server.address()])).unwrap();
    assert_eq!(
        connection.query_one(SELECT, ()).unwrap_err().kind(),
        ErrorKind::NoRows
    );
    assert_eq!(connection.query_opt("SELECT 1", ()).unwrap(), None);
}
