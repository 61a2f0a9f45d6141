//! One round of role decisions on the leader: ask, act, ask again until nothing is left to do.
//!
//! *Engine*: one change of the membership at a time. A demotion takes milliseconds; a promotion to
//! voter lasts until the new voter has caught up, and one whose target dies blocks every other
//! change for 50 s. So a promotion is left to a task of its own, and while it lasts nothing else
//! is decided. Giving leadership away ends it at once.

use std::time::{Duration, Instant};

use dqlite_proto::{FailureKind, NodeInfo, Request, Role};
use tokio::task::JoinSet;

use crate::event::{Missing, RoleChange};
use crate::health::Probes;
use crate::leader::{Leader, Local, PATIENCE};
use crate::peer::{Peer, PeerError};
use crate::roles::{self, Change, Finding};
use crate::size::explained;

/// A change that waits for nobody to catch up.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// A promotion that takes longer is reported.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(10);
/// *Engine*: it gives up by itself, at most a hundred times 50 s after the last progress.
const CATCHING_UP_MAX: Duration = Duration::from_secs(5000);

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) changes: Vec<RoleChange>,
    pub(crate) failed: Vec<Missing>,
    /// What the rules said last.
    pub(crate) findings: Vec<Finding>,
    /// The node does not lead any more, or cannot tell.
    pub(crate) is_over: bool,
}

/// A promotion to voter under way; dropping it does not undo it.
#[derive(Debug)]
pub(crate) struct Promotion {
    change: RoleChange,
    address: String,
    begun: Instant,
    is_reported: bool,
    task: JoinSet<Result<(), PeerError>>,
    ended: Option<Result<(), PeerError>>,
}

enum Applied {
    Done,
    Declined,
    Begun(Promotion),
    Over,
}

/// How a single change ended.
enum Verdict {
    Made,
    Superfluous,
    Refused(String),
    NotLeading,
    /// *Engine*: the change may still be under way and block all others.
    Unknown(String),
}

/// Makes the changes that [`roles::adjust`] asks for. Ends with a promotion that it has begun, and
/// does nothing while one is under way.
pub(crate) async fn adjust(
    local: &Local,
    leader: &mut Leader,
    probes: &mut Probes,
    pending: &mut Option<Promotion>,
) -> Round {
    let mut round = Round::default();
    if !finish(pending, probes, &mut round) {
        return round;
    }
    let mut made = 0;
    while !round.is_over {
        let Some(members) = leader.members().await else {
            round.is_over = true;
            break;
        };
        let offline_after = Duration::from_secs_f64(local.config.offline_after);
        let view = probes.members(&members, offline_after, Instant::now());
        round.findings = roles::explain(local.config.targets(), local.id, &view);
        let Some(Finding::Asks(change)) = round.findings.last().cloned() else {
            break;
        };
        if made > 4 + 2 * members.len() {
            let text = format!("roles do not settle: {}", change.why);
            local.board.warn("roles_restless", text);
            break;
        }
        made += 1;
        match apply(&change, &members, (local, leader), probes, &mut round).await {
            Applied::Done => {}
            Applied::Declined => break,
            Applied::Begun(promotion) => {
                *pending = Some(promotion);
                break;
            }
            Applied::Over => round.is_over = true,
        }
    }
    round
}

/// Takes the result of a promotion that has ended. False while it has not.
fn finish(pending: &mut Option<Promotion>, probes: &mut Probes, round: &mut Round) -> bool {
    let Some(mut promotion) = pending.take() else {
        return true;
    };
    let Some(ended) = promotion.poll() else {
        if promotion.is_overdue() {
            promotion.is_reported = true;
            round.failed.push((
                promotion.address.clone(),
                "is still catching up; no other role changes until that ends".to_owned(),
            ));
        }
        *pending = Some(promotion);
        return false;
    };
    let id = promotion.change.id;
    match judge(ended) {
        Verdict::Made => round.changes.push(promotion.change),
        Verdict::Superfluous => {}
        Verdict::NotLeading => round.is_over = true,
        Verdict::Refused(reason) | Verdict::Unknown(reason) => {
            round.failed.push((promotion.address, reason));
            probes.bar(id, Instant::now());
        }
    }
    true
}

