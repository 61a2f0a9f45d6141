//! Wire rows to Python objects: each value is built once, names are interned once per result.

use std::sync::Arc;

use dqlite_proto::{DecodeError, RowsFrame, ValueRef};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::arrow::Kept;
use crate::errors;
use crate::projection::{Projection, Result, RowShape, Take, Types};
use crate::record::{Header, Known, Record};
use crate::temporal;

/// Gathers the rows of one result while its frames arrive.
pub(crate) struct Collector {
    projection: Projection,
    header: Option<Arc<Header>>,
    rows: Py<PyList>,
    tags: Vec<Vec<u8>>,
    failed: Option<PyErr>,
    /// Rows that were taken so far.
    seen: usize,
    /// The messages of a cursor's rows, from which Arrow is made.
    kept: Kept,
}

/// Why a frame was not taken: the bytes are wrong, and the connection with them.
pub(crate) enum Broken {
    /// Not the protocol.
    Wire(DecodeError),
    /// Python could not make an object.
    Python(PyErr),
}

impl From<DecodeError> for Broken {
    fn from(error: DecodeError) -> Self {
        Self::Wire(error)
    }
}

impl From<PyErr> for Broken {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Collector {
    /// A collector in front of the first frame.
    pub(crate) fn new(py: Python<'_>, projection: Projection) -> Self {
        let rows = PyList::empty(py).unbind();
        Self {
            projection,
            header: None,
            rows,
            tags: Vec::new(),
            failed: None,
            seen: 0,
            kept: Kept::new(projection.types),
        }
    }

    /// Takes the rows of a frame. A value that cannot be read is raised by `finish`, when the
    /// reply has been consumed.
    pub(crate) fn take(
        &mut self,
        py: Python<'_>,
        frame: &RowsFrame,
        known: &mut Option<Known>,
    ) -> std::result::Result<(), DecodeError> {
        if self.header.is_none() {
            self.header = Some(Header::known(py, frame.columns(), known));
        }
        if self.failed.is_some() || self.is_satisfied(py) {
            return Ok(());
        }
        let before = self.rows.bind(py).len();
        let appended = self.append(py, frame);
        if matches!(self.projection.take, Take::Stream) {
            let rows = self.rows.bind(py).len() - before;
            self.kept.keep(frame, rows);
        }
        match appended {
            Ok(()) => Ok(()),
            Err(Broken::Wire(error)) => Err(error),
            Err(Broken::Python(error)) => {
                self.failed = Some(error);
                Ok(())
            }
        }
    }

    /// What the projection asks for.
    pub(crate) fn finish(self, py: Python<'_>, rowcount: Rowcount) -> PyResult<Py<PyAny>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let rows = self.rows.bind(py);
        match self.projection.take {
            Take::All => Ok(self.rows.into_any()),
            Take::First | Take::Value if rows.is_empty() => Ok(py.None()),
            Take::First | Take::Value => Ok(rows.get_item(0)?.unbind()),
            Take::Result | Take::Stream => {
                let columns = self.header.map(|header| {
                    header
                        .names()
                        .iter()
                        .map(|name| name.clone_ref(py))
                        .collect::<Vec<_>>()
                });
                let rowcount = match rowcount {
                    Rowcount::None => -1,
                    Rowcount::Rows => i64::try_from(rows.len()).unwrap_or(i64::MAX),
                };
                let result = Result {
                    columns,
                    tags: self.tags,
                    rows: self.rows,
                    rowcount,
                    lastrowid: None,
                    kept: self.kept,
                };
                Ok(Py::new(py, result)?.into_any())
            }
        }
    }

    /// Names and the tags of the first row.
    pub(crate) fn described(&self, py: Python<'_>) -> (Vec<Py<PyString>>, Vec<Vec<u8>>) {
        let names = self.header.iter().flat_map(|header| header.names());
        (
            names.map(|name| name.clone_ref(py)).collect(),
            self.tags.clone(),
        )
    }

    /// The rows so far, exchanged for another list; only their messages are kept.
    pub(crate) fn swap_rows(&mut self, rows: Py<PyList>, count: usize) -> Py<PyList> {
        self.kept.only(count);
        std::mem::replace(&mut self.rows, rows)
    }

    /// The messages behind the rows that were swapped last and those that wait.
    pub(crate) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// How many rows it has taken.
    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    /// Why a value could not be read, if one could not.
    pub(crate) fn take_failed(&mut self) -> Option<PyErr> {
        self.failed.take()
    }

    /// The rows so far, for the collector of cycles.
    pub(crate) const fn rows_list(&self) -> &Py<PyList> {
        &self.rows
    }

    fn is_satisfied(&self, py: Python<'_>) -> bool {
        matches!(self.projection.take, Take::First | Take::Value) && !self.rows.bind(py).is_empty()
    }

