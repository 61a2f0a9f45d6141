//! Which statements are not sent again because servers died under them, PURE.
//!
//! A statement that kills its server would walk through the cluster with a client that repeats it.
//! One death proves nothing: a leader that is killed dies under everything that runs. So a
//! statement is refused after two sessions in a row ended under it, the second of which began
//! after the first had ended, and without any success of that statement between them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// How long a statement is refused, and how long a death is remembered.
pub const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Statements that are remembered.
const SUSPECTS_MAX: usize = 256;
const DEATHS_MAX: u32 = 2;

/// A statement and the shape of its parameters, not their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a text with that many parameters.
    ///
    /// ```
    /// use dqlite_client::breaker::Fingerprint;
    /// assert_eq!(Fingerprint::of("SELECT ?", 1), Fingerprint::of("SELECT ?", 1));
    /// assert_ne!(Fingerprint::of("SELECT ?", 1), Fingerprint::of("SELECT 1", 0));
    /// ```
    pub fn of(sql: &str, parameters: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        (sql, parameters).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What is remembered of statements under which sessions ended.
///
/// ```
/// use std::time::{Duration, Instant};
/// use dqlite_client::breaker::{Breaker, Fingerprint};
///
/// let (mut breaker, begun) = (Breaker::default(), Instant::now());
/// let query = Fingerprint::of("SELECT poison()", 0);
/// let later = |seconds| begun + Duration::from_secs(seconds);
/// breaker.died(query, begun, later(1));
/// assert!(!breaker.refuses(query, later(1)));
/// breaker.died(query, later(2), later(3));
/// assert!(breaker.refuses(query, later(4)));
/// assert!(!breaker.refuses(query, later(60)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    suspects: HashMap<Fingerprint, Suspect>,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    deaths: u32,
    last: Instant,
}

impl Suspect {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > REFUSED_FOR
    }
}

impl Breaker {
    /// Whether nothing is suspected at all.
    pub fn is_empty(&self) -> bool {
        self.suspects.is_empty()
    }

    /// Whether the statement must not be sent now.
    pub fn refuses(&self, statement: Fingerprint, now: Instant) -> bool {
        let suspect = self.suspects.get(&statement);
        suspect.is_some_and(|suspect| suspect.deaths >= DEATHS_MAX && !suspect.is_over(now))
    }

    /// A session that began at `opened` ended while it ran the statement.
    pub fn died(&mut self, statement: Fingerprint, opened: Instant, now: Instant) {
        self.suspects.retain(|_, suspect| !suspect.is_over(now));
        if self.suspects.len() >= SUSPECTS_MAX && !self.suspects.contains_key(&statement) {
            let oldest = self.suspects.iter().min_by_key(|(_, suspect)| suspect.last);
            if let Some(oldest) = oldest.map(|(statement, _)| *statement) {
                self.suspects.remove(&oldest);
            }
        }
        let first = Suspect {
            deaths: 1,
            last: now,
        };
        let known = self.suspects.entry(statement);
        known
            .and_modify(|suspect| {
                // Sessions that were open when the first one ended share its fate.
                if opened > suspect.last {
                    suspect.deaths += 1;
                    suspect.last = now;
                }
            })
            .or_insert(first);
    }

    /// The statement was answered.
    pub fn lived(&mut self, statement: Fingerprint) {
        self.suspects.remove(&statement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: Fingerprint = Fingerprint(1);

    #[test]
    fn many_sessions_of_one_dead_server_are_one_death() {
        let mut breaker = Breaker::default();
        let begun = Instant::now();
        for n in 0..32 {
            breaker.died(SQL, begun, begun + Duration::from_millis(n));
        }
        assert!(!breaker.refuses(SQL, begun + Duration::from_secs(1)));
    }

    #[test]
    fn success_clears_a_statement() {
        let mut breaker = Breaker::default();
        let at = |ms| Instant::now() + Duration::from_millis(ms);
        breaker.died(SQL, at(0), at(1));
        breaker.lived(SQL);
        breaker.died(SQL, at(2), at(3));
        assert!(!breaker.refuses(SQL, at(4)));
        breaker.died(SQL, at(5), at(6));
        assert!(breaker.refuses(SQL, at(7)));
        breaker.lived(SQL);
        assert!(breaker.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for n in 0..10_000 {
            breaker.died(Fingerprint(n), now, now + Duration::from_millis(n));
        }
        assert!(breaker.suspects.len() <= SUSPECTS_MAX);
    }
}
