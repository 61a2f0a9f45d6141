//! Who leads? Whom to ask next, what an answer means, and why nobody does: PURE.
//!
//! ```text
//! loop {
//!     match search.next(now) {
//!         Step::Probe(probe) => dial it, without waiting
//!         Step::Wait(until)  => wait for any answer, until then; search.answered(id, .., now)
//!         Step::GiveUp       => return search.error(now)
//!     }
//! }
//! ```
//!
//! The last known leader is asked alone first, then everybody at once. An address that names
//! itself is the leader, and the caller stops; one that names another is followed. When nobody
//! leads a jittered pause follows and everything begins again, until the deadline.

mod reasons;

use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Role};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::error::AttemptKind;

/// What bounds a search.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// When to give up; `None` for searches that are cancelled by other means.
    pub deadline: Option<Instant>,
    /// Probes under way at once.
    pub probes_max: usize,
    /// Redirects in a row that are followed.
    pub hops_max: u8,
    /// Time for one probe, from dialling to the answer.
    pub probe_timeout: Duration,
    /// Seed of the pauses.
    pub seed: u64,
}

impl Bounds {
    /// The usual bounds and this deadline.
    pub const fn until(deadline: Option<Instant>, seed: u64) -> Self {
        Self {
            deadline,
            probes_max: 10,
            hops_max: 3,
            probe_timeout: Duration::from_secs(4),
            seed,
        }
    }
}

/// The first pause and the longest. A leadership that is given away has moved within milliseconds.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a round is held up by those that do not answer, the last known leader included.
const PATIENCE: Duration = Duration::from_millis(300);
/// The longest pause while a voter answers: an election is short.
const PAUSE_ELECTION: Duration = Duration::from_millis(100);
/// Addresses known at once; what servers name beyond that is not followed.
const CANDIDATES_MAX: usize = 1024;

/// Names a probe of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProbeId(usize);

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Names the probe in [`Search::answered`].
    pub id: ProbeId,
    /// Whom to dial.
    pub address: Address,
    /// When to give up on it.
    pub until: Instant,
    /// Whether to ask for the members, too, when it knows no leader.
    pub ask_members: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin this probe and ask again.
    Probe(Probe),
    /// Wait for an answer, at most until then.
    Wait(Option<Instant>),
    /// The deadline has passed.
    GiveUp,
}

/// What a server that does not lead answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Another one leads.
    Redirect(String),
    /// It knows no leader; the members, if they were asked for.
    NoLeader(Option<Vec<NodeInfo>>),
    /// No answer, or none that can be used.
    Failed(AttemptKind, String),
}

/// A search for the leader.
#[derive(Debug)]
pub struct Search {
    bounds: Bounds,
    started: Instant,
    candidates: Vec<Candidate>,
    /// Only the last known leader is being asked.
    alone: bool,
    rounds: u32,
    pause: Option<Instant>,
    backoff: Backoff,
}

#[derive(Debug)]
struct Candidate {
    address: Address,
    role: Option<Role>,
    hops: u8,
    state: State,
    asked_members: bool,
    /// It answers, but nobody leads: an election is short.
    voter_waits: bool,
    last: Option<(AttemptKind, String, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in this round, so far.
    Idle,
    Waiting,
    Running(Instant),
    Done,
}

impl Search {
    /// A search among `hosts` and `members`, of which `leader` led when last seen.
    pub fn new(
        leader: Option<&Address>,
        members: &[NodeInfo],
        hosts: &[Address],
        bounds: Bounds,
        now: Instant,
    ) -> Self {
        let backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX, bounds.seed);
        let mut search = Self {
            bounds,
            started: now,
            candidates: Vec::new(),
            alone: leader.is_some(),
            rounds: 1,
            pause: None,
            backoff,
        };
        let sockets = hosts.iter().filter(|host| host.path().is_some());
        let behind = |leader| sockets.clone().find(|socket| socket.is_named(leader));
        let leader = leader.map(|leader| behind(leader).unwrap_or(leader));
        for host in leader.into_iter().chain(sockets.clone()) {
            search.add(host.clone(), None);
        }
        for role in [Role::Voter, Role::StandBy, Role::Spare] {
            search.learn(members.iter().filter(|member| member.role == role));
        }
        for host in hosts {
            search.add(host.clone(), None);
        }
        for (at, candidate) in search.candidates.iter_mut().enumerate() {
            let waits = at == 0 || !search.alone;
            candidate.state = if waits { State::Waiting } else { State::Idle };
        }
        search
    }

