//! How a node's stop is asked for, and how its time is split.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::board::Board;
use crate::clerk::Clerk;
use crate::event::{Bye, Command, State};

/// How a stop was asked for, and how long its steps may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) handover: Option<Duration>,
    pub(crate) drain: Duration,
    pub(crate) engine: Duration,
}

impl Stop {
    /// Waits until a stop is asked for while there is nothing to hand over yet.
    pub(crate) async fn asked(commands: &mut mpsc::Receiver<Command>, clerk: &Clerk) -> Self {
        loop {
            let Some(command) = commands.recv().await else {
                return Self::orphaned();
            };
            match clerk.answer(command) {
                Some(Command::Stop {
                    n,
                    handover,
                    deadline,
                }) => {
                    clerk.acknowledge(n);
                    return Self::within(handover, deadline);
                }
                Some(Command::Orphaned) => return Self::orphaned(),
                Some(Command::Handover { n, .. } | Command::Leave { n, .. }) => {
                    clerk.refuse(n, "not_running", "the node has no cluster yet");
                }
                Some(Command::Status { n }) => clerk.reply(n, clerk.status(None)),
                // Everything else was answered.
                Some(_) | None => {}
            }
        }
    }

    /// Splits what time there is: handing over may take half, the rest is for the engine.
    pub(crate) fn within(handover: bool, deadline: Duration) -> Self {
        Self {
            handover: handover.then_some(deadline / 2),
            drain: (deadline / 8).min(Duration::from_secs(1)),
            engine: (deadline / 4).min(Duration::from_secs(2)),
        }
    }

    /// Nothing was running yet.
    pub(crate) fn early(board: &Board) -> Bye {
        board.enter(
            State::Draining,
            "stopped before it had a cluster",
            Vec::new(),
        );
        Bye {
            handed_over: false,
            leader: None,
            drained: 0,
            took: Duration::ZERO,
            left: false,
        }
    }

    /// Nothing can be handed over any more.
    pub(crate) fn left() -> Self {
        Self {
            handover: None,
            ..Self::orphaned()
        }
    }

    /// In all less than three seconds.
    pub(crate) fn orphaned() -> Self {
        Self {
            handover: Some(Duration::from_secs(1)),
            drain: Duration::from_millis(250),
            engine: Duration::from_secs(1),
        }
    }
}
