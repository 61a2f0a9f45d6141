//! TLS in a URL and in the environment.

use super::{Files, Source, Tls, TlsError};

/// What a URL says about TLS.
#[derive(Debug, Default)]
pub(crate) struct Options {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    name: Option<String>,
}

impl Options {
    /// Takes an option of a URL; `false` if it is about something else.
    pub(crate) fn take(&mut self, option: &str, value: &str) -> bool {
        let place = match option.strip_prefix("tls_").unwrap_or(option) {
            "ca" => &mut self.ca,
            "cert" => &mut self.cert,
            "key" => &mut self.key,
            "server_name" | "name" if option != "name" => &mut self.name,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }

    /// Takes from `DQLITE_TLS_CA`, `_CERT`, `_KEY` and `_NAME` what was left open.
    pub(crate) fn or_environment(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        // A certificate and its key come from one place.
        let own = self.cert.is_none() && self.key.is_none();
        let own = |name| own.then(|| variable(name)).flatten();
        Self {
            ca: self.ca.or_else(|| variable("DQLITE_TLS_CA")),
            cert: own("DQLITE_TLS_CERT").or(self.cert),
            key: own("DQLITE_TLS_KEY").or(self.key),
            name: self.name.or_else(|| variable("DQLITE_TLS_NAME")),
        }
    }

    /// Loads what is named; without signers the system's are taken.
    pub(crate) fn load(self) -> Result<Tls, TlsError> {
        let files = match self.ca {
            Some(ca) => Files::new(ca),
            None => Files::system()?,
        };
        Tls::load(Files {
            cert: self.cert.map(Source::from),
            key: self.key.map(Source::from),
            server_name: self.name,
            ..files
        })
    }
}
