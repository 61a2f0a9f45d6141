//! The data directory: who may use it, what its files mean, and how they are written.
//!
//! ```text
//! info.yaml     own identity, as go-dqlite writes it; the commit point of a first start
//! cluster.yaml  last known members, as go-dqlite writes them
//! join          present: not yet added by the cluster
//! forming       present: identity written, first engine start not finished
//! left          present: this node left, or was removed
//! node.lock     locked for the life of the node process
//! ```
//!
//! Files are written beside their place, synced and renamed, so they are whole or absent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use dqlite_client::node_store::{NodeStore as _, YamlFile};
use dqlite_proto::{NodeInfo, Role};

use crate::error::HostError;
use crate::info::Info;
use crate::lock::{NodeLock, unix_ms};

/// *Engine*: a longer path is cut without a word when file names are appended.
const PATH_BYTES_MAX: usize = 894;
/// Far more than any membership needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: NodeLock,
    members: YamlFile,
}

/// What the files of a directory say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// `info.yaml`.
    pub info: Option<Info>,
    /// `cluster.yaml`.
    pub cluster: Option<Vec<NodeInfo>>,
    /// `join` is there.
    pub join: bool,
    /// `forming` is there.
    pub forming: bool,
    /// The text of `left`.
    pub left: Option<String>,
    /// Metadata, closed segments or snapshots of the engine are there.
    pub raft: bool,
}

/// The identity that the configuration asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The advertised address.
    pub address: &'a str,
    /// The id, if one is asked for.
    pub id: Option<u64>,
    /// Other nodes are listed that may know what became of this one.
    pub listed: bool,
}

/// How to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The directory is empty: form or join.
    First,
    /// The data is gone around the identity: put that aside, and form or join.
    Lost {
        /// The identity that is given up.
        id: u64,
    },
    /// The engine starts at once with this identity.
    Restart {
        /// The identity on disk.
        info: Info,
        /// The last known members; empty if they are to be asked again.
        members: Vec<NodeInfo>,
        /// The cluster has not confirmed the seat yet.
        joining: bool,
    },
}

/// Why a directory cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id on disk is another one.
    #[error("the directory belongs to node {found}, not {wanted}")]
    OtherId {
        /// On disk.
        found: u64,
        /// In the configuration.
        wanted: u64,
    },
    /// The address on disk is another one.
    #[error(
        "the directory belongs to {found}, not {wanted}: keep the old address, or leave the \
         cluster and join under the new one with an empty directory"
    )]
    OtherAddress {
        /// On disk.
        found: String,
        /// In the configuration.
        wanted: String,
    },
    /// Raft data without `info.yaml`.
    #[error("raft data without info.yaml: restore the file, or move the directory aside")]
    NoIdentity,
    /// `info.yaml` without raft data.
    #[error(
        "info.yaml of node {id} without raft data: restore the raft files, or move the directory \
         aside to start empty"
    )]
    NoData {
        /// On disk.
        id: u64,
    },
    /// A node that founds clusters cannot join one.
    #[error("a node with the bootstrap id cannot join a cluster: move the directory aside")]
    BootstrapJoins,
    /// The node left, or was removed.
    #[error("the node is no longer a member ({left}): move the directory aside to join again")]
    Left {
        /// The content of `left`.
        left: String,
    },
}

/// What the combination of files means: the whole table, without a look at the disk.
pub fn plan(contents: Contents, wanted: Wanted<'_>) -> Result<Plan, Refusal> {
    if let Some(left) = contents.left {
        return Err(Refusal::Left { left });
    }
    let Some(info) = contents.info else {
        return if contents.raft {
            Err(Refusal::NoIdentity)
        } else {
            Ok(Plan::First)
        };
    };
    if let Some(id) = wanted.id.filter(|id| *id != info.id) {
        return Err(Refusal::OtherId {
            found: info.id,
            wanted: id,
        });
    }
    if crate::address::canonical(&info.address) != crate::address::canonical(wanted.address) {
        let wanted = wanted.address.to_owned();
        return Err(Refusal::OtherAddress {
            found: info.address,
            wanted,
        });
    }
    if contents.join && is_bootstrap(info.id) {
        return Err(Refusal::BootstrapJoins);
    }
    let members = contents.cluster.unwrap_or_default();
    if !contents.raft && !contents.join && !contents.forming {
        // A spare that never was more has no data to lose.
        let spare = |member: &NodeInfo| member.id == info.id && member.role == Role::Spare;
        return match (members.iter().any(spare), wanted.listed) {
            (true, _) => Ok(Plan::Restart {
                info,
                members,
                joining: true,
            }),
            (false, true) => Ok(Plan::Lost { id: info.id }),
            (false, false) => Err(Refusal::NoData { id: info.id }),
        };
    }
    match (contents.raft, contents.join) {
        (false, false) => Ok(Plan::First),
        _ => Ok(Plan::Restart {
            info,
            members,
            joining: contents.join,
        }),
    }
}

/// The ids with which the engine founds a cluster in an empty directory.
pub const BOOTSTRAP_IDS: [u64; 2] = [0x2dc1_7185_8c31_55be, 1];

/// Whether the engine founds a cluster with this id.
pub fn is_bootstrap(id: u64) -> bool {
    BOOTSTRAP_IDS.contains(&id)
}

