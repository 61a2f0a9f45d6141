//! The lexer against SQLite's own rules.

use dqlite_proto::sql::{
    Statement, StatementKind as Kind, TokenKind, Tokens, is_complete, statements,
};

fn one(sql: &str) -> Statement<'_> {
    let mut statements = statements(sql);
    let statement = statements
        .next()
        .unwrap_or_else(|| panic!("no statement in {sql}"));
    assert_eq!(statements.next(), None, "{sql}");
    statement
}

fn split(sql: &str) -> Vec<&str> {
    statements(sql)
        .map(|statement| statement.sql().expect("UTF-8"))
        .collect()
}

#[test]
fn statements_end_at_semicolons_outside_quotes_and_comments() {
    assert_eq!(split(""), [""; 0]);
    assert_eq!(split(" ;; -- x\n ; /* ; */"), [""; 0]);
    assert_eq!(split("SELECT 1"), ["SELECT 1"]);
    assert_eq!(split(" SELECT 1 ; SELECT 2 "), ["SELECT 1 ;", "SELECT 2"]);
    assert_eq!(
        split("SELECT ';' ; SELECT 2;"),
        ["SELECT ';' ;", "SELECT 2;"]
    );
    assert_eq!(
        split("SELECT 'it''s;' AS \";\""),
        ["SELECT 'it''s;' AS \";\""]
    );
    assert_eq!(split("SELECT [a;b], `c;``d`"), ["SELECT [a;b], `c;``d`"]);
    assert_eq!(
        split("SELECT 1 -- ; no\n; SELECT 2"),
        ["SELECT 1 -- ; no\n;", "SELECT 2"]
    );
    assert_eq!(split("/* a; */ SELECT /* ; */ 1"), ["SELECT /* ; */ 1"]);
    assert_eq!(split("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
    assert_eq!(split("SELECT 1 -- tail"), ["SELECT 1"]);
    assert_eq!(
        split("SELECT \"é\"; SELECT 2"),
        ["SELECT \"é\";", "SELECT 2"]
    );
}

#[test]
fn trigger_bodies_stay_whole() {
    let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN \
                   UPDATE b SET c = CASE WHEN 1 THEN 2 ELSE 3 END; DELETE FROM d; END;";
    let text = format!("{trigger} SELECT 1");
    assert_eq!(split(&text), [trigger, "SELECT 1"]);
    for head in [
        "CREATE TEMP TRIGGER",
        "create temporary trigger IF NOT EXISTS",
    ] {
        let trigger = format!("{head} t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; end;");
        assert_eq!(
            split(&format!("{trigger}SELECT 3;")),
            [trigger.as_str(), "SELECT 3;"]
        );
    }
    let explained = "EXPLAIN QUERY PLAN CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;";
    assert_eq!(split(explained), [explained]);
    // A CASE outside a trigger ends nothing, and BEGIN alone begins no body.
    assert_eq!(split("SELECT CASE WHEN 1 THEN 2 END; SELECT 3").len(), 2);
    assert_eq!(
        split("BEGIN; INSERT INTO a VALUES(1); END; SELECT 1").len(),
        4
    );
    // Only CREATE TRIGGER opens one.
    assert_eq!(
        split("CREATE TABLE trigger_log(a); SELECT 1; SELECT 2").len(),
        3
    );
    assert_eq!(split("DROP TRIGGER t; SELECT 1").len(), 2);
}

#[test]
fn a_text_is_complete_when_a_semicolon_ends_it() {
    let complete = [
        "SELECT 1;",
        "SELECT 1; -- done",
        "SELECT 1; /* done */ ",
        "BEGIN;",
        "SELECT 1; SELECT 2;",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;",
        "SELECT ';';",
        "SELECT CASE WHEN 1 THEN 2 END;",
    ];
    let open = [
        "",
        "  ",
        "-- x",
        ";",
        "SELECT 1",
        "SELECT ';",
        "SELECT \";",
        "SELECT [;",
        "SELECT 1; /* open",
        "SELECT 1; SELECT 2",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END",
    ];
    for sql in complete {
        assert!(is_complete(sql), "{sql}");
    }
    for sql in open {
        assert!(!is_complete(sql), "{sql}");
    }
}

#[test]
fn the_verb_tells_the_kind() {
    let kinds = [
        ("select 1", Kind::Select),
        ("VALUES(1)", Kind::Values),
        ("INSERT INTO t VALUES(1)", Kind::Insert),
        ("replace into t values(1)", Kind::Replace),
        ("UPDATE t SET a=1", Kind::Update),
        ("DELETE FROM t", Kind::Delete),
        ("/* x */ -- y\n CREATE TABLE t(a)", Kind::Create),
        ("BEGIN IMMEDIATE", Kind::Begin),
        ("COMMIT", Kind::Commit),
        ("END TRANSACTION", Kind::Commit),
        ("ROLLBACK", Kind::Rollback),
        ("ROLLBACK TRANSACTION TO SAVEPOINT s", Kind::RollbackTo),
        ("SAVEPOINT s", Kind::Savepoint),
        ("RELEASE s", Kind::Release),
        ("PRAGMA user_version", Kind::Pragma),
        ("EXPLAIN DELETE FROM t", Kind::Explain),
        ("ATTACH 'x' AS y", Kind::Attach),
        ("VACUUM", Kind::Vacuum),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Kind::Select),
        (
            "WITH RECURSIVE a(x) AS (SELECT 1), b AS NOT MATERIALIZED (VALUES(2)) DELETE FROM t",
            Kind::Delete,
        ),
        ("WITH a AS (INSERT) REPLACE INTO t VALUES(1)", Kind::Replace),
        ("SELEC 1", Kind::Other),
        ("(SELECT 1)", Kind::Other),
    ];
    for (sql, kind) in kinds {
        assert_eq!(one(sql).kind, kind, "{sql}");
    }
}

#[test]
fn what_may_write_and_what_returns_rows() {
    let cases = [
        ("SELECT 1", false, true),
        ("EXPLAIN DELETE FROM t", false, true),
        ("INSERT INTO t VALUES(1)", true, false),
        ("INSERT INTO t VALUES(1) RETURNING a", true, true),
        ("PRAGMA table_info", false, true),
        ("PRAGMA foreign_keys = ON", true, true),
        ("PRAGMA optimize", true, true),
        ("CREATE TABLE t(a)", true, false),
        ("WITH x AS (SELECT 1) UPDATE t SET a=1", true, false),
        ("nonsense", true, false),
    ];
    for (sql, writes, rows) in cases {
        assert_eq!(
            (one(sql).may_write(), one(sql).returns_rows()),
            (writes, rows),
            "{sql}"
        );
    }
}

#[test]
fn returning_is_a_clause_not_a_name() {
    let clauses = [
        "INSERT INTO t VALUES(1) RETURNING id",
        "insert into t default values returning *",
        "DELETE FROM t WHERE a IN (1) RETURNING (a + 1)",
        "UPDATE t SET a = 'x' RETURNING a, b",
        "REPLACE INTO t VALUES(1)/**/returning/**/1",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x RETURNING id",
        "INSERT INTO t VALUES(1) ON CONFLICT DO NOTHING RETURNING id",
        "UPDATE t SET a = ? RETURNING 'x'",
    ];
    let names = [
        "SELECT returning FROM t",
        "SELECT 1 RETURNING 2",
        "INSERT INTO t(returning) VALUES(1)",
        "INSERT INTO t VALUES('RETURNING id')",
        "INSERT INTO t VALUES(1) -- RETURNING id",
        "INSERT INTO t VALUES(1) /* RETURNING id */",
        "UPDATE t SET \"returning\" = 1",
        "UPDATE t SET returning = 1",
        "UPDATE t SET a = returning",
        "UPDATE t SET a = 1, returning = 2",
        "UPDATE t SET a = t.returning WHERE b",
        "UPDATE returning.t SET a = 1",
        "DELETE FROM t WHERE a IN (SELECT returning FROM u)",
        "DELETE FROM t WHERE a + returning > 1",
        "WITH x AS (SELECT returning FROM t) SELECT * FROM x",
        "EXPLAIN INSERT INTO t VALUES(1) RETURNING id",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END",
    ];
    for sql in clauses {
        assert!(one(sql).returning, "{sql}");
    }
    for sql in names {
        assert!(!one(sql).returning, "{sql}");
    }
}

#[test]
fn parameters_are_numbered_as_sqlite_does() {
    let count = |sql| one(sql).parameters.count;
    assert_eq!(count("SELECT 1"), 0);
    assert_eq!(count("SELECT ?, ?"), 2);
    assert_eq!(count("SELECT ?5, :a, ?"), 7);
    assert_eq!(count("SELECT :a, :a, @a, $a"), 3);
    assert_eq!(count("SELECT ?2, ?1, ?2"), 2);
    assert_eq!(count("SELECT '?', \"?\", [?], `?` -- ?\n /* ? */"), 0);
    assert_eq!(count("SELECT a.b, 1.5, x'00', :"), 0);
    assert_eq!(count("SELECT $a::b(c d), ?"), 1);
    assert_eq!(count("SELECT $a::b(c), ?"), 2);
    assert_eq!(count("SELECT :é"), 1);
    assert_eq!(count("SELECT ?99999999999999999999"), u32::MAX);

    let statement = one("SELECT :b, ?, @c, :b, $d::e, ?3");
    let names: [(&[u8], u32); 3] = [(b":b", 1), (b"@c", 3), (b"$d::e", 4)];
    assert_eq!(statement.parameters.names, names);
    assert!(statement.parameters.has_positional);
    assert!(!one("SELECT ?1, :a").parameters.has_positional);
}

#[test]
fn each_statement_has_its_own_parameters() {
    let counts: Vec<_> = statements("SELECT ?; SELECT ?, ?; SELECT :a")
        .map(|s| s.parameters.count)
        .collect();
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn pragmas_have_a_name_and_perhaps_a_value() {
    let cases: [(&str, &[u8], bool); 7] = [
        ("PRAGMA optimize", b"optimize", false),
        ("pragma main.Optimize;", b"Optimize", false),
        ("PRAGMA optimize(0x10002)", b"optimize", true),
        ("PRAGMA optimize = 2", b"optimize", true),
        ("PRAGMA \"optimize\"", b"optimize", false),
        ("PRAGMA 'main'.[optimize]", b"optimize", false),
        ("PRAGMA /* x */ journal_mode=DELETE", b"journal_mode", true),
    ];
    for (sql, name, has_value) in cases {
        let pragma = one(sql).pragma.expect(sql);
        assert_eq!((pragma.name, pragma.has_value), (name, has_value), "{sql}");
    }
    assert!(
        one("PRAGMA optimize")
            .pragma
            .expect("a pragma")
            .is("OPTIMIZE")
    );
    assert_eq!(one("EXPLAIN PRAGMA optimize").pragma, None);
    assert_eq!(one("PRAGMA").pragma, None);
}

#[test]
fn or_rollback_is_seen() {
    assert!(one("INSERT OR ROLLBACK INTO t VALUES(1)").or_rollback);
    assert!(one("update or /* x */ rollback t set a = 1").or_rollback);
    assert!(!one("INSERT OR ABORT INTO t VALUES('OR ROLLBACK')").or_rollback);
    assert!(!one("ROLLBACK").or_rollback);
}

#[test]
fn places_count_bytes_of_the_whole_text() {
    let text = " SELECT 'é' ; -- x\n UPDATE t SET a = 1 ";
    let places: Vec<_> = statements(text)
        .map(|s| (s.start, s.end(), s.terminated))
        .collect();
    assert_eq!(places, [(1, 14, true), (21, 39, false)]);
    assert_eq!(&text[21..39], "UPDATE t SET a = 1");
}

#[test]
fn bytes_that_are_no_text_are_only_cut() {
    let statement = statements(b"SELECT '\xff\xfe;' ; x".as_slice())
        .next()
        .expect("a statement");
    assert_eq!(statement.text, b"SELECT '\xff\xfe;' ;");
    assert_eq!(statement.sql(), None);
}

#[test]
fn tokens_cover_the_text() {
    let kinds: Vec<_> = Tokens::new(b"a1 \"b\" 'c' .5 5.e3 ?1 ( ) , . ; --x\n=/*y")
        .map(|token| (token.kind, token.open))
        .collect();
    let expected = [
        TokenKind::Word,
        TokenKind::Quoted,
        TokenKind::Text,
        TokenKind::Number,
        TokenKind::Number,
        TokenKind::Parameter,
        TokenKind::Open,
        TokenKind::Close,
        TokenKind::Comma,
        TokenKind::Dot,
        TokenKind::Semicolon,
        TokenKind::Comment,
        TokenKind::Operator,
        TokenKind::Comment,
    ];
    assert_eq!(
        kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(kinds.iter().filter(|(_, open)| *open).count(), 1);
}

#[test]
fn columns_are_fixed_unless_a_star_stands_for_them() {
    let fixed = |sql: &str| statements(sql).next().unwrap().has_fixed_columns();
    for sql in [
        "SELECT id, count(*) FROM t",
        "SELECT count(*)",
        "INSERT INTO t SELECT * FROM u",
        "DELETE FROM t RETURNING id",
    ] {
        assert!(fixed(sql), "{sql}");
    }
    for sql in [
        "SELECT * FROM t",
        "SELECT t.* FROM t",
        "SELECT 2*3",
        "SELECT *",
        "DELETE FROM t RETURNING *",
    ] {
        assert!(!fixed(sql), "{sql}");
    }
}
