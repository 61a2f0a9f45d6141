//! Where certificates and keys come from.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::TlsError;

/// Where Linux distributions keep the certificates of public signers.
const SYSTEM_CA: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A file, or what it would hold, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Read when it is needed, and again when it has changed.
    Path(PathBuf),
    /// The text itself.
    Pem(Vec<u8>),
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// For old peers only.
    Tls12,
    /// The usual one.
    #[default]
    Tls13,
}

/// Certificates, keys and names: what a user says about TLS.
///
/// ```
/// use dqlite_client::tls::{Files, MinVersion};
///
/// let files = Files::new("/etc/dqlite/ca.pem")
///     .with_identity("/etc/dqlite/app.pem", "/etc/dqlite/app.key");
/// assert_eq!(files.min_version, MinVersion::Tls13);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Who may sign the certificates of peers; several while signers are exchanged.
    pub ca: Source,
    /// The own certificate, followed by those between it and its signer.
    pub cert: Option<Source>,
    /// The key to it.
    pub key: Option<Source>,
    /// The name that certificates of servers must carry; the host that is dialled if absent.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

/// What tells one state of the files from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(u64, u64, i64, i64)>);

impl Files {
    /// Trusts the signers in `ca`, and shows no certificate.
    pub fn new(ca: impl Into<Source>) -> Self {
        Self {
            ca: ca.into(),
            cert: None,
            key: None,
            server_name: None,
            min_version: MinVersion::default(),
        }
    }

    /// Trusts the signers that the system trusts: those in `SSL_CERT_FILE`, else those of the
    /// distribution.
    pub fn system() -> Result<Self, TlsError> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let known = SYSTEM_CA.iter().map(PathBuf::from);
        let found = named.or_else(|| known.into_iter().find(|path| path.exists()));
        found.map(Self::new).ok_or_else(|| {
            TlsError::new("no file with the system's signers was found; name one as ca")
        })
    }

    /// The same, showing a certificate.
    #[must_use]
    pub fn with_identity(mut self, cert: impl Into<Source>, key: impl Into<Source>) -> Self {
        self.cert = Some(cert.into());
        self.key = Some(key.into());
        self
    }

    /// The same, expecting this name in the certificates of all servers.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The same with another oldest version.
    #[must_use]
    pub const fn with_min_version(mut self, version: MinVersion) -> Self {
        self.min_version = version;
        self
    }

    pub(super) fn stamp(&self) -> Stamp {
        let sources = [Some(&self.ca), self.cert.as_ref(), self.key.as_ref()];
        let stamp = |source: &Source| match source {
            Source::Path(path) => fs::metadata(path).map_or((0, 0, 0, 0), |file| {
                (file.ino(), file.size(), file.mtime(), file.mtime_nsec())
            }),
            Source::Pem(_) => (0, 0, 0, 0),
        };
        Stamp(sources.into_iter().flatten().map(stamp).collect())
    }
}

impl Source {
    /// What it holds.
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Path(path) => fs::read(path).map_err(|error| TlsError::file(path, &error)),
            Self::Pem(text) => Ok(text.clone()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Pem(_) => f.write_str("the PEM given"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<String> for Source {
    fn from(path: String) -> Self {
        Self::Path(path.into())
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}
