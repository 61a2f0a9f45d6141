//! What is looked at before the members change, lest the cluster lose its majority: PURE.

use dqlite_proto::{NodeInfo, Request, Role};

use super::change::{Change, refuse};
use crate::error::Result;

/// How much has been looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Caution {
    /// Nothing is looked at.
    None,
    /// Nobody was asked yet.
    #[default]
    Unseen,
    /// These addresses answered.
    Seen(Vec<String>),
    /// The same, and one of them was asked to replace a voter.
    Replacing(Vec<String>),
    /// The same, and that came to nothing.
    Alone(Vec<String>),
}

/// What comes before a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// Who of these answers?
    Reach(Vec<String>),
    /// That member becomes a voter first.
    Promote(u64),
}

impl Caution {
    /// What comes before a request to a leader.
    pub(super) fn before(
        &mut self,
        change: &Change,
        request: &Request<'_>,
        members: &[NodeInfo],
        leader: &NodeInfo,
    ) -> Result<Wait> {
        let (Change::Add { role, .. } | Change::Assign { role, .. }) = change else {
            return match *request {
                Request::Remove { id } => self.before_removing(id, members, leader),
                _ => Ok(Wait::No),
            };
        };
        match *request {
            Request::Add { address, .. } if *role == Role::Voter => self.before_promoting(address),
            Request::Assign { id, .. } if *role == Role::Voter => {
                let member = members.iter().find(|member| member.id == id);
                member.map_or(Ok(Wait::No), |member| {
                    self.before_promoting(&member.address)
                })
            }
            _ => Ok(Wait::No),
        }
    }

    /// A node that does not answer would hold the promotion, and all other changes, for a minute.
    fn before_promoting(&self, address: &str) -> Result<Wait> {
        match self {
            Self::None => Ok(Wait::No),
            Self::Unseen => Ok(Wait::Reach(vec![address.to_owned()])),
            Self::Seen(up) | Self::Replacing(up) | Self::Alone(up) => {
                if up.iter().any(|up| up == address) {
                    return Ok(Wait::No);
                }
                Err(refuse(format!(
                    "{address} does not answer, so it cannot catch up as a voter; start it first, \
                     or force it"
                )))
            }
        }
    }

    /// A voter that goes is replaced first, and must not leave a majority of dead ones.
    fn before_removing(
        &mut self,
        id: u64,
        members: &[NodeInfo],
        leader: &NodeInfo,
    ) -> Result<Wait> {
        let is_voter = |member: &&NodeInfo| member.role == Role::Voter;
        if !members
            .iter()
            .filter(is_voter)
            .any(|member| member.id == id)
        {
            return Ok(Wait::No);
        }
        let others = members.iter().filter(|member| member.id != id);
        let up = match self {
            Self::None => return Ok(Wait::No),
            Self::Unseen => {
                let others = others.filter(|member| member.id != leader.id);
                return Ok(Wait::Reach(
                    others.map(|member| member.address.clone()).collect(),
                ));
            }
            Self::Seen(up) | Self::Replacing(up) | Self::Alone(up) => up.clone(),
        };
        let answers = |member: &&NodeInfo| member.id == leader.id || up.contains(&member.address);
        if let Self::Seen(_) = self {
            let with = |role| others.clone().filter(answers).find(move |m| m.role == role);
            if let Some(heir) = with(Role::StandBy).or_else(|| with(Role::Spare)) {
                *self = Self::Replacing(up);
                return Ok(Wait::Promote(heir.id));
            }
        }
        let voters = others.filter(is_voter);
        let (all, alive) = (voters.clone().count(), voters.filter(answers).count());
        if alive * 2 > all {
            return Ok(Wait::No);
        }
        Err(refuse(format!(
            "without node {id} only {alive} of {all} voters would answer, and nobody could lead; \
             force it to try nevertheless"
        )))
    }

    /// After a failure: whether it was that of a promotion, which is not tried again.
    pub(super) fn gives_up(&mut self) -> bool {
        match self {
            Self::Replacing(up) => {
                *self = Self::Alone(std::mem::take(up));
                true
            }
            _ => false,
        }
    }
}
