//! Whether the writers of a database wait for somebody who does not exist. PURE.
//!
//! *Engine*: a statement that is left in the middle of a write keeps the lock of its database
//! although its connection is long gone; then every writer is told BUSY until a restart. Here that
//! is: refusals, nobody in the gateway who could hold the lock, and a writer of our own that waits
//! its turn in the queue and does not get it, time after time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Verdict;
use crate::gateway::Scene;

/// So much longer than a writer waits must it last.
const BEYOND: Duration = Duration::from_secs(10);
/// A request that waits for the lock may be a little late.
const LATE: Duration = Duration::from_secs(2);
/// Tries of our own that must fail in a row.
const TRIES: u32 = 3;

/// What is known of one database.
#[derive(Debug)]
pub(super) struct Suspicion {
    busy_timeout: Duration,
    busy: u64,
    /// Connections with an open transaction, and since when.
    open: HashMap<u64, Instant>,
    /// Since when nobody got the lock, and how often it was tried.
    stuck: Option<(Instant, u32)>,
}

impl Suspicion {
    pub(super) fn new(busy_timeout: Duration) -> Self {
        Self {
            busy_timeout,
            busy: 0,
            open: HashMap::new(),
            stuck: None,
        }
    }

    /// Takes a look; gives whether it is time to try for the lock.
    pub(super) fn look(&mut self, at: Instant, scene: &Scene) -> bool {
        self.open.retain(|id, _| scene.open.contains(id));
        for id in &scene.open {
            self.open.entry(*id).or_insert(at);
        }
        // Whoever has waited for the lock for so long has been refused by now.
        let patience = self.busy_timeout + LATE;
        let mut open = self.open.values();
        let held = scene.running > patience
            || open.any(|since| at.saturating_duration_since(*since) > patience);
        let refused = scene.busy > self.busy;
        self.busy = scene.busy;
        if held {
            self.stuck = None;
        } else if refused {
            self.stuck.get_or_insert((at, 0));
        }
        self.stuck.is_some()
    }

    /// A try for the lock has ended: it was BUSY for the whole time, or it was not.
    pub(super) fn tried(&mut self, at: Instant, busy: bool) -> Option<Verdict> {
        let (since, tries) = self.stuck.filter(|_| busy)?;
        self.stuck = Some((since, tries + 1));
        let lasted = at.saturating_duration_since(since);
        let is_over = lasted >= self.busy_timeout + BEYOND && tries + 1 >= TRIES;
        is_over.then(|| Verdict {
            name: "writers-stuck",
            evidence: format!(
                "for {:.1} s nobody could write to a database, although no client of this node \
                 holds it; {} tries for its lock failed, too",
                lasted.as_secs_f64(),
                tries + 1
            ),
        })
    }

    /// The lock was free, or there was nobody to ask.
    pub(super) fn clear(&mut self) {
        self.stuck = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn scene(busy: u64, running_s: u64, open: &[u64]) -> Scene {
        Scene {
            busy,
            running: Duration::from_secs(running_s),
            open: open.to_vec(),
        }
    }

    /// Looks once a second; each try fails after the time that a writer waits. When the verdict
    /// fell, in seconds.
    fn judge(seconds: u64, at_second: impl Fn(u64) -> Scene) -> Option<u64> {
        let begun = Instant::now();
        let mut suspicion = Suspicion::new(TIMEOUT);
        let mut second = 0;
        while second < seconds {
            let at = |second| begun + Duration::from_secs(second);
            if suspicion.look(at(second), &at_second(second)) {
                second += TIMEOUT.as_secs();
                if suspicion.tried(at(second), true).is_some() {
                    return Some(second);
                }
            } else {
                second += 1;
            }
        }
        None
    }

    #[test]
    fn refusals_that_nobody_explains_are_a_verdict() {
        let fell = judge(100, |second| scene(second, 4, &[]));
        assert_eq!(fell, Some(1 + 15));
    }

    #[test]
    fn no_refusal_no_suspicion() {
        assert_eq!(judge(100, |_| scene(0, 4, &[])), None);
    }

    #[test]
    fn a_long_statement_or_transaction_explains_it() {
        assert_eq!(judge(100, |second| scene(second, second, &[])), None);
        assert_eq!(judge(100, |second| scene(second, 1, &[7])), None);
    }

    #[test]
    fn short_transactions_do_not_explain_it() {
        let fell = judge(100, |second| scene(second, 1, &[second]));
        assert_eq!(fell, Some(16));
    }

    #[test]
    fn a_try_that_succeeds_ends_it() {
        let at = Instant::now();
        let mut suspicion = Suspicion::new(Duration::ZERO);
        assert!(suspicion.look(at, &scene(1, 0, &[])));
        suspicion.clear();
        assert!(!suspicion.look(at, &scene(1, 0, &[])));
        let later = at + Duration::from_secs(100);
        assert_eq!(suspicion.tried(later, true), None);
    }

    #[test]
    fn one_try_is_none_however_long_it_took() {
        let at = Instant::now();
        let mut suspicion = Suspicion::new(TIMEOUT);
        assert!(suspicion.look(at, &scene(1, 0, &[])));
        let frozen = at + Duration::from_secs(1000);
        assert_eq!(suspicion.tried(frozen, true), None);
        assert_eq!(suspicion.tried(frozen, true), None);
        let verdict = suspicion.tried(frozen, true).unwrap();
        assert_eq!(verdict.name, "writers-stuck");
        assert!(verdict.evidence.contains("for 1000.0 s"), "{verdict:?}");
    }

    proptest! {
        #[test]
        fn a_lock_that_goes_round_is_never_stuck(
            looks in proptest::collection::vec((0_u64..3, 0_u64..10, any::<bool>()), 1..200)
        ) {
            // At most two tries in a row fail.
            let begun = Instant::now();
            let mut suspicion = Suspicion::new(TIMEOUT);
            let (mut busy, mut failed) = (0, 0);
            for (second, (refused, running, free)) in (0..).zip(looks) {
                let at = begun + Duration::from_secs(20 * second);
                busy += refused;
                if suspicion.look(at, &scene(busy, running, &[])) {
                    failed = if free || failed == 2 { 0 } else { failed + 1 };
                    if failed == 0 {
                        suspicion.clear();
                    } else {
                        prop_assert_eq!(suspicion.tried(at, true), None);
                    }
                }
            }
        }
    }
}
