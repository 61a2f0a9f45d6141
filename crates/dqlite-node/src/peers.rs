//! Who may open a raft stream to this node.
//!
//! The claim is an id and an address. The own configuration may be old, so it does not decide
//! alone: else the stream that would bring the news is refused for ever. The first rule decides:
//!
//! | if | then |
//! |---|---|
//! | the own engine counts exactly this pair among its members | pass |
//! | the own engine names a leader | that leader's members decide |
//! | else | who answers at the address must count the pair *and this node* among its members |
//!
//! It is a guard against accidents; malice is kept out by certificates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dqlite_proto::NodeInfo;

use crate::address::canonical;
use crate::peer::{Peer, PeerError};
use crate::tls::Security;

/// Bound of one question.
const PATIENCE: Duration = Duration::from_secs(2);
/// For so long what the leader said is believed.
const FRESH: Duration = Duration::from_secs(1);
/// One line of the log for each address and so much time.
const QUIET: Duration = Duration::from_mins(1);
/// Addresses whose last line is remembered.
const NOTED_MAX: usize = 1000;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) id: u64,
    pub(crate) address: String,
}

/// The judge of one node.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Claim,
    engine: PathBuf,
    security: Security,
    leader: Mutex<Option<(Instant, Vec<NodeInfo>)>>,
    noted: Mutex<HashMap<String, Instant>>,
}

impl Peers {
    /// For the node of this id and address, whose engine has this private name.
    pub(crate) fn new(id: u64, address: &str, engine: &Path) -> Self {
        Self {
            own: Claim {
                id,
                address: address.to_owned(),
            },
            engine: engine.to_owned(),
            security: Security::default(),
            leader: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// With these certificates when others are asked.
    pub(crate) fn with_security(self, security: Security) -> Self {
        Self { security, ..self }
    }

    /// The certificates with which others are asked.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// The private name of the own engine.
    pub(crate) fn engine(&self) -> &Path {
        &self.engine
    }

    /// The address of the own node.
    pub(crate) fn own(&self) -> &str {
        &self.own.address
    }

    /// Whether a stream may be opened; an error says why not.
    pub(crate) async fn admit(&self, claim: &Claim) -> Result<(), String> {
        let failed = |reason: PeerError| format!("ask the own engine: {reason}");
        let mut engine = Peer::private(&self.engine, PATIENCE)
            .await
            .map_err(failed)?;
        if holds(&engine.members().await.map_err(failed)?, claim) {
            return Ok(());
        }
        let Some((_, leader)) = engine.leader().await.map_err(failed)? else {
            return self.ask_back(claim).await;
        };
        let members = self.members_of(&leader).await?;
        if holds(&members, claim) {
            return Ok(());
        }
        Err(format!("the leader {leader} counts no such member"))
    }

    /// Nobody leads: the peer itself must know of this cluster.
    async fn ask_back(&self, claim: &Claim) -> Result<(), String> {
        let failed = |reason| format!("nobody leads, and {} says: {reason}", claim.address);
        let mut peer = Peer::dial(&self.security, &claim.address, PATIENCE)
            .await
            .map_err(failed)?;
        let members = peer.members().await.map_err(failed)?;
        if !holds(&members, claim) {
            return Err(format!("{} does not count itself a member", claim.address));
        }
        if !holds(&members, &self.own) {
            return Err(format!("{} does not count this node", claim.address));
        }
        Ok(())
    }

    /// The members that the leader counts, not older than a second.
    async fn members_of(&self, leader: &str) -> Result<Vec<NodeInfo>, String> {
        if canonical(leader) == canonical(&self.own.address) {
            return Err("this node leads, and counts no such member".to_owned());
        }
        if let Some(members) = self.fresh() {
            return Ok(members);
        }
        let failed = |reason| format!("ask the leader {leader}: {reason}");
        let mut peer = Peer::dial(&self.security, leader, PATIENCE)
            .await
            .map_err(failed)?;
        let members = peer.members().await.map_err(failed)?;
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), members.clone()));
        Ok(members)
    }

    fn fresh(&self) -> Option<Vec<NodeInfo>> {
        let known = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
        fresh.map(|(_, members)| members.clone())
    }

    /// Whether the log should have a line about this address.
    pub(crate) fn is_news(&self, address: &str) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if noted.len() >= NOTED_MAX {
            noted.retain(|_, at| now - *at < QUIET);
        }
        let recent = |at: &Instant| now - *at < QUIET;
        if noted.get(address).is_some_and(recent) || noted.len() >= NOTED_MAX {
            return false;
        }
        noted.insert(address.to_owned(), now);
        true
    }
}

fn holds(members: &[NodeInfo], claim: &Claim) -> bool {
    members.iter().any(|member| {
        member.id == claim.id && canonical(&member.address) == canonical(&claim.address)
    })
}
