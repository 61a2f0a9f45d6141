//! What is wrong with the engine's files, read without the engine.
//!
//! ```text
//! metadata1, metadata2   u64 format 1, version, term, voted_for; the higher version counts
//! FIRST-LAST             u64 format 1, then batches: u32 crc of header, u32 crc of data,
//!                        u64 n, n × (u64 term, u8 type, 3 × 0, u32 size), data
//! snapshot-T-I-MS.meta   u64 format 1, u64 crc of the rest, ...
//! snapshot-T-I-MS        an LZ4 frame, or u64 format 1 and the pages
//! ```
//!
//! All numbers are little-endian; sums are CRC-32 with the highest bit first and no inversion.
//! [`examine`] reads a directory, everything else is pure.

mod silent;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

pub use self::silent::{half_snapshot, of_open_segments, of_snapshots, open_segment};

/// A file that cannot be as the engine left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its name; of two that contradict each other, the later one.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

const METADATA: [&str; 2] = ["metadata1", "metadata2"];
const METADATA_BYTES: usize = 32;
const FORMAT: u64 = 1;
const LZ4_MAGIC: u32 = 0x184d_2204;
/// *Engine*: the name of a segment that it has put aside begins so.
const ASIDE: &str = "corrupt-";

/// Everything that is wrong with the engine's files in `directory`; reads all of them.
pub fn examine(directory: &Path) -> io::Result<Vec<Damage>> {
    let names = names(directory)?;
    let read = |name: &str| fs::read(directory.join(name));
    let mut found = of_metadata(directory)?;
    let mut next = None;
    for name in &names {
        if let Some((first, last)) = closed(name) {
            found.extend(gap(name, first, next));
            next = Some(last + 1);
            let wanted = last.saturating_sub(first) + 1;
            found.extend(wrong(name, segment(&read(name)?, wanted)));
        } else if let Some(data) = name.strip_suffix(".meta") {
            found.extend(wrong(name, snapshot_meta(&read(name)?)));
            if names.contains(data) {
                found.extend(wrong(data, snapshot(&read(data)?)));
            }
        }
    }
    Ok(found)
}

/// What is wrong with the two metadata files, which are small enough to be read at every start.
///
/// *Engine*: without them a node starts at term 0 over a log of later terms, or founds a cluster.
pub fn of_metadata(directory: &Path) -> io::Result<Vec<Damage>> {
    let names = names(directory)?;
    let has_log = names
        .iter()
        .any(|name| closed(name).is_some() || name.starts_with("snapshot-"));
    let mut files = [None, None];
    for (file, name) in files.iter_mut().zip(METADATA) {
        if names.contains(name) {
            *file = Some(fs::read(directory.join(name))?);
        }
    }
    Ok(metadata(&files, has_log))
}

/// The names of segments that the engine has put aside.
pub fn aside(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = names(directory)?;
    names.retain(|name| name.starts_with(ASIDE));
    Ok(names)
}

/// Keeps a copy of a segment from which the engine is going to cut something off, under a name of
/// that kind.
pub fn keep(directory: &Path, name: &str, unix_ms: u64) -> io::Result<()> {
    let copy = format!("{ASIDE}{unix_ms}000000-{name}");
    fs::copy(directory.join(name), directory.join(&copy))?;
    fs::File::open(directory.join(copy))?.sync_all()
}

/// A sentence about segments that were put aside: which, and what may be lost with them.
pub fn report(names: &BTreeSet<String>) -> Option<String> {
    let entries = |name: &String| {
        let original = name.splitn(3, '-').nth(2)?;
        let (first, last) = closed(original)?;
        Some(last.saturating_sub(first) + 1)
    };
    let lost = |name: &String| match entries(name) {
        Some(entries) => format!("{name} (up to {entries} entries)"),
        None => format!("{name} (the latest entries)"),
    };
    let list: Vec<String> = names.iter().map(lost).collect();
    (!list.is_empty()).then(|| {
        format!(
            "the log was damaged; put aside: {}; writes that were acknowledged may be missing",
            list.join(", ")
        )
    })
}

/// What is wrong with the metadata files; `has_log` tells that segments or snapshots are there.
pub fn metadata(files: &[Option<Vec<u8>>; 2], has_log: bool) -> Vec<Damage> {
    let mut found = Vec::new();
    let mut versions = Vec::new();
    for (file, name) in files.iter().zip(METADATA) {
        let Some(bytes) = file else { continue };
        match (word(bytes, 0), word(bytes, 8)) {
            // A write that a crash cut off was promised to nobody; the other file counts.
            _ if bytes.len() < METADATA_BYTES => {}
            (Some(FORMAT), Some(version)) => versions.push(version),
            (format, _) => {
                let what = format!("format {}, not {FORMAT}", format.unwrap_or_default());
                found.extend(wrong(name, Err(what)));
            }
        }
    }
    if let [one, other] = versions[..]
        && one == other
    {
        found.extend(wrong(METADATA[1], Err(format!("both are version {one}"))));
    }
    if versions.is_empty() && found.is_empty() && has_log {
        let what = match files {
            [None, None] => "missing, although there is a log",
            _ => "cut off, although there is a log",
        };
        found.extend(wrong("metadata1 and metadata2", Err(what.to_owned())));
    }
    found
}

