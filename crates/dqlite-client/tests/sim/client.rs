//! Callers that write through a pool and remember what they were told.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dqlite_client::dialer::{Dialer, Dialling, Socket};
use dqlite_client::pool::Options;
use dqlite_client::{Address, Config, Error, ErrorKind, Outcome, Pool};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{Flaw, NODES, Op, Shared, address, lock};

/// Time for a call, to connect, and to get a connection.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1500);
/// What a call may need beyond: ending a statement, and the coarse clock.
const SLACK: Duration = Duration::from_millis(500);
/// What a pool gives a connection that comes back dirty.
const CLEANING: Duration = Duration::from_secs(5);
const CALLERS: u64 = 4;
const CALLS: u64 = 8;

/// What a caller knows of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    NotDone,
    Unknown,
}

/// What callers were told, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) told: Vec<(Op, Told, String)>,
    pub(crate) complaints: Vec<String>,
}

pub(crate) type Book = Arc<Mutex<Record>>;

/// Dials over the simulated network.
#[derive(Debug)]
struct Simulated;

impl Dialer for Simulated {
    fn dial(&self, address: &Address) -> Dialling {
        let target = address.to_string();
        Box::pin(async move {
            let stream = turmoil::net::TcpStream::connect(target).await;
            let refused = |error: io::Error| io::Error::new(error.kind(), error);
            Ok(Box::new(stream.map_err(refused)?) as Box<dyn Socket>)
        })
    }
}

fn config() -> Config {
    let hosts = (0..NODES).filter_map(|node| Address::parse(&address(node)).ok());
    Config::new(hosts)
        .with_timeout(TIMEOUT)
        .with_connect_timeout(TIMEOUT)
        .with_dialer(Arc::new(Simulated))
}

/// Runs all callers to their end.
pub(crate) async fn run(seed: u64, world: Shared, book: Book) -> turmoil::Result {
    let options = Options::default()
        .with_max(3)
        .with_acquire_timeout(TIMEOUT)
        .with_check_after(Duration::from_millis(400));
    let config = config();
    let pool = Pool::new(&config, options)?;
    let callers = (0..CALLERS).map(|caller| {
        let random = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(caller));
        let caller = Caller {
            pool: pool.clone(),
            config: config.clone(),
            random,
            book: Arc::clone(&book),
            world: Shared::clone(&world),
            next: caller * 1000,
        };
        tokio::spawn(caller.run())
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await?;
    }
    let drained = pool.close(CLEANING + SLACK).await;
    if let Err(error) = drained {
        note(&book, |book| book.complaints.push(error.to_string()));
    }
    Ok(())
}

fn note<T>(book: &Book, act: impl FnOnce(&mut Record) -> T) -> T {
    act(&mut book.lock().expect("no caller panicked"))
}

struct Caller {
    pool: Pool,
    config: Config,
    random: fastrand::Rng,
    book: Book,
    world: Shared,
    next: Op,
}

impl Caller {
    async fn run(mut self) {
        for _ in 0..CALLS {
            sleep(Duration::from_millis(self.random.u64(0..300))).await;
            let started = Instant::now();
            let (call, calls) = match self.random.u8(0..12) {
                0..3 => (self.single().await, 2),
                3..5 => (self.hurried().await, 2),
                5..7 => (self.in_transaction().await, 6),
                7..9 => (self.rerun().await, 20),
                9..11 => (self.given_up().await, 2),
                _ => (self.read().await, 2),
            };
            let elapsed = started.elapsed();
            if elapsed > TIMEOUT * calls + SLACK {
                let text = format!("{call} came back after {elapsed:?}");
                note(&self.book, |book| book.complaints.push(text));
            }
            lock(&self.world).note(call, u64::try_from(elapsed.as_micros()).unwrap_or(0));
        }
    }

    fn flaw(&self) -> Flaw {
        lock(&self.world).flaw
    }

    fn op(&mut self) -> Op {
        self.next += 1;
        self.next
    }

    fn told(&self, op: Op, told: Told, how: &str) {
        note(&self.book, |book| {
            book.told.push((op, told, how.to_owned()));
        });
    }

