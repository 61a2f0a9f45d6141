//! Streams, pipelines, transactions that run again, tokens, and statements that are given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{LONG, TIMEOUT, config, modern, runtime};
use dqlite_client::blocking::Connection;
use dqlite_client::proto::{Capabilities, Request, RequestKind, Response};
use dqlite_client::{Code, Config, Done, Error, ErrorKind, Outcome, Policy, Retry, Token, connect};
use dqlite_testkit::fake_server::{Act, Call, FakeServer, Gate, rows};

const INSERT: &str = "INSERT INTO t VALUES (?)";

/// A modern leader; `act` decides about everything that is no greeting.
fn server(mut act: impl FnMut(&Call<'_>) -> Option<Act> + Send + 'static) -> FakeServer {
    FakeServer::start(move |call| match call.request {
        Request::Prepare { sql: "" } | Request::QuerySql { sql: "", .. } => modern(call),
        _ => act(call).unwrap_or_else(|| call.usual()),
    })
    .expect("a server")
}

fn open(server: &FakeServer) -> Connection {
    Connection::open(&config(&[server.address()])).expect("a connection")
}

/// What was asked on the last connection, by statement or type.
fn asked(server: &FakeServer) -> Vec<String> {
    let seen = server.seen();
    let last = seen.iter().map(|seen| seen.connection).max().unwrap_or(0);
    let here = seen.into_iter().filter(|seen| seen.connection == last);
    here.map(|seen| seen.sql.unwrap_or_else(|| seen.kind.to_string()))
        .collect()
}

fn in_exec(call: &Call<'_>, sql: &str, act: impl FnOnce() -> Act) -> Option<Act> {
    match call.request {
        Request::ExecSql { sql: asked, .. } if asked == sql => Some(act()),
        _ => None,
    }
}

#[test]
fn a_text_that_comes_again_is_prepared_once() {
    let server = server(|_| None);
    let mut connection = open(&server);
    for _ in 0..5 {
        connection.execute(INSERT, (7,)).unwrap();
    }
    assert_eq!(server.count(RequestKind::EXEC_SQL), 1);
    assert_eq!(server.count(RequestKind::EXEC), 4);
    let prepared = |server: &FakeServer| asked(server).iter().filter(|sql| *sql == INSERT).count();
    assert_eq!(prepared(&server), 2, "once as text, once to prepare it");
    connection.reconnect().unwrap();
    connection.execute(INSERT, (7,)).unwrap();
    assert_eq!(
        server.count(RequestKind::EXEC_SQL),
        2,
        "ids end with the session"
    );
}

#[test]
fn an_unknown_id_ends_the_session() {
    let server = server(|call| match call.request {
        Request::Exec { .. } => Some(Act::failure(
            Code::NOTFOUND,
            "no statement with the given id",
        )),
        _ => None,
    });
    let mut connection = open(&server);
    connection.execute(INSERT, (7,)).unwrap();
    let error = connection.execute(INSERT, (7,)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(connection.is_lost());
}

#[test]
fn rows_stream_at_the_callers_pace() {
    let server = server(|call| match call.request {
        Request::QuerySql { .. } => Some(Act::replies(&[
            rows(&["n"], &[&[1], &[2]], false),
            rows(&["n"], &[&[3]], false),
            rows(&["n"], &[], true),
        ])),
        _ => None,
    });
    let mut connection = open(&server);
    let numbers = connection.query_stream("SELECT n FROM t", ()).unwrap();
    let numbers: Vec<i64> = numbers.map(|row| row.unwrap().get(0).unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let mut left = connection.query_stream("SELECT m FROM t", ()).unwrap();
    assert_eq!(left.next().unwrap().unwrap().get::<i64>(0).unwrap(), 1);
    drop(left);
    assert_eq!(connection.query("SELECT o FROM t", ()).unwrap().len(), 3);
    runtime().block_on(async {
        let mut connection = connect(&config(&[server.address()])).await.unwrap();
        let mut stream = connection
            .query_stream("SELECT p FROM t", ())
            .await
            .unwrap();
        let mut count = 0;
        while stream.next().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 3);
    });
}

#[test]
fn a_stream_that_ends_badly_says_so_once() {
    let server = server(|call| match call.request {
        Request::QuerySql { .. } => {
            let part = Act::reply(&rows(&["n"], &[&[1]], false));
            Some(part.then(Act::failure(Code::ERROR, "integer overflow")))
        }
        _ => None,
    });
    let mut connection = open(&server);
    let mut stream = connection.query_stream("SELECT n FROM t", ()).unwrap();
    assert!(stream.next().unwrap().is_ok());
    assert_eq!(
        stream.next().unwrap().unwrap_err().code(),
        Some(Code::ERROR)
    );
    assert!(stream.next().is_none());
}

/// A leader of this project.
fn ours(call: &Call<'_>) -> Option<Act> {
    match call.request {
        Request::Client { .. } => Some(Act::reply(&Response::Welcome {
            heartbeat_timeout_ms: Capabilities::OURS.to_welcome(),
        })),
        _ => None,
    }
}

#[test]
fn our_servers_are_told_to_end_what_is_given_up() {
    for ours_too in [true, false] {
        let gate = Gate::default();
        let held = gate.clone();
        let server = server(move |call| match call.request {
            Request::QuerySql {
                sql: "SELECT slow", ..
            } => Some(Act::failure(Code::INTERRUPT, "interrupted").behind(&held)),
            _ if ours_too => ours(call),
            _ => None,
        });
        runtime().block_on(async {
            let mut connection = connect(&config(&[server.address()])).await.unwrap();
            let query = connection.query("SELECT slow", ());
            assert!(tokio::time::timeout(TIMEOUT / 10, query).await.is_err());
            gate.open();
            // Whoever ended it, the stock server's session is over with that failure.
            let next = connection.query("SELECT 1", ()).await;
            assert_eq!(next.is_ok(), ours_too);
        });
        let interrupts = server.count(RequestKind::INTERRUPT);
        assert_eq!(interrupts, usize::from(ours_too));
    }
}

/// A write whose server answers as soon as it is told to end it, in the moment that it is given
/// more. A busy machine may miss that moment: then the call says that it does not know.
fn ended_at_the_deadline(answer: Option<&Act>) -> dqlite_client::Result<Done> {
    for _ in 0..20 {
        let answer = answer.cloned();
        let server = server(move |call| {
            let answer = || answer.clone().unwrap_or_else(|| call.usual());
            in_exec(call, "DELETE FROM t", || answer().when_told_more()).or_else(|| ours(call))
        });
        let mut connection = open(&server);
        let done = connection.within(TIMEOUT).execute("DELETE FROM t", ());
        let is_unknown = |error: &Error| error.outcome() == Outcome::Unknown;
        if !done.as_ref().is_err_and(is_unknown) {
            assert!(!connection.is_lost());
            let next = connection.execute("DELETE FROM u", ());
            next.expect("the connection is as good as before");
            return done;
        }
        assert!(done.is_err_and(|error| error.kind() == ErrorKind::Timeout));
    }
    panic!("no server was faster than 200 ms");
}

#[test]
fn at_the_deadline_our_servers_say_what_became_of_a_write() {
    let ended = Act::failure(Code::INTERRUPT, "interrupted");
    let error = ended_at_the_deadline(Some(&ended)).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Refused)
    );
    let faster = ended_at_the_deadline(None);
    assert_eq!(
        faster.unwrap().rows_affected,
        1,
        "what is done is not called unknown"
    );
}

