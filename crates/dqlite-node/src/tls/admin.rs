//! Whose certificates may change the cluster: PURE.

use dqlite_client::tls::Peer;

/// Patterns of names in certificates; without any, every good certificate will do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admins(Vec<String>);

impl Admins {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(
            patterns
                .iter()
                .map(|one| one.to_ascii_lowercase())
                .collect(),
        )
    }

    /// Whether a name in this certificate fits.
    pub(crate) fn contain(&self, peer: &Peer) -> bool {
        self.0.is_empty() || self.fit(&peer.facts().names)
    }

    fn fit(&self, names: &[String]) -> bool {
        names.iter().any(|name| {
            let name = name.to_ascii_lowercase();
            self.0.iter().any(|pattern| fits(&name, pattern))
        })
    }
}

/// What is wrong with a pattern: a name, an IP address, or `*.` and a domain.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    let rest = pattern.strip_prefix("*.").unwrap_or(pattern);
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':'));
    if rest.is_empty() || rest.contains(odd) {
        return Err(format!(
            "{pattern:?} is no pattern: write a name, an IP address, or *.DOMAIN"
        ));
    }
    Ok(())
}

/// `*.` stands for exactly one label.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label() {
        let admins = Admins::new(&["*.Ops.example".to_owned(), "10.0.0.1".to_owned()]);
        let fit = |name: &str| admins.fit(&[name.to_owned()]);
        assert!(fit("a.ops.example") && fit("A.OPS.EXAMPLE") && fit("10.0.0.1"));
        assert!(!fit("ops.example") && !fit("a.b.ops.example") && !fit(".ops.example"));
        assert!(!fit("10.0.0.11") && !fit("xops.example"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for good in ["db1", "*.example.org", "10.0.0.1", "fd00::1"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "*", "*.", "a.*.b", "a b", "**.x", "db*"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
