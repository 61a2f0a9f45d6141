//! Parameter tuples: built one value at a time, straight into the bytes that are sent.
//!
//! ```text
//! v0 (schema 0, at most 255)     n u8, n tags u8, zeros to the word, values
//! v1 (schema 1, not class A)     n u32, n tags u8, zeros to the word, values
//! ```
//!
//! Tags and values are kept apart until the tuple is written, so the variant can be chosen late.
//! No parameters means no tuple at all.

use crate::error::{DecodeError, Violation};
use crate::value::{ValueRef, tag};
use crate::wire::{Reader, padded, put_u32};

/// The most parameters the protocol carries in its first form.
pub const PARAMS_V0_MAX: usize = 255;
/// The most parameters any SQLite build accepts.
pub const PARAMS_MAX: usize = 250_000;

/// A tuple under construction; [`clear`](Self::clear) it to use its memory again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    tags: Vec<u8>,
    values: Vec<u8>,
}

impl Params {
    /// A tuple without values.
    pub const fn new() -> Self {
        Self {
            tags: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Appends a value. On an error the tuple is as before.
    #[inline]
    pub fn push(&mut self, value: ValueRef<'_>) -> Result<(), Violation> {
        match value {
            ValueRef::UnixTime(_) => return Err(Violation::UnixTime),
            ValueRef::Text(text) | ValueRef::Iso8601(text) => {
                if text.contains(&0) {
                    return Err(Violation::Nul);
                }
                if std::str::from_utf8(text).is_err() {
                    return Err(Violation::NotUtf8);
                }
            }
            _ => {}
        }
        if self.tags.len() >= PARAMS_MAX {
            let count = self.tags.len().saturating_add(1);
            return Err(Violation::TooManyParameters {
                count,
                max: PARAMS_MAX,
            });
        }
        self.tags.push(value.tag());
        value.encode(&mut self.values);
        Ok(())
    }

    /// Appends the values of another tuple.
    pub fn extend(&mut self, other: &Self) {
        self.tags.extend_from_slice(&other.tags);
        self.values.extend_from_slice(&other.values);
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// Bytes of its values.
    pub fn values_size(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds no values.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Forgets the values, keeps the memory.
    pub fn clear(&mut self) {
        self.tags.clear();
        self.values.clear();
    }

    /// The form that requests carry.
    pub fn as_ref(&self) -> ParamsRef<'_> {
        ParamsRef {
            tags: &self.tags,
            values: &self.values,
        }
    }
}

impl<'v> TryFrom<&'v [ValueRef<'v>]> for Params {
    type Error = Violation;

    fn try_from(values: &'v [ValueRef<'v>]) -> Result<Self, Violation> {
        let mut params = Self::new();
        values.iter().try_for_each(|value| params.push(*value))?;
        Ok(params)
    }
}

/// A finished tuple: what a request carries, and what a decoded request points at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParamsRef<'a> {
    tags: &'a [u8],
    values: &'a [u8],
}

impl<'a> ParamsRef<'a> {
    /// The tuple without values.
    pub const NONE: ParamsRef<'static> = ParamsRef {
        tags: &[],
        values: &[],
    };

    /// How many values it holds.
    pub const fn len(&self) -> usize {
        self.tags.len()
    }

    /// Whether it holds no values.
    pub const fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// The values in order.
    pub fn values(&self) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
        let mut reader = Reader::new(self.values);
        self.tags
            .iter()
            .map_while(move |tag| ValueRef::decode(*tag, &mut reader).ok())
    }

    /// Bytes on the wire.
    pub fn size(&self, schema: u8) -> usize {
        if self.is_empty() {
            return 0;
        }
        let count = if schema == 0 { 1_usize } else { 4 };
        padded(count.saturating_add(self.tags.len())).saturating_add(self.values.len())
    }

    /// Appends the tuple; nothing when there are no values.
    #[inline]
    pub(crate) fn encode(&self, schema: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        let count = self.tags.len();
        if count == 0 {
            return Ok(());
        }
        let end = out
            .len()
            .saturating_add(self.size(schema))
            .saturating_sub(self.values.len());
        if schema == 0 {
            let Ok(count) = u8::try_from(count) else {
                return Err(Violation::TooManyParameters {
                    count,
                    max: PARAMS_V0_MAX,
                });
            };
            out.push(count);
        } else {
            let Some(count) = u32::try_from(count).ok().filter(|_| count <= PARAMS_MAX) else {
                return Err(Violation::TooManyParameters {
                    count,
                    max: PARAMS_MAX,
                });
            };
            put_u32(out, count);
        }
        out.extend_from_slice(self.tags);
        out.resize(end, 0);
        out.extend_from_slice(self.values);
        Ok(())
    }

    /// Takes the tuple that ends a request body, and makes sure that it uses up the rest.
    pub fn decode(schema: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.is_empty() {
            return Ok(Self::NONE);
        }
        let start = reader.rest();
        let (count, size) = if schema == 0 {
            let count = start.first().copied().unwrap_or_default();
            (usize::from(count), 1_usize)
        } else {
            let count = Reader::new(start).u32()?;
            (usize::try_from(count).unwrap_or(usize::MAX), 4)
        };
        if count > PARAMS_MAX {
            return Err(reader.error("more parameters than any statement can have"));
        }
        let header = reader.raw(padded(size.saturating_add(count)))?;
        let tags = header
            .get(size..)
            .and_then(|tags| tags.get(..count))
            .unwrap_or_default();
        let values = reader.rest();
        for tag in tags {
            if *tag == tag::UNIX_TIME {
                return Err(reader.error("a Unix time as parameter"));
            }
            ValueRef::decode(*tag, reader)?;
        }
        reader.finish()?;
        Ok(Self { tags, values })
    }
}

impl<'a> From<&'a Params> for ParamsRef<'a> {
    fn from(params: &'a Params) -> Self {
        params.as_ref()
    }
}
