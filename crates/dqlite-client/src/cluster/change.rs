//! What to send for a change of the members, and what the answers mean: PURE.
//!
//! ```text
//! loop {
//!     match operation.next(..) {
//!         Next::Lead        => find the leader, ask it for the members, operation.seen(..)
//!         Next::Ask(request) => send it to that leader, operation.answered(..)
//!         Next::Reach(nodes) => see who of them answers, operation.reached(..)
//!         Next::Pause(time) => wait
//!         Next::Done        => return
//!     }
//! }
//! ```

use std::time::{Duration, Instant};

use dqlite_proto::{Code, FailureKind, NodeInfo, Outcome, Request, Retry, Role};

use super::caution::{Caution, Wait};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};

/// A wish about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add {
        id: u64,
        address: String,
        role: Role,
    },
    Assign {
        id: u64,
        role: Role,
    },
    Remove {
        id: u64,
    },
    /// Leadership goes to that member, or to whom the leader picks.
    Transfer {
        to: Option<u64>,
    },
}

/// A new voter has to catch up first.
const PROMOTION_TIMEOUT: Duration = Duration::from_mins(1);
const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(250);

impl Change {
    /// A node to be added. Servers die of the id 0, so it never leaves here.
    pub(crate) fn add(id: u64, address: &str, role: Role) -> Result<Self> {
        Address::advertised(address)?;
        if id == 0 {
            return Err(Error::config(format!(
                "node {address} needs an id from 1 on, not 0"
            )));
        }
        let address = address.to_owned();
        Ok(Self::Add { id, address, role })
    }

    /// How long it may take.
    pub(crate) const fn timeout(&self) -> Duration {
        match self {
            Self::Add {
                role: Role::Voter, ..
            }
            | Self::Assign {
                role: Role::Voter, ..
            }
            | Self::Remove { .. } => PROMOTION_TIMEOUT,
            _ => TIMEOUT,
        }
    }

    /// What is missing; `None` when it is so already.
    fn missing(
        &self,
        members: &[NodeInfo],
        leader: &NodeInfo,
        first_leader: u64,
    ) -> Result<Option<Request<'_>>> {
        let member = |id: u64| members.iter().find(|member| member.id == id);
        match self {
            Self::Add { id, address, role } => match member(*id) {
                Some(known) if known.address != *address => Err(refuse(format!(
                    "id {id} belongs to {} already, not to {address}",
                    known.address
                ))),
                Some(known) if known.role == *role => Ok(None),
                Some(known) if is_last_voter(known, members) => Err(last_voter(known)),
                // Only a voter leads, so the seat goes first.
                Some(_) if leader.id == *id => Ok(Some(Request::Transfer { id: 0 })),
                Some(_) => Ok(Some(Request::Assign {
                    id: *id,
                    role: *role,
                })),
                None => match members.iter().find(|member| member.address == *address) {
                    Some(known) => Err(refuse(format!(
                        "{address} belongs to id {} already; remove that one first",
                        known.id
                    ))),
                    None => Ok(Some(Request::Add { id: *id, address })),
                },
            },
            Self::Assign { id, role } => match member(*id) {
                None => Err(refuse(format!("no member has the id {id}"))),
                Some(known) if known.role == *role => Ok(None),
                Some(known) if is_last_voter(known, members) => Err(last_voter(known)),
                // Only a voter leads, so the seat goes first.
                Some(_) if leader.id == *id => Ok(Some(Request::Transfer { id: 0 })),
                Some(_) => Ok(Some(Request::Assign {
                    id: *id,
                    role: *role,
                })),
            },
            Self::Remove { id } => match member(*id) {
                None => Ok(None),
                Some(known) if is_last_voter(known, members) => Err(last_voter(known)),
                Some(_) if leader.id == *id => Ok(Some(Request::Transfer { id: 0 })),
                Some(_) => Ok(Some(Request::Remove { id: *id })),
            },
            Self::Transfer { to: Some(id) } => match member(*id) {
                None => Err(refuse(format!("no member has the id {id}"))),
                Some(_) if leader.id == *id => Ok(None),
                Some(known) if known.role != Role::Voter => Err(refuse(format!(
                    "{} is a {} and cannot lead",
                    known.address, known.role
                ))),
                Some(_) => Ok(Some(Request::Transfer { id: *id })),
            },
            Self::Transfer { to: None } if leader.id != first_leader => Ok(None),
            Self::Transfer { to: None } if is_last_voter(leader, members) => Err(refuse(format!(
                "{} is the only voter; no other node can lead",
                leader.address
            ))),
            Self::Transfer { to: None } => Ok(Some(Request::Transfer { id: 0 })),
        }
    }
}

fn is_last_voter(member: &NodeInfo, members: &[NodeInfo]) -> bool {
    let voters = members.iter().filter(|member| member.role == Role::Voter);
    member.role == Role::Voter && voters.count() == 1
}

fn last_voter(member: &NodeInfo) -> Error {
    refuse(format!(
        "{} is the last voter; without it there is no cluster",
        member.address
    ))
}

