//! Who is at the other end, as its certificate says.

use std::fmt;

use rustls::pki_types::{CertificateDer, ServerName};

use super::certificate::Facts;
use super::identity::covers;

/// The certificate that a peer has shown and that was found good.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    chain: Vec<CertificateDer<'static>>,
}

impl Peer {
    pub(super) const fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain }
    }

    /// Whether its certificate is for this host, a DNS name or an IP address without brackets.
    pub fn covers(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        self.chain.first().is_some_and(|leaf| covers(leaf, &name))
    }

    /// What its certificate says of itself.
    pub fn facts(&self) -> Facts {
        self.chain
            .first()
            .map_or_else(Facts::default, |leaf| Facts::read(leaf))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.facts().subject).finish()
    }
}
