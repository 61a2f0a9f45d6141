//! `chrono`'s dates and times.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use dqlite_proto::{Value, ValueRef};

use super::text;
use crate::convert::{Bound, FromValue, ToParam};
use crate::error::Result;

impl ToParam for NaiveDate {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(self.to_string()).into())
    }
}

impl ToParam for NaiveTime {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(self.to_string()).into())
    }
}

impl ToParam for NaiveDateTime {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(self.to_string()).into())
    }
}

impl ToParam for DateTime<Utc> {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(Value::Text(format!("{}+00:00", self.naive_utc())).into())
    }
}

impl FromValue for NaiveDate {
    const NAME: &'static str = "NaiveDate";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for NaiveTime {
    const NAME: &'static str = "NaiveTime";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for NaiveDateTime {
    const NAME: &'static str = "NaiveDateTime";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        let text = text(value)?;
        let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
        let read = |format| Self::parse_from_str(text, format).ok();
        formats.into_iter().find_map(read)
    }
}

impl FromValue for DateTime<Utc> {
    const NAME: &'static str = "DateTime<Utc>";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::UnixTime(seconds) => Self::from_timestamp(seconds, 0),
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
        let date = NaiveDate::from_ymd_opt(2026, 2, 28).unwrap();
        let time = NaiveTime::from_hms_milli_opt(1, 2, 3, 500).unwrap();
        travels(&date, "2026-02-28");
        travels(&time, "01:02:03.500");
        travels(&date.and_time(time), "2026-02-28 01:02:03.500");
        let moment = DateTime::<Utc>::from_timestamp(86_400, 0).unwrap();
        travels(&moment, "1970-01-02 00:00:00+00:00");
        let seconds = ValueRef::UnixTime(86_400);
        assert_eq!(DateTime::<Utc>::from_value(seconds), Some(moment));
        assert_eq!(NaiveDate::from_value(ValueRef::Integer(1)), None);
    }
}
