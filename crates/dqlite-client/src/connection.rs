//! The client under tokio.

use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::body::{Body, Runs};
use crate::bulk::Many;
use crate::config::Config;
use crate::convert::FromRow;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::leader;
use crate::params::Params;
use crate::rerun::Policy;
use crate::row::Row;
use crate::statement::{Done, only_row, typed};
use crate::token::Token;
use crate::transaction::Behavior;
use crate::wire::Wire;

mod rows;
#[cfg(feature = "stream")]
mod stream;
mod transaction;

pub use rows::Rows;
#[cfg(feature = "stream")]
pub use stream::RowStream;
pub use transaction::Transaction;

/// What the function of a transaction returns: `Box::pin(async { .. })`.
pub type Work<'t, T, E = Error> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

/// Finds the leader and opens the database of `config`, within its `connect_timeout`.
///
/// Whatever the error, nothing was executed. While it searches it runs tasks of its own; none is
/// left when it returns or is dropped.
pub async fn connect(config: &Config) -> Result<Connection> {
    Ok(Connection {
        body: Body::open(config).await?,
    })
}

/// A session with one database on the leader.
///
/// It lives as long as the node leads and the connection holds. After an error, look at
/// [`is_lost`](Self::is_lost): a lost connection serves again after [`reconnect`](Self::reconnect).
///
/// # Deadlines and giving up
///
/// Every call ends at its deadline, the configuration's `timeout` or that of
/// [`within`](Self::within), and may be given up earlier by dropping its future. A server of this
/// project is told to end the statement; any other lets it run on. A call that ended at its
/// deadline says whether the statement may have happened, and our servers are given 200 ms more to
/// say so themselves. Either way the reply is read and thrown away before the next call, and an
/// open transaction in which a write was given up can only be rolled back.
///
/// # Prepared statements
///
/// A text that is executed a second time is prepared, and runs by its id from then on. The 64
/// used last stay so, as long as the session lives. A query with `*` is never kept: engines
/// announce its old columns when it is run for the first time after a change of the schema.
#[derive(Debug)]
pub struct Connection {
    body: Body<Wire>,
}

