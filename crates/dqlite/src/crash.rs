//! What a supervisor tells of a process that crashed: how it ended, and what its engine was at.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use dqlite_client::proto::suspects::{self, Suspect, Suspects};
use nix::fcntl::OFlag;
use serde_json::{Value, json};

/// Suspects that one line of a log names.
const NAMED_MAX: usize = 8;

/// A node process ended that nobody had told to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// How it ended: a signal, or an exit status.
    pub ending: String,
    /// What was held against it, if something was: no sign of life, the verdict of its watchdog.
    pub evidence: Option<String>,
    /// The statements that its engine had begun and not answered, oldest first.
    pub suspects: Suspects,
    /// The last lines of its log.
    pub log: Vec<String>,
}

impl CrashReport {
    /// As a JSON object, of type `crash_report`.
    pub fn to_json(&self) -> Value {
        let suspects = self.suspects.listed.iter().map(|suspect| {
            json!({
                "kind": suspect.kind.to_string(),
                "text": suspect.text,
                "bytes": suspect.bytes,
                "hash": format!("{:016x}", suspect.hash),
            })
        });
        json!({
            "type": "crash_report",
            "ending": self.ending,
            "evidence": self.evidence,
            "suspects": suspects.collect::<Vec<_>>(),
            "unlisted": self.suspects.unlisted,
            "log": self.log,
        })
    }
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ending)?;
        if let Some(evidence) = &self.evidence {
            write!(f, " ({evidence})")?;
        }
        f.write_str(&in_flight(&self.suspects))
    }
}

/// The first suspects for the end of a sentence; empty if there is none.
pub(crate) fn in_flight(suspects: &Suspects) -> String {
    let Suspects { listed, unlisted } = suspects;
    let mut named: Vec<String> = listed
        .iter()
        .take(NAMED_MAX)
        .map(Suspect::to_string)
        .collect();
    let more = (listed.len().saturating_sub(NAMED_MAX) as u64).saturating_add(*unlisted);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    if named.is_empty() {
        return String::new();
    }
    format!("; in flight: {}", named.join(" | "))
}

/// The memory of a process in which it notes what its engine is at.
#[derive(Debug)]
pub(crate) struct Notes(File);

impl Notes {
    /// Opens the descriptor of a process that lives; whatever is behind it, nothing waits for it.
    pub(crate) fn open(pid: u32, descriptor: i32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags.bits()).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!(
                "descriptor {descriptor} is no memory"
            )));
        }
        Ok(Self(file))
    }

    /// What they say now.
    pub(crate) fn read(&self) -> Suspects {
        let mut bytes = vec![0; suspects::BYTES];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What cannot be read tells nothing.
                Err(_) => return Suspects::default(),
            }
        }
        suspects::read(bytes.get(..filled).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use dqlite_client::proto::RequestKind;

    use super::*;

    #[test]
    fn a_report_names_the_first_suspects_and_counts_the_rest() {
        let suspect = |number: usize| Suspect {
            kind: RequestKind::QUERY_SQL,
            text: format!("SELECT {number}"),
            bytes: 8,
            hash: 1,
        };
        let report = CrashReport {
            ending: "killed by SIGSEGV".into(),
            evidence: Some("mute".into()),
            suspects: Suspects {
                listed: (0..10).map(suspect).collect(),
                unlisted: 3,
            },
            log: vec!["last words".into()],
        };
        let text = report.to_string();
        let begin = "killed by SIGSEGV (mute); in flight: QUERY_SQL SELECT 0 | QUERY_SQL SELECT 1";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("QUERY_SQL SELECT 7 | 5 more"), "{text}");
        let json = report.to_json();
        assert_eq!(json["suspects"][9]["text"], "SELECT 9");
        assert_eq!(json["unlisted"], 3);
        assert_eq!(CrashReport::default().to_string(), "");
    }
}
