//! The options of a node: one table of names, kinds and ranges, checked in the application.
//!
//! What is the supervisor's own ([`For::Supervisor`]) stays in this process; the rest is sent to
//! the node, which validates it again. Absent and `null` mean the default.

mod address;

use dqlite_client::Address;
use serde_json::Value;

use crate::control::Options;
use crate::node_error::Complaint;

/// What values an option takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `HOST:PORT`, which others dial.
    Advertised,
    /// `HOST:PORT` to listen on; the host may be a wildcard.
    Bind,
    /// A list of advertised addresses.
    Cluster,
    /// A path.
    Path,
    /// A path, or whether there is one.
    PathOrFlag,
    /// 64 bits, as a number or as decimal text.
    Wide(u64),
    /// A whole number in this range.
    Whole(u64, u64),
    /// A whole odd number in this range.
    Odd(u64, u64),
    /// Seconds in this range.
    Seconds(f64, f64),
    /// True or false.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A name in a certificate.
    Name,
    /// Patterns of such names.
    Names,
    /// A power of two in this range.
    PowerOfTwo(u64, u64),
    /// Seconds idle, seconds between probes, probes.
    Keepalive,
    /// Crashes and seconds: `[5, 60]`.
    CrashLimit,
    /// Names and texts.
    Env,
}

/// Who acts on an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The node process.
    Node,
    /// The application's supervisor.
    Supervisor,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) acts: For,
}

const fn node(name: &'static str, kind: Kind) -> Known {
    Known {
        name,
        kind,
        acts: For::Node,
    }
}

const fn local(name: &'static str, kind: Kind) -> Known {
    Known {
        name,
        kind,
        acts: For::Supervisor,
    }
}

const HOUR_MS: u64 = 3_600_000;
const TRACE_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
const U32: u64 = u32::MAX as u64;
/// *Engine*: a message holds the heads of 262,000 entries at most, and all that a member lacks goes
/// in one: the entries that are kept and those of the next snapshot together.
const ENTRIES_MAX: u64 = 130_000;
/// The most entries of the option `cluster`.
const CLUSTER_MAX: usize = 256;

/// THE TABLE.
pub(crate) const KNOWN: &[Known] = &[
    node("address", Kind::Advertised),
    node("data_dir", Kind::Path),
    node("node_id", Kind::Wide(1)),
    node("bind_address", Kind::Bind),
    node("unix_socket", Kind::PathOrFlag),
    node("cluster", Kind::Cluster),
    node("initial_state", Kind::Word(&["auto", "new", "existing"])),
    node("failure_domain", Kind::Wide(0)),
    node("weight", Kind::Whole(0, (1 << 31) - 1)),
    node("network_latency_ms", Kind::Whole(1, HOUR_MS)),
    node("busy_timeout_ms", Kind::Whole(0, HOUR_MS)),
    node("snapshot_threshold", Kind::Whole(1, ENTRIES_MAX)),
    node("snapshot_trailing", Kind::Whole(4, ENTRIES_MAX)),
    node(
        "snapshot_trailing_strategy",
        Kind::Word(&["static", "dynamic"]),
    ),
    node("snapshot_compression", Kind::Flag),
    node("block_size_bytes", Kind::PowerOfTwo(512, 256 << 10)),
    node("auto_recovery", Kind::Flag),
    node("on_damage", Kind::Word(&["rejoin", "fail"])),
    node("worker_threads", Kind::Whole(4, 128)),
    node("manage_roles", Kind::Flag),
    node("voters", Kind::Odd(1, 99)),
    node("standbys", Kind::Whole(0, 99)),
    node("two_node", Kind::Word(&["standby", "spare", "voters"])),
    node("roles_interval", Kind::Seconds(0.1, 3600.0)),
    node("offline_after", Kind::Seconds(0.5, 3600.0)),
    node("handover_on_stop", Kind::Flag),
    node("handover_timeout", Kind::Seconds(0.0, 60.0)),
    node("tls_cert", Kind::Path),
    node("tls_key", Kind::Path),
    node("tls_ca", Kind::Path),
    node("tls_server_name", Kind::Name),
    node("tls_min_version", Kind::Word(&["1.3", "1.2"])),
    node("tls_admin", Kind::Names),
    node("tls_reload_interval", Kind::Seconds(1.0, 3600.0)),
    node("tls_max_stream_age", Kind::Seconds(0.0, 31_536_000.0)),
    node("watchdog_timeout", Kind::Seconds(0.0, 3600.0)),
    node("max_connections", Kind::Whole(1, 100_000)),
    node("max_frame_bytes", Kind::Whole(65_536, 1 << 30)),
    node("max_reply_bytes", Kind::Whole(64 << 20, 1 << 30)),
    node("handshake_timeout", Kind::Seconds(0.1, 3600.0)),
    node("idle_timeout", Kind::Seconds(0.0, 604_800.0)),
    node("idle_in_transaction_timeout", Kind::Seconds(0.0, 604_800.0)),
    node("progress_timeout", Kind::Seconds(0.0, 3600.0)),
    node("statement_timeout", Kind::Seconds(0.0, 604_800.0)),
    node("keepalive", Kind::Keepalive),
    node("user_timeout_ms", Kind::Whole(0, U32)),
    node(
        "log_level",
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
    ),
    node("trace_sql", Kind::Word(TRACE_LEVELS)),
    node("slow_statement_ms", Kind::Whole(0, U32)),
    node("leader_probe_limit", Kind::Whole(1, 256)),
    local("engine", Kind::Path),
    local("executable", Kind::Path),
    local("start_timeout", Kind::Seconds(0.001, 86_400.0)),
    local("ready_grace", Kind::Seconds(0.0, 3600.0)),
    local("stop_timeout", Kind::Seconds(1.0, 3600.0)),
    local("restart", Kind::Word(&["on-crash", "never"])),
    local("restart_limit", Kind::CrashLimit),
    local("env", Kind::Env),
];

