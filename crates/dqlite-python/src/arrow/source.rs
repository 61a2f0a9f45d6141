//! The cells of Arrow columns as parameters: each column is brought into one of few forms once per
//! batch, its cells are written straight into the bytes that are sent.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    Float64Array, Int64Array, LargeBinaryArray, LargeStringArray, StringViewArray, UInt64Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use dqlite_proto::{Params, ValueRef, Violation};

use crate::temporal;

/// One column of a batch.
pub(super) struct Column {
    valid: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    Bool(BooleanArray),
    Int(Int64Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Text(LargeStringArray),
    TextShort(arrow_array::StringArray),
    TextView(StringViewArray),
    Blob(LargeBinaryArray),
    BlobShort(arrow_array::BinaryArray),
    BlobView(BinaryViewArray),
    BlobFixed(FixedSizeBinaryArray),
    Day(Int64Array),
    /// Ticks since 1970, so many in a second; whether they are in UTC.
    Stamp(Int64Array, i64, bool),
    /// Ticks since midnight.
    Time(Int64Array, i64),
    Dictionary(Vec<usize>, Box<Column>),
}

/// Why a cell cannot be bound.
pub(super) enum Unfit {
    Beyond,
    Violation(Violation),
}

impl From<Violation> for Unfit {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Column {
    /// The column in the form in which its cells are read; `None` for types that SQLite has not.
    pub(super) fn of(array: &ArrayRef) -> Option<Self> {
        let valid = array.nulls().cloned();
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Int8 => Values::Int(widened::<Int8Type>(array)),
            DataType::Int16 => Values::Int(widened::<Int16Type>(array)),
            DataType::Int32 => Values::Int(widened::<Int32Type>(array)),
            DataType::Int64 => Values::Int(widened::<Int64Type>(array)),
            DataType::UInt8 => Values::Int(widened::<UInt8Type>(array)),
            DataType::UInt16 => Values::Int(widened::<UInt16Type>(array)),
            DataType::UInt32 => Values::Int(widened::<UInt32Type>(array)),
            DataType::UInt64 => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 => Values::Float(floats::<Float16Type>(array)),
            DataType::Float32 => Values::Float(floats::<Float32Type>(array)),
            DataType::Float64 => Values::Float(floats::<Float64Type>(array)),
            DataType::Utf8 => Values::TextShort(array.as_string::<i32>().clone()),
            DataType::LargeUtf8 => Values::Text(array.as_string::<i64>().clone()),
            DataType::Utf8View => Values::TextView(array.as_string_view().clone()),
            DataType::Binary => Values::BlobShort(array.as_binary::<i32>().clone()),
            DataType::LargeBinary => Values::Blob(array.as_binary::<i64>().clone()),
            DataType::BinaryView => Values::BlobView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Values::BlobFixed(array.as_fixed_size_binary().clone()),
            DataType::Date32 => Values::Day(widened::<Date32Type>(array)),
            DataType::Date64 => Values::Stamp(widened::<Date64Type>(array), 1_000, false),
            DataType::Timestamp(unit, zone) => {
                let ticks = match unit {
                    TimeUnit::Second => widened::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => widened::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => widened::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => widened::<TimestampNanosecondType>(array),
                };
                Values::Stamp(ticks, per_second(*unit), zone.is_some())
            }
            DataType::Time32(unit) | DataType::Time64(unit) => {
                let ticks = match unit {
                    TimeUnit::Second => widened::<Time32SecondType>(array),
                    TimeUnit::Millisecond => widened::<Time32MillisecondType>(array),
                    TimeUnit::Microsecond => widened::<Time64MicrosecondType>(array),
                    TimeUnit::Nanosecond => widened::<Time64NanosecondType>(array),
                };
                Values::Time(ticks, per_second(*unit))
            }
            DataType::Dictionary(..) => dictionary(array)?,
            _ => return None,
        };
        Some(Self { valid, values })
    }

