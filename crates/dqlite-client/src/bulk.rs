//! One statement with many sets of parameters, pipelined, PURE.
//!
//! ```text
//! PREPARE ─► id    EXEC 0 ─ EXEC 1 ─ .. ─ EXEC k      at most a window without an answer
//!                     └─ answered in order; after an error nothing more is sent, and what is
//!                        under way is read to its end
//! ```
//!
//! An error does not stop the requests behind it. In a transaction that does not matter, because
//! the transaction is rolled back; so it runs in one.

use dqlite_proto::outcome::{self, Call};
use dqlite_proto::sql::Parameters;
use dqlite_proto::{
    Event, FailureKind, Outcome, Request, Response, Retry, Session, Ticket, Violation,
};

use crate::cache::{Advice, Cache};
use crate::error::{Error, Result};
use crate::exchange::{Exchange, unexpected};
use crate::params::Params;
use crate::statement::{check_danger, effect, only_statement};
use crate::transaction::State;

/// What many executions of one statement did together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Many {
    /// How many sets of parameters there were.
    pub executions: u64,
    /// How many rows were inserted, changed or deleted.
    pub rows_affected: u64,
}

/// A statement to be run many times.
pub(crate) struct Bulk<'s, I> {
    sql: &'s str,
    parameters: Parameters<'s>,
    sets: I,
    call: Call,
    address: String,
    /// An error would roll the transaction back, and what is behind it would run on its own.
    one_by_one: bool,
    known: Option<u32>,
    stage: Stage,
    /// A set that did not fit into the window.
    waiting: Option<dqlite_proto::Params>,
    rest: Rest,
    sent: u64,
    answered: u64,
    many: Many,
    /// The first error, and executions behind it that succeeded.
    error: Option<(Origin, Error)>,
    behind: Vec<u64>,
}

/// What is left of the sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Comes,
    Ended,
    /// It may not be sent any more.
    Stopped,
}

/// Whose error it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The set's: it was never sent.
    Caller,
    /// The session has ended with it, and what is behind it cannot have run.
    Session,
    /// The statement's. It may have ended the transaction: then what is behind it ran on its own.
    Statement,
}

/// Why not all were executed.
pub(crate) struct Fault {
    pub(crate) error: Error,
    /// Executions behind the refused one that succeeded: on their own, if the server ended the
    /// transaction.
    pub(crate) behind: Vec<u64>,
    /// Whether there are others, of which that is not known.
    pub(crate) is_in_doubt: bool,
}

impl Fault {
    /// Nothing was executed behind the error.
    pub(crate) const fn alone(error: Error) -> Self {
        Self {
            error,
            behind: Vec::new(),
            is_in_doubt: false,
        }
    }

    /// Whether executions behind the refused one may stay.
    pub(crate) const fn may_leave_traces(&self) -> bool {
        self.is_in_doubt || !self.behind.is_empty()
    }

    /// The error when the server had ended the transaction before it was told to.
    pub(crate) fn applied(self) -> Error {
        match (self.is_in_doubt, self.behind.is_empty()) {
            (false, true) => self.error,
            (true, true) => self.in_doubt(),
            _ => partly_applied(self.error, &self.behind),
        }
    }

    /// The error when the server could not be asked.
    pub(crate) fn in_doubt(self) -> Error {
        if !self.may_leave_traces() {
            return self.error;
        }
        let text = "; if the server rolled the transaction back by itself, executions behind it \
                    may have taken effect on their own";
        let error = self.error.with_more(text);
        error.with_verdict(Outcome::Unknown, Retry::No)
    }
}

#[derive(Clone, Copy)]
enum Stage {
    Preparing(Ticket),
    Running { id: u32, next: Option<Ticket> },
}

