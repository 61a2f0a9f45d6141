//! The client for programs without a runtime: calls block, at most until their deadline.
//!
//! ```no_run
//! use dqlite_client::{Config, blocking::Connection, params};
//!
//! # fn main() -> dqlite_client::Result<()> {
//! let config = Config::parse("dqlite://h1:9001,h2:9001/app?timeout=5s")?;
//! let mut connection = Connection::open(&config)?;
//! connection.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT)", ())?;
//! connection.execute("INSERT INTO t (name) VALUES (?)", params!["one"])?;
//! for row in connection.query("SELECT id, name FROM t", ())? {
//!     println!("{} {}", row.get::<i64>("id")?, row.get::<String>("name")?);
//! }
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, Instant};

use crate::address::Address;
use crate::body::{Body, Runs};
use crate::bulk::Many;
use crate::config::Config;
use crate::convert::FromRow;
use crate::driver::{Driver, now};
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::fd::{self, Link, never};
use crate::params::Params;
use crate::rerun::Policy;
use crate::row::Row;
use crate::statement::{Done, only_row, typed};
use crate::token::Token;
use crate::transaction::Behavior;

mod rows;
mod transaction;

pub use crate::cluster::blocking::{Admin, probe};
pub use crate::local_copy::blocking::LocalCopies;
pub use crate::pool::blocking::{Guard, Pool};
pub use rows::Rows;
pub use transaction::Transaction;

/// A session with one database on the leader.
///
/// It lives as long as the node leads and the connection holds. After an error, look at
/// [`is_lost`](Self::is_lost): a lost connection serves again after [`reconnect`](Self::reconnect).
///
/// # Deadlines
///
/// Every call ends at its deadline, the configuration's `timeout` or that of
/// [`within`](Self::within). A server of this project is told to end the statement then, and is
/// given 200 ms to say what became of it; any other lets it run on. The error says whether the
/// statement may have happened. Its reply is read and thrown away before the next call, and an
/// open transaction can only be rolled back.
///
/// # Prepared statements
///
/// A text that is executed a second time is prepared, and runs by its id from then on. The 64
/// used last stay so, as long as the session lives. A query with `*` is never kept: engines
/// announce its old columns when it is run for the first time after a change of the schema.
#[derive(Debug)]
pub struct Connection {
    body: Body<Link>,
}

