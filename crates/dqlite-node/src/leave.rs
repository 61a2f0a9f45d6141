//! Takes this node out of its cluster for good.
//!
//! ```text
//!  give seat and leadership away ─► REMOVE(self) at the leader ─► read it back
//!          ▲ while somebody can take them    (then the engine is stopped, and `left` is written)
//! ```
//!
//! [`step`] decides from what is known now; the acting loop asks it again after each step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Request, Role};
use serde_json::json;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::handover;
use crate::health::Probes;
use crate::leader::{Leader, Local, PATIENCE};
use crate::lock::unix_ms;
use crate::roles::{self, Member, Targets};

const RETRY: Duration = Duration::from_millis(100);

/// What a leaving node does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give leadership away, and the seat to whoever can take it.
    HandOver,
    /// Ask the leader, which is another node, for the removal.
    Remove,
    /// The leader's list lacks this node.
    Gone,
}

/// Why a node must stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stay {
    /// There is nobody else.
    #[error("this is the only member: stop it, or delete its directory, to end the cluster")]
    OnlyMember,
    /// Nobody else has a vote, and nobody who answers could take it.
    #[error("this is the last voter, and no other member answers that could take its place")]
    LastVoter,
    /// The voters that remain would have no majority.
    #[error("only {online} of the {voters} other voters answer: without this one nothing works")]
    NoMajority {
        /// Other voters that answer.
        online: usize,
        /// Other voters.
        voters: usize,
    },
}

/// The next step of `me`, given the leader's list and who of it answers. `tried` tells that the
/// seat was offered before.
pub fn step(
    targets: Targets,
    me: u64,
    leader: u64,
    members: &[Member],
    tried: bool,
) -> Result<Step, Stay> {
    let Some(own) = members.iter().find(|member| member.id == me) else {
        return Ok(Step::Gone);
    };
    if members.len() == 1 {
        return Err(Stay::OnlyMember);
    }
    if own.role != Role::Voter {
        return Ok(Step::Remove);
    }
    let plan = roles::handover(targets, me, members);
    let taker = plan.seat.is_some();
    let others = members
        .iter()
        .filter(|member| member.id != me && member.role == Role::Voter);
    let (voters, online) = others.fold((0, 0), |(all, online), member| {
        (all + 1, online + usize::from(member.is_online()))
    });
    if voters == 0 && !taker {
        return Err(Stay::LastVoter);
    }
    let works = |online, voters| online > voters / 2;
    // A taker brings the vote that leaves with this node, but only once it has taken it.
    let (then_online, then_voters) = (online + usize::from(taker), voters + usize::from(taker));
    if !works(then_online, then_voters) {
        let (online, voters) = (then_online, then_voters);
        return Err(Stay::NoMajority { online, voters });
    }
    if leader == me || taker && !tried || !works(online, voters) {
        return Ok(Step::HandOver);
    }
    Ok(Step::Remove)
}

/// Leaves, marks the directory, answers command `n`; `done` hears of it when the node is to stop.
pub(crate) async fn answer(local: Arc<Local>, n: u32, limit: Duration, done: mpsc::Sender<()>) {
    let answer = match run(&local, limit).await {
        Ok(()) => {
            mark(&local, "left");
            Ok(json!({}))
        }
        Err(reason) => Err(("not_left", reason)),
    };
    let is_gone = answer.is_ok();
    local.board.tell(Event::Reply { n, answer });
    if is_gone {
        // Nobody listens any more when the node is stopping already.
        let _ = done.send(()).await;
    }
}

/// Leaves, within `limit`; an error says why this node is still a member, as far as known.
async fn run(local: &Local, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let mut last = "no leader found".to_owned();
    let mut tried = false;
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, advance(local, &mut tried, left)).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(Failed::For(reason))) => {
                last = reason;
                tokio::time::sleep(RETRY.min(left)).await;
            }
            Ok(Err(Failed::Refused(stay))) => return Err(stay.to_string()),
            Err(_) => break,
        }
    }
    Err(format!("not done within {} ms: {last}", limit.as_millis()))
}

enum Failed {
    /// It may work later.
    For(String),
    Refused(Stay),
}

