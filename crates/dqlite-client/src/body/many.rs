//! One statement with many sets of parameters.

use std::time::Instant;

use dqlite_proto::outcome::Effect;

use super::{Body, Sent};
use crate::breaker::Fingerprint;
use crate::bulk::{Bulk, Many, partly_applied};
use crate::clock;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::transaction::{Behavior, State};

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
            Err((error, behind)) => {
                // The time of the call may be used up; this is needed all the same.
                let limit = clock::now() + self.config.timeout;
                match self.roll_back(limit).await {
                    Ok(false) if !behind.is_empty() => Err(partly_applied(error, &behind)),
                    _ => Err(error),
                }
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
            Err((error, _)) => {
                self.unwind(number);
                Err(error)
            }
        }
    }

    async fn run_many<I>(
        &mut self,
        sql: &str,
        sets: I,
        deadline: Instant,
    ) -> Result<Many, (Error, Vec<u64>)>
    where
        I: Iterator<Item: Params> + Send,
    {
        let alone = |error: Error| (error, Vec::new());
        let address = self.driver.address().to_string();
        let session = self.driver.session();
        let bulk = Bulk::new(sql, sets, session, &mut self.cache, address);
        let mut bulk = bulk.map_err(alone)?;
        let statement = Fingerprint::of(sql, 0);
        self.check_breaker(Some(statement)).map_err(alone)?;
        self.driver.ready(deadline).await.map_err(alone)?;
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
        result.map_err(|error| (error, bulk.behind().to_vec()))
    }

    /// The next step of a call has what is left of its time.
    fn until(&mut self, deadline: Instant) {
        self.within = Some(deadline.saturating_duration_since(clock::now()));
    }
}
