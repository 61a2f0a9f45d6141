//! The members, for whoever asks a node whose engine knows of none.
//!
//! *Engine*: a spare is not sent the log, so it says that there are no members, as a node does that
//! belongs to no cluster. A founder that has lost its disk takes that for the proof that it may
//! found one. So where the engine names nobody, what this node knows itself is the answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dqlite_proto::NodeInfo;

/// What is known of the members.
#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<Vec<NodeInfo>>);

impl Register {
    /// The members as the leader told them, or as they were before the start.
    pub(crate) fn know(&self, members: &[NodeInfo]) {
        if !members.is_empty() {
            members.clone_into(&mut self.known());
        }
    }

    /// The answer in the engine's place.
    pub(super) fn members(&self) -> Vec<NodeInfo> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, Vec<NodeInfo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::Role;

    use super::*;

    #[test]
    fn nobody_is_no_news() {
        let register = Register::default();
        assert_eq!(register.members(), []);
        let member = NodeInfo {
            id: 1,
            address: "a:1".to_owned(),
            role: Role::Voter,
        };
        register.know(std::slice::from_ref(&member));
        register.know(&[]);
        assert_eq!(register.members(), [member]);
    }
}