/// Tries the candidates in their order until one takes the role.
async fn apply(
    change: &Change,
    members: &[NodeInfo],
    (local, leader): (&Local, &mut Leader),
    probes: &mut Probes,
    round: &mut Round,
) -> Applied {
    for id in &change.candidates {
        let Some(member) = members.iter().find(|member| member.id == *id) else {
            continue;
        };
        let made = RoleChange {
            id: *id,
            from: member.role,
            to: change.role,
            rule: change.rule,
            why: change.why.clone(),
        };
        if change.role == Role::Voter {
            if answers(local, member, probes).await {
                return Applied::Begun(Promotion::begin(local, made, &member.address));
            }
            let reason = "does not answer just now".to_owned();
            round.failed.push((member.address.clone(), reason));
            continue;
        }
        let (id, role) = (*id, change.role);
        let assign = Request::Assign { id, role };
        match judge(leader.change(&assign, CHANGE_PATIENCE).await) {
            Verdict::Made => {
                round.changes.push(made);
                return Applied::Done;
            }
            // Somebody else was faster; what there is to do shows at the next look.
            Verdict::Superfluous => return Applied::Done,
            Verdict::NotLeading => return Applied::Over,
            Verdict::Refused(reason) => {
                round.failed.push((member.address.clone(), reason));
                probes.give_up(id, Instant::now());
            }
            Verdict::Unknown(reason) => {
                round.failed.push((member.address.clone(), reason));
                return Applied::Over;
            }
        }
    }
    Applied::Declined
}

/// Whether a member has answered within the last two seconds, or does now.
async fn answers(local: &Local, member: &NodeInfo, probes: &mut Probes) -> bool {
    if !probes.is_fresh(member.id, Instant::now()) {
        let asked = local.describe(std::slice::from_ref(member), PATIENCE).await;
        for (id, answer) in asked {
            probes.note(id, answer, Instant::now());
        }
    }
    probes.is_fresh(member.id, Instant::now())
}

fn judge(answer: Result<(), PeerError>) -> Verdict {
    match answer {
        Ok(()) => Verdict::Made,
        Err(PeerError::Refused(failure)) => match failure.kind() {
            FailureKind::NotLeader | FailureKind::LeadershipLost => Verdict::NotLeading,
            _ if failure.message.contains("role is not valid") => Verdict::Superfluous,
            _ => Verdict::Refused(explained(failure).to_string()),
        },
        Err(reason) => Verdict::Unknown(reason.to_string()),
    }
}

impl Promotion {
    fn begin(local: &Local, change: RoleChange, address: &str) -> Self {
        let (engine, own) = (local.engine.clone(), local.config.address.clone());
        let (leader, id) = (local.id, change.id);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut leader = Leader {
                peer: Peer::private(&engine, PATIENCE).await?,
                id: leader,
                address: own,
            };
            let role = Role::Voter;
            let assign = Request::Assign { id, role };
            leader.change(&assign, CATCHING_UP_MAX).await
        });
        Self {
            change,
            address: address.to_owned(),
            begun: Instant::now(),
            is_reported: false,
            task,
            ended: None,
        }
    }

    /// Returns when it has ended.
    pub(crate) async fn wait(&mut self) {
        if self.ended.is_none() {
            let joined = self.task.join_next().await;
            self.ended = Some(joined_or_lost(joined));
        }
    }

    fn poll(&mut self) -> Option<Result<(), PeerError>> {
        if let Some(ended) = self.ended.take() {
            return Some(ended);
        }
        let joined = self.task.try_join_next()?;
        Some(joined_or_lost(Some(joined)))
    }

    fn is_overdue(&self) -> bool {
        !self.is_reported && self.begun.elapsed() >= PROMOTION_PATIENCE
    }

    /// When it is to be reported as slow.
    pub(crate) fn report_due(&self) -> Option<Instant> {
        (!self.is_reported).then(|| self.begun + PROMOTION_PATIENCE)
    }

    /// Whom it promotes, and since when.
    pub(crate) fn subject(&self) -> (&str, Duration) {
        (&self.address, self.begun.elapsed())
    }
}

type Joined = Option<Result<Result<(), PeerError>, tokio::task::JoinError>>;

fn joined_or_lost(joined: Joined) -> Result<(), PeerError> {
    match joined {
        Some(Ok(ended)) => ended,
        Some(Err(panic)) => Err(std::io::Error::other(panic).into()),
        None => Err(std::io::Error::other("the task of the promotion is gone").into()),
    }
}
