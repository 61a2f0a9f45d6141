//! Tries the table of poison on nodes and prints what came of it.
//!
//! ```text
//! cargo run -p dqlite-testkit --bin poison -- --stock [P16 P22 ...]
//! cargo run -p dqlite-testkit --bin poison -- --executable target/debug/dqlite [P16 ...]
//! ```
//!
//! `--stock` shows which inputs still kill the engine as it is packaged: a row that a new engine
//! survives needs its remedy no longer. Rows that cost gigabytes or minutes run with
//! `DQLITE_POISON=slow`, or when they are named.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use dqlite_testkit::poison::{Cost, Kind, Row, TABLE, attempt};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let kind = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--stock"), first) => Some((Kind::Stock, first)),
        (Some("--executable"), Some(path)) => Some((Kind::Ours(PathBuf::from(path)), None)),
        _ => None,
    };
    let Some((kind, first)) = kind else {
        eprintln!("usage: poison --stock [ROW ...] | --executable PATH [ROW ...]");
        return ExitCode::FAILURE;
    };
    let names: Vec<String> = first.into_iter().chain(arguments).collect();
    match table(&kind, &names) {
        Ok(0) => ExitCode::SUCCESS,
        // What a stock engine does is shown, not judged.
        Ok(_) if matches!(kind, Kind::Stock) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Prints a line for each row; gives how many were not remedied.
fn table(kind: &Kind, names: &[String]) -> io::Result<usize> {
    let slow = env::var_os("DQLITE_POISON").is_some_and(|how| how == "slow");
    let wanted = |row: &&Row| {
        if names.is_empty() {
            slow || is_cheap(kind, row)
        } else {
            names.iter().any(|name| name == row.id)
        }
    };
    let mut out = io::stdout().lock();
    let mut bad = 0;
    for row in TABLE.iter().copied().flatten().filter(wanted) {
        let report = attempt(kind, row);
        bad += usize::from(!report.is_remedied());
        let state = report.state.lines().next().unwrap_or_default();
        writeln!(out, "{:9} {:55} {state}", row.id, row.input)?;
        for line in summary(report.seen.iter()) {
            writeln!(out, "{:12}{line}", "")?;
        }
        let beyond = |line: &&String| **line != report.state;
        for line in summary(report.complaints.iter().filter(beyond)) {
            writeln!(out, "{:10}! {line}", "")?;
        }
        out.flush()?;
    }
    Ok(bad)
}

fn is_cheap(kind: &Kind, row: &Row) -> bool {
    match row.cost {
        Cost::Little => true,
        Cost::MuchOnStock => matches!(kind, Kind::Ours(_)),
        Cost::Much => false,
    }
}

/// The first lines, each cut to the width of a page.
fn summary<'a>(lines: impl Iterator<Item = &'a String>) -> impl Iterator<Item = String> {
    lines.take(8).map(|line| line.chars().take(100).collect())
}
