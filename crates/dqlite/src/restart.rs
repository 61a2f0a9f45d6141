//! When a node process that ended is started again. PURE.
//!
//! Delays double from 0.1 s to 5 s, ±20 %; a process that lived for a minute clears the count. One
//! that somebody killed is started again at once: that says nothing of its health.
//! What a restart cannot cure, and a crash loop, end in a reason to give up.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::control::exit;

const DELAY_FIRST: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;
/// The reason to give up begins with this when a restart might have helped.
const LOOP: &str = "crash loop";
/// A process that lived this long had come up.
const UP_AFTER: Duration = Duration::from_millis(500);
/// A process that lived this long was healthy: earlier crashes no longer count.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It left with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// It sent no sign of life, and was killed for it.
    Silent,
    /// Somebody else reaped it: nothing is known.
    Unknown,
}

impl Ending {
    /// Whether it was not on purpose: the same process, started again, may do better.
    pub(crate) const fn is_crash(self) -> bool {
        match self {
            Self::Signal(_) | Self::Silent | Self::Unknown => true,
            Self::Status(status) => {
                matches!(status, exit::DISK_FULL | exit::BUG | exit::WATCHDOG)
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
            Self::Silent => f.write_str("killed: no sign of life"),
            Self::Unknown => f.write_str("ended unseen: its exit status was taken by another"),
        }
    }
}

/// One process that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) born: Instant,
    pub(crate) died: Instant,
    pub(crate) ending: Ending,
}

/// When a series of crashes is a crash loop, and whether to restart at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) restart: bool,
    pub(crate) crashes_max: u32,
    pub(crate) window: Duration,
}

/// What to do after an ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this long.
    Wait(Duration),
    /// Stay down, for this reason.
    GiveUp(String),
}

/// Judges the last life of `history` (oldest first). `dice` in `-1.0..=1.0` is the jitter.
pub(crate) fn decide(history: &[Life], policy: Policy, dice: f64) -> Verdict {
    let Some(last) = history.last() else {
        return Verdict::Wait(Duration::ZERO);
    };
    if !last.ending.is_crash() {
        return Verdict::GiveUp(last.ending.to_string());
    }
    if !policy.restart {
        return Verdict::GiveUp(format!("{}; restart is \"never\"", last.ending));
    }
    let crashes = crashes_since_healthy(history);
    let recent = crashes
        .iter()
        .filter(|life| last.died.duration_since(life.died) < policy.window)
        .count();
    if recent > usize::try_from(policy.crashes_max).unwrap_or(usize::MAX) {
        let window = policy.window.as_secs_f64();
        let text = format!(
            "{LOOP}: {recent} crashes in {window} s, the last: {}",
            last.ending
        );
        return Verdict::GiveUp(text);
    }
    let doublings = if was_shot(last) { 1 } else { crashes.len() };
    Verdict::Wait(delay(doublings, dice))
}

/// Whether somebody killed a process that was up.
fn was_shot(life: &Life) -> bool {
    let lived = life.died.duration_since(life.born);
    life.ending == Ending::Signal(Signal::SIGKILL as i32) && lived >= UP_AFTER
}

/// Whether a reason to give up is that of a crash loop.
pub(crate) fn is_loop(reason: &str) -> bool {
    reason.starts_with(LOOP)
}

/// How much of the history still matters to `policy`; older lives may be forgotten.
pub(crate) fn forget(history: &mut Vec<Life>) {
    let kept = crashes_since_healthy(history).len();
    history.drain(..history.len() - kept);
}

/// The last life and the unhealthy ones right before it.
fn crashes_since_healthy(history: &[Life]) -> &[Life] {
    let healthy = |life: &Life| life.died.duration_since(life.born) >= HEALTHY_AFTER;
    let from = history.iter().rposition(healthy).unwrap_or(0);
    history.get(from..).unwrap_or_default()
}