    /// What to do now. Ask again after each probe begun, each answer, and each wait.
    pub fn next(&mut self, now: Instant) -> Step {
        loop {
            if self.bounds.deadline.is_some_and(|deadline| deadline <= now) {
                return Step::GiveUp;
            }
            if let Some(pause) = self.pause {
                if now < pause {
                    let deadline = self.bounds.deadline.unwrap_or(pause);
                    return Step::Wait(Some(pause.min(deadline)));
                }
                self.begin_round();
            }
            let running = self.running();
            if running < self.bounds.probes_max
                && let Some(probe) = self.begin_probe(now)
            {
                return Step::Probe(probe);
            }
            if let Some(wait) = self.patience(now) {
                return wait;
            }
            if self.is_hopeless() {
                return Step::GiveUp;
            }
            self.end_round(now);
        }
    }

    /// Whether everybody has a certificate that will not do, or none: that is for people to mend.
    fn is_hopeless(&self) -> bool {
        let is_tls = |candidate: &Candidate| matches!(candidate.last, Some((AttemptKind::Tls, ..)));
        !self.alone && !self.candidates.is_empty() && self.candidates.iter().all(is_tls)
    }

    /// Goes on where a search that was given up has been: keeps what it learnt and why it failed.
    pub(crate) fn inherit(&mut self, other: &Self) {
        self.rounds = self.rounds.saturating_add(other.rounds);
        for theirs in &other.candidates {
            let Some(at) = self.add(theirs.address.clone(), theirs.role) else {
                continue;
            };
            if let Some(ours) = self.candidates.get_mut(at) {
                ours.last.clone_from(&theirs.last);
                ours.asked_members |= theirs.asked_members;
                if !self.alone {
                    ours.state = State::Waiting;
                }
            }
        }
    }

    /// Whether others than the last known leader are asked.
    pub const fn is_wide(&self) -> bool {
        !self.alone
    }

    /// A server that does not lead has answered, or did not in time.
    pub fn answered(&mut self, id: ProbeId, answer: Answer, now: Instant) {
        let Some(candidate) = self.candidates.get_mut(id.0) else {
            return;
        };
        let State::Running(since) = candidate.state else {
            return;
        };
        candidate.state = State::Done;
        let elapsed = now.saturating_duration_since(since);
        let (kind, text) = match answer {
            Answer::Failed(kind, text) => (kind, text),
            Answer::NoLeader(members) => self.no_leader(id, members),
            Answer::Redirect(to) => self.redirect(id, to),
        };
        if let Some(candidate) = self.candidates.get_mut(id.0) {
            candidate.last = Some((kind, text, elapsed));
        }
    }
}

/// Rounds.
impl Search {
    fn begin_probe(&mut self, now: Instant) -> Option<Probe> {
        let waiting = |candidate: &Candidate| candidate.state == State::Waiting;
        // Whoever was named as the leader comes first; otherwise the order of the list counts.
        let hops = self
            .candidates
            .iter()
            .filter(|c| waiting(c))
            .map(|c| c.hops)
            .max()?;
        let next = |candidate: &Candidate| waiting(candidate) && candidate.hops == hops;
        let at = self.candidates.iter().position(next)?;
        let candidate = self.candidates.get_mut(at)?;
        candidate.state = State::Running(now);
        let until = now + self.bounds.probe_timeout;
        Some(Probe {
            id: ProbeId(at),
            address: candidate.address.clone(),
            until: self
                .bounds
                .deadline
                .map_or(until, |deadline| deadline.min(until)),
            ask_members: !candidate.asked_members,
        })
    }

    fn running(&self) -> usize {
        let runs = |candidate: &&Candidate| matches!(candidate.state, State::Running(_));
        self.candidates.iter().filter(runs).count()
    }

    /// The wait for the answers of this round; `None` when it is over. Whoever has not answered by
    /// then is waited for still, but not by the others.
    fn patience(&self, now: Instant) -> Option<Step> {
        let begun = self
            .candidates
            .iter()
            .filter_map(|candidate| match candidate.state {
                State::Running(since) => Some(since),
                _ => None,
            });
        let until = begun.max()? + PATIENCE;
        let deadline = self.bounds.deadline;
        if now < until {
            return Some(Step::Wait(deadline.into_iter().chain([until]).min()));
        }
        let rests = |candidate: &Candidate| matches!(candidate.state, State::Done | State::Idle);
        let anybody = self.candidates.iter().any(rests);
        (!anybody).then_some(Step::Wait(deadline))
    }

