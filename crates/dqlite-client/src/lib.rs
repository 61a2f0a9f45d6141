//! Client for dqlite clusters: leader search, connections, cluster administration.
//!
//! ```no_run
//! use dqlite_client::{Config, connect, params};
//!
//! # async fn example() -> dqlite_client::Result<()> {
//! let config = Config::parse("dqlite://h1:9001,h2:9001,h3:9001/app?timeout=5s")?;
//! let mut connection = connect(&config).await?;
//! let table = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)";
//! connection.execute(table, ()).await?;
//!
//! let mut transaction = connection.transaction().await?;
//! transaction.execute("INSERT INTO t (name) VALUES (?)", params!["one"]).await?;
//! transaction.commit().await?;
//!
//! for row in connection.query("SELECT id, name FROM t", ()).await? {
//!     println!("{} {}", row.get::<i64>("id")?, row.get::<String>("name")?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ```text
//!   Config ──► search (PURE): whom to ask, what an answer means ──► a session with the leader
//!                 ▲ acted on by                                          │
//!         leader (tokio)   fd::dial (poll)                  statement, cluster (PURE):
//!                                                           which requests, what came of them
//!                                                                        │ acted on by
//!                                                        Connection (tokio)   blocking, fd
//! ```
//!
//! A connection is one session with one database on the node that leads. The session ends when
//! that node stops leading; [`Connection::is_lost`](blocking::Connection::is_lost) says so, and
//! `reconnect` begins a new one. Clones of a [`Config`] share what was learnt: the leader, the
//! members, what each server can do.
//!
//! # How fresh a read is
//!
//! [`Connection::query`](blocking::Connection::query) asks the leader.
//! [`query_linearizable`](blocking::Connection::query_linearizable) misses nothing that was
//! acknowledged before, for the price of a write. [`local_copy`] reads without asking anybody,
//! from a copy of one node's data that says how old it is.
//!
//! # Errors
//!
//! In a replicated database the question after an error is whether it happened.
//! [`Error::outcome`] answers: `NotSent`, `Refused`, or `Unknown`, and
//! [`Error::is_retryable`] is true only where a repetition cannot do a thing twice. Nothing is
//! repeated behind the caller's back, and every call ends at its deadline.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tls` | yes | [`tls`](mod@tls), `dqlites://`, [`Config::with_tls`] |
//! | `tokio` | yes | [`connect`], [`Connection`], [`cluster::tokio`], [`LocalCopies`] |
//! | `yaml` | yes | [`node_store::YamlFile`] |
//! | `derive` | no | `#[derive(FromRow)]` |
//! | `stream` | no | `Rows::into_stream`, for the combinators of the futures crates |
//! | `deadpool` | no | a manager for pools of `deadpool` |
//! | `refinery` | no | migrations of `refinery` on a [`Connection`] |
//! | `chrono` `jiff` `json` `uuid` | no | [`ToParam`] and [`FromValue`] for types of those crates |
//!
//! The drivers without a runtime, [`blocking`] and [`fd`], are always there.

pub mod address;
pub mod backoff;
pub mod blocking;
mod body;
pub mod breaker;
mod bulk;
mod cache;
mod clock;
pub mod cluster;
pub mod config;
#[cfg(feature = "tokio")]
mod connection;
pub mod convert;
#[cfg(feature = "deadpool")]
pub mod deadpool;
#[cfg(feature = "tokio")]
pub mod dialer;
mod driver;
pub mod error;
mod exchange;
pub mod fd;
mod flight;
mod hello;
#[cfg(feature = "tokio")]
mod leader;
pub mod local_copy;
mod memory;
pub mod node_store;
pub mod params;
pub mod pool;
#[cfg(feature = "refinery")]
pub mod refinery;
pub mod rerun;
pub mod row;
pub mod search;
mod secure;
mod statement;
#[cfg(feature = "tls")]
pub mod tls;
pub mod token;
pub mod transaction;
mod transport;
#[cfg(feature = "tokio")]
mod wire;

pub use address::Address;
pub use bulk::Many;
pub use config::Config;
#[cfg(feature = "stream")]
pub use connection::RowStream;
#[cfg(feature = "tokio")]
pub use connection::{Connection, Rows, Transaction, Work, connect};
pub use convert::{FromRow, FromValue, ToParam};
#[cfg(feature = "derive")]
pub use dqlite_derive::FromRow;
pub use dqlite_proto as proto;
pub use dqlite_proto::{Code, Failure, FailureKind, NodeInfo, Outcome, Retry, Role};
pub use error::{Attempt, AttemptKind, Error, ErrorKind, Result};
#[cfg(feature = "tokio")]
pub use local_copy::tokio::LocalCopies;
pub use local_copy::{Lag, LocalCopy, Stamp};
pub use params::Params;
#[cfg(feature = "tokio")]
pub use pool::Pool;
pub use rerun::Policy;
pub use row::Row;
pub use statement::Done;
pub use token::Token;
pub use transaction::Behavior;
