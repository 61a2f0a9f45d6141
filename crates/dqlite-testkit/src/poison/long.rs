//! Work that is long, slow or unread, and leaving at the wrong moment.

use std::time::{Duration, Instant};

use super::wire::{Answer, Wire, text, word};
use super::{Cost, Fixture, Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new("P32", "four endless queries", endless_queries),
    Row::new(
        "P33",
        "an endless query of a client that leaves, then stop",
        endless_and_gone,
    ),
    Row::new("P34", "a long query beside a short one", long_beside_short),
    Row::new(
        "P35",
        "a log of more than 8158 frames and a new reader",
        long_log,
    ),
    Row::new(
        "P36",
        "the same while a snapshot is written",
        long_log_at_snapshot,
    )
    .on(OFTEN)
    .costs(Cost::Much),
    Row::new("P37", "a held reader and 3000 rewrites", held_reader).costs(Cost::Much),
    Row::new("P38", "BEGIN IMMEDIATE, then silence", silent_writer),
    Row::new("P39", "statements of 5, 20 and 50 MB", long_texts),
    Row::new(
        "P44",
        "results left after one message, 20 times; stop",
        results_left,
    ),
    Row::new(
        "P45",
        "a client that does not read, then stop",
        unread_result,
    ),
    Row::new(
        "P46",
        "a seat for a node that is not there; leave; stop",
        seat_and_stop,
    ),
    Row::new("P47", "the same, and another change", seat_and_change),
    Row::new("P48", "stop in the middle of a result", stop_in_result),
];

const OFTEN: Fixture = Fixture {
    snapshots: Some((64, 64)),
    ..Fixture::ONE
};

const ENDLESS: &str = "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM s) \
                       SELECT count(*) FROM s";
const SOON: Duration = Duration::from_secs(3);

/// How long another client's `SELECT 1` takes, and what it gets.
fn short(scene: &Scene, patience: Duration) -> (Answer, Duration) {
    let mut wire = scene.open().patient(patience);
    let begun = Instant::now();
    let answer = wire.query("SELECT 1");
    (answer, begun.elapsed())
}

fn endless_queries(scene: &mut Scene) {
    let mut wires: Vec<_> = (0..4).map(|_| scene.open()).collect();
    for wire in &mut wires {
        wire.send_query(ENDLESS);
    }
    let (answer, _) = short(scene, SOON);
    scene.fine("SELECT 1 beside four", &answer);
    drop(wires);
    // More than there are threads.
    for _ in 0..20 {
        scene.open().send_query(ENDLESS);
    }
    scene.wait_for("SELECT 1 after twenty vanished", |scene| {
        short(scene, SOON).0.is_fine()
    });
}

fn endless_and_gone(scene: &mut Scene) {
    scene.open().send_query(ENDLESS);
    let (answer, _) = short(scene, SOON);
    scene.fine("SELECT 1", &answer);
    scene.restart(0);
}

fn long_beside_short(scene: &mut Scene) {
    let mut wire = scene.open().patient(Duration::from_mins(2));
    wire.send_query(
        "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM s WHERE x<5000000) \
         SELECT count(*) FROM s",
    );
    let (answer, _) = short(scene, SOON);
    scene.fine("SELECT 1", &answer);
    let answer = wire.answer();
    scene.fine("the long one", &answer);
}

fn long_log(scene: &mut Scene) {
    let mut reader = scene.open();
    for sql in ["BEGIN", "SELECT * FROM t"] {
        let answer = reader.query(sql);
        scene.fine(sql, &answer);
    }
    let mut writer = scene.open();
    scene.prepare(&mut writer, &["CREATE TABLE b(x)"]);
    // The second one takes the log beyond the regions of an index of larger pages.
    for _ in 0..2 {
        let answer = writer.exec("INSERT INTO b VALUES(zeroblob(33500000))");
        scene.fine("33 MB", &answer);
        let answer = scene.open().query("SELECT count(*) FROM b");
        scene.fine("a new reader", &answer);
    }
    let answer = reader.query("SELECT count(*) FROM t");
    scene.fine("the old reader", &answer);
    let answer = scene.dial().dump("test");
    scene.fine("DUMP", &answer);
    drop(reader);
    scene.holds("SELECT sum(length(x)) FROM b", 67_000_000);
}

fn long_log_at_snapshot(scene: &mut Scene) {
    let mut writer = scene.open();
    scene.prepare(&mut writer, &["CREATE TABLE b(x)"]);
    for number in 0..150 {
        let answer = writer.exec("INSERT INTO b VALUES(randomblob(1000000))");
        scene.fine("1 MB", &answer);
        if number % 10 == 9 {
            let answer = scene.open().query("SELECT count(*) FROM b");
            scene.fine("a new reader", &answer);
        }
        if !answer.is_fine() {
            return;
        }
    }
}

