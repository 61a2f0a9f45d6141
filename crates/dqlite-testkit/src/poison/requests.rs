//! Bytes that are no requests, and peers that are no members.

use std::time::Duration;

use super::wire::{Answer, Wire, text, word};
use super::{Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new("P49", "DESCRIBE of format 1", describe),
    Row::new("P50", "HEARTBEAT, and an unknown type", unknown_types),
    Row::new("P51", "a message of no words", empty_message),
    Row::new("P52", "2 GiB and 8 bytes announced", wrapped_length),
    Row::new("P53", "2 GiB announced", large_length),
    Row::new("P54", "a blob of 2^64-7 bytes and more", wrapped_blob),
    Row::new("P55", "bodies that are cut short", short_bodies),
    Row::new(
        "P56",
        "CONNECT of a stranger, AppendEntries",
        stranger_appends,
    ),
    Row::new("P57", "the same with a later term", stranger_leads),
    Row::new("P58", "RequestVote of a stranger", stranger_votes),
    Row::new("P59", "no handshake, half a message", half_message),
];

fn describe(scene: &mut Scene) {
    let mut wire = scene.dial();
    let answer = wire.ask(18, 0, &word(1));
    scene.refused("DESCRIBE 1", &answer);
    let answer = wire.ask(18, 0, &word(0));
    scene.fine("DESCRIBE 0", &answer);
}

fn unknown_types(scene: &mut Scene) {
    for kind in [2, 200] {
        let answer = scene.dial().ask(kind, 0, &word(0));
        scene.fails(&format!("type {kind}"), &answer, 1005);
    }
}

/// Sends a bare header on its own connection, with a request behind it.
fn header(scene: &Scene, words: u32) -> Answer {
    let mut wire = scene.dial().patient(Duration::from_secs(3));
    wire.raw(words, 0, 0);
    wire.answer()
}

fn empty_message(scene: &mut Scene) {
    let answer = header(scene, 0);
    scene.cut("0 words", &answer);
}

fn wrapped_length(scene: &mut Scene) {
    for words in [0x1000_0001, 0x1800_0000, 0x1FFF_FFFF] {
        let answer = header(scene, words);
        scene.cut(&format!("{words:#x} words"), &answer);
    }
    let answer = scene.dial().ask(0, 0, &word(0));
    scene.fine("LEADER", &answer);
}

fn large_length(scene: &mut Scene) {
    for words in [0x1000_0000, 0x2000_0000, 0xFFFF_FFFF] {
        let answer = header(scene, words);
        scene.cut(&format!("{words:#x} words"), &answer);
    }
}

fn wrapped_blob(scene: &mut Scene) {
    for length in [u64::MAX - 6, u64::MAX - 3, u64::MAX] {
        let mut wire = scene.open();
        let body = [
            word(0),
            text("INSERT INTO t(v) VALUES(?)"),
            word(0x0401),
            word(length),
        ];
        let answer = wire.ask(8, 0, &body.concat());
        scene.refused(&format!("{length:#x} bytes"), &answer);
    }
    scene.holds("SELECT count(*) FROM t", 1);
}

fn short_bodies(scene: &mut Scene) {
    let unended = [word(0), b"SELECT 1".to_vec()].concat();
    let no_tuple = [word(0), text("INSERT INTO t(v) VALUES(?)"), word(0x0105)].concat();
    for (what, kind, body) in [
        ("text without an end", 9, unended),
        ("half a database id", 9, word(0)),
        ("five values announced, none sent", 8, no_tuple),
        ("OPEN without flags", 3, text("test")),
    ] {
        let answer = scene.open().ask(kind, 0, &body);
        scene.refused(what, &answer);
    }
}

/// CONNECT as node 5 of nowhere, and a raft message behind it.
fn stranger(scene: &Scene, message: &[u64]) -> Wire {
    let mut wire = scene.dial().patient(Duration::from_secs(3));
    let body = [word(5), text("127.0.0.1:1")].concat();
    wire.send(11, 0, &body);
    let words: Vec<u8> = message.iter().flat_map(|number| word(*number)).collect();
    wire.bytes(&words);
    wire
}

/// The stranger is shown out, and changes nothing.
fn shown_out(scene: &mut Scene, message: &[u64]) {
    let leader = scene.victim.address(0);
    let answer = stranger(scene, message).answer();
    scene.cut("CONNECT", &answer);
    let known = scene.victim.leader(Duration::from_millis(200));
    scene.check("the leader leads", known.as_ref() == Some(&leader));
}

fn stranger_appends(scene: &mut Scene) {
    shown_out(scene, &[1, 40, 1, 0, 0, 0, 0]);
    shown_out(scene, &[1, 40, 99, 5, 9999, 99, 1]);
}

fn stranger_leads(scene: &mut Scene) {
    shown_out(scene, &[1, 40, 200, 0, 0, 0, 0]);
}

fn stranger_votes(scene: &mut Scene) {
    shown_out(scene, &[3, 40, 99, 5, 999_999, 99, 1]);
}

fn half_message(scene: &mut Scene) {
    let address = scene.victim.address(0);
    let mute = Wire::mute(&address).unwrap_or_else(|_| Wire::dead());
    let answer = mute.patient(Duration::from_secs(8)).answer();
    scene.closed("no handshake", &answer);
    let mut half = scene.dial().patient(Duration::from_secs(2));
    half.bytes(&[1, 0, 0, 0]);
    let answer = half.answer();
    scene.note("half a header", &answer);
}
