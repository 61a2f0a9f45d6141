//! What the membership messages carry: nodes, roles, metadata and dumped files.

use std::fmt;

use bytes::Bytes;

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Votes and stores the log.
    Voter = 0,
    /// Stores the log without a vote.
    StandBy = 1,
    /// Neither votes nor stores.
    Spare = 2,
}

impl Role {
    /// The role of a number on the wire; `None` for numbers that mean nothing.
    pub const fn from_wire(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Voter),
            1 => Some(Self::StandBy),
            2 => Some(Self::Spare),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u64 {
        self as u64
    }

    /// The usual spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::StandBy => "stand-by",
            Self::Spare => "spare",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeInfo {
    /// Its raft id, unique in the cluster.
    pub id: u64,
    /// Where it says it can be reached.
    pub address: String,
    /// What it does.
    pub role: Role,
}

/// What DESCRIBE tells of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// A number that nodes which fail together share.
    pub failure_domain: u64,
    /// The larger, the less welcome as a voter.
    pub weight: u64,
}

/// One file of a dumped database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name on the server: the database, or the database with `-wal` behind it.
    pub name: String,
    /// Its content.
    pub content: Bytes,
}
