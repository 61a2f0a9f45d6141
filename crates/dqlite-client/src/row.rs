//! Rows that own what they hold.

use std::sync::Arc;

use dqlite_proto::{Columns, DecodeError, RowsFrame, ValueRef};

use crate::convert::{self, FromValue};
use crate::error::{Error, Result};

/// One row of a result. It stays valid when the connection is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<Columns>,
    cells: Box<[Cell]>,
}

/// A value as it came; text is kept as bytes, because it need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Integer(i64),
    Float(f64),
    Text(Box<[u8]>),
    Blob(Box<[u8]>),
    Null,
    UnixTime(i64),
    Iso8601(Box<[u8]>),
    Boolean(u64),
}

impl Row {
    /// The names of the columns. They may repeat and may be empty.
    pub fn columns(&self) -> &[String] {
        self.columns.names()
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no columns.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Reads a column, by index or by name; of several columns of one name, the first.
    ///
    /// An error of kind Usage if there is no such column, of kind Convert if it cannot be read as
    /// that type. NULL can only be read as an [`Option`].
    pub fn get<T: FromValue>(&self, column: impl Column) -> Result<T> {
        let at = column.find(self)?;
        let value = self.get_ref(at)?;
        T::from_value(value).ok_or_else(|| {
            let (name, what) = (
                self.columns.get(at).unwrap_or_default(),
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
        self.cells
            .get(at)
            .map(Cell::as_ref)
            .ok_or_else(|| no_column(&at, self))
    }

    /// All rows of a frame.
    pub(crate) fn read(frame: &RowsFrame, into: &mut Vec<Self>) -> Result<(), DecodeError> {
        let mut cursor = frame.rows();
        while let Some(row) = cursor.next_row()? {
            let cells = row
                .map(|value| value.map(Cell::from))
                .collect::<Result<_, _>>()?;
            let columns = Arc::clone(frame.columns());
            into.push(Self { columns, cells });
        }
        Ok(())
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
        row.columns
            .position(self)
            .ok_or_else(|| no_column(&self, row))
    }
}

fn no_column(column: &dyn std::fmt::Debug, row: &Row) -> Error {
    Error::usage(format!("no column {column:?} among {:?}", row.columns()))
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Integer(v) => Self::Integer(v),
            ValueRef::Float(v) => Self::Float(v),
            ValueRef::Text(v) => Self::Text(v.into()),
            ValueRef::Blob(v) => Self::Blob(v.into()),
            ValueRef::Null => Self::Null,
            ValueRef::UnixTime(v) => Self::UnixTime(v),
            ValueRef::Iso8601(v) => Self::Iso8601(v.into()),
            ValueRef::Boolean(v) => Self::Boolean(v),
        }
    }
}

impl Cell {
    const fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Integer(v) => ValueRef::Integer(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Blob(v) => ValueRef::Blob(v),
            Self::Null => ValueRef::Null,
            Self::UnixTime(v) => ValueRef::UnixTime(*v),
            Self::Iso8601(v) => ValueRef::Iso8601(v),
            Self::Boolean(v) => ValueRef::Boolean(*v),
        }
    }
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
}