/// The line of `name`.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// Everything that is wrong with `options`, in the table's order, unknown names last.
pub(crate) fn complaints(options: &Options) -> Vec<Complaint> {
    let mut found = Vec::new();
    for known in KNOWN {
        let Some(value) = options.get(known.name).filter(|value| !value.is_null()) else {
            continue;
        };
        if let Err(reason) = known.kind.check(value) {
            found.push(Complaint::new(known.name, value, reason));
        }
    }
    for (name, value) in options.iter().filter(|(name, _)| known(name).is_none()) {
        let reason = format!(
            "unknown option; the nearest known name is {}",
            nearest(name)
        );
        found.push(Complaint::new(name, value, reason));
    }
    let mut contradictions = between(options);
    contradictions.extend(half_of_tls(options));
    let told = |one: &Complaint| found.iter().any(|other| other.option == one.option);
    let untold: Vec<_> = contradictions
        .into_iter()
        .filter(|one| !told(one))
        .collect();
    found.extend(untold);
    found
}

/// TLS needs all three files.
fn half_of_tls(options: &Options) -> Vec<Complaint> {
    let files = ["tls_cert", "tls_key", "tls_ca"];
    let given = |name: &&str| options.get(*name).is_some_and(|value| !value.is_null());
    if !files.iter().any(given) {
        return Vec::new();
    }
    let missing = files.iter().filter(|name| !given(name));
    missing
        .map(|name| {
            let reason = "is missing: tls_cert, tls_key and tls_ca go together";
            Complaint {
                option: (*name).to_owned(),
                value: String::new(),
                reason: reason.to_owned(),
            }
        })
        .collect()
}

/// What is wrong between options that are each fine.
fn between(options: &Options) -> Vec<Complaint> {
    let number = |name: &str, default: u64| match options.get(name) {
        None | Some(Value::Null) => Some(default),
        Some(value) => value.as_u64(),
    };
    let mut found = Vec::new();
    let mut complain = |option: &str, reason: String| {
        let value = options.get(option).unwrap_or(&Value::Null);
        found.push(Complaint::new(option, value, reason));
    };
    let threshold = number("snapshot_threshold", 1024);
    let trailing = number("snapshot_trailing", 8192);
    if let (Some(threshold), Some(trailing)) = (threshold, trailing)
        && trailing < threshold
    {
        let given = ["snapshot_trailing", "snapshot_threshold"]
            .into_iter()
            .find(|name| options.contains_key(*name));
        let reason =
            format!("snapshot_trailing, {trailing}, is less than the threshold, {threshold}");
        complain(given.unwrap_or_default(), reason);
    }
    // An election timeout is 15 times the latency.
    let given = |name: &str| options.get(name).and_then(Value::as_f64);
    let latency = given("network_latency_ms").or(Some(20.0));
    let least = latency.map(|latency| 2.0 * 0.015 * latency);
    if let (Some(least), Some(offline_after)) = (least, given("offline_after"))
        && offline_after < least
    {
        let reason = format!("must be at least 2 election timeouts, which are {least} s");
        complain("offline_after", reason);
    }
    let least = least.map(|least| least.max(1.0));
    if let (Some(least), Some(timeout)) = (least, given("watchdog_timeout"))
        && timeout != 0.0
        && timeout < least
    {
        let reason = format!("must be 0, or at least {least} s: 1 s, and 2 election timeouts");
        complain("watchdog_timeout", reason);
    }
    let own = options
        .get("address")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let own_form = address::advertised(own);
    match options.get("initial_state").and_then(Value::as_str) {
        Some("new")
            if entries(options)
                .next()
                .is_some_and(|first| first != own_form) =>
        {
            complain(
                "initial_state",
                "this node is not the first of cluster".into(),
            );
        }
        Some("existing") if others(options, own) == 0 => {
            complain(
                "initial_state",
                "needs the addresses of the cluster to join".into(),
            );
        }
        _ => {}
    }
    found
}

