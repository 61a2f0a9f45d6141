//! SQL that wedges, kills, or leaves a directory with which no node starts.

use dqlite_proto::Value;

use super::{Fixture, Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new("P16", "INSERT ... RETURNING through EXEC", returning),
    Row::new("P17", "the same in a transaction", returning_in_transaction),
    Row::new("P18", "PRAGMA optimize", pragma_optimize),
    Row::new("P19", "optimize() of FTS4", fts_optimize),
    Row::new("P20", "PRAGMA hard_heap_limit=1000", heap_limit),
    Row::new("P21", "ATTACH of an expression", attach_expression),
    Row::new("P22", "ATTACH of any file", attach_file),
    Row::new("P23", "PRAGMA delete_database twice", delete_twice),
    Row::new("P24", "PRAGMA delete_database through QUERY", delete_query),
    Row::new("P25", "ignored CHECK, snapshot, restart", ignored_check),
    Row::new(
        "P26",
        "case-sensitive LIKE in a CHECK, snapshot, restart",
        like_check,
    ),
    Row::new(
        "P27",
        "FTS4 out of step with its content, snapshot, restart",
        fts_content,
    ),
    Row::new(
        "P28",
        "shadow tables written to, snapshot, restart",
        shadow_tables,
    ),
    Row::new("P29", "pages written to, snapshot, restart", pages),
    Row::new("P30", "a schema of garbage", schema),
    Row::new("P30-3", "the same on three nodes", schema_of_three).on(Fixture::THREE),
    Row::new("P31", "PRAGMA journal_mode=DELETE", journal_mode),
];

const RETURNING: &str = "INSERT INTO t(v) VALUES(6) RETURNING id";
const SIX: &str = "SELECT count(*) FROM t WHERE v=6";

fn returning(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.exec(RETURNING);
    scene.fine("EXEC_SQL", &answer);
    scene.holds(SIX, 1);
    let answer = wire.prepare(RETURNING);
    scene.fine("PREPARE", &answer);
    let answer = wire.statement(5, 0);
    scene.fine("EXEC", &answer);
    scene.holds(SIX, 2);
    let answer = wire.query(RETURNING);
    scene.fine("QUERY_SQL", &answer);
    scene.holds(SIX, 3);
    let answer = wire.exec("UPDATE t SET v=6 WHERE id<3 RETURNING id, v");
    scene.fine("two rows", &answer);
    scene.holds(SIX, 4);
}

fn returning_in_transaction(scene: &mut Scene) {
    let mut wire = scene.open();
    for sql in ["BEGIN", RETURNING, "COMMIT"] {
        let answer = wire.exec(sql);
        scene.fine(sql, &answer);
    }
    scene.holds(SIX, 1);
}

fn pragma_optimize(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(
        &mut wire,
        &[
            "CREATE INDEX tv ON t(v)",
            "INSERT INTO t(v) WITH RECURSIVE s(x) AS \
             (SELECT 1 UNION ALL SELECT x+1 FROM s WHERE x<5000) SELECT x FROM s",
        ],
    );
    let answer = wire.query("SELECT * FROM t WHERE v=7");
    scene.fine("SELECT", &answer);
    let answer = wire.query("PRAGMA optimize");
    scene.fine("through QUERY_SQL", &answer);
    let answer = wire.exec("PRAGMA optimize");
    scene.fine("through EXEC_SQL", &answer);
    scene.holds("SELECT count(*)>0 FROM sqlite_stat1", 1);
}

fn fts_optimize(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(
        &mut wire,
        &[
            "CREATE VIRTUAL TABLE ft USING fts4(x)",
            "INSERT INTO ft VALUES('one')",
            "INSERT INTO ft VALUES('two')",
            "CREATE VIEW hidden AS SELECT optimize(ft) FROM ft LIMIT 1",
        ],
    );
    let answer = wire.query("SELECT optimize(ft) FROM ft LIMIT 1");
    scene.fine("SELECT optimize", &answer);
    let answer = wire.query("SELECT * FROM hidden");
    scene.refused("behind a view", &answer);
}

fn heap_limit(scene: &mut Scene) {
    let answer = scene.open().query("PRAGMA hard_heap_limit=1000");
    scene.fails("hard_heap_limit", &answer, 23);
    let answer = scene.open().query("PRAGMA soft_heap_limit=1000");
    scene.fails("soft_heap_limit", &answer, 23);
}

fn attach_expression(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.exec("ATTACH 'y' || '' AS y");
    scene.fails("ATTACH", &answer, 23);
    for sql in [
        "BEGIN",
        "CREATE TABLE y.z(a)",
        "INSERT INTO t(v) VALUES(5)",
        "COMMIT",
    ] {
        let answer = wire.exec(sql);
        scene.note(sql, &answer);
    }
    drop(wire);
    scene.holds("SELECT count(*) FROM t WHERE v=5", 1);
    let mut wire = scene.open();
    let answer = wire.exec("ATTACH '' AS z");
    scene.fine("ATTACH of nothing", &answer);
    let answer = wire.exec("VACUUM");
    scene.fine("VACUUM", &answer);
}

