//! What is too large for messages between nodes.

use std::time::{Duration, Instant};

use super::wire::{Answer, text, word};
use super::{Cost, Fixture, Newcomer, Row, Scene};

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
    Row::new("P42", "a newcomer to 600 MB", newcomer_to_600_mb).costs(Cost::Much),
    Row::new(
        "P43",
        "more entries kept than a message can name",
        too_many_entries,
    ),
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

/// *Engine*: it gives a promotion up after 50 s.
const PROMOTION: Duration = Duration::from_secs(90);

fn newcomer_to_600_mb(scene: &mut Scene) {
    let mut wire = scene.open().patient(Duration::from_mins(2));
    scene.prepare(&mut wire, &["CREATE TABLE b(x)"]);
    for _ in 0..6 {
        let answer = wire.exec("INSERT INTO b VALUES(zeroblob(100000000))");
        scene.fine("100 MB", &answer);
    }
    let newcomer = match Newcomer::start(&scene.victim) {
        Ok(newcomer) => newcomer,
        Err(reason) => return scene.complain(reason),
    };
    let is_member = |scene: &Scene| {
        let members = crate::ask::members(&scene.victim.address(0)).unwrap_or_default();
        members.iter().any(|member| member.id == newcomer.id())
    };
    if let Newcomer::Stock(_) = newcomer {
        let body = [word(newcomer.id()), text(newcomer.address())].concat();
        let answer = scene.dial().ask(12, 0, &body);
        scene.fine("ADD", &answer);
    }
    scene.wait_for("the newcomer is a member", is_member);
    let mut promoting = scene.dial().patient(PROMOTION);
    let deadline = Instant::now() + PROMOTION;
    let answer = loop {
        promoting.send(13, 0, &[word(newcomer.id()), word(0)].concat());
        promoting.settle();
        scene.writes(3);
        let answer = promoting.answer();
        // Nodes of ours change roles by themselves, too.
        if answer.code() != Some(5) || Instant::now() > deadline {
            break answer;
        }
    };
    scene.refused("ASSIGN", &answer);
    let explained = matches!(&answer, Answer::Failure(why) if why.message.contains("500 MiB"));
    scene.check("the failure says why", explained);
    // Nothing is left of the attempt.
    scene.writes(3);
    let answer = scene.dial().ask(14, 0, &word(newcomer.id()));
    scene.fine("REMOVE", &answer);
    scene.holds("SELECT count(*) FROM b", 6);
    scene.check("the newcomer lives", newcomer.is_alive());
}

fn too_many_entries(scene: &mut Scene) {
    match scene.victim.start_with_trailing(300_000) {
        Err(reason) => {
            scene.check("the option is named", reason.contains("snapshot_trailing"));
            let line = reason.lines().next().unwrap_or_default().to_owned();
            scene.say(line);
        }
        Ok(()) => {
            scene.complain("300000 entries are kept, and no message can name as many");
        }
    }
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
