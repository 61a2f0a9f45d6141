//! The status document: everything that a node can say of itself at once.
//!
//! Fields are only added within a `schema`. Ids are text, because many readers lose integers above
//! 2^53.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_proto::Request;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde_json::{Map, Value, json};

use crate::board::Board;
use crate::event::Event;
use crate::gateway::Door;
use crate::leader::Local;
use crate::lock::unix_ms;
use crate::peer::{Peer, PeerError};
use crate::tls::Security;

const SCHEMA: u32 = 1;
/// Bound of all questions for sizes.
const SIZES_PATIENCE: Duration = Duration::from_secs(1);
/// Of so many databases the size is asked for.
const SIZES_MAX: usize = 64;
/// So many are named.
const NAMES_MAX: usize = 256;
const NAME_CHARS_MAX: usize = 128;
const SIZE: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

/// The document; without a gateway as long as nobody can connect.
pub(crate) fn document(board: &Board, security: &Security, open: Option<(&Door, &Path)>) -> Value {
    let mut all = Map::new();
    all.insert("schema".to_owned(), SCHEMA.into());
    all.insert("now_ms".to_owned(), unix_ms().into());
    all.append(&mut board.known());
    all.insert("tls".to_owned(), security.described());
    if let Some((door, data_dir)) = open {
        all.append(&mut traffic(door));
        all.insert("disk".to_owned(), disk(data_dir));
    }
    all.insert("process".to_owned(), process());
    Value::Object(all)
}

/// Answers command `n` with the document and the databases of these names.
pub(crate) async fn answer(local: Arc<Local>, n: u32, mut document: Value, names: Vec<String>) {
    document["databases"] = databases(&local, &names).await;
    let answer = Ok(document);
    local.board.tell(Event::Reply { n, answer });
}

/// Names, and sizes as the leader knows them: *engine*, nobody else opens a database.
async fn databases(local: &Local, names: &[String]) -> Value {
    let leads = local.board.leader().is_some_and(|(id, _)| id == local.id);
    let until = Instant::now() + SIZES_PATIENCE;
    let mut all = Vec::new();
    for (index, name) in names.iter().take(NAMES_MAX).enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let size = if leads && index < SIZES_MAX && !left.is_zero() {
            let asked = size(&local.engine, name, left).await;
            asked.inspect_err(|reason| tracing::debug!("size of {name}: {reason}"))
        } else {
            Ok(None)
        };
        let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
        all.push(json!({ "name": shown, "size_bytes": size.unwrap_or_default() }));
    }
    all.into()
}

/// The size of these databases together, as far as this node can tell: nothing unless it leads.
pub(crate) async fn total_bytes(local: &Local, names: &[String]) -> u64 {
    let all = databases(local, names).await;
    let sizes = all.as_array().into_iter().flatten();
    sizes.filter_map(|one| one["size_bytes"].as_u64()).sum()
}

async fn size(engine: &Path, name: &str, patience: Duration) -> Result<Option<u64>, PeerError> {
    let mut peer = Peer::private(engine, patience).await?;
    peer.call(&Request::open(name)).await?;
    peer.number(SIZE).await
}

/// What the gateway counts.
fn traffic(door: &Door) -> Map<String, Value> {
    let mut all = Map::new();
    let mut connections = json!({ "clients": door.connections() });
    if let Some(totals) = door.totals() {
        connections["accepted"] = totals.accepted.into();
        let refused = totals.refused.iter();
        let guard: Map<String, Value> = refused
            .map(|(reason, count)| ((*reason).to_owned(), (*count).into()))
            .collect();
        all.insert("guard".to_owned(), guard.into());
        let counted = json!({
            "requests": totals.requests,
            "replies": totals.replies,
            "bytes_in": totals.bytes_in,
            "bytes_out": totals.bytes_out,
            "interrupts": totals.interrupts,
            "timeouts": totals.timeouts,
            "abandoned": totals.abandoned,
        });
        all.insert("totals".to_owned(), counted);
    }
    all.insert("connections".to_owned(), connections);
    all
}

/// What the disk holds of the directory.
fn disk(data_dir: &Path) -> Value {
    let entries = fs::read_dir(data_dir).into_iter().flatten().flatten();
    let (mut bytes, mut segments, mut snapshots) = (0, 0_u64, 0_u64);
    for entry in entries {
        bytes += entry.metadata().map_or(0, |found| found.len());
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot-") && !name.ends_with(".meta") {
            snapshots += 1;
        } else if name.starts_with("open-")
            || name.starts_with(|first: char| first.is_ascii_digit())
        {
            segments += 1;
        }
    }
    let free = statvfs(data_dir).map(|found| found.blocks_available() * found.fragment_size());
    json!({
        "data_dir_bytes": bytes,
        "free_bytes": free.ok(),
        "segments": segments,
        "snapshots": snapshots,
    })
}

fn process() -> Value {
    let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    json!({
        "rss": resident_bytes(),
        "fds": count("/proc/self/fd"),
        "fd_limit": getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
        "threads": count("/proc/self/task"),
    })
}

/// Resident memory as the kernel counts it.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
