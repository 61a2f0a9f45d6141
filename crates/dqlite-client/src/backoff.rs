//! How long to wait before the next round, PURE.

use std::time::Duration;

/// Delays that double up to a bound, each drawn evenly from nothing to the bound ("full jitter"),
/// so that clients that failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    round: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// Delays that begin at `first` and never exceed `max`; equal seeds give equal delays.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            round: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next delay, at most `cap`.
    pub fn next(&mut self, cap: Duration) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.round.min(20));
        self.round = self.round.saturating_add(1);
        let bound = doubled.min(self.max).min(cap);
        bound.mul_f64(self.random.f64())
    }

    /// Begins anew with the first delay.
    pub const fn reset(&mut self) {
        self.round = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_their_doubling_bound() {
        let first = Duration::from_millis(25);
        let max = Duration::from_secs(1);
        for seed in 0..200 {
            let mut backoff = Backoff::new(first, max, seed);
            for round in 0..40 {
                let bound = first.saturating_mul(1 << round.min(20)).min(max);
                assert!(backoff.next(Duration::MAX) <= bound);
            }
            assert!(backoff.next(Duration::from_millis(3)) <= Duration::from_millis(3));
        }
    }

    #[test]
    fn equal_seeds_give_equal_delays() {
        let delays = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(25), Duration::from_secs(1), seed);
            std::iter::repeat_with(|| backoff.next(Duration::MAX))
                .take(8)
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }
}
