//! Replicated SQLite for Rust: an embedded, supervised node and a cluster client.

mod address;
mod builder;
mod child;
pub mod control;
mod error;
mod facts;
mod launch;
mod life;
mod node;
mod options;
mod restart;
mod settings;
mod supervisor;
mod view;

pub use builder::NodeBuilder;
pub use error::{Complaint, NodeError};
pub use node::Node;
pub use view::{EngineInfo, Event, Leader, Stopped};
