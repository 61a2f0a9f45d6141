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
/// More restarts than these within [`HISTORY_MS`] cure nothing.
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

/// Whether a restart may help: `history` holds the unix times of those before, in milliseconds.
pub(super) fn may_restart(history: &[u64], now_ms: u64) -> bool {
    recent(history, now_ms).count() < RESTARTS_MAX
}

/// What of the history still matters.
pub(super) fn recent(history: &[u64], now_ms: u64) -> impl Iterator<Item = u64> {
    // A clock that went back makes all of them recent, which errs on the quiet side.
    let recent = move |at: &u64| now_ms.saturating_sub(*at) < HISTORY_MS;
    history.iter().copied().filter(recent)
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
        let hour = 3_600_000;
        assert!(may_restart(&[], hour));
        assert!(may_restart(&[hour, hour], hour));
        assert!(!may_restart(&[hour, hour, hour], hour));
        assert!(may_restart(&[1, hour, hour], hour + 1));
        assert!(!may_restart(&[2 * hour; 3], hour));
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
