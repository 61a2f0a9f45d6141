//! Many writers: commits per second of three nodes of ours beside three stock ones.
//!
//! ```text
//! cargo build --release -p dqlite-cli -p dqlite-testkit
//! target/release/writers target/release/dqlite [SECONDS [REPETITIONS]]
//! ```
//!
//! Both clusters run at the same time, with their data on the same disk, and take turns. The
//! writers of the stock nodes try again when the database is busy: at once, or after the pauses
//! that SQLite's own busy handler makes; ours wait in the engine's queue. Medians are printed.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_proto::Code;
use dqlite_testkit::poison::wire::Wire;
use dqlite_testkit::poison::{Fixture, Kind, Victim};

/// What the busy handler of SQLite's shell and drivers waits, in milliseconds.
const PAUSES: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
const PATIENCE: Duration = Duration::from_secs(20);

/// What a writer does when the database is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    AtOnce,
    Pausing,
}

/// What came of one turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    commits_per_s: f64,
    busy: u64,
    errors: u64,
}

/// One cluster, and how it is written to.
struct Side<'a> {
    name: &'static str,
    victim: &'a Victim,
    retry: Retry,
    turns: Vec<Turn>,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(executable) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: writers EXECUTABLE [SECONDS [REPETITIONS]]");
        return ExitCode::FAILURE;
    };
    let mut number = |usual: u64| {
        let given = arguments.next().and_then(|text| text.parse().ok());
        given.unwrap_or(usual)
    };
    let (seconds, repetitions) = (number(5), number(5));
    match compare(&executable, Duration::from_secs(seconds), repetitions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("writers: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn compare(executable: &Path, length: Duration, repetitions: u64) -> io::Result<()> {
    let start = |kind: &Kind| Victim::start(kind, &Fixture::THREE).map_err(io::Error::other);
    let ours = start(&Kind::Ours(executable.to_owned()))?;
    let stock = start(&Kind::Stock)?;
    let side = |name, victim, retry| Side {
        name,
        victim,
        retry,
        turns: Vec::new(),
    };
    let mut out = io::stdout().lock();
    for (writers, databases) in [(64, 1), (8, 8)] {
        let mut sides = [
            side("ours", &ours, Retry::AtOnce),
            side("stock, retry at once", &stock, Retry::AtOnce),
            side("stock, retry after pauses", &stock, Retry::Pausing),
        ];
        for _ in 0..repetitions {
            for side in &mut sides {
                let turn = turn(side, writers, databases, length)?;
                side.turns.push(turn);
            }
        }
        writeln!(
            out,
            "{writers} writers on {databases} databases of three nodes"
        )?;
        let base = median(&sides[0]);
        for side in &sides {
            let total = |of: fn(&Turn) -> u64| side.turns.iter().map(of).sum::<u64>();
            let each: Vec<_> = side
                .turns
                .iter()
                .map(|turn| format!("{:.0}", turn.commits_per_s))
                .collect();
            let median = median(side);
            writeln!(
                out,
                "  {:26} {median:8.0} commits/s  ours is {:5.2} x  BUSY {:8}  errors {:3}  ({})",
                side.name,
                base / median,
                total(|turn| turn.busy),
                total(|turn| turn.errors),
                each.join(" ")
            )?;
        }
        out.flush()?;
    }
    Ok(())
}

fn median(side: &Side<'_>) -> f64 {
    let mut rates: Vec<_> = side.turns.iter().map(|turn| turn.commits_per_s).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Lets the writers write for a while.
fn turn(side: &Side<'_>, writers: usize, databases: usize, length: Duration) -> io::Result<Turn> {
    let nobody = || io::Error::other("nobody leads");
    let leader = side.victim.leader(PATIENCE).ok_or_else(nobody)?;
    let mut wires = Vec::new();
    for writer in 0..writers {
        let mut wire = Wire::dial(&leader)?;
        wire.open(&format!("w{databases}-{}", writer % databases));
        if writer < databases {
            let answer = wire.exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)");
            if !answer.is_fine() {
                return Err(io::Error::other(answer.to_string()));
            }
        }
        wires.push(wire);
    }
    let (commits, busy, errors) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (over, ready) = (AtomicBool::new(false), Barrier::new(writers + 1));
    let mut took = Duration::ZERO;
    thread::scope(|scope| {
        for wire in &mut wires {
            scope.spawn(|| {
                ready.wait();
                let mut refusals = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = wire.exec("INSERT INTO t(v) VALUES(random())");
                    let is_busy = answer.code() == Some(Code::BUSY.0);
                    let counter = if answer.is_fine() {
                        &commits
                    } else if is_busy {
                        &busy
                    } else {
                        &errors
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    refusals = if is_busy { refusals + 1 } else { 0 };
                    if is_busy && side.retry == Retry::Pausing {
                        let pause = PAUSES[(refusals - 1).min(PAUSES.len() - 1)];
                        thread::sleep(Duration::from_millis(pause));
                    }
                }
            });
        }
        ready.wait();
        let begun = Instant::now();
        thread::sleep(length);
        over.store(true, Ordering::Relaxed);
        took = begun.elapsed();
    });
    let commits = u32::try_from(commits.into_inner()).unwrap_or(u32::MAX);
    Ok(Turn {
        commits_per_s: f64::from(commits) / took.as_secs_f64(),
        busy: busy.into_inner(),
        errors: errors.into_inner(),
    })
}
