//! Transactions without a runtime.

use std::time::Duration;

use super::Rows;
use crate::body::Body;
use crate::bulk::Many;
use crate::convert::FromRow;
use crate::driver::now;
use crate::error::Result;
use crate::fd::Link;
use crate::params::Params;
use crate::row::Row;
use crate::statement::{Done, only_row, typed};
use crate::transaction::Behavior;

/// A transaction, or a savepoint in one. Dropped without [`commit`](Self::commit) it is rolled
/// back before the next use of the connection.
///
/// ```no_run
/// # use dqlite_client::{blocking::Connection, Result};
/// # fn example(connection: &mut Connection) -> Result<()> {
/// let mut transaction = connection.transaction()?;
/// transaction.execute("DELETE FROM t", ())?;
/// let mut part = transaction.transaction()?;
/// part.execute("INSERT INTO t (name) VALUES ('two')", ())?;
/// part.rollback()?;
/// transaction.commit()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Transaction<'c> {
    body: &'c mut Body<Link>,
    /// The number of the savepoint, 0 for the transaction itself.
    number: u32,
    is_over: bool,
}

impl<'c> Transaction<'c> {
    pub(super) fn begin(body: &'c mut Body<Link>, behavior: Behavior) -> Result<Self> {
        now(body.begin(behavior))?;
        Ok(Self::of(body))
    }

    /// The transaction that is open already.
    pub(super) const fn of(body: &'c mut Body<Link>) -> Self {
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
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<Done> {
        let plan = self.body.plan(sql, params)?;
        Ok(now(self.body.run(plan))?.done)
    }

    /// As [`Connection::query`](super::Connection::query).
    pub fn query(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        let plan = self.body.plan(sql, params)?;
        Ok(now(self.body.run(plan))?.rows)
    }

    /// As [`Connection::query_opt`](super::Connection::query_opt).
    pub fn query_opt(&mut self, sql: &str, params: impl Params) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// As [`Connection::query_one`](super::Connection::query_one).
    pub fn query_one(&mut self, sql: &str, params: impl Params) -> Result<Row> {
        only_row(self.query_opt(sql, params)?)
    }

    /// As [`Connection::query_as`](super::Connection::query_as).
    pub fn query_as<T: FromRow>(&mut self, sql: &str, params: impl Params) -> Result<Vec<T>> {
        typed(&self.query(sql, params)?)
    }

    /// As [`Connection::query_stream`](super::Connection::query_stream).
    pub fn query_stream(&mut self, sql: &str, params: impl Params) -> Result<Rows<'_>> {
        let plan = self.body.plan(sql, params)?.into_owned();
        Rows::start(self.body, plan)
    }

    /// As [`Connection::execute_many`](super::Connection::execute_many), in a savepoint.
    pub fn execute_many<I>(&mut self, sql: &str, sets: I) -> Result<Many>
    where
        I: IntoIterator<Item: Params, IntoIter: Send>,
    {
        now(self.body.execute_many(sql, sets.into_iter()))
    }

    /// Runs the statements of a script one after the other.
    pub fn execute_batch(&mut self, script: &str) -> Result<()> {
        now(self.body.execute_batch(script))
    }

    /// Sets the time for the next call alone.
    pub const fn within(&mut self, time: Duration) -> &mut Self {
        self.body.within(time);
        self
    }

    /// Begins a transaction inside this one, which is a savepoint.
    pub fn transaction(&mut self) -> Result<Transaction<'_>> {
        let number = now(self.body.save())?;
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
    pub fn commit(self) -> Result<()> {
        match self.number {
            0 => now(self.body.commit()),
            number => now(self.body.release(number)),
        }
    }

    /// Undoes everything.
    ///
    /// An error whose outcome is Unknown tells of writes behind a conflict that, as the schema has
    /// it, rolled the transaction back: those may have happened.
    pub fn rollback(mut self) -> Result<()> {
        match self.number {
            0 => {
                let ended = now(self.body.rollback());
                self.is_over = ended.is_ok();
                ended
            }
            number => now(self.body.roll_back_to(number)),
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
