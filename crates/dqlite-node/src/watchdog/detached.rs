//! Whether others see a leader that the own engine does not. PURE.
//!
//! *Engine* (1.18): after an I/O error in raft a node is "unavailable" for good: it lives, names
//! no leader and never votes again. Only a restart cures that.

use std::time::Duration;

use super::Verdict;

/// So many election timeouts without a leader are more than any election takes.
const ELECTIONS: u32 = 10;
/// So many others must agree on the leader.
const WITNESSES: usize = 2;
/// More restarts than these within [`HISTORY_MS`] of one run of the machine cure nothing.
const RESTARTS_MAX: usize = 3;
const HISTORY_MS: u64 = 3_600_000;

/// What is known of a node whose engine names no leader.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    /// How long the own engine has named none.
    pub(super) leaderless: Duration,
    pub(super) election_timeout: Duration,
    /// The leaders that others name.
    pub(super) named: Vec<u64>,
    /// The leader that was asked for its list says that this node votes.
    pub(super) votes: bool,
}

/// Whether it is time to ask the others.
pub(super) fn is_due(leaderless: Duration, election_timeout: Duration) -> bool {
    leaderless >= election_timeout * ELECTIONS
}

/// The leader that enough others name.
pub(super) fn agreed(named: &[u64]) -> Option<u64> {
    let count = |leader: u64| named.iter().filter(|other| **other == leader).count();
    named
        .iter()
        .copied()
        .find(|leader| count(*leader) >= WITNESSES)
}

/// The verdict that this node takes no part any more.
pub(super) fn judge(outlook: &Outlook) -> Option<Verdict> {
    if !outlook.votes || !is_due(outlook.leaderless, outlook.election_timeout) {
        return None;
    }
    let leader = agreed(&outlook.named)?;
    let (others, seconds) = (outlook.named.len(), outlook.leaderless.as_secs_f64());
    Some(Verdict {
        name: "detached",
        evidence: format!(
            "the engine names no leader for {seconds:.1} s, {others} others see node {leader} lead"
        ),
    })
}

/// The time of the machine in one run of it: its wall clock may be set at any moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uptime {
    /// Which run.
    pub(super) boot: String,
    pub(super) millis: u64,
}

impl Uptime {
    /// From `/proc/sys/kernel/random/boot_id` and `/proc/uptime`.
    pub(super) fn parse(boot: &str, uptime: &str) -> Option<Self> {
        let seconds = uptime.split_ascii_whitespace().next()?;
        let seconds: Duration = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            millis: u64::try_from(seconds.as_millis()).ok()?,
        })
    }
}

/// The lines of a history to which `now` is added, if a restart may help: that is, unless there
/// were too many lately. What an earlier run of the machine noted does not count.
pub(super) fn noted(history: &str, now: &Uptime) -> Option<String> {
    let recent = |line: &&str| {
        let at = line.split_once(' ').filter(|(boot, _)| *boot == now.boot);
        let at = at.and_then(|(_, at)| at.parse::<u64>().ok());
        at.is_some_and(|at| now.millis.abs_diff(at) < HISTORY_MS)
    };
    let mut lines: Vec<&str> = history.lines().filter(recent).collect();
    let own = format!("{} {}", now.boot, now.millis);
    let may = lines.len() < RESTARTS_MAX;
    lines.push(&own);
    may.then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ET: Duration = Duration::from_millis(300);

    fn outlook(leaderless_ms: u64, named: &[u64], votes: bool) -> Outlook {
        Outlook {
            leaderless: Duration::from_millis(leaderless_ms),
            election_timeout: ET,
            named: named.to_vec(),
            votes,
        }
    }

    #[test]
    fn two_others_must_name_the_same_leader() {
        let verdict = judge(&outlook(3000, &[7, 7], true)).unwrap();
        assert_eq!(verdict.name, "detached");
        assert!(verdict.evidence.contains("3.0 s, 2 others see node 7"));
        assert_eq!(judge(&outlook(3000, &[7], true)), None);
        assert_eq!(judge(&outlook(3000, &[7, 8], true)), None);
        assert!(judge(&outlook(3000, &[8, 7, 7], true)).is_some());
        assert_eq!(judge(&outlook(3000, &[], true)), None);
    }

    #[test]
    fn an_election_is_no_reason() {
        assert_eq!(judge(&outlook(2999, &[7, 7], true)), None);
    }

    #[test]
    fn who_does_not_vote_knows_no_leader_by_design() {
        assert_eq!(judge(&outlook(60_000, &[7, 7], false)), None);
    }

    #[test]
    fn a_fourth_restart_within_an_hour_is_one_too_many() {
        let at = |boot: &str, seconds: u64| Uptime::parse(boot, &format!("{seconds}.00 7.0\n"));
        let mut history = String::new();
        for seconds in [10, 11, 3000] {
            history = noted(&history, &at("a\n", seconds).unwrap()).unwrap();
        }
        assert_eq!(history, "a 10000\na 11000\na 3000000");
        assert_eq!(noted(&history, &at("a", 3609).unwrap()), None);
        let later = noted(&history, &at("a", 3610).unwrap());
        assert_eq!(later.unwrap(), "a 11000\na 3000000\na 3610000");
        // Another run of the machine begins anew, and so does rubbish.
        assert_eq!(
            noted(&history, &at("b", 3000).unwrap()).unwrap(),
            "b 3000000"
        );
        assert_eq!(
            noted("x\n1\na x\n", &at("a", 1).unwrap()).unwrap(),
            "a 1000"
        );
        assert_eq!(Uptime::parse("a", ""), None);
        assert_eq!(Uptime::parse("a", "-1 2"), None);
    }

    proptest! {
        #[test]
        fn the_verdict_names_who_most_agree_on(
            named in proptest::collection::vec(1_u64..4, 0..6),
            leaderless in 0_u64..10_000,
        ) {
            let verdict = judge(&outlook(leaderless, &named, true));
            let twice = (1..4).any(|id| named.iter().filter(|one| **one == id).count() >= 2);
            prop_assert_eq!(verdict.is_some(), twice && leaderless >= 3000);
        }
    }
}
