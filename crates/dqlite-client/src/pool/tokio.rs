//! The pool under tokio.

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use super::core::{
    CHECK_TIMEOUT, Claim, Core, Leave, Lendable, Loan, RESET_TIMEOUT, TEND_EVERY, Turn,
};
use super::{Options, Status};
use crate::address::Address;
use crate::clock;
use crate::config::Config;
use crate::connection::{Connection, Transaction, Work, connect};
use crate::error::{Error, Result};
use crate::params::{Params, Written};
use crate::row::Row;
use crate::statement::Done;
use crate::token::Token;

/// Connections to one database of a cluster, for many callers. See the [module page](super).
///
/// Clones share the connections; the last one to be dropped closes those that are idle.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    core: Arc<Core<Connection>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Pool {
    /// A pool; nothing is opened before its first use, no runtime is needed yet.
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
    pub async fn get(&self) -> Result<Guard> {
        self.get_within(self.0.core.options.acquire_timeout).await
    }

    /// The same with another time to wait.
    pub async fn get_within(&self, timeout: Duration) -> Result<Guard> {
        self.keep();
        let core = &self.0.core;
        let deadline = clock::after(timeout);
        let turn = match poll_once(|cx| core.claim(cx)).await? {
            Claim::Turn(turn) => turn,
            Claim::Wait(place) => {
                let turn = poll_fn(|cx| place.poll(cx.waker()));
                match timeout_at(deadline.into(), turn).await {
                    Ok(turn) => turn?,
                    Err(_) => return Err(core.late(timeout)),
                }
            }
        };
        let loan = match turn {
            Turn::Lend(loan) => fresh(loan),
            Turn::Check(loan) => checked(loan, deadline).await,
            Turn::Open(leave) => Err(leave),
        };
        let loan = match loan {
            Ok(loan) => loan,
            Err(leave) => {
                let connection = connect(&core.config_until(deadline)).await?;
                leave.opened(connection)
            }
        };
        Ok(Guard(Some(loan)))
    }

    /// A connection, if one is idle and needs no asking.
    pub async fn try_get(&self) -> Result<Option<Guard>> {
        self.keep();
        let claim = poll_once(|cx| self.0.core.claim(cx)).await?;
        let loan = match claim {
            Claim::Turn(Turn::Lend(loan)) => fresh(loan).ok(),
            // What else was granted goes to the next caller.
            _ => None,
        };
        Ok(loan.map(|loan| Guard(Some(loan))))
    }

    /// As [`Connection::execute`], on any connection.
    pub fn execute(
        &self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Done>> + Send {
        let params = Written::of(sql, params);
        async move {
            let params = params?;
            self.get().await?.execute(sql, params).await
        }
    }

    /// As [`Connection::query`], on any connection.
    pub fn query(
        &self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        let params = Written::of(sql, params);
        async move {
            let params = params?;
            self.get().await?.query(sql, params).await
        }
    }

    /// As [`Connection::query_opt`], on any connection.
    pub fn query_opt(
        &self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Option<Row>>> + Send {
        let params = Written::of(sql, params);
        async move {
            let params = params?;
            self.get().await?.query_opt(sql, params).await
        }
    }

    /// As [`Connection::query_one`], on any connection.
    pub fn query_one(
        &self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Row>> + Send {
        let params = Written::of(sql, params);
        async move {
            let params = params?;
            self.get().await?.query_one(sql, params).await
        }
    }

    /// As [`Connection::with_transaction`], on any connection.
    pub async fn with_transaction<T, E: From<Error>>(
        &self,
        run: impl for<'t> FnMut(&'t mut Transaction<'_>) -> Work<'t, T, E>,
    ) -> Result<T, E> {
        self.get().await?.with_transaction(run).await
    }

    /// As [`Connection::with_transaction_once`], on any connection.
    pub async fn with_transaction_once<T, E: From<Error>>(
        &self,
        token: &Token,
        run: impl for<'t> FnMut(&'t mut Transaction<'_>) -> Work<'t, T, E>,
    ) -> Result<T, E> {
        let mut connection = self.get().await?;
        connection.with_transaction_once(token, run).await
    }

    /// What the pool holds, and what it has done.
    pub fn status(&self) -> Status {
        self.0.core.status()
    }

    /// Lends nothing more, sends those in line away, and waits until everything has come back; an
    /// error of kind Pool if that takes longer than `timeout`. Connections that are out keep
    /// serving, and are closed when they come back.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        let core = &self.0.core;
        core.shut();
        let deadline = clock::after(timeout);
        let drained = poll_fn(|cx| core.drained(cx.waker()));
        match timeout_at(deadline.into(), drained).await {
            Ok(()) => Ok(()),
            Err(_) => Err(core.undrained()),
        }
    }

    /// Has the keeper run, also in a runtime that began after the pool.
    fn keep(&self) {
        let mut keeper = self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let core = Arc::downgrade(&self.0.core);
            *keeper = Some(tokio::spawn(tend(core)));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut();
        if let Some(keeper) = keeper.unwrap_or_else(PoisonError::into_inner) {
            keeper.abort();
        }
        // What is out closes when it comes back.
        self.core.shut();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

/// A connection lent by a [`Pool`]; it goes back when dropped.
///
/// One that comes back with a transaction or a reply unfinished is cleaned by a task first, or
/// closed where no runtime is left.
pub struct Guard(Option<Loan<Connection>>);

impl Guard {
    fn loan(&self) -> &Loan<Connection> {
        self.0.as_ref().expect(LENT)
    }
}

/// Only dropping the guard takes its loan.
const LENT: &str = "a guard holds its connection until it is dropped";

impl Deref for Guard {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.loan().connection()
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
        } else if !loan.connection().is_lost()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let deadline = clock::now() + RESET_TIMEOUT;
                if loan.connection_mut().reset(deadline).await.is_ok() {
                    loan.give_back();
                }
            });
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

/// Runs a function that needs a waker.
async fn poll_once<T>(ask: impl Fn(&std::task::Waker) -> T) -> T {
    poll_fn(|cx| std::task::Poll::Ready(ask(cx.waker()))).await
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
async fn checked(
    loan: Loan<Connection>,
    deadline: Instant,
) -> Result<Loan<Connection>, Leave<Connection>> {
    let mut loan = fresh(loan)?;
    let until = deadline.min(clock::now() + CHECK_TIMEOUT);
    if loan.connection_mut().check(until).await.is_ok() {
        loan.renew();
        return Ok(loan);
    }
    loan.core().retire(loan.connection().server());
    Err(loan.replace())
}

/// Looks after a pool until it is gone.
async fn tend(core: Weak<Core<Connection>>) {
    loop {
        let Some(pool) = core.upgrade() else {
            return;
        };
        for leave in pool.tend() {
            let deadline = clock::after(pool.config.connect_timeout);
            match connect(&pool.config_until(deadline)).await {
                Ok(connection) => leave.stock(connection),
                Err(error) => {
                    tracing::debug!(target: "dqlite", %error, "a pool cannot open a connection");
                    break;
                }
            }
        }
        drop(pool);
        sleep(TEND_EVERY).await;
    }
}
