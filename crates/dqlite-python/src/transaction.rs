//! Whether a transaction is open, going by what was sent and answered.

use dqlite_proto::outcome::After;
use dqlite_proto::sql::StatementKind;

use crate::statement::Statement;

/// The transaction of one session.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    state: State,
    /// Savepoints from the outermost on.
    savepoints: Vec<String>,
    /// The outermost savepoint is what began the transaction.
    by_savepoint: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open,
    /// It may have been rolled back; a ROLLBACK settles that.
    Doubtful,
}

impl Transaction {
    /// Whether one is open, or may be.
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether nobody knows.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.state == State::Doubtful
    }

    /// The statement was answered with success.
    pub(crate) fn succeeded(&mut self, statement: &Statement) {
        match statement.kind() {
            Some(StatementKind::Begin) => {
                *self = Self {
                    state: State::Open,
                    ..Self::default()
                };
            }
            Some(StatementKind::Commit | StatementKind::Rollback) => *self = Self::default(),
            Some(StatementKind::Savepoint) => {
                if !self.is_open() {
                    *self = Self {
                        state: State::Open,
                        by_savepoint: true,
                        ..Self::default()
                    };
                }
                self.savepoints.push(statement.savepoint().to_owned());
            }
            Some(StatementKind::RollbackTo) => {
                if let Some(at) = self.find(statement.savepoint()) {
                    self.savepoints.truncate(at + 1);
                }
            }
            Some(StatementKind::Release) => {
                if let Some(at) = self.find(statement.savepoint()) {
                    self.savepoints.truncate(at);
                }
                if self.savepoints.is_empty() && self.by_savepoint {
                    *self = Self::default();
                }
            }
            _ => {}
        }
    }

    /// The statement was answered with a failure that leaves this behind. A ROLLBACK that finds
    /// no transaction has settled the question.
    pub(crate) fn failed(&mut self, statement: &Statement, after: After) {
        match (after, statement.kind()) {
            (After::Ok, Some(StatementKind::Rollback)) => *self = Self::default(),
            (After::TransactionUnknown, _) => self.doubt(),
            _ => {}
        }
    }

    /// A statement was sent whose answer nobody will see.
    pub(crate) fn doubt(&mut self) {
        if self.is_open() {
            self.state = State::Doubtful;
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint == name)
    }
}
