//! Result sets: frames of rows, decoded in place.
//!
//! ```text
//! column count u64 | names, text ... | row | row ... | marker: EE.. more follows, FF.. complete
//! row: one nibble per column, low one first, up to the word | values
//! ```
//!
//! The marker is found by its position, never by its value. Every frame of a result repeats the
//! names; they are parsed once and compared as bytes afterwards. Tags belong to cells: two rows may
//! carry different ones in the same column.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::frame::Limits;
use crate::value::ValueRef;
use crate::wire::{self, Reader, WORD, padded};

/// The last word of a message that is followed by more of the same result.
pub const PART: u64 = 0xeeee_eeee_eeee_eeee;
/// The marker that ends a result.
pub const DONE: u64 = 0xffff_ffff_ffff_ffff;

/// The column names of a result, with the bytes they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    wire: Bytes,
}

impl Columns {
    /// Columns of these names, for the side that answers.
    pub fn new<N: AsRef<str>>(names: &[N]) -> Self {
        let mut wire = Vec::new();
        wire::put_u64(&mut wire, names.len() as u64);
        for name in names {
            wire::put_text(&mut wire, name.as_ref().as_bytes());
        }
        let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Self {
            names,
            wire: wire.into(),
        }
    }

    fn decode(region: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(region);
        let count = reader.u64()?;
        let count = usize::try_from(count).ok().filter(|count| {
            *count <= Limits::COLUMNS_MAX && count.saturating_mul(WORD) <= reader.rest().len()
        });
        let Some(count) = count else {
            return Err(reader.error("more columns than there is room for"));
        };
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            names.push(String::from_utf8_lossy(reader.text()?).into_owned());
        }
        Ok(Self {
            names,
            wire: region.slice(..reader.position()),
        })
    }

    /// How many columns; 0 means that the statement yields no result set at all.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names in order. They may repeat and may be empty.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of one column.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// The first column of that name; letter case counts.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|column| column == name)
    }
}

/// One message of a result. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsFrame {
    columns: Arc<Columns>,
    rows: Bytes,
    done: bool,
}

/// Why a frame could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// Its bytes are not a frame of rows.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It has no rows and says that more follow, which then never ends.
    #[error("a part of a result without rows")]
    EmptyPart,
}

impl RowsFrame {
    /// Takes a body apart without looking at the rows.
    ///
    /// `first` are the columns of the earlier frames of the same result, which must be equal.
    /// `known` are columns seen before, taken over if the bytes are the same.
    pub fn decode(
        body: &Bytes,
        first: Option<&Arc<Columns>>,
        known: Option<&Arc<Columns>>,
    ) -> Result<Self, RowsError> {
        let whole = Reader::new(body);
        let Some((region, marker)) = body.split_last_chunk::<WORD>() else {
            return Err(whole.error("a result without its marker").into());
        };
        let done = match u64::from_le_bytes(*marker) {
            DONE => true,
            PART => false,
            _ => return Err(whole.error("a result without its marker").into()),
        };
        let region = body.slice(..region.len());
        let columns = match first
            .or(known)
            .filter(|columns| region.starts_with(&columns.wire))
        {
            Some(columns) => Arc::clone(columns),
            None if first.is_some() => {
                return Err(whole.error("column names changed within a result").into());
            }
            None => Arc::new(Columns::decode(&region)?),
        };
        let rows = region.slice(columns.wire.len()..);
        if columns.is_empty() && !rows.is_empty() {
            return Err(whole.error("rows without columns").into());
        }
        if rows.is_empty() && !done {
            return Err(RowsError::EmptyPart);
        }
        Ok(Self {
            columns,
            rows,
            done,
        })
    }

