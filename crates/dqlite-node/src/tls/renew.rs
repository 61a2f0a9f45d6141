//! New certificates without a restart, and a warning before the old ones end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dqlite_client::tls::{Facts, Tls};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::Security;
use crate::board::Board;

/// How long before its end a certificate is warned of.
const AHEAD: Duration = Duration::from_hours(14 * 24);
/// How often it is warned of.
const WARN_EVERY: Duration = Duration::from_hours(24);
const DAY_SECONDS: u64 = 86_400;

/// Looks at the files from time to time; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal(Option<JoinHandle<()>>);

impl Renewal {
    /// Begins, if the node speaks TLS.
    pub(crate) fn begin(interval: Duration, security: &Security, board: &Arc<Board>) -> Self {
        let (security, board) = (security.clone(), Arc::clone(board));
        let task = security.tls().is_some();
        Self(task.then(|| tokio::spawn(watch(security, interval, board))))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Reads the files again because somebody asks for it. The answer says which certificate is in
/// force, or which check failed.
pub(crate) fn reload(security: &Security, board: &Board) -> Result<Value, (&'static str, String)> {
    if security.tls().is_none() {
        return Err(("no_tls", "this node speaks no TLS".to_owned()));
    }
    renew(security, true, board).map_err(|reason| ("tls_reload_failed", reason))?;
    Ok(security.described())
}

async fn watch(security: Security, interval: Duration, board: Arc<Board>) {
    let mut ticks = tokio::time::interval(interval);
    let mut warned: Option<tokio::time::Instant> = None;
    loop {
        ticks.tick().await;
        // Its failure was told; the former set stays in force.
        if matches!(renew(&security, false, &board), Ok(true)) {
            warned = None;
        }
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY)
            && let Some(tls) = security.tls()
            && let Some(text) = ending(tls, SystemTime::now())
        {
            board.warn("tls_expiring", text);
            warned = Some(tokio::time::Instant::now());
        }
    }
}

fn renew(security: &Security, forced: bool, board: &Board) -> Result<bool, String> {
    match security.renew(forced) {
        Ok(changed) => {
            if changed {
                tracing::info!("TLS files are read again: {}", security.described());
            }
            Ok(changed)
        }
        Err(reason) => {
            let text = format!("the changed TLS files are not used: {reason}");
            board.warn("tls_reload_failed", text.clone());
            Err(text)
        }
    }
}

/// What ends soon.
fn ending(tls: &Tls, now: SystemTime) -> Option<String> {
    let identity = tls.identity();
    let own = identity.own().map(|own| ("the node's certificate", own));
    let signers = identity.signers().iter().map(|signer| ("a signer", signer));
    own.into_iter()
        .chain(signers)
        .find_map(|(what, facts)| soon(what, facts, now))
}

fn soon(what: &str, facts: &Facts, now: SystemTime) -> Option<String> {
    let subject = &facts.subject;
    match facts.left(now) {
        None => Some(format!("{what}, \"{subject}\", has expired")),
        Some(left) if left < AHEAD => {
            let days = left.as_secs() / DAY_SECONDS;
            Some(format!("{what}, \"{subject}\", expires in {days} days"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_ends_within_two_weeks_is_told() {
        let facts = Facts {
            subject: "CN=db1".to_owned(),
            not_after: 30 * 86_400,
            ..Facts::default()
        };
        let on = |day: u64| soon("it", &facts, UNIX_EPOCH + Duration::from_secs(day * 86_400));
        assert_eq!(on(16), None);
        assert_eq!(on(17).unwrap(), "it, \"CN=db1\", expires in 13 days");
        assert_eq!(on(31).unwrap(), "it, \"CN=db1\", has expired");
    }
}
