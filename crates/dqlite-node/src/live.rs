//! What may change while a node runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::Level;

use crate::config::{Complaint, NodeConfig, TraceSql};
use crate::validate::PROBES_MAX;

/// Wanted changes; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// At which level statements are logged.
    pub trace_sql: Option<TraceSql>,
    /// How long a statement may take until it is logged as a slow one; 0 = for ever.
    pub slow_statement_ms: Option<u32>,
    /// Nodes that are asked for the leader at a time.
    pub leader_probe_limit: Option<u32>,
}

impl Change {
    /// Reads values by name, as the control channel carries them. All or nothing: an error holds
    /// every complaint.
    pub fn read(values: &[(&str, Option<Value>)]) -> Result<Self, Vec<Complaint>> {
        let mut change = Self::default();
        let mut complaints = Vec::new();
        for (name, value) in values {
            let Some(value) = value else { continue };
            if let Err(reason) = change.take(name, value) {
                complaints.push(Complaint::new(name, value, reason));
            }
        }
        if complaints.is_empty() {
            Ok(change)
        } else {
            Err(complaints)
        }
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let number = |least: u32, most: u32| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| format!("must be {least} to {most}"))
        };
        match name {
            "trace_sql" => {
                let read = serde_json::from_value(value.clone());
                self.trace_sql = Some(read.map_err(|reason| reason.to_string())?);
            }
            "slow_statement_ms" => self.slow_statement_ms = Some(number(0, u32::MAX)?),
            "leader_probe_limit" => self.leader_probe_limit = Some(number(1, PROBES_MAX)?),
            _ => return Err("does not change while a node runs".to_owned()),
        }
        Ok(())
    }
}

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Live {
    trace_sql: AtomicU32,
    slow_statement_ms: AtomicU32,
    leader_probe_limit: AtomicU32,
}

impl Live {
    /// Those of the start.
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            trace_sql: AtomicU32::new(config.trace_sql as u32),
            slow_statement_ms: AtomicU32::new(config.slow_statement_ms),
            leader_probe_limit: AtomicU32::new(config.leader_probe_limit),
        }
    }

    pub(crate) fn change(&self, change: Change) {
        let set = |place: &AtomicU32, value: Option<u32>| {
            if let Some(value) = value {
                place.store(value, Ordering::Relaxed);
            }
        };
        set(&self.trace_sql, change.trace_sql.map(|level| level as u32));
        set(&self.slow_statement_ms, change.slow_statement_ms);
        set(&self.leader_probe_limit, change.leader_probe_limit);
    }

    /// Whether statements are timed at all.
    pub(crate) fn times_statements(&self) -> bool {
        self.trace_sql.load(Ordering::Relaxed) != TraceSql::Off as u32
            || self.slow_statement_ms.load(Ordering::Relaxed) != 0
    }

    /// The level at which every statement is logged.
    pub(crate) fn trace_level(&self) -> Option<Level> {
        let level = self.trace_sql.load(Ordering::Relaxed);
        TraceSql::LEVELS
            .into_iter()
            .find(|(known, _)| *known as u32 == level)
            .map(|(_, level)| level)
    }

    /// How long a statement may take until it is slow.
    pub(crate) fn slow(&self) -> Option<Duration> {
        let limit = self.slow_statement_ms.load(Ordering::Relaxed);
        (limit != 0).then(|| Duration::from_millis(limit.into()))
    }

    /// What is in force, for a status.
    pub(crate) fn described(&self) -> Value {
        let level = self.trace_level();
        let level = level.map_or_else(|| "off".to_owned(), |level| level.as_str().to_lowercase());
        json!({
            "trace_sql": level,
            "slow_statement_ms": self.slow_statement_ms.load(Ordering::Relaxed),
            "leader_probe_limit": self.leader_probe_limit.load(Ordering::Relaxed),
        })
    }

    /// Nodes that are asked for the leader at a time.
    pub(crate) fn probes_max(&self) -> usize {
        self.leader_probe_limit.load(Ordering::Relaxed).max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(name: &str, value: Value) -> String {
        let complaints = Change::read(&[(name, Some(value))]).unwrap_err();
        assert_eq!(complaints.len(), 1);
        complaints[0].to_string()
    }

    #[test]
    fn each_wrong_value_is_refused_by_name() {
        for (name, value) in [
            ("trace_sql", json!("loud")),
            ("trace_sql", json!(1)),
            ("slow_statement_ms", json!(-1)),
            ("slow_statement_ms", json!(4_294_967_296_u64)),
            ("leader_probe_limit", json!(0)),
            ("leader_probe_limit", json!(257)),
            ("leader_probe_limit", json!("10")),
            ("voters", json!(3)),
        ] {
            let text = complaint(name, value.clone());
            let begin = format!("option {name} = {value}: ");
            assert!(text.starts_with(&begin), "{text}");
        }
    }

    #[test]
    fn nothing_changes_unless_all_is_right() {
        let values = [
            ("trace_sql", Some(json!("info"))),
            ("slow_statement_ms", Some(json!("x"))),
            ("leader_probe_limit", None),
        ];
        assert_eq!(Change::read(&values).unwrap_err().len(), 1);
    }

    #[test]
    fn what_is_absent_stays() {
        let options = json!({"address": "h:1", "data_dir": "/n", "slow_statement_ms": 7});
        let config = NodeConfig::from_options(options.as_object().unwrap()).unwrap();
        let live = Live::new(&config);
        assert!(live.times_statements());
        assert_eq!(live.trace_level(), None);
        let change = Change::read(&[("trace_sql", Some(json!("debug")))]).unwrap();
        live.change(change);
        assert_eq!(live.trace_level(), Some(Level::DEBUG));
        assert_eq!(live.slow(), Some(Duration::from_millis(7)));
        assert_eq!(live.probes_max(), 10);
        let values = [
            ("trace_sql", Some(json!("off"))),
            ("slow_statement_ms", Some(json!(0))),
        ];
        live.change(Change::read(&values).unwrap());
        assert!(!live.times_statements());
    }
}
