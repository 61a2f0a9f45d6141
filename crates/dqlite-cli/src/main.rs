//! The `dqlite` executable.

mod args;
mod engine_info;
mod exports;
mod log;
mod node;
mod orphan;
mod report;
mod tls;
mod tls_show;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Node(node) => node::run(&node),
        Command::Engine(engine) => engine_info::run(&engine),
        Command::Tls(tls) => tls::run(&tls),
        Command::Wire(wire) => match wire::run(&wire) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("dqlite: {reason:#}");
                ExitCode::FAILURE
            }
        },
    }
}
