//! Replicated SQLite for Rust: an embedded, supervised node and a cluster client.
//!
//! dqlite is SQLite whose writes go through raft: three nodes hold the same database, and any one
//! of them may die. A [`Node`] is one of them, started and looked after by your program; the
//! client finds the node that leads and follows it. Everything of the client is re-exported here.
//!
//! ```text
//!  your process                          a process of its own            other nodes
//! ┌─────────────────────────┐ JSON lines ┌──────────────────────────┐
//! │ Node ── supervisor ─────┼───────────►│ dqlite node: gateway and │  raft  ┌───────┐
//! │                         │ Unix socket│ engine                   │◄──────►│       │
//! │ Connection ─────────────┼───────────►│                          │        └───────┘
//! └─────────────────────────┘            └──────────────────────────┘
//! ```
//!
//! # A node and a statement
//!
//! ```no_run
//! use dqlite::{Node, params};
//!
//! # #[cfg(feature = "tokio")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("10.0.0.1:9001", "/var/lib/app/dqlite")
//!     .cluster(["10.0.0.1:9001", "10.0.0.2:9001", "10.0.0.3:9001"])
//!     .start()?;
//! let mut connection = node.connect("app").await?;
//! connection.execute("INSERT INTO people (name) VALUES (?)", params!["Ada"]).await?;
//! for row in connection.query("SELECT id, name FROM people", ()).await? {
//!     println!("{}: {}", row.get::<i64>("id")?, row.get::<String>("name")?);
//! }
//! node.stop()?;
//! # Ok(()) }
//! ```
//!
//! [`Node::connect_blocking`] is the same without a runtime. A program that only talks to a
//! cluster needs no node: see [`Config`] and [`blocking::Connection`].
//!
//! # What a node does by itself
//!
//! | what happens | what the node does |
//! |---|---|
//! | first start with a list | the first of the list forms the cluster, the others join it |
//! | restart | comes back with its identity and its data |
//! | its process crashes, or shows no sign of life | is started again, with back-off |
//! | it crashes again and again | stays down as `failed`, with the reason and the end of its log |
//! | [`Node::stop`], or the node is dropped | gives leadership away, ends; killed if that is slow |
//! | your program ends, however it ends | stops within three seconds; no process is left behind |
//!
//! The engine never runs in your process: whatever it does, your program sees an error of a
//! connection. That error says whether the statement may have happened: see [`Outcome`].
//!
//! # States
//!
//! ```text
//!  starting ─► forming, joining ─► catching-up ─► ready ◄─► no-leader
//!  any ─► draining ─► stopped        any ─► restarting ─► starting        any ─► failed
//! ```
//!
//! [`Node::start`] returns as soon as the node serves, so that one thread may start several;
//! [`Node::wait_ready`] waits for the rest. [`Node::events`] tells every change.
//!
//! # The engine and the executable
//!
//! A node needs the executable `dqlite` and libdqlite 1.18.2 or newer. Both are searched for in
//! the usual places or named by [`NodeBuilder::executable`] and [`NodeBuilder::engine`]; when one
//! is missing the error lists every place that was tried. The client needs neither.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tokio` | yes | the asynchronous client |
//! | `yaml` | yes | files with the addresses of a cluster, as go-dqlite writes them |

mod builder;
mod child;
mod commands;
mod connect;
pub mod control;
mod crash;
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
mod words;

pub use dqlite_client::*;

pub use builder::NodeBuilder;
pub use commands::Changes;
pub use crash::CrashReport;
pub use node::Node;
pub use node_error::{Complaint, NodeError};
pub use view::{EngineInfo, Event, Leader, Stopped};
pub use words::{InitialState, LogLevel, OnDamage, TlsVersion, TrailingStrategy, TwoNode};
