//! TLS of a node: its certificates, who may administrate, streams between engines.
//!
//! ```text
//!  clients, peers ──TLS──► gateway: every certificate that reaches tls_ca
//!                             SQL: all · administration: tls_admin · raft: covers the address
//!  engine ──socket pair──► pump ──TLS──► gateway of another node
//! ```
//!
//! [`Security`] is what a node has of it, handed to whoever dials or listens.

mod admin;
mod pump;
mod renew;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dqlite_client::tls::{Files, MinVersion, Peer, Tls, TlsError};
use serde_json::{Value, json};

use self::admin::Admins;
pub(crate) use self::admin::check as check_patterns;
pub(crate) use self::pump::TlsDialer;
pub(crate) use self::renew::{Renewal, reload};

use crate::address;
use crate::config::{NodeConfig, TlsVersion};
use crate::error::HostError;
use crate::lock::unix_ms;

/// The certificates of a node, and what it lets others do by theirs. Without TLS there are none,
/// and nobody is asked who he is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security(Option<Arc<Own>>);

#[derive(Debug)]
struct Own {
    tls: Tls,
    admins: Admins,
    /// When the certificates in force were read, in unix milliseconds.
    loaded_ms: AtomicU64,
}

impl Security {
    /// Loads the files that the configuration names, and checks that they will do for this node.
    pub(crate) fn load(config: &NodeConfig) -> Result<Self, HostError> {
        let loaded = files(config)
            .map(|files| Tls::for_node(files, &address::host(&config.address)))
            .transpose()
            .map_err(|reason| HostError::Tls(reason.to_string()))?;
        let Some(tls) = loaded else {
            return Ok(Self::default());
        };
        let admins = Admins::new(&config.tls_admin);
        let own = tls.identity().own_as_peer();
        if own.is_some_and(|own| !admins.contain(&own)) {
            return Err(HostError::Tls(
                "tls_admin: no pattern fits the own certificate, so this node could not manage \
                 the others"
                    .to_owned(),
            ));
        }
        Ok(Self(Some(Arc::new(Own {
            tls,
            admins,
            loaded_ms: AtomicU64::new(unix_ms()),
        }))))
    }

    /// The node's certificates, if it speaks TLS.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.0.as_ref().map(|own| &own.tls)
    }

    /// Whether somebody with this certificate may change members and roles and take dumps.
    pub(crate) fn may_administrate(&self, peer: Option<&Peer>) -> bool {
        match (peer, &self.0) {
            (Some(peer), Some(own)) => own.admins.contain(peer),
            // Without TLS, and on the Unix socket, nobody is asked who he is.
            _ => true,
        }
    }

    /// Whether somebody with this certificate may be the node at this address.
    pub(crate) fn may_be(&self, peer: Option<&Peer>, address: &str) -> Result<(), String> {
        let (Some(peer), Some(own)) = (peer, &self.0) else {
            return Ok(());
        };
        let identity = own.tls.identity();
        let shared = identity.server_name();
        if peer.covers(&address::host(address)) || shared.is_some_and(|name| peer.covers(name)) {
            return Ok(());
        }
        let names = peer.facts().names_text();
        Err(format!("its certificate is for {names}"))
    }

    /// What is in force, for a status; nothing without TLS.
    pub(crate) fn described(&self) -> Value {
        let Some(own) = &self.0 else {
            return Value::Null;
        };
        let identity = own.tls.identity();
        let facts = identity.own().cloned().unwrap_or_default();
        let ca = identity.signers().iter().map(|signer| signer.not_after);
        json!({
            "subject": facts.subject,
            "names": facts.names,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "ca_not_after": ca.min(),
            "loaded_ms": own.loaded_ms.load(Ordering::Relaxed),
        })
    }

    /// Reads the files again if they have changed, or in any case if `forced`; true if others are
    /// in force now.
    fn renew(&self, forced: bool) -> Result<bool, TlsError> {
        let Some(own) = &self.0 else {
            return Ok(false);
        };
        let changed = own.tls.reload(forced)?;
        if changed {
            own.loaded_ms.store(unix_ms(), Ordering::Relaxed);
        }
        Ok(changed)
    }
}

fn files(config: &NodeConfig) -> Option<Files> {
    let (cert, key) = (config.tls_cert.clone()?, config.tls_key.clone()?);
    let files = Files::new(config.tls_ca.clone()?).with_identity(cert, key);
    let files = files.with_min_version(match config.tls_min_version {
        TlsVersion::Tls12 => MinVersion::Tls12,
        TlsVersion::Tls13 => MinVersion::Tls13,
    });
    Some(match &config.tls_server_name {
        Some(name) => files.with_server_name(name),
        None => files,
    })
}