pub(super) fn refuse(text: String) -> Error {
    Error::new(ErrorKind::Rejected, text).with_verdict(Outcome::Refused, Retry::No)
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next<'c> {
    /// Find the leader and ask it for the members.
    Lead,
    /// Send this to that leader.
    Ask(Request<'c>),
    /// See which of these addresses answer.
    Reach(Vec<String>),
    /// Wait so long.
    Pause(Duration),
    /// It is so.
    Done,
}

/// A change under way.
#[derive(Debug)]
pub(crate) struct Operation {
    change: Change,
    /// The leader when it was first seen.
    first_leader: Option<u64>,
    seen: Option<(Vec<NodeInfo>, NodeInfo)>,
    pause: Option<Duration>,
    pauses: Backoff,
    last: Option<Error>,
    /// Something was sent that may have worked.
    doubtful: bool,
    caution: Caution,
}

impl Operation {
    pub(crate) fn new(change: Change, seed: u64) -> Self {
        Self {
            change,
            first_leader: None,
            seen: None,
            pause: None,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MAX, seed),
            last: None,
            doubtful: false,
            caution: Caution::default(),
        }
    }

    /// The same without a look at who answers.
    pub(crate) fn forced(mut self, force: bool) -> Self {
        if force {
            self.caution = Caution::None;
        }
        self
    }

    /// What to do now; an error when the deadline has passed or it cannot be.
    pub(crate) fn next(&mut self, now: Instant, deadline: Instant) -> Result<Next<'_>> {
        if now >= deadline {
            return Err(self.late());
        }
        if let Some(pause) = self.pause.take() {
            return Ok(Next::Pause(pause.min(deadline - now)));
        }
        let Some((members, leader)) = self.seen.take() else {
            return Ok(Next::Lead);
        };
        let first_leader = *self.first_leader.get_or_insert(leader.id);
        let Some(request) = self.change.missing(&members, &leader, first_leader)? else {
            return Ok(Next::Done);
        };
        match self
            .caution
            .before(&self.change, &request, &members, &leader)?
        {
            Wait::No => Ok(Next::Ask(request)),
            Wait::Reach(nodes) => {
                self.seen = Some((members, leader));
                Ok(Next::Reach(nodes))
            }
            Wait::Promote(id) => Ok(Next::Ask(Request::Assign {
                id,
                role: Role::Voter,
            })),
        }
    }

    /// Which addresses answer.
    pub(crate) fn reached(&mut self, nodes: Vec<String>) {
        self.caution = Caution::Seen(nodes);
    }

    /// The members, as told by the leader at that address.
    pub(crate) fn seen(&mut self, members: Vec<NodeInfo>, leader: &str) {
        let known = members
            .iter()
            .find(|member| member.address == leader)
            .cloned();
        // A leader that is not, or no longer, among its own members: only a TRANSFER asks for it.
        let leader = known.unwrap_or_else(|| NodeInfo {
            id: 0,
            address: leader.to_owned(),
            role: Role::Voter,
        });
        self.seen = Some((members, leader));
    }

    /// What came of a request; in any case the members are read again. `true` when the leader must
    /// be looked for again.
    pub(crate) fn answered(&mut self, answer: Result<()>) -> Result<bool> {
        let moves = match self.change {
            Change::Transfer { .. } | Change::Remove { .. } => true,
            // The leader itself may have been asked to go.
            Change::Add { role, .. } | Change::Assign { role, .. } => role != Role::Voter,
        };
        let Err(error) = answer else {
            return Ok(moves);
        };
        if self.caution.gives_up() {
            // The promotion was a kindness; without it the change is judged as it is.
            self.last = Some(error);
            return Ok(true);
        }
        let known = |text: &str| {
            error
                .failure()
                .is_some_and(|failure| failure.message == text)
        };
        let again = match error.failure_kind() {
            // The connection was lost: reading tells.
            None => error.kind() != ErrorKind::Usage,
            Some(
                FailureKind::NotLeader
                | FailureKind::LeadershipLost
                | FailureKind::Busy
                | FailureKind::InProgress
                | FailureKind::Interrupted
                | FailureKind::Aborted
                | FailureKind::Raft,
            ) => true,
            Some(_) if error.code() != Some(Code::ERROR) => false,
            // It is so already, or was when that was said: reading tells.
            Some(_) => {
                known("server role is not valid")
                    || known("server ID already in use")
                    || known("server address already in use")
                    || (known("server ID is not valid") && moves)
            }
        };
        if !again {
            return Err(error);
        }
        self.doubtful |= error.outcome() == Outcome::Unknown;
        let same = matches!(
            error.failure_kind(),
            Some(FailureKind::Busy | FailureKind::InProgress)
        );
        self.pause = Some(self.pauses.next(PAUSE_MAX).max(PAUSE_FIRST));
        self.last = Some(error);
        Ok(!same)
    }

    fn late(&mut self) -> Error {
        let seconds = self.change.timeout().as_secs();
        let why = self
            .last
            .take()
            .map_or_else(String::new, |error| format!(": {error}"));
        let text = format!("the change of the members was not confirmed within {seconds} s{why}");
        let outcome = if self.doubtful {
            Outcome::Unknown
        } else {
            Outcome::Refused
        };
        // All changes may be repeated: they begin with reading.
        Error::new(ErrorKind::Timeout, text).with_verdict(outcome, Retry::Elsewhere)
    }
}

#[cfg(test)]
mod tests;
