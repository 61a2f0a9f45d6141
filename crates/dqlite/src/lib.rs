//! Replicated SQLite for Rust: an embedded, supervised node and a cluster client.

pub mod control;