    fn judge<T>(&self, ops: &[Op], result: Result<T, Error>, call: &str) {
        for op in ops {
            match &result {
                Ok(_) => self.told(*op, Told::Done, call),
                Err(error) => {
                    let told = match (error.outcome(), self.flaw()) {
                        (Outcome::Unknown, Flaw::Believes) => Told::Done,
                        (Outcome::Unknown, flaw) if flaw != Flaw::Denies => Told::Unknown,
                        _ => Told::NotDone,
                    };
                    self.told(*op, told, &format!("{call}: {error:?}"));
                }
            }
        }
        if let Err(error) = result
            && matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Usage)
        {
            let text = format!("{call}: {error:?}");
            note(&self.book, |book| book.complaints.push(text));
        }
    }

    /// One statement, on any connection.
    async fn single(&mut self) -> &'static str {
        let op = self.op();
        let mut result = self.pool.execute(&insert(op), ()).await;
        let unknown = |error: &Error| error.outcome() == Outcome::Unknown;
        if self.flaw() == Flaw::Repeats && result.as_ref().is_err_and(unknown) {
            result = self.pool.execute(&insert(op), ()).await;
        }
        if self.flaw() == Flaw::Dawdles && result.is_err() {
            sleep(TIMEOUT * 2).await;
        }
        self.judge(&[op], result, "single");
        "single"
    }

    /// One statement that has less time than it may need.
    async fn hurried(&mut self) -> &'static str {
        let op = self.op();
        let time = Duration::from_millis(self.random.u64(20..200));
        let result = match self.pool.get().await {
            Ok(mut connection) => connection.within(time).execute(&insert(op), ()).await,
            Err(error) => Err(error),
        };
        self.judge(&[op], result, "hurried");
        "hurried"
    }

    /// A transaction by hand, on a connection that must not lead to a former leader.
    async fn in_transaction(&mut self) -> &'static str {
        let ops = [self.op(), self.op()];
        let mut connection = match self.pool.get().await {
            Ok(connection) => connection,
            Err(error) => {
                self.judge(&ops, Err::<(), _>(error), "get");
                return "get";
            }
        };
        let leader = self.config.leader();
        if leader.is_some_and(|leader| leader.as_str() != connection.address()) {
            let text = format!(
                "lent a connection to the former leader {}",
                connection.address()
            );
            note(&self.book, |book| book.complaints.push(text));
        }
        let result = async {
            let mut transaction = connection.transaction().await?;
            for op in ops {
                transaction.execute(&insert(op), ()).await?;
            }
            Ok::<_, Error>(transaction)
        };
        match result.await {
            Ok(transaction) => {
                let result = transaction.commit().await;
                self.judge(&ops, result, "commit");
            }
            // Never committed, whatever the error.
            Err(error) => {
                for op in ops {
                    self.told(op, Told::NotDone, &format!("before commit: {error:?}"));
                }
            }
        }
        "transaction"
    }

    /// A transaction that is run again where that is harmless.
    async fn rerun(&mut self) -> &'static str {
        let ops = [self.op(), self.op()];
        let run = self.pool.with_transaction(|transaction| {
            Box::pin(async move {
                for op in ops {
                    transaction.execute(&insert(op), ()).await?;
                }
                Ok::<_, Error>(())
            })
        });
        let result = run.await;
        self.judge(&ops, result, "rerun");
        "rerun"
    }

    /// A statement whose caller loses patience.
    async fn given_up(&mut self) -> &'static str {
        let op = self.op();
        let patience = Duration::from_millis(self.random.u64(0..150));
        let sql = insert(op);
        match timeout(patience, self.pool.execute(&sql, ())).await {
            Ok(result) => self.judge(&[op], result, "given up"),
            Err(_) => self.told(op, Told::Unknown, "given up"),
        }
        "given up"
    }

    async fn read(&mut self) -> &'static str {
        let rows = self.pool.query("SELECT count(*) FROM t", ()).await;
        self.judge(&[], rows, "read");
        "read"
    }
}

fn insert(op: Op) -> String {
    format!("INSERT INTO t VALUES ({op})")
}
