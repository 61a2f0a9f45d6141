//! Both drivers behind one face, so that every behaviour is proven of both.

use std::rc::Rc;
use std::time::Duration;

use dqlite_client::pool::Options;
use dqlite_client::proto::Value;
use dqlite_client::{Config, Done, Outcome, Result, Row, blocking, cluster, params};
use dqlite_testkit::fake_server::FakeServer;
use tokio::runtime::Runtime;

use crate::support::{config, modern, runtime};

pub(crate) enum Client {
    Blocking(blocking::Connection),
    Tokio(Runtime, dqlite_client::Connection),
}

/// A connection of each kind.
pub(crate) fn clients(config: &Config) -> [Client; 2] {
    [
        Client::blocking(config).expect("a connection"),
        Client::tokio(config).expect("a connection"),
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

    /// The time for the next call.
    pub(crate) fn within(&mut self, time: Duration) -> &mut Self {
        match self {
            Self::Blocking(connection) => drop(connection.within(time)),
            Self::Tokio(_, connection) => drop(connection.within(time)),
        }
        self
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

/// Futures go to other threads, even when their parameters may not.
#[test]
fn futures_are_send() {
    fn is_send<F: Send>(future: F) -> F {
        future
    }
    let server = FakeServer::start(modern).unwrap();
    let config = config(&[server.address()]);
    runtime().block_on(async {
        let mut connection = is_send(dqlite_client::connect(&config)).await.unwrap();
        let here = Rc::new("here".to_owned());
        let rows = is_send(connection.query("SELECT ?", params![here.as_str()])).await;
        assert_eq!(rows.unwrap().len(), 1);
        let pool = dqlite_client::Pool::new(&config, Options::default()).unwrap();
        let rows = is_send(pool.query("SELECT ?", params![here.as_str()])).await;
        assert_eq!(rows.unwrap().len(), 1);
        let error = pool.query("SELECT ?", ()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent);
        let transaction = is_send(connection.transaction()).await.unwrap();
        is_send(transaction.commit()).await.unwrap();
        let mut admin = cluster::tokio::Admin::new(&config);
        assert_eq!(is_send(admin.cluster()).await.unwrap().len(), 1);
    });
}
