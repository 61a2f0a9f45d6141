//! How one statement travels: which requests, what they can do, what comes back. PURE.

use std::borrow::Cow;

use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::session::Progress;
use dqlite_proto::sql::{self, Statement, StatementKind};
use dqlite_proto::{
    Event, Outcome, ParamsRef, Request, Response, Retry, RowsFrame, ServerClass, Session, Ticket,
};

use crate::breaker::Fingerprint;
use crate::cache::{Advice, Cache};
use crate::convert::FromRow;
use crate::error::{Error, ErrorKind, Loss, Result};
use crate::exchange::{Exchange, unexpected};
use crate::params::Params;
use crate::row::{Pages, Row};
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
#[derive(Clone, Debug)]
pub(crate) struct Plan<'s> {
    sql: Cow<'s, str>,
    params: dqlite_proto::Params,
    route: Route,
    kind: StatementKind,
    call: Call,
    rolls_back: bool,
    is_cacheable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// `EXEC_SQL`.
    Exec,
    /// `QUERY_SQL`.
    Query,
    /// PREPARE, then EXEC or QUERY.
    Prepare { rows: bool, keep: bool },
    /// EXEC or QUERY of a statement that is prepared.
    Run { rows: bool, id: u32 },
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
            // Tells the true reason of a failure, which matters for writes.
            true if statement.returning => Route::Prepare {
                rows: true,
                keep: false,
            },
            true => Route::Query,
            false => Route::Exec,
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
                effect: effect(&statement),
                in_transaction: state == State::Open,
                one_query: route == Route::Query,
            },
            rolls_back: statement.or_rollback,
            is_cacheable: (statement.kind == StatementKind::Select || statement.kind.counts_rows())
                && statement.has_fixed_columns(),
        })
    }

    /// Has a statement that is sent again and again prepared.
    pub(crate) fn with(mut self, cache: &mut Cache) -> Self {
        if !self.is_cacheable {
            return self;
        }
        let rows = self.route != Route::Exec;
        self.route = match cache.advise(&self.sql) {
            Advice::Text => self.route,
            Advice::Prepare => Route::Prepare { rows, keep: true },
            Advice::Run(id) => Route::Run { rows, id },
        };
        self.call.one_query &= self.route == Route::Query;
        self
    }

    /// The same in an open transaction.
    pub(crate) const fn inside(mut self) -> Self {
        self.call.in_transaction = true;
        self
    }

    /// The same with a text of its own.
    pub(crate) fn into_owned(self) -> Plan<'static> {
        Plan {
            sql: Cow::Owned(self.sql.into_owned()),
            ..self
        }
    }

    /// What it can do.
    pub(crate) const fn effect(&self) -> Effect {
        self.call.effect
    }

    /// The statement as the breaker knows it; nothing for those that cannot harm anybody.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        let harmless = self.kind.controls_transaction();
        (!harmless).then(|| Fingerprint::of(&self.sql, self.params.len()))
    }

    /// Whether a conflict in it rolls the transaction back.
    pub(crate) const fn rolls_back(&self) -> bool {
        self.rolls_back
    }

    /// Whether it begins a transaction in the caller's own words.
    pub(crate) const fn begins(&self) -> bool {
        matches!(self.kind, StatementKind::Begin | StatementKind::Savepoint)
    }

    /// Refuses to end or begin a transaction behind the back of the one that is open.
    pub(crate) fn check_control(&self, state: State) -> Result<()> {
        let controls = matches!(
            self.kind,
            StatementKind::Begin | StatementKind::Commit | StatementKind::Rollback
        );
        if controls && matches!(state, State::Open | State::Doubtful | State::Astray) {
            let text = "a transaction is ended by its own commit and rollback, not by SQL";
            return Err(Error::usage(text));
        }
        Ok(())
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
            Route::Prepare { .. } => Request::Prepare { sql },
            Route::Run { rows, id } => run(rows, id, params),
        })?;
        Ok(Running {
            preparing: matches!(self.route, Route::Prepare { .. }),
            prepared: None,
            kept: None,
            plan: self,
            ticket,
            address: address.to_owned(),
            rows: Pages::default(),
        })
    }
}

/// What a statement can do.
pub(crate) fn effect(statement: &Statement<'_>) -> Effect {
    match statement.kind {
        StatementKind::Commit => Effect::Commit,
        // Whatever becomes of these, nothing is stored.
        StatementKind::Begin | StatementKind::Rollback => Effect::Read,
        _ if statement.may_write() => Effect::Write,
        _ => Effect::Read,
    }
}

