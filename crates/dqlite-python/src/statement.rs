//! What one statement is and which parameters it takes; remembered, because texts repeat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dqlite_proto::outcome::{Call, Effect};
use dqlite_proto::sql::{self, StatementKind, TokenKind, Tokens};
use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors;

/// What SQLite takes as it is built by default; more may work on one server and not on another.
const PARAMS_MAX: usize = 32_766;
/// Statements that are remembered; when there are more, all are forgotten.
const KNOWN_MAX: usize = 512;
/// Longer texts are not worth their memory.
const KNOWN_BYTES_MAX: usize = 4096;

static KNOWN: Mutex<Option<HashMap<String, Arc<Statement>>>> = Mutex::new(None);

/// One statement, read once.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, read from the text once"
)]
#[derive(Debug)]
pub(crate) struct Statement {
    sql: String,
    kind: Option<StatementKind>,
    returns_rows: bool,
    returning: bool,
    or_rollback: bool,
    may_write: bool,
    repeatable: bool,
    names: Vec<Option<String>>,
    savepoint: String,
}

impl Statement {
    /// Reads `sql`; a `ProgrammingError` if it is more than one statement.
    pub(crate) fn of(py: Python<'_>, sql: &str) -> PyResult<Arc<Self>> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known.as_ref().and_then(|known| known.get(sql)) {
            return Ok(Arc::clone(statement));
        }
        drop(known);
        let statement = Arc::new(Self::read(py, sql)?);
        if sql.len() <= KNOWN_BYTES_MAX {
            known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            let known = known.get_or_insert_default();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(sql.to_owned(), Arc::clone(&statement));
        }
        Ok(statement)
    }

    fn read(py: Python<'_>, sql: &str) -> PyResult<Self> {
        if sql.contains('\0') {
            return Err(errors::programming(
                py,
                "the SQL text holds a NUL character",
            ));
        }
        let mut statements = sql::statements(sql);
        let Some(first) = statements.next() else {
            return Ok(Self {
                sql: String::new(),
                kind: None,
                returns_rows: false,
                returning: false,
                or_rollback: false,
                may_write: false,
                repeatable: false,
                names: Vec::new(),
                savepoint: String::new(),
            });
        };
        if statements.next().is_some() {
            return Err(errors::programming(
                py,
                "You can only execute one statement at a time.",
            ));
        }
        let optimize = first.pragma.is_some_and(|pragma| pragma.is("optimize"));
        Ok(Self {
            sql: sql.to_owned(),
            kind: Some(first.kind),
            returns_rows: first.returns_rows() && !optimize,
            returning: first.returning,
            or_rollback: first.or_rollback,
            may_write: first.may_write(),
            repeatable: (first.kind == StatementKind::Select || first.kind.counts_rows())
                && first.has_fixed_columns()
                && sql.len() <= KNOWN_BYTES_MAX,
            names: names(py, &first.parameters)?,
            savepoint: last_name(first.text),
        })
    }

    /// The text that is sent.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// Whether there is nothing but blanks and comments.
    pub(crate) const fn is_empty(&self) -> bool {
        self.kind.is_none()
    }

    /// Whether it must be sent as a query.
    pub(crate) const fn returns_rows(&self) -> bool {
        self.returns_rows
    }

    /// Whether it is a write that gives rows.
    pub(crate) const fn is_returning(&self) -> bool {
        self.returning
    }

    /// Whether a conflict in it rolls the whole transaction back.
    pub(crate) const fn rolls_back(&self) -> bool {
        self.or_rollback
    }

    /// Whether it is worth remembering.
    pub(crate) const fn is_short(&self) -> bool {
        self.sql.len() <= KNOWN_BYTES_MAX
    }

    /// Whether it may be kept prepared.
    pub(crate) const fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Its parameters in order, by name without sigil where they have one.
    pub(crate) fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// The savepoint it is about, if it is about one.
    pub(crate) fn savepoint(&self) -> &str {
        &self.savepoint
    }

    /// Its verb.
    pub(crate) const fn kind(&self) -> Option<StatementKind> {
        self.kind
    }

    /// The same as a word, for Python.
    pub(crate) const fn word(&self) -> &'static str {
        match self.kind {
            None => "empty",
            Some(StatementKind::Begin) => "begin",
            Some(StatementKind::Commit) => "commit",
            Some(StatementKind::Rollback) => "rollback",
            Some(_) if !self.may_write => "read",
            Some(kind) if kind.counts_rows() => "write",
            Some(_) => "other",
        }
    }

    /// Its verb as a word, for Python.
    pub(crate) const fn verb(&self) -> &'static str {
        match self.kind {
            None => "empty",
            Some(kind) => word_of(kind),
        }
    }

    /// What decides the outcome of a failure. BEGIN and ROLLBACK leave nothing in doubt.
    pub(crate) const fn judged(&self, in_transaction: bool) -> Call {
        let effect = match self.kind {
            Some(StatementKind::Commit) => Effect::Commit,
            Some(StatementKind::Begin | StatementKind::Rollback) => Effect::Read,
            _ if self.may_write => Effect::Write,
            _ => Effect::Read,
        };
        Call {
            effect,
            in_transaction,
            one_query: self.returns_rows,
        }
    }

    /// Rows changed and last row id, as far as the server's numbers belong to this statement.
    pub(crate) fn numbers(&self, rows_affected: u64, last_insert_id: i64) -> (i64, Option<i64>) {
        let counts = self.kind.is_some_and(StatementKind::counts_rows);
        let inserts = self.kind.is_some_and(StatementKind::sets_last_insert_id);
        let rows = i64::try_from(rows_affected).unwrap_or(i64::MAX);
        (
            if counts { rows } else { -1 },
            inserts.then_some(last_insert_id),
        )
    }
}

