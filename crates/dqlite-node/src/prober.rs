//! Looks for an existing cluster on a first start, and decides with [`Founder`] what to do.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use dqlite_proto::{NodeInfo, Role};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::address;
use crate::board::Board;
use crate::config::{Id, NodeConfig};
use crate::data_dir::{BOOTSTRAP_IDS, is_bootstrap};
use crate::error::HostError;
use crate::event::{Missing, State};
use crate::founder::{Founder, Seen, Step, classify};
use crate::gateway::{Backend, Early};
use crate::peer::{Peer, PeerError};
use crate::tls::Security;

const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// Who the node is from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: u64,
    /// The engine founds a cluster.
    pub(crate) bootstraps: bool,
    /// Members that were seen; empty for a founder.
    pub(crate) members: Vec<NodeInfo>,
}

/// Decides who a node with an empty directory is. Runs until that is decided.
pub(crate) async fn identify(
    config: &NodeConfig,
    board: &Board,
    (backend, security): (&watch::Sender<Backend>, &Security),
) -> Result<Identity, HostError> {
    let own = address::canonical(&config.address);
    let list = config.canonical_cluster();
    let asked = config.node_id.map(|Id(id)| id);
    let bootstrap = asked.filter(|id| is_bootstrap(*id));
    let founding = Identity {
        id: bootstrap.unwrap_or(BOOTSTRAP_IDS[0]),
        bootstraps: true,
        members: Vec::new(),
    };
    let others = others(config);
    if others.is_empty() {
        return Ok(match asked.filter(|_| bootstrap.is_none()) {
            Some(id) => Identity {
                id,
                bootstraps: false,
                members: Vec::new(),
            },
            None => founding,
        });
    }
    let mut founder = Founder::new(&own, &list, config.initial_state);
    if bootstrap.is_some() && !founder.founds() {
        let text = format!(
            "option node_id = {}: founds clusters, but the founder of this one is {}",
            founding.id, list[0]
        );
        return Err(HostError::Identity(text));
    }
    let claim = NodeInfo {
        id: founding.id,
        address: config.address.clone(),
        role: Role::Voter,
    };
    let mut pause = Pause::default();
    loop {
        let round = probe(security, &others).await;
        let seen: Vec<(String, Seen)> = round
            .iter()
            .map(|(text, probed)| (address::canonical(text), probed.seen.clone()))
            .collect();
        tell(board, founder.founds(), &round);
        let step = founder.round(&seen);
        tracing::debug!("round {seen:?}: {step:?}");
        let show = founder.claims().then(|| claim.clone());
        backend.send_replace(Backend::Early(Early { claim: show }));
        match step {
            Step::Claim => {}
            Step::Wait | Step::Withdraw => pause.wait().await,
            Step::Bootstrap => return Ok(founding),
            Step::Join => return joiner(asked, round),
            Step::Conflict(one, other) => {
                let text = format!("{one} and {other} lead different clusters");
                return Err(HostError::Identity(text));
            }
        }
    }
}

/// The addresses of the list that are not the node's own.
pub(crate) fn others(config: &NodeConfig) -> Vec<String> {
    let own = address::canonical(&config.address);
    let all = config.cluster.iter();
    all.filter(|entry| address::canonical(entry) != own)
        .cloned()
        .collect()
}

/// An identity for somebody who joins the members seen.
fn joiner(asked: Option<u64>, round: Vec<(String, Probed)>) -> Result<Identity, HostError> {
    let mut members: Vec<NodeInfo> = Vec::new();
    for member in round.into_iter().flat_map(|(_, probed)| probed.members) {
        if !known(&members, member.id) {
            members.push(member);
        }
    }
    let mut id = asked.unwrap_or_default();
    while id == 0 || is_bootstrap(id) || asked.is_none() && known(&members, id) {
        id = random_id().map_err(|reason| HostError::Identity(format!("draw an id: {reason}")))?;
    }
    Ok(Identity {
        id,
        bootstraps: false,
        members,
    })
}

fn known(members: &[NodeInfo], id: u64) -> bool {
    members.iter().any(|member| member.id == id)
}

/// 64 bits of the operating system: two nodes that draw one id would be one to the others.
fn random_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

struct Probed {
    seen: Seen,
    members: Vec<NodeInfo>,
}

/// Probes all addresses at once; the order of the results is that of the list.
async fn probe(security: &Security, others: &[String]) -> Vec<(String, Probed)> {
    let mut tasks = JoinSet::new();
    for (index, address) in others.iter().cloned().enumerate() {
        let security = security.clone();
        tasks.spawn(async move {
            let probed = probe_one(&security, &address).await;
            (index, address, probed)
        });
    }
    let mut round = tasks.join_all().await;
    round.sort_by_key(|(index, ..)| *index);
    round
        .into_iter()
        .map(|(_, address, probed)| (address, probed))
        .collect()
}

async fn probe_one(security: &Security, address: &str) -> Probed {
    match ask(security, address).await {
        Ok((leader, mut members)) => {
            let canonical = address::canonical(address);
            let leader = leader
                .map(|(_, leader)| address::canonical(&leader))
                .unwrap_or_default();
            let mut comparable = members.clone();
            for member in &mut comparable {
                member.address = address::canonical(&member.address);
            }
            let seen = classify(&canonical, &leader, &comparable);
            if seen == Seen::Claim {
                members.clear();
            }
            Probed { seen, members }
        }
        Err(reason) => {
            let seen = match reason {
                PeerError::Stranger(_) | PeerError::Refused(_) => {
                    Seen::Stranger(reason.to_string())
                }
                _ => Seen::Down(reason.to_string()),
            };
            Probed {
                seen,
                members: Vec::new(),
            }
        }
    }
}

async fn ask(
    security: &Security,
    address: &str,
) -> Result<(Option<(u64, String)>, Vec<NodeInfo>), PeerError> {
    let mut peer = Peer::dial(security, address, PROBE_PATIENCE).await?;
    let leader = peer.leader().await?;
    Ok((leader, peer.members().await?))
}

fn tell(board: &Board, founds: bool, round: &[(String, Probed)]) {
    let missing: Vec<Missing> = round
        .iter()
        .filter_map(|(address, probed)| match &probed.seen {
            Seen::Down(reason) | Seen::Stranger(reason) => Some((address.clone(), reason.clone())),
            _ => None,
        })
        .collect();
    if founds {
        board.enter(
            State::Forming,
            "waiting for the other nodes of the list",
            missing,
        );
    } else {
        board.enter(State::Joining, "looking for the cluster", missing);
    }
}

/// Pauses between rounds: 0.1 s, doubling to 1 s, a quarter more or less.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    rounds: u32,
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        let base = (100 << self.rounds.min(4)).min(1000);
        self.rounds += 1;
        let jitter = 0.75 + fastrand::f64() / 2.0;
        tokio::time::sleep(Duration::from_millis(base).mul_f64(jitter)).await;
    }
}