    /// Builds a frame, for the side that answers. Rows must be as long as the columns.
    pub fn build(columns: Arc<Columns>, rows: &[Vec<ValueRef<'_>>], done: bool) -> Self {
        let mut out = Vec::new();
        for row in rows {
            let end = out.len().saturating_add(header_size(columns.len()));
            for pair in row.chunks(2) {
                let low = pair.first().map_or(0, |value| value.tag());
                let high = pair.get(1).map_or(0, |value| value.tag());
                out.push(low | (high << 4));
            }
            out.resize(end, 0);
            for value in row {
                value.encode(&mut out);
            }
        }
        Self {
            columns,
            rows: out.into(),
            done,
        }
    }

    /// Appends the body as it goes over the wire.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.columns.wire);
        out.extend_from_slice(&self.rows);
        wire::put_u64(out, if self.done { DONE } else { PART });
    }

    /// The columns, the same object for all frames of a result.
    pub const fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    /// Whether this frame ends the result.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of its rows on the wire.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Its rows as they came.
    pub fn raw_rows(&self) -> &[u8] {
        &self.rows
    }

    /// A cursor in front of the first row.
    #[inline]
    pub fn rows(&self) -> RowCursor<'_> {
        RowCursor {
            reader: Reader::new(&self.rows),
            header: &[],
            tags: 0,
            left: 0,
            width: self.columns.len(),
        }
    }
}

const TAGS_PER_WORD: usize = 16;

const fn header_size(columns: usize) -> usize {
    padded(columns.div_ceil(2))
}

/// Walks over the rows of a frame and decodes them on the way, each value once.
///
/// ```text
/// let mut cursor = frame.rows();
/// while let Some(row) = cursor.next_row()? {
///     for value in row { let value = value?; .. }
/// }
/// ```
///
/// After an error the frame is malformed and the connection must be closed.
#[derive(Clone, Debug)]
pub struct RowCursor<'a> {
    reader: Reader<'a>,
    /// The words of the row header behind the one in `tags`.
    header: &'a [u8],
    /// The tags of the next columns, the next one lowest.
    tags: u64,
    left: usize,
    width: usize,
}

impl<'a> RowCursor<'a> {
    /// Goes to the next row, past what has not been read of the row before.
    #[inline]
    pub fn next_row(&mut self) -> Result<Option<Row<'_, 'a>>, DecodeError> {
        while self.left > 0 {
            self.value()?;
        }
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.header = self.reader.raw(header_size(self.width))?;
        self.left = self.width;
        self.next_tags();
        Ok(Some(Row { cursor: self }))
    }

    /// How many of the frame's [`raw_rows`](RowsFrame::raw_rows) have been read.
    #[inline]
    pub const fn position(&self) -> usize {
        self.reader.position()
    }

    /// Fills `values` with the next row; `false` when there is none.
    #[inline]
    pub fn next_into(&mut self, values: &mut Vec<ValueRef<'a>>) -> Result<bool, DecodeError> {
        values.clear();
        let Some(row) = self.next_row()? else {
            return Ok(false);
        };
        for value in row {
            values.push(value?);
        }
        Ok(true)
    }

    #[expect(clippy::inline_always, reason = "measured: twice the rows per second")]
    #[inline(always)]
    fn value(&mut self) -> Result<ValueRef<'a>, DecodeError> {
        let tag = self.tags.to_le_bytes()[0] & 0x0f;
        self.tags >>= 4;
        self.left = self.left.wrapping_sub(1);
        if self
            .width
            .wrapping_sub(self.left)
            .is_multiple_of(TAGS_PER_WORD)
        {
            self.next_tags();
        }
        ValueRef::decode(tag, &mut self.reader)
    }

    #[inline]
    fn next_tags(&mut self) {
        if let Some((word, rest)) = self.header.split_first_chunk::<WORD>() {
            self.tags = u64::from_le_bytes(*word);
            self.header = rest;
        }
    }
}

/// The row at which a cursor stands: an iterator over its values, which outlive it.
#[derive(Debug)]
pub struct Row<'c, 'a> {
    cursor: &'c mut RowCursor<'a>,
}

impl Row<'_, '_> {
    /// The values; the row itself.
    #[inline]
    #[must_use]
    pub fn values(self) -> Self {
        self
    }

    /// Where the value that comes next begins in the frame's
    /// [`raw_rows`](RowsFrame::raw_rows): at a whole word.
    #[inline]
    pub fn position(&self) -> usize {
        self.cursor.position()
    }

