//! The values of one column while they gather, each copied once from the wire, and the array that
//! they become when the type of the column is known.

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, BooleanArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, new_null_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use dqlite_proto::ValueRef;

use super::kind::{Kind, Want};
use crate::projection::Types;
use crate::temporal::{self, Moment};

/// A cell that does not fit: its place among the rows of its lot, and what is wrong.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) at: usize,
    pub(super) text: String,
}

/// The values of one column.
pub(super) struct Cells {
    values: Values,
    valid: NullBufferBuilder,
    len: usize,
}

enum Values {
    /// Only NULLs so far.
    None,
    Whole(Vec<i64>, Whole),
    Float(Vec<f64>),
    Bytes {
        ends: Vec<i64>,
        data: Vec<u8>,
        what: Bytes,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Bool,
    Int,
    Unix,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Text,
    Blob,
    Iso,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            values: Values::None,
            valid: NullBufferBuilder::new(0),
            len: 0,
        }
    }

    /// Bytes of texts and blobs.
    pub(super) const fn data_len(&self) -> usize {
        match &self.values {
            Values::Bytes { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// Adds a cell, as `types` says that cells of time and BOOLEAN columns are read.
    #[inline]
    pub(super) fn push(
        &mut self,
        value: ValueRef<'_>,
        types: Types,
        want: Option<Want>,
    ) -> Result<(), Misfit> {
        let plain = matches!(types, Types::Raw | Types::Client);
        match value {
            ValueRef::Iso8601(text) if plain => return self.push_text(text, Bytes::Text),
            ValueRef::Null | ValueRef::Iso8601([]) => self.push_null(),
            ValueRef::Integer(number) => return self.push_whole(number, Whole::Int),
            ValueRef::Float(number) => return self.push_float(number),
            ValueRef::Text(text) if want == Want::of("binary") => {
                return self.push_bytes(text, Bytes::Blob);
            }
            ValueRef::Text(text) => return self.push_text(text, Bytes::Text),
            ValueRef::Blob(bytes) => return self.push_bytes(bytes, Bytes::Blob),
            ValueRef::Boolean(raw) => {
                let number = raw.cast_signed();
                let truth = matches!(number, 0 | 1);
                if !truth && matches!(types, Types::Strict) {
                    return Err(self.misfit(format!("a BOOLEAN column holds {number}")));
                }
                let what = if plain || !truth {
                    Whole::Int
                } else {
                    Whole::Bool
                };
                return self.push_whole(number, what);
            }
            ValueRef::UnixTime(seconds) => {
                let what = if plain { Whole::Int } else { Whole::Unix };
                return self.push_whole(seconds, what);
            }
            ValueRef::Iso8601(text) => return self.push_text(text, Bytes::Iso),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match &mut self.values {
            Values::None => {}
            Values::Whole(values, _) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Bytes { ends, data, .. } => ends.push(end(data)),
        }
        self.valid.append_null();
        self.len += 1;
    }

    fn push_whole(&mut self, number: i64, what: Whole) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Whole(values, before) if *before == what => values.push(number),
            Values::None => {
                let mut values = vec![0; self.len];
                values.push(number);
                self.values = Values::Whole(values, what);
            }
            Values::Whole(values, before) if *before != Whole::Unix && what != Whole::Unix => {
                *before = Whole::Int;
                values.push(number);
            }
            Values::Float(values) if what != Whole::Unix => match exact(number) {
                Some(float) => values.push(float),
                None => return Err(self.inexact(number)),
            },
            _ => return Err(self.mixed(what.word())),
        }
        self.valid.append_non_null();
        self.len += 1;
        Ok(())
    }

    fn push_float(&mut self, number: f64) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Float(values) => values.push(number),
            Values::None => {
                let mut values = vec![0.0; self.len];
                values.push(number);
                self.values = Values::Float(values);
            }
            Values::Whole(before, Whole::Bool | Whole::Int) => {
                let mut values = floats(before)?;
                values.push(number);
                self.values = Values::Float(values);
            }
            _ => return Err(self.mixed("a float")),
        }
        self.valid.append_non_null();
        self.len += 1;
        Ok(())
    }

    fn push_text(&mut self, text: &[u8], what: Bytes) -> Result<(), Misfit> {
        if std::str::from_utf8(text).is_err() {
            let text = "text that is not UTF-8: CAST it AS BLOB";
            return Err(self.misfit(text.to_owned()));
        }
        self.push_bytes(text, what)
    }

    fn push_bytes(&mut self, bytes: &[u8], what: Bytes) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Bytes {
                ends,
                data,
                what: before,
            } if *before == what => {
                data.extend_from_slice(bytes);
                ends.push(end(data));
            }
            Values::None => {
                let mut ends = vec![0; self.len + 1];
                ends.push(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
                let data = bytes.to_vec();
                self.values = Values::Bytes { ends, data, what };
            }
            _ => return Err(self.mixed(what.word())),
        }
        self.valid.append_non_null();
        self.len += 1;
        Ok(())
    }

    fn misfit(&self, text: String) -> Misfit {
        Misfit { at: self.len, text }
    }

    fn inexact(&self, number: i64) -> Misfit {
        self.misfit(format!("{number} has no exact float64"))
    }

    fn mixed(&self, new: &str) -> Misfit {
        let before = match &self.values {
            Values::None => "nothing",
            Values::Whole(_, what) => what.word(),
            Values::Float(_) => "a float",
            Values::Bytes { what, .. } => what.word(),
        };
        let text = format!("{new} where {before} came before: CAST makes a column of one type");
        self.misfit(text)
    }

    /// The type that these cells have by themselves.
    pub(super) fn kind(&self) -> Kind {
        match &self.values {
            Values::None => Kind::Null,
            Values::Whole(_, Whole::Bool) => Kind::Bool,
            Values::Whole(_, Whole::Int) => Kind::Int64,
            Values::Whole(_, Whole::Unix) => Kind::Seconds,
            Values::Float(_) => Kind::Float64,
            Values::Bytes { what, .. } => match what {
                Bytes::Text => Kind::Utf8,
                Bytes::Blob => Kind::Binary,
                Bytes::Iso => self.moments_kind(),
            },
        }
    }

    /// The type of these cells if the caller wants them so.
    pub(super) fn wanted(&self, want: Want) -> Kind {
        match (want, &self.values) {
            (Want::Exactly(known), _) => known.into(),
            (Want::Timestamp, Values::Whole(..)) => Kind::Stamp { utc: true },
            (Want::Timestamp, Values::Bytes { .. }) => Kind::Stamp {
                utc: self.moments_kind() == Kind::Stamp { utc: true },
            },
            (Want::Timestamp, _) => Kind::Stamp { utc: false },
        }
    }

    /// Days, times without and with an offset, or text if they are not of one kind.
    fn moments_kind(&self) -> Kind {
        let mut kind = Kind::Null;
        for text in (0..self.len).filter_map(|at| self.text(at)) {
            let one = match temporal::moment(text) {
                Some(Moment::Day(_)) => Kind::Date,
                Some(Moment::Naive(_)) => Kind::Stamp { utc: false },
                Some(Moment::Utc(_)) => Kind::Stamp { utc: true },
                None => Kind::Utf8,
            };
            kind = kind.with(one).unwrap_or(Kind::Utf8);
            if kind == Kind::Utf8 {
                break;
            }
        }
        kind
    }

    fn text(&self, at: usize) -> Option<&str> {
        let Values::Bytes { ends, data, .. } = &self.values else {
            return None;
        };
        let valid = self.valid.as_slice();
        let is_valid = valid.is_none_or(|bits| bits[at / 8] >> (at % 8) & 1 == 1);
        let bytes = data.get(place(ends[at])..place(ends[at + 1]))?;
        std::str::from_utf8(bytes).ok().filter(|_| is_valid)
    }

    /// The array of that type.
    pub(super) fn into_array(mut self, kind: Kind) -> Result<ArrayRef, Misfit> {
        if let Kind::Date | Kind::Stamp { .. } = kind
            && matches!(self.values, Values::Bytes { .. })
        {
            return self.moments(kind);
        }
        let valid = self.valid.finish();
        let first = valid.as_ref().map_or(0, first_valid);
        let wrong = |what: &str| Misfit {
            at: first,
            text: format!("{what} does not fit {}", kind.word()),
        };
        Ok(match (self.values, kind) {
            (Values::None, kind) => new_null_array(&kind.data_type(), self.len),
            (Values::Whole(values, what), kind) => whole(values, what, kind, valid)?,
            (Values::Float(values), Kind::Float64) => {
                Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), valid))
            }
            (Values::Bytes { ends, data, what }, Kind::Utf8) if what != Bytes::Blob => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                let made = LargeStringArray::try_new(ends, data.into(), valid);
                Arc::new(made.map_err(|error| wrong(&error.to_string()))?)
            }
            (Values::Bytes { ends, data, .. }, Kind::Binary) => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                let made = LargeBinaryArray::try_new(ends, data.into(), valid);
                Arc::new(made.map_err(|error| wrong(&error.to_string()))?)
            }
            (Values::Float(_), _) => return Err(wrong("a float")),
            (Values::Bytes { what, .. }, _) => return Err(wrong(what.word())),
        })
    }

    /// Text as days or microseconds.
    fn moments(mut self, kind: Kind) -> Result<ArrayRef, Misfit> {
        let mut numbers = Vec::with_capacity(self.len);
        for at in 0..self.len {
            let number = match self.text(at) {
                Some(text) => fitting(text, kind).ok_or_else(|| Misfit {
                    at,
                    text: format!("{text:?} does not fit {}", kind.data_type()),
                })?,
                None => 0,
            };
            numbers.push(number);
        }
        let valid = self.valid.finish();
        Ok(if kind == Kind::Date {
            let days = numbers.iter().map(|day| i32::try_from(*day));
            let days: Vec<_> = days.map(|day| day.unwrap_or(i32::MAX)).collect();
            Arc::new(PrimitiveArray::<Date32Type>::new(days.into(), valid))
        } else {
            stamps(numbers, kind, valid)
        })
    }
}

