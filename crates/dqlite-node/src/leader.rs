//! Finds the leader for the node's own purposes: joining, roles, handing over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dqlite_proto::{Code, Failure, Metadata, NodeInfo, Request};
use tokio::task::JoinSet;

use crate::address::canonical;
use crate::board::Board;
use crate::config::NodeConfig;
use crate::data_dir::DataDir;
use crate::event::Missing;
use crate::live::Live;
use crate::peer::{Peer, PeerError};
use crate::tls::Security;

/// Bound of one question to another node.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The running node, as its loops know it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) id: u64,
    pub(crate) config: NodeConfig,
    pub(crate) dir: DataDir,
    pub(crate) board: Arc<Board>,
    /// The private name of the engine.
    pub(crate) engine: PathBuf,
    pub(crate) security: Security,
    pub(crate) live: Arc<Live>,
}

/// A connection to the node that says that it leads.
pub(crate) struct Leader {
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    pub(crate) address: String,
}

impl Local {
    /// Connects to the leader: the own engine first, then all of `addresses`, as
    /// many at once as `leader_probe_limit` allows.
    ///
    /// An error says of each address why it does not help.
    pub(crate) async fn find_leader(&self, addresses: &[String]) -> Result<Leader, Vec<Missing>> {
        let mut hint = None;
        if let Ok(mut peer) = Peer::private(&self.engine, PATIENCE).await {
            match peer.leader().await {
                Ok(Some((id, address))) if id == self.id => {
                    return Ok(Leader { peer, id, address });
                }
                Ok(Some((_, address))) => hint = Some(address),
                _ => {}
            }
        }
        if let Some(hint) = hint
            && let Ok(leader) = probe(&self.security, &hint).await
        {
            return Ok(leader);
        }
        let others = addresses.iter().filter(|address| !self.is_own(address));
        first_of(others, self.live.probes_max(), |address| {
            let security = self.security.clone();
            async move { probe(&security, &address).await }
        })
        .await
    }

    /// Whether this is the advertised address of this node.
    pub(crate) fn is_own(&self, address: &str) -> bool {
        canonical(address) == canonical(&self.config.address)
    }

    /// What the members say of themselves; all are asked at once.
    pub(crate) async fn describe(
        &self,
        members: &[NodeInfo],
        patience: Duration,
    ) -> Vec<(u64, Option<Metadata>)> {
        let mut tasks = JoinSet::new();
        for NodeInfo { id, address, .. } in members.iter().cloned() {
            let own = (id == self.id).then(|| self.engine.clone());
            let security = self.security.clone();
            tasks.spawn(async move {
                let peer = match own {
                    Some(engine) => Peer::private(&engine, patience).await,
                    None => Peer::dial(&security, &address, patience).await,
                };
                match peer {
                    Ok(mut peer) => (id, peer.describe().await.ok()),
                    Err(_) => (id, None),
                }
            });
        }
        tasks.join_all().await
    }
}

/// The first good answer; else why each address gave none, in order. At most so many are asked at a
/// time.
async fn first_of<'a, T: Send + 'static, A>(
    addresses: impl Iterator<Item = &'a String>,
    at_most: usize,
    ask: impl Fn(String) -> A,
) -> Result<T, Vec<Missing>>
where
    A: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut missing = Vec::new();
    let mut tasks = JoinSet::new();
    let mut left = addresses.cloned();
    loop {
        for address in left.by_ref().take(at_most.saturating_sub(tasks.len())) {
            let asked = ask(address.clone());
            tasks.spawn(async move { asked.await.map_err(|reason| (address, reason)) });
        }
        match tasks.join_next().await {
            Some(Ok(Ok(found))) => return Ok(found),
            Some(Ok(Err(reason))) => missing.push(reason),
            // A panic in a probe is told by the runtime.
            Some(Err(_)) => {}
            None => break,
        }
    }
    missing.sort();
    Err(missing)
}

/// Asks one address; a redirection is followed once, and must lead to a node that names itself.
pub(crate) async fn probe(security: &Security, address: &str) -> Result<Leader, String> {
    let (mut peer, leader) = ask(security, address)
        .await
        .map_err(|reason| reason.to_string())?;
    let (id, named) = leader.ok_or("knows no leader")?;
    if canonical(&named) == canonical(address) {
        return Ok(Leader {
            peer,
            id,
            address: named,
        });
    }
    let failed = |reason: String| format!("says {named} leads: {reason}");
    let (next, leader) = ask(security, &named)
        .await
        .map_err(|reason| failed(reason.to_string()))?;
    peer = next;
    match leader {
        Some((id, again)) if canonical(&again) == canonical(&named) => Ok(Leader {
            peer,
            id,
            address: named,
        }),
        Some((_, other)) => Err(failed(format!("which says {other}"))),
        None => Err(failed("which knows no leader".to_owned())),
    }
}

async fn ask(
    security: &Security,
    address: &str,
) -> Result<(Peer, Option<(u64, String)>), PeerError> {
    let mut peer = Peer::dial(security, address, PATIENCE).await?;
    let leader = peer.leader().await?;
    Ok((peer, leader))
}

impl Leader {
    /// Whether the node still leads, and the members if it does.
    pub(crate) async fn members(&mut self) -> Option<Vec<NodeInfo>> {
        match self.peer.leader().await {
            Ok(Some((id, _))) if id == self.id => self.peer.members().await.ok(),
            _ => None,
        }
    }

    /// Changes the membership; waits for another change to end, at most as long as `patience`.
    pub(crate) async fn change(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<(), PeerError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.peer.call_within(request, left).await {
                Err(PeerError::Refused(failure)) if is_busy(&failure) && !left.is_zero() => {
                    let pause = Duration::from_millis(fastrand::u64(50..250));
                    tokio::time::sleep(pause.min(left)).await;
                }
                answer => return answer.map(drop),
            }
        }
    }
}

fn is_busy(failure: &Failure) -> bool {
    failure.code == Code::BUSY
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_are_asked_at_a_time_than_allowed() {
        for at_most in [1, 3, 256] {
            let addresses: Vec<String> = (10..22).map(|n| format!("n{n}:1")).collect();
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let refused = first_of(addresses.iter(), at_most, |_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    Err::<(), String>("no".to_owned())
                }
            });
            let refused = refused.await.unwrap_err();
            let asked: Vec<&String> = refused.iter().map(|(address, _)| address).collect();
            assert_eq!(asked, addresses.iter().collect::<Vec<_>>());
            assert_eq!(most.load(Ordering::Relaxed), at_most.min(addresses.len()));
        }
    }
}
