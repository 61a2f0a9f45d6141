//! Events of the node as lines of the control channel.

use std::path::Path;
use std::time::Duration;

use dqlite::control::{
    Answer, FromNode, Member, Missing, Refusal, Role, RoleChange, Stage, State, Tried, exit,
};
use dqlite_node::error::{HostError, Stage as HostStage};
use dqlite_node::event::{self, Bye, Event};
use dqlite_node::watchdog::{self, Verdict};
use dqlite_proto::NodeInfo;

/// Both ends of the channel mean the same.
const _: () = assert!(watchdog::EXIT_STATUS == exit::WATCHDOG);

/// The line of an event.
pub(crate) fn line(event: Event) -> FromNode {
    match event {
        Event::Engine {
            path,
            version,
            bundle,
            missing,
        } => FromNode::Engine {
            path: text(&path),
            version,
            bundle: bundle.as_deref().map(text),
            missing,
        },
        Event::Serving {
            address,
            bind,
            unix,
        } => FromNode::Serving {
            address,
            bind,
            unix: unix.as_deref().map(text),
            admin: None,
        },
        Event::State {
            from,
            to,
            why,
            missing,
        } => FromNode::State {
            from: state(from),
            to: state(to),
            why,
            missing: missing.into_iter().map(absent).collect(),
        },
        Event::Identity {
            id,
            address,
            bootstrapped,
        } => FromNode::Identity {
            id,
            address,
            bootstrapped,
            replaced: None,
        },
        Event::Leader { leader, since } => led(leader, since),
        Event::Members { list, changed } => members(list, changed),
        Event::Role { role, by } => FromNode::Role {
            role: self::role(role),
            by,
        },
        Event::RolesAdjusted { changes, failed } => adjusted(changes, failed),
        Event::Ready { after } => FromNode::Ready { ms: ms(after) },
        Event::Warn { code, text } => FromNode::Warn {
            code: code.to_owned(),
            text,
            fields: serde_json::Map::new(),
        },
        Event::Watchdog(verdict) => watchdog(verdict),
        Event::Beat {
            pause_max,
            connections,
        } => beat(pause_max, connections),
        Event::Reply { n, answer } => FromNode::Reply {
            n,
            answer: self::answer(answer),
        },
    }
}

/// The last line of a start that failed, or of a node that cannot go on.
pub(crate) fn fatal(error: &HostError) -> FromNode {
    let tried = error.tried().iter().cloned();
    FromNode::Fatal {
        stage: stage(error.stage()),
        code: error.code().to_owned(),
        text: error.to_string(),
        tried: tried
            .map(|(place, reason)| Tried { place, reason })
            .collect(),
        restart: matches!(status(error), exit::BUG | exit::DISK_FULL | exit::WATCHDOG),
    }
}

/// The last line of a clean stop.
pub(crate) fn bye(bye: Bye) -> FromNode {
    FromNode::Bye {
        handed_over: bye.handed_over,
        leader: bye.leader,
        drained: bye.drained,
        ms: ms(bye.took),
    }
}

/// The exit status that belongs to an error.
pub(crate) fn status(error: &HostError) -> i32 {
    match error {
        HostError::Config(_) => exit::CONFIG,
        HostError::Locate(_) | HostError::Load(_) => exit::NO_ENGINE,
        HostError::Locked { .. } => exit::LOCKED,
        HostError::DataDir { full: true, .. } => exit::DISK_FULL,
        HostError::Bind { .. } => exit::ADDRESS_TAKEN,
        HostError::Tls(_) => exit::TLS,
        HostError::DataDir { .. }
        | HostError::Damaged { .. }
        | HostError::Create(_)
        | HostError::Start(_) => exit::DAMAGED,
        HostError::Refused { .. } if error.stage() == HostStage::Removed => exit::REMOVED,
        HostError::Removed { .. } => exit::REMOVED,
        HostError::Refused { .. } | HostError::Identity(_) => exit::IDENTITY,
        HostError::Wedged(_) => exit::WATCHDOG,
        _ => exit::BUG,
    }
}