#[test]
fn many_are_all_or_none() {
    let server = server(|_| None);
    let mut connection = open(&server);
    let many = connection
        .execute_many(INSERT, (0..2000).map(|n| (n,)))
        .unwrap();
    assert_eq!((many.executions, many.rows_affected), (2000, 2000));
    let asked = asked(&server);
    assert_eq!(
        asked.iter().filter(|sql| *sql == "BEGIN IMMEDIATE").count(),
        1
    );
    assert_eq!(asked.last().unwrap(), "COMMIT");
    let none = connection
        .execute_many(INSERT, Vec::<(i64,)>::new())
        .unwrap();
    assert_eq!(none.executions, 0);
    for sql in [
        "SELECT ?",
        "CREATE TABLE t (a)",
        "DELETE FROM t RETURNING a",
    ] {
        let error = connection.execute_many(sql, [(1,)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{sql}");
    }
}

#[test]
fn the_failed_one_of_many_is_named_and_nothing_stays() {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let server = server(move |call| match call.request {
        Request::Exec { .. } if counted.fetch_add(1, Ordering::Relaxed) == 700 => Some(
            Act::failure(Code::CONSTRAINT_UNIQUE, "UNIQUE constraint failed: t.n"),
        ),
        _ => None,
    });
    let mut connection = open(&server);
    let error = connection
        .execute_many(INSERT, (0..5000).map(|n| (n,)))
        .unwrap_err();
    assert_eq!(
        (error.index(), error.outcome()),
        (Some(700), Outcome::Refused)
    );
    assert!(
        executions.load(Ordering::Relaxed) < 5000,
        "nothing is sent behind an error"
    );
    assert_eq!(asked(&server).last().unwrap(), "ROLLBACK");

    // A value that cannot be sent is found while others are under way.
    let sets = (0..10).map(|n| (if n == 6 { Some("a\0b") } else { Some("a") },));
    let error = connection
        .execute_many("INSERT INTO u VALUES (?)", sets)
        .unwrap_err();
    assert_eq!((error.index(), error.kind()), (Some(6), ErrorKind::Convert));
    assert_eq!(asked(&server).last().unwrap(), "ROLLBACK");

    let mut transaction = connection.transaction().unwrap();
    let sets = (0..3).map(|n| (if n == 1 { f64::NAN } else { 1.0 },));
    transaction
        .execute_many("INSERT INTO v VALUES (?)", sets)
        .unwrap_err();
    transaction.execute("DELETE FROM w", ()).unwrap();
    transaction.commit().unwrap();
    let asked = asked(&server);
    let end: Vec<&str> = asked[asked.len() - 4..]
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(
        end,
        [
            "ROLLBACK TO dqlite_1",
            "RELEASE dqlite_1",
            "DELETE FROM w",
            "COMMIT"
        ]
    );
}

#[test]
fn a_server_that_rolled_back_by_itself_leaves_a_part_behind() {
    let executions = AtomicUsize::new(0);
    let server = server(move |call| match call.request {
        Request::Exec { .. } if executions.fetch_add(1, Ordering::Relaxed) == 2 => {
            Some(Act::failure(Code::FULL, "database or disk is full"))
        }
        Request::ExecSql {
            sql: "ROLLBACK", ..
        } => Some(Act::failure(
            Code::ERROR,
            "cannot rollback - no transaction is active",
        )),
        _ => None,
    });
    let mut connection = open(&server);
    let error = connection
        .execute_many(INSERT, (0..6).map(|n| (n,)))
        .unwrap_err();
    assert_eq!(
        (error.index(), error.outcome()),
        (Some(2), Outcome::Unknown)
    );
    assert!(error.to_string().contains("3, 4, 5"), "{error}");
}

#[test]
fn many_are_undone_wherever_the_connection_ends() {
    for at in 0..24 {
        for fatal in [1, 4] {
            let executions = AtomicUsize::new(0);
            let server = server(move |call| match call.request {
                Request::Exec { .. } if executions.fetch_add(1, Ordering::Relaxed) == fatal => {
                    Some(call.usual().cut_at(at))
                }
                _ => None,
            });
            let mut connection = open(&server);
            let error = connection
                .execute_many(INSERT, (0..9).map(|n| (n,)))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Lost);
            assert_eq!(
                (error.outcome(), error.retry()),
                (Outcome::Refused, Retry::Transaction)
            );
            assert!(connection.is_lost());
            connection.reconnect().unwrap();
            connection.execute(INSERT, (1,)).unwrap();
        }
    }
}

#[test]
fn savepoints_nest_and_are_undone_before_the_next_use() {
    let server = server(|_| None);
    let mut connection = open(&server);
    let mut outer = connection.transaction().unwrap();
    {
        let mut middle = outer.transaction().unwrap();
        let inner = middle.transaction().unwrap();
        inner.commit().unwrap();
        drop(middle.transaction().unwrap());
    }
    outer.execute("DELETE FROM t", ()).unwrap();
    let error = outer.execute("COMMIT", ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    outer.commit().unwrap();
    let asked = asked(&server);
    let begin = asked
        .iter()
        .position(|sql| sql == "BEGIN IMMEDIATE")
        .unwrap();
    let wanted = [
        "BEGIN IMMEDIATE",
        "SAVEPOINT dqlite_1",
        "SAVEPOINT dqlite_2",
        "RELEASE dqlite_2",
        "SAVEPOINT dqlite_2",
        "ROLLBACK TO dqlite_1",
        "RELEASE dqlite_1",
        "DELETE FROM t",
        "COMMIT",
    ];
    assert_eq!(asked[begin..], wanted);
}

/// Statements of a transaction, and what the server does to one of them first.
fn transact(config: &Config, token: Option<&Token>) -> (dqlite_client::Result<u32>, u32) {
    let mut connection = Connection::open(config).expect("a connection");
    let mut runs = 0;
    let policy = Policy::default().with_attempts(4).with_timeout(LONG);
    let result = connection.with_transaction_as(&policy, token, |transaction| {
        runs += 1;
        transaction.execute("DELETE FROM t", ()).map(|_| runs)
    });
    (result, runs)
}

/// A server that does `act` the first time it is asked for `sql`.
fn once(sql: &'static str, act: impl Fn() -> Act + Send + 'static) -> FakeServer {
    let mut is_done = false;
    server(move |call| {
        let act = in_exec(call, sql, &act).filter(|_| !is_done)?;
        is_done = true;
        Some(act)
    })
}

type Fault = Box<dyn Fn() -> Act + Send>;

#[test]
fn a_transaction_runs_again_when_nothing_can_have_happened() {
    let not_leader = || Act::failure(Code::NOT_LEADER, "not leader");
    let busy = || Act::failure(Code::BUSY, "database is locked");
    let snapshot = || Act::failure(Code::BUSY_SNAPSHOT, "database is locked");
    let lost = || Act::failure(Code::LEADERSHIP_LOST, "leadership lost");
    let cases: [(&str, Fault, u32, bool); 12] = [
        ("BEGIN IMMEDIATE", Box::new(not_leader), 1, true),
        ("BEGIN IMMEDIATE", Box::new(busy), 1, true),
        ("BEGIN IMMEDIATE", Box::new(Act::close), 1, true),
        ("DELETE FROM t", Box::new(not_leader), 2, true),
        ("DELETE FROM t", Box::new(busy), 2, true),
        ("DELETE FROM t", Box::new(snapshot), 2, true),
        ("DELETE FROM t", Box::new(lost), 2, true),
        ("DELETE FROM t", Box::new(Act::close), 2, true),
        (
            "DELETE FROM t",
            Box::new(|| Act::failure(Code::CONSTRAINT_UNIQUE, "x")),
            1,
            false,
        ),
        ("COMMIT", Box::new(not_leader), 2, true),
        ("COMMIT", Box::new(lost), 1, false),
        ("COMMIT", Box::new(Act::close), 1, false),
    ];
    for (sql, fault, runs, succeeds) in cases {
        let server = once(sql, fault);
        let (result, ran) = transact(&config(&[server.address()]), None);
        assert_eq!((ran, result.is_ok()), (runs, succeeds), "{sql}: {result:?}");
        if let Err(error) = result {
            let in_doubt = sql == "COMMIT";
            assert_eq!(error.outcome() == Outcome::Unknown, in_doubt);
            assert_eq!(error.kind() == ErrorKind::CommitUnknown, in_doubt);
        }
    }
}

#[test]
fn a_transaction_is_judged_alike_wherever_a_reply_ends() {
    for at in 0..24 {
        for (sql, kind, outcome, retry) in [
            (
                "BEGIN IMMEDIATE",
                ErrorKind::Lost,
                Outcome::Refused,
                Retry::Elsewhere,
            ),
            (
                "DELETE FROM t",
                ErrorKind::Lost,
                Outcome::Refused,
                Retry::Transaction,
            ),
            (
                "COMMIT",
                ErrorKind::CommitUnknown,
                Outcome::Unknown,
                Retry::No,
            ),
        ] {
            let server = once(sql, move || {
                let reply = Response::Result {
                    last_insert_id: 1,
                    rows_affected: 1,
                };
                Act::reply(&reply).cut_at(at)
            });
            let mut connection = open(&server);
            let run = |connection: &mut Connection| {
                let mut transaction = connection.transaction()?;
                transaction.execute("DELETE FROM t", ())?;
                transaction.commit()
            };
            let error = run(&mut connection).unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome(), error.retry()),
                (kind, outcome, retry)
            );
            connection.reconnect().unwrap();
            run(&mut connection).unwrap();
        }
    }
}

