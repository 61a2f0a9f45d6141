//! What is known of the transaction on a connection. PURE.
//!
//! It is known from what was sent, never guessed from SQL: a BEGIN that the caller writes is the
//! caller's, and losses in it are reported as for single statements.

use std::time::{Duration, Instant};

use dqlite_proto::outcome::{self, After, Call, Effect};
use dqlite_proto::{FailureKind, Outcome, Retry};

use crate::backoff::Backoff;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};

/// How a transaction begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Behavior {
    /// Takes the write lock with the first write.
    Deferred,
    /// Takes the write lock at once: nothing later can fail for want of it.
    #[default]
    Immediate,
    /// The same as Immediate on a server.
    Exclusive,
}

impl Behavior {
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Deferred => "BEGIN DEFERRED",
            Self::Immediate => "BEGIN IMMEDIATE",
            Self::Exclusive => "BEGIN EXCLUSIVE",
        }
    }
}

/// The transaction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// None that we began.
    #[default]
    None,
    /// Open.
    Open,
    /// Open, unless the schema rolled it back with the last conflict: a lost statement may then
    /// have run on its own.
    Doubtful,
    /// The same, and a write has succeeded since, maybe on its own.
    Astray,
    /// It must be rolled back before anything else.
    Spent,
    /// The same, and nobody is left who could say so: the next use does it.
    Abandoned,
}

impl State {
    /// Refuses statements in a transaction that cannot go on.
    pub(crate) fn check(self) -> Result<()> {
        if self == Self::Spent {
            let text = "the transaction cannot go on after an earlier error; roll it back";
            return Err(Error::usage(text));
        }
        Ok(())
    }

    /// Whether the server may have ended the transaction, and later statements run on their own.
    pub(crate) const fn is_doubtful(self) -> bool {
        matches!(self, Self::Doubtful | Self::Astray)
    }

    /// After a statement that succeeded.
    pub(crate) const fn after_success(self, effect: Effect) -> Self {
        match (self, effect) {
            (Self::Doubtful, Effect::Write) => Self::Astray,
            _ => self,
        }
    }

    /// The error of a COMMIT: where a conflict had ended the transaction, what came behind stays.
    pub(crate) fn judge_commit(self, error: Error) -> Error {
        if self == Self::Astray && is_rolled_back(&error) {
            return error.astray();
        }
        error
    }

    /// While a statement is under way: what is left if nobody waits for its end.
    pub(crate) const fn while_running(self) -> Self {
        match self {
            Self::None => Self::None,
            _ => Self::Spent,
        }
    }

    /// After a read whose end nobody waited for.
    pub(crate) const fn after_part_of_read(self) -> Self {
        match self {
            Self::Open => Self::Doubtful,
            state => state,
        }
    }

    /// After a BEGIN. One whose answer never came may have begun a transaction.
    pub(crate) fn after_begin(error: Option<&Error>) -> Self {
        match error {
            None => Self::Open,
            Some(error) if error.failure().is_some() => Self::None,
            Some(error) if error.outcome() == Outcome::NotSent => Self::None,
            Some(_) => Self::Abandoned,
        }
    }

    /// After an error of a statement; `rolls_back` if it was one with OR ROLLBACK.
    pub(crate) fn after(self, error: &Error, rolls_back: bool) -> Self {
        if self == Self::None {
            return self;
        }
        let Some(failure) = error.failure() else {
            // Refused before it was sent: with whom it would have been is not known.
            return if error.address().is_none() {
                self
            } else {
                Self::Spent
            };
        };
        let call = Call {
            effect: Effect::Write,
            in_transaction: true,
            one_query: false,
        };
        let verdict = outcome::of_failure(failure, call);
        if rolls_back || verdict.after != After::Ok {
            Self::Spent
        } else if verdict.kind == FailureKind::Constraint && self == Self::Open {
            Self::Doubtful
        } else {
            self
        }
    }
}

/// Begins a savepoint.
pub(crate) fn savepoint(number: u32) -> String {
    format!("SAVEPOINT dqlite_{number}")
}

