//! The members, for whoever asks a node whose engine knows of none.
//!
//! *Engine*: a spare is not sent the log, so it says that there are no members, as a node does that
//! belongs to no cluster. A founder that has lost its disk takes that for the proof that it may
//! found one. So as long as the engine knows nothing, what this node knows itself is the answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dqlite_proto::NodeInfo;

/// What is known of the members.
#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    members: Vec<NodeInfo>,
    /// The engine can answer for itself.
    by_engine: bool,
}

impl Register {
    /// The members as the leader told them, or as they were before the start.
    pub(crate) fn know(&self, members: &[NodeInfo]) {
        if !members.is_empty() {
            members.clone_into(&mut self.known().members);
        }
    }

    /// Whether the engine knows of members.
    pub(crate) fn see_engine(&self, knows: bool) {
        self.known().by_engine = knows;
    }

    /// The answer in the engine's place, if there is one.
    pub(super) fn answer(&self) -> Option<Vec<NodeInfo>> {
        let known = self.known();
        (!known.by_engine && !known.members.is_empty()).then(|| known.members.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::Role;

    use super::*;

    #[test]
    fn what_the_engine_knows_is_its_own_to_tell() {
        let register = Register::default();
        assert_eq!(register.answer(), None);
        let member = NodeInfo {
            id: 1,
            address: "a:1".to_owned(),
            role: Role::Voter,
        };
        register.know(std::slice::from_ref(&member));
        register.know(&[]);
        assert_eq!(register.answer(), Some(vec![member]));
        register.see_engine(true);
        assert_eq!(register.answer(), None);
    }
}
