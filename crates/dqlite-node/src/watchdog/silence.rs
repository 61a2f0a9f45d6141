//! How long the engine has not answered, and whether that is a verdict. PURE.

use std::time::{Duration, Instant};

use super::Verdict;

/// Looks come several times a second. After a longer gap this process did not run (SIGSTOP, a
/// debugger, a suspended machine), and neither did the engine.
const GAP_MAX: Duration = Duration::from_secs(1);
/// *Engine*: installing a snapshot and dumping a large database keep the loop busy for seconds.
const COMPUTING_FACTOR: u32 = 12;
/// A loop that is at work for less than one part in so many waits for something. *Kernel*: writing
/// 100 MB to a disk that is busy holds it up for seconds in which it uses no CPU.
const IDLE_SHARE: u32 = 10;

/// One look at the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// An answer came since the last look.
    pub(super) answered: bool,
    /// CPU time that the engine's loop has used in its life.
    pub(super) cpu: Duration,
    /// It wants a CPU, or waits for the disk.
    pub(super) at_work: bool,
}

/// The looks since the last answer.
#[derive(Debug)]
pub(super) struct Silence {
    timeout: Duration,
    last: Option<Instant>,
    lasted: Duration,
    /// What the loop had used when the silence began.
    cpu: Duration,
    /// For how long it was seen at work since then.
    at_work: Duration,
}

impl Silence {
    /// Judges an engine that does not answer for `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            last: None,
            lasted: Duration::ZERO,
            cpu: Duration::ZERO,
            at_work: Duration::ZERO,
        }
    }

    /// Takes another look; gives the verdict that the engine is mute.
    pub(super) fn look(&mut self, look: Look) -> Option<Verdict> {
        let before = self.last.replace(look.at);
        let Some(before) = before.filter(|_| !look.answered) else {
            (self.lasted, self.at_work) = (Duration::ZERO, Duration::ZERO);
            self.cpu = look.cpu;
            return None;
        };
        let gap = look.at.saturating_duration_since(before);
        if gap <= GAP_MAX {
            self.lasted += gap;
            if look.at_work {
                self.at_work += gap;
            }
        }
        let used = look.cpu.saturating_sub(self.cpu);
        let limit = if used.max(self.at_work) * IDLE_SHARE < self.lasted {
            self.timeout
        } else {
            self.timeout * COMPUTING_FACTOR
        };
        (self.lasted >= limit).then(|| Verdict {
            name: "mute",
            evidence: format!(
                "no answer to LEADER for {:.1} s, in which the engine's loop used {:.2} s of CPU \
                 and was at work for {:.1} s",
                self.lasted.as_secs_f64(),
                used.as_secs_f64(),
                self.at_work.as_secs_f64()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const TICK: Duration = Duration::from_millis(200);

    /// Looks given as (time since the last one, answered, CPU used since); the time that passed
    /// when the verdict fell.
    fn judge(looks: impl IntoIterator<Item = (Duration, bool, Duration)>) -> Option<Duration> {
        let begun = Instant::now();
        let mut silence = Silence::new(TIMEOUT);
        let (mut at, mut cpu) = (begun, Duration::ZERO);
        for (gap, answered, used) in looks {
            at += gap;
            cpu += used;
            let at_work = false;
            let look = Look {
                at,
                answered,
                cpu,
                at_work,
            };
            if silence.look(look).is_some() {
                return Some(at - begun);
            }
        }
        None
    }

    fn silent(ticks: usize, used: Duration) -> Vec<(Duration, bool, Duration)> {
        let answer = std::iter::once((TICK, true, Duration::ZERO));
        let rest = std::iter::repeat_n((TICK, false, used), ticks);
        answer.chain(rest).collect()
    }

    #[test]
    fn a_silent_idle_engine_is_mute_after_the_timeout() {
        let fell = judge(silent(100, Duration::ZERO));
        assert_eq!(fell, Some(TICK + TIMEOUT));
    }

    #[test]
    fn a_computing_engine_has_twelve_times_as_long() {
        let fell = judge(silent(1000, TICK / 2));
        assert_eq!(fell, Some(TICK + TIMEOUT * 12));
    }

    #[test]
    fn an_engine_that_computed_at_first_is_mute_once_that_is_long_ago() {
        let busy = silent(5, TICK);
        let idle = std::iter::repeat_n((TICK, false, Duration::ZERO), 1000);
        let fell = judge(busy.into_iter().chain(idle)).unwrap();
        let expected = TIMEOUT * 2;
        assert!(fell > expected && fell <= expected + 3 * TICK, "{fell:?}");
    }

    #[test]
    fn the_evidence_is_in_words() {
        let mut silence = Silence::new(Duration::from_secs(1));
        let mut look = Look {
            at: Instant::now(),
            answered: true,
            cpu: Duration::ZERO,
            at_work: false,
        };
        assert_eq!(silence.look(look), None);
        look.answered = false;
        look.at += Duration::from_secs(1);
        let verdict = silence.look(look).unwrap();
        assert_eq!(verdict.name, "mute");
        assert_eq!(
            verdict.evidence,
            "no answer to LEADER for 1.0 s, in which the engine's loop used 0.00 s of CPU and was \
             at work for 0.0 s"
        );
    }

    #[test]
    fn an_engine_that_waits_for_the_disk_has_as_long_as_one_that_computes() {
        let mut silence = Silence::new(TIMEOUT);
        let begun = Instant::now();
        let fell = (0..1000).find(|tick| {
            let look = Look {
                at: begun + TICK * *tick,
                answered: *tick == 0,
                cpu: Duration::ZERO,
                at_work: true,
            };
            silence.look(look).is_some()
        });
        assert_eq!(fell.map(|tick| TICK * tick), Some(TIMEOUT * 12));
    }

    proptest! {
        #[test]
        fn an_engine_that_answers_in_time_is_never_mute(
            gaps in proptest::collection::vec((0_u64..=1000, 0_u64..=200, 1_usize..=4), 1..200)
        ) {
            // Up to four looks without an answer, each at most a second after the last, then one.
            let looks = gaps.into_iter().flat_map(|(gap, cpu, silent)| {
                let gap = Duration::from_millis(gap);
                let cpu = Duration::from_millis(cpu);
                let quiet = std::iter::repeat_n((gap, false, cpu), silent);
                quiet.chain([(gap, true, cpu)])
            });
            prop_assert_eq!(judge(looks), None);
        }

        #[test]
        fn time_in_which_the_process_did_not_run_does_not_count(
            pauses in proptest::collection::vec(1001_u64..=100_000, 0..20),
            ticks in 1_usize..25,
        ) {
            let asleep = pauses.into_iter().map(|ms| {
                (Duration::from_millis(ms), false, Duration::ZERO)
            });
            let looks = silent(ticks - 1, Duration::ZERO).into_iter().chain(asleep);
            prop_assert_eq!(judge(looks), None);
        }

        #[test]
        fn silence_ends_in_a_verdict_whatever_the_loop_uses(
            uses in proptest::collection::vec(0_u64..=200, 301)
        ) {
            let answer = std::iter::once((TICK, true, Duration::ZERO));
            let looks = uses.into_iter().map(|ms| (TICK, false, Duration::from_millis(ms)));
            let fell = judge(answer.chain(looks));
            prop_assert!(fell.is_some_and(|at| at >= TIMEOUT && at <= TICK + TIMEOUT * 12));
        }
    }
}
