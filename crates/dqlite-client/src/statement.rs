//! How one statement travels: which requests, what they can do, what comes back. PURE.

use std::borrow::Cow;

use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::session::Progress;
use dqlite_proto::sql::{self, Statement, StatementKind};
use dqlite_proto::{
    Event, Outcome, Request, Response, Retry, RowsFrame, ServerClass, Session, Ticket,
};

use crate::error::{Error, ErrorKind, Loss, Result};
use crate::exchange::{Exchange, unexpected};
use crate::params::Params;
use crate::row::Row;
use crate::transaction::State;

/// What a statement without rows did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The row id of the last inserted row; `None` unless the statement inserts.
    pub last_insert_id: Option<i64>,
    /// How many rows were inserted, changed or deleted; 0 for statements of other kinds.
    pub rows_affected: u64,
}

/// What a statement brought.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) done: Done,
    pub(crate) rows: Vec<Row>,
}

/// A statement ready to be sent.
#[derive(Debug)]
pub(crate) struct Plan<'s> {
    sql: Cow<'s, str>,
    params: dqlite_proto::Params,
    route: Route,
    kind: StatementKind,
    call: Call,
    rolls_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// `EXEC_SQL`.
    Exec,
    /// `QUERY_SQL`.
    Query,
    /// PREPARE, QUERY, FINALIZE: tells the true reason of a failure, which matters for writes.
    Prepared,
}

impl<'s> Plan<'s> {
    /// Decides how to send a text, and refuses what must not be sent.
    pub(crate) fn new(
        text: &'s str,
        params: impl Params,
        state: State,
        class: Option<ServerClass>,
    ) -> Result<Self> {
        state.check()?;
        let statement = only_statement(text)?;
        check_danger(&statement, state, class.unwrap_or_default())?;
        let mut values = dqlite_proto::Params::new();
        params.write(&statement.parameters, &mut values)?;
        let optimizes = statement
            .pragma
            .is_some_and(|p| p.is("optimize") && !p.has_value);
        let route = match statement.returns_rows() {
            _ if optimizes => Route::Exec,
            true if statement.returning => Route::Prepared,
            true => Route::Query,
            false => Route::Exec,
        };
        let effect = match statement.kind {
            StatementKind::Commit => Effect::Commit,
            // Whatever becomes of these, nothing is stored.
            StatementKind::Begin | StatementKind::Rollback => Effect::Read,
            _ if statement.may_write() => Effect::Write,
            _ => Effect::Read,
        };
        // The plain form hangs servers when there is work to do.
        let sql = if optimizes {
            "PRAGMA optimize=0x10002"
        } else {
            text
        };
        Ok(Self {
            sql: Cow::Borrowed(sql),
            params: values,
            route,
            kind: statement.kind,
            call: Call {
                effect,
                in_transaction: state == State::Open,
                one_query: route == Route::Query,
            },
            rolls_back: statement.or_rollback,
        })
    }

    /// Whether a conflict in it rolls the transaction back.
    pub(crate) const fn rolls_back(&self) -> bool {
        self.rolls_back
    }

    /// The error for a connection that is gone before it was asked.
    pub(crate) fn not_sent(&self, error: Error) -> Error {
        error.judged(Progress::Unsent, self.call)
    }

    /// Queues its first request.
    pub(crate) fn start(self, session: &mut Session, address: &str) -> Result<Running<'s>> {
        let (sql, params) = (&*self.sql, self.params.as_ref());
        let ticket = session.queue(&match self.route {
            Route::Exec => Request::ExecSql { sql, params },
            Route::Query => Request::QuerySql { sql, params },
            Route::Prepared => Request::Prepare { sql },
        })?;
        Ok(Running {
            preparing: self.route == Route::Prepared,
            prepared: None,
            plan: self,
            ticket,
            address: address.to_owned(),
            rows: Vec::new(),
        })
    }
}

/// The row of a call that must have one.
pub(crate) fn only_row(row: Option<Row>) -> Result<Row> {
    row.ok_or_else(|| {
        let text = "the statement yielded no row";
        Error::new(ErrorKind::NoRows, text).with_verdict(Outcome::Refused, Retry::No)
    })
}

fn only_statement(text: &str) -> Result<Statement<'_>> {
    let mut statements = sql::statements(text);
    let Some(first) = statements.next() else {
        return Err(Error::usage("the text holds no statement"));
    };
    if statements.next().is_some() {
        return Err(Error::usage(
            "the text holds several statements; send one at a time, they are not atomic",
        ));
    }
    Ok(first)
}