    fn append(&mut self, py: Python<'_>, frame: &RowsFrame) -> std::result::Result<(), Broken> {
        let header = self
            .header
            .get_or_insert_with(|| Header::of(py, frame.columns()));
        let header = Arc::clone(header);
        let rows = self.rows.bind(py).clone();
        let width = header.names().len();
        let one = matches!(self.projection.take, Take::First | Take::Value);
        let mut cursor = frame.rows();
        let mut values = Vec::with_capacity(width);
        while cursor.next_into(&mut values)? {
            self.note_tags(&values);
            rows.append(self.row(py, &header, &values)?)?;
            self.seen += 1;
            if one {
                break;
            }
        }
        Ok(())
    }

    fn note_tags(&mut self, values: &[ValueRef<'_>]) {
        let wanted =
            self.projection.tags || (self.tags.is_empty() && self.projection.take.is_described());
        if wanted {
            self.tags
                .push(values.iter().map(|value| value.tag()).collect());
        }
    }

    fn row<'py>(
        &self,
        py: Python<'py>,
        header: &Arc<Header>,
        values: &[ValueRef<'_>],
    ) -> PyResult<Bound<'py, PyAny>> {
        let types = self.projection.types;
        if matches!(self.projection.take, Take::Value) {
            let column = self.projection.column;
            let value = values.get(column).ok_or_else(|| {
                let text = format!("column {column} of {} columns", values.len());
                errors::programming(py, text)
            })?;
            return object(py, *value, types);
        }
        let mut objects = Vec::with_capacity(values.len());
        for value in values {
            objects.push(object(py, *value, types)?);
        }
        Ok(match self.projection.row {
            RowShape::Record => {
                Bound::new(py, Record::of(header, PyTuple::new(py, objects)?))?.into_any()
            }
            RowShape::Tuple => PyTuple::new(py, objects)?.into_any(),
            RowShape::List => PyList::new(py, objects)?.into_any(),
            RowShape::Dict => {
                let dict = PyDict::new(py);
                for (name, object) in header.names().iter().zip(objects) {
                    dict.set_item(name, object)?;
                }
                dict.into_any()
            }
        })
    }
}

/// What a statement that gives rows reports as the number of rows changed.
#[derive(Clone, Copy)]
pub(crate) enum Rowcount {
    /// There is no such number.
    None,
    /// RETURNING: as many as were given.
    Rows,
}

fn object<'py>(py: Python<'py>, value: ValueRef<'_>, types: Types) -> PyResult<Bound<'py, PyAny>> {
    match value {
        ValueRef::Integer(number) => Ok(PyInt::new(py, number).into_any()),
        ValueRef::Text(bytes) => text(py, bytes),
        ValueRef::Float(number) => Ok(PyFloat::new(py, number).into_any()),
        ValueRef::Null => Ok(py.None().into_bound(py)),
        ValueRef::Blob(bytes) => Ok(PyBytes::new(py, bytes).into_any()),
        ValueRef::Boolean(raw) => boolean(py, raw.cast_signed(), types),
        ValueRef::UnixTime(seconds) => unix_time(py, seconds, types),
        ValueRef::Iso8601(bytes) => iso8601(py, bytes, types),
    }
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(error) => {
            let at = error.valid_up_to();
            Err(errors::data(
                py,
                format!("text that is not UTF-8, at byte {at}: select it as a blob"),
            ))
        }
    }
}

fn boolean(py: Python<'_>, number: i64, types: Types) -> PyResult<Bound<'_, PyAny>> {
    let truth = match (types, number) {
        (Types::Client, number) => number != 0,
        (Types::Auto | Types::Strict, 0) => false,
        (Types::Auto | Types::Strict, 1) => true,
        (Types::Strict, _) => {
            return Err(errors::data(py, format!("a BOOLEAN column holds {number}")));
        }
        (Types::Auto | Types::Raw, _) => return Ok(PyInt::new(py, number).into_any()),
    };
    Ok(PyBool::new(py, truth).to_owned().into_any())
}

fn unix_time(py: Python<'_>, seconds: i64, types: Types) -> PyResult<Bound<'_, PyAny>> {
    if matches!(types, Types::Raw | Types::Client) {
        return Ok(PyInt::new(py, seconds).into_any());
    }
    match temporal::from_seconds(py, seconds)? {
        Some(time) => Ok(time),
        None if matches!(types, Types::Strict) => Err(errors::data(
            py,
            format!("a time column holds {seconds} seconds, beyond all years"),
        )),
        None => Ok(PyInt::new(py, seconds).into_any()),
    }
}

fn iso8601<'py>(py: Python<'py>, bytes: &[u8], types: Types) -> PyResult<Bound<'py, PyAny>> {
    let plain = text(py, bytes)?;
    if matches!(types, Types::Raw | Types::Client) {
        return Ok(plain);
    }
    if bytes.is_empty() {
        return Ok(py.None().into_bound(py));
    }
    let time = std::str::from_utf8(bytes).map_or(Ok(None), |text| temporal::from_text(py, text))?;
    match time {
        Some(time) => Ok(time),
        None if matches!(types, Types::Strict) => Err(errors::data(
            py,
            format!("a time column holds {}", plain.repr()?),
        )),
        None => Ok(plain),
    }
}
