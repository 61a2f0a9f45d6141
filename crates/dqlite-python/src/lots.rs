//! `executemany` of a plain INSERT: many rows to one execution.
//!
//! An execution costs the server many times what a row in it does. Where the text says that each
//! set of parameters is one row and nothing else, a second statement takes a lot of rows at once,
//! and what is left over goes row by row. Lots go one at a time, so nothing is behind one that is
//! refused: its rows are sent again one by one, to learn which of them it was.

use std::collections::VecDeque;

use dqlite_proto::sql::{Token, TokenKind, Tokens};
use dqlite_proto::{Params, ParamsRef, Request, ServerClass, Session, Ticket, Violation};
use pyo3::PyErr;

use crate::statement::Statement;

/// Values of one execution. SQLite takes far longer to compile statements of many more.
const VALUES_MAX: usize = 1024;
/// The same on servers that take no more.
const VALUES_MAX_FORMERLY: usize = 255;
/// Fewer rows than this are not worth a statement of their own.
const ROWS_MIN: usize = 8;
/// Bytes of values beyond which rows go one by one: it is their size that costs then.
pub(crate) const BYTES_MAX: usize = 256 << 10;
/// Keeps what is tried again from staying, should the server have ended the transaction by itself.
const GUARD: &str = "SAVEPOINT dqlite_lot";

/// The statement for a lot of rows.
pub(crate) struct Lots {
    sql: String,
    rows: usize,
    prepare: Option<Ticket>,
    id: Option<u32>,
    /// The lot that is under way, and its sets of parameters.
    due: Option<Ticket>,
    sets: Vec<Params>,
    /// All of its values.
    values: Params,
}

/// The rows of a lot that was refused, sent one by one.
pub(crate) struct Retrial {
    /// Why the lot was refused.
    pub(crate) error: PyErr,
    /// The index of its first set.
    pub(crate) first: usize,
    /// Sets that are not answered yet.
    pub(crate) left: usize,
    pub(crate) guard: Guard,
}

/// The savepoint around them.
pub(crate) enum Guard {
    Missing,
    Due(Ticket),
    Stands,
}

impl Retrial {
    /// Queues the savepoint, unless that was done.
    pub(crate) fn guard(&mut self, session: &mut Session) -> Result<(), Violation> {
        if matches!(self.guard, Guard::Missing) {
            let (sql, params) = (GUARD, ParamsRef::NONE);
            self.guard = Guard::Due(session.queue(&Request::ExecSql { sql, params })?);
        }
        Ok(())
    }

    /// Whether this answers the savepoint; it stands then.
    pub(crate) fn is_guarded(&mut self, ticket: Ticket) -> bool {
        let answers = self.ticket() == Some(ticket);
        if answers {
            self.guard = Guard::Stands;
        }
        answers
    }

    /// The savepoint, if it is under way.
    pub(crate) const fn ticket(&self) -> Option<Ticket> {
        match self.guard {
            Guard::Due(ticket) => Some(ticket),
            Guard::Missing | Guard::Stands => None,
        }
    }
}

impl Lots {
    /// How to send many rows of this statement at once, if that can be done.
    pub(crate) fn of(statement: &Statement, class: Option<ServerClass>) -> Option<Self> {
        let values_max = match class {
            Some(class) if class.has_large_params() => VALUES_MAX,
            _ => VALUES_MAX_FORMERLY,
        };
        let width = statement.names().len();
        let rows = values_max.checked_div(width)?;
        if rows < ROWS_MIN {
            return None;
        }
        let head = row_at(statement.sql().as_bytes(), width)?;
        let row = format!("(?{})", ",?".repeat(width.saturating_sub(1)));
        let rest = format!(",{row}").repeat(rows.saturating_sub(1));
        Some(Self {
            sql: format!("{}{row}{rest}", statement.sql().get(..head)?),
            rows,
            prepare: None,
            id: None,
            due: None,
            sets: Vec::new(),
            values: Params::new(),
        })
    }

