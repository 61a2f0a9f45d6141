//! Addresses as options give them: `HOST:PORT`.
//!
//! The text first given is what goes into the log and to clients; comparisons use the canonical
//! form.

use dqlite_client::Address;

/// Checks an address that others dial, and gives its canonical form.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    Address::advertised(text)
        .map(|address| address.canonical())
        .map_err(|reason| {
            let reason = reason.to_string();
            let hint = if Address::is_wildcard(text) {
                "; bind_address may be a wildcard"
            } else {
                ""
            };
            format!("{}{hint}", without(text, &reason))
        })
}

/// Checks an address to listen on, and gives its canonical form.
pub(crate) fn bindable(text: &str) -> Result<String, String> {
    Address::to_listen_on(text).map_err(|reason| without(text, &reason.to_string()).to_owned())
}

/// The form for comparisons; a text that is no address stays what it is.
pub(crate) fn canonical(text: &str) -> String {
    Address::advertised(text).map_or_else(|_| text.to_owned(), |address| address.canonical())
}

/// The host of an address, without brackets.
pub(crate) fn host(text: &str) -> String {
    Address::parse(text)
        .ok()
        .and_then(|address| address.host().map(str::to_owned))
        .unwrap_or_else(|| text.to_owned())
}

/// What is wrong, without the text itself: the complaint around it shows that.
fn without<'a>(text: &str, reason: &'a str) -> &'a str {
    let prefix = format!("address {text:?}: ");
    reason.strip_prefix(&prefix).unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_canonical_form() {
        assert_eq!(
            advertised("DB1.internal:9001").unwrap(),
            "db1.internal:9001"
        );
        assert_eq!(advertised("[0:0::1]:09001").unwrap(), "[::1]:9001");
        assert_eq!(bindable("*:9001").unwrap(), "0.0.0.0:9001");
        assert_eq!(bindable("[::]:9001").unwrap(), "[::]:9001");
        assert_eq!(canonical("no address"), "no address");
    }

    #[test]
    fn what_nobody_can_dial_is_refused() {
        for text in [
            "",
            "h",
            "h:",
            ":1",
            "h:0",
            "h:65536",
            "@x",
            "0.0.0.0:1",
            "[::]:1",
            "*:1",
        ] {
            assert!(advertised(text).is_err(), "{text:?}");
        }
        assert!(
            advertised("0.0.0.0:1")
                .unwrap_err()
                .ends_with("bind_address may be a wildcard")
        );
        assert!(bindable("*:0").is_err());
    }
}