fn delay(crashes: usize, dice: f64) -> Duration {
    let doublings = u32::try_from(crashes.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    let base = DELAY_FIRST.saturating_mul(1 << doublings).min(DELAY_MAX);
    base.mul_f64(1.0 + JITTER * dice.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        restart: true,
        crashes_max: 5,
        window: Duration::from_mins(1),
    };

    /// Lives one after another, given as (seconds of life, ending).
    fn lives(of: &[(u64, Ending)]) -> Vec<Life> {
        let mut now = Instant::now();
        let mut born = |seconds: u64, ending| {
            let born = now;
            now += Duration::from_secs(seconds);
            Life {
                born,
                died: now,
                ending,
            }
        };
        of.iter()
            .map(|(seconds, ending)| born(*seconds, *ending))
            .collect()
    }

    fn wait(of: &[(u64, Ending)]) -> u128 {
        match decide(&lives(of), POLICY, 0.0) {
            Verdict::Wait(delay) => delay.as_millis(),
            Verdict::GiveUp(reason) => panic!("gave up: {reason}"),
        }
    }

    fn reason(of: &[(u64, Ending)]) -> String {
        match decide(&lives(of), POLICY, 0.0) {
            Verdict::Wait(delay) => panic!("would wait {delay:?}"),
            Verdict::GiveUp(reason) => reason,
        }
    }

    const KILLED: Ending = Ending::Signal(6);

    #[test]
    fn whom_somebody_kills_is_started_again_at_once_until_that_is_a_loop() {
        let shot = (1, Ending::Signal(9));
        assert_eq!(wait(&[shot]), 100);
        assert_eq!(wait(&[shot; 5]), 100);
        assert_eq!(wait(&[(1, KILLED), (1, KILLED), shot]), 100);
        assert_eq!(wait(&[(1, KILLED), shot, (1, KILLED)]), 400);
        // Killed before it was up: perhaps for what it needs.
        assert_eq!(wait(&[(0, Ending::Signal(9)); 3]), 400);
        assert!(reason(&[shot; 6]).starts_with("crash loop: 6 crashes in 60 s"));
    }

    #[test]
    fn delays_double() {
        assert_eq!(wait(&[(1, KILLED)]), 100);
        assert_eq!(wait(&[(1, KILLED); 2]), 200);
        assert_eq!(wait(&[(1, KILLED); 5]), 1600);
    }

    #[test]
    fn delays_end_at_five_seconds() {
        assert_eq!(wait(&[(20, KILLED); 9]), 5000);
        assert_eq!(wait(&[(59, KILLED); 40]), 5000);
    }

    #[test]
    fn a_minute_of_life_clears_the_count() {
        assert_eq!(wait(&[(1, KILLED), (1, KILLED), (60, KILLED)]), 100);
        assert_eq!(wait(&[(1, KILLED), (60, KILLED), (1, KILLED)]), 200);
    }

    #[test]
    fn jitter_is_a_fifth() {
        let history = lives(&[(1, KILLED)]);
        let at = |dice| decide(&history, POLICY, dice);
        assert_eq!(at(1.0), Verdict::Wait(Duration::from_millis(120)));
        assert_eq!(at(-1.0), Verdict::Wait(Duration::from_millis(80)));
        assert_eq!(at(7.0), at(1.0));
    }

    #[test]
    fn the_sixth_crash_in_a_minute_is_a_loop() {
        assert_eq!(wait(&[(1, KILLED); 5]), 1600);
        let text = reason(&[(1, KILLED); 6]);
        assert_eq!(
            text,
            "crash loop: 6 crashes in 60 s, the last: killed by SIGABRT"
        );
    }

    #[test]
    fn no_crash_allowed_means_no_restart() {
        let policy = Policy {
            crashes_max: 0,
            ..POLICY
        };
        let verdict = decide(&lives(&[(1, KILLED)]), policy, 0.0);
        assert!(matches!(verdict, Verdict::GiveUp(_)));
    }

    #[test]
    fn only_what_a_restart_may_cure_is_restarted() {
        for status in [exit::DISK_FULL, exit::BUG, exit::WATCHDOG] {
            assert_eq!(wait(&[(1, Ending::Status(status))]), 100, "{status}");
        }
        for ending in [Ending::Silent, Ending::Unknown, Ending::Signal(6)] {
            assert_eq!(wait(&[(1, ending)]), 100, "{ending}");
        }
        for status in (exit::CONFIG..=exit::TLS).chain([0, 1, 2, 101, 127]) {
            let text = reason(&[(1, Ending::Status(status))]);
            assert_eq!(text, format!("exit status {status}"));
        }
    }

    #[test]
    fn never_means_never() {
        let policy = Policy {
            restart: false,
            ..POLICY
        };
        let verdict = decide(&lives(&[(100, KILLED)]), policy, 0.0);
        let Verdict::GiveUp(text) = verdict else {
            panic!("restarted");
        };
        assert_eq!(text, "killed by SIGABRT; restart is \"never\"");
    }

    #[test]
    fn forgetting_changes_no_verdict() {
        let mut history = Vec::new();
        let endings = [
            (1, KILLED),
            (70, KILLED),
            (3, Ending::Silent),
            (80, KILLED),
            (2, KILLED),
        ];
        for life in lives(&endings.repeat(4)) {
            let mut all = history.clone();
            all.push(life);
            history.push(life);
            forget(&mut history);
            assert!(history.len() <= 3);
            assert_eq!(decide(&all, POLICY, 0.0), decide(&history, POLICY, 0.0));
        }
    }
}