    /// Rows of a lot.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Queues a lot of the first of these sets, which it keeps, or before all else its statement.
    /// Whether it was the lot.
    pub(crate) fn queue(
        &mut self,
        session: &mut Session,
        sets: &mut VecDeque<Params>,
    ) -> Result<bool, Violation> {
        let Some(statement) = self.id else {
            self.prepare = Some(session.queue(&Request::Prepare { sql: &self.sql })?);
            return Ok(false);
        };
        self.values.clear();
        for set in sets.iter().take(self.rows) {
            self.values.extend(set);
        }
        let params = self.values.as_ref();
        self.due = Some(session.queue(&Request::Exec { statement, params })?);
        self.sets.clear();
        self.sets.extend(sets.drain(..self.rows.min(sets.len())));
        Ok(true)
    }

    /// Whether this answers its PREPARE. What the answer says is for [`keep`](Self::keep).
    pub(crate) fn prepares(&mut self, ticket: Ticket) -> bool {
        self.prepare.take_if(|due| *due == ticket).is_some()
    }

    /// Uses this statement from now on.
    pub(crate) const fn keep(&mut self, id: u32) {
        self.id = Some(id);
    }

    /// Whether this answers the lot that is under way.
    pub(crate) fn ends(&mut self, ticket: Ticket) -> bool {
        self.due.take_if(|due| *due == ticket).is_some()
    }

    /// The sets of the lot that was sent last.
    pub(crate) fn take_sets(&mut self) -> Vec<Params> {
        std::mem::take(&mut self.sets)
    }

    /// The prepared statement, which is not used any more.
    pub(crate) const fn take_id(&mut self) -> Option<u32> {
        self.id.take()
    }

    /// Whether a lot is under way.
    pub(crate) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// What is under way, the newest first.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + use<> {
        self.due.into_iter().chain(self.prepare)
    }
}

/// Where the row of a plain INSERT of one row begins: `INSERT [OR ABORT|IGNORE|REPLACE] INTO name
/// [(names)] VALUES (parameter, ...)`, each parameter once and in order, and nothing behind it.
fn row_at(sql: &[u8], width: usize) -> Option<usize> {
    let mut tokens = Tokens::new(sql)
        .filter(|token| token.kind != TokenKind::Comment)
        .peekable();
    let verb = tokens.next()?;
    if verb.is("INSERT") {
        if tokens.next_if(|token| token.is("OR")).is_some() {
            tokens.next_if(|token| ["ABORT", "IGNORE", "REPLACE"].iter().any(|w| token.is(w)))?;
        }
    } else if !verb.is("REPLACE") {
        return None;
    }
    tokens.next_if(|token| token.is("INTO"))?;
    tokens.next_if(is_name)?;
    if tokens
        .next_if(|token| token.kind == TokenKind::Dot)
        .is_some()
    {
        tokens.next_if(is_name)?;
    }
    if tokens
        .next_if(|token| token.kind == TokenKind::Open)
        .is_some()
    {
        list(&mut tokens, is_name)?;
    }
    tokens.next_if(|token| token.is("VALUES"))?;
    let open = tokens.next_if(|token| token.kind == TokenKind::Open)?;
    if list(&mut tokens, is_parameter)? != width {
        return None;
    }
    let _ = tokens.next_if(|token| token.kind == TokenKind::Semicolon);
    tokens.next().is_none().then_some(open.start)
}

/// The rest of a list in parentheses: how many there are.
fn list<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = Token<'a>>>,
    is_one: impl Fn(&Token<'a>) -> bool,
) -> Option<usize> {
    let mut count = 0_usize;
    loop {
        tokens.next_if(&is_one)?;
        count = count.saturating_add(1);
        if tokens
            .next_if(|token| token.kind == TokenKind::Close)
            .is_some()
        {
            return Some(count);
        }
        tokens.next_if(|token| token.kind == TokenKind::Comma)?;
    }
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        TokenKind::Word | TokenKind::Quoted | TokenKind::Text
    )
}

/// `?` or a name: those with numbers may stand in any order.
fn is_parameter(token: &Token<'_>) -> bool {
    token.kind == TokenKind::Parameter && (token.text == b"?" || !token.text.starts_with(b"?"))
}
