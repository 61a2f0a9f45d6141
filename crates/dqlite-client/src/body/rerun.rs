//! Whole transactions: run, and run again while that is proven to be harmless.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use dqlite_proto::outcome::Effect;
use dqlite_proto::{Outcome, Retry};

use super::{Body, Ended};
use crate::clock;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::params::Params;
use crate::rerun::{Fault, Policy, Rerun};
use crate::row::Row;
use crate::statement::Plan;
use crate::token::{self, Finding, Token};
use crate::transaction::State;

/// The runs of one transaction.
pub(crate) struct Runs<'t, T> {
    policy: Policy,
    token: Option<&'t Token>,
    rerun: Rerun,
    /// What the caller's function returned in a run whose COMMIT was not answered.
    in_doubt: Option<T>,
}

impl<'t, T> Runs<'t, T> {
    /// Before the first one.
    pub(crate) fn new(policy: &Policy, token: Option<&'t Token>) -> Result<Self> {
        if token.is_some_and(|token| !token.is_valid()) {
            return Err(Error::usage("a token has between 1 and 1024 bytes"));
        }
        // Without a token nobody finds out what became of an earlier run.
        let policy = Policy {
            has_token: token.is_some(),
            ..*policy
        };
        Ok(Self::with(&policy, token))
    }

    /// Before the first one, where another run does no harm whatever became of an earlier one.
    fn repeatable(policy: &Policy) -> Self {
        let policy = Policy {
            has_token: true,
            ..*policy
        };
        Self::with(&policy, None)
    }

    fn with(policy: &Policy, token: Option<&'t Token>) -> Self {
        Self {
            policy: *policy,
            token,
            rerun: Rerun::new(policy, clock::now(), fastrand::u64(..)),
            in_doubt: None,
        }
    }
}

impl<T> Runs<'_, T> {
    /// The error when there is no further run: whatever stopped the last one, an earlier one may
    /// have taken effect.
    fn last(&self, error: Error, fault: Fault) -> Error {
        if self.in_doubt.is_some() && !fault.commit {
            Error::commit_in_doubt().with_source(error)
        } else {
            error
        }
    }
}

/// A connection whose calls are parts of one.
pub(crate) struct Limited<'b, D: Driver>(&'b mut Body<D>);

impl<D: Driver> Deref for Limited<'_, D> {
    type Target = Body<D>;

    fn deref(&self) -> &Body<D> {
        self.0
    }
}

impl<D: Driver> DerefMut for Limited<'_, D> {
    fn deref_mut(&mut self) -> &mut Body<D> {
        self.0
    }
}

impl<D: Driver> Drop for Limited<'_, D> {
    fn drop(&mut self) {
        (self.0.limit, self.0.owned) = (None, false);
    }
}

/// The table and the write that make the answer to a read one of the whole cluster.
const FENCE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS _dqlite_fence (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER)",
    "INSERT INTO _dqlite_fence VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET n = n + 1",
];