/// Refuses what would harm a server of that class.
fn check_danger(statement: &Statement<'_>, state: State, class: ServerClass) -> Result<()> {
    let early = matches!(class, ServerClass::A | ServerClass::B);
    if statement.returning && !class.has_returning() && !(early && state != State::None) {
        return Err(Error::usage(
            "RETURNING would damage this server, which is older than 1.18.2; \
             a column of that name must be quoted",
        ));
    }
    let pragma = |name| statement.pragma.is_some_and(|p| p.is(name) && p.has_value);
    let checkpoint = statement.pragma.is_some_and(|p| p.is("wal_checkpoint"));
    if early && (statement.kind == StatementKind::Attach || pragma("journal_mode") || checkpoint) {
        return Err(Error::usage(
            "this statement would damage this server, which is older than 1.15",
        ));
    }
    Ok(())
}

/// A statement that has been sent, or will be.
#[derive(Debug)]
pub(crate) struct Running<'s> {
    plan: Plan<'s>,
    preparing: bool,
    /// A statement that the server has not been told to forget.
    prepared: Option<u32>,
    ticket: Ticket,
    address: String,
    rows: Vec<Row>,
}

impl Running<'_> {
    /// The statement is prepared: runs it, and lets it be forgotten right behind.
    fn run(&mut self, session: &mut Session, statement: u32) -> Result<()> {
        let params = self.plan.params.as_ref();
        self.prepared = Some(statement);
        let queued = session.queue(&Request::Query { statement, params });
        self.forget(session);
        self.ticket = queued?;
        self.preparing = false;
        Ok(())
    }

    /// Has the server forget the statement, unless the window is full: then when it has run.
    fn forget(&mut self, session: &mut Session) {
        if let Some(statement) = self.prepared
            && let Ok(finalize) = session.queue(&Request::Finalize { statement })
        {
            session.abandon(finalize);
            self.prepared = None;
        }
    }

    fn rows(&mut self, frame: &RowsFrame) -> Result<()> {
        Row::read(frame, &mut self.rows).map_err(|error| {
            let kind = dqlite_proto::ResponseKind::ROWS;
            let error = dqlite_proto::ProtocolError::Malformed { kind, error };
            Error::lost(&self.address, Loss::Protocol(error))
        })
    }

    /// The numbers belong to the connection; only some kinds of statements set them.
    fn done(&self, last_insert_id: i64, rows_affected: u64) -> Done {
        let kind = self.plan.kind;
        Done {
            last_insert_id: kind.sets_last_insert_id().then_some(last_insert_id),
            rows_affected: if kind.counts_rows() { rows_affected } else { 0 },
        }
    }
}

impl Exchange for Running<'_> {
    type Output = Answer;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Answer>> {
        match event {
            Event::Reply {
                response:
                    Response::Result {
                        last_insert_id,
                        rows_affected,
                    },
                ..
            } => {
                let done = self.done(last_insert_id, rows_affected);
                Ok(Some(Answer {
                    done,
                    rows: Vec::new(),
                }))
            }
            Event::Reply {
                response: Response::Stmt { id, .. },
                ..
            } if self.preparing => self.run(session, id).map(|()| None),
            Event::Reply { .. } => Err(unexpected(&self.address)),
            Event::Rows { frame, done, .. } => {
                self.rows(&frame)?;
                if !done {
                    return Ok(None);
                }
                self.forget(session);
                let rows = std::mem::take(&mut self.rows);
                let counted = if self.plan.kind.counts_rows() {
                    rows.len() as u64
                } else {
                    0
                };
                let done = Done {
                    last_insert_id: None,
                    rows_affected: counted,
                };
                Ok(Some(Answer { done, rows }))
            }
            Event::Failed { failure, .. } => {
                self.forget(session);
                let verdict = outcome::of_failure(&failure, self.call());
                Err(Error::rejected(
                    &self.address,
                    failure,
                    verdict,
                    self.call(),
                ))
            }
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(self.ticket)
    }

    fn call(&self) -> Call {
        if self.preparing {
            return Call {
                effect: Effect::Read,
                ..self.plan.call
            };
        }
        self.plan.call
    }
}

#[cfg(test)]
mod tests;
