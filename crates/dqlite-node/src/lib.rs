//! Hosts a dqlite engine: gateway, membership, roles.
//!
//! ```text
//!            ┌─ host ── order of start and stop, commands, events ─┐
//!  clients   │                                                     │
//!  peers ────┼─► gateway ─────────────► engine (C library)         │
//!            │     ▲ early answers        ▲ private connections    │
//!            │   prober, founder        watch, keeper, handover    │
//!            │   who may bootstrap      seat, roles, store         │
//!            └─ data_dir: lock, identity, members ─────────────────┘
//! ```
//!
//! Decisions are pure ([`founder`], [`roles`], [`data_dir::plan`]); loops act on them. A process
//! hosts one node: [`host::run`] lives from the lock of the directory to its release.

mod address;
mod board;
mod clerk;
pub mod config;
pub mod damage;
pub mod data_dir;
pub mod engine;
pub mod error;
pub mod event;
mod explain;
pub mod founder;
mod gateway;
mod handover;
mod health;
pub mod host;
pub mod in_flight;
pub mod info;
pub mod joining;
mod keeper;
mod leader;
pub mod leave;
pub mod live;
mod lock;
mod peer;
mod peers;
mod prober;
mod rejoin;
pub mod roles;
mod round;
mod seat;
mod size;
mod status;
mod stop;
mod tls;
mod validate;
mod watch;
pub mod watchdog;

pub use config::{Complaint, NodeConfig};
pub use error::{HostError, Stage};
