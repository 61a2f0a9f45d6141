//! The gateway from the binding of its sockets to their end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Backend, Early, Gateway, Listeners};
use crate::board::Board;
use crate::config::NodeConfig;
use crate::error::HostError;
use crate::event::Event;

/// The gateway before and after it accepts.
#[derive(Debug)]
pub(crate) struct Door {
    board: Arc<Board>,
    pub(crate) backend: watch::Sender<Backend>,
    listeners: Option<Listeners>,
    gateway: Option<Gateway>,
}

impl Door {
    pub(crate) async fn bind(config: &NodeConfig, board: Arc<Board>) -> Result<Self, HostError> {
        let listeners = Some(Listeners::bind(config).await?);
        let backend = watch::Sender::new(Backend::Early(Early::default()));
        Ok(Self {
            board,
            backend,
            listeners,
            gateway: None,
        })
    }

    /// Accepts connections from now on.
    pub(crate) fn open(&mut self, config: &NodeConfig) {
        let Some(listeners) = self.listeners.take() else {
            return;
        };
        let serving = Event::Serving {
            address: config.address.clone(),
            bind: listeners
                .bound()
                .map_or_else(String::new, |bound| bound.to_string()),
            unix: listeners.unix_path().map(PathBuf::from),
        };
        self.gateway = Some(Gateway::serve(listeners, config, self.backend.subscribe()));
        self.board.tell(serving);
    }

    /// Leads every connection from now on to the engine.
    pub(crate) fn lead_to(&mut self, config: &NodeConfig, engine: PathBuf) {
        self.backend.send_replace(Backend::Engine(engine));
        self.open(config);
    }

    pub(crate) fn connections(&self) -> u64 {
        self.gateway.as_ref().map_or(0, Gateway::connections)
    }

    pub(crate) async fn drain(&mut self, limit: Duration) -> u64 {
        match &mut self.gateway {
            Some(gateway) => gateway.drain(limit).await,
            None => 0,
        }
    }

    pub(crate) async fn drained(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            gateway.drained().await;
        }
    }
}