impl<'s, I> Bulk<'s, I>
where
    I: Iterator<Item: Params>,
{
    /// Decides how to send it, and refuses what cannot be sent so.
    pub(crate) fn new(
        sql: &'s str,
        sets: I,
        session: &Session,
        cache: &mut Cache,
        address: String,
    ) -> Result<Self> {
        let statement = only_statement(sql)?;
        if !statement.kind.counts_rows() || statement.returning {
            let text = "only INSERT, REPLACE, UPDATE and DELETE can be run many times, \
                        without RETURNING";
            return Err(Error::usage(text));
        }
        check_danger(&statement, State::Open, session.class().unwrap_or_default())?;
        let call = Call {
            effect: effect(&statement),
            in_transaction: true,
            one_query: false,
        };
        let known = match cache.advise(sql) {
            Advice::Run(id) => Some(id),
            Advice::Text | Advice::Prepare => None,
        };
        Ok(Self {
            sql,
            one_by_one: statement.or_rollback,
            parameters: statement.parameters,
            sets,
            call,
            address,
            known,
            stage: Stage::Running { id: 0, next: None },
            waiting: None,
            rest: Rest::Comes,
            sent: 0,
            answered: 0,
            many: Many::default(),
            error: None,
            behind: Vec::new(),
        })
    }

    /// Whether a conflict in it rolls the transaction back.
    pub(crate) const fn rolls_back(&self) -> bool {
        self.one_by_one
    }

    /// Queues the first requests; done at once if there is nothing to run.
    pub(crate) fn start(&mut self, session: &mut Session) -> Result<Option<Many>> {
        let Some(id) = self.known else {
            self.stage = Stage::Preparing(session.queue(&Request::Prepare { sql: self.sql })?);
            return Ok(None);
        };
        self.stage = Stage::Running { id, next: None };
        self.fill(session);
        self.result()
    }

    /// The id of the prepared statement, to be kept.
    pub(crate) const fn prepared(&self) -> Option<u32> {
        match self.stage {
            Stage::Running { id, .. } if self.known.is_none() => Some(id),
            _ => None,
        }
    }

    /// What stopped it, after the driver or the executions themselves ended with an error.
    pub(crate) fn fault(mut self, error: Error) -> Fault {
        // Where the connection ended behind a refusal, that says more.
        let refused = self.error.take_if(|(of, _)| *of == Origin::Statement);
        Fault {
            is_in_doubt: refused.is_some() && self.sent > self.answered,
            error: refused.map_or(error, |(_, refused)| refused),
            behind: self.behind,
        }
    }

    /// Sends as many as the window takes.
    fn fill(&mut self, session: &mut Session) {
        let Stage::Running { id, next } = &mut self.stage else {
            return;
        };
        while self.error.is_none() && self.rest == Rest::Comes {
            if self.one_by_one && self.sent > self.answered {
                return;
            }
            let params = match self.waiting.take() {
                Some(params) => params,
                None => match self.sets.next() {
                    None => {
                        self.rest = Rest::Ended;
                        return;
                    }
                    Some(set) => {
                        let mut params = dqlite_proto::Params::new();
                        if let Err(error) = set.write(&self.parameters, &mut params) {
                            self.error = Some((Origin::Caller, error.with_index(self.sent)));
                            return;
                        }
                        params
                    }
                },
            };
            let request = Request::Exec {
                statement: *id,
                params: params.as_ref(),
            };
            match session.queue(&request) {
                Ok(ticket) => {
                    next.get_or_insert(ticket);
                    self.sent += 1;
                }
                Err(Violation::WindowFull) => {
                    self.waiting = Some(params);
                    return;
                }
                Err(violation) => {
                    let error = Error::from(violation).with_index(self.sent);
                    self.error = Some((Origin::Caller, error));
                    return;
                }
            }
        }
    }

    fn result(&mut self) -> Result<Option<Many>> {
        if self.answered < self.sent {
            return Ok(None);
        }
        match self.error.take() {
            Some((_, error)) => Err(error),
            None => Ok((self.rest == Rest::Ended).then_some(self.many)),
        }
    }

    /// One more is answered; the next one in order decides from now on.
    fn count(&mut self, session: &Session) {
        self.answered += 1;
        if let Stage::Running { next, .. } = &mut self.stage {
            *next = session.first_wanted();
        }
    }

    /// The server refused one; the first of those counts.
    fn failed(&mut self, origin: Origin, error: Error) {
        if !matches!(self.error, Some((Origin::Session | Origin::Statement, _))) {
            self.error = Some((origin, error.with_index(self.answered)));
        }
    }
}

impl<I> Exchange for Bulk<'_, I>
where
    I: Iterator<Item: Params>,
{
    type Output = Many;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Many>> {
        match event {
            Event::Reply {
                response: Response::Stmt { id, .. },
                ..
            } if matches!(self.stage, Stage::Preparing(_)) => {
                self.stage = Stage::Running { id, next: None };
            }
            Event::Reply {
                response: Response::Result { rows_affected, .. },
                ..
            } => {
                if matches!(self.error, Some((Origin::Statement, _))) {
                    self.behind.push(self.answered);
                }
                self.many.executions += 1;
                self.many.rows_affected += rows_affected;
                self.count(session);
            }
            Event::Reply { .. } | Event::Rows { .. } => return Err(unexpected(&self.address)),
            Event::Failed { failure, .. } => {
                let verdict = outcome::of_failure(&failure, self.call());
                let error = Error::rejected(&self.address, failure, verdict, self.call());
                if matches!(self.stage, Stage::Preparing(_)) {
                    return Err(error);
                }
                let origin = match verdict.kind {
                    FailureKind::NotLeader
                    | FailureKind::LeadershipLost
                    | FailureKind::NoStatement => Origin::Session,
                    _ => Origin::Statement,
                };
                self.failed(origin, error);
                self.count(session);
            }
        }
        self.fill(session);
        self.result()
    }

    fn ticket(&self) -> Option<Ticket> {
        match self.stage {
            Stage::Preparing(ticket) => Some(ticket),
            Stage::Running { next, .. } => next,
        }
    }

    fn call(&self) -> Call {
        self.call
    }

    /// What is sent behind the order to end the others would run on its own.
    fn stop(&mut self) -> bool {
        self.rest = Rest::Stopped;
        true
    }
}

/// The error when executions behind the one that failed took effect on their own.
fn partly_applied(error: Error, behind: &[u64]) -> Error {
    let list: Vec<String> = behind.iter().take(8).map(u64::to_string).collect();
    let more = if behind.len() > 8 { ", .." } else { "" };
    let text = format!(
        "; the server rolled the transaction back by itself, and the executions {}{more} behind \
         it took effect on their own",
        list.join(", ")
    );
    error
        .with_more(&text)
        .with_verdict(Outcome::Unknown, Retry::No)
}
