//! Gives leadership, and if wanted the seat, to others while the gateway still serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Request, Role};
use serde_json::json;
use tokio::task::JoinSet;

use crate::event::Event;
use crate::health::Probes;
use crate::leader::{Leader, Local};
use crate::peer::Peer;
use crate::roles;

/// Members that do not answer by then are not asked to take anything.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(100);

/// What was given away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Leadership.
    pub(crate) leadership: bool,
    /// The leader afterwards, if it is known.
    pub(crate) leader: Option<String>,
}

/// Answers command `n`.
pub(crate) async fn answer(local: Arc<Local>, n: u32, seat: bool, limit: Duration) {
    let answer = match run(&local, seat, limit).await {
        Ok(given) => Ok(json!({ "moved": given.leadership, "leader": given.leader })),
        Err(reason) => Err(("not_handed_over", reason)),
    };
    local.board.tell(Event::Reply { n, answer });
}

/// Gives leadership away if this node leads, and its seat with `seat` if somebody can take it.
///
/// Takes no longer than `limit`. An error says why leadership stays here.
pub(crate) async fn run(local: &Local, seat: bool, limit: Duration) -> Result<Given, String> {
    let given = tokio::time::timeout(limit, give(local, seat, Instant::now() + limit)).await;
    given.unwrap_or_else(|_| Err(format!("not done within {} ms", limit.as_millis())))
}

async fn give(local: &Local, seat: bool, deadline: Instant) -> Result<Given, String> {
    let addresses: Vec<String> = local
        .board
        .members()
        .into_iter()
        .map(|member| member.address)
        .collect();
    let found = local.find_leader(&addresses).await;
    let mut leader = found.map_err(|_| "no leader found".to_owned())?;
    let leads = leader.id == local.id;
    let known = Some(leader.address.clone());
    if !leads && !seat {
        return Ok(Given {
            leadership: false,
            leader: known,
        });
    }
    let members = leader.members().await.ok_or("the leader does not answer")?;
    let (mut plan, followers) = tokio::join!(plan(local, &members), followers(local, &members));
    caught_up_first(&mut plan.leadership, &followers);
    let taken = match plan.seat.filter(|_| seat) {
        Some((role, candidates)) => give_seat(&mut leader, role, &candidates, deadline).await,
        None => false,
    };
    let mut given = Given {
        leadership: false,
        leader: known,
    };
    if leads {
        let next = give_leadership(&mut leader, &plan.leadership, &members).await?;
        given = Given {
            leadership: true,
            leader: next,
        };
    }
    if taken {
        leave_seat(local, &addresses).await;
    }
    Ok(given)
}

async fn plan(local: &Local, members: &[NodeInfo]) -> roles::Handover {
    let mut probes = Probes::default();
    for (id, answer) in local.describe(members, PROBE_PATIENCE).await {
        probes.note(id, answer, Instant::now());
    }
    let view = probes.members(members, Duration::ZERO, Instant::now());
    roles::handover(local.config.targets(), local.id, &view)
}

/// The members that follow this node: they name it as their leader.
async fn followers(local: &Local, members: &[NodeInfo]) -> Vec<u64> {
    let mut asked = JoinSet::new();
    for NodeInfo { id, address, .. } in members.iter().cloned() {
        if id == local.id {
            continue;
        }
        let (own, security) = (local.id, local.security.clone());
        asked.spawn(async move {
            let mut peer = Peer::dial(&security, &address, PROBE_PATIENCE).await.ok()?;
            let leader = peer.leader().await.ok()??;
            (leader.0 == own).then_some(id)
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

/// *Engine*: a transfer to a voter that the leader's stream does not reach, such as one that has
/// just been started again, blocks all writes for an election timeout and then fails. A voter
/// that follows is reached.
fn caught_up_first(targets: &mut [u64], followers: &[u64]) {
    targets.sort_by_key(|id| !followers.contains(id));
}

/// Each candidate for a voter's seat gets a third of the time left: a promotion may hang.
async fn give_seat(leader: &mut Leader, role: Role, candidates: &[u64], deadline: Instant) -> bool {
    for id in candidates {
        let left = deadline.saturating_duration_since(Instant::now()) / 3;
        match leader
            .change(&Request::Assign { id: *id, role }, left)
            .await
        {
            Ok(()) => return true,
            Err(reason) => tracing::info!("give the seat of a {role} to node {id}: {reason}"),
        }
    }
    false
}

/// The address of the next leader, if it is known who that is.
async fn give_leadership(
    leader: &mut Leader,
    targets: &[u64],
    members: &[NodeInfo],
) -> Result<Option<String>, String> {
    if targets.is_empty() {
        return Err("no other voter is online".to_owned());
    }
    let mut failed = String::new();
    // The last try lets the leader choose who is furthest.
    for id in targets.iter().copied().chain([0]) {
        let begun = Instant::now();
        let asked = leader.peer.call(&Request::Transfer { id }).await;
        tracing::debug!("transfer to node {id}: {:?}", begun.elapsed());
        match asked {
            Ok(_) => {
                let target = members.iter().find(|member| member.id == id);
                return Ok(target.map(|member| member.address.clone()));
            }
            Err(reason) => failed = reason.to_string(),
        }
    }
    Err(failed)
}

/// Becomes a spare. A new leader must commit an entry of its own before it may do that.
async fn leave_seat(local: &Local, addresses: &[String]) {
    loop {
        if let Ok(mut leader) = local.find_leader(addresses).await {
            let spare = Request::Assign {
                id: local.id,
                role: Role::Spare,
            };
            if leader.id != local.id && leader.peer.call(&spare).await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_comes_first_and_the_order_stays_otherwise() {
        let mut targets = [1, 2, 3, 4];
        caught_up_first(&mut targets, &[4, 2]);
        assert_eq!(targets, [2, 4, 1, 3]);
        caught_up_first(&mut targets, &[]);
        assert_eq!(targets, [2, 4, 1, 3]);
    }
}
