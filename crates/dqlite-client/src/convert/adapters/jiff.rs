//! `jiff`'s dates and times.

use dqlite_proto::{Value, ValueRef};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};

use super::text;
use crate::convert::{Bound, FromValue, ToParam};
use crate::error::Result;

impl ToParam for Date {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(self.to_string()).into())
    }
}

impl ToParam for Time {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(self.to_string()).into())
    }
}

impl ToParam for DateTime {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(format!("{} {}", self.date(), self.time())).into())
    }
}

impl ToParam for Timestamp {
    fn to_param(&self) -> Result<Bound<'_>> {
        let utc = self.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        Ok(Value::Text(format!("{} {}+00:00", utc.date(), utc.time())).into())
    }
}

impl FromValue for Date {
    const NAME: &'static str = "Date";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for Time {
    const NAME: &'static str = "Time";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for DateTime {
    const NAME: &'static str = "DateTime";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for Timestamp {
    const NAME: &'static str = "Timestamp";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::UnixTime(seconds) => Self::from_second(seconds).ok(),
            value => text(value)?.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travels<T: ToParam + FromValue + PartialEq + std::fmt::Debug>(value: &T, as_text: &str) {
        let sent = value.to_param().unwrap();
        assert_eq!(sent.as_ref(), ValueRef::Text(as_text.as_bytes()));
        assert_eq!(T::from_value(sent.as_ref()).as_ref(), Some(value));
    }

    #[test]
    fn dates_and_times_travel_as_sqlite_writes_them() {
        travels(&Date::constant(2026, 2, 28), "2026-02-28");
        travels(&Time::constant(1, 2, 3, 500_000_000), "01:02:03.5");
        travels(
            &DateTime::constant(2026, 2, 28, 1, 2, 3, 0),
            "2026-02-28 01:02:03",
        );
        let moment = Timestamp::from_second(86_400).unwrap();
        travels(&moment, "1970-01-02 00:00:00+00:00");
        assert_eq!(
            Timestamp::from_value(ValueRef::UnixTime(86_400)),
            Some(moment)
        );
        assert_eq!(Date::from_value(ValueRef::Integer(1)), None);
    }
}
