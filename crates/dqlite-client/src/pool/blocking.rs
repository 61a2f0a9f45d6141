//! The pool for programs without a runtime.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use super::core::{
    CHECK_TIMEOUT, Claim, Core, Leave, Lendable, Loan, RESET_TIMEOUT, TEND_EVERY, Turn,
};
use super::{Options, Status};
use crate::address::Address;
use crate::blocking::{Connection, Transaction};
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::flight::Unpark;
use crate::params::Params;
use crate::row::Row;
use crate::statement::Done;
use crate::token::Token;

/// Connections to one database of a cluster, for many threads. See [`crate::pool`].
///
/// Clones share the connections; the last one to be dropped closes those that are idle.
///
/// ```no_run
/// use dqlite_client::{Config, blocking::Pool, pool::Options};
///
/// # fn main() -> dqlite_client::Result<()> {
/// let config = Config::parse("dqlite://h1:9001,h2:9001/app")?;
/// let pool = Pool::new(&config, Options::default().with_max(4))?;
/// let mut connection = pool.get()?;
/// connection.execute("DELETE FROM t", ())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    core: Arc<Core<Connection>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Pool {
    /// A pool; nothing is opened before its first use.
    pub fn new(config: &Config, options: Options) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            core: Core::new(config, options)?,
            keeper: Mutex::new(None),
        })))
    }

    /// A connection that nobody else has, within the pool's `acquire_timeout`.
    ///
    /// Errors of kind Pool mean that all are in use; others, that none could be opened. Nothing was
    /// executed, whatever the error.
    pub fn get(&self) -> Result<Guard> {
        self.get_within(self.0.core.options.acquire_timeout)
    }

    /// The same with another time to wait.
    pub fn get_within(&self, timeout: Duration) -> Result<Guard> {
        self.keep()?;
        let core = &self.0.core;
        let waker = Unpark::waker();
        let deadline = clock::later(Instant::now(), timeout);
        let turn = match core.claim(&waker)? {
            Claim::Turn(turn) => turn,
            Claim::Wait(place) => match wait(deadline, || place.poll(&waker)) {
                Some(turn) => turn?,
                None => return Err(core.late(timeout)),
            },
        };
        let loan = match turn {
            Turn::Lend(loan) => fresh(loan),
            Turn::Check(loan) => checked(loan, deadline),
            Turn::Open(leave) => Err(leave),
        };
        let loan = match loan {
            Ok(loan) => loan,
            Err(leave) => leave.opened(Connection::open(&core.config_until(deadline))?),
        };
        Ok(Guard(Some(loan)))
    }

    /// A connection, if one is idle and needs no asking.
    pub fn try_get(&self) -> Result<Option<Guard>> {
        self.keep()?;
        let loan = match self.0.core.claim(Waker::noop())? {
            Claim::Turn(Turn::Lend(loan)) => fresh(loan).ok(),
            // What else was granted goes to the next caller.
            _ => None,
        };
        Ok(loan.map(|loan| Guard(Some(loan))))
    }

    /// As [`Connection::execute`], on any connection.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<Done> {
        self.get()?.execute(sql, params)
    }

    /// As [`Connection::query`], on any connection.
    pub fn query(&self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        self.get()?.query(sql, params)
    }

    /// As [`Connection::query_opt`], on any connection.
    pub fn query_opt(&self, sql: &str, params: impl Params) -> Result<Option<Row>> {
        self.get()?.query_opt(sql, params)
    }

    /// As [`Connection::query_one`], on any connection.
    pub fn query_one(&self, sql: &str, params: impl Params) -> Result<Row> {
        self.get()?.query_one(sql, params)
    }

    /// As [`Connection::with_transaction`], on any connection.
    pub fn with_transaction<T, E: From<Error>>(
        &self,
        run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.get()?.with_transaction(run)
    }

    /// As [`Connection::with_transaction_once`], on any connection.
    pub fn with_transaction_once<T, E: From<Error>>(
        &self,
        token: &Token,
        run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.get()?.with_transaction_once(token, run)
    }

    /// What the pool holds, and what it has done.
    pub fn status(&self) -> Status {
        self.0.core.status()
    }

    /// Lends nothing more, sends those in line away, and waits until everything has come back; an
    /// error of kind Pool if that takes longer than `timeout`. Connections that are out keep
    /// serving, and are closed when they come back.
    pub fn close(&self, timeout: Duration) -> Result<()> {
        let core = &self.0.core;
        core.shut();
        let waker = Unpark::waker();
        let deadline = clock::later(Instant::now(), timeout);
        wait(deadline, || core.drained(&waker)).ok_or_else(|| core.undrained())
    }

    fn keep(&self) -> Result<()> {
        let mut keeper = self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() {
            let core = Arc::downgrade(&self.0.core);
            let thread = thread::Builder::new().name("dqlite-pool".to_owned());
            let spawned = thread.spawn(move || tend(&core));
            *keeper = Some(spawned.map_err(|error| {
                Error::usage(format!("the pool cannot start its thread: {error}"))
            })?);
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What is out closes when it comes back.
        self.core.shut();
        let keeper = self.keeper.get_mut();
        if let Some(keeper) = keeper.unwrap_or_else(PoisonError::into_inner) {
            keeper.thread().unpark();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

/// A connection lent by a [`Pool`]; it goes back when dropped.
///
/// One that comes back with a transaction or a reply unfinished is cleaned by the thread that drops
/// it, or closed.
pub struct Guard(Option<Loan<Connection>>);

/// Only dropping the guard takes its loan.
const LENT: &str = "a guard holds its connection until it is dropped";

impl Deref for Guard {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect(LENT).connection()
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Connection {
        self.0.as_mut().expect(LENT).connection_mut()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&**self).finish()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut loan) = self.0.take() else {
            return;
        };
        if loan.connection().is_fresh() {
            loan.give_back();
        } else if !loan.connection().is_lost() {
            let deadline = Instant::now() + RESET_TIMEOUT;
            if loan.connection_mut().reset(deadline).is_ok() {
                loan.give_back();
            }
        }
    }
}

impl Lendable for Connection {
    fn server(&self) -> &Address {
        Self::server(self)
    }

    fn is_fresh(&self) -> bool {
        Self::is_fresh(self)
    }
}

/// Asks until there is an answer, whenever this thread is woken; `None` when it is too late.
fn wait<T>(deadline: Instant, mut poll: impl FnMut() -> Poll<T>) -> Option<T> {
    loop {
        if let Poll::Ready(answer) = poll() {
            return Some(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        park_timeout(left);
    }
}

/// The connection, unless its server has closed it.
fn fresh(loan: Loan<Connection>) -> Result<Loan<Connection>, Leave<Connection>> {
    if loan.connection().is_fresh() {
        return Ok(loan);
    }
    loan.core().sweep();
    Err(loan.replace())
}

/// The connection, if it serves.
fn checked(
    loan: Loan<Connection>,
    deadline: Instant,
) -> Result<Loan<Connection>, Leave<Connection>> {
    let mut loan = fresh(loan)?;
    let until = deadline.min(Instant::now() + CHECK_TIMEOUT);
    if loan.connection_mut().check(until).is_ok() {
        loan.renew();
        return Ok(loan);
    }
    loan.core().retire(loan.connection().server());
    Err(loan.replace())
}

/// Looks after a pool until it is gone.
fn tend(core: &Weak<Core<Connection>>) {
    while let Some(pool) = core.upgrade() {
        for leave in pool.tend() {
            let deadline = clock::later(Instant::now(), pool.config.connect_timeout);
            match Connection::open(&pool.config_until(deadline)) {
                Ok(connection) => leave.stock(connection),
                Err(error) => {
                    tracing::debug!(target: "dqlite", %error, "a pool cannot open a connection");
                    break;
                }
            }
        }
        drop(pool);
        park_timeout(TEND_EVERY);
    }
}