#[test]
fn a_stream_has_no_effect_wherever_it_ends() {
    let whole = || {
        Act::replies(&[
            rows(&["n"], &[&[1], &[2]], false),
            rows(&["n"], &[&[3]], true),
        ])
    };
    for at in 0..whole().len() {
        let server = server(move |call| match call.request {
            Request::QuerySql { .. } => Some(whole().cut_at(at)),
            _ => None,
        });
        let mut connection = open(&server);
        let stream = connection.query_stream("SELECT n FROM t", ()).unwrap();
        let mut rows: Vec<_> = stream.collect();
        let error = rows.pop().unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Lost, Outcome::Refused)
        );
        let numbers: Vec<i64> = rows
            .iter()
            .map(|row| row.as_ref().unwrap().get(0).unwrap())
            .collect();
        assert!([1, 2, 3].starts_with(&numbers));
    }
}

/// A server with one table of tokens, whose COMMIT is not answered the first time: it took effect
/// or it did not.
fn forgetful(takes_effect: bool) -> FakeServer {
    let (mut stored, mut is_pending, mut was_silent) = (false, false, false);
    server(move |call| match call.request {
        Request::ExecSql { sql, .. } if sql.starts_with("INSERT INTO _dqlite_tokens") => {
            if stored {
                let text = "UNIQUE constraint failed: _dqlite_tokens.token";
                return Some(Act::failure(Code::CONSTRAINT_PRIMARYKEY, text));
            }
            is_pending = true;
            None
        }
        Request::ExecSql { sql: "COMMIT", .. } => {
            stored = is_pending && (takes_effect || was_silent);
            let act = (!was_silent).then(Act::close);
            was_silent = true;
            act
        }
        _ => None,
    })
}

