//! Damage that the engine passes over without a word.
//!
//! *Engine* (1.18.7): an open segment ends at its first batch that is not whole, as after a power
//! cut, and everything behind it is cut off, also when whole batches follow. A snapshot without its
//! description, or the other way round, is deleted before anybody looks whether the log can do
//! without it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{Damage, FORMAT, batch, closed, names, word};

/// More entries than any batch has.
const ENTRIES_MAX: u64 = 65_536;
/// Types of entries: 1 is a command, 2 a barrier, 3 a change of the configuration.
const TYPES: std::ops::RangeInclusive<u64> = 1..=3;

/// Open segments that would lose entries which were written to their end.
pub fn of_open_segments(directory: &Path) -> io::Result<Vec<Damage>> {
    let numbered = |name: &String| {
        Some((
            name.strip_prefix("open-")?.parse::<u64>().ok()?,
            name.clone(),
        ))
    };
    let mut open: Vec<(u64, String)> = names(directory)?.iter().filter_map(numbered).collect();
    open.sort_unstable();
    let mut found = Vec::new();
    let mut unfinished: Option<Damage> = None;
    for (_, file) in open {
        let bytes = fs::read(directory.join(&file))?;
        if bytes.iter().any(|byte| *byte != 0)
            && let Some(Damage {
                file: earlier,
                what,
            }) = unfinished.take()
        {
            let what = format!("{what}, and {file} goes on");
            found.push(Damage {
                file: earlier,
                what,
            });
        }
        match open_segment(&bytes) {
            Ok(None) => {}
            Ok(Some(what)) => unfinished = Some(Damage { file, what }),
            Err(what) => found.push(Damage { file, what }),
        }
    }
    Ok(found)
}

/// Half a snapshot that the log cannot do without.
pub fn of_snapshots(directory: &Path) -> io::Result<Option<Damage>> {
    Ok(half_snapshot(&names(directory)?))
}

/// The same by the names of all files.
pub fn half_snapshot(names: &BTreeSet<String>) -> Option<Damage> {
    let index = |name: &str| {
        let mut numbers = name.strip_prefix("snapshot-")?.split('-');
        let mut next = || numbers.next()?.parse::<u64>().ok();
        let (_, index, _) = (next()?, next()?, next()?);
        numbers.next().is_none().then_some(index)
    };
    let (mut whole, mut halves) = (0, Vec::new());
    for name in names {
        let data = name.strip_suffix(".meta").unwrap_or(name);
        let other = match name.len() - data.len() {
            0 => format!("{name}.meta"),
            _ => data.to_owned(),
        };
        let Some(index) = index(data) else { continue };
        if names.contains(&other) {
            whole = whole.max(index);
        } else {
            halves.push((index, name, other));
        }
    }
    let (_, name, other) = halves
        .into_iter()
        .filter(|(index, ..)| *index > whole)
        .max()?;
    let begins = names
        .iter()
        .find_map(|name| closed(name))
        .map(|(first, _)| first);
    // Descriptions are written first: data without one was whole once.
    let needed = match begins {
        Some(first) => first > whole + 1,
        None => other.len() > name.len(),
    };
    needed.then(|| Damage {
        file: name.clone(),
        what: format!("{other} is missing, and the log does not reach back to its beginning"),
    })
}

/// What an open segment ends with if that is no whole batch. An error if whole batches follow.
pub fn open_segment(bytes: &[u8]) -> Result<Option<String>, String> {
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let mut at = 8;
    let unfinished = match word(bytes, 0) {
        _ if used == 0 => return Ok(None),
        Some(FORMAT) => loop {
            if at >= used {
                return Ok(None);
            }
            match batch(bytes, at) {
                Ok((next, _)) => at = next,
                Err((next, what)) => {
                    at = next;
                    break what;
                }
            }
        },
        Some(0) => "no format".to_owned(),
        // The engine refuses any other, and what is shorter.
        _ => return Ok(None),
    };
    let whole = |at: &usize| looks_like_one(bytes, *at) && batch(bytes, *at).is_ok();
    match (at..used).step_by(8).find(whole) {
        Some(next) => Err(format!(
            "{unfinished}, and whole entries follow at byte {next}"
        )),
        None => Ok(Some(unfinished)),
    }
}

/// Whether it is worth while to compute the sums of a batch here.
fn looks_like_one(bytes: &[u8], at: usize) -> bool {
    let entries = word(bytes, at + 8).unwrap_or(0);
    let kind = word(bytes, at + 24).unwrap_or(0) & 0xff;
    (1..=ENTRIES_MAX).contains(&entries) && TYPES.contains(&kind)
}
