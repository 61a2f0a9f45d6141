//! What a node does whose own data is damaged: begins anew as a member, or says why not.
//!
//! A lone voter has nobody to ask: the engine puts damaged segments aside and goes on with what is
//! left. A member of several voters must not do that, because it would forget what it acknowledged
//! to the others. It moves the whole of its data aside and joins again with a fresh id, but only
//! while the others have a leader: without one its copy may be the most advanced.

use std::time::Duration;

use dqlite_proto::{NodeInfo, Role};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::board::Board;
use crate::config::{NodeConfig, OnDamage};
use crate::damage::{self, Damage};
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::founder::InitialState;
use crate::gateway::Backend;
use crate::leader;
use crate::lock::unix_ms;
use crate::prober::{self, Identity};
use crate::tls::Security;

/// How long the others may take to be found again after they were just seen.
const REJOIN_PATIENCE: Duration = Duration::from_secs(30);

/// Whether the engine may put damaged segments aside by itself.
pub(crate) fn recovers(config: &NodeConfig, members: &[NodeInfo]) -> bool {
    let alone = || is_lone_voter(members, &own(config));
    config.auto_recovery.unwrap_or_else(alone)
}

/// Refuses data that the engine would take and must not have: a log without its term, half a
/// snapshot, a log with a hole. Of the last a copy is kept if the engine may cut it off there.
pub(crate) fn check(dir: &DataDir, recovers: bool) -> Result<(), HostError> {
    let fail = |reason| HostError::data_dir(dir.path(), &reason);
    let mut found = damage::of_metadata(dir.path()).map_err(fail)?;
    found.extend(damage::of_snapshots(dir.path()).map_err(fail)?);
    let cut = damage::of_open_segments(dir.path()).map_err(fail)?;
    if recovers && found.is_empty() {
        for Damage { file, what } in cut {
            tracing::warn!("{file}: {what}");
            damage::keep(dir.path(), &file, unix_ms()).map_err(fail)?;
        }
        return Ok(());
    }
    found.extend(cut);
    if found.is_empty() {
        Ok(())
    } else {
        Err(damaged(dir, &found, ""))
    }
}

/// The identity and the configuration with which the node begins anew, after the engine has
/// refused its data. Otherwise the error to end with.
pub(crate) async fn instead(
    refused: HostError,
    members: &[NodeInfo],
    (config, dir, board): (&NodeConfig, &DataDir, &Board),
    reach: (&watch::Sender<Backend>, &Security),
) -> Result<(Identity, NodeConfig), HostError> {
    let mut refused = refused;
    if let HostError::Start(words) = &refused {
        let path = dir.path().to_owned();
        let examined = spawn_blocking(move || damage::examine(&path)).await;
        let found = examined.map_err(|panic| HostError::Bug(panic.to_string()))?;
        match found {
            Ok(found) if !found.is_empty() => refused = damaged(dir, &found, words),
            _ if words.contains("snapshot") || words.contains("segment") => {
                refused = HostError::Damaged {
                    path: dir.path().to_owned(),
                    reason: format!("the engine refuses the data: {words}"),
                };
            }
            _ => {}
        }
    }
    let HostError::Damaged { path, reason } = refused else {
        return Err(refused);
    };
    let stay = |advice: &str| HostError::Damaged {
        path: path.clone(),
        reason: format!("{reason}; {advice}"),
    };
    let others: Vec<String> = members
        .iter()
        .map(|member| member.address.clone())
        .filter(|address| crate::address::canonical(address) != own(config))
        .collect();
    if is_lone_voter(members, &own(config)) || others.is_empty() {
        return Err(stay("nobody else has the data: restore it from a backup"));
    }
    if config.on_damage == OnDamage::Fail {
        return Err(stay(
            "on_damage is \"fail\": move the directory aside to join again with an empty one",
        ));
    }
    if !leads_somebody(reach.1, &others).await {
        return Err(stay(
            "no other member leads: this may be the best copy; start the others first",
        ));
    }
    let aside = dir.move_aside()?;
    let text = format!("{reason}; moved to {}, joining anew", aside.display());
    board.warn("data_damaged", text);
    let mut config = config.clone();
    config.cluster.extend(others);
    config.initial_state = InitialState::Existing;
    config.node_id = None;
    let found = timeout(REJOIN_PATIENCE, prober::identify(&config, board, reach)).await;
    let late = |_| HostError::Identity("the others do not answer any more".to_owned());
    let identity = found.map_err(late)??;
    Ok((identity, config))
}

/// Whether any of these addresses knows a leader that says so itself.
async fn leads_somebody(security: &Security, addresses: &[String]) -> bool {
    let mut tasks = JoinSet::new();
    for address in addresses {
        let (security, address) = (security.clone(), address.clone());
        tasks.spawn(async move { leader::probe(&security, &address).await.is_ok() });
    }
    tasks.join_all().await.contains(&true)
}

fn damaged(dir: &DataDir, found: &[Damage], words: &str) -> HostError {
    let list: Vec<String> = found.iter().map(ToString::to_string).collect();
    let engine = match words {
        "" => String::new(),
        words => format!(" (the engine says: {words})"),
    };
    HostError::Damaged {
        path: dir.path().to_owned(),
        reason: format!("the data is damaged: {}{engine}", list.join("; ")),
    }
}

fn own(config: &NodeConfig) -> String {
    crate::address::canonical(&config.address)
}

/// Whether the node at `own` is the only voter. One that has just joined may know of a single
/// voter, too: the other, which has the data.
fn is_lone_voter(members: &[NodeInfo], own: &str) -> bool {
    let mut voters = members.iter().filter(|member| member.role == Role::Voter);
    let first = voters.next();
    let is_own = first.is_some_and(|voter| crate::address::canonical(&voter.address) == own);
    is_own && voters.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(port: u16, role: Role) -> NodeInfo {
        NodeInfo {
            id: port.into(),
            address: format!("127.0.0.1:{port}"),
            role,
        }
    }

    #[test]
    fn alone_is_who_knows_itself_as_the_only_voter() {
        let own = "127.0.0.1:1";
        let (one, other) = (member(1, Role::Voter), member(2, Role::Voter));
        let joined = member(1, Role::Spare);
        assert!(is_lone_voter(std::slice::from_ref(&one), own));
        assert!(is_lone_voter(&[one.clone(), member(2, Role::Spare)], own));
        assert!(!is_lone_voter(&[one, other.clone()], own));
        assert!(!is_lone_voter(&[joined, other.clone()], own));
        assert!(!is_lone_voter(std::slice::from_ref(&other), own));
        assert!(!is_lone_voter(&[], own));
    }
}
