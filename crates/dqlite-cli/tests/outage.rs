//! How long writes are blocked when the leader of three nodes goes: three trials, or as many as
//! `DQLITE_TRIALS` says, with the figures on stdout.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and report what they measured, too"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::{Config, Outcome};
use dqlite_testkit::Cluster;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const DATABASE: &str = "app";
const WRITERS: usize = 4;
/// The longest time without an acknowledged write, on a machine that is busy with other tests.
const OUTAGE_MAX: Duration = Duration::from_secs(5);
const SETTLED: Duration = Duration::from_millis(300);

fn trials() -> usize {
    let wanted = std::env::var("DQLITE_TRIALS").ok();
    wanted.map_or(3, |wanted| wanted.parse().unwrap())
}

fn config(cluster: &Cluster) -> Config {
    let config = Config::parse(&cluster.addresses().join(",")).unwrap();
    let config = config.with_database(DATABASE);
    let mut config = config.with_timeout(Duration::from_secs(5));
    config.connect_timeout = Duration::from_secs(10);
    config
}

/// Threads that write numbers for as long as they are let.
struct Load {
    config: Config,
    next: AtomicI64,
    over: AtomicBool,
}

/// What one writer was told, and when.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(Instant, i64)>,
    refused: Vec<i64>,
    unknown: Vec<i64>,
}

impl Load {
    fn new(cluster: &Cluster) -> Self {
        let config = config(cluster);
        let mut connection = Connection::open(&config).unwrap();
        connection
            .execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)", ())
            .unwrap();
        Self {
            config,
            next: AtomicI64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Writes while `trial` runs, and a little before and after; gives all that was told.
    fn around(&self, trial: impl FnOnce()) -> Vec<Told> {
        self.over.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| self.write())).collect();
            thread::sleep(SETTLED);
            trial();
            thread::sleep(SETTLED);
            self.over.store(true, Ordering::SeqCst);
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        })
    }

    /// Nothing is sent twice; each writer ends with an acknowledged write.
    fn write(&self) -> Told {
        let mut told = Told::default();
        let mut connection = None;
        let mut done = false;
        while !(done && self.over.load(Ordering::SeqCst)) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let written = match connection.take() {
                Some(connection) => Ok(connection),
                None => Connection::open(&self.config),
            };
            let written = written.and_then(|mut open| {
                open.execute("INSERT INTO numbers (n) VALUES (?)", (n,))?;
                Ok(open)
            });
            done = written.is_ok();
            match written {
                Ok(open) => {
                    connection = Some(open);
                    told.acknowledged.push((Instant::now(), n));
                }
                Err(error) if error.outcome() == Outcome::Unknown => told.unknown.push(n),
                Err(_) => told.refused.push(n),
            }
        }
        told
    }

    /// Every acknowledged number is there, and no refused one.
    fn check(&self, told: &[Told]) {
        let mut connection = Connection::open(&self.config).unwrap();
        let rows = connection.query("SELECT n FROM numbers", ()).unwrap();
        let found: BTreeSet<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        for one in told {
            let missing = one.acknowledged.iter().find(|(_, n)| !found.contains(n));
            assert_eq!(missing, None, "acknowledged and missing");
            let ghost = one.refused.iter().find(|n| found.contains(n));
            assert_eq!(ghost, None, "refused and there");
        }
    }
}

/// The longest time without any acknowledged write.
fn outage(told: &[Told]) -> Duration {
    let mut times: Vec<Instant> = told
        .iter()
        .flat_map(|one| one.acknowledged.iter().map(|(at, _)| *at))
        .collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap();
    assert!(longest < OUTAGE_MAX, "no write for {longest:?}");
    longest
}

/// The longest time that any single writer waited between two of its acknowledged writes.
fn stall(told: &[Told]) -> Duration {
    let of = |one: &Told| {
        let gaps = one.acknowledged.windows(2);
        gaps.map(|pair| pair[1].0 - pair[0].0).max()
    };
    told.iter().filter_map(of).max().unwrap()
}

fn report(what: &str, mut measured: Vec<Duration>) {
    measured.sort_unstable();
    let at = |share: f64| {
        let last = measured.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a short list"
        )]
        let index = (share * last as f64).round() as usize;
        measured[index]
    };
    println!(
        "{what}, {} trials: p50 {:?}, p90 {:?}, max {:?}",
        measured.len(),
        at(0.5),
        at(0.9),
        at(1.0),
    );
}

/// Takes the leader away again and again, and brings the node back each time.
fn measure(what: &str, take_away: impl Fn(&Cluster, usize)) {
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    let load = Load::new(&cluster);
    let (mut outages, mut stalls) = (Vec::new(), Vec::new());
    let (mut refused, mut unknown) = (0, 0);
    for _ in 0..trials() {
        cluster.wait_for_voters(3).unwrap();
        cluster.wait_until_caught_up(DATABASE).unwrap();
        let leader = cluster.wait_for_leader().unwrap();
        let told = load.around(|| take_away(&cluster, leader));
        outages.push(outage(&told));
        stalls.push(stall(&told));
        refused += told.iter().map(|one| one.refused.len()).sum::<usize>();
        unknown += told.iter().map(|one| one.unknown.len()).sum::<usize>();
        println!(
            "{what}: {:?}, one writer {:?}",
            outages.last(),
            stalls.last()
        );
        load.check(&told);
        cluster.start_node(leader).unwrap();
    }
    report(&format!("{what}, writes blocked"), outages);
    report(
        &format!("{what}, longest wait of one of {WRITERS} writers"),
        stalls,
    );
    println!("{what}: {refused} refused, {unknown} with unknown outcome");
}

#[test]
fn a_planned_stop_hardly_blocks_writes() {
    measure("planned stop", |cluster, leader| {
        let stopped = cluster.stop_node(leader).unwrap();
        assert!(stopped.handed_over && !stopped.killed, "{stopped:?}");
    });
}

#[test]
fn a_killed_leader_blocks_writes_for_an_election() {
    measure("killed leader", |cluster, leader| {
        cluster.kill(leader).unwrap();
        cluster.wait_for_leader_but(Some(leader)).unwrap();
    });
}
