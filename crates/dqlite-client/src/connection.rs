//! The client under tokio.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::Result;
use crate::leader;
use crate::params::Params;
use crate::row::Row;
use crate::statement::{Answer, Done, Plan, only_row};
use crate::transaction::{Behavior, State, commit_pauses, commits_again, is_rolled_back};
use crate::wire::Wire;

/// Finds the leader and opens the database of `config`, within its `connect_timeout`.
///
/// Whatever the error, nothing was executed. While it searches it runs tasks of its own; none is
/// left when it returns or is dropped.
pub async fn connect(config: &Config) -> Result<Connection> {
    Ok(Connection {
        wire: dial(config).await?,
        config: config.clone(),
        state: State::None,
    })
}

/// A session with one database on the leader.
///
/// It lives as long as the node leads and the connection holds. After an error, look at
/// [`is_lost`](Self::is_lost): a lost connection serves again after [`reconnect`](Self::reconnect).
///
/// A call may be given up by dropping its future. The statement may then have run; its reply is
/// read and thrown away before the next call, and an open transaction can only be rolled back.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    wire: Wire,
    state: State,
}

impl Connection {
    /// Runs one statement and reports what it changed; rows, if it yields any, are dropped.
    ///
    /// A wrong number of parameters, or several statements, are errors of kind Usage; nothing is
    /// sent. [`Error::outcome`](crate::Error::outcome) tells whether a failed statement may have
    /// happened.
    pub fn execute(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Done>> + Send {
        // Parameters become bytes at once: values that may not leave the thread need not.
        let plan = self.plan(sql, params);
        async move { Ok(self.run(plan?).await?.done) }
    }

    /// Runs one statement and returns its rows.
    pub fn query(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        let plan = self.plan(sql, params);
        async move { Ok(self.run(plan?).await?.rows) }
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

    /// Begins a transaction that has the write lock from the start.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with(Behavior::Immediate).await
    }

    /// Begins a transaction.
    pub async fn transaction_with(&mut self, behavior: Behavior) -> Result<Transaction<'_>> {
        let deadline = self.deadline();
        self.roll_back_abandoned(deadline).await?;
        let plan = self.plan(behavior.sql(), ())?;
        // If this future is dropped, the transaction may begin nevertheless.
        self.state = State::Abandoned;
        let begun = self.send(plan, deadline, State::None).await;
        self.state = State::after_begin(begun.as_ref().err());
        begun.map(|_| Transaction { connection: self })
    }

    /// Whether the session has ended: nothing can be sent any more.
    pub fn is_lost(&self) -> bool {
        self.wire.session().is_lost()
    }

    /// Finds the leader again and begins a new session. A transaction of the old one is gone.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.wire = dial(&self.config).await?;
        self.state = State::None;
        Ok(())
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        self.wire.address().as_str()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    fn plan<'s>(&self, sql: &'s str, params: impl Params) -> Result<Plan<'s>> {
        Plan::new(sql, params, self.state, self.wire.session().class())
    }

    async fn run(&mut self, plan: Plan<'_>) -> Result<Answer> {
        let deadline = self.deadline();
        self.roll_back_abandoned(deadline).await?;
        let before = self.state;
        self.state = before.while_running();
        self.send(plan, deadline, before).await
    }

    /// Sends a statement; afterwards the transaction is what `before` has become by it.
    async fn send(&mut self, plan: Plan<'_>, deadline: Instant, before: State) -> Result<Answer> {
        let rolls_back = plan.rolls_back();
        let result = if let Err(error) = self.wire.ready(deadline).await {
            Err(plan.not_sent(error))
        } else {
            let address = self.wire.address().to_string();
            match plan.start(self.wire.session_mut(), &address) {
                Ok(mut running) => self.wire.run(&mut running, deadline).await,
                Err(error) => Err(error),
            }
        };
        self.state = match &result {
            Ok(_) => before,
            Err(error) => before.after(error, rolls_back),
        };
        if self.wire.session().is_lost() {
            self.config.forget(self.wire.address());
        }
        result
    }

    /// Ends a transaction that was dropped.
    async fn roll_back_abandoned(&mut self, deadline: Instant) -> Result<()> {
        if self.state == State::Abandoned {
            tracing::debug!(target: "dqlite", "rolling back a transaction that was dropped");
            self.roll_back(deadline).await?;
        }
        Ok(())
    }

    async fn roll_back(&mut self, deadline: Instant) -> Result<()> {
        self.state = State::Abandoned;
        let plan = self.plan("ROLLBACK", ())?;
        match self.send(plan, deadline, State::Abandoned).await {
            Err(error) if !is_rolled_back(&error) => {
                self.state = State::Abandoned;
                Err(error)
            }
            _ => {
                self.state = State::None;
                Ok(())
            }
        }
    }
}

async fn dial(config: &Config) -> Result<Wire> {
    let deadline = Instant::now() + config.connect_timeout;
    leader::search(config, Some(&config.database), deadline).await
}

/// A transaction. Dropped without [`commit`](Self::commit) it is rolled back before the next use
/// of the connection.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c mut Connection,
}

impl Transaction<'_> {
    /// As [`Connection::execute`].
    pub fn execute(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Done>> + Send {
        self.connection.execute(sql, params)
    }

    /// As [`Connection::query`].
    pub fn query(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        self.connection.query(sql, params)
    }

    /// As [`Connection::query_opt`].
    pub fn query_opt(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Option<Row>>> + Send {
        self.connection.query_opt(sql, params)
    }

    /// As [`Connection::query_one`].
    pub fn query_one(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> impl Future<Output = Result<Row>> + Send {
        self.connection.query_one(sql, params)
    }

    /// Makes everything durable. An error whose
    /// [`is_commit_ambiguous`](crate::Error::is_commit_ambiguous) is true leaves that open.
    pub async fn commit(self) -> Result<()> {
        let deadline = self.connection.deadline();
        let mut pauses: Backoff = commit_pauses();
        loop {
            match self.connection.execute("COMMIT", ()).await {
                Err(error) if commits_again(&error, deadline) => {
                    tokio::time::sleep(pauses.next(Duration::MAX)).await;
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    self.connection.state = State::None;
                    return Ok(());
                }
            }
        }
    }

    /// Undoes everything.
    pub async fn rollback(self) -> Result<()> {
        let deadline = self.connection.deadline();
        self.connection.roll_back(deadline).await
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.connection.state != State::None {
            self.connection.state = State::Abandoned;
        }
    }
}
