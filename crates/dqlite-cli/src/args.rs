//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::engine_info::Engine;
use crate::tls::Tls;
use crate::wire::Wire;

/// Replicated SQLite: nodes and tools of dqlite.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node, controlled by the program that started it.
    Node(Node),
    /// Look at engines.
    #[command(subcommand)]
    Engine(Engine),
    /// Make certificates.
    #[command(subcommand)]
    Tls(Tls),
    /// Look at captures of the protocol.
    #[command(subcommand)]
    Wire(Wire),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Node {
    /// Where the configuration comes from and events go to.
    #[arg(long, value_enum)]
    pub(crate) control: Control,
    /// The engine: a bundle directory or a libdqlite.so.
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Control {
    /// JSON lines on stdin and stdout; the node stops when stdin ends.
    Stdio,
}
