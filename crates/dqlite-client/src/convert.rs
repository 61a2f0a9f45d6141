//! From Rust values to parameters and from columns to Rust values.
//!
//! Nothing is guessed: text is no number, NULL is only read as [`Option`], and a number that does
//! not fit is an error.

mod adapters;

use dqlite_proto::{Value, ValueRef};

use crate::error::{Error, Result};
use crate::row::Row;

/// A value that can be bound to a parameter.
pub trait ToParam {
    /// The value as it is sent. An error of kind Convert if that is not possible.
    fn to_param(&self) -> Result<Bound<'_>>;
}

/// A value that is about to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound<'a> {
    /// It lies in the value that it was made of.
    Borrowed(ValueRef<'a>),
    /// It was made for this.
    Owned(Value),
}

impl Bound<'_> {
    /// The value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Borrowed(value) => *value,
            Self::Owned(value) => value.as_ref(),
        }
    }
}

impl<'a> From<ValueRef<'a>> for Bound<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        Self::Borrowed(value)
    }
}

impl From<Value> for Bound<'_> {
    fn from(value: Value) -> Self {
        Self::Owned(value)
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    /// The value; `None` if it is not one of this type, or does not fit.
    fn from_value(value: ValueRef<'_>) -> Option<Self>;
}

/// A type that a row can be read as. Tuples read columns by position, structs by name through
/// `#[derive(FromRow)]`.
///
/// ```
/// use dqlite_client::{FromRow, Result, Row};
///
/// struct Person {
///     name: String,
/// }
///
/// impl FromRow for Person {
///     fn from_row(row: &Row) -> Result<Self> {
///         Ok(Self { name: row.get("name")? })
///     }
/// }
/// ```
pub trait FromRow: Sized {
    /// The value. An error of kind Usage if a column is missing, of kind Convert if one does not
    /// fit.
    fn from_row(row: &Row) -> Result<Self>;
}

impl FromRow for Row {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(row.clone())
    }
}

macro_rules! tuples {
    ($($name:ident $at:literal),*) => {
        impl<$($name: FromValue),*> FromRow for ($($name,)*) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($(row.get::<$name>($at)?,)*))
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

impl<T: ToParam + ?Sized> ToParam for &T {
    fn to_param(&self) -> Result<Bound<'_>> {
        (**self).to_param()
    }
}

impl<T: ToParam> ToParam for Option<T> {
    fn to_param(&self) -> Result<Bound<'_>> {
        match self {
            Some(value) => value.to_param(),
            None => Ok(ValueRef::Null.into()),
        }
    }
}

impl ToParam for Value {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(self.as_ref().into())
    }
}

impl ToParam for bool {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Boolean(u64::from(*self)).into())
    }
}

impl ToParam for f64 {
    fn to_param(&self) -> Result<Bound<'_>> {
        if self.is_nan() {
            return Err(Error::convert(
                "NaN would be stored as NULL; bind None for that",
            ));
        }
        Ok(ValueRef::Float(*self).into())
    }
}

impl ToParam for f32 {
    fn to_param(&self) -> Result<Bound<'_>> {
        if self.is_nan() {
            return Err(Error::convert(
                "NaN would be stored as NULL; bind None for that",
            ));
        }
        Ok(ValueRef::Float(f64::from(*self)).into())
    }
}

impl ToParam for str {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Text(self.as_bytes()).into())
    }
}

impl ToParam for String {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Text(self.as_bytes()).into())
    }
}

impl ToParam for [u8] {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Blob(self).into())
    }
}

impl<const N: usize> ToParam for [u8; N] {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Blob(self).into())
    }
}

impl ToParam for Vec<u8> {
    fn to_param(&self) -> Result<Bound<'_>> {
        Ok(ValueRef::Blob(self).into())
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl ToParam for $integer {
            fn to_param(&self) -> Result<Bound<'_>> {
                let value = i64::try_from(*self).map_err(|_| {
                    Error::convert(format!("{self} does not fit a signed 64-bit integer"))
                })?;
                Ok(ValueRef::Integer(value).into())
            }
        }

        impl FromValue for $integer {
            const NAME: &'static str = stringify!($integer);

            fn from_value(value: ValueRef<'_>) -> Option<Self> {
                match value {
                    ValueRef::Integer(v) | ValueRef::UnixTime(v) => v.try_into().ok(),
                    ValueRef::Boolean(v) => v.cast_signed().try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

impl FromValue for bool {
    const NAME: &'static str = "bool";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Boolean(v) => Some(v != 0),
            ValueRef::Integer(0) => Some(false),
            ValueRef::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    const NAME: &'static str = "f64";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Float(v) => Some(v),
            // Whole numbers come as integers from expressions; those that fit are exact.
            ValueRef::Integer(v) => i32::try_from(v).ok().map(Self::from),
            _ => None,
        }
    }
}

impl FromValue for String {
    const NAME: &'static str = "String";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Text(text) | ValueRef::Iso8601(text) => Self::from_utf8(text.to_vec()).ok(),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const NAME: &'static str = "Vec<u8>";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl FromValue for Value {
    const NAME: &'static str = "Value";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        Some(value.to_owned())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const NAME: &'static str = T::NAME;

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            // The second form is how stock servers send NULL of a column declared as a date.
            ValueRef::Null | ValueRef::Iso8601(b"") => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// What a value is, for errors.
pub(crate) const fn name(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Integer(_) => "an integer",
        ValueRef::Float(_) => "a float",
        ValueRef::Text(_) => "a text",
        ValueRef::Blob(_) => "a blob",
        ValueRef::Null => "NULL",
        ValueRef::UnixTime(_) => "a Unix time",
        ValueRef::Iso8601(_) => "a date as text",
        ValueRef::Boolean(_) => "a boolean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn integers_never_wrap() {
        assert_eq!(u64::MAX.to_param().unwrap_err().kind(), ErrorKind::Convert);
        assert_eq!(u8::from_value(ValueRef::Integer(256)), None);
        assert_eq!(u64::from_value(ValueRef::Integer(-1)), None);
        assert_eq!(i64::from_value(ValueRef::Integer(i64::MIN)), Some(i64::MIN));
        assert_eq!(i64::from_value(ValueRef::Boolean(u64::MAX)), Some(-1));
    }

    #[test]
    fn null_is_only_an_option() {
        assert_eq!(i64::from_value(ValueRef::Null), None);
        assert_eq!(Option::<i64>::from_value(ValueRef::Null), Some(None));
        assert_eq!(
            Option::<String>::from_value(ValueRef::Iso8601(b"")),
            Some(None)
        );
        assert_eq!(None::<i64>.to_param().unwrap().as_ref(), ValueRef::Null);
    }

    #[test]
    fn text_is_no_number_and_bytes_are_no_text() {
        assert_eq!(i64::from_value(ValueRef::Text(b"1")), None);
        assert_eq!(String::from_value(ValueRef::Integer(1)), None);
        assert_eq!(String::from_value(ValueRef::Text(&[0xff])), None);
        assert_eq!(bool::from_value(ValueRef::Integer(2)), None);
        assert!(f64::NAN.to_param().is_err());
    }
}
