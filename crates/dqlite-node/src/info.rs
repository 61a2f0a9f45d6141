//! `info.yaml`: who a directory belongs to, byte for byte as go-dqlite writes it.

/// The identity of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its id.
    pub id: u64,
    /// Its advertised address, as first given.
    pub address: String,
}

impl Info {
    /// The text of the file. The role is written once as 0 and never maintained.
    pub fn render(&self) -> String {
        let quote = if self.address.starts_with(['[', '@']) {
            "'"
        } else {
            ""
        };
        format!(
            "ID: {}\nAddress: {quote}{}{quote}\nRole: 0\n",
            self.id, self.address
        )
    }

    /// Takes any order and case of keys, quotes and comments.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Entry { id, address } =
            serde_saphyr::from_str(text).map_err(|reason| reason.to_string())?;
        match (id, address.is_empty()) {
            (0, _) => Err("the id is 0".to_owned()),
            (_, true) => Err("no address".to_owned()),
            _ => Ok(Self { id, address }),
        }
    }
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(alias = "ID", alias = "Id")]
    id: u64,
    #[serde(alias = "Address", alias = "ADDRESS")]
    address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u64, address: &str) -> Info {
        Info {
            id,
            address: address.to_owned(),
        }
    }

    #[test]
    fn identity_is_written_and_read_as_go_dqlite_does() {
        for (info, text) in [
            (
                info(u64::MAX, "db1:9001"),
                "ID: 18446744073709551615\nAddress: db1:9001\nRole: 0\n",
            ),
            (
                info(7, "[::1]:9001"),
                "ID: 7\nAddress: '[::1]:9001'\nRole: 0\n",
            ),
        ] {
            assert_eq!(info.render(), text);
            assert_eq!(Info::parse(text), Ok(info));
        }
    }

    #[test]
    fn other_spellings_are_read() {
        let text = "# by hand\naddress: \"127.0.0.1:9001\"\nid: 7\n";
        assert_eq!(Info::parse(text), Ok(info(7, "127.0.0.1:9001")));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "ID: 0\nAddress: a:1\n",
            "ID: 1\n",
            "ID: x\nAddress: a:1\n",
            "- 1\n",
        ] {
            assert!(Info::parse(text).is_err(), "{text:?}");
        }
    }
}
