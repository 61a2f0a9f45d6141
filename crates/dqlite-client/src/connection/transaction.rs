//! Transactions under tokio.

use std::time::Duration;

use super::Rows;
use crate::body::Body;
use crate::bulk::Many;
use crate::convert::FromRow;
use crate::error::Result;
use crate::params::Params;
use crate::row::Row;
use crate::statement::{Done, Plan, only_row, typed};
use crate::transaction::Behavior;
use crate::wire::Wire;

/// A transaction, or a savepoint in one. Dropped without [`commit`](Self::commit) it is rolled
/// back before the next use of the connection.
///
/// ```no_run
/// # use dqlite_client::{Connection, Result};
/// # async fn example(connection: &mut Connection) -> Result<()> {
/// let mut transaction = connection.transaction().await?;
/// transaction.execute("DELETE FROM t", ()).await?;
/// let mut part = transaction.transaction().await?;
/// part.execute("INSERT INTO t (name) VALUES ('two')", ()).await?;
/// part.rollback().await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Transaction<'c> {
    body: &'c mut Body<Wire>,
    /// The number of the savepoint, 0 for the transaction itself.
    number: u32,
    is_over: bool,
}

impl<'c> Transaction<'c> {
    pub(super) async fn begin(body: &'c mut Body<Wire>, behavior: Behavior) -> Result<Self> {
        body.begin(behavior).await?;
        Ok(Self::of(body))
    }

    /// The transaction that is open already.
    pub(super) const fn of(body: &'c mut Body<Wire>) -> Self {
        Self {
            body,
            number: 0,
            is_over: false,
        }
    }

    /// Its end is somebody else's business.
    pub(super) fn leave(mut self) {
        self.is_over = true;
    }

    /// As [`Connection::execute`](super::Connection::execute).
    pub fn execute(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Done>> + Send {
        let plan = self.body.plan(sql, params);
        async move { Ok(self.body.run(plan?).await?.done) }
    }

    /// As [`Connection::query`](super::Connection::query).
    pub fn query(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        let plan = self.body.plan(sql, params);
        async move { Ok(self.body.run(plan?).await?.rows) }
    }

    /// As [`Connection::query_opt`](super::Connection::query_opt).
    pub fn query_opt(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Option<Row>>> + Send {
        let rows = self.query(sql, params);
        async move { Ok(rows.await?.into_iter().next()) }
    }

    /// As [`Connection::query_one`](super::Connection::query_one).
    pub fn query_one(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Row>> + Send {
        let row = self.query_opt(sql, params);
        async move { only_row(row.await?) }
    }

    /// As [`Connection::query_as`](super::Connection::query_as).
    pub fn query_as<T: FromRow>(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<T>>> + Send {
        let rows = self.query(sql, params);
        async move { typed(&rows.await?) }
    }

    /// As [`Connection::query_stream`](super::Connection::query_stream).
    pub fn query_stream(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Rows<'_>>> + Send {
        let plan = self.body.plan(sql, params).map(Plan::into_owned);
        async move { Rows::start(self.body, plan?).await }
    }

    /// As [`Connection::execute_many`](super::Connection::execute_many), in a savepoint.
    pub async fn execute_many<I>(&mut self, sql: &str, sets: I) -> Result<Many>
    where
        I: IntoIterator<Item: Params, IntoIter: Send>,
    {
        self.body.execute_many(sql, sets.into_iter()).await
    }

    /// Runs the statements of a script one after the other.
    pub async fn execute_batch(&mut self, script: &str) -> Result<()> {
        self.body.execute_batch(script).await
    }

    /// Sets the time for the next call alone.
    pub const fn within(&mut self, time: Duration) -> &mut Self {
        self.body.within(time);
        self
    }

    /// Begins a transaction inside this one, which is a savepoint.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>> {
        let number = self.body.save().await?;
        Ok(Transaction {
            body: self.body,
            number,
            is_over: false,
        })
    }

    /// Makes everything durable, or a part of the transaction around it.
    ///
    /// An error of kind `CommitUnknown` leaves open whether it is durable. After any other error
    /// nothing of it happened; but one whose outcome is Unknown tells of writes behind a conflict
    /// that, as the schema has it, rolled the transaction back: those have happened.
    pub async fn commit(self) -> Result<()> {
        match self.number {
            0 => self.body.commit().await,
            number => self.body.release(number).await,
        }
    }

    /// Undoes everything.
    ///
    /// An error whose outcome is Unknown tells of writes behind a conflict that, as the schema has
    /// it, rolled the transaction back: those may have happened.
    pub async fn rollback(mut self) -> Result<()> {
        match self.number {
            0 => {
                let ended = self.body.rollback().await;
                self.is_over = ended.is_ok();
                ended
            }
            number => self.body.roll_back_to(number).await,
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.body.unwind(self.number);
        }
    }
}