fn attach_file(scene: &mut Scene) {
    let file = scene.victim.scratch().join("evil.db");
    let mut wire = scene.open();
    let attach = format!("ATTACH 'file:{}?vfs=unix' || '' AS y", file.display());
    let answer = wire.exec(&attach);
    scene.fails("ATTACH", &answer, 23);
    for sql in ["CREATE TABLE y.z(a)", "INSERT INTO y.z VALUES('x')"] {
        let answer = wire.exec(sql);
        scene.refused(sql, &answer);
    }
    scene.check("there is no such file", !file.exists());
}

fn delete_twice(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.exec("BEGIN IMMEDIATE");
    scene.fine("BEGIN", &answer);
    for _ in 0..2 {
        let answer = wire.exec("PRAGMA delete_database");
        scene.fails("delete_database", &answer, 23);
    }
    drop(wire);
    scene.holds("SELECT count(*) FROM t", 1);
}

fn delete_query(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.exec("BEGIN IMMEDIATE");
    scene.fine("BEGIN", &answer);
    let answer = wire.query("PRAGMA delete_database");
    scene.fails("delete_database", &answer, 23);
}

/// 1100 writes, of which one makes a snapshot, and a restart that must load it.
fn snapshot_and_restart(scene: &mut Scene) {
    scene.writes(1100);
    scene.restart(0);
    scene.holds("SELECT count(*)>=1101 FROM t", 1);
}

fn ignored_check(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &["CREATE TABLE ck(a CHECK(a>0))"]);
    let answer = wire.exec("PRAGMA ignore_check_constraints=ON");
    scene.fails("the pragma", &answer, 23);
    let answer = wire.exec("INSERT INTO ck VALUES(-1)");
    scene.refused("the row", &answer);
    drop(wire);
    snapshot_and_restart(scene);
}

fn like_check(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &["CREATE TABLE ck(a CHECK(a NOT LIKE 'A%'))"]);
    let answer = wire.query("PRAGMA case_sensitive_like=ON");
    scene.fails("the pragma", &answer, 23);
    let answer = wire.exec("INSERT INTO ck VALUES('abc')");
    scene.refused("the row", &answer);
    drop(wire);
    snapshot_and_restart(scene);
}

fn fts_content(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(
        &mut wire,
        &[
            "CREATE TABLE c(x)",
            "CREATE VIRTUAL TABLE ft USING fts4(content='c', x)",
            "INSERT INTO c VALUES('hello world')",
            "INSERT INTO ft(docid,x) VALUES(1,'something else')",
        ],
    );
    drop(wire);
    snapshot_and_restart(scene);
    scene.holds("SELECT count(*) FROM c", 1);
}

fn shadow_tables(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(
        &mut wire,
        &[
            "CREATE VIRTUAL TABLE ft USING fts5(x)",
            "INSERT INTO ft VALUES('hello world')",
            "CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
            "INSERT INTO r VALUES(1, 2, 3)",
        ],
    );
    for sql in ["DELETE FROM ft_content", "DELETE FROM r_rowid"] {
        let answer = wire.exec(sql);
        scene.fails(sql, &answer, 1);
    }
    drop(wire);
    snapshot_and_restart(scene);
    scene.holds("SELECT count(*) FROM ft WHERE ft MATCH 'hello'", 1);
}

fn pages(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &["CREATE TABLE more(x)"]);
    for sql in [
        "UPDATE sqlite_dbpage SET data=randomblob(4096) WHERE pgno=3",
        "UPDATE sqlite_dbpage SET data=zeroblob(4096) WHERE pgno=1",
    ] {
        let answer = wire.exec(sql);
        scene.fails(sql, &answer, 1);
    }
    drop(wire);
    snapshot_and_restart(scene);
}

const GARBAGE: &str = "UPDATE sqlite_schema SET sql='garbage' WHERE name='t'";

fn schema(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.query("PRAGMA writable_schema=ON");
    scene.fails("the pragma", &answer, 23);
    let answer = wire.exec(GARBAGE);
    scene.fails("the update", &answer, 1);
}

fn schema_of_three(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.query("PRAGMA writable_schema=ON");
    scene.fails("the pragma", &answer, 23);
    let answer = wire.exec(GARBAGE);
    scene.fails("the update", &answer, 1);
    let answer = wire.exec("INSERT INTO t(v) VALUES(2)");
    scene.note("write", &answer);
    let mut other = scene.dial();
    other.open("other");
    let answer = other.exec("CREATE TABLE o(x)");
    scene.fine("write elsewhere", &answer);
    let answer = scene.open().query("SELECT v FROM t WHERE id=1");
    scene.rows("the data", &answer, &[&[Value::Integer(1)]]);
}

fn journal_mode(scene: &mut Scene) {
    let answer = scene.open().query("PRAGMA journal_mode=DELETE");
    scene.fails("the pragma", &answer, 23);
}
