//! Which members answer: pure bookkeeping of probes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dqlite_proto::{Metadata, NodeInfo};

use crate::roles::{Health, Member};

/// After the first failed probe the member is asked again this soon, then after twice as long.
const SUSPICION: Duration = Duration::from_secs(1);

/// An answer this old is no reason any more to expect another one.
const FRESH: Duration = Duration::from_secs(2);

/// A member that did not become a voter is not asked to for so long: each attempt blocks all other
/// changes for 50 s, and what it lacks may be more than it can ever be sent.
const BARRED: Duration = Duration::from_mins(5);

/// What the probes of all members have shown.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    known: HashMap<u64, Probe>,
}

/// How a member was seen last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// What it said of itself.
    pub(crate) metadata: Metadata,
    /// When it answered last, or was asked first if it never did.
    pub(crate) answered: Instant,
    /// It counts, although it may have missed a question.
    pub(crate) is_online: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    metadata: Metadata,
    /// When it answered last, or was asked first if it never did.
    answered: Instant,
    failures: u32,
    asked: Instant,
    /// It took a change and did not answer; only an answer cures that.
    given_up: bool,
    /// Until then it is no candidate for anything, whatever it answers.
    barred_until: Option<Instant>,
}

impl Probes {
    /// Takes a member's answer, or its silence.
    pub(crate) fn note(&mut self, id: u64, answer: Option<Metadata>, now: Instant) {
        let new = Probe {
            metadata: Metadata::default(),
            answered: now,
            failures: 0,
            asked: now,
            given_up: false,
            barred_until: None,
        };
        let probe = self.known.entry(id).or_insert(new);
        probe.asked = now;
        match answer {
            Some(metadata) => {
                (probe.metadata, probe.answered, probe.failures) = (metadata, now, 0);
                probe.given_up = false;
            }
            None => probe.failures = probe.failures.saturating_add(1),
        }
    }

    /// Forgets who is no member any more.
    pub(crate) fn keep(&mut self, members: &[NodeInfo]) {
        self.known
            .retain(|id, _| members.iter().any(|member| member.id == *id));
    }

    /// The members as the role decisions see them.
    pub(crate) fn members(
        &self,
        members: &[NodeInfo],
        offline_after: Duration,
        now: Instant,
    ) -> Vec<Member> {
        let health = |id: u64| match self.known.get(&id) {
            None => Health::Suspect {
                domain: 0,
                weight: 0,
            },
            Some(probe) => {
                let Metadata {
                    failure_domain: domain,
                    weight,
                } = probe.metadata;
                match probe.failures {
                    0 if probe.barred_until.is_some_and(|until| now < until) => {
                        Health::Suspect { domain, weight }
                    }
                    0 => Health::Online { domain, weight },
                    _ if !probe.given_up && now - probe.answered < offline_after => {
                        Health::Suspect { domain, weight }
                    }
                    _ => Health::Offline,
                }
            }
        };
        let silent = |id| {
            let known = self.known.get(&id);
            known.map_or(Duration::ZERO, |probe| {
                now.saturating_duration_since(probe.answered)
            })
        };
        let member = |info: &NodeInfo| Member {
            id: info.id,
            address: info.address.clone(),
            role: info.role,
            health: health(info.id),
            silent: silent(info.id),
        };
        members.iter().map(member).collect()
    }

    /// Each member as it was seen last.
    pub(crate) fn sights(&self, offline_after: Duration, now: Instant) -> HashMap<u64, Sight> {
        let sight = |probe: &Probe| Sight {
            metadata: probe.metadata,
            answered: probe.answered,
            is_online: probe.failures == 0
                || !probe.given_up && now - probe.answered < offline_after,
        };
        let known = self.known.iter();
        known.map(|(id, probe)| (*id, sight(probe))).collect()
    }

    /// Whether a member answered so lately that a change may wait for it.
    ///
    /// *Engine*: the promotion of a member that does not answer blocks every other change for 50 s.
    pub(crate) fn is_fresh(&self, id: u64, now: Instant) -> bool {
        self.known.get(&id).is_some_and(|probe| {
            probe.failures == 0 && now.saturating_duration_since(probe.answered) <= FRESH
        })
    }

    /// Counts a member as offline until it answers again.
    pub(crate) fn give_up(&mut self, id: u64, now: Instant) {
        self.note(id, None, now);
        if let Some(probe) = self.known.get_mut(&id) {
            probe.given_up = true;
        }
    }

    /// Leaves a member alone for a while that did not become a voter.
    pub(crate) fn bar(&mut self, id: u64, now: Instant) {
        self.give_up(id, now);
        if let Some(probe) = self.known.get_mut(&id) {
            probe.barred_until = Some(now + BARRED);
        }
    }

    /// When somebody should be asked again out of turn.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = |probe: &Probe| match probe.failures {
            0 => None,
            failures => Some(probe.asked + SUSPICION * (1 << failures.min(3)) / 2),
        };
        self.known.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::Role;

    use super::*;

    fn health(probes: &Probes, now: Instant) -> Health {
        let member = NodeInfo {
            id: 7,
            address: "a:1".to_owned(),
            role: Role::Voter,
        };
        probes.members(&[member], Duration::from_secs(10), now)[0].health
    }

    #[test]
    fn who_did_not_become_a_voter_is_left_alone_although_it_answers() {
        let begin = Instant::now();
        let mut probes = Probes::default();
        probes.note(7, Some(Metadata::default()), begin);
        probes.bar(7, begin);
        assert_eq!(health(&probes, begin), Health::Offline);
        probes.note(7, Some(Metadata::default()), begin);
        assert!(matches!(health(&probes, begin), Health::Suspect { .. }));
        let later = begin + BARRED;
        assert!(matches!(health(&probes, later), Health::Online { .. }));
    }

    #[test]
    fn silence_makes_suspect_then_offline_and_one_answer_cures_it() {
        let begin = Instant::now();
        let mut probes = Probes::default();
        let answer = Metadata {
            failure_domain: 2,
            weight: 3,
        };
        probes.note(7, Some(answer), begin);
        assert_eq!(
            health(&probes, begin),
            Health::Online {
                domain: 2,
                weight: 3
            }
        );
        assert_eq!(probes.next(), None);
        let later = begin + Duration::from_secs(4);
        probes.note(7, None, later);
        assert_eq!(
            health(&probes, later),
            Health::Suspect {
                domain: 2,
                weight: 3
            }
        );
        assert_eq!(probes.next(), Some(later + Duration::from_secs(1)));
        let long = begin + Duration::from_secs(11);
        probes.note(7, None, long);
        assert_eq!(health(&probes, long), Health::Offline);
        assert_eq!(probes.next(), Some(long + Duration::from_secs(2)));
        probes.note(7, Some(answer), long);
        assert_eq!(
            health(&probes, long),
            Health::Online {
                domain: 2,
                weight: 3
            }
        );
    }
}
