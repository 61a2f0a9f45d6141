//! Role decisions as a document: what every rule finds now, and on what grounds.

use dqlite_proto::NodeInfo;
use serde_json::{Value, json};

use crate::roles::{Finding, Health, Member, Targets, TwoNode};

/// The grounds of a decision: what is wanted, how everybody is, what each rule says of it.
///
/// `promotion` is the member that is catching up, and for how long it has been.
pub(crate) fn document(
    targets: Targets,
    members: &[Member],
    findings: &[Finding],
    promotion: Option<(&str, std::time::Duration)>,
) -> Value {
    let two_node = match targets.two_node {
        TwoNode::StandBy => "standby",
        TwoNode::Spare => "spare",
        TwoNode::Voters => "voters",
    };
    json!({
        "leads": true,
        "voters": targets.voters,
        "standbys": targets.standbys,
        "two_node": two_node,
        "members": members.iter().map(member).collect::<Vec<_>>(),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        "promotion": promotion.map(|(address, since)| json!({
            "address": address, "since_ms": milliseconds(since),
        })),
    })
}

/// What a node says that does not lead: somebody else decides.
pub(crate) fn follower(members: &[NodeInfo], leader: &str) -> Value {
    let role = |member: &NodeInfo| {
        json!({ "id": member.id.to_string(), "address": member.address,
                "role": member.role.name() })
    };
    json!({
        "leads": false,
        "leader": leader,
        "members": members.iter().map(role).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let mut value = json!({
        "rule": finding.rule(), "says": finding.name(), "why": finding.why(),
    });
    if let Finding::Asks(change) = finding {
        let ids: Vec<String> = change.candidates.iter().map(u64::to_string).collect();
        value["role"] = json!(change.role.name());
        value["candidates"] = json!(ids);
    }
    value
}

fn member(member: &Member) -> Value {
    let (health, facts) = match member.health {
        Health::Online { domain, weight } => ("online", Some((domain, weight))),
        Health::Suspect { domain, weight } => ("suspect", Some((domain, weight))),
        Health::Offline => ("offline", None),
    };
    json!({
        "id": member.id.to_string(),
        "address": member.address,
        "role": member.role.name(),
        "health": health,
        "domain": facts.map(|(domain, _)| domain.to_string()),
        "weight": facts.map(|(_, weight)| weight),
        "silent_ms": milliseconds(member.silent),
    })
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
