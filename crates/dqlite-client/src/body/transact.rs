//! Beginning and ending transactions and savepoints.

use std::time::{Duration, Instant};

use super::Body;
use crate::driver::Driver;
use crate::error::Result;
use crate::params::Params;
use crate::statement::{Answer, Plan};
use crate::transaction::{self, Behavior, State, commit_pauses, commits_again};

/// How a transaction that was to be undone has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The server has undone it.
    Undone,
    /// The server had ended it before.
    Earlier,
    /// With its session.
    Lost,
}

impl<D: Driver> Body<D> {
    /// Begins a transaction.
    pub(crate) async fn begin(&mut self, behavior: Behavior) -> Result<()> {
        let deadline = self.deadline();
        self.tidy(deadline).await?;
        let plan = self.control(behavior.sql(), ())?;
        (self.trouble, self.owned) = (None, false);
        let begun = self.send_as(plan, State::Abandoned, deadline).await;
        self.state = State::after_begin(begun.as_ref().err());
        (self.savepoints, self.wanted) = (0, 0);
        begun.map(drop)
    }

    /// Makes everything durable.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        let deadline = self.deadline();
        self.tidy(deadline).await?;
        let mut pauses = commit_pauses();
        loop {
            let (plan, state) = (self.control("COMMIT", ())?, self.state);
            match self.send(plan, deadline).await {
                Err(error) if commits_again(&error, deadline) => {
                    D::sleep(pauses.next(Duration::MAX)).await;
                }
                Err(error) => return Err(state.judge_commit(error)),
                Ok(_) => {
                    self.no_transaction();
                    return Ok(());
                }
            }
        }
    }

    /// Undoes everything.
    pub(crate) async fn rollback(&mut self) -> Result<()> {
        let deadline = self.deadline();
        let is_astray = self.state == State::Astray;
        match self.roll_back(deadline).await? {
            Ended::Earlier | Ended::Lost if is_astray => Err(transaction::astray()),
            _ => Ok(()),
        }
    }

    /// Begins a savepoint; its number.
    pub(crate) async fn save(&mut self) -> Result<u32> {
        let deadline = self.deadline();
        self.tidy(deadline).await?;
        let number = self.savepoints + 1;
        let sql = transaction::savepoint(number);
        let plan = self.control(&sql, ())?;
        self.send(plan, deadline).await?;
        (self.savepoints, self.wanted) = (number, number);
        Ok(number)
    }

    /// Lets a savepoint become part of what is around it.
    pub(crate) async fn release(&mut self, number: u32) -> Result<()> {
        let deadline = self.deadline();
        self.tidy(deadline).await?;
        let sql = transaction::release(number);
        let plan = self.control(&sql, ())?;
        self.send(plan, deadline).await?;
        (self.savepoints, self.wanted) = (number - 1, number - 1);
        Ok(())
    }

    /// Undoes what was done since a savepoint began.
    pub(crate) async fn roll_back_to(&mut self, number: u32) -> Result<()> {
        self.unwind(number);
        let deadline = self.deadline();
        self.tidy(deadline).await
    }

    /// Has everything since a savepoint, or since the beginning, undone before the next use.
    pub(crate) fn unwind(&mut self, number: u32) {
        if number == 0 {
            if self.state != State::None {
                self.state = State::Abandoned;
            }
        } else {
            self.wanted = self.wanted.min(number - 1);
        }
    }

    /// Undoes what was dropped.
    pub(super) async fn tidy(&mut self, deadline: Instant) -> Result<()> {
        if self.state == State::Abandoned {
            tracing::debug!(target: "dqlite", "rolling back a transaction that was dropped");
            self.roll_back(deadline).await?;
        }
        if self.savepoints > self.wanted && self.state.check().is_ok() {
            let number = self.wanted + 1;
            for sql in transaction::undo(number) {
                let plan = self.control(&sql, ())?;
                self.send(plan, deadline).await?;
            }
            self.savepoints = self.wanted;
        }
        Ok(())
    }

    /// Ends the transaction.
    pub(super) async fn roll_back(&mut self, deadline: Instant) -> Result<Ended> {
        let plan = self.control("ROLLBACK", ())?;
        let sent = self.send_as(plan, State::Abandoned, deadline).await;
        let ended = match sent {
            Ok(_) => Ended::Undone,
            Err(error) if transaction::is_rolled_back(&error) => Ended::Earlier,
            Err(_) if self.is_lost() => Ended::Lost,
            Err(error) => {
                self.state = State::Abandoned;
                return Err(error);
            }
        };
        self.no_transaction();
        Ok(ended)
    }

    /// Sends what begins or ends a transaction. If it is given up, `meanwhile` is what is left.
    async fn send_as(
        &mut self,
        plan: Plan<'_>,
        meanwhile: State,
        deadline: Instant,
    ) -> Result<Answer> {
        self.state = meanwhile;
        let result = match self.start(plan, deadline).await {
            Ok(mut running) => self.driver.run(&mut running, deadline).await,
            Err(error) => Err(error),
        };
        if self.is_lost() {
            self.config.forget(self.driver.address());
        }
        result
    }

    /// Sends a statement of our own, whatever the state of the transaction.
    pub(super) async fn send_anyway(&mut self, sql: &str, deadline: Instant) -> Result<()> {
        let class = self.driver.session().class();
        let plan = Plan::new(sql, (), State::None, class)?;
        self.send_as(plan, self.state, deadline).await.map(drop)
    }

    /// A statement of our own.
    pub(super) fn control<'s>(&self, sql: &'s str, params: impl Params) -> Result<Plan<'s>> {
        let state = if sql == "ROLLBACK" {
            State::None
        } else {
            self.state
        };
        Plan::new(sql, params, state, self.driver.session().class())
    }

    pub(super) const fn no_transaction(&mut self) {
        self.state = State::None;
        (self.savepoints, self.wanted) = (0, 0);
    }
}
