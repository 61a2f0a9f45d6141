//! One round of role decisions on the leader: ask, act, ask again until nothing is left to do.

use std::time::{Duration, Instant};

use dqlite_proto::{FailureKind, NodeInfo, Request, Role};

use crate::event::{Missing, RoleChange};
use crate::health::Probes;
use crate::keeper::PROMOTION_PATIENCE;
use crate::leader::{Leader, Local};
use crate::peer::PeerError;
use crate::roles::{self, Change};

/// A change that waits for nobody to catch up.
const DEMOTION_PATIENCE: Duration = Duration::from_secs(5);

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) changes: Vec<RoleChange>,
    pub(crate) failed: Vec<Missing>,
    /// The node does not lead any more, or cannot tell.
    pub(crate) is_over: bool,
}

enum Applied {
    Done,
    Declined,
    Over,
}

/// Makes the changes that [`roles::adjust`] asks for.
pub(crate) async fn adjust(local: &Local, leader: &mut Leader, probes: &mut Probes) -> Round {
    let mut round = Round::default();
    let mut limit = 4;
    loop {
        let Some(members) = leader.members().await else {
            round.is_over = true;
            return round;
        };
        let offline_after = Duration::from_secs_f64(local.config.offline_after);
        let view = probes.members(&members, offline_after, Instant::now());
        let Some(change) = roles::adjust(local.config.targets(), local.id, &view) else {
            return round;
        };
        if limit > 4 + 2 * members.len() {
            local.board.warn(
                "roles_restless",
                format!("roles do not settle: {}", change.why),
            );
            return round;
        }
        limit += 1;
        match apply(&change, &members, leader, probes, &mut round).await {
            Applied::Done => {}
            Applied::Declined => return round,
            Applied::Over => {
                round.is_over = true;
                return round;
            }
        }
    }
}

/// Tries the candidates in their order until one takes the role.
async fn apply(
    change: &Change,
    members: &[NodeInfo],
    leader: &mut Leader,
    probes: &mut Probes,
    round: &mut Round,
) -> Applied {
    for id in &change.candidates {
        let Some(member) = members.iter().find(|member| member.id == *id) else {
            continue;
        };
        let patience = match change.role {
            Role::Voter => PROMOTION_PATIENCE,
            Role::StandBy | Role::Spare => DEMOTION_PATIENCE,
        };
        let assign = Request::Assign {
            id: *id,
            role: change.role,
        };
        let reason = match leader.change(&assign, patience).await {
            Ok(()) => {
                round.changes.push(RoleChange {
                    id: *id,
                    from: member.role,
                    to: change.role,
                    rule: change.rule,
                    why: change.why.clone(),
                });
                return Applied::Done;
            }
            Err(PeerError::Refused(failure)) => match failure.kind() {
                FailureKind::NotLeader | FailureKind::LeadershipLost => return Applied::Over,
                // Somebody else was faster; what there is to do shows at the next look.
                _ if failure.message.contains("role is not valid") => return Applied::Done,
                _ => failure.to_string(),
            },
            // *Engine*: the change is still under way and blocks all others.
            Err(reason) => {
                round
                    .failed
                    .push((member.address.clone(), reason.to_string()));
                probes.note(*id, None, Instant::now());
                return Applied::Over;
            }
        };
        round.failed.push((member.address.clone(), reason));
        probes.note(*id, None, Instant::now());
    }
    Applied::Declined
}
