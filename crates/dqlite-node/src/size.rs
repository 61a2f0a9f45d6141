//! Whether the databases outgrow what another node can be sent.
//!
//! *Engine* (1.18.7): whoever lacks a snapshot, or the log since its last entry, gets it in one
//! message, and drops a message of more than 500 MiB. Then it never catches up, and an attempt to
//! make it a voter ends after 50 s without a word of why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dqlite_proto::Failure;

use crate::leader::Local;
use crate::status;

/// Between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_mins(1);
const MESSAGE_MIB_MAX: u64 = 500;
const WARN_MIB: u64 = 400;
/// *Engine*: said 50 s after a promotion without progress, whatever the reason.
const NOT_CAUGHT_UP: &str = "no connection to remote server available";
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

/// What the engine says of a member that did not become a voter, with what may be the reason.
pub(crate) fn explained(failure: Failure) -> Failure {
    if !failure.message.contains(NOT_CAUGHT_UP) {
        return failure;
    }
    let message = format!(
        "{}: the member went away, or lacks more than the {MESSAGE_MIB_MAX} MiB that a node takes \
         at once",
        failure.message
    );
    Failure { message, ..failure }
}

#[cfg(test)]
mod tests {
    use dqlite_proto::Code;

    use super::*;

    #[test]
    fn a_promotion_that_failed_is_explained() {
        let failed = |message: &str| {
            let message = message.to_owned();
            let code = Code::ERROR;
            explained(Failure { code, message }).message
        };
        let text = failed("no connection to remote server available");
        assert!(text.ends_with("lacks more than the 500 MiB that a node takes at once"));
        assert_eq!(failed("server ID is not valid"), "server ID is not valid");
    }

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
