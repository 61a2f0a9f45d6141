//! Why a node could not start, or had to end.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use crate::config::Complaint;
use crate::data_dir::Refusal;
use crate::engine::{EngineError, LocateError};
use crate::watchdog::Verdict;

/// Nothing of the engine's can be written in less.
const FREE_BYTES_MIN: u64 = 64 << 10;

/// Why a node could not start, or had to end: a stage, a sentence, an exit status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Options that will not do.
    #[error("{}", sentence(.0))]
    Config(Vec<Complaint>),
    /// No engine that will do.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The engine's library does not load, or its hooks are not in force.
    #[error("{0}")]
    Load(String),
    /// The directory is in use.
    #[error("data directory {} is in use by {by}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        by: String,
    },
    /// The directory cannot be made, read or written.
    #[error("data directory {}: {reason}", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        reason: String,
        /// The disk is full.
        full: bool,
    },
    /// A file of ours cannot be understood.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory is not one that this node may start.
    #[error("data directory {}: {refusal}", path.display())]
    Refused {
        /// The directory.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// Certificates or keys that will not do.
    #[error("{0}")]
    Tls(String),
    /// An address to listen on.
    #[error("listen on {place}: {reason}")]
    Bind {
        /// The address or path.
        place: String,
        /// The system's words.
        reason: String,
        /// Somebody else listens there.
        taken: bool,
    },
    /// The engine refused to be created.
    #[error("create the engine: {0}")]
    Create(String),
    /// The engine refused to start.
    #[error("start the engine: {0}")]
    Start(String),
    /// Identity and cluster contradict each other.
    #[error("{0}")]
    Identity(String),
    /// The cluster does not know this node any more.
    #[error("node {id} at {address} was removed from the cluster")]
    Removed {
        /// Its id.
        id: u64,
        /// Its address.
        address: String,
    },
    /// The engine is wedged: the process has to end.
    #[error("watchdog: {}: {}", .0.name, .0.evidence)]
    Wedged(Verdict),
    /// A bug of ours.
    #[error("internal error: {0}")]
    Bug(String),
}

/// The steps of a start, as the control channel names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The options.
    Config,
    /// The search for the engine.
    Locate,
    /// Opening the engine's library and proving its hooks.
    Load,
    /// The lock of the data directory.
    Lock,
    /// Reading or writing the data directory.
    DataDir,
    /// Binding the listeners.
    Bind,
    /// Loading certificates.
    Tls,
    /// Creating the engine.
    Create,
    /// Starting the engine.
    Start,
    /// The node's identity.
    Identity,
    /// The node is no longer a member.
    Removed,
}

impl HostError {
    /// The step that failed.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Config(_) => Stage::Config,
            Self::Locate(_) => Stage::Locate,
            Self::Load(_) => Stage::Load,
            Self::Locked { .. } => Stage::Lock,
            Self::DataDir { .. } | Self::Damaged { .. } => Stage::DataDir,
            Self::Bind { .. } => Stage::Bind,
            Self::Tls(_) => Stage::Tls,
            Self::Create(_) => Stage::Create,
            Self::Start(_) | Self::Wedged(_) | Self::Bug(_) => Stage::Start,
            Self::Refused {
                refusal: Refusal::Left { .. },
                ..
            }
            | Self::Removed { .. } => Stage::Removed,
            Self::Refused { .. } | Self::Identity(_) => Stage::Identity,
        }
    }

    /// A stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "bad_option",
            Self::Locate(_) => "engine_not_found",
            Self::Load(_) => "engine_unusable",
            Self::Locked { .. } => "in_use",
            Self::DataDir { full: true, .. } => "disk_full",
            Self::DataDir { .. } => "not_usable",
            Self::Damaged { .. } => "damaged",
            Self::Tls(_) => "bad_certificates",
            Self::Bind { taken: true, .. } => "address_taken",
            Self::Bind { .. } => "cannot_listen",
            Self::Create(_) | Self::Start(_) => "engine_refused",
            Self::Removed { .. } => "removed",
            Self::Identity(_) => "identity",
            Self::Wedged(_) => "watchdog",
            Self::Bug(_) => "bug",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::OtherId { .. } => "other_id",
                Refusal::OtherAddress { .. } => "other_address",
                Refusal::NoIdentity => "no_identity",
                Refusal::NoData { .. } => "no_data",
                Refusal::BootstrapJoins => "bootstrap_joins",
                Refusal::Left { .. } => "left",
            },
        }
    }

    /// Every place that was tried, with the reason it would not do.
    pub fn tried(&self) -> &[(String, String)] {
        match self {
            Self::Locate(error) => &error.tried,
            _ => &[],
        }
    }

    /// What the operating system said about a path in the data directory.
    pub(crate) fn data_dir(path: &Path, reason: &io::Error) -> Self {
        let full = reason.kind() == io::ErrorKind::StorageFull;
        let hint = match reason.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                ": data_dir must be a directory, or a place to make one"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ": let this user write there, or choose another data_dir"
            }
            io::ErrorKind::NotFound => ": choose a data_dir that can be made",
            _ => "",
        };
        Self::DataDir {
            path: path.to_owned(),
            reason: format!("{reason}{hint}"),
            full,
        }
    }

    /// What the engine said at its start, about a directory that may just be full.
    pub(crate) fn start(path: &Path, reason: &EngineError) -> Self {
        let mut reason = reason.to_string();
        let mut full = reason.contains(Errno::ENOSPC.desc());
        if !full && is_full(path) {
            full = true;
            reason = format!("{reason}: {}", Errno::ENOSPC.desc());
        }
        if full {
            let path = path.to_owned();
            return Self::DataDir { path, reason, full };
        }
        Self::Start(reason)
    }

    /// What the operating system said about an address to listen on.
    pub(crate) fn bind(place: &str, reason: &io::Error) -> Self {
        let taken = reason.kind() == io::ErrorKind::AddrInUse;
        let hint = match reason.kind() {
            _ if place.contains('/') => "",
            io::ErrorKind::AddrInUse => ": another program listens there; choose another port",
            io::ErrorKind::PermissionDenied => ": choose a port that this user may use",
            _ => ": set bind_address to an address of this machine",
        };
        Self::Bind {
            place: place.to_owned(),
            reason: format!("{reason}{hint}"),
            taken,
        }
    }
}

/// *Engine*: of some failures it does not say that the disk is full.
fn is_full(path: &Path) -> bool {
    let free = statvfs(path).map(|disk| disk.blocks_available() * disk.fragment_size());
    free.is_ok_and(|bytes| bytes < FREE_BYTES_MIN)
}

fn sentence(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
