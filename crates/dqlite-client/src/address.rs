//! Where a server is: `HOST:PORT`, or a Unix socket.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The port where an address names none.
pub const DEFAULT_PORT: u16 = 9001;

const HOST_BYTES_MAX: usize = 253;

/// An address that can be dialled.
///
/// It keeps the text first given, because that is what other programs compare, and compares equal
/// by its canonical form: host in lower case, IPv6 in brackets and in its shortest form, port
/// without leading zeros.
#[derive(Clone, Debug)]
pub struct Address {
    given: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Unix {
        path: PathBuf,
        leads_as: Option<Box<Address>>,
    },
}

impl Address {
    /// Reads `HOST:PORT`, or `HOST` with the port 9001. IPv6 addresses stand in brackets.
    pub fn parse(text: &str) -> Result<Self> {
        Self::tcp(text, Some(DEFAULT_PORT))
    }

    /// Reads the address under which a node is known to others: the port must be there, and a
    /// wildcard cannot be dialled.
    pub fn advertised(text: &str) -> Result<Self> {
        Self::tcp(text, None)
    }

    /// Reads what a server may listen on, an address or a wildcard, and gives its canonical form
    /// as the resolver takes it.
    ///
    /// ```
    /// use dqlite_client::Address;
    ///
    /// assert_eq!(Address::to_listen_on("*:9001").unwrap(), "0.0.0.0:9001");
    /// assert_eq!(Address::to_listen_on("DB1:9001").unwrap(), "db1:9001");
    /// assert!(Address::to_listen_on("*:0").is_err());
    /// ```
    pub fn to_listen_on(text: &str) -> Result<String> {
        let wrong = |why: String| Error::config(format!("address {text:?}: {why}"));
        let Some(wildcard) = wildcard(text) else {
            return Self::advertised(text).map(|address| address.canonical());
        };
        let (_, port) = split(text, None).map_err(wrong)?;
        Ok(format!("{wildcard}:{port}"))
    }

    /// Whether a text names every interface of a machine: `*`, `0.0.0.0` or `[::]`, with a port.
    pub fn is_wildcard(text: &str) -> bool {
        wildcard(text).is_some()
    }

    /// A Unix socket. The server behind it is taken for the leader only if it says that
    /// `advertised` leads; without that its answer is a redirect as any other.
    pub fn unix(path: impl Into<PathBuf>, advertised: Option<Self>) -> Self {
        let path = path.into();
        Self {
            given: path.display().to_string(),
            place: Place::Unix {
                path,
                leads_as: advertised.map(Box::new),
            },
        }
    }

    /// The text first given.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The form for comparisons.
    pub fn canonical(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
            Place::Unix { path, .. } => path.display().to_string(),
        }
    }

    /// The host, without brackets; `None` for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Tcp { host, .. } => Some(host),
            Place::Unix { .. } => None,
        }
    }

    /// The port; `None` for a Unix socket.
    pub const fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp { port, .. } => Some(*port),
            Place::Unix { .. } => None,
        }
    }

    /// The path of the socket, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp { .. } => None,
            Place::Unix { path, .. } => Some(path),
        }
    }

    /// Under which name the server behind it leads.
    pub fn leads_as(&self) -> &str {
        match &self.place {
            Place::Unix {
                leads_as: Some(advertised),
                ..
            } => advertised.as_str(),
            Place::Tcp { .. } | Place::Unix { .. } => self.as_str(),
        }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether a server dialled here that names `leader` as the leader means itself.
    pub(crate) fn is_named(&self, leader: &Self) -> bool {
        match &self.place {
            Place::Unix {
                leads_as: Some(advertised),
                ..
            } => **advertised == *leader,
            Place::Tcp { .. } | Place::Unix { .. } => self == leader,
        }
    }

    fn tcp(text: &str, default_port: Option<u16>) -> Result<Self> {
        let wrong = |why: String| Error::config(format!("address {text:?}: {why}"));
        let (host, port) = split(text, default_port).map_err(wrong)?;
        let host = check_host(host).map_err(wrong)?;
        let place = Place::Tcp { host, port };
        let given = text.to_owned();
        let address = Self { given, place };
        if has_port(text) {
            return Ok(address);
        }
        Ok(Self {
            given: address.canonical(),
            ..address
        })
    }
}

