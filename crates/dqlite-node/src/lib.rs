//! Hosts a dqlite engine: gateway, membership, roles.

mod address;
mod board;
pub mod config;
pub mod data_dir;
pub mod engine;
pub mod error;
pub mod event;
pub mod founder;
mod gateway;
mod handover;
mod health;
pub mod host;
pub mod info;
mod keeper;
mod leader;
mod lock;
mod peer;
mod prober;
pub mod roles;
mod round;
mod seat;
mod validate;
mod watch;

pub use config::{Complaint, NodeConfig};
pub use error::{HostError, Stage};
