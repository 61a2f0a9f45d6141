//! What an address of a node may look like: the client's rules, and wildcards for listening.

use dqlite_client::Address;

/// An address that others dial.
pub(crate) fn advertised(text: &str) -> Result<Address, String> {
    if Address::is_wildcard(text) {
        return Err("use the address that others dial; bind_address may be a wildcard".into());
    }
    Address::advertised(text).map_err(|error| reason(text, &error))
}

/// An address to listen on.
pub(crate) fn bindable(text: &str) -> Result<(), String> {
    let checked = Address::to_listen_on(text);
    checked.map(drop).map_err(|error| reason(text, &error))
}

/// What is wrong, without the text itself: the complaint around it shows that.
fn reason(text: &str, error: &dqlite_client::Error) -> String {
    let whole = error.to_string();
    let prefix = format!("address {text:?}: ");
    let reason = whole.strip_prefix(&prefix).unwrap_or(&whole);
    if reason.contains("HOST:PORT") {
        return reason.to_owned();
    }
    format!("must be HOST:PORT: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "host:9001\0",
            "http://h:1",
            "*:0",
        ];
        for text in malformed {
            assert!(advertised(text).is_err(), "{text:?} was taken");
            assert!(bindable(text).is_err(), "{text:?} was taken");
            assert!(!advertised(text).unwrap_err().contains("address \""));
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
