//! Changes of membership, which never travel on a client's own connection.
//!
//! *Engine*: a connection with an open database on which ASSIGN cannot finish takes the process
//! with it when it is closed; and an engine without a voter is without a leader for ever. So each
//! change is looked at here and asked on a connection of its own.

use std::time::Duration;

use dqlite_proto::{Code, Failure, Header, NodeInfo, Request, Response, Role};

use super::talk::refused;
use crate::address::{advertised, canonical};
use crate::peer::{Peer, PeerError};
use crate::peers::Peers;
use crate::size::explained;
use crate::tls::Security;

/// Bound of the questions asked before a change.
const PATIENCE: Duration = Duration::from_secs(2);
/// *Engine*: it gives a promotion up after 50 seconds without progress.
const CHANGE_PATIENCE: Duration = Duration::from_hours(1);
/// An address to be added may belong to a node that is not up yet.
const STRANGER_PATIENCE: Duration = Duration::from_secs(1);

/// Asks the own engine for the change in `message`, unless it would do harm.
pub(super) async fn ask(peers: &Peers, message: &[u8]) -> Response {
    match decide(peers, message).await {
        Ok(response) => response,
        Err(PeerError::Refused(failure)) => Response::Failure(explained(failure)),
        Err(reason) => Response::Failure(Failure {
            code: Code::IOERR,
            message: format!("ask the engine: {reason}"),
        }),
    }
}

async fn decide(peers: &Peers, message: &[u8]) -> Result<Response, PeerError> {
    let Some((header, body)) = message.split_first_chunk() else {
        return Err(PeerError::Refused(refused("refused: no message")));
    };
    let request = Request::decode(Header::decode(*header), body).map_err(|malformed| {
        PeerError::Refused(Failure {
            code: Code::DQLITE_PARSE,
            message: malformed.to_string(),
        })
    })?;
    let mut peer = Peer::private(peers.engine(), PATIENCE).await?;
    let members = peer.members().await?;
    let leader = peer.leader().await?;
    // Any other node's engine says that it does not lead.
    let leads = leader.is_some_and(|(_, address)| canonical(&address) == canonical(peers.own()));
    if leads && let Some(why) = objection(peers.security(), &members, &request).await {
        return Err(PeerError::Refused(why));
    }
    peer.call_within(&request, CHANGE_PATIENCE).await
}

/// What is wrong with a change of these members.
async fn objection(
    security: &Security,
    members: &[NodeInfo],
    request: &Request<'_>,
) -> Option<Failure> {
    match request {
        Request::Add { address, .. } => {
            if let Err(why) = advertised(address) {
                return Some(refused(format!("refused: {why}")));
            }
            is_of_another_cluster(security, members, address)
                .await
                .then(|| refused(format!("refused: {address} belongs to another cluster")))
        }
        Request::Assign { id, role } if *role != Role::Voter => without(members, *id),
        Request::Assign { id, .. } | Request::Promote { id } => {
            silent(security, members, *id).await
        }
        Request::Remove { id } => without(members, *id),
        _ => None,
    }
}

/// *Engine*: the last voter's seat can be taken; then there is no leader for ever.
fn without(members: &[NodeInfo], id: u64) -> Option<Failure> {
    let mut voters = members.iter().filter(|member| member.role == Role::Voter);
    let last = voters.next()?;
    let lone = voters.next().is_none() && last.id == id;
    lone.then(|| {
        refused(format!(
            "refused: {} is the last voter; make another member a voter first",
            last.address
        ))
    })
}

/// *Engine*: a promotion waits 50 seconds for a node that is not there, and meanwhile every other
/// change is refused.
async fn silent(security: &Security, members: &[NodeInfo], id: u64) -> Option<Failure> {
    let member = members
        .iter()
        .find(|member| member.id == id && member.role != Role::Voter)?;
    let reason = match Peer::dial(security, &member.address, STRANGER_PATIENCE).await {
        Ok(mut peer) => peer.leader().await.err(),
        Err(reason) => Some(reason),
    }?;
    let address = &member.address;
    Some(refused(format!(
        "refused: {address} cannot become a voter while it does not answer ({reason})"
    )))
}

/// *Engine*: a node that has founded a cluster of its own dies of the entries of this one, at each
/// start.
async fn is_of_another_cluster(security: &Security, members: &[NodeInfo], address: &str) -> bool {
    let Ok(mut peer) = Peer::dial(security, address, STRANGER_PATIENCE).await else {
        return false;
    };
    let Ok(theirs) = peer.members().await else {
        return false;
    };
    let known = |one: &NodeInfo| {
        members
            .iter()
            .any(|member| canonical(&member.address) == canonical(&one.address))
    };
    !theirs.is_empty() && !theirs.iter().any(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, role: Role) -> NodeInfo {
        NodeInfo {
            id,
            address: format!("10.0.0.{id}:9000"),
            role,
        }
    }

    #[test]
    fn only_the_last_voter_must_stay() {
        let members = [member(1, Role::Voter), member(2, Role::StandBy)];
        assert!(without(&members, 1).is_some());
        assert_eq!(without(&members, 2), None);
        let members = [member(1, Role::Voter), member(2, Role::Voter)];
        assert_eq!(without(&members, 1), None);
        assert_eq!(without(&[], 1), None);
    }

    #[tokio::test]
    async fn an_address_must_be_one_that_others_can_dial() {
        let members = [member(1, Role::Voter)];
        let add = |address| Request::Add { id: 2, address };
        for address in ["@node", "nowhere", "10.0.0.2:0", "0.0.0.0:9000"] {
            assert!(
                objection(&Security::default(), &members, &add(address))
                    .await
                    .is_some(),
                "{address}"
            );
        }
    }
}
