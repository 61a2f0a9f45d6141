//! Why TLS did not come about, in words that name the check.

use std::fmt;
use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error as Tls, PeerIncompatible};

/// Why a file will not do, or why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    text: String,
    /// It may go by itself: the peer went away.
    passing: bool,
}

impl TlsError {
    /// An error with these words.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            passing: false,
        }
    }

    /// The peer has closed the connection and not said why.
    pub(super) fn closed() -> Self {
        let text = "peer closed the connection during the TLS handshake; it may speak none";
        Self {
            text: text.to_owned(),
            passing: true,
        }
    }

    /// The connection broke.
    #[cfg(feature = "tokio")]
    pub(super) fn network(error: &io::Error) -> Self {
        Self {
            text: crate::error::reason(error),
            passing: true,
        }
    }

    /// Whether nothing is known to be wrong with certificates or versions.
    pub(crate) const fn is_passing(&self) -> bool {
        self.passing
    }

    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(format!(
            "{}: {}",
            path.display(),
            crate::error::reason(error)
        ))
    }

    /// What the library says, in our words. `seen` is what the verifier found wrong with the
    /// peer's certificate.
    pub(super) fn of(error: &Tls, seen: Option<&String>) -> Self {
        let text = match error {
            Tls::InvalidCertificate(reason) => seen.cloned().unwrap_or_else(|| certificate(reason)),
            Tls::AlertReceived(alert) => by_peer(*alert),
            Tls::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
            Tls::PeerIncompatible(reason) => incompatible(reason),
            other => other.to_string(),
        };
        Self::new(text)
    }

    /// As an error of the connection that it ends.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    /// The same, found inside an error of a connection.
    pub(crate) fn within(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        if let Some(own) = inner.downcast_ref::<Self>() {
            return Some(own.clone());
        }
        let error = inner.downcast_ref::<Tls>()?;
        Some(Self::of(error, None))
    }
}

/// What is wrong with a certificate, as far as the library tells.
pub(super) fn certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "certificate is signed by somebody unknown".to_owned(),
        CertificateError::BadSignature => "certificate carries a wrong signature".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not made for this purpose; it needs serverAuth and clientAuth"
                .to_owned()
        }
        other => format!("certificate is refused: {other}"),
    }
}

/// What the peer thinks of us.
fn by_peer(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CertificateRequired => "peer wants a client certificate",
        AlertDescription::CertificateExpired => "peer says that our certificate has expired",
        AlertDescription::UnknownCA => "peer does not trust the CA that signed our certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => "peer refuses our certificate",
        AlertDescription::NoApplicationProtocol => "peer speaks no TLS here; use dqlite://",
        AlertDescription::ProtocolVersion => "peer wants another version of TLS",
        other => return format!("peer ends the handshake: {other:?}"),
    };
    text.to_owned()
}

fn incompatible(reason: &PeerIncompatible) -> String {
    match reason {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "TLS 1.2 offered, 1.3 required".to_owned()
        }
        other => format!("no common ground with the peer: {other:?}"),
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for crate::error::Error {
    /// Files that will not do are a wrong configuration.
    fn from(error: TlsError) -> Self {
        Self::config(error.text)
    }
}