impl Whole {
    const fn word(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Unix => "a time in seconds",
        }
    }
}

impl Bytes {
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Blob => "a blob",
            Self::Iso => "a time as text",
        }
    }
}

/// Days for `Date`, microseconds for the others; none for what cannot be said so.
fn fitting(text: &str, kind: Kind) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    match (temporal::moment(text)?, kind) {
        (Moment::Day(day), Kind::Date) => Some(day),
        (Moment::Day(day), Kind::Stamp { utc: false }) => Some(day * DAY),
        (Moment::Naive(micros), Kind::Stamp { utc: false })
        | (Moment::Utc(micros), Kind::Stamp { utc: true }) => Some(micros),
        _ => None,
    }
}

fn whole(
    values: Vec<i64>,
    what: Whole,
    kind: Kind,
    valid: Option<NullBuffer>,
) -> Result<ArrayRef, Misfit> {
    let misfit = |at: usize, text: String| Misfit { at, text };
    Ok(match kind {
        Kind::Int64 => Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), valid)),
        Kind::Bool if what != Whole::Unix => {
            if let Some(at) = values.iter().position(|number| !matches!(number, 0 | 1)) {
                return Err(misfit(at, format!("{} does not fit bool", values[at])));
            }
            let bits: BooleanBuffer = values.iter().map(|number| *number == 1).collect();
            Arc::new(BooleanArray::new(bits, valid))
        }
        Kind::Float64 if what != Whole::Unix => Arc::new(PrimitiveArray::<Float64Type>::new(
            floats(&values)?.into(),
            valid,
        )),
        Kind::Seconds if what == Whole::Unix => {
            let array = PrimitiveArray::<TimestampSecondType>::new(values.into(), valid);
            Arc::new(array.with_timezone("UTC"))
        }
        Kind::Stamp { utc: true } => {
            let mut micros = Vec::with_capacity(values.len());
            for (at, seconds) in values.iter().enumerate() {
                let number = seconds.checked_mul(1_000_000);
                micros.push(number.ok_or_else(|| {
                    misfit(at, format!("{seconds} seconds do not fit timestamp"))
                })?);
            }
            stamps(micros, kind, valid)
        }
        _ => {
            let first = valid.as_ref().map_or(0, first_valid);
            let text = format!("{} does not fit {}", what.word(), kind.word());
            return Err(misfit(first, text));
        }
    })
}

fn stamps(micros: Vec<i64>, kind: Kind, valid: Option<NullBuffer>) -> ArrayRef {
    let array = PrimitiveArray::<TimestampMicrosecondType>::new(micros.into(), valid);
    if kind == (Kind::Stamp { utc: true }) {
        Arc::new(array.with_timezone("UTC"))
    } else {
        Arc::new(array)
    }
}

/// The same numbers as floats; one that would change is refused.
fn floats(numbers: &[i64]) -> Result<Vec<f64>, Misfit> {
    let floats = numbers.iter().enumerate().map(|(at, number)| {
        exact(*number).ok_or_else(|| Misfit {
            at,
            text: format!("{number} has no exact float64"),
        })
    });
    floats.collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "whether something is lost is the question"
)]
fn exact(number: i64) -> Option<f64> {
    let float = number as f64;
    (float as i128 == i128::from(number)).then_some(float)
}

fn first_valid(valid: &NullBuffer) -> usize {
    valid.valid_indices().next().unwrap_or(0)
}

fn end(data: &[u8]) -> i64 {
    i64::try_from(data.len()).unwrap_or(i64::MAX)
}

fn place(end: i64) -> usize {
    usize::try_from(end).unwrap_or(usize::MAX)
}
