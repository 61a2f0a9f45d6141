//! Where the members of a cluster are remembered: in memory, or in go-dqlite's `cluster.yaml`.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use dqlite_proto::{NodeInfo, Role};

use crate::error::Result;

#[cfg(feature = "yaml")]
pub use yaml::YamlFile;

/// Remembers the members of a cluster between searches.
pub trait NodeStore: Send + Sync + fmt::Debug {
    /// The members as last known; empty if none are.
    fn get(&self) -> Result<Vec<NodeInfo>>;

    /// Remembers `members`. A list without voters is ignored: no cluster consists of it.
    fn set(&self, members: &[NodeInfo]) -> Result<()>;
}

/// Whether a list can be the members of a cluster.
fn has_voter(members: &[NodeInfo]) -> bool {
    members.iter().any(|member| member.role == Role::Voter)
}

/// Forgets everything with the process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Vec<NodeInfo>>);

impl Memory {
    /// A store that knows `members` already.
    pub const fn new(members: Vec<NodeInfo>) -> Self {
        Self(Mutex::new(members))
    }
}

impl NodeStore for Memory {
    fn get(&self) -> Result<Vec<NodeInfo>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    fn set(&self, members: &[NodeInfo]) -> Result<()> {
        if has_voter(members) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = members.to_vec();
        }
        Ok(())
    }
}

