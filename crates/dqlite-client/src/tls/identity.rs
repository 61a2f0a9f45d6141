//! A complete set: whom to trust, whom to be. Loaded, checked, never changed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
#[cfg(feature = "tokio")]
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, Error as Tls, InconsistentKeys, RootCertStore, SupportedProtocolVersion, version,
};

use super::certificate::Facts;
use super::witness::{Seen, Witness, describe};
use super::{Files, MinVersion, Source, TlsError};

type Versions<const N: usize> = [&'static SupportedProtocolVersion; N];
static MODERN: Versions<1> = [&version::TLS13];
static ALSO_OLD: Versions<2> = [&version::TLS13, &version::TLS12];

/// Certificates and key, loaded and checked.
pub struct Identity {
    ca: Arc<str>,
    signers: Vec<Facts>,
    server_verifier: Arc<WebPkiServerVerifier>,
    client_verifier: Arc<dyn ClientCertVerifier>,
    own: Option<Own>,
    server_name: Option<String>,
    versions: &'static [&'static SupportedProtocolVersion],
}

struct Own {
    file: String,
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl Identity {
    /// Reads the files. The certificates must parse, the key must fit, the own certificate must be
    /// within its dates.
    pub fn load(files: &Files) -> Result<Self, TlsError> {
        let ca = files.ca.to_string();
        let signers = certificates(&files.ca)?;
        let mut roots = RootCertStore::empty();
        for signer in &signers {
            roots.add(signer.clone()).map_err(|error| {
                TlsError::new(format!("{ca}: a certificate is no signer's: {error}"))
            })?;
        }
        let roots = Arc::new(roots);
        let wrong = |error: &dyn fmt::Display| TlsError::new(format!("{ca}: {error}"));
        let server_verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
                .build()
                .map_err(|error| wrong(&error))?;
        let client_verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| wrong(&error))?;
        Ok(Self {
            signers: signers.iter().map(|der| Facts::read(der)).collect(),
            ca: ca.into(),
            server_verifier,
            client_verifier,
            own: own(files)?,
            server_name: files.server_name.clone(),
            versions: match files.min_version {
                MinVersion::Tls12 => &ALSO_OLD,
                MinVersion::Tls13 => &MODERN,
            },
        })
    }

    /// What a node needs beyond that: the own certificate reaches the signers that it trusts, is
    /// good for both sides, and covers its own `host`.
    pub fn check_node(&self, host: &str) -> Result<(), TlsError> {
        let Some(own) = &self.own else {
            return Err(TlsError::new("a node needs a certificate and its key"));
        };
        let wrong = |text: String| TlsError::new(format!("{}: {text}", own.file));
        let (leaf, between) = own.chain();
        let now = UnixTime::now();
        let dialled = self.name(host)?;
        let as_client = self
            .client_verifier
            .verify_client_cert(leaf, between, now)
            .map(drop);
        let as_server = || {
            use rustls::client::danger::ServerCertVerifier as _;
            self.server_verifier
                .verify_server_cert(leaf, between, &dialled, &[], now)
                .map(drop)
        };
        as_client.and_then(|()| as_server()).map_err(|error| {
            let Tls::InvalidCertificate(reason) = &error else {
                return wrong(error.to_string());
            };
            let text = describe(leaf, reason, &self.ca);
            wrong(if own.covers(&dialled) {
                text
            } else {
                format!("{text}; the others dial {}", dialled.to_str())
            })
        })
    }

    /// The own certificate, if there is one.
    pub fn own(&self) -> Option<&Facts> {
        self.own.as_ref().map(|own| &own.facts)
    }

    /// The own certificate as a peer sees it.
    pub fn own_as_peer(&self) -> Option<super::Peer> {
        let own = self.own.as_ref()?;
        Some(super::Peer::new(own.key.cert.clone()))
    }

    /// The signers that are trusted.
    pub fn signers(&self) -> &[Facts] {
        &self.signers
    }

    /// The name expected of every server, if it is not the host that is dialled.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// What a server that is dialled as `host` must be called.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::new(format!("{name:?} cannot be the name in a certificate")))
    }

    /// For dialling, and where the verifier leaves its reason.
    pub(super) fn client(&self) -> Result<(Arc<ClientConfig>, Seen), TlsError> {
        let seen = Seen::default();
        let witness = Witness {
            verifier: Arc::clone(&self.server_verifier),
            ca: Arc::clone(&self.ca),
            seen: Arc::clone(&seen),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::of(&error, None))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(witness));
        let mut config = match &self.own {
            Some(own) => builder.with_client_cert_resolver(own.resolver()),
            None => builder.with_no_client_auth(),
        };
        // A resumed session would outlive the certificates that it was begun with.
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), seen))
    }

    /// For accepting, and where the verifier leaves its reason.
    #[cfg(feature = "tokio")]
    pub(super) fn server(&self) -> Result<(Arc<rustls::ServerConfig>, Seen), TlsError> {
        let Some(own) = &self.own else {
            return Err(TlsError::new("a server needs a certificate and its key"));
        };
        let seen = Seen::default();
        let witness: Witness<Arc<dyn ClientCertVerifier>> = Witness {
            verifier: Arc::clone(&self.client_verifier),
            ca: Arc::clone(&self.ca),
            seen: Arc::clone(&seen),
        };
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::of(&error, None))?
            .with_client_cert_verifier(Arc::new(witness))
            .with_cert_resolver(own.resolver());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((Arc::new(config), seen))
    }
}

impl Own {
    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.key)))
    }

    fn chain(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        // Loading refuses an empty chain.
        (&self.key.cert[0], &self.key.cert[1..])
    }

    fn covers(&self, name: &ServerName<'_>) -> bool {
        covers(self.chain().0, name)
    }
}

/// Whether a certificate is for `name`.
pub(super) fn covers(der: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(der)
        .and_then(|parsed| verify_server_name(&parsed, name))
        .is_ok()
}

/// Explicit, and everywhere the same: the process's default panics when two are linked.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = source.read()?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::new(format!(
            "{source}: holds no certificate in PEM"
        ))),
        Err(error) => Err(TlsError::new(format!("{source}: {error}"))),
    }
}

fn own(files: &Files) -> Result<Option<Own>, TlsError> {
    let (cert, key) = match (&files.cert, &files.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(TlsError::new("a certificate is given without its key")),
        (None, Some(_)) => return Err(TlsError::new("a key is given without its certificate")),
    };
    let chain = certificates(cert)?;
    let facts = Facts::read(&chain[0]);
    let certified = CertifiedKey::new(chain, signing_key(key)?);
    match certified.keys_match() {
        // What cannot be compared shows at the first handshake.
        Ok(()) | Err(Tls::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(_) => {
            return Err(TlsError::new(format!(
                "{key}: does not match the certificate in {cert}"
            )));
        }
    }
    if let Some(dates) = facts.dates_text(SystemTime::now()) {
        return Err(TlsError::new(format!("{cert}: certificate {dates}")));
    }
    Ok(Some(Own {
        file: cert.to_string(),
        key: Arc::new(certified),
        facts,
    }))
}

fn signing_key(source: &Source) -> Result<Arc<dyn rustls::sign::SigningKey>, TlsError> {
    let text = source.read()?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let locked = text.windows(9).any(|window| window == b"ENCRYPTED");
        TlsError::new(if locked {
            format!("{source}: the key is encrypted; give one without a passphrase")
        } else {
            format!("{source}: holds no private key in PEM")
        })
    })?;
    provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::new(format!("{source}: {error}")))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("ca", &self.ca)
            .field("own", &self.own())
            .finish_non_exhaustive()
    }
}
