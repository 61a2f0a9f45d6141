//! Rows that own what they hold.

use std::fmt;
use std::sync::Arc;

use dqlite_proto::{Columns, DecodeError, RowsFrame, ValueRef};

use crate::convert::{self, FromValue};
use crate::error::{Error, Result};

/// Rows share memory until they take about this much, so that a row costs no allocation.
const PAGE_BYTES: usize = 32 << 10;

/// One row of a result. It stays valid when the connection is gone.
///
/// Neighbouring rows share memory: one that is kept holds up to 32 KiB of those around it (and its
/// own, whatever its size). Read what is needed out of rows that are to live long.
#[derive(Clone)]
pub struct Row {
    page: Arc<Page>,
    /// Its first cell in the page.
    first: usize,
}

/// Rows that came together.
struct Page {
    columns: Arc<Columns>,
    /// Row after row.
    cells: Vec<Cell>,
    /// What texts and blobs hold, each behind its length.
    bytes: Vec<u8>,
}

/// A value as it came; text is kept as bytes, because it need not be UTF-8. Those with a position
/// lie in the bytes of the page.
#[derive(Clone, Copy)]
enum Cell {
    Integer(i64),
    Float(f64),
    Text(usize),
    Blob(usize),
    Null,
    UnixTime(i64),
    Iso8601(usize),
    Boolean(u64),
}

impl Row {
    /// The names of the columns. They may repeat and may be empty.
    pub fn columns(&self) -> &[String] {
        self.page.columns.names()
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.page.columns.len()
    }

    /// Whether it has no columns.
    pub fn is_empty(&self) -> bool {
        self.page.columns.is_empty()
    }

    /// Reads a column, by index or by name; of several columns of one name, the first.
    ///
    /// An error of kind Usage if there is no such column, of kind Convert if it cannot be read as
    /// that type. NULL can only be read as an [`Option`].
    pub fn get<T: FromValue>(&self, column: impl Column) -> Result<T> {
        let at = column.find(self)?;
        let value = self.value(at).ok_or_else(|| no_column(&at, self))?;
        T::from_value(value).ok_or_else(|| {
            let (name, what) = (
                self.page.columns.get(at).unwrap_or_default(),
                convert::name(value),
            );
            let hint = if value == ValueRef::Null {
                "; read it as an Option"
            } else {
                ""
            };
            let text = format!(
                "column {at} ({name:?}) holds {what}, not a {}{hint}",
                T::NAME
            );
            Error::convert(text)
        })
    }

    /// Whether there is such a column.
    pub fn has(&self, column: impl Column) -> bool {
        column.find(self).is_ok()
    }

    /// A column without converting it.
    pub fn get_ref(&self, column: impl Column) -> Result<ValueRef<'_>> {
        let at = column.find(self)?;
        self.value(at).ok_or_else(|| no_column(&at, self))
    }

    /// All rows of a frame.
    pub(crate) fn read(frame: &RowsFrame, into: &mut Vec<Self>) -> Result<(), DecodeError> {
        let mut cursor = frame.rows();
        let mut page = Page::new(frame);
        while let Some(row) = cursor.next_row()? {
            for value in row {
                page.push(value?);
            }
            if page.size() >= PAGE_BYTES {
                std::mem::replace(&mut page, Page::new(frame)).finish(into);
            }
        }
        page.finish(into);
        Ok(())
    }

    #[inline]
    fn value(&self, at: usize) -> Option<ValueRef<'_>> {
        if at >= self.len() {
            return None;
        }
        self.page.value(self.first + at)
    }

    fn values(&self) -> impl Iterator<Item = Option<ValueRef<'_>>> {
        (0..self.len()).map(|at| self.value(at))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.page.columns == other.page.columns && self.values().eq(other.values())
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values().flatten();
        f.debug_map()
            .entries(self.columns().iter().zip(values))
            .finish()
    }
}

impl Page {
    fn new(frame: &RowsFrame) -> Self {
        // No value takes less than a word of the frame, and none takes more bytes here than there.
        let bytes = frame.row_bytes().min(PAGE_BYTES);
        Self {
            columns: Arc::clone(frame.columns()),
            cells: Vec::with_capacity(bytes / size_of::<u64>()),
            bytes: Vec::with_capacity(bytes),
        }
    }

    const fn size(&self) -> usize {
        size_of::<Cell>() * self.cells.len() + self.bytes.len()
    }

    #[inline]
    fn push(&mut self, value: ValueRef<'_>) {
        let cell = match value {
            ValueRef::Integer(v) => Cell::Integer(v),
            ValueRef::Float(v) => Cell::Float(v),
            ValueRef::Text(v) => Cell::Text(self.store(v)),
            ValueRef::Blob(v) => Cell::Blob(self.store(v)),
            ValueRef::Null => Cell::Null,
            ValueRef::UnixTime(v) => Cell::UnixTime(v),
            ValueRef::Iso8601(v) => Cell::Iso8601(self.store(v)),
            ValueRef::Boolean(v) => Cell::Boolean(v),
        };
        self.cells.push(cell);
    }

