//! Values and their tags.

use crate::error::DecodeError;
use crate::wire::{self, Reader};

/// The tag bytes (parameters) or nibbles (rows) in front of values.
pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 1;
    pub(crate) const FLOAT: u8 = 2;
    pub(crate) const TEXT: u8 = 3;
    pub(crate) const BLOB: u8 = 4;
    pub(crate) const NULL: u8 = 5;
    pub(crate) const UNIX_TIME: u8 = 9;
    pub(crate) const ISO8601: u8 = 10;
    pub(crate) const BOOLEAN: u8 = 11;
}

/// A value that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A signed integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// A text; what was not UTF-8 has been replaced.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// No value.
    Null,
    /// Seconds since 1970, from a column declared DATE, DATETIME or TIMESTAMP.
    UnixTime(i64),
    /// A time as text, from such a column. Stock servers send `""` for NULL.
    Iso8601(String),
    /// A value of a column declared BOOLEAN; the raw integer. Stock servers send 0 for NULL.
    Boolean(u64),
}

impl Value {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Integer(v) => ValueRef::Integer(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Text(v) => ValueRef::Text(v.as_bytes()),
            Self::Blob(v) => ValueRef::Blob(v),
            Self::Null => ValueRef::Null,
            Self::UnixTime(v) => ValueRef::UnixTime(*v),
            Self::Iso8601(v) => ValueRef::Iso8601(v.as_bytes()),
            Self::Boolean(v) => ValueRef::Boolean(*v),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        value.to_owned()
    }
}

/// A value that points into a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A signed integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// A text, as bytes: servers send what is stored, which need not be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
    /// No value.
    Null,
    /// Seconds since 1970, from a column declared DATE, DATETIME or TIMESTAMP.
    UnixTime(i64),
    /// A time as text, from such a column. Stock servers send `""` for NULL.
    Iso8601(&'a [u8]),
    /// A value of a column declared BOOLEAN; the raw integer. Stock servers send 0 for NULL.
    Boolean(u64),
}

impl<'a> ValueRef<'a> {
    /// The same value with its own bytes; text that is not UTF-8 gets replacement characters.
    pub fn to_owned(self) -> Value {
        match self {
            Self::Integer(v) => Value::Integer(v),
            Self::Float(v) => Value::Float(v),
            Self::Text(v) => Value::Text(String::from_utf8_lossy(v).into_owned()),
            Self::Blob(v) => Value::Blob(v.to_vec()),
            Self::Null => Value::Null,
            Self::UnixTime(v) => Value::UnixTime(v),
            Self::Iso8601(v) => Value::Iso8601(String::from_utf8_lossy(v).into_owned()),
            Self::Boolean(v) => Value::Boolean(v),
        }
    }

    /// The tag that announces this value.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Integer(_) => tag::INTEGER,
            Self::Float(_) => tag::FLOAT,
            Self::Text(_) => tag::TEXT,
            Self::Blob(_) => tag::BLOB,
            Self::Null => tag::NULL,
            Self::UnixTime(_) => tag::UNIX_TIME,
            Self::Iso8601(_) => tag::ISO8601,
            Self::Boolean(_) => tag::BOOLEAN,
        }
    }

    /// The value that `tag` announces, at the beginning of `bytes`: for those who keep the rows of
    /// a result as they came.
    #[inline]
    pub fn at(tag: u8, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode(tag, &mut Reader::new(bytes))
    }

    /// Takes the value that `tag` announces.
    #[expect(clippy::inline_always, reason = "measured: twice the rows per second")]
    #[inline(always)]
    pub(crate) fn decode(tag: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match tag {
            tag::INTEGER => reader.i64().map(Self::Integer),
            tag::FLOAT => reader.f64().map(Self::Float),
            tag::TEXT => reader.text().map(Self::Text),
            tag::BLOB => reader.blob().map(Self::Blob),
            tag::NULL => reader.u64().map(|_| Self::Null),
            tag::UNIX_TIME => reader.i64().map(Self::UnixTime),
            tag::ISO8601 => reader.text().map(Self::Iso8601),
            tag::BOOLEAN => reader.u64().map(Self::Boolean),
            _ => Err(reader.error("an unknown value tag")),
        }
    }

    /// Appends the value without its tag.
    #[inline]
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(v) | Self::UnixTime(v) => wire::put_u64(out, v.cast_unsigned()),
            Self::Float(v) => wire::put_u64(out, v.to_bits()),
            Self::Text(v) | Self::Iso8601(v) => wire::put_text(out, v),
            Self::Blob(v) => wire::put_blob(out, v),
            Self::Null => wire::put_u64(out, 0),
            Self::Boolean(v) => wire::put_u64(out, v),
        }
    }
}
