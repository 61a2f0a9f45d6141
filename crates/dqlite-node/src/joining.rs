//! What a node without a seat does next, given the leader's list. PURE.
//!
//! Each step is decided from what was just read and ends in a change that is read back, so that
//! lost answers, repetitions and crashes in between do no harm.

use dqlite_proto::NodeInfo;

use crate::address::canonical;

/// The next step of a node that wants a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has one.
    Seated,
    /// Its id is another's, at this address: nothing can be done about it here.
    Taken(String),
    /// Its address has the seat of this id, which must be a former self of it.
    Replace(u64),
    /// Ask for a seat.
    Add,
    /// Wait to be added: nobody told it whom to join.
    Wait,
}

/// Decides for the node `id` at `own`; `invited` says that it was told whom to join, or knew
/// members before.
pub fn step(members: &[NodeInfo], (id, own): (u64, &str), invited: bool) -> Step {
    let own = canonical(own);
    let is_own = |member: &&NodeInfo| canonical(&member.address) == own;
    if let Some(other) = members.iter().find(|one| one.id == id && !is_own(one)) {
        return Step::Taken(other.address.clone());
    }
    match members.iter().find(is_own) {
        Some(seat) if seat.id == id => Step::Seated,
        Some(seat) => Step::Replace(seat.id),
        // Also when it was added and removed again before it looked.
        None if invited => Step::Add,
        None => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::Role;

    use super::*;

    #[test]
    fn a_seat_is_asked_for_once_and_never_somebody_else_s() {
        let member = |id, address: &str| NodeInfo {
            id,
            address: address.to_owned(),
            role: Role::Spare,
        };
        let members = [member(1, "a:1"), member(2, "B:1")];
        let cases = [
            ((2, "b:1"), true, Step::Seated),
            ((3, "b:1"), true, Step::Replace(2)),
            ((2, "c:1"), true, Step::Taken("B:1".to_owned())),
            ((3, "c:1"), true, Step::Add),
            ((3, "c:1"), false, Step::Wait),
        ];
        for (node, invited, wanted) in cases {
            assert_eq!(step(&members, node, invited), wanted, "{node:?}");
        }
    }
}
