//! The client among simulated nodes: leaders change, networks part, nodes are slow or crash, and
//! connections end at any point. Time is simulated too, and everything follows from one seed.
//!
//! What must hold, whatever happens:
//!
//! - a write that was acknowledged is applied exactly once;
//! - a write that failed as not sent or refused is not applied;
//! - no write is applied twice, also those whose outcome is unknown;
//! - every call is back at its deadline;
//! - a pool lends no connection to a leader that it knows to be a former one, and gets all back.
//!
//! Some nodes end statements on INTERRUPT as ours do, some are stock. Flaws planted on purpose show
//! that a breach would be found.
//!
//! `DQLITE_SIM_SEEDS` is the number of seeds, `DQLITE_SIM_SEED` runs one of them again.

mod client;
mod server;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client::{Book, Told};
use world::{Flaw, NODES, Shared, World, host, lock};

/// Seeds where nothing else is said.
const SEEDS: u64 = 1000;
/// Time in which the world is not at rest.
const UNREST_MS: u64 = 3000;
const FAILURES_MAX: usize = 10;
/// Seeds within which a flaw must be found.
const FLAW_SEEDS: u64 = 200;

/// What befalls the world.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nobody leads for a while, then that node does.
    Depose,
    Elect(usize),
    Tell,
    /// The other nodes do not hear it.
    Cut(usize),
    Join(usize),
    /// The clients do not: what is under way is lost.
    Part(usize),
    Repair(usize),
    /// What clients and node say to each other is held up.
    Hold(usize),
    Release(usize),
    Slow(usize, u64),
    Crash(usize),
    Bounce(usize),
}

/// Faults by the millisecond, and peace in the end.
fn plan(seed: u64) -> BTreeMap<u64, Vec<Fault>> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let mut plan: BTreeMap<u64, Vec<Fault>> = BTreeMap::new();
    let mut at = random.u64(0..300);
    while at < UNREST_MS {
        let node = random.usize(..NODES);
        let lasts = at + random.u64(20..900);
        let mut put = |at: u64, fault| plan.entry(at).or_default().push(fault);
        match random.u8(0..8) {
            0..3 => {
                put(at, Fault::Depose);
                put(at + 100 + lasts % 300, Fault::Elect(node));
                put(at + 150 + lasts % 500, Fault::Tell);
            }
            3 => {
                put(at, Fault::Cut(node));
                put(at + 100, Fault::Elect((node + 1) % NODES));
                put(at + 160, Fault::Tell);
                put(lasts + 200, Fault::Join(node));
            }
            4 => {
                put(at, Fault::Part(node));
                put(lasts, Fault::Repair(node));
            }
            5 => {
                put(at, Fault::Hold(node));
                put(lasts, Fault::Release(node));
            }
            6 => {
                put(at, Fault::Slow(node, lasts % 700));
                put(lasts, Fault::Slow(node, 0));
            }
            _ => {
                put(at, Fault::Crash(node));
                put(at + 200, Fault::Elect((node + 1) % NODES));
                put(at + 260, Fault::Tell);
                put(lasts + 300, Fault::Bounce(node));
            }
        }
        at += random.u64(100..900);
    }
    let peace = UNREST_MS + 1500;
    for node in 0..NODES {
        let end = [
            Fault::Bounce(node),
            Fault::Repair(node),
            Fault::Release(node),
        ];
        plan.entry(peace).or_default().extend(end);
        let end = [Fault::Join(node), Fault::Slow(node, 0)];
        plan.entry(peace).or_default().extend(end);
    }
    let end = [Fault::Elect(random.usize(..NODES)), Fault::Tell];
    plan.entry(peace).or_default().extend(end);
    plan
}

fn befall(sim: &mut turmoil::Sim<'_>, world: &Shared, fault: Fault) {
    lock(world).note("fault", fault_number(fault));
    match fault {
        Fault::Depose => lock(world).depose(),
        Fault::Elect(node) => {
            let mut world = lock(world);
            if !world.nodes[node].is_cut {
                world.elect(node);
            }
        }
        Fault::Tell => lock(world).tell(),
        Fault::Cut(node) => lock(world).nodes[node].is_cut = true,
        Fault::Join(node) => {
            let mut world = lock(world);
            world.nodes[node].is_cut = false;
            world.tell();
        }
        Fault::Part(node) => sim.partition("client", host(node)),
        Fault::Repair(node) => sim.repair("client", host(node)),
        Fault::Hold(node) => sim.hold("client", host(node)),
        Fault::Release(node) => sim.release("client", host(node)),
        Fault::Slow(node, pause) => lock(world).nodes[node].pause = Duration::from_millis(pause),
        Fault::Crash(node) => {
            {
                let mut world = lock(world);
                if world.leader == Some(node) {
                    world.depose();
                }
            }
            sim.crash(host(node));
        }
        Fault::Bounce(node) => {
            if !sim.is_host_running(host(node)) {
                sim.bounce(host(node));
            }
        }
    }
}