#[test]
fn with_a_token_an_unanswered_commit_is_looked_up() {
    for (takes_effect, runs) in [(true, 1), (false, 2)] {
        let server = forgetful(takes_effect);
        let config = config(&[server.address()]);
        let token = Token::random();
        let (result, ran) = transact(&config, Some(&token));
        assert_eq!((result.unwrap(), ran), (runs, runs));
        let (again, ran) = transact(&config, Some(&token));
        let error = again.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::AlreadyApplied, Outcome::Refused)
        );
        assert_eq!(ran, 0);
    }
}

#[test]
fn the_table_of_tokens_is_made_when_it_is_missing() {
    let mut exists = false;
    let server = server(move |call| match call.request {
        Request::ExecSql { sql, .. } if sql.starts_with("CREATE TABLE IF NOT EXISTS _dqlite") => {
            exists = true;
            None
        }
        Request::ExecSql { sql, .. } | Request::Prepare { sql }
            if sql.starts_with("INSERT INTO _dqlite_tokens") && !exists =>
        {
            Some(Act::failure(Code::ERROR, "no such table: _dqlite_tokens"))
        }
        _ => None,
    });
    let (result, _) = transact(&config(&[server.address()]), Some(&Token::from("a")));
    result.unwrap();
    let (result, ran) = transact(&config(&[server.address()]), Some(&Token::from("")));
    assert_eq!((result.unwrap_err().kind(), ran), (ErrorKind::Usage, 0));
}