impl Connection {
    /// Finds the leader and opens the database of `config`, within its `connect_timeout`.
    ///
    /// Whatever the error, nothing was executed.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            body: now(Body::open(config))?,
        })
    }

    /// Runs one statement and reports what it changed; rows, if it yields any, are dropped.
    ///
    /// A wrong number of parameters, or several statements, are errors of kind Usage; nothing is
    /// sent. [`Error::outcome`](crate::Error::outcome) tells whether a failed statement may have
    /// happened.
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<Done> {
        let plan = self.body.plan(sql, params)?;
        Ok(now(self.body.run(plan))?.done)
    }

    /// Runs one statement and returns its rows.
    pub fn query(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        let plan = self.body.plan(sql, params)?;
        Ok(now(self.body.run(plan))?.rows)
    }

    /// Runs one statement and returns its first row, if it yields any.
    pub fn query_opt(&mut self, sql: &str, params: impl Params) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// Runs one statement and returns its first row; an error of kind `NoRows` if it yields none.
    pub fn query_one(&mut self, sql: &str, params: impl Params) -> Result<Row> {
        only_row(self.query_opt(sql, params)?)
    }

    /// Runs one statement and returns its rows as values of a type.
    pub fn query_as<T: FromRow>(&mut self, sql: &str, params: impl Params) -> Result<Vec<T>> {
        typed(&self.query(sql, params)?)
    }

    /// Runs one statement whose rows are handed out as they come: see [`Rows`].
    pub fn query_stream(&mut self, sql: &str, params: impl Params) -> Result<Rows<'_>> {
        let plan = self.body.plan(sql, params)?.into_owned();
        Rows::start(&mut self.body, plan)
    }

    /// Runs a read whose answer is current whoever led meanwhile: no write that was acknowledged
    /// before the call is missing. It costs a write to the table `_dqlite_fence`, which is made
    /// when it is needed, and so a round of replication.
    pub fn query_linearizable(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        let plan = self.body.plan_read(sql, params)?;
        now(self.body.query_linearizable(&plan))
    }

    /// Runs one INSERT, REPLACE, UPDATE or DELETE with many sets of parameters, all or none: in a
    /// transaction of its own.
    ///
    /// Up to 512 executions are under way at once. After an error
    /// [`Error::index`](crate::Error::index) says which set it was, and nothing has happened,
    /// unless the outcome is Unknown: then the text says why.
    pub fn execute_many<I>(&mut self, sql: &str, sets: I) -> Result<Many>
    where
        I: IntoIterator<Item: Params, IntoIter: Send>,
    {
        now(self.body.execute_many(sql, sets.into_iter()))
    }

    /// Runs the statements of a script one after the other, each on its own: what ran before an
    /// error stays. In a transaction use [`Transaction::execute_batch`].
    /// [`Error::index`](crate::Error::index) says which statement failed.
    pub fn execute_batch(&mut self, script: &str) -> Result<()> {
        now(self.body.execute_batch(script))
    }

    /// Begins a transaction that has the write lock from the start.
    pub fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with(Behavior::Immediate)
    }

    /// Begins a transaction.
    pub fn transaction_with(&mut self, behavior: Behavior) -> Result<Transaction<'_>> {
        Transaction::begin(&mut self.body, behavior)
    }

    /// Runs a function in a transaction and commits it. Runs it again when that is proven to be
    /// harmless: nothing was sent, or another node leads, or a lock was taken.
    ///
    /// The function may run several times, so its effects should be in the database only. Its
    /// errors roll the transaction back and are returned. An error of kind `CommitUnknown` says
    /// that the COMMIT was not answered;
    /// [`with_transaction_once`](Self::with_transaction_once) finds out what became of it. Bounded
    /// by [`Policy::default`].
    ///
    /// ```no_run
    /// # use dqlite_client::{blocking::Connection, Result};
    /// # fn example(connection: &mut Connection) -> Result<()> {
    /// let left: i64 = connection.with_transaction(|tx| {
    ///     tx.execute("UPDATE stock SET n = n - 1 WHERE id = ?", (7,))?;
    ///     tx.query_one("SELECT n FROM stock WHERE id = ?", (7,))?.get(0)
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn with_transaction<T, E: From<Error>>(
        &mut self,
        run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_transaction_as(&Policy::default(), None, run)
    }

    /// The same, exactly once: the token is kept in the same transaction, so that a COMMIT whose
    /// answer was lost is looked up. See [`token`](crate::token) for how long it is remembered.
    ///
    /// An error of kind `AlreadyApplied` says that an earlier call with this token took effect.
    pub fn with_transaction_once<T, E: From<Error>>(
        &mut self,
        token: &Token,
        run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_transaction_as(&Policy::default(), Some(token), run)
    }

    /// The same with other bounds, with or without a token.
    pub fn with_transaction_as<T, E: From<Error>>(
        &mut self,
        policy: &Policy,
        token: Option<&Token>,
        mut run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut runs = Runs::new(policy, token)?;
        let mut body = self.body.limited(&runs);
        loop {
            if let Some(value) = now(body.begin_run(&mut runs))? {
                return Ok(value);
            }
            let mut transaction = Transaction::of(&mut body);
            let result = run(&mut transaction);
            transaction.leave();
            if let Some(result) = now(body.end_run(&mut runs, result)) {
                return result;
            }
        }
    }

    /// Forgets tokens that are older; how many there were.
    pub fn forget_tokens(&mut self, older_than: Duration) -> Result<u64> {
        now(self.body.forget_tokens(older_than))
    }

    /// Sets the time for the next call alone.
    pub const fn within(&mut self, time: Duration) -> &mut Self {
        self.body.within(time);
        self
    }

    /// Whether the session has ended: nothing can be sent any more.
    pub fn is_lost(&self) -> bool {
        self.body.is_lost()
    }

    /// Finds the leader again and begins a new session. A transaction of the old one is gone.
    pub fn reconnect(&mut self) -> Result<()> {
        now(self.body.reconnect())
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        self.body.driver.address().as_str()
    }
}

/// What a pool must know and do.
impl Connection {
    /// Whether the next caller would find it as the first one did, as far as the kernel and the
    /// session know. Nothing is sent.
    pub(crate) fn is_fresh(&self) -> bool {
        self.body.is_fresh() && self.body.driver.is_quiet()
    }

    /// Makes it fresh: nothing of an earlier caller is under way or open. After an error it must
    /// be closed.
    pub(crate) fn reset(&mut self, deadline: Instant) -> Result<()> {
        now(self.body.reset(deadline))
    }

    /// Asks the server whether the session serves. After an error it must be closed.
    pub(crate) fn check(&mut self, deadline: Instant) -> Result<()> {
        now(self.body.check(deadline))
    }

    /// Where it leads.
    pub(crate) const fn server(&self) -> &Address {
        self.body.driver.address()
    }
}

impl Driver for Link {
    async fn dial(config: &Config, deadline: Instant) -> Result<Self> {
        fd::dial(config, deadline, &mut never)
    }

    fn session(&self) -> &dqlite_proto::Session {
        self.session()
    }

    fn session_mut(&mut self) -> &mut dqlite_proto::Session {
        self.session_mut()
    }

    fn address(&self) -> &Address {
        self.address()
    }

    async fn ready(&mut self, deadline: Instant) -> Result<()> {
        fd::ready(self, deadline, &mut never)
    }

    async fn run<X>(&mut self, exchange: &mut X, deadline: Instant) -> Result<X::Output>
    where
        X: Exchange<Output: Send> + Send,
    {
        fd::run(self, exchange, deadline, &mut never)
    }

    fn is_quiet(&self) -> bool {
        fd::is_quiet(self)
    }

    fn cut(&mut self) {
        fd::cut(self);
    }

    async fn sleep(time: Duration) {
        std::thread::sleep(time);
    }
}