impl Connection {
    /// Runs one statement and reports what it changed; rows, if it yields any, are dropped.
    ///
    /// A wrong number of parameters, or several statements, are errors of kind Usage; nothing is
    /// sent. [`Error::outcome`](crate::Error::outcome) tells whether a failed statement may have
    /// happened.
    ///
    /// ```no_run
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let done = connection.execute("INSERT INTO t (name) VALUES (?)", ("one",)).await?;
    /// println!("row {:?}", done.last_insert_id);
    /// # Ok(()) }
    /// ```
    pub fn execute(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Done>> + Send {
        // Parameters become bytes at once: values that may not leave the thread need not.
        let plan = self.body.plan(sql, params);
        async move { Ok(self.body.run(plan?).await?.done) }
    }

    /// Runs one statement and returns its rows.
    pub fn query(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        let plan = self.body.plan(sql, params);
        async move { Ok(self.body.run(plan?).await?.rows) }
    }

    /// Runs one statement and returns its first row, if it yields any.
    pub fn query_opt(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Option<Row>>> + Send {
        let rows = self.query(sql, params);
        async move { Ok(rows.await?.into_iter().next()) }
    }

    /// Runs one statement and returns its first row; an error of kind `NoRows` if it yields none.
    pub fn query_one(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Row>> + Send {
        let row = self.query_opt(sql, params);
        async move { only_row(row.await?) }
    }

    /// Runs one statement and returns its rows as values of a type.
    ///
    /// ```no_run
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let people: Vec<(i64, String)> = connection.query_as("SELECT id, name FROM t", ()).await?;
    /// # Ok(()) }
    /// ```
    pub fn query_as<T: FromRow>(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<T>>> + Send {
        let rows = self.query(sql, params);
        async move { typed(&rows.await?) }
    }

    /// Runs one statement whose rows are handed out as they come: see [`Rows`].
    pub fn query_stream(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Rows<'_>>> + Send {
        let plan = self
            .body
            .plan(sql, params)
            .map(crate::statement::Plan::into_owned);
        async move { Rows::start(&mut self.body, plan?).await }
    }

    /// Runs a read whose answer is current whoever led meanwhile: no write that was acknowledged
    /// before the call is missing.
    ///
    /// A plain query is answered by the leader from memory; one that has been replaced and does
    /// not know it yet may answer with what was current a moment ago. This costs a write to the
    /// table `_dqlite_fence`, which is made when it is needed, and so a round of replication.
    pub fn query_linearizable(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        let plan = self.body.plan_read(sql, params);
        async move { self.body.query_linearizable(&plan?).await }
    }

    /// Runs one INSERT, REPLACE, UPDATE or DELETE with many sets of parameters, all or none: in a
    /// transaction of its own.
    ///
    /// Up to 512 executions are under way at once. After an error
    /// [`Error::index`](crate::Error::index) says which set it was, and nothing has happened,
    /// unless the outcome is Unknown: then the text says why.
    ///
    /// ```no_run
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let sets = (0..1000).map(|n| (n, format!("row {n}")));
    /// connection.execute_many("INSERT INTO t VALUES (?, ?)", sets).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute_many<I>(&mut self, sql: &str, sets: I) -> Result<Many>
    where
        I: IntoIterator<Item: Params, IntoIter: Send>,
    {
        self.body.execute_many(sql, sets.into_iter()).await
    }

    /// Runs the statements of a script one after the other, each on its own: what ran before an
    /// error stays. In a transaction use [`Transaction::execute_batch`].
    /// [`Error::index`](crate::Error::index) says which statement failed.
    pub async fn execute_batch(&mut self, script: &str) -> Result<()> {
        self.body.execute_batch(script).await
    }

    /// Begins a transaction that has the write lock from the start.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with(Behavior::Immediate).await
    }

    /// Begins a transaction.
    pub async fn transaction_with(&mut self, behavior: Behavior) -> Result<Transaction<'_>> {
        Transaction::begin(&mut self.body, behavior).await
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
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let left: i64 = connection
    ///     .with_transaction(|tx| Box::pin(async {
    ///         tx.execute("UPDATE stock SET n = n - 1 WHERE id = ?", (7,)).await?;
    ///         tx.query_one("SELECT n FROM stock WHERE id = ?", (7,)).await?.get(0)
    ///     }))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub async fn with_transaction<T, E: From<Error>>(
        &mut self,
        run: impl for<'t> FnMut(&'t mut Transaction<'_>) -> Work<'t, T, E>,
    ) -> Result<T, E> {
        self.with_transaction_as(&Policy::default(), None, run)
            .await
    }

    /// The same, exactly once: the token is kept in the same transaction, so that a COMMIT whose
    /// answer was lost is looked up. See [`token`](crate::token) for how long it is remembered.
    ///
    /// An error of kind `AlreadyApplied` says that an earlier call with this token took effect.
    ///
    /// ```no_run
    /// # use dqlite_client::Token;
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// connection
    ///     .with_transaction_once(&Token::from("order 4711"), |tx| Box::pin(async {
    ///         tx.execute("UPDATE stock SET n = n - 1 WHERE id = ?", (7,)).await
    ///     }))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub async fn with_transaction_once<T, E: From<Error>>(
        &mut self,
        token: &Token,
        run: impl for<'t> FnMut(&'t mut Transaction<'_>) -> Work<'t, T, E>,
    ) -> Result<T, E> {
        self.with_transaction_as(&Policy::default(), Some(token), run)
            .await
    }

    /// The same with other bounds, with or without a token.
    pub async fn with_transaction_as<T, E: From<Error>>(
        &mut self,
        policy: &Policy,
        token: Option<&Token>,
        mut run: impl for<'t> FnMut(&'t mut Transaction<'_>) -> Work<'t, T, E>,
    ) -> Result<T, E> {
        let mut runs = Runs::new(policy, token)?;
        let mut body = self.body.limited(&runs);
        loop {
            if let Some(value) = body.begin_run(&mut runs).await? {
                return Ok(value);
            }
            let mut transaction = Transaction::of(&mut body);
            let result = run(&mut transaction).await;
            transaction.leave();
            if let Some(result) = body.end_run(&mut runs, result).await {
                return result;
            }
        }
    }

    /// Forgets tokens that are older; how many there were.
    pub async fn forget_tokens(&mut self, older_than: Duration) -> Result<u64> {
        self.body.forget_tokens(older_than).await
    }

    /// Sets the time for the next call alone.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use dqlite_client::{Connection, Result};
    /// # async fn example(connection: &mut Connection) -> Result<()> {
    /// let rows = connection.within(Duration::from_secs(1)).query("SELECT * FROM t", ()).await?;
    /// # Ok(()) }
    /// ```
    pub const fn within(&mut self, time: Duration) -> &mut Self {
        self.body.within(time);
        self
    }

    /// Whether the session has ended: nothing can be sent any more.
    pub fn is_lost(&self) -> bool {
        self.body.is_lost()
    }

    /// Finds the leader again and begins a new session. A transaction of the old one is gone.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.body.reconnect().await
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
    pub(crate) async fn reset(&mut self, deadline: Instant) -> Result<()> {
        self.body.reset(deadline).await
    }

    /// Asks the server whether the session serves. After an error it must be closed.
    pub(crate) async fn check(&mut self, deadline: Instant) -> Result<()> {
        self.body.check(deadline).await
    }

    /// Where it leads.
    pub(crate) const fn server(&self) -> &Address {
        self.body.driver.address()
    }
}

impl Driver for Wire {
    async fn dial(config: &Config, deadline: Instant) -> Result<Self> {
        leader::search(config, Some(&config.database), deadline).await
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
        self.ready(deadline).await
    }

    async fn run<X>(&mut self, exchange: &mut X, deadline: Instant) -> Result<X::Output>
    where
        X: Exchange<Output: Send> + Send,
    {
        self.run(exchange, deadline).await
    }

    fn is_quiet(&self) -> bool {
        self.is_quiet()
    }

    fn cut(&mut self) {
        self.cut();
    }

    async fn sleep(time: Duration) {
        tokio::time::sleep(time).await;
    }
}