    /// The column whose value comes next.
    #[inline]
    pub fn column(&self) -> usize {
        self.cursor.width.saturating_sub(self.cursor.left)
    }
}

impl<'a> Iterator for Row<'_, 'a> {
    type Item = Result<ValueRef<'a>, DecodeError>;

    #[expect(clippy::inline_always, reason = "measured: twice the rows per second")]
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.left == 0 {
            return None;
        }
        Some(self.cursor.value())
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.cursor.left, Some(self.cursor.left))
    }
}

impl ExactSizeIterator for Row<'_, '_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(frame: &RowsFrame) -> Bytes {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes.into()
    }

    fn wide(columns: u8) -> RowsFrame {
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        let row = |first: i64| (0..columns).map(move |n| ValueRef::Integer(first + i64::from(n)));
        let rows = [row(0).collect(), row(100).collect(), row(200).collect()];
        RowsFrame::build(Arc::new(Columns::new(&names)), &rows, true)
    }

    #[test]
    fn what_was_not_read_of_a_row_is_skipped() {
        for columns in [1, 2, 15, 16, 17, 31, 32, 33, 64, 65] {
            for read in 0..=usize::from(columns) {
                let frame = wide(columns);
                let mut cursor = frame.rows();
                for first in [0, 100, 200] {
                    let mut row = cursor.next_row().unwrap().unwrap();
                    assert_eq!(row.len(), usize::from(columns));
                    for n in 0..read {
                        assert_eq!(row.column(), n);
                        let at = row.position();
                        let value = row.next().unwrap().unwrap();
                        assert_eq!(value, ValueRef::Integer(first + i64::try_from(n).unwrap()));
                        let kept = ValueRef::at(value.tag(), &frame.raw_rows()[at..]);
                        assert_eq!(kept, Ok(value));
                    }
                }
                assert!(cursor.next_row().unwrap().is_none(), "{columns} {read}");
                assert!(cursor.next_row().unwrap().is_none(), "and again");
            }
        }
    }

    #[test]
    fn columns_stay_the_same_within_a_result() {
        let first = wide(3);
        let same = RowsFrame::decode(&body(&first), Some(first.columns()), None).unwrap();
        assert!(Arc::ptr_eq(same.columns(), first.columns()));
        let known = RowsFrame::decode(&body(&first), None, Some(first.columns())).unwrap();
        assert!(Arc::ptr_eq(known.columns(), first.columns()));
        // Columns of another statement are only known, not expected.
        let other = RowsFrame::decode(&body(&wide(4)), None, Some(first.columns())).unwrap();
        assert_eq!(other.columns().len(), 4);
        let error = RowsFrame::decode(&body(&wide(4)), Some(first.columns()), None).unwrap_err();
        assert!(
            error.to_string().contains("column names changed"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let words = |words: &[u64]| -> Bytes {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            bytes.collect::<Vec<u8>>().into()
        };
        for (body, why) in [
            (words(&[]), "a result without its marker"),
            (words(&[0, 7]), "a result without its marker"),
            (words(&[0, 1, DONE]), "rows without columns"),
            (
                words(&[u64::MAX, DONE]),
                "more columns than there is room for",
            ),
            (words(&[2, 0, DONE]), "more columns than there is room for"),
            (words(&[0, PART]), "a part of a result without rows"),
        ] {
            let error = RowsFrame::decode(&body, None, None).unwrap_err();
            assert!(error.to_string().contains(why), "{error}, not {why}");
        }
        // A row that is cut off is found where it is read.
        let whole = body(&wide(2));
        let cut = [&whole[..whole.len() - 16], &DONE.to_le_bytes()]
            .concat()
            .into();
        let frame = RowsFrame::decode(&cut, None, None).unwrap();
        let mut cursor = frame.rows();
        let mut values = Vec::new();
        assert!(cursor.next_into(&mut values).unwrap());
        assert!(cursor.next_into(&mut values).unwrap());
        cursor.next_into(&mut values).unwrap_err();
    }
}