    #[inline]
    fn store(&mut self, value: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&value.len().to_le_bytes());
        self.bytes.extend_from_slice(value);
        at
    }

    /// Hands its rows out.
    fn finish(mut self, into: &mut Vec<Row>) {
        let (cells, width) = (self.cells.len(), self.columns.len().max(1));
        if cells == 0 {
            return;
        }
        self.cells.shrink_to_fit();
        self.bytes.shrink_to_fit();
        let page = Arc::new(self);
        let row = |first| Row {
            page: Arc::clone(&page),
            first,
        };
        into.extend((0..cells).step_by(width).map(row));
    }

    #[inline]
    fn value(&self, cell: usize) -> Option<ValueRef<'_>> {
        Some(match *self.cells.get(cell)? {
            Cell::Integer(v) => ValueRef::Integer(v),
            Cell::Float(v) => ValueRef::Float(v),
            Cell::Text(at) => ValueRef::Text(self.stored(at)?),
            Cell::Blob(at) => ValueRef::Blob(self.stored(at)?),
            Cell::Null => ValueRef::Null,
            Cell::UnixTime(v) => ValueRef::UnixTime(v),
            Cell::Iso8601(at) => ValueRef::Iso8601(self.stored(at)?),
            Cell::Boolean(v) => ValueRef::Boolean(v),
        })
    }

    #[inline]
    fn stored(&self, at: usize) -> Option<&[u8]> {
        let (length, rest) = self.bytes.get(at..)?.split_first_chunk()?;
        rest.get(..usize::from_le_bytes(*length))
    }
}

/// Names a column: an index from 0, or a name.
pub trait Column {
    /// The index of the column in `row`.
    fn find(self, row: &Row) -> Result<usize>;
}

impl Column for usize {
    fn find(self, row: &Row) -> Result<usize> {
        if self < row.len() {
            Ok(self)
        } else {
            Err(no_column(&self, row))
        }
    }
}

impl Column for &str {
    fn find(self, row: &Row) -> Result<usize> {
        row.page
            .columns
            .position(self)
            .ok_or_else(|| no_column(&self, row))
    }
}

fn no_column(column: &dyn fmt::Debug, row: &Row) -> Error {
    Error::usage(format!("no column {column:?} among {:?}", row.columns()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn row() -> Row {
        let columns = Arc::new(Columns::new(&["id", "name", "id"]));
        let values = vec![ValueRef::Integer(7), ValueRef::Null, ValueRef::Text(b"x")];
        let mut rows = Vec::new();
        Row::read(&RowsFrame::build(columns, &[values], true), &mut rows).unwrap();
        rows.remove(0)
    }

    #[test]
    fn columns_are_read_by_index_and_by_name() {
        let row = row();
        assert_eq!(row.get::<i64>(0).unwrap(), 7);
        assert_eq!(
            row.get::<i64>("id").unwrap(),
            7,
            "of equal names, the first"
        );
        assert_eq!(row.get::<String>(2).unwrap(), "x");
        assert_eq!(row.get::<Option<String>>("name").unwrap(), None);
    }

    #[test]
    fn errors_name_the_column() {
        let row = row();
        let error = row.get::<String>("name").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Convert);
        let text = "column 1 (\"name\") holds NULL, not a String; read it as an Option";
        assert_eq!(error.to_string(), text);
        assert_eq!(row.get::<i64>("none").unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(row.get::<i64>(3).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn rows_are_whole_in_every_page() {
        let columns = Arc::new(Columns::new(&["id", "name", "bytes"]));
        let names: Vec<String> = (0..5000).map(|id| "n".repeat(id % 50)).collect();
        let long = vec![7; 2 * PAGE_BYTES];
        let values: Vec<_> = (0..)
            .zip(&names)
            .map(|(id, name)| {
                let blob = if id == 9 { &long[..] } else { &[] };
                vec![
                    ValueRef::Integer(id),
                    ValueRef::Text(name.as_bytes()),
                    ValueRef::Blob(blob),
                ]
            })
            .collect();
        let mut rows = Vec::new();
        Row::read(&RowsFrame::build(columns, &values, true), &mut rows).unwrap();
        assert_eq!(rows.len(), values.len());
        for (row, values) in rows.iter().zip(&values) {
            let read: Vec<_> = row.values().flatten().collect();
            assert_eq!(read, *values);
            let page = &row.page;
            assert!(page.size() < PAGE_BYTES + long.len() + 200);
            assert!(page.bytes.capacity() < page.bytes.len() + 100);
        }
        assert!(!Arc::ptr_eq(&rows[0].page, &rows[4999].page));
        assert_eq!(rows[3], rows[3].clone());
        assert_ne!(rows[3], rows[4]);
    }
}
