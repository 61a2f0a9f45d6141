//! Statements against a session that a test answers for.

use dqlite_proto::{Limits, RequestKind};

use super::*;
use crate::params;

/// The type of the first request of a statement, or the error.
fn route(sql: &str, class: ServerClass, state: State) -> Result<RequestKind> {
    let plan = Plan::new(sql, (), state, Some(class))?;
    Ok(match plan.route {
        Route::Exec => RequestKind::EXEC_SQL,
        Route::Query => RequestKind::QUERY_SQL,
        Route::Prepare { .. } => RequestKind::PREPARE,
        Route::Run { rows: true, .. } => RequestKind::QUERY,
        Route::Run { rows: false, .. } => RequestKind::EXEC,
    })
}

#[test]
fn statements_go_the_way_that_servers_take() {
    for (sql, kind) in [
        ("INSERT INTO t VALUES (1)", RequestKind::EXEC_SQL),
        ("CREATE TABLE t (n)", RequestKind::EXEC_SQL),
        ("BEGIN", RequestKind::EXEC_SQL),
        ("SELECT 1", RequestKind::QUERY_SQL),
        (
            "WITH a AS (SELECT 1) SELECT * FROM a",
            RequestKind::QUERY_SQL,
        ),
        ("VALUES (1)", RequestKind::QUERY_SQL),
        ("EXPLAIN SELECT 1", RequestKind::QUERY_SQL),
        ("PRAGMA user_version", RequestKind::QUERY_SQL),
        ("PRAGMA optimize", RequestKind::EXEC_SQL),
        ("DELETE FROM t RETURNING n", RequestKind::PREPARE),
    ] {
        assert_eq!(
            route(sql, ServerClass::D, State::None).unwrap(),
            kind,
            "{sql}"
        );
    }
}

#[test]
fn what_would_damage_old_servers_is_refused() {
    let refused = |sql, class, state| route(sql, class, state).is_err();
    let returning = "DELETE FROM t RETURNING n";
    assert!(refused(returning, ServerClass::A, State::None));
    assert!(refused(returning, ServerClass::C, State::None));
    assert!(refused(returning, ServerClass::C, State::Open));
    assert!(!refused(returning, ServerClass::A, State::Open));
    for sql in [
        "ATTACH 'x' AS y",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA wal_checkpoint",
    ] {
        assert!(refused(sql, ServerClass::A, State::None), "{sql}");
        assert!(!refused(sql, ServerClass::D, State::None), "{sql}");
    }
    assert!(
        Plan::new(returning, (), State::None, None).is_err(),
        "unknown counts as old"
    );
}

#[test]
fn a_statement_is_judged_by_what_it_can_do() {
    let effect = |sql| Plan::new(sql, (), State::None, None).unwrap().call.effect;
    assert_eq!(effect("SELECT 1"), Effect::Read);
    assert_eq!(effect("BEGIN IMMEDIATE"), Effect::Read);
    assert_eq!(effect("COMMIT"), Effect::Commit);
    assert_eq!(effect("END"), Effect::Commit);
    assert_eq!(effect("PRAGMA user_version = 3"), Effect::Write);
    assert_eq!(effect("frobnicate"), Effect::Write);
}

#[test]
fn more_parameters_than_an_old_server_can_read_are_not_sent() {
    let sql = format!("SELECT {}", vec!["?"; 300].join(","));
    let values = vec![1; 300];
    let send = |class| {
        let mut session = Session::new(Limits::default());
        session.assume(class);
        session.queue(&Request::open("app")).unwrap();
        let plan = Plan::new(&sql, values.as_slice(), State::None, Some(class)).unwrap();
        plan.start(&mut session, "h:1").map(|_| ())
    };
    assert!(send(ServerClass::A).is_err());
    assert!(send(ServerClass::B).is_ok());
    assert!(Plan::new("SELECT ?", params![1, 2], State::None, None).is_err());
}