impl Kind {
    fn check(self, value: &Value) -> Result<(), String> {
        match self {
            Self::Advertised => address::advertised(text(value)?).map(drop),
            Self::Bind => address::bindable(text(value)?),
            Self::Cluster => cluster(value),
            Self::Path => path(value),
            Self::PathOrFlag | Self::Flag if value.is_boolean() => Ok(()),
            Self::PathOrFlag => path(value).map_err(|reason| format!("{reason}, true or false")),
            Self::Wide(min) => wide(value)
                .filter(|id| *id >= min)
                .map(drop)
                .ok_or_else(|| format!("must be a whole number from {min} to {}", u64::MAX)),
            Self::Whole(min, max) => whole(value, min, max).map(drop),
            Self::Odd(min, max) => match whole(value, min, max)? % 2 {
                0 => Err("must be odd".into()),
                _ => Ok(()),
            },
            Self::Seconds(min, max) => seconds(value)
                .filter(|seconds| (min..=max).contains(seconds))
                .map(drop)
                .ok_or_else(|| format!("must be seconds from {min} to {max}")),
            Self::Flag => Err("must be true or false".into()),
            Self::Word(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => Err(format!("must be one of {}", words.join(", "))),
            },
            Self::Name => match value.as_str() {
                Some(name) if !name.contains('*') && is_pattern(name) => Ok(()),
                _ => Err("must be one DNS name".into()),
            },
            Self::Names => match value.as_array() {
                Some(names)
                    if names
                        .iter()
                        .all(|name| name.as_str().is_some_and(is_pattern)) =>
                {
                    Ok(())
                }
                _ => Err("must be a list of names, IP addresses, or *.DOMAIN".into()),
            },
            Self::PowerOfTwo(min, max) => match value.as_u64() {
                Some(size) if size.is_power_of_two() && (min..=max).contains(&size) => Ok(()),
                _ => Err(format!("must be a power of two from {min} to {max}")),
            },
            Self::Keepalive => {
                keepalive(value).ok_or_else(|| "must be three whole numbers from 1 to 32767".into())
            }
            Self::CrashLimit => crash_limit(value)
                .map(drop)
                .ok_or_else(|| "must be a pair: crashes, seconds above 0".into()),
            Self::Env => env(value),
        }
    }
}

/// A name in a certificate, or `*.` and a domain.
fn is_pattern(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    !rest.is_empty() && rest.chars().all(plain)
}

/// A number that may be written as decimal text, because JSON readers lose digits.
pub(crate) fn wide(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn keepalive(value: &Value) -> Option<()> {
    let parts = value.as_array().filter(|parts| parts.len() == 3)?;
    let sane = |part: &Value| whole(part, 1, 32_767).is_ok();
    parts.iter().all(sane).then_some(())
}

/// The two numbers of a crash limit.
pub(crate) fn crash_limit(value: &Value) -> Option<(u32, f64)> {
    let [crashes, window] = value.as_array()?.as_slice() else {
        return None;
    };
    let window = seconds(window).filter(|window| *window > 0.0 && *window <= 86_400.0)?;
    Some((crashes.as_u64()?.try_into().ok()?, window))
}

fn seconds(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn whole(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    value
        .as_u64()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be HOST:PORT".into())
}

fn cluster(value: &Value) -> Result<(), String> {
    let entries = value.as_array().ok_or("must be a list of HOST:PORT")?;
    if entries.len() > CLUSTER_MAX {
        return Err(format!("must be at most {CLUSTER_MAX} addresses"));
    }
    let mut known = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let checked = text(entry).and_then(address::advertised);
        let form = checked.map_err(|reason| format!("entry {index}, {entry}: {reason}"))?;
        if known.contains(&form) {
            return Err(format!(
                "must name each once: entry {index}, {entry}, is listed before"
            ));
        }
        known.push(form);
    }
    Ok(())
}

/// How many nodes besides `own` the option `cluster` names.
pub(crate) fn others(options: &Options, own: &str) -> usize {
    entries(options)
        .filter(|entry| *entry != address::advertised(own))
        .count()
}

fn entries(options: &Options) -> impl Iterator<Item = Result<Address, String>> {
    let entries = options
        .get("cluster")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    entries.map(|entry| text(entry).and_then(address::advertised))
}

fn path(value: &Value) -> Result<(), String> {
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(()),
        _ => Err("must be a path in UTF-8".into()),
    }
}

fn env(value: &Value) -> Result<(), String> {
    let map = value.as_object().ok_or("must map names to texts")?;
    for (name, value) in map {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!(
                "{name:?} cannot name a variable: a name must be text without = and NUL"
            ));
        }
        if value.as_str().is_none_or(|text| text.contains('\0')) {
            return Err(format!("the value of {name} must be text without NUL"));
        }
    }
    Ok(())
}

fn nearest(name: &str) -> &'static str {
    let distance = |known: &&Known| distance(name, known.name);
    KNOWN
        .iter()
        .min_by_key(distance)
        .map_or("", |known| known.name)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            let here = changed.min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[right.len()]
}
