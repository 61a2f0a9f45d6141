//! Values, the encoding of results, ids of statements, names of databases.

use std::fs;

use dqlite_proto::Value;

use super::wire::Answer;
use super::{Cost, Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "P1",
        "text, real, blob in a BOOLEAN column",
        boolean_misfits,
    ),
    Row::new("P2", "real, blob in a DATETIME column", date_misfits),
    Row::new("P3", "508 columns", many_columns),
    Row::new("P4", "column names that fill a page", long_names),
    Row::new("P5", "a row over 2 GiB", huge_row).costs(Cost::MuchOnStock),
    Row::new("P6", "DUMP of a database over 2 GiB", huge_dump).costs(Cost::MuchOnStock),
    Row::new("P7", "a statement id that was finalized", dead_statement),
    Row::new("P8", "OPEN of :memory: and a query", memory_name),
    Row::new("P9", "the same OPEN, then 1100 writes", memory_snapshot),
    Row::new("P10", "the same OPEN, then DUMP of it", memory_dump),
    Row::new("P11", "OPEN of a file through another VFS", foreign_file),
    Row::new("P12", "one database under two names", two_names),
    Row::new(
        "P13",
        "names that cannot be opened, then 3000 writes",
        bad_names,
    ),
    Row::new("P14", "OPEN of 2000 names", many_names),
    Row::new(
        "P15",
        "140 connections with 200 descriptors",
        few_descriptors,
    ),
];

const MEMORY: [&str; 3] = ["", ":memory:", "file:x?mode=memory"];

fn list(last: usize) -> String {
    let numbers: Vec<_> = (0..=last).map(|number| number.to_string()).collect();
    numbers.join(",")
}

fn boolean_misfits(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(
        &mut wire,
        &[
            "CREATE TABLE b(b BOOLEAN, d DATETIME)",
            "CREATE VIEW w AS SELECT b AS z FROM b",
        ],
    );
    let misfits = [
        ("'yes'", Value::Text("yes".into())),
        ("0.5", Value::Float(0.5)),
        ("x'00'", Value::Blob(vec![0])),
    ];
    for (literal, value) in misfits {
        let insert = format!("INSERT INTO b(b) VALUES({literal})");
        scene.prepare(&mut wire, &["DELETE FROM b", &insert]);
        for sql in ["SELECT b FROM b", "SELECT z FROM w"] {
            let answer = wire.query(sql);
            scene.rows(sql, &answer, &[std::slice::from_ref(&value)]);
        }
    }
}

fn date_misfits(scene: &mut Scene) {
    for declared in ["DATE", "DATETIME", "TIMESTAMP"] {
        let mut wire = scene.open();
        let table = format!("CREATE TABLE d_{declared}(d {declared})");
        scene.prepare(&mut wire, &[&table]);
        for (literal, value) in [("1.5", Value::Float(1.5)), ("x'00'", Value::Blob(vec![0]))] {
            let empty = format!("DELETE FROM d_{declared}");
            let insert = format!("INSERT INTO d_{declared} VALUES({literal})");
            scene.prepare(&mut wire, &[&empty, &insert]);
            let answer = wire.query(&format!("SELECT d FROM d_{declared}"));
            scene.rows(declared, &answer, &[&[value]]);
        }
    }
}

fn many_columns(scene: &mut Scene) {
    let mut wire = scene.open();
    let answer = wire.query(&format!("SELECT {}", list(507)));
    let row: Vec<_> = (0..=507).map(Value::Integer).collect();
    scene.rows("508 columns", &answer, &[&row]);
    let columns: Vec<_> = (1..64).map(|number| format!("x+{number}")).collect();
    for k in 0..48 {
        let sql = format!(
            "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM s WHERE x<200) \
             SELECT x AS {}, {} FROM s",
            "a".repeat(1 + 8 * k),
            columns.join(",")
        );
        let answer = scene.open().query(&sql);
        let whole = matches!(&answer, Answer::Rows(rows)
            if rows.len() == 200 && rows.iter().all(|row| row.len() == 64));
        scene.note("64 columns", &answer);
        scene.check("64 columns of 200 rows", whole);
    }
}

fn long_names(scene: &mut Scene) {
    let answer = scene.open().query(&format!("SELECT {}", list(509)));
    scene.fine("510 columns", &answer);
    let alias = |length: usize| format!("SELECT 1 AS {}", "a".repeat(length));
    let answer = scene.open().query(&alias(4072));
    scene.rows("alias of 4072", &answer, &[&[Value::Integer(1)]]);
    let literal = format!("SELECT '{}'", "a".repeat(4072));
    let answer = scene.open().query(&literal);
    scene.fine("literal of 4072", &answer);
    let mut wire = scene.open();
    let answer = wire.query(&alias(70_000));
    scene.refused("alias of 70000", &answer);
    let answer = wire.query("SELECT 1");
    scene.rows("afterwards", &answer, &[&[Value::Integer(1)]]);
}

