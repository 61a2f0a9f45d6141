//! Signers and certificates for tests, good ones and bad ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

const DAY: Duration = Duration::from_hours(24);

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

/// Where [`Issued::write`] has put them.
#[derive(Clone, Debug)]
pub struct Written {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, called `name`.
    ///
    /// # Panics
    ///
    /// If the machine gives no random numbers.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes its own certificate to `path`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, &self.pem)
    }

    /// A certificate for `names`, DNS names or IP addresses, good for a year.
    pub fn issue(&self, names: &[&str]) -> Issued {
        let now = SystemTime::now();
        self.issue_between(names, now - DAY, now + 365 * DAY)
    }

    /// The same, over for `ago`.
    pub fn issue_expired(&self, names: &[&str], ago: Duration) -> Issued {
        let now = SystemTime::now();
        self.issue_between(names, now - ago - 30 * DAY, now - ago)
    }

    /// The same with other dates.
    ///
    /// # Panics
    ///
    /// If a name is none.
    pub fn issue_between(
        &self,
        names: &[&str],
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let subject = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// Writes `STEM.pem` and `STEM.key` into a directory.
    pub fn write(&self, directory: &Path, stem: &str) -> io::Result<Written> {
        let written = Written {
            cert: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        };
        fs::write(&written.cert, &self.cert)?;
        fs::write(&written.key, &self.key)?;
        Ok(written)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}