const fn run(rows: bool, statement: u32, params: ParamsRef<'_>) -> Request<'_> {
    if rows {
        Request::Query { statement, params }
    } else {
        Request::Exec { statement, params }
    }
}

/// Rows as values of a type.
pub(crate) fn typed<T: FromRow>(rows: &[Row]) -> Result<Vec<T>> {
    rows.iter().map(T::from_row).collect()
}

/// The row of a call that must have one.
pub(crate) fn only_row(row: Option<Row>) -> Result<Row> {
    row.ok_or_else(|| {
        let text = "the statement yielded no row";
        Error::new(ErrorKind::NoRows, text).with_verdict(Outcome::Refused, Retry::No)
    })
}

pub(crate) fn only_statement(text: &str) -> Result<Statement<'_>> {
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
pub(crate) fn check_danger(
    statement: &Statement<'_>,
    state: State,
    class: ServerClass,
) -> Result<()> {
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
    /// A statement that it shall not forget.
    kept: Option<u32>,
    ticket: Ticket,
    address: String,
    rows: Pages,
}

/// How far an event has brought a statement.
enum Step {
    /// More is to come; rows may have.
    More,
    /// That was all.
    End(Done),
}

impl<'s> Running<'s> {
    /// The id of a statement to be kept, and its text; asked when the statement has ended.
    pub(crate) fn kept(&self) -> Option<(u32, &str)> {
        Some((self.kept?, &self.plan.sql))
    }

    /// The same statement, row by row.
    pub(crate) const fn stream(self) -> Streaming<'s> {
        Streaming(self)
    }

    fn step(&mut self, session: &mut Session, event: Event) -> Result<Step> {
        match event {
            Event::Reply {
                response:
                    Response::Result {
                        last_insert_id,
                        rows_affected,
                    },
                ..
            } => Ok(Step::End(self.done(last_insert_id, rows_affected))),
            Event::Reply {
                response: Response::Stmt { id, .. },
                ..
            } if self.preparing => self.run(session, id).map(|()| Step::More),
            Event::Reply { .. } => Err(unexpected(&self.address)),
            Event::Rows { frame, done, .. } => {
                self.rows(&frame)?;
                if !done {
                    return Ok(Step::More);
                }
                self.forget(session);
                let counts = self.plan.kind.counts_rows();
                Ok(Step::End(Done {
                    last_insert_id: None,
                    rows_affected: if counts { self.rows.seen() } else { 0 },
                }))
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

    /// The statement is prepared: runs it, and lets it be forgotten right behind.
    fn run(&mut self, session: &mut Session, statement: u32) -> Result<()> {
        let Route::Prepare { rows, keep } = self.plan.route else {
            return Err(unexpected(&self.address));
        };
        if keep {
            self.kept = Some(statement);
        } else {
            self.prepared = Some(statement);
        }
        let queued = session.queue(&run(rows, statement, self.plan.params.as_ref()));
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
        self.rows.read(frame).map_err(|error| {
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

    const fn ticket(&self) -> Ticket {
        self.ticket
    }

    const fn call(&self) -> Call {
        if self.preparing {
            return Call {
                effect: Effect::Read,
                ..self.plan.call
            };
        }
        self.plan.call
    }
}

impl Exchange for Running<'_> {
    type Output = Answer;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Answer>> {
        Ok(match self.step(session, event)? {
            Step::More => None,
            Step::End(done) => Some(Answer {
                done,
                rows: self.rows.take(),
            }),
        })
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(self.ticket())
    }

    fn call(&self) -> Call {
        self.call()
    }

    fn stop(&mut self) -> bool {
        !self.preparing
    }
}

/// A statement whose rows are handed out as they come; nothing is read that is not asked for.
#[derive(Debug)]
pub(crate) struct Streaming<'s>(Running<'s>);

impl<'s> Streaming<'s> {
    /// The statement.
    pub(crate) const fn running(&self) -> &Running<'s> {
        &self.0
    }
}

/// Rows of a statement, and how it ended if these are the last ones.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    pub(crate) end: Option<Done>,
}

impl Exchange for Streaming<'_> {
    type Output = Chunk;

    fn event(&mut self, session: &mut Session, event: Event) -> Result<Option<Chunk>> {
        let end = match self.0.step(session, event)? {
            Step::More => None,
            Step::End(done) => Some(done),
        };
        let rows = self.0.rows.take();
        let something = end.is_some() || !rows.is_empty();
        Ok(something.then_some(Chunk { rows, end }))
    }

    fn ticket(&self) -> Option<Ticket> {
        Some(self.0.ticket())
    }

    fn call(&self) -> Call {
        self.0.call()
    }

    fn stop(&mut self) -> bool {
        self.0.stop()
    }
}

#[cfg(test)]
mod tests;
