//! What is wrong with options, without a look at the machine.

use crate::address;
use crate::config::{Complaint, Id, NodeConfig, UnixSocket};
use crate::founder::InitialState;

const CLUSTER_MAX: usize = 256;
/// The most nodes that are asked for the leader at a time.
pub(crate) const PROBES_MAX: u32 = 256;

/// An option whose value must lie in a range.
struct Range {
    option: &'static str,
    value: fn(&NodeConfig) -> f64,
    least: f64,
    most: f64,
}

const fn range(
    option: &'static str,
    value: fn(&NodeConfig) -> f64,
    least: f64,
    most: f64,
) -> Range {
    Range {
        option,
        value,
        least,
        most,
    }
}

/// *Engine*: a message holds the heads of 262,000 entries at most, and all that a member lacks goes
/// in one: the entries that are kept and those of the next snapshot together.
const ENTRIES_MAX: f64 = 130_000.0;
const HOUR_MS: f64 = 3_600_000.0;
const HOUR: f64 = 3_600.0;
const WEEK: f64 = 604_800.0;

/// THE TABLE of ranges.
const RANGES: &[Range] = &[
    range("weight", |c| c.weight.into(), 0.0, 2_147_483_647.0),
    range(
        "network_latency_ms",
        |c| c.network_latency_ms.into(),
        1.0,
        HOUR_MS,
    ),
    range(
        "busy_timeout_ms",
        |c| c.busy_timeout_ms.into(),
        0.0,
        HOUR_MS,
    ),
    range(
        "snapshot_threshold",
        |c| c.snapshot_threshold.into(),
        1.0,
        ENTRIES_MAX,
    ),
    range(
        "snapshot_trailing",
        |c| c.snapshot_trailing.into(),
        4.0,
        ENTRIES_MAX,
    ),
    range("worker_threads", |c| c.worker_threads.into(), 4.0, 128.0),
    range("voters", |c| c.voters.into(), 1.0, 99.0),
    range("standbys", |c| c.standbys.into(), 0.0, 99.0),
    range("roles_interval", |c| c.roles_interval, 0.1, HOUR),
    range("offline_after", |c| c.offline_after, 0.5, HOUR),
    range("handover_timeout", |c| c.handover_timeout, 0.0, 60.0),
    range("watchdog_timeout", |c| c.watchdog_timeout, 0.0, HOUR),
    range(
        "max_connections",
        |c| c.max_connections.into(),
        1.0,
        100_000.0,
    ),
    range("tls_reload_interval", |c| c.tls_reload_interval, 1.0, HOUR),
    range(
        "tls_max_stream_age",
        |c| c.tls_max_stream_age,
        0.0,
        31_536_000.0,
    ),
    range("handshake_timeout", |c| c.handshake_timeout, 0.1, HOUR),
    range("idle_timeout", |c| c.idle_timeout, 0.0, WEEK),
    range(
        "idle_in_transaction_timeout",
        |c| c.idle_in_transaction_timeout,
        0.0,
        WEEK,
    ),
    range("progress_timeout", |c| c.progress_timeout, 0.0, HOUR),
    range("statement_timeout", |c| c.statement_timeout, 0.0, WEEK),
    range(
        "leader_probe_limit",
        |c| c.leader_probe_limit.into(),
        1.0,
        PROBES_MAX as f64,
    ),
    range(
        "max_frame_bytes",
        |c| c.max_frame_bytes.into(),
        65_536.0,
        1_073_741_824.0,
    ),
    range(
        "max_reply_bytes",
        |c| c.max_reply_bytes.into(),
        67_108_864.0,
        1_073_741_824.0,
    ),
];

/// Everything that is wrong.
pub(crate) fn complaints(config: &NodeConfig) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for Range {
        option,
        value,
        least,
        most,
    } in RANGES
    {
        let value = value(config);
        if !(*least..=*most).contains(&value) {
            complaints.push(Complaint::new(
                option,
                &value,
                format!("must be {least} to {most}"),
            ));
        }
    }
    numbers(config, &mut complaints);
    places(config, &mut complaints);
    cluster(config, &mut complaints);
    tls(config, &mut complaints);
    complaints
}

/// What TLS needs besides files that are good.
fn tls(config: &NodeConfig, complaints: &mut Vec<Complaint>) {
    let files = [
        ("tls_cert", &config.tls_cert),
        ("tls_key", &config.tls_key),
        ("tls_ca", &config.tls_ca),
    ];
    if files.iter().any(|(_, file)| file.is_some()) {
        let missing = files.iter().filter(|(_, file)| file.is_none());
        complaints.extend(missing.map(|(option, _)| {
            Complaint::new(option, &"", "tls_cert, tls_key and tls_ca go together")
        }));
    }
    for pattern in &config.tls_admin {
        if let Err(reason) = crate::tls::check_patterns(pattern) {
            complaints.push(Complaint::new("tls_admin", pattern, reason));
        }
    }
    if let Some(name) = &config.tls_server_name
        && (name.contains('*') || crate::tls::check_patterns(name).is_err())
    {
        let reason = "must be one DNS name";
        complaints.push(Complaint::new("tls_server_name", name, reason));
    }
}

