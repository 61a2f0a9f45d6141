//! Addresses as options give them: `HOST:PORT`.
//!
//! The text first given is what goes into the log and to clients; comparisons use the canonical
//! form.

use std::net::{IpAddr, Ipv6Addr};

const HOST_BYTES_MAX: usize = 253;

/// Checks an address that others dial, and gives its canonical form.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    let (host, port) = parse(text)?;
    if is_wildcard(&host) {
        return Err("a wildcard cannot be dialled: use the address that others dial; \
                    bind_address may be a wildcard"
            .to_owned());
    }
    Ok(join(&host, port))
}

/// Checks an address to listen on, and gives its canonical form.
pub(crate) fn bindable(text: &str) -> Result<String, String> {
    let (host, port) = parse(text)?;
    let host = if host == "*" { "0.0.0.0".to_owned() } else { host };
    Ok(join(&host, port))
}

/// The form for comparisons; a text that is no address stays what it is.
pub(crate) fn canonical(text: &str) -> String {
    parse(text).map_or_else(|_| text.to_owned(), |(host, port)| join(&host, port))
}

fn is_wildcard(host: &str) -> bool {
    host == "*" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse(text: &str) -> Result<(String, u16), String> {
    const SHAPE: &str = "must be HOST:PORT";
    if text.starts_with('@') {
        return Err(format!("{SHAPE}, not an abstract socket"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{SHAPE}: no port"))?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u32 = if digits { port.parse().unwrap_or(u32::MAX) } else { 0 };
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("{SHAPE} with a port of 1 to 65535"))?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| format!("{SHAPE}: no ]"))?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| format!("{SHAPE}: {inner} is not IPv6"))?;
        return Ok((ip.to_string(), port));
    }
    if host.contains(':') {
        return Err(format!("{SHAPE}, IPv6 in brackets: [{host}]:{port}"));
    }
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host != "*" && (host.is_empty() || !host.bytes().all(sane)) {
        return Err(format!("{SHAPE}: {host:?} is no host name"));
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(format!("the host has more than {HOST_BYTES_MAX} bytes"));
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!("{host} is not an IPv4 address"));
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_canonical_form() {
        assert_eq!(advertised("DB1.internal:9001").unwrap(), "db1.internal:9001");
        assert_eq!(advertised("[0:0::1]:09001").unwrap(), "[::1]:9001");
        assert_eq!(bindable("*:9001").unwrap(), "0.0.0.0:9001");
        assert_eq!(canonical("no address"), "no address");
    }

    #[test]
    fn what_nobody_can_dial_is_refused() {
        for text in [
            "", "h", "h:", ":9001", "h:0", "h:65536", "h:99999", "h:+1", "@name", "@:1", "::1:9001",
            "[::1:9001", "[x]:1", "a b:1", "1.2.3:1", "0.0.0.0:1", "[::]:1", "*:1", "h\0:1",
        ] {
            assert!(advertised(text).is_err(), "{text:?}");
        }
    }
}
