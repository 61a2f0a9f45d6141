//! Statements under which sessions ended; shared by the connections of one configuration.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dqlite_client::breaker::{Breaker, Fingerprint};
use pyo3::prelude::*;

use crate::errors;
use crate::statement::Statement;

/// The breaker of a configuration. Costs one load of a flag as long as nothing is suspected.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    breaker: Mutex<Breaker>,
    any: AtomicBool,
}

impl Suspects {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a statement under which two sessions in a row have ended.
    pub(crate) fn check(&self, py: Python<'_>, statement: &Statement) -> PyResult<()> {
        let poison = self.any.load(Ordering::Acquire)
            && of(statement).is_some_and(|one| self.breaker().refuses(one, Instant::now()));
        if poison {
            return Err(errors::poison(py));
        }
        Ok(())
    }

    /// A session that began at `opened` ended under a statement.
    pub(crate) fn died(&self, statement: &Statement, opened: Instant) {
        if let Some(statement) = of(statement) {
            let mut breaker = self.breaker();
            breaker.died(statement, opened, Instant::now());
            self.any.store(true, Ordering::Release);
        }
    }

    /// A statement was answered.
    pub(crate) fn lived(&self, statement: &Statement) {
        if self.any.load(Ordering::Acquire)
            && let Some(statement) = of(statement)
        {
            let mut breaker = self.breaker();
            breaker.lived(statement);
            self.any.store(!breaker.is_empty(), Ordering::Release);
        }
    }
}

/// A statement as the breaker knows it; nothing for those that cannot harm anybody.
fn of(statement: &Statement) -> Option<Fingerprint> {
    let harmless = statement
        .kind()
        .is_none_or(dqlite_proto::sql::StatementKind::controls_transaction);
    (!harmless).then(|| Fingerprint::of(statement.sql(), statement.names().len()))
}