fn fault_number(fault: Fault) -> u64 {
    format!("{fault:?}").bytes().map(u64::from).sum()
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    trace: u64,
    events: u64,
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    complaints: Vec<String>,
}

/// Plays one seed.
fn play(seed: u64) -> Report {
    play_with(seed, Flaw::None)
}

/// The same with something wrong.
fn play_with(seed: u64, flaw: Flaw) -> Report {
    fastrand::seed(seed);
    let world: Shared = Arc::new(Mutex::new(World::new(seed)));
    lock(&world).flaw = flaw;
    let book = Book::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(10))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(30))
        .simulation_duration(Duration::from_mins(5))
        .tcp_capacity(1024)
        .build();
    for node in 0..NODES {
        let world = Shared::clone(&world);
        sim.host(host(node), move || server::run(node, Shared::clone(&world)));
    }
    sim.client(
        "client",
        client::run(seed, Shared::clone(&world), Book::clone(&book)),
    );
    let mut plan = plan(seed);
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        let now = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        while let Some(due) = plan.first_entry().filter(|due| *due.key() <= now) {
            for fault in due.remove() {
                befall(&mut sim, &world, fault);
            }
        }
        ended = sim.step();
    }
    let mut report = verdict(&world, &book);
    if let Err(error) = ended {
        report
            .complaints
            .push(format!("the simulation ended: {error}"));
    }
    report
}

/// What callers were told, against the truth.
fn verdict(world: &Shared, book: &Book) -> Report {
    let (world, book) = (lock(world), book.lock().expect("no caller panicked"));
    let mut complaints = book.complaints.clone();
    let mut count = [0; 3];
    for (op, told, how) in &book.told {
        let applied = world.applied.get(op).copied().unwrap_or_default();
        let (kind, fits) = match told {
            Told::Done => (0, applied == 1),
            Told::NotDone => (1, applied == 0),
            Told::Unknown => (2, applied <= 1),
        };
        count[kind] += 1;
        if !fits {
            complaints.push(format!(
                "write {op} was applied {applied} times, but {told:?}: {how}"
            ));
        }
    }
    let [acknowledged, refused, unknown] = count;
    Report {
        trace: world.trace,
        events: world.events,
        acknowledged,
        refused,
        unknown,
        complaints,
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_or_done_twice_whatever_happens() {
    if let Some(seed) = number("DQLITE_SIM_SEED") {
        let report = play(seed);
        assert!(report.complaints.is_empty(), "{report:#?}");
        return;
    }
    let seeds = number("DQLITE_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let totals = Mutex::new([0; 3]);
    let started = Instant::now();
    let work = || {
        while failures.lock().expect("no panic here").len() < FAILURES_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let complaints = match catch_unwind(AssertUnwindSafe(|| play(seed))) {
                Ok(report) => {
                    let mut totals = totals.lock().expect("no panic here");
                    totals[0] += report.acknowledged;
                    totals[1] += report.refused;
                    totals[2] += report.unknown;
                    report.complaints
                }
                Err(_) => vec!["panicked".to_owned()],
            };
            if !complaints.is_empty() {
                let failure = (seed, complaints);
                failures.lock().expect("no panic here").push(failure);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let [acknowledged, refused, unknown] = totals.into_inner().expect("no panic here");
    eprintln!(
        "{seeds} seeds in {:.1} s: {acknowledged} writes acknowledged, {refused} refused, \
         {unknown} unknown",
        started.elapsed().as_secs_f64()
    );
    let failures = failures.into_inner().expect("no panic here");
    for (seed, complaints) in &failures {
        eprintln!("seed {seed} (again with DQLITE_SIM_SEED={seed}):");
        for complaint in complaints {
            eprintln!("    {complaint}");
        }
    }
    assert!(failures.is_empty(), "{} seeds failed", failures.len());
    assert!(seeds < 100 || acknowledged > 10 * usize::try_from(seeds).expect("small"));
}

/// A check that never fails proves nothing: each of these is found within a few seeds.
#[test]
fn what_is_wrong_on_purpose_is_found() {
    for flaw in [
        Flaw::Repeats,
        Flaw::Denies,
        Flaw::Believes,
        Flaw::EndedAndDone,
        Flaw::Dawdles,
    ] {
        let found = (0..FLAW_SEEDS).find(|seed| !play_with(*seed, flaw).complaints.is_empty());
        eprintln!("{flaw:?} is found by seed {found:?}");
        assert!(
            found.is_some(),
            "{flaw:?} is not found by {FLAW_SEEDS} seeds"
        );
    }
}

#[test]
fn a_seed_is_played_the_same_way_each_time() {
    for seed in 0..5 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
