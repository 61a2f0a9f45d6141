//! Whether the databases outgrow what another node can be sent.
//!
//! *Engine* (1.18.7): whoever lacks a snapshot, or the log since its last entry, gets it in one
//! message, and drops a message of more than 500 MiB. Then it never catches up, and an attempt to
//! make it a voter ends after 50 s without a word of why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::leader::Local;
use crate::status;

/// Between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_mins(1);
const MESSAGE_MIB_MAX: u64 = 500;
const WARN_MIB: u64 = 400;
/// Told again only after they were smaller than this.
const CALM_MIB: u64 = 350;

/// What was said of the size, shared by all looks.
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicBool);

impl Told {
    /// What there is to say at this size that was not said.
    fn judge(&self, bytes: u64) -> Option<String> {
        let mebibytes = bytes >> 20;
        if mebibytes < CALM_MIB {
            self.0.store(false, Ordering::Relaxed);
        }
        let is_new = mebibytes >= WARN_MIB && !self.0.swap(true, Ordering::Relaxed);
        is_new.then(|| {
            format!(
                "the databases hold {mebibytes} MiB: from {MESSAGE_MIB_MAX} MiB on no node can \
                 join, and no member that was away for long can catch up"
            )
        })
    }
}

/// Warns if these databases have become large; only the leader can tell.
pub(crate) async fn look(local: Arc<Local>, names: Vec<String>, told: Arc<Told>) {
    let bytes = status::total_bytes(&local, &names).await;
    if let Some(text) = told.judge(bytes) {
        local.board.warn("large_databases", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_once_until_it_was_small_again() {
        let told = Told::default();
        let warns = |mebibytes: u64| told.judge(mebibytes << 20).is_some();
        let steps = [(399, false), (400, true), (600, false), (360, false)];
        for (mebibytes, wanted) in steps {
            assert_eq!(warns(mebibytes), wanted, "{mebibytes}");
        }
        assert_eq!([450, 349, 450].map(warns), [false, false, true]);
        let text = Told::default().judge(431 << 20).unwrap();
        assert!(text.starts_with("the databases hold 431 MiB: from 500 MiB on"));
    }
}
