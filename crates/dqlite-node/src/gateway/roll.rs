//! The connections by database: which were told BUSY, and which may hold what others wait for.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// All connections that have opened a database.
#[derive(Debug)]
pub(crate) struct Roll {
    begun: Instant,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Entry {
    database: String,
    /// Replies that said BUSY.
    busy: AtomicU64,
    /// Since when the engine has owed replies, in milliseconds since the roll was begun; 0 if it
    /// owes none.
    running: AtomicU64,
    /// A transaction was open when the engine last owed nothing.
    open: AtomicBool,
}

/// One look at a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    /// Replies that said BUSY, on the connections of now.
    pub(crate) busy: u64,
    /// For how long at most the engine has owed replies without a pause.
    pub(crate) running: Duration,
    /// The connections with an open transaction.
    pub(crate) open: Vec<u64>,
}

impl Default for Roll {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            entries: Mutex::default(),
        }
    }
}

impl Roll {
    /// What there is to see of each database.
    pub(crate) fn look(&self) -> BTreeMap<String, Scene> {
        let now = self.millis(Instant::now());
        let entries: Vec<_> = {
            let entries = self.entries();
            entries
                .iter()
                .map(|(id, one)| (*id, Arc::clone(one)))
                .collect()
        };
        let mut scenes = BTreeMap::<String, Scene>::new();
        for (id, entry) in entries {
            let scene = scenes.entry(entry.database.clone()).or_default();
            scene.busy += entry.busy.load(Ordering::Relaxed);
            let running = entry.running.load(Ordering::Relaxed);
            if running > 0 {
                let lasted = Duration::from_millis(now.saturating_sub(running));
                scene.running = scene.running.max(lasted);
            }
            if entry.open.load(Ordering::Relaxed) {
                scene.open.push(id);
            }
        }
        scenes
    }

    /// A connection has opened this database.
    pub(super) fn enter(&self, id: u64, database: &str) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            database: database.to_owned(),
            busy: AtomicU64::new(0),
            running: AtomicU64::new(0),
            open: AtomicBool::new(false),
        });
        self.entries().insert(id, Arc::clone(&entry));
        entry
    }

    /// It is gone.
    pub(super) fn leave(&self, id: u64) {
        self.entries().remove(&id);
    }

    /// Notes since when the engine owes replies, if it does.
    pub(super) fn runs(&self, entry: &Entry, since: Option<Instant>) {
        let since = since.map_or(0, |since| self.millis(since));
        entry.running.store(since, Ordering::Relaxed);
    }

    /// At least 1.
    fn millis(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.begun).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The client is told BUSY.
    pub(super) fn refused(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine owes nothing now, and this is how it left the connection.
    pub(super) fn rests(&self, in_transaction: bool) {
        self.open.store(in_transaction, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_seen_by_database_until_they_leave() {
        let before = |millis| {
            let passed = Duration::from_millis(millis);
            Instant::now().checked_sub(passed).unwrap()
        };
        let roll = Roll {
            begun: before(1000),
            ..Roll::default()
        };
        let first = roll.enter(7, "app");
        let second = roll.enter(8, "app");
        first.refused();
        second.refused();
        roll.runs(&second, Some(before(1)));
        let seen = roll.look();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen["app"].busy, seen["app"].open.len()), (2, 0));
        assert!(seen["app"].running > Duration::ZERO);
        roll.runs(&second, None);
        second.rests(true);
        assert_eq!(roll.look()["app"].open, [8]);
        roll.leave(7);
        assert_eq!(roll.look()["app"].busy, 1);
        roll.leave(8);
        assert!(roll.look().is_empty());
    }
}
