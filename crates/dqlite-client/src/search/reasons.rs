//! Why nobody was found: what each address said last, in words.

use std::fmt::Write as _;
use std::time::Instant;

use dqlite_proto::{Outcome, Retry, Role};

use super::{Candidate, Search, State};
use crate::address::Address;
use crate::error::{Attempt, AttemptKind, Error, ErrorKind};

impl Search {
    /// What each address said last.
    pub fn attempts(&self, now: Instant) -> Vec<Attempt> {
        let attempt = |candidate: &Candidate| {
            let (kind, text, elapsed) = match (&candidate.last, candidate.state) {
                (Some(last), _) => last.clone(),
                (None, State::Running(since)) => {
                    let elapsed = now.saturating_duration_since(since);
                    (
                        AttemptKind::Timeout,
                        "no answer in time".to_owned(),
                        elapsed,
                    )
                }
                (None, _) => return None,
            };
            let text = match &kind {
                AttemptKind::Redirected { to } => self.follow_up(to, text),
                _ => text,
            };
            let address = candidate.address.to_string();
            Some(Attempt {
                address,
                kind,
                text,
                elapsed,
            })
        };
        self.candidates.iter().filter_map(attempt).collect()
    }

    /// Why nobody was found.
    pub fn error(&self, now: Instant) -> Error {
        self.error_since(self.started, now)
    }

    /// The same for somebody who waits for this search since then.
    pub(crate) fn error_since(&self, started: Instant, now: Instant) -> Error {
        let attempts = self.attempts(now);
        let seconds = now.saturating_duration_since(started).as_secs_f64();
        let plural = if self.rounds == 1 { "" } else { "s" };
        let mut text = format!(
            "no leader found within {seconds:.1} s ({} round{plural})",
            self.rounds
        );
        for attempt in &attempts {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {}  {}", attempt.address, attempt.text);
        }
        if attempts.is_empty() {
            text.push_str("\n  nobody was asked: no address is known");
        }
        if let Some(quorum) = self.quorum() {
            text.push_str(&quorum);
        }
        Error::new(ErrorKind::NoLeader, text)
            .with_attempts(attempts)
            .with_verdict(Outcome::NotSent, Retry::Elsewhere)
    }
}

impl Search {
    fn follow_up(&self, to: &str, text: String) -> String {
        let leader = Address::advertised(to).ok();
        let named = self
            .candidates
            .iter()
            .find(|c| Some(&c.address) == leader.as_ref());
        match named.and_then(|candidate| candidate.last.as_ref()) {
            Some((_, reason, _)) => format!("{text}: {reason}"),
            None => text,
        }
    }

    fn quorum(&self) -> Option<String> {
        let voters = self
            .candidates
            .iter()
            .filter(|c| c.role == Some(Role::Voter));
        let silent = |candidate: &&Candidate| {
            let kind = candidate.last.as_ref().map(|(kind, ..)| kind);
            !matches!(
                kind,
                Some(AttemptKind::NoLeader | AttemptKind::Redirected { .. })
            )
        };
        let (all, silent) = (voters.clone().count(), voters.filter(silent).count());
        (all > 0 && silent * 2 >= all)
            .then(|| format!("\n  {silent} of {all} voters unreachable: no quorum"))
    }
}