/// The host of a wildcard, as the resolver takes it.
fn wildcard(text: &str) -> Option<&'static str> {
    let (host, _) = text.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        None if host == "*" => Some("0.0.0.0"),
        None => {
            let ip = host.parse::<Ipv4Addr>().ok()?;
            ip.is_unspecified().then_some("0.0.0.0")
        }
        Some(inner) => {
            let ip = inner.parse::<Ipv6Addr>().ok()?;
            ip.is_unspecified().then_some("[::]")
        }
    }
}

fn has_port(text: &str) -> bool {
    !text.ends_with(']') && text.contains(':')
}

fn split(text: &str, default_port: Option<u16>) -> Result<(&str, u16), String> {
    if text.is_empty() {
        return Err("is empty; write HOST:PORT".to_owned());
    }
    if text.starts_with('@') {
        return Err("abstract sockets cannot be dialled from another process".to_owned());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if !has_port(text) {
        let port = default_port.ok_or_else(|| "names no port; write HOST:PORT".to_owned())?;
        return Ok((bare.map_or(text, |_| text), port));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.contains(':') && !host.starts_with('[') {
        return Err(if text.parse::<Ipv6Addr>().is_ok() {
            format!("IPv6 needs brackets: [{text}]:PORT or [{host}]:{port}")
        } else {
            "has more than one colon; write HOST:PORT".to_owned()
        });
    }
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the port {port:?} is not a number"));
    }
    match port.parse::<u64>() {
        Ok(0) => Err("port 0 cannot be dialled".to_owned()),
        Ok(number) => u16::try_from(number)
            .map(|number| (host, number))
            .map_err(|_| format!("port {number} is above 65535")),
        Err(_) => Err(format!("port {port} is above 65535")),
    }
}

fn check_host(host: &str) -> Result<String, String> {
    const WILDCARD: &str = "a wildcard cannot be dialled; name the host";
    if let Some(open) = host.strip_prefix('[') {
        let inner = open
            .strip_suffix(']')
            .ok_or_else(|| "the bracket is not closed".to_owned())?;
        let ip = inner
            .parse::<Ipv6Addr>()
            .map_err(|_| format!("{inner:?} is not IPv6"))?;
        if ip.is_unspecified() {
            return Err(WILDCARD.to_owned());
        }
        return Ok(ip.to_string());
    }
    if host.is_empty() {
        return Err("names no host".to_owned());
    }
    if host == "*" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(WILDCARD.to_owned());
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(format!("the host has more than {HOST_BYTES_MAX} bytes"));
    }
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if let Some(odd) = host.chars().find(odd) {
        return Err(format!("{odd:?} cannot be part of a host name"));
    }
    let numeric = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{host} is not an IPv4 address"));
    }
    Ok(host.to_ascii_lowercase())
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Unix { path: a, .. }, Place::Unix { path: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn addresses_compare_by_their_canonical_form() {
        let canonical = |text| Address::parse(text).unwrap().canonical();
        assert_eq!(canonical("DB1.Internal:09001"), "db1.internal:9001");
        assert_eq!(canonical("[0:0::1]:9001"), "[::1]:9001");
        assert_eq!(canonical("h"), "h:9001");
        assert_eq!(canonical("[::1]"), "[::1]:9001");
        assert_eq!(
            Address::parse("H:1").unwrap(),
            Address::parse("h:01").unwrap()
        );
        assert_eq!(Address::parse("H:1").unwrap().as_str(), "H:1");
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "is empty"),
            ("h:0", "port 0"),
            ("h:65536", "65536 is above 65535"),
            ("h:99999999999999999999999", "above 65535"),
            ("h:", "not a number"),
            ("h:+1", "not a number"),
            ("h:http", "not a number"),
            (":9001", "no host"),
            ("0.0.0.0:9001", "wildcard"),
            ("[::]:9001", "wildcard"),
            ("*:9001", "wildcard"),
            ("::1:9001", "brackets"),
            ("http://h:1", "more than one colon"),
            ("[::1:9001", "not closed"),
            ("[x]:9001", "not IPv6"),
            ("a b:1", "host name"),
            ("h\0:1", "host name"),
            ("1.2.3:1", "not an IPv4"),
            ("@name", "abstract"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(why), "{text:?}: {error}");
        }
        assert!(
            Address::advertised("h")
                .unwrap_err()
                .to_string()
                .contains("no port")
        );
    }

    #[test]
    fn a_unix_socket_leads_under_its_advertised_name() {
        let tcp = Address::parse("h:1").unwrap();
        let known = Address::unix("/run/node.sock", Some(tcp.clone()));
        assert!(known.is_named(&tcp));
        assert!(!Address::unix("/run/node.sock", None).is_named(&tcp));
    }
}
