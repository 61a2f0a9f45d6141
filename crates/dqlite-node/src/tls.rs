//! TLS of a node: its certificates, who may administrate, streams between engines.
//!
//! ```text
//!  clients, peers ──TLS──► gateway: every certificate that reaches tls_ca
//!                             SQL: all · administration: tls_admin · raft: covers the address
//!  engine ──socket pair──► pump ──TLS──► gateway of another node
//! ```
//!
//! A process hosts one node, and every connection that it opens to another node is by the node's
//! own certificate: so what is loaded is known to the whole process.

mod admin;
mod pump;
mod renew;

use std::sync::{PoisonError, RwLock};

use dqlite_client::tls::{Files, MinVersion, Peer, Tls};

use self::admin::Admins;
pub(crate) use self::admin::check as check_patterns;
pub(crate) use self::pump::TlsDialer;
pub(crate) use self::renew::{Renewal, reload};

use crate::address;
use crate::config::{NodeConfig, TlsVersion};
use crate::error::HostError;

static OWN: RwLock<Option<Own>> = RwLock::new(None);

#[derive(Clone)]
struct Own {
    tls: Tls,
    admins: Admins,
}

/// Loads the files that the configuration names, checks that they will do for this node, and makes
/// them those of the process.
pub(crate) fn load(config: &NodeConfig) -> Result<(), HostError> {
    let loaded = files(config)
        .map(|files| Tls::for_node(files, &address::host(&config.address)))
        .transpose()
        .map_err(|reason| HostError::Tls(reason.to_string()))?;
    let admins = Admins::new(&config.tls_admin);
    if let Some(tls) = &loaded {
        let own = tls.identity().own_as_peer();
        if own.is_some_and(|own| !admins.contain(&own)) {
            return Err(HostError::Tls(
                "tls_admin: no pattern fits the own certificate, so this node could not manage \
                 the others"
                    .to_owned(),
            ));
        }
    }
    *OWN.write().unwrap_or_else(PoisonError::into_inner) = loaded.map(|tls| Own { tls, admins });
    Ok(())
}

/// The certificates of this process, if its node speaks TLS.
pub(crate) fn own() -> Option<Tls> {
    read().map(|own| own.tls)
}

/// Whether somebody with this certificate may change members and roles and take dumps.
pub(crate) fn may_administrate(peer: Option<&Peer>) -> bool {
    match (peer, read()) {
        (Some(peer), Some(own)) => own.admins.contain(peer),
        // Without TLS, and on the Unix socket, nobody is asked who he is.
        _ => true,
    }
}

/// Whether somebody with this certificate may be the node at this address.
pub(crate) fn may_be(peer: Option<&Peer>, address: &str) -> Result<(), String> {
    let (Some(peer), Some(own)) = (peer, read()) else {
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

fn read() -> Option<Own> {
    OWN.read().unwrap_or_else(PoisonError::into_inner).clone()
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
