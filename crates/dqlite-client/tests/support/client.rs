//! Both drivers behind one face, so that every behaviour is proven of both.

use dqlite_client::proto::Value;
use dqlite_client::{Config, Done, Result, Row, blocking};
use tokio::runtime::Runtime;

use crate::support::runtime;

pub(crate) enum Client {
    Blocking(blocking::Connection),
    Tokio(Runtime, dqlite_client::Connection),
}

/// A connection of each kind.
pub(crate) fn clients(config: &Config) -> [Client; 2] {
    [
        Client::blocking(config).unwrap(),
        Client::tokio(config).unwrap(),
    ]
}

impl Client {
    pub(crate) fn blocking(config: &Config) -> Result<Self> {
        blocking::Connection::open(config).map(Self::Blocking)
    }

    pub(crate) fn tokio(config: &Config) -> Result<Self> {
        let runtime = runtime();
        let connection = runtime.block_on(dqlite_client::connect(config))?;
        Ok(Self::Tokio(runtime, connection))
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<Done> {
        match self {
            Self::Blocking(connection) => connection.execute(sql, params),
            Self::Tokio(runtime, connection) => runtime.block_on(connection.execute(sql, params)),
        }
    }

    pub(crate) fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        match self {
            Self::Blocking(connection) => connection.query(sql, params),
            Self::Tokio(runtime, connection) => runtime.block_on(connection.query(sql, params)),
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Blocking(connection) => connection.is_lost(),
            Self::Tokio(_, connection) => connection.is_lost(),
        }
    }

    pub(crate) fn reconnect(&mut self) -> Result<()> {
        match self {
            Self::Blocking(connection) => connection.reconnect(),
            Self::Tokio(runtime, connection) => runtime.block_on(connection.reconnect()),
        }
    }

    /// Runs statements in a transaction and commits it, unless told to drop it.
    pub(crate) fn transaction(&mut self, statements: &[&str], commit: bool) -> Result<()> {
        match self {
            Self::Blocking(connection) => {
                let mut transaction = connection.transaction()?;
                for sql in statements {
                    transaction.execute(sql, ())?;
                }
                if commit { transaction.commit() } else { Ok(()) }
            }
            Self::Tokio(runtime, connection) => runtime.block_on(async {
                let mut transaction = connection.transaction().await?;
                for sql in statements {
                    transaction.execute(sql, ()).await?;
                }
                if commit {
                    transaction.commit().await
                } else {
                    Ok(())
                }
            }),
        }
    }
}