impl DataDir {
    /// Makes the directory if it is not there, and locks it for this process.
    ///
    /// A holder that is draining is waited for; any other refuses at once.
    pub fn open(path: &Path, address: &str) -> Result<Self, HostError> {
        let fail = |reason: io::Error| HostError::data_dir(path, &reason);
        let path = std::path::absolute(path).map_err(fail)?;
        let bytes = path.as_os_str().len();
        if bytes > PATH_BYTES_MAX {
            let text = format!("the path has {bytes} bytes, the engine takes {PATH_BYTES_MAX}");
            return Err(HostError::data_dir(&path, &io::Error::other(text)));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(fail)?;
        let lock = NodeLock::acquire(&path, address)?;
        NodeLock::others_absent(&path)?;
        let members = YamlFile::new(path.join("cluster.yaml"), true);
        Ok(Self {
            path,
            lock,
            members,
        })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whoever waits for the directory that it will be free soon.
    pub fn draining(&self) {
        self.lock.draining();
    }

    /// Reads everything that decides how to start.
    pub fn read(&self) -> Result<Contents, HostError> {
        let info = self
            .text("info.yaml")?
            .map(|text| Info::parse(&text))
            .transpose();
        let info = info.map_err(|reason| self.damaged("info.yaml", &reason))?;
        let members = self
            .members
            .path()
            .exists()
            .then(|| self.members.get())
            .transpose();
        let members =
            members.map_err(|reason| self.damaged("cluster.yaml", &reason.to_string()))?;
        Ok(Contents {
            info,
            cluster: members,
            join: self.path.join("join").exists(),
            forming: self.path.join("forming").exists(),
            left: self.text("left")?,
            raft: self
                .has_raft()
                .map_err(|reason| HostError::data_dir(&self.path, &reason))?,
        })
    }

    /// Writes the identity of a first start; `info.yaml` last, because it is the commit point.
    pub fn found(&self, info: &Info, members: &[NodeInfo], join: bool) -> Result<(), HostError> {
        let fail = |reason: io::Error| HostError::data_dir(&self.path, &reason);
        self.write("forming", b"").map_err(fail)?;
        if join {
            self.write("join", b"")
        } else {
            self.remove("join")
        }
        .map_err(fail)?;
        self.write_members(members)
            .map_err(|reason| fail(io::Error::other(reason)))?;
        self.write("info.yaml", info.render().as_bytes())
            .map_err(fail)
    }

    /// The engine's first start has returned.
    pub fn formed(&self) -> Result<(), HostError> {
        self.remove("forming")
            .map_err(|reason| HostError::data_dir(&self.path, &reason))
    }

    /// Keeps the files of an identity whose data is gone, under names that mean nothing.
    pub fn set_aside(&self) -> Result<(), HostError> {
        let now = unix_ms();
        for name in ["cluster.yaml", "info.yaml"] {
            let (old, new) = (self.path.join(name), format!("{name}.lost-{now}"));
            match fs::rename(&old, self.path.join(new)) {
                Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                    return Err(HostError::data_dir(&old, &reason));
                }
                _ => {}
            }
        }
        self.sync()
            .map_err(|reason| HostError::data_dir(&self.path, &reason))
    }

    /// Moves everything but the locks and sockets of the running process into a new directory
    /// beside this one; gives its path.
    pub fn move_aside(&self) -> Result<PathBuf, HostError> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".damaged-{}", unix_ms()));
        let aside = PathBuf::from(name);
        let moved = || {
            DirBuilder::new().mode(0o700).create(&aside)?;
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let name = entry.file_name();
                let stays = name == "node.lock" || name == "dqlite-lock";
                if !stays && (entry.file_type()?.is_file() || entry.file_type()?.is_dir()) {
                    fs::rename(entry.path(), aside.join(name))?;
                }
            }
            self.sync()
        };
        moved().map_err(|reason| HostError::data_dir(&aside, &reason))?;
        Ok(aside)
    }

    /// The cluster has confirmed the seat: `members` lists it.
    pub fn joined(&self, members: &[NodeInfo]) -> io::Result<()> {
        // Without the mark, only the list tells that a directory without data is a spare's.
        self.write_members(members).map_err(io::Error::other)?;
        self.remove("join")
    }

    /// Stores the members last seen; a list without voters is ignored.
    pub fn write_members(&self, members: &[NodeInfo]) -> Result<(), dqlite_client::Error> {
        self.members.set(members)
    }

    /// Marks the directory as one that must not start again by itself.
    pub fn left(&self, mark: &serde_json::Value) -> io::Result<()> {
        self.write("left", mark.to_string().as_bytes())
    }

    fn text(&self, name: &str) -> Result<Option<String>, HostError> {
        let path = self.path.join(name);
        match fs::metadata(&path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(HostError::data_dir(&path, &reason)),
            Ok(found) if found.len() > FILE_BYTES_MAX => {
                return Err(self.damaged(name, "larger than 1 MiB"));
            }
            Ok(_) => {}
        }
        fs::read_to_string(&path)
            .map(Some)
            .map_err(|reason| HostError::data_dir(&path, &reason))
    }

    fn damaged(&self, name: &str, reason: &str) -> HostError {
        HostError::Damaged {
            path: self.path.join(name),
            reason: reason.to_owned(),
        }
    }

    fn has_raft(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let segment = name.len() == 33
                && name.bytes().enumerate().all(|(at, byte)| match at {
                    16 => byte == b'-',
                    _ => byte.is_ascii_digit(),
                });
            if segment || name.starts_with("metadata") || name.starts_with("snapshot-") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self
            .path
            .join(format!(".{name}.{}.new", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&temporary).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| fs::rename(&temporary, self.path.join(name)));
        if renamed.is_err() {
            // The first error counts; a leftover is overwritten by the next attempt.
            let _ = fs::remove_file(&temporary);
        }
        renamed.and_then(|()| self.sync())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(reason),
            _ => self.sync(),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