/// A request that the node cannot carry out.
pub(crate) fn refusal(n: u32, code: &str, text: impl Into<String>) -> FromNode {
    let refusal = Refusal {
        code: code.to_owned(),
        text: text.into(),
    };
    FromNode::Reply {
        n,
        answer: Answer::Error(refusal),
    }
}

/// The answer to a ping.
pub(crate) fn pong(n: u32, since: Duration) -> FromNode {
    FromNode::Reply {
        n,
        answer: Answer::Ok(ms(since).into()),
    }
}

fn answer(answer: Result<serde_json::Value, (&'static str, String)>) -> Answer {
    match answer {
        Ok(value) => Answer::Ok(value),
        Err((code, text)) => Answer::Error(Refusal {
            code: code.to_owned(),
            text,
        }),
    }
}

fn led(leader: Option<(u64, String)>, since: Duration) -> FromNode {
    let (id, address) = leader.unwrap_or_default();
    FromNode::Leader {
        id,
        address,
        since_ms: ms(since),
    }
}

fn members(list: Vec<NodeInfo>, changed: Vec<u64>) -> FromNode {
    FromNode::Members {
        list: list.into_iter().map(member).collect(),
        changed,
    }
}

fn adjusted(changes: Vec<event::RoleChange>, failed: Vec<event::Missing>) -> FromNode {
    FromNode::RolesAdjusted {
        changes: changes.into_iter().map(change).collect(),
        failed: failed.into_iter().map(absent).collect(),
    }
}

fn beat(pause_max: Duration, connections: u64) -> FromNode {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    FromNode::Beat {
        at: ms(since.unwrap_or_default()),
        pause_max_ms: ms(pause_max),
        conns: connections,
        rss: resident_bytes().unwrap_or_default(),
        fds: std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
    }
}

/// Resident memory as the kernel counts it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn watchdog(verdict: Verdict) -> FromNode {
    FromNode::Watchdog {
        verdict: verdict.name.to_owned(),
        evidence: verdict.evidence,
    }
}

fn absent((address, reason): event::Missing) -> Missing {
    Missing { address, reason }
}

fn member(info: NodeInfo) -> Member {
    Member {
        id: info.id,
        address: info.address,
        role: role(info.role),
    }
}

fn change(change: event::RoleChange) -> RoleChange {
    RoleChange {
        id: change.id,
        from: role(change.from),
        to: role(change.to),
        rule: change.rule.to_owned(),
        why: change.why,
    }
}

fn role(role: dqlite_proto::Role) -> Role {
    match role {
        dqlite_proto::Role::Voter => Role::Voter,
        dqlite_proto::Role::StandBy => Role::StandBy,
        dqlite_proto::Role::Spare => Role::Spare,
    }
}

fn state(state: event::State) -> State {
    match state {
        event::State::Starting => State::Starting,
        event::State::Forming => State::Forming,
        event::State::Joining => State::Joining,
        event::State::CatchingUp => State::CatchingUp,
        event::State::Ready => State::Ready,
        event::State::NoLeader => State::NoLeader,
        event::State::Detached => State::Detached,
        event::State::Draining => State::Draining,
        event::State::Removed => State::Removed,
    }
}

fn stage(stage: HostStage) -> Stage {
    match stage {
        HostStage::Config => Stage::Config,
        HostStage::Locate => Stage::Locate,
        HostStage::Load => Stage::Load,
        HostStage::Lock => Stage::Lock,
        HostStage::DataDir => Stage::DataDir,
        HostStage::Bind => Stage::Bind,
        HostStage::Tls => Stage::Tls,
        HostStage::Create => Stage::Create,
        HostStage::Start => Stage::Start,
        HostStage::Identity => Stage::Identity,
        HostStage::Removed => Stage::Removed,
    }
}
