//! Which statements of a session are kept prepared, PURE.

use std::collections::HashMap;

/// Prepared statements per session, where nobody says otherwise.
pub(crate) const PREPARED_MAX: usize = 64;
/// Texts that are remembered for each that may be prepared.
const TEXTS_PER_ID: usize = 4;
/// Longer texts are hardly sent twice.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What to do with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Send it as it is.
    Text,
    /// Prepare it and [`keep`](Cache::keep) the id.
    Prepare,
    /// Run this id.
    Run(u32),
}

/// The prepared statements of one session.
///
/// A text that comes a second time is worth a PREPARE, and runs by its id from then on; the one
/// that was not used for the longest time makes room. Ids belong to one session and are forgotten
/// with it. Nothing here sends anything.
///
/// ```
/// use dqlite_client::fd::{Advice, Cache};
///
/// let mut cache = Cache::new(64);
/// assert_eq!(cache.advise("SELECT 1"), Advice::Text);
/// assert_eq!(cache.advise("SELECT 1"), Advice::Prepare);
/// assert_eq!(cache.keep("SELECT 1", 0), None);
/// assert_eq!(cache.id("SELECT 1"), Some(0));
/// ```
#[derive(Debug)]
pub struct Cache {
    max: usize,
    texts: HashMap<Box<str>, Entry>,
    prepared: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    id: Option<u32>,
    used: u64,
}

impl Cache {
    /// Keeps so many ids at most; none at all with 0.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            texts: HashMap::new(),
            prepared: 0,
            clock: 0,
        }
    }

    /// The id of a text, if there is one.
    pub fn id(&mut self, sql: &str) -> Option<u32> {
        if self.prepared == 0 {
            return None;
        }
        self.clock += 1;
        let entry = self.texts.get_mut(sql)?;
        entry.used = self.clock;
        entry.id
    }

    /// What to do with a text that is worth keeping; it is remembered.
    pub fn advise(&mut self, sql: &str) -> Advice {
        self.clock += 1;
        if let Some(entry) = self.texts.get_mut(sql) {
            entry.used = self.clock;
            return entry.id.map_or(Advice::Prepare, Advice::Run);
        }
        if sql.len() > TEXT_BYTES_MAX || self.max == 0 {
            return Advice::Text;
        }
        if self.texts.len() >= self.max * TEXTS_PER_ID {
            self.drop_oldest(false);
        }
        let used = self.clock;
        self.texts.insert(sql.into(), Entry { id: None, used });
        Advice::Text
    }

    /// Keeps the id of a text; the one returned must be finalized in exchange.
    pub fn keep(&mut self, sql: &str, id: u32) -> Option<u32> {
        self.clock += 1;
        let used = self.clock;
        let replaced = self.texts.insert(sql.into(), Entry { id: Some(id), used });
        if let Some(former) = replaced.and_then(|entry| entry.id) {
            return Some(former);
        }
        self.prepared += 1;
        (self.prepared > self.max)
            .then(|| self.drop_oldest(true))
            .flatten()
    }

    /// Forgets a text that could not be prepared.
    pub fn forget(&mut self, sql: &str) {
        let former = self.texts.remove(sql);
        self.prepared -= usize::from(former.is_some_and(|entry| entry.id.is_some()));
    }

    /// Forgets everything: the session is another one.
    pub fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// How many ids are kept.
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether there are none"
    )]
    pub const fn len(&self) -> usize {
        self.prepared
    }

    /// Whether an id is kept.
    pub fn holds(&self, id: u32) -> bool {
        self.texts.values().any(|entry| entry.id == Some(id))
    }

    /// Drops the entry that was not used for the longest time among those with an id, or without.
    fn drop_oldest(&mut self, prepared: bool) -> Option<u32> {
        let candidates = self.texts.iter();
        let oldest = candidates
            .filter(|(_, entry)| entry.id.is_some() == prepared)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(sql, _)| sql.clone())?;
        let id = self.texts.remove(&oldest)?.id;
        self.prepared -= usize::from(id.is_some());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_use_prepares_and_the_third_runs_the_id() {
        let mut cache = Cache::new(PREPARED_MAX);
        assert_eq!(cache.advise("SELECT 1"), Advice::Text);
        assert_eq!(cache.advise("SELECT 1"), Advice::Prepare);
        assert_eq!(cache.keep("SELECT 1", 0), None);
        assert_eq!(cache.advise("SELECT 1"), Advice::Run(0));
        assert!(cache.holds(0) && !cache.holds(1));
        assert_eq!(cache.keep("SELECT 1", 4), Some(0), "an id is never lost");
        assert_eq!(cache.len(), 1);
        cache.clear();
        assert_eq!((cache.len(), cache.advise("SELECT 1")), (0, Advice::Text));
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut cache = Cache::new(PREPARED_MAX);
        let sql = |n: u32| format!("SELECT {n}");
        for id in 0..64 {
            assert_eq!(cache.keep(&sql(id), id), None);
        }
        assert_eq!(cache.advise(&sql(0)), Advice::Run(0));
        assert_eq!(cache.keep(&sql(64), 64), Some(1));
        assert_eq!(cache.len(), PREPARED_MAX);
        assert_eq!(cache.advise(&sql(1)), Advice::Text);
        assert_eq!(cache.keep(&sql(0), 65), Some(0), "no other makes room");
        assert_eq!(cache.len(), PREPARED_MAX);
    }

    #[test]
    fn a_text_that_cannot_be_prepared_is_new_again() {
        let mut cache = Cache::new(2);
        cache.advise("SELECT 1");
        assert_eq!(cache.advise("SELECT 1"), Advice::Prepare);
        cache.forget("SELECT 1");
        assert_eq!(cache.advise("SELECT 1"), Advice::Text);
        assert_eq!(cache.keep("SELECT 1", 3), None);
        cache.forget("SELECT 1");
        assert_eq!((cache.len(), cache.id("SELECT 1")), (0, None));
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut cache = Cache::new(0);
        for _ in 0..3 {
            assert_eq!(cache.advise("SELECT 1"), Advice::Text);
            assert_eq!(cache.id("SELECT 1"), None);
        }
        assert_eq!(cache.keep("SELECT 1", 0), Some(0));
        assert_eq!((cache.len(), cache.id("SELECT 1")), (0, None));
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked() {
        let mut cache = Cache::new(PREPARED_MAX);
        for n in 0..10_000 {
            cache.advise(&format!("SELECT {n}"));
        }
        assert_eq!(cache.texts.len(), PREPARED_MAX * TEXTS_PER_ID);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(cache.advise(&long), Advice::Text);
        assert_eq!(cache.advise(&long), Advice::Text);
    }
}
