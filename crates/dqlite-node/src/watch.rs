//! Asks the own engine who leads, five times a second, over a private connection.
//!
//! The answers feed the leader events and the gauge of the engine's longest silence.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::NodeInfo;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::board::Board;
use crate::gateway::Register;
use crate::peer::{Peer, PeerError};

const INTERVAL: Duration = Duration::from_millis(200);
/// Longer than any silence of a healthy engine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the own engine says: changes wake the keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The leader it follows, or itself.
    pub(crate) leader: Option<(u64, String)>,
    /// The members in its configuration; it may be behind.
    pub(crate) members: Vec<NodeInfo>,
}

/// Asks until the receiver of the views is gone.
pub(crate) async fn run(
    engine: PathBuf,
    board: Arc<Board>,
    register: Arc<Register>,
    views: watch::Sender<View>,
) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut link = None;
    while !views.is_closed() {
        interval.tick().await;
        let begun = Instant::now();
        let looked = look(&mut link, &engine).await;
        board.see_pause(begun.elapsed());
        match looked {
            Ok(view) => {
                board.engine_sees(view.leader.clone());
                register.know(&board.members());
                views.send_if_modified(|known| {
                    let differs = *known != view;
                    *known = view;
                    differs
                });
            }
            Err(reason) => {
                link = None;
                tracing::debug!("ask the engine for the leader: {reason}");
            }
        }
    }
}

async fn look(link: &mut Option<Peer>, engine: &Path) -> Result<View, PeerError> {
    let peer = match link {
        Some(peer) => peer,
        None => link.insert(Peer::private(engine, PATIENCE).await?),
    };
    let leader = peer.leader().await?;
    Ok(View {
        leader,
        members: peer.members().await?,
    })
}