    /// Everybody has answered: asks the others if it was the last known leader alone, else pauses.
    fn end_round(&mut self, now: Instant) {
        if self.alone {
            self.ask_everybody();
            return;
        }
        let election = self
            .candidates
            .iter()
            .any(|candidate| candidate.voter_waits);
        let cap = if election { PAUSE_ELECTION } else { PAUSE_MAX };
        self.pause = Some(now + self.backoff.next(cap).max(Duration::from_millis(1)));
    }

    fn ask_everybody(&mut self) {
        self.alone = false;
        for candidate in &mut self.candidates {
            if candidate.state == State::Idle {
                candidate.state = State::Waiting;
            }
        }
    }

    fn begin_round(&mut self) {
        self.pause = None;
        self.rounds = self.rounds.saturating_add(1);
        for candidate in &mut self.candidates {
            candidate.hops = 0;
            candidate.voter_waits = false;
            if !matches!(candidate.state, State::Running(_)) {
                candidate.state = State::Waiting;
            }
        }
    }
}

/// What answers mean.
impl Search {
    fn no_leader(&mut self, id: ProbeId, members: Option<Vec<NodeInfo>>) -> (AttemptKind, String) {
        if let Some(members) = &members {
            self.learn(members.iter());
        }
        if !self.alone {
            self.ask_everybody();
        }
        let Some(candidate) = self.candidates.get_mut(id.0) else {
            return (AttemptKind::NoLeader, String::new());
        };
        candidate.asked_members |= members.is_some();
        if members.is_some_and(|members| members.is_empty()) {
            let text = "belongs to no cluster yet".to_owned();
            return (AttemptKind::NotVoter, text);
        }
        if let Some(role @ (Role::StandBy | Role::Spare)) = candidate.role {
            return (AttemptKind::NotVoter, format!("knows no leader ({role})"));
        }
        candidate.voter_waits = true;
        let text = "knows no leader (voter, election under way)".to_owned();
        (AttemptKind::NoLeader, text)
    }

    fn redirect(&mut self, id: ProbeId, to: String) -> (AttemptKind, String) {
        let hops = self.candidates.get(id.0).map_or(0, |from| from.hops);
        let address = match Address::advertised(&to) {
            Ok(address) => address,
            Err(error) => return (AttemptKind::NotDqlite, format!("says who leads: {error}")),
        };
        let text = format!("says {to} leads");
        let hops = hops.saturating_add(1);
        if hops > self.bounds.hops_max {
            return (
                AttemptKind::Redirected { to },
                format!("{text}, one redirect too many"),
            );
        }
        if let Some(candidate) = self.candidates.get_mut(id.0) {
            // If the named one does not lead, it is dead, and its followers are about to vote.
            candidate.voter_waits = true;
        }
        let known = self.add(address, None);
        if let Some(target) = known.and_then(|at| self.candidates.get_mut(at))
            && matches!(target.state, State::Idle | State::Waiting)
        {
            target.hops = hops;
            target.state = State::Waiting;
        }
        (AttemptKind::Redirected { to }, text)
    }

    /// Adds members to the addresses, and remembers what they are.
    fn learn<'m>(&mut self, members: impl Iterator<Item = &'m NodeInfo>) {
        for member in members {
            if let Ok(address) = Address::advertised(&member.address) {
                self.add(address, Some(member.role));
            }
        }
    }

    /// The place of an address in the list, where it is put if it is new. A socket that was given
    /// for a node stands for its address: nobody dials such a node in another way.
    fn add(&mut self, address: Address, role: Option<Role>) -> Option<usize> {
        let exactly = self.candidates.iter().position(|c| c.address == address);
        let behind = |c: &Candidate| c.address.path().is_some() && c.address.is_named(&address);
        let known = exactly.or_else(|| self.candidates.iter().position(behind));
        if let Some(at) = known {
            let candidate = self.candidates.get_mut(at)?;
            candidate.role = role.or(candidate.role);
            return known;
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            return None;
        }
        self.candidates.push(Candidate {
            address,
            role,
            hops: 0,
            state: State::Idle,
            asked_members: false,
            voter_waits: false,
            last: None,
        });
        Some(self.candidates.len() - 1)
    }
}

#[cfg(test)]
mod tests;