    /// Appends a cell; `scratch` is where text is made.
    pub(super) fn push(
        &self,
        at: usize,
        params: &mut Params,
        scratch: &mut String,
    ) -> Result<(), Unfit> {
        if self.valid.as_ref().is_some_and(|valid| valid.is_null(at)) {
            return Ok(params.push(ValueRef::Null)?);
        }
        scratch.clear();
        let value = match &self.values {
            Values::Null => ValueRef::Null,
            Values::Bool(array) => ValueRef::Integer(i64::from(array.value(at))),
            Values::Int(array) => ValueRef::Integer(array.value(at)),
            Values::Unsigned(array) => {
                let number = i64::try_from(array.value(at));
                ValueRef::Integer(number.map_err(|_| Unfit::Beyond)?)
            }
            Values::Float(array) => ValueRef::Float(array.value(at)),
            Values::Text(array) => ValueRef::Text(array.value(at).as_bytes()),
            Values::TextShort(array) => ValueRef::Text(array.value(at).as_bytes()),
            Values::TextView(array) => ValueRef::Text(array.value(at).as_bytes()),
            Values::Blob(array) => ValueRef::Blob(array.value(at)),
            Values::BlobShort(array) => ValueRef::Blob(array.value(at)),
            Values::BlobView(array) => ValueRef::Blob(array.value(at)),
            Values::BlobFixed(array) => ValueRef::Blob(array.value(at)),
            Values::Day(array) => {
                temporal::write_day(scratch, array.value(at)).ok_or(Unfit::Beyond)?;
                ValueRef::Text(scratch.as_bytes())
            }
            Values::Stamp(array, unit, utc) => {
                stamp(scratch, array.value(at), *unit, *utc).ok_or(Unfit::Beyond)?;
                ValueRef::Text(scratch.as_bytes())
            }
            Values::Time(array, unit) => {
                time(scratch, array.value(at), *unit);
                ValueRef::Text(scratch.as_bytes())
            }
            Values::Dictionary(keys, values) => {
                return values.push(keys[at], params, scratch);
            }
        };
        Ok(params.push(value)?)
    }
}

fn widened<T: ArrowPrimitiveType>(array: &ArrayRef) -> Int64Array
where
    T::Native: Into<i64>,
{
    array.as_primitive::<T>().unary(Into::into)
}

fn floats<T: ArrowPrimitiveType>(array: &ArrayRef) -> Float64Array
where
    T::Native: Into<f64>,
{
    array.as_primitive::<T>().unary(Into::into)
}

fn dictionary(array: &ArrayRef) -> Option<Values> {
    let array = array.as_any_dictionary_opt()?;
    if array.values().is_empty() {
        return Some(Values::Null);
    }
    let values = Column::of(array.values())?;
    Some(Values::Dictionary(
        array.normalized_keys(),
        Box::new(values),
    ))
}

const fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The text that is bound for a `datetime`; none outside the years 1 to 9999.
fn stamp(out: &mut String, ticks: i64, unit: i64, utc: bool) -> Option<()> {
    let seconds = ticks.div_euclid(unit);
    temporal::write_day(out, seconds.div_euclid(86_400))?;
    out.push(' ');
    time(
        out,
        seconds.rem_euclid(86_400) * unit + ticks.rem_euclid(unit),
        unit,
    );
    if utc {
        out.push_str("+00:00");
    }
    Some(())
}

/// `HH:MM:SS`, with six digits behind it if need be, or nine.
fn time(out: &mut String, ticks: i64, unit: i64) {
    let (second, nanos) = (ticks / unit, ticks % unit * (1_000_000_000 / unit));
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // Writing into a String cannot fail.
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
    if nanos % 1_000 != 0 {
        let _ = write!(out, ".{nanos:09}");
    } else if nanos != 0 {
        let _ = write!(out, ".{:06}", nanos / 1_000);
    }
}
