//! Which statements of a session are kept prepared, PURE.
//!
//! A text that comes a second time is prepared, and runs by its id from then on; the one that was
//! not used for the longest time makes room. Ids belong to one session and are forgotten with it.

use std::collections::HashMap;

/// Prepared statements per session.
pub(crate) const PREPARED_MAX: usize = 64;
/// Texts that are remembered, prepared or not.
const TEXTS_MAX: usize = 256;
/// Longer texts are hardly sent twice.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What to do with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Send it as it is.
    Text,
    /// Prepare it and keep the id.
    Prepare,
    /// Run this id.
    Run(u32),
}

/// The statements of one session.
#[derive(Debug, Default)]
pub(crate) struct Cache {
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
    /// How to send a text that is worth keeping.
    pub(crate) fn advise(&mut self, sql: &str) -> Advice {
        self.clock += 1;
        if let Some(entry) = self.texts.get_mut(sql) {
            entry.used = self.clock;
            return entry.id.map_or(Advice::Prepare, Advice::Run);
        }
        if sql.len() > TEXT_BYTES_MAX {
            return Advice::Text;
        }
        if self.texts.len() >= TEXTS_MAX {
            self.drop_oldest(false);
        }
        let used = self.clock;
        self.texts.insert(sql.into(), Entry { id: None, used });
        Advice::Text
    }

    /// Keeps the id of a text; the one returned must be finalized in exchange.
    pub(crate) fn keep(&mut self, sql: &str, id: u32) -> Option<u32> {
        self.clock += 1;
        let evicted = (self.prepared >= PREPARED_MAX)
            .then(|| self.drop_oldest(true))
            .flatten();
        let used = self.clock;
        let replaced = self.texts.insert(sql.into(), Entry { id: Some(id), used });
        self.prepared += 1;
        if let Some(former) = replaced.and_then(|entry| entry.id) {
            self.prepared -= 1;
            return Some(former);
        }
        evicted
    }

    /// Forgets everything: the session is another one.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many ids are kept.
    pub(crate) const fn len(&self) -> usize {
        self.prepared
    }

    /// Whether an id is kept.
    pub(crate) fn holds(&self, id: u32) -> bool {
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
        let mut cache = Cache::default();
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
        let mut cache = Cache::default();
        let sql = |n: u32| format!("SELECT {n}");
        for id in 0..64 {
            assert_eq!(cache.keep(&sql(id), id), None);
        }
        assert_eq!(cache.advise(&sql(0)), Advice::Run(0));
        assert_eq!(cache.keep(&sql(64), 64), Some(1));
        assert_eq!(cache.len(), PREPARED_MAX);
        assert_eq!(cache.advise(&sql(1)), Advice::Text);
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked() {
        let mut cache = Cache::default();
        for n in 0..10_000 {
            cache.advise(&format!("SELECT {n}"));
        }
        assert_eq!(cache.texts.len(), TEXTS_MAX);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(cache.advise(&long), Advice::Text);
        assert_eq!(cache.advise(&long), Advice::Text);
    }
}