fn huge_row(scene: &mut Scene) {
    let blob = "zeroblob(900000000)";
    let answer = scene.open().query(&format!("SELECT {blob},{blob},{blob}"));
    scene.refused("2.7 GB", &answer);
}

fn huge_dump(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &["CREATE TABLE b(x)"]);
    for _ in 0..3 {
        let answer = wire.exec("INSERT INTO b VALUES(zeroblob(800000000))");
        scene.fails("800 MB", &answer, 18);
    }
    let answer = scene.dial().dump("test");
    scene.fine("DUMP", &answer);
}

fn dead_statement(scene: &mut Scene) {
    for kind in [5, 6, 7] {
        let mut wire = scene.open();
        let (first, second) = (wire.prepare("SELECT 1"), wire.prepare("SELECT 2"));
        scene.fine("PREPARE", &first);
        scene.fine("PREPARE", &second);
        let finalized = wire.statement(7, 0);
        scene.fine("FINALIZE 0", &finalized);
        let answer = wire.statement(kind, 0);
        scene.fails(&format!("type {kind} of 0"), &answer, 12);
    }
    let mut wire = scene.open();
    for sql in ["SELECT 1", "SELECT 2"] {
        wire.prepare(sql);
    }
    for id in [0, 1] {
        wire.statement(7, id);
    }
    let answer = wire.statement(6, 0);
    scene.fails("QUERY 0", &answer, 12);
}

fn memory_name(scene: &mut Scene) {
    for name in MEMORY {
        let mut wire = scene.dial();
        let answer = wire.open(name);
        scene.refused(&format!("OPEN {name:?}"), &answer);
        let answer = wire.query("SELECT 1");
        scene.refused("SELECT 1", &answer);
    }
}

fn memory_snapshot(scene: &mut Scene) {
    for name in MEMORY {
        let answer = scene.dial().open(name);
        scene.refused(&format!("OPEN {name:?}"), &answer);
    }
    scene.writes(1100);
}

fn memory_dump(scene: &mut Scene) {
    for name in MEMORY {
        scene.dial().open(name);
        let answer = scene.dial().dump(name);
        scene.refused(&format!("DUMP {name:?}"), &answer);
    }
}

fn foreign_file(scene: &mut Scene) {
    let file = scene.victim.scratch().join("x.db");
    // An empty file is an empty database.
    if let Err(error) = fs::write(&file, "") {
        scene.complain(error.to_string());
    }
    let name = format!("file:{}?vfs=unix", file.display());
    let mut wire = scene.dial();
    let answer = wire.open(&name);
    scene.refused("OPEN", &answer);
    let answer = wire.query("SELECT 1");
    scene.refused("SELECT 1", &answer);
    let answer = wire.exec("CREATE TABLE x(y)");
    scene.refused("CREATE", &answer);
    let answer = scene.dial().dump(&name);
    scene.refused("DUMP", &answer);
    let untouched = fs::read(&file).is_ok_and(|bytes| bytes.is_empty());
    scene.check("the file is as it was", untouched);
}

fn two_names(scene: &mut Scene) {
    let mut wire = scene.dial();
    let answer = wire.open("file:test");
    scene.refused("OPEN file:test", &answer);
    let answer = wire.exec("INSERT INTO t(v) VALUES(2)");
    scene.refused("write", &answer);
    scene.writes(1);
    scene.holds("SELECT count(*) FROM t", 2);
}

fn bad_names(scene: &mut Scene) {
    let long = "n".repeat(505);
    for name in [long.as_str(), "file:x?vfs=nosuch", "file:x?mode=ro"] {
        let answer = scene.dial().open(name);
        scene.refused("OPEN", &answer);
    }
    scene.writes(3000);
    let directory = scene.victim.data_dir(0);
    scene.wait_for("a snapshot", |_| {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.any(|name| name.as_encoded_bytes().starts_with(b"snapshot-"))
    });
}

fn many_names(scene: &mut Scene) {
    let before = scene.victim.descriptors(0);
    let mut refusals = 0;
    for number in 0..2000 {
        let answer = scene.dial().open(&format!("name{number}"));
        match answer.code() {
            Some(_) => refusals += 1,
            None if answer.is_fine() => {}
            None => {
                scene.note("OPEN", &answer);
                scene.complain(format!("OPEN {number}: {answer}"));
                return;
            }
        }
    }
    let more = scene.victim.descriptors(0).saturating_sub(before);
    // The cap is a share of the descriptors that the node may have.
    scene.say(format!("{refusals} refused, {more} descriptors more"));
}

fn few_descriptors(scene: &mut Scene) {
    scene.restart_with_descriptors(0, 200);
    let mut wires: Vec<_> = (0..140).map(|_| scene.open()).collect();
    for wire in &mut wires {
        let answer = wire.exec("INSERT INTO t(v) VALUES(8)");
        scene.fine("write", &answer);
    }
    drop(wires);
}