impl<D: Driver> Body<D> {
    /// Bounds all calls until it is dropped.
    pub(crate) fn limited<T>(&mut self, runs: &Runs<'_, T>) -> Limited<'_, D> {
        self.limit = Some(runs.rerun.deadline());
        Limited(self)
    }

    /// Begins the next run. Something comes back if that is not needed any more: an earlier run
    /// has taken effect.
    pub(crate) async fn begin_run<T>(&mut self, runs: &mut Runs<'_, T>) -> Result<Option<T>> {
        loop {
            let begun = self.try_begin(&runs.policy, runs.token).await;
            self.owned = false;
            match begun {
                Ok(false) => return Ok(None),
                Ok(true) => {
                    self.unwind(0);
                    let value = runs.in_doubt.take();
                    return value.map(Some).ok_or_else(Error::already_applied);
                }
                Err((fault, error)) => match runs.rerun.after(fault, clock::now()) {
                    Some(pause) => D::sleep(pause).await,
                    None => return Err(runs.last(error, fault)),
                },
            }
        }
    }

    /// Begins a transaction and inserts the token; `true` if that is there already.
    async fn try_begin(
        &mut self,
        policy: &Policy,
        token: Option<&Token>,
    ) -> Result<bool, (Fault, Error)> {
        // What is left of a COMMIT that nobody answered is best left behind.
        if self.is_lost() || !self.driver.session().is_idle() {
            let connected = self.reconnect().await;
            connected.map_err(|error| (Fault::of(&error), error))?;
        }
        let begun = self.begin(policy.behavior).await;
        begun.map_err(|error| (Fault::of(&error), error))?;
        self.owned = true;
        match self.insert_token(token).await {
            Ok(applied) => Ok(applied),
            Err(error) => Err((self.undo(self.trouble).await, error)),
        }
    }

    /// Ends a run with what the caller's function returned; nothing comes back if there is to be
    /// another one.
    pub(crate) async fn end_run<T, E: From<Error>>(
        &mut self,
        runs: &mut Runs<'_, T>,
        result: Result<T, E>,
    ) -> Option<Result<T, E>> {
        self.owned = true;
        // The token was new, and nobody else could write: no earlier run took effect, or will.
        runs.in_doubt = None;
        let (fault, error) = match result {
            Err(error) => (self.undo(self.trouble).await, error),
            Ok(value) => match self.commit().await {
                Ok(()) => return Some(Ok(value)),
                Err(error) => {
                    let mut fault = Fault::of(&error);
                    if fault.commit {
                        self.unwind(0);
                        runs.in_doubt = Some(value);
                    } else {
                        fault = self.undo(Some((fault.outcome, fault.retry))).await;
                    }
                    (fault, error.into())
                }
            },
        };
        self.owned = false;
        if let Some(pause) = runs.rerun.after(fault, clock::now()) {
            D::sleep(pause).await;
            return None;
        }
        Some(Err(error))
    }

    /// Rolls a failed run back; says what failed it, if nothing of it is left.
    async fn undo(&mut self, trouble: Option<(Outcome, Retry)>) -> Fault {
        let may_run_on_its_own = self.state.is_doubtful();
        let (mut outcome, mut retry) = trouble.unwrap_or((Outcome::Refused, Retry::No));
        let deadline = self.deadline();
        match self.roll_back(deadline).await {
            // Statements behind a conflict that rolled back have run on their own.
            Ok(Ended::Earlier | Ended::Lost) if may_run_on_its_own => {
                (outcome, retry) = (Outcome::Unknown, Retry::No);
            }
            Ok(_) => {}
            // The next run begins on another session; this one ends with its connection.
            Err(_) => drop(self.driver.session_mut().lose()),
        }
        Fault {
            outcome,
            retry,
            commit: false,
        }
    }

    /// Inserts the token; `true` if it is there already.
    async fn insert_token(&mut self, token: Option<&Token>) -> Result<bool> {
        let Some(token) = token else {
            return Ok(false);
        };
        let inserted = self.execute(token::INSERT, (token.as_bytes(),)).await;
        let finding = match &inserted {
            Ok(()) => return self.prune().await.map(|()| false),
            Err(error) => error.failure().map_or(Finding::Other, Finding::of),
        };
        match finding {
            Finding::Applied => Ok(true),
            Finding::NoTable => {
                self.execute(token::CREATE, ()).await?;
                self.execute(token::INSERT, (token.as_bytes(),)).await?;
                Ok(false)
            }
            Finding::Other => inserted.map(|()| false),
        }
    }

    async fn prune(&mut self) -> Result<()> {
        if fastrand::u32(0..token::PRUNED_EVERY) > 0 {
            return Ok(());
        }
        let params = (token::RETENTION.as_secs(), token::PRUNED_MAX);
        self.execute(token::FORGET, params).await
    }

    async fn execute(&mut self, sql: &str, params: impl Params) -> Result<()> {
        let plan = self.plan(sql, params)?;
        self.run(plan).await.map(drop)
    }

    /// Rows that were current at some time during the call, whoever led meanwhile.
    pub(crate) async fn query_linearizable(&mut self, read: &Plan<'static>) -> Result<Vec<Row>> {
        let policy = Policy {
            timeout: self.within.take().unwrap_or(self.config.timeout),
            ..Policy::default()
        };
        // Whether the fence of an earlier run was set does not matter.
        let mut runs = Runs::repeatable(&policy);
        let mut body = self.limited(&runs);
        let read = loop {
            if let Err(error) = body.begin_run::<Vec<Row>>(&mut runs).await {
                break Err(error);
            }
            body.owned = true;
            let rows = body.fenced(read).await;
            if let Some(end) = body.end_run(&mut runs, rows).await {
                break end;
            }
        };
        read.map_err(|error| match error.kind() {
            // The fence alone is in doubt.
            ErrorKind::CommitUnknown => error.with_verdict(Outcome::Refused, Retry::Elsewhere),
            _ => error,
        })
    }

    async fn fenced(&mut self, read: &Plan<'static>) -> Result<Vec<Row>> {
        self.fence().await?;
        Ok(self.run(read.clone().inside()).await?.rows)
    }

    /// A statement that cannot write.
    pub(crate) fn plan_read(&self, sql: &str, params: impl Params) -> Result<Plan<'static>> {
        if self.state != State::None {
            let text = "a linearizable read is a transaction of its own; one is open";
            return Err(Error::usage(text));
        }
        let plan = self.control(sql, params)?;
        if plan.effect() != Effect::Read {
            return Err(Error::usage("a linearizable read cannot write"));
        }
        Ok(plan.into_owned())
    }

    /// Removes tokens that are older.
    pub(crate) async fn forget_tokens(&mut self, older_than: Duration) -> Result<u64> {
        let params = (older_than.as_secs(), i64::MAX);
        let plan = self.plan(token::FORGET, params)?;
        match self.run(plan).await {
            Err(error) if error.is_no_table() => Ok(0),
            answer => Ok(answer?.done.rows_affected),
        }
    }

    async fn fence(&mut self) -> Result<()> {
        match self.execute(FENCE[1], ()).await {
            Err(error) if error.is_no_table() => {
                self.execute(FENCE[0], ()).await?;
                self.execute(FENCE[1], ()).await
            }
            fenced => fenced,
        }
    }
}
