//! Whether snapshots are compressed: as those are that lie in the directory.
//!
//! *Engine* (1.18.7): one flag says how snapshots are written and how they are read. A directory
//! whose snapshots have the other form does not start, and the engine does not say why.

use std::fs::{DirEntry, File};
use std::io::{self, Read as _};
use std::path::Path;

/// How every frame of LZ4 begins.
const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// What the engine does unless it is told.
const COMPRESSES: bool = true;

/// What to tell the engine, and what to tell the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// `None` leaves it to the engine.
    pub(super) compression: Option<bool>,
    /// Whether this is not what was wanted.
    pub(super) overrides: bool,
}

/// Keeps the form of the newest snapshot, whose first bytes are `newest`.
pub(super) fn choose(wanted: Option<bool>, newest: Option<&[u8]>) -> Choice {
    let found = newest.map(|head| head.starts_with(&LZ4));
    let overrides = found.is_some_and(|found| found != wanted.unwrap_or(COMPRESSES));
    Choice {
        compression: if overrides { found } else { wanted },
        overrides,
    }
}

/// The newest of these names of files that is a snapshot: `snapshot-TERM-INDEX-MILLISECONDS`.
pub(super) fn newest(names: impl Iterator<Item = String>) -> Option<String> {
    let order = |name: &str| {
        let mut numbers = name.strip_prefix("snapshot-")?.split('-');
        let mut next = || numbers.next()?.parse::<u64>().ok();
        let order = (next()?, next()?, next()?);
        numbers.next().is_none().then_some(order)
    };
    names
        .filter_map(|name| Some((order(&name)?, name)))
        .max()
        .map(|(_, name)| name)
}

/// The first bytes of the newest snapshot in a directory, if there is one.
pub(super) fn look(directory: &Path) -> io::Result<Option<Vec<u8>>> {
    let entries = directory.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.iter().map(DirEntry::file_name);
    let Some(name) = newest(names.filter_map(|name| name.into_string().ok())) else {
        return Ok(None);
    };
    let mut head = Vec::new();
    let most = LZ4.len() as u64;
    File::open(directory.join(name))?
        .take(most)
        .read_to_end(&mut head)?;
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = &[1, 0, 0, 0];

    #[test]
    fn the_form_that_is_there_is_kept() {
        let kept = |wanted, newest| {
            let choice = choose(wanted, newest);
            (choice.compression, choice.overrides)
        };
        assert_eq!(kept(None, None), (None, false));
        assert_eq!(kept(Some(false), None), (Some(false), false));
        assert_eq!(kept(None, Some(&LZ4[..])), (None, false));
        assert_eq!(kept(Some(true), Some(&LZ4[..])), (Some(true), false));
        assert_eq!(kept(Some(false), Some(&LZ4[..])), (Some(true), true));
        assert_eq!(kept(None, Some(PLAIN)), (Some(false), true));
        assert_eq!(kept(Some(true), Some(PLAIN)), (Some(false), true));
        assert_eq!(kept(Some(false), Some(PLAIN)), (Some(false), false));
    }

    #[test]
    fn the_newest_snapshot_is_found_by_its_numbers() {
        let names = [
            "snapshot-1-9-500",
            "snapshot-1-10-400",
            "snapshot-1-10-400.meta",
            "snapshot-2-x-1",
            "open-3",
        ];
        let found = newest(names.iter().map(ToString::to_string));
        assert_eq!(found.as_deref(), Some("snapshot-1-10-400"));
        assert_eq!(newest(std::iter::empty()), None);
    }

    #[test]
    fn a_directory_without_snapshots_has_no_form() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(directory.path()).unwrap(), None);
        let snapshot = directory.path().join("snapshot-1-2-3");
        std::fs::write(snapshot, [&LZ4[..], &[0; 8]].concat()).unwrap();
        assert_eq!(look(directory.path()).unwrap().as_deref(), Some(&LZ4[..]));
    }
}