const fn word_of(kind: StatementKind) -> &'static str {
    match kind {
        StatementKind::Alter => "alter",
        StatementKind::Analyze => "analyze",
        StatementKind::Attach => "attach",
        StatementKind::Begin => "begin",
        StatementKind::Commit => "commit",
        StatementKind::Create => "create",
        StatementKind::Delete => "delete",
        StatementKind::Detach => "detach",
        StatementKind::Drop => "drop",
        StatementKind::Explain => "explain",
        StatementKind::Insert => "insert",
        StatementKind::Pragma => "pragma",
        StatementKind::Reindex => "reindex",
        StatementKind::Release => "release",
        StatementKind::Replace => "replace",
        StatementKind::Rollback => "rollback",
        StatementKind::RollbackTo => "rollback to",
        StatementKind::Savepoint => "savepoint",
        StatementKind::Select => "select",
        StatementKind::Update => "update",
        StatementKind::Vacuum => "vacuum",
        StatementKind::Values => "values",
        StatementKind::Other => "other",
    }
}

fn names(py: Python<'_>, parameters: &sql::Parameters<'_>) -> PyResult<Vec<Option<String>>> {
    let count = usize::try_from(parameters.count).unwrap_or(usize::MAX);
    if count > PARAMS_MAX {
        let text = format!("the statement takes {count} parameters, more than {PARAMS_MAX}");
        return Err(errors::programming(py, text));
    }
    let mut names = vec![None; count];
    for (name, number) in &parameters.names {
        let at = usize::try_from(*number)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        if let (Some(place), [_sigil, name @ ..]) = (names.get_mut(at), *name) {
            *place = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

/// The last word of a SAVEPOINT, RELEASE or ROLLBACK TO, in lower case: letter case does not count.
fn last_name(text: &[u8]) -> String {
    let last = Tokens::new(text)
        .filter(|token| !matches!(token.kind, TokenKind::Comment | TokenKind::Semicolon))
        .last();
    last.map_or_else(String::new, |token| {
        let quoted = matches!(token.kind, TokenKind::Quoted | TokenKind::Text);
        let name = match token.text {
            [_, name @ .., _] if quoted => name,
            name => name,
        };
        String::from_utf8_lossy(name).to_lowercase()
    })
}

/// The text of a statement as it can be sent.
pub(crate) fn text<'a>(sql: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    sql.to_str().map_err(|error| {
        let py = sql.py();
        if error.is_instance_of::<PyUnicodeEncodeError>(py) {
            return errors::programming(py, "the SQL text holds a lone surrogate");
        }
        error
    })
}

/// What one statement is; two statements are a `ProgrammingError`.
#[pyfunction]
pub(crate) fn statement_kind(py: Python<'_>, sql: &str) -> PyResult<&'static str> {
    Ok(Statement::of(py, sql)?.word())
}

/// The verb of one statement in lower case; two statements are a `ProgrammingError`.
#[pyfunction]
pub(crate) fn statement_verb(py: Python<'_>, sql: &str) -> PyResult<&'static str> {
    Ok(Statement::of(py, sql)?.verb())
}

/// The names of a statement's parameters in order, None for those without one.
#[pyfunction]
pub(crate) fn parameters(py: Python<'_>, sql: &str) -> PyResult<Vec<Option<String>>> {
    Ok(Statement::of(py, sql)?.names().to_vec())
}

/// Whether the text ends with a finished statement.
#[pyfunction]
pub(crate) fn is_complete(text: &str) -> bool {
    sql::is_complete(text)
}

/// The statements of a script, without what stands between them.
#[pyfunction]
pub(crate) fn split(script: &str) -> Vec<String> {
    sql::statements(script)
        .filter_map(|statement| statement.sql().map(str::to_owned))
        .collect()
}

/// The statements of a script, each with the number of the line where it begins.
#[expect(clippy::naive_bytecount, reason = "scripts are read once, and short")]
#[pyfunction]
pub(crate) fn split_lines(script: &str) -> Vec<(usize, String)> {
    let (mut line, mut at) = (1, 0);
    sql::statements(script)
        .filter_map(|statement| {
            let gap = script.as_bytes().get(at..statement.start)?;
            line += gap.iter().filter(|byte| **byte == b'\n').count();
            at = statement.start;
            Some((line, statement.sql()?.to_owned()))
        })
        .collect()
}