#[cfg(feature = "yaml")]
mod yaml {
    use std::fmt::Write as _;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write as _};
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};
    use std::time::SystemTime;

    use dqlite_proto::{NodeInfo, Role};
    use serde::Deserialize;

    use super::{NodeStore, has_voter};
    use crate::error::{Error, Result};

    const FILE_BYTES_MAX: u64 = 1 << 20;
    const MEMBERS_MAX: usize = 10_000;

    /// A file of members, shared with go-dqlite and with nodes.
    ///
    /// It is read again when it has changed, and replaced as a whole, never written in place.
    #[derive(Debug)]
    pub struct YamlFile {
        path: PathBuf,
        save: bool,
        seen: Mutex<Option<(SystemTime, Vec<NodeInfo>)>>,
    }

    impl YamlFile {
        /// The file at `path`, or `cluster.yaml` in it if that is a directory. Without `save` it
        /// is never written.
        pub fn new(path: impl Into<PathBuf>, save: bool) -> Self {
            let mut path = path.into();
            if path.is_dir() {
                path.push("cluster.yaml");
            }
            Self {
                path,
                save,
                seen: Mutex::new(None),
            }
        }

        /// Where it is.
        pub fn path(&self) -> &Path {
            &self.path
        }

        fn wrong(&self, why: impl std::fmt::Display) -> Error {
            Error::config(format!("node store {}: {why}", self.path.display()))
        }

        fn read(&self) -> Result<(SystemTime, Vec<NodeInfo>)> {
            let io = |error| self.wrong(crate::error::reason(&error));
            let file = File::open(&self.path).map_err(io)?;
            let changed = file
                .metadata()
                .and_then(|data| data.modified())
                .map_err(io)?;
            let mut text = String::new();
            file.take(FILE_BYTES_MAX + 1)
                .read_to_string(&mut text)
                .map_err(io)?;
            if text.len() as u64 > FILE_BYTES_MAX {
                return Err(self.wrong("is larger than 1 MiB"));
            }
            Ok((changed, parse(&text).map_err(|why| self.wrong(why))?))
        }

        fn write(&self, text: &str) -> std::io::Result<()> {
            let folder = self
                .path
                .parent()
                .filter(|path| !path.as_os_str().is_empty());
            let folder = folder.unwrap_or_else(|| Path::new("."));
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let new = folder.join(format!(".{name}.{}.new", std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            let written = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| std::fs::rename(&new, &self.path))
                .and_then(|()| File::open(folder)?.sync_all());
            if written.is_err() {
                // The error that counts is the first one.
                let _ = std::fs::remove_file(&new);
            }
            written
        }
    }

    impl NodeStore for YamlFile {
        fn get(&self) -> Result<Vec<NodeInfo>> {
            let changed = std::fs::metadata(&self.path)
                .and_then(|data| data.modified())
                .ok();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, members)) = seen.as_ref()
                && changed == Some(*at)
            {
                return Ok(members.clone());
            }
            let (at, members) = self.read()?;
            *seen = Some((at, members.clone()));
            Ok(members)
        }

        fn set(&self, members: &[NodeInfo]) -> Result<()> {
            if !self.save || !has_voter(members) || self.get().is_ok_and(|known| known == members) {
                return Ok(());
            }
            self.write(&render(members))
                .map_err(|error| self.wrong(crate::error::reason(&error)))
        }
    }

    /// The text as go-dqlite writes it, byte for byte.
    fn render(members: &[NodeInfo]) -> String {
        let mut text = String::new();
        for member in members {
            let quote = if member.address.starts_with(['[', '@']) {
                "'"
            } else {
                ""
            };
            let (id, address, role) = (member.id, &member.address, member.role.to_wire());
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "- ID: {id}\n  Address: {quote}{address}{quote}\n  Role: {role}\n"
            );
        }
        text
    }

    /// Takes any order and case of keys, names of roles, quotes, comments, a missing role.
    fn parse(text: &str) -> Result<Vec<NodeInfo>, String> {
        let entries: Option<Vec<Entry>> =
            serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let entries = entries.unwrap_or_default();
        if entries.len() > MEMBERS_MAX {
            return Err(format!("holds more than {MEMBERS_MAX} members"));
        }
        let known = entries.iter().any(|entry| entry.id != 0);
        let mut members: Vec<NodeInfo> = Vec::with_capacity(entries.len());
        for (at, Entry { id, address, role }) in entries.into_iter().enumerate() {
            let nth = at + 1;
            if address.is_empty() {
                return Err(format!("entry {nth} has no address"));
            }
            if known && id == 0 {
                return Err(format!(
                    "entry {nth} ({address}) has no id while others have one"
                ));
            }
            if members
                .iter()
                .any(|m| m.address == address || (id != 0 && m.id == id))
            {
                return Err(format!("entry {nth} ({address}) is there twice"));
            }
            let role = role.0;
            members.push(NodeInfo { id, address, role });
        }
        Ok(members)
    }

    #[derive(Deserialize)]
    struct Entry {
        #[serde(alias = "ID", alias = "Id", default)]
        id: u64,
        #[serde(alias = "Address", alias = "ADDRESS", default)]
        address: String,
        #[serde(alias = "Role", alias = "ROLE", default)]
        role: Written,
    }

    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Written(Role);

    impl Default for Written {
        fn default() -> Self {
            Self(Role::Voter)
        }
    }

    impl TryFrom<String> for Written {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            match text.to_ascii_lowercase().as_str() {
                "0" | "voter" => Ok(Self(Role::Voter)),
                "1" | "stand-by" | "standby" => Ok(Self(Role::StandBy)),
                "2" | "spare" => Ok(Self(Role::Spare)),
                _ => Err(format!("{text:?} is no role")),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// As go-dqlite wrote it.
        const GOLDEN: &str = "- ID: 3297041220608546238\n  Address: 127.0.0.1:9001\n  Role: 0\n\
                              - ID: 12840274112312984451\n  Address: '[::1]:9002'\n  Role: 2\n";

        fn members() -> Vec<NodeInfo> {
            let member = |id, address: &str, role| NodeInfo {
                id,
                address: address.to_owned(),
                role,
            };
            vec![
                member(3_297_041_220_608_546_238, "127.0.0.1:9001", Role::Voter),
                member(12_840_274_112_312_984_451, "[::1]:9002", Role::Spare),
            ]
        }

        #[test]
        fn the_file_is_go_dqlites() {
            assert_eq!(render(&members()), GOLDEN);
            assert_eq!(parse(GOLDEN), Ok(members()));
        }

        #[test]
        fn other_spellings_are_read() {
            let text =
                "# ours\n- address: \"h:1\"\n  role: stand-by\n  id: 7\n- {ID: 8, Address: i:2}\n";
            let read = parse(text).unwrap();
            assert_eq!(read[0].role, Role::StandBy);
            assert_eq!((read[1].id, read[1].role), (8, Role::Voter));
            assert_eq!(parse(""), Ok(vec![]));
        }

        #[test]
        fn contradictions_are_named() {
            for (text, why) in [
                (
                    "- {ID: 1, Address: a}\n- {ID: 1, Address: b}\n",
                    "entry 2 (b) is there twice",
                ),
                (
                    "- {ID: 1, Address: a}\n- {ID: 2, Address: a}\n",
                    "entry 2 (a) is there twice",
                ),
                (
                    "- {ID: 1, Address: a}\n- {Address: b}\n",
                    "entry 2 (b) has no id",
                ),
                ("- {ID: 1}\n", "entry 1 has no address"),
                ("- {ID: 1, Address: a, Role: 9}\n", "is no role"),
            ] {
                let error = parse(text).unwrap_err();
                assert!(error.contains(why), "{text}: {error}");
            }
        }

        #[test]
        fn a_saved_file_is_replaced_and_changes_of_others_are_seen() {
            let folder = tempfile::tempdir().unwrap();
            let store = YamlFile::new(folder.path(), true);
            assert!(store.get().is_err());
            store.set(&members()).unwrap();
            assert_eq!(std::fs::read_to_string(store.path()).unwrap(), GOLDEN);
            let other = YamlFile::new(store.path(), true);
            other.set(&members()[..1]).unwrap();
            let file = File::options().write(true).open(store.path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(store.get().unwrap(), members()[..1]);
            store.set(&[]).unwrap();
            store.set(&members()[1..]).unwrap();
            assert_eq!(
                store.get().unwrap(),
                members()[..1],
                "a list without voters is ignored"
            );
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }

        #[test]
        fn without_save_nothing_is_written() {
            let folder = tempfile::tempdir().unwrap();
            let store = YamlFile::new(folder.path().join("cluster.yaml"), false);
            store.set(&members()).unwrap();
            assert!(!store.path().exists());
        }
    }
}
