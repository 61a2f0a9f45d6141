//! Dates and times: from the wire's text and seconds to Python objects, and back to text.

use std::fmt::Write;

use pyo3::prelude::*;
use pyo3::types::{PyDate, PyDateTime, PyDelta, PyTime, PyTzInfo};

use crate::errors;

/// The text that Go, C and Python clients write for a `date`, `time` or `datetime`.
///
/// `None` if `value` is none of these. An offset with a fraction of a second is a `DataError`.
pub(crate) fn to_text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let text = if value.is_instance_of::<PyDateTime>() {
        value.call_method1("isoformat", (" ",))?
    } else if value.is_instance_of::<PyDate>() {
        return value.call_method0("isoformat").map(Some);
    } else if value.is_instance_of::<PyTime>() {
        value.call_method0("isoformat")?
    } else {
        return Ok(None);
    };
    let offset = value.call_method0("utcoffset")?;
    if !offset.is_none() && offset.getattr("microseconds")?.extract::<i32>()? != 0 {
        let text = format!(
            "cannot bind {}: its offset has a fraction of a second",
            value.repr()?
        );
        return Err(errors::data(value.py(), text));
    }
    Ok(Some(text))
}

/// Seconds since 1970 as an aware `datetime` in UTC; `None` outside the years 1 to 9999.
pub(crate) fn from_seconds(py: Python<'_>, seconds: i64) -> PyResult<Option<Bound<'_, PyAny>>> {
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    if !(FIRST..=LAST).contains(&seconds) {
        return Ok(None);
    }
    let date = Date::of_epoch_day(seconds.div_euclid(86_400));
    let time = Time::of_second(seconds.rem_euclid(86_400));
    let utc = PyTzInfo::utc(py)?.to_owned();
    date_time(py, &date, &time, Some(&utc)).map(Some)
}

/// The text of a DATE, DATETIME or TIMESTAMP column by its shape: `date`, `datetime` (aware if it
/// names an offset) or `time`; `None` if it has none of these shapes.
pub(crate) fn from_text<'py>(py: Python<'py>, text: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut scan = Scan(text.as_bytes());
    let date = scan.date();
    if date.is_some() && scan.0.is_empty() {
        return date
            .map(|d| Ok(PyDate::new(py, d.year, d.month, d.day)?.into_any()))
            .transpose();
    }
    if date.is_some() && !(scan.eat(b' ') || scan.eat(b'T')) {
        return Ok(None);
    }
    let Some(time) = scan.time() else {
        return Ok(None);
    };
    let Some(offset) = scan.offset() else {
        return Ok(None);
    };
    let zone = match offset {
        Offset::None => None,
        Offset::Utc => Some(PyTzInfo::utc(py)?.to_owned()),
        Offset::Seconds(seconds) => {
            let delta = PyDelta::new(py, 0, seconds, 0, true)?;
            Some(PyTzInfo::fixed_offset(py, delta)?)
        }
    };
    if let Some(date) = date {
        return date_time(py, &date, &time, zone.as_ref()).map(Some);
    }
    let Time {
        hour,
        minute,
        second,
        micros,
    } = time;
    let time = PyTime::new(py, hour, minute, second, micros, zone.as_ref())?;
    Ok(Some(time.into_any()))
}

/// What the text of a time column says, as a number.
pub(crate) enum Moment {
    /// Days since 1970.
    Day(i64),
    /// Microseconds since 1970 at a place unknown.
    Naive(i64),
    /// Microseconds since 1970 in UTC.
    Utc(i64),
}

/// The text of a DATE, DATETIME or TIMESTAMP column as a number; `None` for a time without a date
/// and for what is no time.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let mut scan = Scan(text.as_bytes());
    let day = scan.date()?.epoch_day();
    if scan.0.is_empty() {
        return Some(Moment::Day(day));
    }
    if !(scan.eat(b' ') || scan.eat(b'T')) {
        return None;
    }
    let time = scan.time()?;
    let minutes = i64::from(time.hour) * 60 + i64::from(time.minute);
    let seconds = (day * 1_440 + minutes) * 60 + i64::from(time.second);
    let at = |offset: i32| (seconds - i64::from(offset)) * 1_000_000 + i64::from(time.micros);
    Some(match scan.offset()? {
        Offset::None => Moment::Naive(at(0)),
        Offset::Utc => Moment::Utc(at(0)),
        Offset::Seconds(offset) => Moment::Utc(at(offset)),
    })
}

