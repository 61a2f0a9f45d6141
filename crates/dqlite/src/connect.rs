//! Client connections that begin at the node.

#[cfg(feature = "tls")]
use dqlite_client::tls::Tls;
use dqlite_client::{Address, Config, blocking};

use crate::node::Node;
use crate::node_error::NodeError;

impl Node {
    /// How a client reaches the cluster through this node: its Unix socket first, then its
    /// address, then the other members. Clones of it share what they learn of the leader.
    pub fn client(&self, database: &str) -> Result<Config, NodeError> {
        self.check_running()?;
        let own = Address::advertised(self.address())?;
        let socket = self.socket_path();
        let socket = socket.map(|path| Address::unix(path, Some(own.clone())));
        let mut hosts: Vec<Address> = socket.into_iter().chain([own]).collect();
        let members = self.members().into_iter().map(|member| member.address);
        for other in self.settings.cluster.iter().cloned().chain(members) {
            // A member that joined under an address that is none cannot be dialled anyway.
            let Ok(other) = Address::advertised(&other) else {
                continue;
            };
            if !hosts.contains(&other) {
                hosts.push(other);
            }
        }
        self.secured(Config::new(hosts).with_database(database))
    }

    /// With the node's own certificate, if the node speaks TLS: who has started it may.
    #[cfg(feature = "tls")]
    fn secured(&self, config: Config) -> Result<Config, NodeError> {
        match self.settings.tls() {
            None => Ok(config),
            Some(files) => Tls::load(files)
                .map(|tls| config.with_tls(tls))
                .map_err(|error| dqlite_client::Error::from(error).into()),
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "its twin may fail"
    )]
    fn secured(&self, config: Config) -> Result<Config, NodeError> {
        Ok(config)
    }

    /// A connection to the leader, wherever it is, that blocks the calling thread.
    pub fn connect_blocking(&self, database: &str) -> Result<blocking::Connection, NodeError> {
        Ok(blocking::Connection::open(&self.client(database)?)?)
    }

    /// A connection to the leader, wherever it is.
    #[cfg(feature = "tokio")]
    pub async fn connect(&self, database: &str) -> Result<dqlite_client::Connection, NodeError> {
        Ok(dqlite_client::connect(&self.client(database)?).await?)
    }
}