fn busy_at_begin() -> FakeServer {
    server(|call| {
        in_exec(call, "BEGIN IMMEDIATE", || {
            Act::failure(Code::BUSY, "database is locked")
        })
    })
}

#[test]
fn a_transaction_stops_at_its_deadline() {
    let server = busy_at_begin();
    let mut connection = open(&server);
    let started = Instant::now();
    let policy = Policy::default().with_attempts(1000).with_timeout(TIMEOUT);
    let result: dqlite_client::Result<()> =
        connection.with_transaction_as(&policy, None, |_| unreachable!("nothing begins"));
    // The deadline falls between two attempts, or into one.
    let error = result.unwrap_err();
    assert!(
        error.code() == Some(Code::BUSY) || error.kind() == ErrorKind::Timeout,
        "{error:?}"
    );
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn a_transaction_stops_at_its_last_attempt() {
    let server = busy_at_begin();
    let mut connection = open(&server);
    let policy = Policy::default().with_attempts(3);
    let result: dqlite_client::Result<()> =
        connection.with_transaction_as(&policy, None, |_| unreachable!("nothing begins"));
    result.unwrap_err();
    assert_eq!(server.count(RequestKind::EXEC_SQL), 3);
}

#[test]
fn transactions_run_again_under_tokio_on_any_thread() {
    let server = once("DELETE FROM t", Act::close);
    let config = config(&[server.address()]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let runs = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&runs);
    let task = runtime.spawn(async move {
        let mut connection = connect(&config).await?;
        let sql: Arc<str> = "DELETE FROM t".into();
        connection
            .with_transaction_once(&Token::random(), |transaction| {
                let (counted, sql) = (Arc::clone(&counted), Arc::clone(&sql));
                Box::pin(async move {
                    *counted.lock().unwrap() += 1;
                    transaction.execute(&sql, ()).await
                })
            })
            .await
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap().rows_affected, 1);
    assert_eq!(*runs.lock().unwrap(), 2);
}

#[test]
fn a_given_up_transaction_leaves_no_bounds_behind() {
    let server = server(|_| None);
    runtime().block_on(async {
        let mut connection = connect(&config(&[server.address()])).await.unwrap();
        let policy = Policy::default().with_timeout(TIMEOUT);
        let forever = connection.with_transaction_as(&policy, None, |transaction| {
            Box::pin(async move {
                transaction.execute("DELETE FROM t", ()).await?;
                std::future::pending::<dqlite_client::Result<()>>().await
            })
        });
        assert!(tokio::time::timeout(TIMEOUT / 3, forever).await.is_err());
        tokio::time::sleep(TIMEOUT).await;
        connection.execute("DELETE FROM u", ()).await.unwrap();
    });
    let asked = asked(&server);
    assert_eq!(asked[asked.len() - 2..], ["ROLLBACK", "DELETE FROM u"]);
}

#[test]
fn a_statement_that_kills_servers_is_not_sent_a_third_time() {
    let server = server(|call| in_exec(call, "DELETE FROM poison", Act::close));
    let config = config(&[server.address()]);
    for _ in 0..2 {
        let mut connection = Connection::open(&config).unwrap();
        let error = connection.execute("DELETE FROM poison", ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut connection = Connection::open(&config).unwrap();
    let error = connection.execute("DELETE FROM poison", ()).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Poison, Outcome::NotSent)
    );
    connection.execute("DELETE FROM t", ()).unwrap();
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|s| s.sql.as_deref() == Some("DELETE FROM poison"))
            .count(),
        2
    );
}

#[test]
fn a_linearizable_read_is_fenced_by_a_commit() {
    let server = server(|_| None);
    let mut connection = open(&server);
    let rows = connection
        .query_linearizable("SELECT n FROM t", ())
        .unwrap();
    assert_eq!(rows.len(), 1);
    let asked = asked(&server);
    let end = &asked[asked.len() - 4..];
    assert!(end[1].starts_with("INSERT INTO _dqlite_fence"));
    assert_eq!(
        [&end[0], &end[2], &end[3]],
        ["BEGIN IMMEDIATE", "SELECT n FROM t", "COMMIT"]
    );
    let write = connection.query_linearizable("DELETE FROM t", ());
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn a_script_stops_at_the_statement_that_fails() {
    let server = server(|call| in_exec(call, "DELETE FROM b;", || Act::failure(Code::ERROR, "no")));
    let mut connection = open(&server);
    let error = connection
        .execute_batch("DELETE FROM a; DELETE FROM b; DELETE FROM c")
        .unwrap_err();
    assert_eq!(error.index(), Some(1));
    assert!(!asked(&server).iter().any(|sql| sql.contains("FROM c")));
}
