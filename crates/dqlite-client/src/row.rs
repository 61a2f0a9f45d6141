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
/// Neighbouring rows share memory: one that is kept holds those around it, up to 32 KiB or the
/// message that they came in, which is 64 KiB from our nodes (and larger for larger rows). Read
/// what is needed out of rows that are to live long.
#[derive(Clone)]
pub struct Row {
    page: Arc<Page>,
    /// Its first cell in the page.
    first: u32,
}

/// Rows that came one after the other.
#[derive(Debug)]
struct Page {
    columns: Arc<Columns>,
    /// Row after row.
    cells: Vec<Cell>,
    /// The rows as they came: values are decoded when they are asked for.
    bytes: Vec<u8>,
}

/// Where a value begins in the bytes of the page, in words, and its tag in the lowest 4 bits.
#[derive(Clone, Copy, Debug)]
struct Cell(u32);

/// The rows of a result as they are collected.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    rows: Vec<Row>,
    /// Its rows have not been handed out.
    open: Option<Page>,
    seen: u64,
}

impl Pages {
    /// Takes all rows of a frame.
    pub(crate) fn read(&mut self, frame: &RowsFrame) -> Result<(), DecodeError> {
        let bytes = frame.raw_rows();
        let same = |page: &Page| Arc::ptr_eq(&page.columns, frame.columns());
        let mut page = match self.open.take() {
            Some(page) if same(&page) && page.bytes.len() + bytes.len() <= PAGE_BYTES => page,
            full => {
                self.close(full);
                Page::new(frame, bytes.len())
            }
        };
        let mut cursor = frame.rows();
        // What lies before is in earlier pages.
        let mut start = 0;
        while let Some(mut row) = cursor.next_row()? {
            loop {
                let at = page.bytes.len() + row.position() - start;
                let Some(value) = row.next() else { break };
                let cell = Cell::new(value?, at).ok_or(DecodeError {
                    what: "a row of more than 2 GiB",
                    at,
                })?;
                page.cells.push(cell);
            }
            self.seen += 1;
            let end = cursor.position();
            if end - start >= PAGE_BYTES && end < bytes.len() {
                page.bytes.extend_from_slice(&bytes[start..end]);
                let next = Page::new(frame, bytes.len() - end);
                self.close(Some(std::mem::replace(&mut page, next)));
                start = end;
            }
        }
        page.bytes.extend_from_slice(&bytes[start..]);
        self.open = Some(page);
        Ok(())
    }

    /// How many rows have come so far.
    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Hands out the rows that have come since it did so last.
    pub(crate) fn take(&mut self) -> Vec<Row> {
        let open = self.open.take();
        self.close(open);
        std::mem::take(&mut self.rows)
    }

    fn close(&mut self, page: Option<Page>) {
        let Some(mut page) = page else { return };
        page.cells.shrink_to_fit();
        page.bytes.shrink_to_fit();
        let (cells, width) = (page.cells.len(), page.columns.len().max(1));
        let page = Arc::new(page);
        // No page has more cells than its bytes have words.
        let firsts = (0..u32::try_from(cells).unwrap_or(u32::MAX)).step_by(width);
        self.rows.extend(firsts.map(|first| Row {
            page: Arc::clone(&page),
            first,
        }));
    }
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

    #[inline]
    fn value(&self, at: usize) -> Option<ValueRef<'_>> {
        if at >= self.len() {
            return None;
        }
        self.page.value(self.first as usize + at)
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
    /// Room for the rest of a frame, and for what comes behind it if it is not the last one.
    fn new(frame: &RowsFrame, rest: usize) -> Self {
        let full = if frame.is_done() { rest } else { PAGE_BYTES };
        Self {
            columns: Arc::clone(frame.columns()),
            cells: Vec::new(),
            bytes: Vec::with_capacity(full.min(PAGE_BYTES)),
        }
    }

    #[inline]
    fn value(&self, cell: usize) -> Option<ValueRef<'_>> {
        self.cells.get(cell)?.value(&self.bytes)
    }
}

impl Cell {
    const TAG_BITS: u32 = 4;

    /// `None` where the words cannot be counted any more.
    #[inline]
    fn new(value: ValueRef<'_>, at: usize) -> Option<Self> {
        let word = u32::try_from(at / size_of::<u64>()).ok()?;
        let place = word.checked_mul(1 << Self::TAG_BITS)?;
        Some(Self(place | u32::from(value.tag())))
    }

    #[inline]
    fn value(self, bytes: &[u8]) -> Option<ValueRef<'_>> {
        let at = (self.0 >> Self::TAG_BITS) as usize * size_of::<u64>();
        let tag = self.0 & ((1 << Self::TAG_BITS) - 1);
        ValueRef::at(tag.to_le_bytes()[0], bytes.get(at..)?).ok()
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

    fn read(frames: &[RowsFrame]) -> Vec<Row> {
        let mut pages = Pages::default();
        for frame in frames {
            pages.read(frame).unwrap();
        }
        let rows = pages.take();
        assert_eq!(pages.seen(), rows.len() as u64);
        assert!(pages.take().is_empty());
        rows
    }

    fn row() -> Row {
        let columns = Arc::new(Columns::new(&["id", "name", "id"]));
        let values = vec![ValueRef::Integer(7), ValueRef::Null, ValueRef::Text(b"x")];
        read(&[RowsFrame::build(columns, &[values], true)]).remove(0)
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
        let one = [RowsFrame::build(Arc::clone(&columns), &values, true)];
        let parts = values.chunks(70);
        let many = parts.map(|part| RowsFrame::build(Arc::clone(&columns), part, false));
        let [one, many] = [read(&one), read(&many.collect::<Vec<_>>())];
        assert_eq!(one, many);
        for rows in [&one, &many] {
            assert_eq!(rows.len(), values.len());
            for (row, values) in rows.iter().zip(&values) {
                let read: Vec<_> = row.values().flatten().collect();
                assert_eq!(read, *values);
                let page = &row.page;
                assert!(page.bytes.len() < PAGE_BYTES + long.len() + 200);
                assert!(page.bytes.capacity() < page.bytes.len() + 100);
            }
            assert!(!Arc::ptr_eq(&rows[0].page, &rows[4999].page));
            assert!(Arc::ptr_eq(&rows[80].page, &rows[81].page));
        }
        let rows = one;
        assert_eq!(rows[3], rows[3].clone());
        assert_ne!(rows[3], rows[4]);
    }
}
