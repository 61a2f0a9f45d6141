//! `info.yaml` and `cluster.yaml`, byte for byte as go-dqlite writes them.

use std::borrow::Cow;
use std::fmt::Write as _;

use dqlite_proto::{NodeInfo, Role};

const MEMBERS_MAX: usize = 10_000;

/// The identity of a node: `info.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its id.
    pub id: u64,
    /// Its advertised address, as first given.
    pub address: String,
}

/// The text of `info.yaml`. The role is written once as 0 and never maintained.
pub fn info(info: &Info) -> String {
    format!("ID: {}\nAddress: {}\nRole: 0\n", info.id, quoted(&info.address))
}

/// The text of `cluster.yaml`.
pub fn members(members: &[NodeInfo]) -> String {
    let mut text = String::new();
    for member in members {
        let (address, role) = (quoted(&member.address), member.role.to_wire());
        // Writing to a String cannot fail.
        let _ = write!(text, "- ID: {}\n  Address: {address}\n  Role: {role}\n", member.id);
    }
    if text.is_empty() { "[]\n".to_owned() } else { text }
}

/// Reads `info.yaml`, tolerant of key order, case and quoting.
pub fn read_info(text: &str) -> Result<Info, String> {
    let entry: Entry = serde_saphyr::from_str(text).map_err(|reason| reason.to_string())?;
    if entry.id == 0 {
        return Err("the id is 0".to_owned());
    }
    Ok(Info { id: entry.id, address: entry.address })
}

/// Reads `cluster.yaml`, tolerant of key order, case, quoting, role names and missing roles.
pub fn read_members(text: &str) -> Result<Vec<NodeInfo>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let entries: Vec<Entry> = serde_saphyr::from_str(text).map_err(|reason| reason.to_string())?;
    if entries.len() > MEMBERS_MAX {
        return Err(format!("more than {MEMBERS_MAX} members"));
    }
    let ids_known = entries.iter().any(|entry| entry.id != 0);
    let mut members: Vec<NodeInfo> = Vec::with_capacity(entries.len());
    for Entry { id, address, role } in entries {
        if ids_known && id == 0 {
            return Err(format!("member {address} has id 0"));
        }
        let twice = |other: &NodeInfo| other.address == address || id != 0 && other.id == id;
        if members.iter().any(twice) {
            return Err(format!("member {id} at {address} is listed twice"));
        }
        members.push(NodeInfo { id, address, role: role.into() });
    }
    Ok(members)
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(alias = "ID", alias = "Id", default)]
    id: u64,
    #[serde(alias = "Address", alias = "ADDRESS")]
    address: String,
    #[serde(alias = "Role", alias = "ROLE", default)]
    role: Written,
}

/// A role as a number or as a name.
#[derive(Clone, Copy, Default, serde::Deserialize)]
enum Written {
    #[default]
    #[serde(rename = "0", alias = "voter", alias = "Voter")]
    Voter,
    #[serde(rename = "1", alias = "stand-by", alias = "standby", alias = "StandBy")]
    StandBy,
    #[serde(rename = "2", alias = "spare", alias = "Spare")]
    Spare,
}

impl From<Written> for Role {
    fn from(written: Written) -> Self {
        match written {
            Written::Voter => Self::Voter,
            Written::StandBy => Self::StandBy,
            Written::Spare => Self::Spare,
        }
    }
}

fn quoted(address: &str) -> Cow<'_, str> {
    if address.starts_with(['[', '@']) {
        Cow::Owned(format!("'{address}'"))
    } else {
        Cow::Borrowed(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = "- ID: 3297041220608546238\n  Address: 127.0.0.1:9001\n  Role: 0\n\
        - ID: 12840274112312984451\n  Address: '[::1]:9002'\n  Role: 2\n";

    fn two() -> Vec<NodeInfo> {
        let first = NodeInfo {
            id: 3_297_041_220_608_546_238,
            address: "127.0.0.1:9001".to_owned(),
            role: Role::Voter,
        };
        let second = NodeInfo {
            id: 12_840_274_112_312_984_451,
            address: "[::1]:9002".to_owned(),
            role: Role::Spare,
        };
        vec![first, second]
    }

    #[test]
    fn members_are_written_and_read_as_go_dqlite_does() {
        assert_eq!(members(&two()), GOLDEN);
        assert_eq!(read_members(GOLDEN), Ok(two()));
        assert_eq!(read_members(&members(&[])), Ok(Vec::new()));
    }

    #[test]
    fn identity_is_written_and_read_as_go_dqlite_does() {
        let identity = Info { id: u64::MAX, address: "db1.internal:9001".to_owned() };
        let text = info(&identity);
        assert_eq!(text, "ID: 18446744073709551615\nAddress: db1.internal:9001\nRole: 0\n");
        assert_eq!(read_info(&text), Ok(identity));
    }

    #[test]
    fn reading_takes_other_spellings() {
        let text = "# by hand\n- address: \"127.0.0.1:9001\"\n  id: 7\n  role: stand-by\n\
            - ADDRESS: 'h:1'\n  Id: 8\n";
        let read = read_members(text).unwrap();
        assert_eq!((read[0].id, read[0].role), (7, Role::StandBy));
        assert_eq!((read[1].id, read[1].role), (8, Role::Voter));
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(read_members("- {ID: 1, Address: 'a:1'}\n- {ID: 1, Address: 'b:1'}").is_err());
        assert!(read_members("- {ID: 1, Address: 'a:1'}\n- {ID: 0, Address: 'b:1'}").is_err());
        assert!(read_members("- {ID: 1, Address: 'a:1', Role: 9}").is_err());
        assert!(read_info("ID: 0\nAddress: a:1\n").is_err());
    }
}
