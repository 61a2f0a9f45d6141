//! Client for dqlite clusters: leader search, connections, cluster administration.

pub mod address;
pub mod backoff;
pub mod config;
pub mod error;
mod exchange;
pub mod fd;
mod hello;
mod memory;
pub mod node_store;
pub mod search;
mod transport;

pub use dqlite_proto as proto;
pub use dqlite_proto::{Code, Failure, FailureKind, NodeInfo, Outcome, Retry, Role};
pub use address::Address;
pub use config::Config;
pub use error::{Attempt, AttemptKind, Error, ErrorKind, Result};
