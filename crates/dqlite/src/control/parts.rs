//! What the messages of the control channel are made of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::decimal;

/// The application at the other end of the channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its process id.
    pub pid: u32,
    /// Its name, or the name of the library that speaks for it.
    pub name: String,
    /// The version of what `name` names.
    pub version: String,
}

/// What came of a request: `"ok": value`, or `"error": {code, text}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; the value depends on the request.
    Ok(Value),
    /// Refused or failed.
    Error(Refusal),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable name.
    pub code: String,
    /// The sentence for people.
    pub text: String,
}

/// The answer to [`ToNode::Handover`](super::ToNode::Handover).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// False if there was nothing to give away: another node leads.
    pub moved: bool,
    /// The leader afterwards.
    #[serde(default)]
    pub leader: Option<String>,
}

/// A node that did not answer as hoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its address.
    pub address: String,
    /// Why it does not count.
    pub reason: String,
}

/// A place that was searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The place.
    pub place: String,
    /// Why it would not do.
    pub reason: String,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    #[serde(with = "decimal")]
    pub id: u64,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: Role,
}

/// One change of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChange {
    /// The member.
    #[serde(with = "decimal")]
    pub id: u64,
    /// Its role before.
    pub from: Role,
    /// Its role after.
    pub to: Role,
    /// The rule that asked for it.
    #[serde(default)]
    pub rule: String,
    /// The reason in words.
    #[serde(default)]
    pub why: String,
}

/// A member's role, as the channel spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Replicates and votes.
    Voter,
    /// Replicates without a vote.
    StandBy,
    /// Neither.
    Spare,
}

impl From<Role> for dqlite_client::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Voter => Self::Voter,
            Role::StandBy => Self::StandBy,
            Role::Spare => Self::Spare,
        }
    }
}

impl From<Member> for dqlite_client::NodeInfo {
    fn from(member: Member) -> Self {
        Self {
            id: member.id,
            address: member.address,
            role: member.role.into(),
        }
    }
}

/// The states of a node. `stopped`, `restarting` and `failed` are the supervisor's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Process spawned, engine searched, sockets bound.
    Starting,
    /// The founder of a new cluster waits for its proof that there is none.
    Forming,
    /// No seat in the cluster yet.
    Joining,
    /// A member whose role is not settled.
    CatchingUp,
    /// A member with a settled role that knows the leader.
    Ready,
    /// Was ready; no leader is known now.
    NoLeader,
    /// Others see a leader, this engine does not.
    Detached,
    /// A stop is under way.
    Draining,
    /// The process ended on request, or was never started.
    Stopped,
    /// Crashed or shot by the watchdog; the next start is due.
    Restarting,
    /// A crash loop, or an error that no restart can cure.
    Failed,
    /// No longer a member.
    Removed,
}

impl State {
    /// The name as the channel and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Forming => "forming",
            Self::Joining => "joining",
            Self::CatchingUp => "catching-up",
            Self::Ready => "ready",
            Self::NoLeader => "no-leader",
            Self::Detached => "detached",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The options.
    Config,
    /// The search for the engine.
    Locate,
    /// Opening the engine's library and proving its hooks.
    Load,
    /// The lock of the data directory.
    Lock,
    /// Reading or writing the data directory.
    DataDir,
    /// Binding the listeners.
    Bind,
    /// Certificates.
    Tls,
    /// Creating the engine.
    Create,
    /// Starting the engine.
    Start,
    /// The node's identity.
    Identity,
    /// The node is no longer a member.
    Removed,
    /// A step that this release does not know.
    #[serde(other)]
    Other,
}

impl Stage {
    /// The name as the channel and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Locate => "locate",
            Self::Load => "load",
            Self::Lock => "lock",
            Self::DataDir => "data_dir",
            Self::Bind => "bind",
            Self::Tls => "tls",
            Self::Create => "create",
            Self::Start => "start",
            Self::Identity => "identity",
            Self::Removed => "removed",
            Self::Other => "other",
        }
    }
}