fn held_reader(scene: &mut Scene) {
    let mut writer = scene.open();
    scene.prepare(
        &mut writer,
        &[
            "CREATE TABLE b(id INTEGER PRIMARY KEY, x)",
            "INSERT INTO b(x) WITH RECURSIVE s(n) AS \
             (SELECT 1 UNION ALL SELECT n+1 FROM s WHERE n<10) SELECT randomblob(20000) FROM s",
        ],
    );
    let mut reader = scene.open();
    for sql in ["BEGIN", "SELECT count(*) FROM b"] {
        let answer = reader.query(sql);
        scene.fine(sql, &answer);
    }
    for _ in 0..3000 {
        let answer = writer.exec("UPDATE b SET x=randomblob(20000)");
        if !answer.is_fine() {
            scene.fine("a rewrite", &answer);
            break;
        }
    }
    let answer = scene.open().query("SELECT count(*) FROM b");
    scene.fine("a new reader", &answer);
}

fn silent_writer(scene: &mut Scene) {
    let mut silent = scene.open();
    let answer = silent.exec("BEGIN IMMEDIATE");
    scene.fine("BEGIN IMMEDIATE", &answer);
    let mut other = scene.open();
    let answer = other.exec("INSERT INTO t(v) VALUES(3)");
    scene.fails("another writer", &answer, 5);
    drop(silent);
    scene.writes(1);
}

fn long_texts(scene: &mut Scene) {
    for megabytes in [5, 20, 50] {
        let row = "(1),";
        let sql = format!(
            "INSERT INTO t(v) VALUES{}(1)",
            row.repeat(megabytes * 1_000_000 / row.len())
        );
        let answer = scene.open().patient(Duration::from_mins(1)).exec(&sql);
        scene.refused(&format!("{megabytes} MB"), &answer);
    }
    scene.holds("SELECT count(*) FROM t", 1);
}

const FILL: &str = "INSERT INTO t(v) WITH RECURSIVE s(x) AS \
                    (SELECT 1 UNION ALL SELECT x+1 FROM s WHERE x<300000) SELECT x FROM s";

fn results_left(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &[FILL]);
    let before = scene.victim.descriptors(0);
    for _ in 0..20 {
        let mut wire = scene.open();
        wire.send_query("SELECT * FROM t");
        if wire.message().is_err() {
            scene.complain("no first message");
        }
    }
    scene.wait_for("as many descriptors as before", |scene| {
        scene.victim.descriptors(0) <= before
    });
    drop(wire);
    scene.restart(0);
}

fn unread_result(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &[FILL, FILL]);
    wire.send_query("SELECT a.*, b.* FROM t a, t b");
    wire.settle();
    let (answer, _) = short(scene, SOON);
    scene.fine("SELECT 1", &answer);
    scene.restart(0);
    drop(wire);
}

const ADD_NOBODY: (u8, u64, &str) = (12, 2, "127.0.0.1:20999");

fn seat_for_nobody(scene: &mut Scene, wire: &mut Wire) {
    let (kind, id, address) = ADD_NOBODY;
    let body = [word(id), text(address)].concat();
    let answer = wire.ask(kind, 0, &body);
    scene.note("ADD", &answer);
    wire.send(13, 0, &[word(id), word(0)].concat());
}

fn seat_and_stop(scene: &mut Scene) {
    let mut wire = scene.open();
    seat_for_nobody(scene, &mut wire);
    let (answer, _) = short(scene, SOON);
    scene.fine("SELECT 1", &answer);
    drop(wire);
    scene.restart(0);
}

fn seat_and_change(scene: &mut Scene) {
    let mut wire = scene.open().patient(SOON);
    seat_for_nobody(scene, &mut wire);
    let assigned = wire.answer();
    scene.refused("ASSIGN", &assigned);
    let answer = scene.dial().ask(14, 0, &word(2));
    scene.fine("REMOVE", &answer);
}

fn stop_in_result(scene: &mut Scene) {
    let mut wire = scene.open();
    scene.prepare(&mut wire, &[FILL]);
    wire.send_query("SELECT * FROM t");
    if wire.message().is_err() {
        scene.complain("no first message");
    }
    let reader = std::thread::spawn(move || {
        while wire.message().is_ok() {}
        wire
    });
    scene.restart(0);
    drop(reader.join());
}
