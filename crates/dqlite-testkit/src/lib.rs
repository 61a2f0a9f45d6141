//! What the tests of several crates share: a scripted server, real clusters, ports.
//!
//! | module | gives |
//! |---|---|
//! | [`fake_server`] | a server without an engine whose every byte a script decides |
//! | [`cluster`] | real node processes, and the verbs of failure: kill, pause, flip the leader |
//! | [`ask`](mod@ask) | one request to one node, behind its client's back |
//! | [`engine`](mod@engine) | the engine that tests run on |
//! | [`poison`] | the inputs that kill a stock node, tried on any |
//! | [`sqlite`] | a SQLite that is not ours, to read what we wrote |
//! | [`stock`] | stock engines in processes of their own, for comparison |
//! | [`certificates`] | signers and certificates, good and bad |
//! | [`raw`] | a client that sends exactly what a test says |
//! | [`ports`] | ports from the operating system that stay free for a while |

pub mod ask;
pub mod certificates;
pub mod cluster;
pub mod engine;
pub mod fake_server;
pub mod poison;
pub mod ports;
pub mod raw;
pub mod sqlite;
pub mod stock;

pub use cluster::Cluster;
pub use engine::engine;
