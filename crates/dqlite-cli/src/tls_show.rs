//! `dqlite tls show`: what certificates say of themselves.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use dqlite_client::tls::{Facts, Files, Identity};
use serde_json::{Value, json};
use time::OffsetDateTime;

const DAY_SECONDS: i64 = 86_400;

/// Shows the certificates in these files; false if one of them is not good today.
pub(crate) fn show(files: &[PathBuf], as_json: bool) -> Result<bool> {
    let now = SystemTime::now();
    let mut all_good = true;
    let mut out = io::stdout().lock();
    for file in files {
        for facts in read(file)? {
            let dates = facts.dates_text(now);
            all_good &= dates.is_none();
            if as_json {
                writeln!(out, "{}", document(file, &facts, dates.as_deref()))?;
            } else {
                write!(out, "{}", text(file, &facts, now, dates))?;
            }
        }
    }
    Ok(all_good)
}

fn read(file: &Path) -> Result<Vec<Facts>> {
    let identity = Identity::load(&Files::new(file));
    let identity = identity.with_context(|| format!("read {}", file.display()))?;
    Ok(identity.signers().to_vec())
}

fn text(file: &Path, facts: &Facts, now: SystemTime, dates: Option<String>) -> String {
    let verdict = dates.unwrap_or_else(|| {
        let left = facts.left(now).unwrap_or_default().as_secs();
        format!("{} days left", left / DAY_SECONDS.unsigned_abs())
    });
    format!(
        "{}\n  subject  {}\n  issuer   {}\n  names    {}\n  good     {} to {}, {verdict}\n",
        file.display(),
        facts.subject,
        facts.issuer,
        facts.names_text(),
        day(facts.not_before),
        day(facts.not_after),
    )
}

fn document(file: &Path, facts: &Facts, dates: Option<&str>) -> Value {
    json!({
        "file": file,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": facts.names,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "wrong": dates,
    })
}

/// The day of a time in seconds since 1970, as `2026-11-21`.
fn day(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => time.date().to_string(),
        Err(_) => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (1_795_219_200, "2026-11-21"),
            (-1, "1969-12-31"),
            (i64::MAX, "second 9223372036854775807"),
        ] {
            assert_eq!(day(seconds), text);
        }
    }
}