/// One step; true when this node is no member any more.
async fn advance(local: &Local, tried: &mut bool, left: Duration) -> Result<bool, Failed> {
    let members = local.board.members();
    let addresses: Vec<String> = members.into_iter().map(|member| member.address).collect();
    let found = local.find_leader(&addresses).await;
    let mut leader = found.map_err(|_| Failed::For("no leader found".to_owned()))?;
    let listed = leader.members().await;
    let listed = listed.ok_or_else(|| Failed::For("the leader does not answer".to_owned()))?;
    let view = look(local, &listed).await;
    let next = step(local.config.targets(), local.id, leader.id, &view, *tried);
    match next.map_err(Failed::Refused)? {
        Step::Gone => Ok(true),
        Step::HandOver => {
            if std::mem::replace(tried, true) {
                tokio::time::sleep(RETRY.min(left)).await;
            }
            let given = handover::run(local, true, left / 2).await;
            given.map(|_| false).map_err(Failed::For)
        }
        Step::Remove => remove(local.id, &mut leader, left).await,
    }
}

async fn remove(id: u64, leader: &mut Leader, left: Duration) -> Result<bool, Failed> {
    let removed = leader.change(&Request::Remove { id }, left).await;
    // Whether it is so, the next look at the list tells.
    removed
        .map(|()| false)
        .map_err(|reason| Failed::For(format!("ask {}: {reason}", leader.address)))
}

async fn look(local: &Local, members: &[NodeInfo]) -> Vec<Member> {
    let mut probes = Probes::default();
    for (id, answer) in local.describe(members, PATIENCE / 2).await {
        probes.note(id, answer, Instant::now());
    }
    probes.members(members, Duration::ZERO, Instant::now())
}

/// Marks the directory, which must not start again by itself; `cause` is `left` or `removed`.
pub(crate) fn mark(local: &Local, cause: &str) {
    let (id, address) = (local.id.to_string(), &local.config.address);
    let mark = json!({ "id": id, "address": address, "cause": cause, "at": unix_ms() });
    if let Err(failed) = local.dir.left(&mark) {
        let text = format!("write the mark `left`: {failed}");
        local.board.warn("left_mark", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::{Health, TwoNode};

    const TARGETS: Targets = Targets {
        voters: 3,
        standbys: 3,
        two_node: TwoNode::StandBy,
    };

    /// `V` a voter that answers, `v` one that does not, likewise `B` and `S`; ids from 1.
    fn members(letters: &str) -> Vec<Member> {
        let one = |(letter, id): (char, u64)| Member {
            id,
            address: format!("n{id}:1"),
            role: match letter.to_ascii_uppercase() {
                'V' => Role::Voter,
                'B' => Role::StandBy,
                _ => Role::Spare,
            },
            health: if letter.is_ascii_uppercase() {
                Health::Online {
                    domain: 0,
                    weight: 0,
                }
            } else {
                Health::Offline
            },
            silent: Duration::ZERO,
        };
        letters.chars().zip(1..).map(one).collect()
    }

    /// Members, who leaves, who leads, whether the seat was offered before, what follows.
    type Case = (&'static str, u64, u64, bool, Result<Step, Stay>);

    #[test]
    fn a_node_leaves_when_the_others_can_do_without_it() {
        let none = |online, voters| Err(Stay::NoMajority { online, voters });
        let cases: &[Case] = &[
            ("V", 1, 1, false, Err(Stay::OnlyMember)),
            ("V", 9, 1, false, Ok(Step::Gone)),
            ("VVV", 1, 1, false, Ok(Step::HandOver)),
            ("VVV", 1, 2, true, Ok(Step::Remove)),
            ("VVVS", 2, 1, false, Ok(Step::HandOver)),
            ("VVVS", 2, 1, true, Ok(Step::Remove)),
            ("VVVS", 4, 1, false, Ok(Step::Remove)),
            ("VB", 1, 1, false, Ok(Step::HandOver)),
            ("Vb", 1, 1, false, Err(Stay::LastVoter)),
            ("VVv", 2, 1, false, none(1, 2)),
            ("VVvS", 2, 1, false, Ok(Step::HandOver)),
            // Nobody has taken the seat.
            ("VVvS", 2, 1, true, Ok(Step::HandOver)),
            ("VVvVS", 2, 1, true, Ok(Step::Remove)),
            ("VVVvv", 2, 1, false, none(2, 4)),
        ];
        for (letters, me, leader, tried, wanted) in cases {
            let next = step(TARGETS, *me, *leader, &members(letters), *tried);
            assert_eq!(next, *wanted, "{letters}, {me} leaves");
        }
    }
}
