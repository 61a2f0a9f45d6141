//! Connections for pools of the crate `deadpool`.
//!
//! [`Pool`](crate::Pool) knows more: it hears of a new leader from any connection and replaces
//! the others before they are asked for. This is for programs whose other pools are of `deadpool`.

use ::deadpool::managed;

use crate::clock;
use crate::config::Config;
use crate::connection::{Connection, connect};
use crate::error::Error;

/// A pool of connections.
pub type Pool = managed::Pool<Manager>;

/// Opens connections, and looks at those that come back: what their last user left is rolled back,
/// and the server is asked whether it still leads. One round trip for each that is lent again.
///
/// That happens when they are lent, because `deadpool` does not tell when they come back: end
/// transactions before. One that was dropped keeps the write lock until then.
///
/// ```no_run
/// use dqlite_client::{Config, deadpool::{Manager, Pool}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::new(&Config::parse("h1:9001,h2:9001/app")?);
/// let pool = Pool::builder(manager).max_size(8).build()?;
/// let row = pool.get().await?.query_one("SELECT count(*) FROM t", ()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Manager {
    config: Config,
}

impl Manager {
    /// For the database of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        connect(&self.config).await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &managed::Metrics,
    ) -> managed::RecycleResult<Error> {
        let leader = self.config.leader();
        if leader.is_some_and(|leader| leader != *connection.server()) {
            return Err(managed::RecycleError::message("another node leads"));
        }
        let deadline = clock::after(self.config.connect_timeout.min(self.config.timeout));
        connection.reset(deadline).await?;
        Ok(connection.check(deadline).await?)
    }
}
