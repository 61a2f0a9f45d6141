//! Client for dqlite clusters: leader search, connections, cluster administration.

pub mod address;
pub mod backoff;
pub mod blocking;
pub mod cluster;
pub mod config;
#[cfg(feature = "tokio")]
mod connection;
pub mod convert;
pub mod error;
mod exchange;
pub mod fd;
mod hello;
#[cfg(feature = "tokio")]
mod leader;
mod memory;
pub mod node_store;
pub mod params;
pub mod row;
pub mod search;
mod statement;
pub mod transaction;
mod transport;
#[cfg(feature = "tokio")]
mod wire;

pub use address::Address;
pub use config::Config;
#[cfg(feature = "tokio")]
pub use connection::{Connection, Transaction, connect};
pub use convert::{FromValue, ToParam};
pub use dqlite_proto as proto;
pub use dqlite_proto::{Code, Failure, FailureKind, NodeInfo, Outcome, Retry, Role};
pub use error::{Attempt, AttemptKind, Error, ErrorKind, Result};
pub use params::Params;
pub use row::Row;
pub use statement::Done;
pub use transaction::Behavior;