/// Whether a closed segment holds `wanted` entries whose sums are right.
pub fn segment(bytes: &[u8], wanted: u64) -> Result<(), String> {
    let cut = |at: usize| format!("cut off at byte {at}");
    match word(bytes, 0) {
        Some(FORMAT) => {}
        Some(format) => return Err(format!("format {format}, not {FORMAT}")),
        None => return Err(cut(bytes.len())),
    }
    let (mut at, mut entries) = (8, 0);
    while at < bytes.len() && entries < wanted {
        let (next, count) = batch(bytes, at).map_err(|(_, what)| what)?;
        at = next;
        entries += count;
    }
    if entries == wanted {
        Ok(())
    } else {
        Err(format!("{entries} of {wanted} entries"))
    }
}

/// Where the batch at `at` ends, and how many entries it has; or where another may begin, and what
/// is wrong with this one.
fn batch(bytes: &[u8], at: usize) -> Result<(usize, u64), (usize, String)> {
    let cut = || (bytes.len(), format!("cut off at byte {}", bytes.len()));
    let sums = word(bytes, at).ok_or_else(cut)?;
    let count = word(bytes, at + 8).ok_or_else(cut)?;
    let head_bytes = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(16)?.checked_add(8))
        .filter(|head_bytes| *head_bytes <= bytes.len());
    let head = head_bytes.and_then(|size| bytes.get(at + 8..at + 8 + size));
    let head = head.ok_or_else(|| (at + 8, format!("an impossible batch at byte {at}")))?;
    if u64::from(sum(head)) != sums & 0xffff_ffff {
        return Err((at + 8, format!("wrong sum of the header at byte {at}")));
    }
    let sizes = head[8..].chunks_exact(16);
    let size: u64 = sizes.map(|entry| word(entry, 8).unwrap_or(0) >> 32).sum();
    let begin = at + 8 + head.len();
    let size = usize::try_from(size).map_err(|_| cut())?;
    let end = begin.checked_add(size).ok_or_else(cut)?;
    let data = bytes.get(begin..end).ok_or_else(cut)?;
    if u64::from(sum(data)) != sums >> 32 {
        return Err((end, format!("wrong sum of the data at byte {begin}")));
    }
    Ok((end, count))
}

/// Whether the description of a snapshot is whole.
pub fn snapshot_meta(bytes: &[u8]) -> Result<(), String> {
    match (word(bytes, 0), word(bytes, 8)) {
        (Some(FORMAT), Some(wanted)) if u64::from(sum(&bytes[16..])) == wanted => Ok(()),
        (Some(FORMAT), Some(_)) => Err("wrong sum".to_owned()),
        (Some(format), _) => Err(format!("format {format}, not {FORMAT}")),
        (None, _) => Err("cut off".to_owned()),
    }
}

/// Whether a snapshot begins like one. Its pages are checked by the engine.
pub fn snapshot(bytes: &[u8]) -> Result<(), String> {
    let first = word(bytes, 0).ok_or("cut off")?;
    let is_frame = first & 0xffff_ffff == u64::from(LZ4_MAGIC);
    match (first == FORMAT, is_frame) {
        (true, _) => Ok(()),
        (_, true) if bytes.ends_with(&[0; 4]) || has_content_sum(bytes) => Ok(()),
        (_, true) => Err("cut off".to_owned()),
        _ => Err("neither a snapshot nor a compressed one".to_owned()),
    }
}

/// Whether a frame ends with a sum of its content behind the end mark.
fn has_content_sum(frame: &[u8]) -> bool {
    let flagged = frame.get(4).is_some_and(|flags| flags & 0b100 != 0);
    let end = frame
        .len()
        .checked_sub(8)
        .and_then(|at| frame.get(at..at + 4));
    flagged && end == Some(&[0; 4])
}

/// First and last index in the name of a closed segment.
fn closed(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(first)?, number(last)?))
}

fn gap(name: &str, first: u64, wanted: Option<u64>) -> Option<Damage> {
    let wanted = wanted.filter(|wanted| *wanted != first)?;
    Some(Damage {
        file: name.to_owned(),
        what: format!("begins with entry {first}, the one before ends before {wanted}"),
    })
}

fn wrong(file: &str, checked: Result<(), String>) -> Option<Damage> {
    checked.err().map(|what| Damage {
        file: file.to_owned(),
        what,
    })
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut sum = byte << 24;
        let mut bit = 0;
        while bit < 8 {
            let carry = sum & 0x8000_0000 != 0;
            sum <<= 1;
            if carry {
                sum ^= 0x04c1_1db7;
            }
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        (sum << 8) ^ TABLE[usize::from((sum >> 24) as u8 ^ byte)]
    })
}
