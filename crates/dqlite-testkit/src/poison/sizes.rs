//! What is too large for messages between nodes.

use std::time::Duration;

use super::{Cost, Fixture, Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "P5-sum",
        "a row over 2 GiB of values that are not too large",
        large_row,
    )
    .costs(Cost::Much),
    Row::new("P40", "600 MB in one value, three nodes", value_of_600_mb)
        .on(Fixture {
            latency_ms: Some(100),
            ..Fixture::THREE
        })
        .costs(Cost::MuchOnStock),
    Row::new(
        "P41",
        "100 MB in one transaction, three nodes, latency 20 ms",
        value_of_100_mb,
    )
    .on(Fixture {
        latency_ms: Some(20),
        ..Fixture::THREE
    })
    .costs(Cost::Much),
];

fn large_row(scene: &mut Scene) {
    let blobs = ["zeroblob(450000000)"; 5].join(",");
    let mut wire = scene.open().patient(Duration::from_mins(2));
    let answer = wire.query(&format!("SELECT {blobs}"));
    scene.refused("2.25 GB", &answer);
}

fn value_of_600_mb(scene: &mut Scene) {
    let mut wire = scene.open().patient(Duration::from_mins(2));
    scene.prepare(&mut wire, &["CREATE TABLE b(x)"]);
    let answer = wire.exec("INSERT INTO b VALUES(zeroblob(600000000))");
    scene.fails("600 MB", &answer, 18);
}

fn value_of_100_mb(scene: &mut Scene) {
    let mut wire = scene.open().patient(Duration::from_mins(2));
    scene.prepare(&mut wire, &["CREATE TABLE b(x)"]);
    // A documented limit: the leader may lose its seat meanwhile, the cluster must not.
    let answer = wire.exec("INSERT INTO b VALUES(zeroblob(100000000))");
    scene.note("100 MB", &answer);
    let known = answer.is_fine() || answer.code() == Some(10506);
    scene.check("an answer, or leadership lost", known);
}
