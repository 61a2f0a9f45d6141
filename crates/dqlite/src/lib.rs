//! Replicated SQLite for Rust: an embedded, supervised node and a cluster client.

mod builder;
mod child;
mod connect;
pub mod control;
mod facts;
mod launch;
mod life;
mod node;
mod node_error;
mod options;
mod restart;
mod settings;
mod supervisor;
mod view;

pub use dqlite_client::*;

pub use builder::NodeBuilder;
pub use node::Node;
pub use node_error::{Complaint, NodeError};
pub use view::{EngineInfo, Event, Leader, Stopped};
