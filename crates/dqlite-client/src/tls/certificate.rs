//! What a certificate says of itself, for people: who, by whom, for which names, until when.
//!
//! Nothing is decided here. Whether a certificate is good is the verifier's business; this reads
//! the few fields that an error message or a warning needs, and gives up on anything odd.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const NAME_DNS: u8 = 0x82;
const NAME_IP: u8 = 0x87;

const OID_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// X.520 attributes, by the last number of 2.5.4.
const ATTRIBUTES: [(u8, &str); 6] = [
    (3, "CN"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (10, "O"),
    (11, "OU"),
];
const SHOWN_NAMES_MAX: usize = 8;

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, as `CN=db1, O=Example`.
    pub subject: String,
    /// Who signed it, in the same form.
    pub issuer: String,
    /// The DNS names and IP addresses that it covers.
    pub names: Vec<String>,
    /// Not good before, in seconds since 1970.
    pub not_before: i64,
    /// Not good after, in seconds since 1970.
    pub not_after: i64,
}

impl Facts {
    /// Reads a certificate in DER; what cannot be understood stays empty.
    pub fn read(der: &[u8]) -> Self {
        let mut facts = Self::default();
        // Whatever was read before the first oddity is kept.
        let _ = facts.fill(der);
        facts
    }

    /// The names in one line: `a, b`.
    pub fn names_text(&self) -> String {
        if self.names.is_empty() {
            return "no name at all".to_owned();
        }
        let shown = &self.names[..self.names.len().min(SHOWN_NAMES_MAX)];
        let more = self.names.len() - shown.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", shown.join(", "))
    }

    /// What is wrong with its dates now, as `expired 2 days ago`.
    pub fn dates_text(&self, now: SystemTime) -> Option<String> {
        let now = unix(now);
        if now > self.not_after {
            let ago = now.abs_diff(self.not_after);
            return Some(format!("expired {} ago", Span(ago)));
        }
        (now < self.not_before).then(|| {
            let ahead = self.not_before.abs_diff(now);
            format!("is not valid before {} from now", Span(ahead))
        })
    }

    /// How long it is still good; nothing if it is not.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        u64::try_from(self.not_after.saturating_sub(unix(now)))
            .ok()
            .map(Duration::from_secs)
    }

    fn fill(&mut self, der: &[u8]) -> Option<()> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        let (_serial, _algorithm) = (fields.next()?, fields.next()?);
        self.issuer = name(fields.expect(SEQUENCE)?);
        let mut validity = Der(fields.expect(SEQUENCE)?);
        self.not_before = time(validity.next()?)?;
        self.not_after = time(validity.next()?)?;
        self.subject = name(fields.expect(SEQUENCE)?);
        while let Some((tag, content)) = fields.next() {
            if tag == EXTENSIONS {
                self.names = names(content).unwrap_or_default();
            }
        }
        Some(())
    }
}

/// A span of time in its largest whole unit.
pub(crate) struct Span(pub(crate) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
        let unit = UNITS.iter().find(|(seconds, _)| self.0 >= *seconds);
        let (seconds, unit) = unit.copied().unwrap_or((1, "second"));
        let number = self.0 / seconds;
        let plural = if number == 1 { "" } else { "s" };
        write!(f, "{number} {unit}{plural}")
    }
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

/// Reads one element after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let digits = usize::from(first & 0x7f);
            if !(1..=3).contains(&digits) {
                return None;
            }
            let (digits, after) = rest.split_at_checked(digits)?;
            length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }
}

fn name(content: &[u8]) -> String {
    let mut sets = Der(content);
    let mut parts = Vec::new();
    while let Some((_, set)) = sets.next() {
        if let Some(part) = attribute(set) {
            parts.push(part);
        }
    }
    parts.join(", ")
}

fn attribute(set: &[u8]) -> Option<String> {
    let mut pair = Der(Der(set).expect(SEQUENCE)?);
    let oid = pair.expect(OID)?;
    let (_, value) = pair.next()?;
    let &[0x55, 0x04, last] = oid else {
        return None;
    };
    let (_, label) = ATTRIBUTES.iter().find(|(number, _)| *number == last)?;
    let value: String = String::from_utf8_lossy(value)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    Some(format!("{label}={value}"))
}

fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut list = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some((_, extension)) = list.next() {
        let mut extension = Der(extension);
        if extension.expect(OID)? != OID_NAMES {
            continue;
        }
        while let Some((tag, content)) = extension.next() {
            if tag == OCTETS {
                return Some(general_names(Der(content).expect(SEQUENCE)?));
            }
        }
    }
    None
}

fn general_names(content: &[u8]) -> Vec<String> {
    let mut list = Der(content);
    let mut names = Vec::new();
    while let Some((tag, content)) = list.next() {
        match tag {
            NAME_DNS => names.push(String::from_utf8_lossy(content).into_owned()),
            NAME_IP => names.extend(ip(content).map(|ip| ip.to_string())),
            _ => {}
        }
    }
    names
}

fn ip(content: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(content)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(content).map(IpAddr::from))
        .ok()
}

/// `YYMMDDHHMMSSZ`, or the same with four digits for the year.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?;
    let digits = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    let (year, rest) = text.split_at_checked(digits)?;
    let mut year: i64 = year.parse().ok()?;
    if tag == UTC_TIME {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_since_1970(year, part(0)?, part(2)?);
    Some(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Counts in years that begin in March, so that the leap day is the last of a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let utc = time((UTC_TIME, b"261121083000Z"));
        let general = time((GENERALIZED_TIME, b"20261121083000Z"));
        assert_eq!(utc, Some(20_778 * 86_400 + 8 * 3_600 + 30 * 60));
        assert_eq!(utc, general);
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let text = |seconds| Span(seconds).to_string();
        assert_eq!(text(172_800 + 5), "2 days");
        assert_eq!(text(86_400), "1 day");
        assert_eq!(text(7_205), "2 hours");
        assert_eq!(text(59), "59 seconds");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Facts::read(&bytes);
        }
    }
}
