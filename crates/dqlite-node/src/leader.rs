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
use crate::peer::{Peer, PeerError};

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
}

/// A connection to the node that says that it leads.
pub(crate) struct Leader {
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    pub(crate) address: String,
}

impl Local {
    /// Connects to the leader: the own engine first, then all of `addresses` at once.
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
            && let Ok(leader) = probe(&hint).await
        {
            return Ok(leader);
        }
        let mut missing = Vec::new();
        let mut tasks = JoinSet::new();
        for address in addresses
            .iter()
            .filter(|address| !self.is_own(address))
            .cloned()
        {
            tasks.spawn(async move { probe(&address).await.map_err(|reason| (address, reason)) });
        }
        while let Some(probed) = tasks.join_next().await {
            match probed {
                Ok(Ok(leader)) => return Ok(leader),
                Ok(Err(reason)) => missing.push(reason),
                Err(_) => {}
            }
        }
        missing.sort();
        Err(missing)
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
            tasks.spawn(async move {
                let peer = match own {
                    Some(engine) => Peer::private(&engine, patience).await,
                    None => Peer::dial(&address, patience).await,
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

/// Asks one address; a redirection is followed once, and must lead to a node that names itself.
pub(crate) async fn probe(address: &str) -> Result<Leader, String> {
    let (mut peer, leader) = ask(address).await.map_err(|reason| reason.to_string())?;
    let (id, named) = leader.ok_or("knows no leader")?;
    if canonical(&named) == canonical(address) {
        return Ok(Leader {
            peer,
            id,
            address: named,
        });
    }
    let failed = |reason: String| format!("says {named} leads: {reason}");
    let (next, leader) = ask(&named)
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

async fn ask(address: &str) -> Result<(Peer, Option<(u64, String)>), PeerError> {
    let mut peer = Peer::dial(address, PATIENCE).await?;
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
