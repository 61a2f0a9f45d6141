//! Takes over the seat of a former self whose disk was lost.
//!
//! The leader's list shows the own address under another id. The seat belongs to what this node
//! was before, or to somebody whose address was configured here by mistake; so it is replaced only
//! after a proof that whoever answers at the address is this very process.

use std::sync::Arc;
use std::time::Duration;

use dqlite_proto::Request;

use crate::founder::InitialState;
use crate::leader::{Leader, Local, PATIENCE};
use crate::peer::{Peer, PeerError};

const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// Removes the member `stale` and adds this node in its place.
///
/// With a leader present this never costs the majority: without the dead one fewer are needed. A
/// crash in between leaves an address without a seat, which is added like any other.
pub(crate) async fn replace(local: &Local, leader: &mut Leader, stale: u64) -> Result<(), String> {
    let address = &local.config.address;
    if local.config.initial_state == InitialState::New {
        return Err(format!(
            "the seat of {address} belongs to node {stale}, not to a new one"
        ));
    }
    prove(local).await.map_err(|reason| {
        format!("the seat of {address} belongs to node {stale}: {reason}; if it is gone, remove it")
    })?;
    let remove = Request::Remove { id: stale };
    let add = Request::Add {
        id: local.id,
        address,
    };
    for request in [remove, add] {
        let changed = leader.change(&request, CHANGE_PATIENCE).await;
        changed.map_err(|reason| format!("replace node {stale} at {address}: {reason}"))?;
    }
    let text = format!(
        "replaced node {stale}, whose data is gone, by node {}",
        local.id
    );
    local.board.warn("seat_replaced", text);
    Ok(())
}

/// Warns when the advertised address cannot be dialled from here: then perhaps from nowhere.
pub(crate) async fn check(local: Arc<Local>) {
    let address = &local.config.address;
    if let Err(reason) = weight_at(&local, address).await {
        let text = format!(
            "{address} cannot be dialled from here: {reason}; others reach this node by that \
             address only"
        );
        local.board.warn("unreachable_self", text);
    }
}

/// Proves that the advertised address leads to the engine of this process: a random weight, set
/// behind the gateway's back, is seen there.
async fn prove(local: &Local) -> Result<(), String> {
    let address = &local.config.address;
    let mark = fastrand::u64(1 << 16..1 << 31);
    weigh(local, mark)
        .await
        .map_err(|reason| reason.to_string())?;
    let seen = weight_at(local, address).await;
    weigh(local, local.config.weight.into())
        .await
        .map_err(|reason| reason.to_string())?;
    match seen {
        Ok(weight) if weight == mark => Ok(()),
        Ok(_) => Err("the address answers, but it is not this node".to_owned()),
        Err(reason) => Err(format!("the address cannot be dialled from here: {reason}")),
    }
}

async fn weigh(local: &Local, weight: u64) -> Result<(), PeerError> {
    let mut peer = Peer::private(&local.engine, PATIENCE).await?;
    peer.call(&Request::Weight { weight }).await.map(drop)
}

async fn weight_at(local: &Local, address: &str) -> Result<u64, PeerError> {
    let mut peer = Peer::dial(&local.security, address, PATIENCE).await?;
    Ok(peer.describe().await?.weight)
}
