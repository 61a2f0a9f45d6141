//! `dqlite tls show`: what certificates say of themselves.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use dqlite_client::tls::{Facts, Files, Identity};
use serde_json::{Value, json};

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
                writeln!(out, "{}", document(file, &facts, dates))?;
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

fn document(file: &Path, facts: &Facts, dates: Option<String>) -> Value {
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
    // Years begin in March here, so that the leap day is the last of one.
    let days = seconds.div_euclid(DAY_SECONDS) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_219_200, "2026-11-21"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(day(seconds), text);
        }
    }
}
