//! One statement with many sets of parameters.

use std::time::Instant;

use dqlite_proto::outcome::Effect;

use super::{Body, Ended, Sent};
use crate::breaker::Fingerprint;
use crate::bulk::{Bulk, Fault, Many};
use crate::clock;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::transaction::{self, Behavior, State};

impl<D: Driver> Body<D> {
    /// Runs all of them or none: in a transaction of its own, or in a savepoint.
    pub(crate) async fn execute_many<I>(&mut self, sql: &str, sets: I) -> Result<Many>
    where
        I: Iterator<Item: Params> + Send,
    {
        let deadline = self.deadline();
        self.tidy(deadline).await?;
        self.state.check()?;
        if self.state == State::None {
            self.many_alone(sql, sets, deadline).await
        } else {
            self.many_inside(sql, sets, deadline).await
        }
    }

    async fn many_alone<I>(&mut self, sql: &str, sets: I, deadline: Instant) -> Result<Many>
    where
        I: Iterator<Item: Params> + Send,
    {
        self.until(deadline);
        self.begin(Behavior::Immediate).await?;
        self.owned = true;
        let result = self.run_many(sql, sets, deadline).await;
        let result = match result {
            Ok(many) => {
                self.until(deadline);
                self.commit().await.map(|()| many)
            }
            Err(fault) => {
                // The time of the call may be used up; this is needed all the same.
                let limit = clock::after(self.config.timeout);
                Err(match self.roll_back(limit).await {
                    Ok(Ended::Undone) => fault.error,
                    Ok(Ended::Earlier) => fault.applied(),
                    Ok(Ended::Lost) | Err(_) => fault.in_doubt(),
                })
            }
        };
        self.owned = false;
        self.unwind(0);
        result
    }

    async fn many_inside<I>(&mut self, sql: &str, sets: I, deadline: Instant) -> Result<Many>
    where
        I: Iterator<Item: Params> + Send,
    {
        self.until(deadline);
        let number = self.save().await?;
        match self.run_many(sql, sets, deadline).await {
            Ok(many) => {
                self.until(deadline);
                self.release(number).await.map(|()| many)
            }
            Err(fault) => {
                let error = self.undo_many(number, fault).await;
                self.unwind(number);
                Err(error)
            }
        }
    }

    /// Finds out what is left of executions in a savepoint that is to be undone.
    async fn undo_many(&mut self, number: u32, fault: Fault) -> Error {
        if !fault.may_leave_traces() {
            return fault.error;
        }
        let limit = clock::after(self.config.timeout);
        let [undo, _] = transaction::undo(number);
        match self.send_anyway(&undo, limit).await {
            Ok(()) => fault.error,
            // The savepoint is gone, and the transaction with it.
            Err(error) if transaction::is_rolled_back(&error) => {
                self.state = State::Spent;
                fault.applied()
            }
            Err(_) => fault.in_doubt(),
        }
    }

    async fn run_many<I>(&mut self, sql: &str, sets: I, deadline: Instant) -> Result<Many, Fault>
    where
        I: Iterator<Item: Params> + Send,
    {
        let address = self.driver.address().to_string();
        let session = self.driver.session();
        let bulk = Bulk::new(sql, sets, session, &mut self.cache, address);
        let mut bulk = bulk.map_err(Fault::alone)?;
        let statement = Fingerprint::of(sql, 0);
        self.check_breaker(Some(statement)).map_err(Fault::alone)?;
        self.driver.ready(deadline).await.map_err(Fault::alone)?;
        self.forget_lost_statements();
        let call = Sent {
            before: self.state,
            effect: Effect::Write,
            rolls_back: bulk.rolls_back(),
            statement: Some(statement),
        };
        self.state = self.meanwhile();
        let result = match bulk.start(self.driver.session_mut()) {
            Ok(Some(many)) => Ok(many),
            Ok(None) => self.driver.run(&mut bulk, deadline).await,
            Err(error) => Err(error),
        };
        if let Some(id) = bulk.prepared() {
            self.keep(id, sql);
        }
        self.settle(call, result.as_ref().err());
        result.map_err(|error| bulk.fault(error))
    }

    /// The next step of a call has what is left of its time.
    fn until(&mut self, deadline: Instant) {
        self.within = Some(deadline.saturating_duration_since(clock::now()));
    }
}
