//! Proof that nothing is lost and nothing happens twice: writers count while leaders are killed.
//!
//! ```text
//! drill-exact [SECONDS] [EXECUTABLE]     60 seconds; the `dqlite` beside this program
//! ```
//!
//! Eight writers add to one counter in transactions that are run again where that is safe, half of
//! the time without tokens and half of it with them, while the leader of three nodes is killed
//! with SIGKILL again and again. Without tokens acknowledged <= final <= acknowledged + unknown
//! must hold, with tokens final == acknowledged. The last line is the verdict, and so is the exit
//! status.

#![expect(
    clippy::print_stdout,
    reason = "a program that reports to its terminal"
)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dqlite::{Config, Connection, ErrorKind, Outcome, Policy, Token, connect};
use dqlite_testkit::Cluster;

const WRITERS: usize = 8;
/// Between the death of one leader and that of the next.
const PEACE: Duration = Duration::from_secs(2);

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What writers were told.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    acknowledged: i64,
    refused: i64,
    unknown: i64,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
        }
    }
}

fn main() -> ExitCode {
    match drill() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn drill() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let executable = match arguments.next() {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("dqlite"),
    };
    let cluster = Cluster::start(&executable, 3)?;
    let config = Config::parse(&cluster.addresses().join(","))?
        .with_database("drill")
        .with_timeout(Duration::from_secs(5));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let half = Duration::from_secs(seconds) / 2;
    let mut is_exact = true;
    for with_tokens in [false, true] {
        let table = if with_tokens { "exact" } else { "bounded" };
        runtime.block_on(prepare(&config, table))?;
        let (tally, kills) = phase(&cluster, &runtime, &config, half, with_tokens)?;
        let last = runtime.block_on(read(&config, table))?;
        let most = tally.acknowledged + tally.unknown;
        let holds = if with_tokens {
            last == tally.acknowledged && tally.unknown == 0
        } else {
            (tally.acknowledged..=most).contains(&last)
        };
        is_exact &= holds && kills > 0;
        println!(
            "{} tokens: {kills} leaders killed, {} acknowledged, {} refused, {} unknown, final \
             {last}: {}",
            if with_tokens { "with" } else { "without" },
            tally.acknowledged,
            tally.refused,
            tally.unknown,
            if holds { "holds" } else { "DOES NOT HOLD" }
        );
    }
    println!("{}", if is_exact { "EXACT" } else { "FAILED" });
    Ok(is_exact)
}

async fn prepare(config: &Config, table: &str) -> Result<()> {
    let mut connection = connect(config).await?;
    let script = format!(
        "CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER NOT NULL); \
         INSERT INTO {table} VALUES (1, 0)"
    );
    Ok(connection.execute_batch(&script).await?)
}

async fn read(config: &Config, table: &str) -> Result<i64> {
    let mut connection = connect(config).await?;
    let sql = format!("SELECT n FROM {table}");
    let rows = connection.query_linearizable(&sql, ()).await?;
    Ok(rows.first().ok_or("the counter is gone")?.get(0)?)
}

/// Writers at work while leaders die; afterwards all nodes run.
fn phase(
    cluster: &Cluster,
    runtime: &tokio::runtime::Runtime,
    config: &Config,
    time: Duration,
    with_tokens: bool,
) -> Result<(Tally, u32)> {
    let until = Instant::now() + time;
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| runtime.spawn(write(config.clone(), Arc::clone(&is_over), with_tokens)))
        .collect();
    let mut kills = 0;
    while Instant::now() + PEACE < until {
        std::thread::sleep(PEACE);
        let leader = cluster.wait_for_leader()?;
        cluster.kill(leader)?;
        kills += 1;
        cluster.wait_for_leader_but(Some(leader))?;
        cluster.start_node(leader)?;
        cluster.wait_for_voters(3)?;
    }
    is_over.store(true, Ordering::Release);
    let mut tally = Tally::default();
    for writer in writers {
        tally = tally.add(runtime.block_on(writer)??);
    }
    Ok((tally, kills))
}

async fn write(config: Config, is_over: Arc<AtomicBool>, with_tokens: bool) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = connect(&config).await?;
    // With tokens every doubt can be cleared, if there is time enough for the next election.
    let policy = Policy::default()
        .with_attempts(1000)
        .with_timeout(Duration::from_secs(30));
    while !is_over.load(Ordering::Acquire) {
        let token = with_tokens.then(Token::random);
        match add(&mut connection, &policy, token.as_ref()).await {
            Ok(()) => tally.acknowledged += 1,
            Err(error) if error.outcome() == Outcome::Unknown => {
                assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error}");
                tally.unknown += 1;
            }
            Err(_) => tally.refused += 1,
        }
    }
    Ok(tally)
}

async fn add(
    connection: &mut Connection,
    policy: &Policy,
    token: Option<&Token>,
) -> dqlite::Result<()> {
    let sql = if token.is_some() {
        "UPDATE exact SET n = n + 1"
    } else {
        "UPDATE bounded SET n = n + 1"
    };
    connection
        .with_transaction_as(policy, token, |transaction| {
            Box::pin(async { transaction.execute(sql, ()).await.map(drop) })
        })
        .await
}