/// Numbers with more to them than a range.
fn numbers(config: &NodeConfig, complaints: &mut Vec<Complaint>) {
    let mut check = |holds: bool, option: &str, value: &dyn std::fmt::Display, reason: &str| {
        if !holds {
            complaints.push(Complaint::new(option, value, reason));
        }
    };
    check(
        config.node_id != Some(Id(0)),
        "node_id",
        &0,
        "must be 1 to 2^64-1",
    );
    check(
        config.voters % 2 == 1,
        "voters",
        &config.voters,
        "must be odd",
    );
    let (threshold, trailing) = (config.snapshot_threshold, config.snapshot_trailing);
    let reason = format!("must be at least snapshot_threshold, which is {threshold}");
    check(
        trailing >= threshold,
        "snapshot_trailing",
        &trailing,
        &reason,
    );
    let size = config.block_size_bytes.unwrap_or(4096);
    let fits = size.is_power_of_two() && (512..=262_144).contains(&size);
    check(
        fits,
        "block_size_bytes",
        &size,
        "must be 512, 1024, 2048, 4096, ... 262144",
    );
    let least = 2.0 * config.election_timeout().as_secs_f64();
    let reason = format!("must be at least 2 election timeouts, which are {least} s");
    check(
        config.offline_after >= least,
        "offline_after",
        &config.offline_after,
        &reason,
    );
    let least = least.max(1.0);
    let reason = format!("must be 0, or at least {least} s: 1 s, and 2 election timeouts");
    check(
        config.watchdog_timeout == 0.0 || config.watchdog_timeout >= least,
        "watchdog_timeout",
        &config.watchdog_timeout,
        &reason,
    );
    let (idle, interval, probes) = config.keepalive;
    let sane = [idle, interval, probes]
        .iter()
        .all(|part| (1..=32_767).contains(part));
    let value = format!("({idle}, {interval}, {probes})");
    check(
        sane,
        "keepalive",
        &value,
        "must be three numbers of 1 to 32767",
    );
}

fn places(config: &NodeConfig, complaints: &mut Vec<Complaint>) {
    let mut complain = |option: &str, value: &str, reason: String| {
        complaints.push(Complaint::new(option, &value, reason));
    };
    if let Err(reason) = address::advertised(&config.address) {
        complain("address", &config.address, reason);
    }
    if let Some(bind) = &config.bind_address
        && let Err(reason) = address::bindable(bind)
    {
        complain("bind_address", bind, reason);
    }
    let socket = match &config.unix_socket {
        UnixSocket::At(path) => Some(path),
        UnixSocket::Wanted(_) => None,
    };
    let paths = [
        ("data_dir", Some(&config.data_dir)),
        ("unix_socket", socket),
        ("tls_cert", config.tls_cert.as_ref()),
        ("tls_key", config.tls_key.as_ref()),
        ("tls_ca", config.tls_ca.as_ref()),
    ];
    for (option, path) in paths {
        let Some(path) = path else { continue };
        let text = path.to_string_lossy();
        if text.is_empty() || text.contains('\0') {
            complain(option, &text, "a path is required, without NUL".to_owned());
        }
    }
}

fn cluster(config: &NodeConfig, complaints: &mut Vec<Complaint>) {
    let mut complain = |option: &str, value: &dyn std::fmt::Display, reason: String| {
        complaints.push(Complaint::new(option, value, reason));
    };
    if config.cluster.len() > CLUSTER_MAX {
        let reason = format!("at most {CLUSTER_MAX} addresses");
        complain("cluster", &config.cluster.len(), reason);
    }
    let mut known: Vec<String> = Vec::new();
    for (index, entry) in config.cluster.iter().enumerate() {
        let option = format!("cluster[{index}]");
        match address::advertised(entry) {
            Err(reason) => complain(&option, entry, reason),
            Ok(canonical) if known.contains(&canonical) => {
                complain(&option, entry, "listed before".to_owned());
            }
            Ok(canonical) => known.push(canonical),
        }
    }
    let own = address::canonical(&config.address);
    match (config.initial_state, known.first()) {
        (InitialState::New, Some(first)) if *first != own => {
            let reason = format!("the first of cluster is {first}, not this node");
            complain("initial_state", &"new", reason);
        }
        (InitialState::Existing, _) if known.iter().all(|other| *other == own) => {
            let reason = "needs the addresses of the cluster to join".to_owned();
            complain("initial_state", &"existing", reason);
        }
        _ => {}
    }
}