/// Makes a savepoint part of what is around it.
pub(crate) fn release(number: u32) -> String {
    format!("RELEASE dqlite_{number}")
}

/// Undoes everything since a savepoint began.
pub(crate) fn undo(number: u32) -> [String; 2] {
    [format!("ROLLBACK TO dqlite_{number}"), release(number)]
}

/// The error of undoing a transaction that a conflict had ended: what came behind stays.
pub(crate) fn astray() -> Error {
    let text = "a conflict had rolled the transaction back, and what was written behind it may \
                have happened";
    Error::new(ErrorKind::Rejected, text).with_verdict(Outcome::Unknown, Retry::No)
}

/// Between two attempts of a COMMIT that met a lock.
pub(crate) fn commit_pauses() -> Backoff {
    Backoff::new(
        Duration::from_millis(5),
        Duration::from_millis(100),
        fastrand::u64(..),
    )
}

/// Whether a ROLLBACK has left no transaction, whatever it said.
pub(crate) fn is_rolled_back(error: &Error) -> bool {
    error.failure_kind() == Some(FailureKind::Sql)
}

/// Whether a COMMIT should be sent again: the transaction is open still.
pub(crate) fn commits_again(error: &Error, deadline: Instant) -> bool {
    let busy = matches!(
        error.failure_kind(),
        Some(FailureKind::Busy | FailureKind::InProgress)
    );
    busy && error.kind() == ErrorKind::Rejected && clock::now() < deadline
}

#[cfg(test)]
mod tests {
    use dqlite_proto::{Code, Failure};

    use super::*;

    fn failed(code: Code, message: &str) -> Error {
        let failure = Failure {
            code,
            message: message.to_owned(),
        };
        let call = Call {
            effect: Effect::Write,
            in_transaction: true,
            one_query: false,
        };
        let verdict = outcome::of_failure(&failure, call);
        Error::rejected("h:1", failure, verdict, call)
    }

    #[test]
    fn errors_leave_the_transaction_that_sqlite_leaves() {
        let constraint = failed(Code::CONSTRAINT_UNIQUE, "UNIQUE constraint failed: t.id");
        assert_eq!(State::Open.after(&constraint, false), State::Doubtful);
        assert_eq!(State::Open.after(&constraint, true), State::Spent);
        assert_eq!(
            State::Open.after(&failed(Code::ERROR, "no such table"), false),
            State::Open
        );
        assert_eq!(
            State::Open.after(&failed(Code::FULL, "full"), false),
            State::Spent
        );
        assert_eq!(
            State::Open.after(&failed(Code::NOT_LEADER, "not leader"), false),
            State::Spent
        );
        assert_eq!(State::None.after(&constraint, true), State::None);
        assert_eq!(State::Astray.after(&constraint, false), State::Astray);
        assert_eq!(State::Doubtful.after_success(Effect::Read), State::Doubtful);
        assert_eq!(State::Doubtful.after_success(Effect::Write), State::Astray);
        assert_eq!(State::Open.after_success(Effect::Write), State::Open);
    }

    #[test]
    fn a_commit_of_what_has_been_rolled_back_tells_what_stays() {
        let none = || failed(Code::ERROR, "cannot commit - no transaction is active");
        for (state, outcome) in [
            (State::Open, Outcome::Refused),
            (State::Doubtful, Outcome::Refused),
            (State::Astray, Outcome::Unknown),
        ] {
            let error = state.judge_commit(none());
            assert_eq!(error.outcome(), outcome, "{state:?}");
            assert!(!error.is_commit_ambiguous(), "no token can tell");
        }
        let busy = failed(Code::BUSY, "database is locked");
        assert_eq!(State::Astray.judge_commit(busy).outcome(), Outcome::Refused);
    }

    #[test]
    fn what_was_never_sent_changes_nothing() {
        assert_eq!(
            State::Open.after(&Error::usage("two parameters"), false),
            State::Open
        );
        assert!(State::Spent.check().is_err());
        assert!(State::Open.check().is_ok());
    }
}
