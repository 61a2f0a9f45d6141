//! Verifiers that remember what was wrong, so that the error can name it.
//!
//! The library's errors decide which alert the peer gets, and so they pass unchanged; but they do
//! not know whose certificate it was. Each handshake has a witness of its own.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

#[cfg(feature = "tokio")]
use rustls::DistinguishedName;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
#[cfg(feature = "tokio")]
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::Facts;
use super::failure;

/// What was found wrong with the peer's certificate.
pub(super) type Seen = Arc<OnceLock<String>>;

/// Verifies a peer's certificate and keeps the reason of a refusal.
#[derive(Debug)]
pub(super) struct Witness<V> {
    pub(super) verifier: V,
    /// Where the trusted signers come from.
    pub(super) ca: Arc<str>,
    pub(super) seen: Seen,
}

impl<V> Witness<V> {
    fn testify(&self, der: &[u8], error: &Error, dialled: Option<&ServerName<'_>>) {
        let Error::InvalidCertificate(reason) = error else {
            return;
        };
        let mut text = describe(der, reason, &self.ca);
        if let (true, Some(dialled)) = (is_about_names(reason), dialled) {
            let _ = write!(text, "; dialled {}", dialled.to_str());
        }
        // The first word stands; there is one verification in a handshake.
        let _ = self.seen.set(text);
    }
}

/// What is wrong with a certificate, in words.
pub(super) fn describe(der: &[u8], reason: &CertificateError, ca: &str) -> String {
    let facts = Facts::read(der);
    match reason {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            // Its own dates are good: then a signer's are not.
            facts.dates_text(SystemTime::now()).map_or_else(
                || format!("a signer of certificate \"{}\" has expired", facts.subject),
                |dates| format!("certificate {dates}"),
            )
        }
        CertificateError::UnknownIssuer => {
            format!(
                "certificate is signed by \"{}\", which is not in {ca}",
                facts.issuer
            )
        }
        CertificateError::BadSignature => format!(
            "certificate says it is signed by \"{}\", but the one of that name in {ca} did not",
            facts.issuer
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is for {}", facts.names_text())
        }
        other => failure::certificate(other),
    }
}

const fn is_about_names(reason: &CertificateError) -> bool {
    matches!(
        reason,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

impl ServerCertVerifier for Witness<Arc<WebPkiServerVerifier>> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect_err(|error| self.testify(end_entity, error, Some(server_name)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(feature = "tokio")]
impl ClientCertVerifier for Witness<Arc<dyn ClientCertVerifier>> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier
            .verify_client_cert(end_entity, intermediates, now)
            .inspect_err(|error| self.testify(end_entity, error, None))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
