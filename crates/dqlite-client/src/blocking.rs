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

use crate::config::Config;
use crate::error::Result;
use crate::fd::{self, Link, never};
use crate::params::Params;
use crate::row::Row;
use crate::statement::{Answer, Done, Plan, only_row};
use crate::transaction::{Behavior, State, commit_pauses, commits_again, is_rolled_back};

pub use crate::cluster::blocking::{Admin, probe};

/// A session with one database on the leader.
///
/// It lives as long as the node leads and the connection holds. After an error, look at
/// [`is_lost`](Self::is_lost): a lost connection serves again after [`reconnect`](Self::reconnect).
#[derive(Debug)]
pub struct Connection {
    config: Config,
    link: Link,
    state: State,
}

impl Connection {
    /// Finds the leader and opens the database of `config`, within its `connect_timeout`.
    ///
    /// Whatever the error, nothing was executed.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            link: dial(config)?,
            config: config.clone(),
            state: State::None,
        })
    }

    /// Runs one statement and reports what it changed; rows, if it yields any, are dropped.
    ///
    /// A wrong number of parameters, or several statements, are errors of kind Usage; nothing is
    /// sent.
    ///
    /// [`Error::outcome`](crate::Error::outcome) tells whether a failed statement may have
    /// happened.
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<Done> {
        Ok(self.run(sql, params)?.done)
    }

    /// Runs one statement and returns its rows.
    pub fn query(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        Ok(self.run(sql, params)?.rows)
    }

    /// Runs one statement and returns its first row, if it yields any.
    pub fn query_opt(&mut self, sql: &str, params: impl Params) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// Runs one statement and returns its first row; an error of kind `NoRows` if it yields none.
    pub fn query_one(&mut self, sql: &str, params: impl Params) -> Result<Row> {
        only_row(self.query_opt(sql, params)?)
    }

    /// Begins a transaction that has the write lock from the start.
    pub fn transaction(&mut self) -> Result<Transaction<'_>> {
        self.transaction_with(Behavior::Immediate)
    }

    /// Begins a transaction.
    pub fn transaction_with(&mut self, behavior: Behavior) -> Result<Transaction<'_>> {
        let deadline = self.deadline();
        self.roll_back_abandoned(deadline)?;
        let begun = self.send(behavior.sql(), (), deadline);
        self.state = State::after_begin(begun.as_ref().err());
        begun.map(|_| Transaction { connection: self })
    }

    /// Whether the session has ended: nothing can be sent any more.
    pub fn is_lost(&self) -> bool {
        self.link.session().is_lost()
    }

    /// Finds the leader again and begins a new session. A transaction of the old one is gone.
    pub fn reconnect(&mut self) -> Result<()> {
        self.link = dial(&self.config)?;
        self.state = State::None;
        Ok(())
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        self.link.address().as_str()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    fn run(&mut self, sql: &str, params: impl Params) -> Result<Answer> {
        let deadline = self.deadline();
        self.roll_back_abandoned(deadline)?;
        self.send(sql, params, deadline)
    }

    fn send(&mut self, sql: &str, params: impl Params, deadline: Instant) -> Result<Answer> {
        let address = self.link.address().to_string();
        let plan = Plan::new(sql, params, self.state, self.link.session().class())?;
        let rolls_back = plan.rolls_back();
        let result = if let Err(error) = fd::ready(&mut self.link, deadline, &mut never) {
            Err(plan.not_sent(error))
        } else {
            let mut running = plan.start(self.link.session_mut(), &address)?;
            fd::run(&mut self.link, &mut running, deadline, &mut never)
        };
        result.inspect_err(|error| {
            self.state = self.state.after(error, rolls_back);
            if self.link.session().is_lost() {
                self.config.forget(self.link.address());
            }
        })
    }

    /// Ends a transaction that was dropped.
    fn roll_back_abandoned(&mut self, deadline: Instant) -> Result<()> {
        if self.state == State::Abandoned {
            tracing::debug!(target: "dqlite", "rolling back a transaction that was dropped");
            self.roll_back(deadline)?;
        }
        Ok(())
    }

    fn roll_back(&mut self, deadline: Instant) -> Result<()> {
        self.state = State::None;
        match self.send("ROLLBACK", (), deadline) {
            Err(error) if !is_rolled_back(&error) => {
                self.state = State::Abandoned;
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

fn dial(config: &Config) -> Result<Link> {
    fd::dial(config, Instant::now() + config.connect_timeout, &mut never)
}

/// A transaction. Dropped without [`commit`](Self::commit) it is rolled back before the next use
/// of the connection.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c mut Connection,
}

impl Transaction<'_> {
    /// As [`Connection::execute`].
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<Done> {
        self.connection.execute(sql, params)
    }

    /// As [`Connection::query`].
    pub fn query(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        self.connection.query(sql, params)
    }

    /// As [`Connection::query_opt`].
    pub fn query_opt(&mut self, sql: &str, params: impl Params) -> Result<Option<Row>> {
        self.connection.query_opt(sql, params)
    }

    /// As [`Connection::query_one`].
    pub fn query_one(&mut self, sql: &str, params: impl Params) -> Result<Row> {
        self.connection.query_one(sql, params)
    }

    /// Makes everything durable. An error whose
    /// [`is_commit_ambiguous`](crate::Error::is_commit_ambiguous) is true leaves that open.
    pub fn commit(self) -> Result<()> {
        let deadline = self.connection.deadline();
        let mut pauses = commit_pauses();
        loop {
            match self.connection.send("COMMIT", (), deadline) {
                Err(error) if commits_again(&error, deadline) => {
                    std::thread::sleep(pauses.next(Duration::MAX));
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
    pub fn rollback(self) -> Result<()> {
        let deadline = self.connection.deadline();
        self.connection.roll_back(deadline)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.connection.state != State::None {
            self.connection.state = State::Abandoned;
        }
    }
}
