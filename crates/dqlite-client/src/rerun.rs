//! When a transaction is run again, PURE.
//!
//! Only what is proven not to have happened is run again, and within bounds. A COMMIT whose fate
//! is unknown proves nothing, unless the transaction carries a [`Token`](crate::Token): then the
//! next run finds out whether it took effect.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use dqlite_client::rerun::{Fault, Policy, Rerun};
//! use dqlite_client::{Outcome, Retry};
//!
//! let now = Instant::now();
//! let mut rerun = Rerun::new(&Policy::default(), now, 7);
//! let busy = Fault { outcome: Outcome::Refused, retry: Retry::Transaction, commit: false };
//! assert!(rerun.after(busy, now).is_some());
//! let in_doubt = Fault { outcome: Outcome::Unknown, retry: Retry::No, commit: true };
//! assert!(rerun.after(in_doubt, now).is_none());
//! ```

use std::time::{Duration, Instant};

use dqlite_proto::{Outcome, Retry};

use crate::backoff::Backoff;
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::transaction::Behavior;

const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a transaction is run, and run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How it begins.
    pub behavior: Behavior,
    /// How often it is run at most.
    pub attempts: u32,
    /// How long all runs may take together. No statement of them outlasts it.
    pub timeout: Duration,
    /// Whether a run finds out if an earlier one took effect.
    pub has_token: bool,
}

impl Default for Policy {
    /// Immediate, 8 runs, 30 seconds, no token.
    fn default() -> Self {
        Self {
            behavior: Behavior::Immediate,
            attempts: 8,
            timeout: Duration::from_secs(30),
            has_token: false,
        }
    }
}

impl Policy {
    /// The same with another beginning.
    #[must_use]
    pub const fn with_behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = behavior;
        self
    }

    /// The same with another number of runs.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The same with another time.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Why a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// May the statement that failed have happened?
    pub outcome: Outcome,
    /// What may be tried again.
    pub retry: Retry,
    /// Whether it was the COMMIT.
    pub commit: bool,
}

impl Fault {
    /// The fault behind an error.
    pub fn of(error: &Error) -> Self {
        Self {
            outcome: error.outcome(),
            retry: error.retry(),
            commit: error.kind() == ErrorKind::CommitUnknown,
        }
    }

    /// Whether nothing of the run can have happened, and another run may fare better.
    pub fn is_harmless(self) -> bool {
        self.outcome != Outcome::Unknown && self.retry != Retry::No
    }
}

/// The runs of one transaction.
#[derive(Clone, Debug)]
pub struct Rerun {
    deadline: Instant,
    runs_left: u32,
    has_token: bool,
    pauses: Backoff,
}

impl Rerun {
    /// Before the first run; equal seeds give equal pauses.
    pub fn new(policy: &Policy, now: Instant, seed: u64) -> Self {
        Self {
            deadline: clock::later(now, policy.timeout),
            runs_left: policy.attempts.saturating_sub(1),
            has_token: policy.has_token,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MAX, seed),
        }
    }

    /// When the last run must have ended.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// After a run that failed: how long to wait before the next one; `None` if there is none.
    pub fn after(&mut self, fault: Fault, now: Instant) -> Option<Duration> {
        let in_doubt = fault.commit && fault.outcome == Outcome::Unknown;
        let may = fault.is_harmless() || (in_doubt && self.has_token);
        let left = self.deadline.saturating_duration_since(now);
        if !may || self.runs_left == 0 || left.is_zero() {
            return None;
        }
        self.runs_left -= 1;
        Some(self.pauses.next(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn fault(outcome: Outcome, retry: Retry, commit: bool) -> Fault {
        Fault {
            outcome,
            retry,
            commit,
        }
    }

    #[test]
    fn only_what_is_proven_not_executed_is_run_again() {
        use Outcome::{NotSent, Refused, Unknown};
        let now = Instant::now();
        let again = |fault, has_token| {
            let policy = Policy {
                has_token,
                ..Policy::default()
            };
            Rerun::new(&policy, now, 1).after(fault, now).is_some()
        };
        for (fault, without, with) in [
            (fault(NotSent, Retry::Elsewhere, false), true, true),
            (fault(NotSent, Retry::No, false), false, false),
            (fault(Refused, Retry::Transaction, false), true, true),
            (fault(Refused, Retry::Elsewhere, true), true, true),
            (fault(Refused, Retry::No, false), false, false),
            (fault(Unknown, Retry::No, true), false, true),
            (fault(Unknown, Retry::No, false), false, false),
        ] {
            assert_eq!(again(fault, false), without, "{fault:?}");
            assert_eq!(again(fault, true), with, "{fault:?} with a token");
        }
    }

    #[test]
    fn runs_are_bounded_in_number_and_time() {
        let now = Instant::now();
        let busy = fault(Outcome::Refused, Retry::Transaction, false);
        let mut rerun = Rerun::new(&Policy::default(), now, 1);
        let runs = std::iter::from_fn(|| rerun.after(busy, now)).count();
        assert_eq!(runs, 7);
        let mut rerun = Rerun::new(&Policy::default(), now, 1);
        let late = now + Duration::from_secs(29) + Duration::from_millis(999);
        assert!(rerun.after(busy, late).unwrap() <= Duration::from_millis(1));
        assert_eq!(rerun.after(busy, rerun.deadline()), None);
    }
}
