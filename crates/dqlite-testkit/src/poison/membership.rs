//! Members that are none, and identities that are not one's own.

use std::time::Duration;

use super::wire::{text, word};
use super::{Fixture, Row, Scene};

pub(super) const ROWS: &[Row] = &[
    Row::new("P60", "ADD of id 0", add_zero),
    Row::new("P60-last", "REMOVE of the only member", remove_last),
    Row::new(
        "P60-voter",
        "ASSIGN of the only voter to spare",
        demote_last,
    ),
    Row::new(
        "P61",
        "a node that founded a cluster of its own",
        add_founder,
    ),
    Row::new("P62", "a directory of another identity", other_identity),
    Row::new(
        "P63",
        "ADD without an address, ASSIGN to role 7",
        bad_change,
    ),
];

/// The id of the first node, as it says itself.
fn own_id(scene: &Scene) -> u64 {
    let leader = scene.victim.address(0);
    let members = crate::ask::members(&leader).unwrap_or_default();
    let own = members.iter().find(|member| member.address == leader);
    own.map_or(1, |member| member.id)
}

fn add_zero(scene: &mut Scene) {
    let body = [word(0), text("127.0.0.1:20999")].concat();
    let answer = scene.dial().ask(12, 0, &body);
    scene.refused("ADD 0", &answer);
}

fn remove_last(scene: &mut Scene) {
    let id = own_id(scene);
    let answer = scene.dial().ask(14, 0, &word(id));
    scene.refused("REMOVE", &answer);
    scene.restart(0);
}

fn demote_last(scene: &mut Scene) {
    let id = own_id(scene);
    for role in [1, 2] {
        let body = [word(id), word(role)].concat();
        let answer = scene.dial().ask(13, 0, &body);
        scene.refused(&format!("ASSIGN to {role}"), &answer);
    }
    scene.restart(0);
}

fn add_founder(scene: &mut Scene) {
    let other = scene.another(&Fixture::ONE);
    let Some(other) = other else {
        scene.complain("no second cluster");
        return;
    };
    let members = crate::ask::members(&other.address(0)).unwrap_or_default();
    let stranger = members.first().map_or(0x2dc1_7185_8c31_55be, |m| m.id);
    let own = own_id(scene);
    let id = if stranger == own {
        0x2dc1_7185_8c31_55be
    } else {
        stranger
    };
    let body = [word(id), text(&other.address(0))].concat();
    let answer = scene.dial().ask(12, 0, &body);
    scene.note("ADD", &answer);
    let body = [word(id), word(0)].concat();
    let answer = scene
        .dial()
        .patient(Duration::from_secs(5))
        .ask(13, 0, &body);
    scene.refused("ASSIGN", &answer);
    let death = other.death(0);
    scene.check(
        &format!("the other cluster lives on ({death:?})"),
        death.is_none() && other.leader(Duration::from_secs(5)).is_some(),
    );
}

fn other_identity(scene: &mut Scene) {
    scene.stop(0);
    let refused = scene.victim.start_as(0, 7);
    match refused {
        Err(reason) => {
            let line = reason.lines().next().unwrap_or_default().to_owned();
            scene.say(line);
        }
        Ok(()) => scene.complain("id 7 starts on the directory of another id"),
    }
    scene.start(0);
}

fn bad_change(scene: &mut Scene) {
    let body = [word(3), text("")].concat();
    let answer = scene.dial().ask(12, 0, &body);
    scene.refused("ADD without an address", &answer);
    let body = [word(own_id(scene)), word(7)].concat();
    let answer = scene.dial().ask(13, 0, &body);
    scene.refused("ASSIGN to 7", &answer);
}