/// Appends the text of a day, counted from 1970; `None` outside the years 1 to 9999.
pub(crate) fn write_day(out: &mut String, day: i64) -> Option<()> {
    const FIRST: i64 = -719_162;
    const LAST: i64 = 2_932_896;
    if !(FIRST..=LAST).contains(&day) {
        return None;
    }
    let Date { year, month, day } = Date::of_epoch_day(day);
    write!(out, "{year:04}-{month:02}-{day:02}").ok()
}

fn date_time<'py>(
    py: Python<'py>,
    date: &Date,
    time: &Time,
    zone: Option<&Bound<'py, PyTzInfo>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Date { year, month, day } = *date;
    let Time {
        hour,
        minute,
        second,
        micros,
    } = *time;
    Ok(PyDateTime::new(py, year, month, day, hour, minute, second, micros, zone)?.into_any())
}

struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// Howard Hinnant's `civil_from_days`.
    fn of_epoch_day(day: i64) -> Self {
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096).div_euclid(365);
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: i32::try_from(year).unwrap_or(i32::MAX),
            month: small(month),
            day: small(of_year - (153 * march + 2) / 5 + 1),
        }
    }

    /// Howard Hinnant's `days_from_civil`.
    fn epoch_day(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let march = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * march + 2) / 5 + i64::from(self.day) - 1;
        let year_of_era = year.rem_euclid(400);
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * 146_097 + of_era - 719_468
    }

    fn exists(&self) -> bool {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return false,
        };
        self.year >= 1 && (1..=days).contains(&self.day)
    }
}

struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    micros: u32,
}

impl Time {
    fn of_second(second: i64) -> Self {
        Self {
            hour: small(second / 3_600),
            minute: small(second / 60 % 60),
            second: small(second % 60),
            micros: 0,
        }
    }
}

fn small(number: i64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

enum Offset {
    None,
    Utc,
    Seconds(i32),
}

/// Reads fixed-width digits off the front of a text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let digits = self
            .0
            .get(..count)
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        self.0 = &self.0[count..];
        Some(
            digits
                .iter()
                .fold(0, |number, digit| number * 10 + u32::from(digit - b'0')),
        )
    }

    fn pair(&mut self, limit: u8) -> Option<u8> {
        u8::try_from(self.digits(2)?)
            .ok()
            .filter(|number| *number < limit)
    }

    /// `YYYY-MM-DD`; nothing is consumed if it is none.
    fn date(&mut self) -> Option<Date> {
        let before = self.0;
        let date = self.date_parts().filter(Date::exists);
        if date.is_none() {
            self.0 = before;
        }
        date
    }

    fn date_parts(&mut self) -> Option<Date> {
        let year = i32::try_from(self.digits(4)?).ok()?;
        let month = self.eat(b'-').then(|| self.pair(13))??;
        let day = self.eat(b'-').then(|| self.pair(32))??;
        Some(Date { year, month, day })
    }

    /// `HH:MM[:SS[.fraction]]`; digits behind the microseconds are dropped.
    fn time(&mut self) -> Option<Time> {
        let hour = self.pair(24)?;
        let minute = self.eat(b':').then(|| self.pair(60))??;
        let second = if self.eat(b':') { self.pair(60)? } else { 0 };
        let mut micros = 0;
        if self.eat(b'.') {
            let digits = self
                .0
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 {
                return None;
            }
            let kept = digits.min(6);
            micros = self.digits(kept)? * 10_u32.pow(u32::try_from(6 - kept).ok()?);
            self.0 = &self.0[digits - kept..];
        }
        Some(Time {
            hour,
            minute,
            second,
            micros,
        })
    }

    /// What may follow a time: nothing, `Z`, or `±HH:MM[:SS]`; the text must end there.
    fn offset(&mut self) -> Option<Offset> {
        if self.0.is_empty() {
            return Some(Offset::None);
        }
        if self.0 == b"Z" {
            return Some(Offset::Utc);
        }
        let sign = if self.eat(b'-') {
            -1
        } else if self.eat(b'+') {
            1
        } else {
            return None;
        };
        let hours = self.pair(24)?;
        let minutes = self.eat(b':').then(|| self.pair(60))??;
        let seconds = if self.eat(b':') { self.pair(60)? } else { 0 };
        let total = i32::from(hours) * 3_600 + i32::from(minutes) * 60 + i32::from(seconds);
        match (self.0.is_empty(), total) {
            (false, _) => None,
            (true, 0) => Some(Offset::Utc),
            (true, _) => Some(Offset::Seconds(sign * total)),
        }
    }
}
