//! What an address may look like, and when two of them are one.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An address as others dial it, in the form in which addresses are compared: host in lower
/// case, IPv6 in brackets, port without leading zeros.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    let (host, port) = split(text)?;
    if is_wildcard(&host) {
        return Err("use the address that others dial; bind_address may be a wildcard".into());
    }
    Ok(format!("{host}:{port}"))
}

/// An address to listen on.
pub(crate) fn bindable(text: &str) -> Result<(), String> {
    split(text).map(drop)
}

fn split(text: &str) -> Result<(String, u16), String> {
    let shape = || "must be HOST:PORT".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| digits && *port != 0);
    let port: u16 = number.ok_or("the port must be 1 to 65535")?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(shape)?;
        let ip: Ipv6Addr = inner
            .parse()
            .map_err(|_| format!("{inner} is no IPv6 address"))?;
        return Ok((format!("[{ip}]"), port));
    }
    if host.contains(':') {
        return Err("an IPv6 address needs brackets: [::1]:9001".into());
    }
    let numeric = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let named = host.len() <= 253 && host.split('.').all(is_label);
    if host == "*"
        || (if numeric {
            host.parse::<Ipv4Addr>().is_ok()
        } else {
            named
        })
    {
        return Ok((host.to_ascii_lowercase(), port));
    }
    Err("the host must be an IPv4 address, an IPv6 address in brackets, or a DNS name".into())
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inside)
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "*" | "0.0.0.0" | "[::]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_one_form() {
        for (text, form) in [
            ("127.0.0.1:9001", "127.0.0.1:9001"),
            ("Node-1.Example.ORG:09001", "node-1.example.org:9001"),
            ("[0:0::0:1]:65535", "[::1]:65535"),
            ("localhost:1", "localhost:1"),
        ] {
            assert_eq!(advertised(text).as_deref(), Ok(form));
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        let malformed = [
            "",
            ":",
            "host",
            "host:",
            ":9001",
            "host:0",
            "host:65536",
            "host:99999",
            "host:+1",
            "host:-1",
            "host: 1",
            "host:1 ",
            "ho st:1",
            "::1:9001",
            "[::1]",
            "[::1:9001",
            "[x]:1",
            "1.2.3:1",
            "256.1.1.1:1",
            "@name",
            "@name:1",
            "a..b:1",
            "host:9001\0",
            "http://h:1",
        ];
        for text in malformed {
            assert!(advertised(text).is_err(), "{text:?} was taken");
            assert!(bindable(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_wildcard_is_for_listening_only() {
        for text in [
            "0.0.0.0:9001",
            "[::]:9001",
            "[0:0:0:0:0:0:0:0]:9001",
            "*:9001",
        ] {
            assert!(
                advertised(text).unwrap_err().contains("bind_address"),
                "{text}"
            );
            assert_eq!(bindable(text), Ok(()));
        }
    }
}
