//! Commands that are answered at once, with an engine or without one.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::board::Board;
use crate::config::NodeConfig;
use crate::event::{Command, Event};
use crate::gateway::Door;
use crate::in_flight::InFlight;
use crate::live::Live;
use crate::status;
use crate::tls::{self, Security};

/// What these answers need.
#[derive(Debug)]
pub(crate) struct Clerk {
    pub(crate) board: Arc<Board>,
    pub(crate) security: Security,
    pub(crate) live: Arc<Live>,
    pub(crate) in_flight: Option<Arc<InFlight>>,
}

impl Clerk {
    pub(crate) fn new(
        board: &Arc<Board>,
        security: &Security,
        config: &NodeConfig,
        in_flight: Option<Arc<InFlight>>,
    ) -> Self {
        Self {
            board: Arc::clone(board),
            security: security.clone(),
            live: Arc::new(Live::new(config)),
            in_flight,
        }
    }

    /// Answers; gives back what somebody else has to.
    pub(crate) fn answer(&self, command: Command) -> Option<Command> {
        match command {
            Command::Explain { n } => self.reply(n, json!(self.board.decisions())),
            Command::ReloadTls { n } => {
                let answer = tls::reload(&self.security, &self.board);
                self.board.tell(Event::Reply { n, answer });
            }
            Command::Hangup => {
                // What fails is warned of.
                let _ = tls::reload(&self.security, &self.board);
            }
            Command::Set { n, change } => {
                self.live.change(change);
                tracing::info!("changed while running: {change:?}");
                self.reply(n, json!({}));
            }
            other => return Some(other),
        }
        None
    }

    /// The status document, as far as it is known without asking anybody.
    pub(crate) fn status(&self, open: Option<(&Door, &Path)>) -> Value {
        let mut document = status::document(&self.board, &self.security, open);
        document["settings"] = self.live.described();
        document
    }

    pub(crate) fn acknowledge(&self, n: Option<u32>) {
        if let Some(n) = n {
            self.reply(n, json!({}));
        }
    }

    pub(crate) fn reply(&self, n: u32, value: Value) {
        let answer = Ok(value);
        self.board.tell(Event::Reply { n, answer });
    }

    pub(crate) fn refuse(&self, n: u32, code: &'static str, text: &str) {
        let answer = Err((code, text.to_owned()));
        self.board.tell(Event::Reply { n, answer });
    }
}
