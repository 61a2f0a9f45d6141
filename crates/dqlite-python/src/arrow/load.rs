//! Rows for inserts: taken from an iterator or an Arrow stream, encoded once, several to a set of
//! parameters.

use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatchReader;
use arrow_array::ffi_stream::RecordBatchStreamReader;
use dqlite_proto::Params;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use super::import;
use super::source::{Column, Unfit};
use crate::encode;
use crate::errors;

/// A set of parameters that is encoded already; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Encoded(Mutex<Option<Params>>);

impl Encoded {
    /// The parameters, once.
    pub(crate) fn take(&self) -> Option<Params> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Rows on their way into a table; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Loader {
    columns: Option<Vec<String>>,
    width: usize,
    /// Taken out while rows are fetched, which runs code of others.
    inner: Mutex<Option<Inner>>,
}

struct Inner {
    feed: Feed,
    strict: bool,
    /// Rows taken from the source.
    taken: usize,
    ended: bool,
    lot: Lot,
    rest: Option<(Params, usize)>,
    scratch: String,
}

/// What may be taken until the next call of `lot`.
#[derive(Default)]
struct Lot {
    rows_per_set: usize,
    rows: usize,
    rows_max: usize,
    bytes: usize,
    bytes_max: usize,
}

enum Feed {
    Rows {
        rows: Py<PyIterator>,
        /// Fetched, and not taken yet.
        first: Option<Py<PyAny>>,
        names: Option<Vec<String>>,
        width: usize,
    },
    Arrow {
        reader: Box<RecordBatchStreamReader>,
        batch: Vec<Column>,
        rows: usize,
        at: usize,
    },
}

#[pymethods]
impl Loader {
    #[new]
    fn new(source: &Bound<'_, PyAny>, strict: bool) -> PyResult<Self> {
        let (feed, columns, width) = match import::reader(source)? {
            Some(reader) => arrow_feed(source.py(), reader)?,
            None => rows_feed(source)?,
        };
        let inner = Inner {
            feed,
            strict,
            taken: 0,
            ended: false,
            lot: Lot::default(),
            rest: None,
            scratch: String::new(),
        };
        Ok(Self {
            columns,
            width,
            inner: Mutex::new(Some(inner)),
        })
    }

    #[getter]
    fn columns(&self) -> Option<Vec<String>> {
        self.columns.clone()
    }

    #[getter]
    const fn width(&self) -> usize {
        self.width
    }

    #[getter]
    fn taken(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |inner| Ok(inner.taken))
    }

    fn more(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |inner| inner.more(py))
    }

    fn lot(
        slf: Bound<'_, Self>,
        rows_per_set: usize,
        rows_max: usize,
        bytes_max: usize,
    ) -> PyResult<Bound<'_, Self>> {
        slf.get().with(slf.py(), |inner| {
            inner.lot = Lot {
                rows_per_set: rows_per_set.max(1),
                rows_max,
                bytes_max,
                ..Lot::default()
            };
            Ok(())
        })?;
        Ok(slf)
    }

    fn rest(&self, py: Python<'_>) -> PyResult<Option<(Encoded, usize)>> {
        self.with(py, |inner| {
            let rest = inner.rest.take();
            Ok(rest.map(|(params, rows)| (Encoded(Mutex::new(Some(params))), rows)))
        })
    }

    const fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Encoded>> {
        let set = self.with(py, |inner| inner.next_set(py))?;
        Ok(set.map(|params| Encoded(Mutex::new(Some(params)))))
    }
}

impl Loader {
    fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut Inner) -> PyResult<T>) -> PyResult<T> {
        let lock = || self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lock().take();
        let Some(mut inner) = taken else {
            return Err(errors::interface(py, "these rows are being taken already"));
        };
        let done = work(&mut inner);
        *lock() = Some(inner);
        done
    }
}

impl Inner {
    /// The next full set of the lot; what is left of the lot goes to `rest`.
    fn next_set(&mut self, py: Python<'_>) -> PyResult<Option<Params>> {
        let mut params = Params::new();
        let mut rows = 0;
        while rows < self.lot.rows_per_set {
            let bytes = params.as_ref().size(1);
            let full = rows == 0 && self.lot.is_full() || bytes >= self.lot.bytes_max;
            if self.ended || full || !self.row(py, &mut params)? {
                break;
            }
            rows += 1;
            self.taken += 1;
            self.lot.rows += 1;
        }
        self.lot.bytes += params.as_ref().size(1);
        if rows == self.lot.rows_per_set {
            return Ok(Some(params));
        }
        if rows > 0 {
            self.rest = Some((params, rows));
        }
        Ok(None)
    }

    /// Whether there is a row that was not taken yet.
    fn more(&mut self, py: Python<'_>) -> PyResult<bool> {
        if self.ended {
            return Ok(self.rest.is_some());
        }
        match &mut self.feed {
            Feed::Rows { rows, first, .. } => {
                if first.is_none() {
                    let row = rows.bind(py).clone().next().transpose()?;
                    self.ended = row.is_none();
                    *first = row.map(Bound::unbind);
                }
            }
            Feed::Arrow {
                reader,
                batch,
                rows,
                at,
            } => {
                while *at == *rows && !self.ended {
                    match next_batch(py, reader, self.taken)? {
                        Some(next) => (*batch, *rows, *at) = (next.0, next.1, 0),
                        None => self.ended = true,
                    }
                }
            }
        }
        Ok(!self.ended)
    }

    /// Appends the cells of the next row; false at the end.
    fn row(&mut self, py: Python<'_>, params: &mut Params) -> PyResult<bool> {
        let number = self.taken;
        if !self.more(py)? {
            return Ok(false);
        }
        match &mut self.feed {
            Feed::Rows {
                first,
                names,
                width,
                ..
            } => {
                let Some(row) = first.take() else {
                    return Ok(false);
                };
                let row = row.bind(py);
                match names {
                    Some(names) => by_name(params, row, names, self.strict, number)?,
                    None => by_position(params, row, *width, self.strict, number)?,
                }
            }
            Feed::Arrow { batch, at, .. } => {
                for (column, cells) in batch.iter().enumerate() {
                    let pushed = cells.push(*at, params, &mut self.scratch);
                    pushed.map_err(|unfit| unfit_error(py, &unfit, number, column))?;
                }
                *at += 1;
            }
        }
        Ok(true)
    }
}

impl Lot {
    const fn is_full(&self) -> bool {
        self.rows >= self.rows_max || self.bytes >= self.bytes_max
    }
}

type Made = (Feed, Option<Vec<String>>, usize);

fn arrow_feed(py: Python<'_>, reader: RecordBatchStreamReader) -> PyResult<Made> {
    let schema = reader.schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    for field in schema.fields() {
        let empty = arrow_array::new_empty_array(field.data_type());
        if Column::of(&empty).is_none() {
            let kind = field.data_type();
            let text = format!("column {:?}: SQLite has nothing like {kind}", field.name());
            return Err(errors::programming(py, text));
        }
    }
    let width = names.len();
    let feed = Feed::Arrow {
        reader: Box::new(reader),
        batch: Vec::new(),
        rows: 0,
        at: 0,
    };
    Ok((feed, Some(names), width))
}

fn rows_feed(source: &Bound<'_, PyAny>) -> PyResult<Made> {
    let py = source.py();
    let rows = source.try_iter().map_err(|_| {
        let text = "rows come from an iterable or from anything with __arrow_c_stream__";
        errors::programming(py, text)
    })?;
    let first = rows.clone().next().transpose()?;
    let names = match first.as_ref().map(|row| row.cast::<PyDict>()) {
        Some(Ok(mapping)) => Some(mapping.keys().extract::<Vec<String>>()?),
        _ => None,
    };
    let width = match (&names, &first) {
        (Some(names), _) => names.len(),
        (None, Some(row)) => sequence(row, 0)?.len(),
        (None, None) => 0,
    };
    let feed = Feed::Rows {
        rows: rows.unbind(),
        first: first.map(Bound::unbind),
        names: names.clone(),
        width,
    };
    Ok((feed, names, width))
}

/// Reads on in a stream of others, without the interpreter, which they may need.
fn next_batch(
    py: Python<'_>,
    reader: &mut RecordBatchStreamReader,
    number: usize,
) -> PyResult<Option<(Vec<Column>, usize)>> {
    let batch = py.detach(|| reader.next()).transpose().map_err(|error| {
        let text = format!("Arrow stream, behind row {number}: {error}");
        errors::data(py, text)
    })?;
    Ok(batch.map(|batch| {
        let columns = batch.columns().iter().filter_map(Column::of).collect();
        (columns, batch.num_rows())
    }))
}

/// The values of a row that is a sequence.
fn sequence<'py>(row: &Bound<'py, PyAny>, number: usize) -> PyResult<Bound<'py, PyTuple>> {
    if let Ok(tuple) = row.cast::<PyTuple>() {
        return Ok(tuple.clone());
    }
    if let Ok(list) = row.cast::<PyList>() {
        return Ok(list.to_tuple());
    }
    let text = row.is_instance_of::<PyString>()
        || row.is_instance_of::<PyBytes>()
        || row.is_instance_of::<PyByteArray>();
    let values = if text { None } else { row.try_iter().ok() };
    let Some(values) = values else {
        let kind = row.get_type().name()?;
        let text = format!("row {number}: a row is a sequence of values, not {kind}");
        return Err(errors::programming(row.py(), text));
    };
    PyTuple::new(row.py(), values.collect::<PyResult<Vec<_>>>()?)
}

fn by_position(
    params: &mut Params,
    row: &Bound<'_, PyAny>,
    width: usize,
    strict: bool,
    number: usize,
) -> PyResult<()> {
    let row = sequence(row, number)?;
    if row.len() != width {
        let text = format!(
            "row {number}: {} values, the first row has {width}",
            row.len()
        );
        return Err(errors::programming(row.py(), text));
    }
    for (at, value) in row.iter().enumerate() {
        let label = || format!("row {number}, column {at}");
        encode::bind(params, &value, strict, &label)?;
    }
    Ok(())
}

fn by_name(
    params: &mut Params,
    row: &Bound<'_, PyAny>,
    names: &[String],
    strict: bool,
    number: usize,
) -> PyResult<()> {
    for name in names {
        let value = row.get_item(name).map_err(|_| {
            let text = format!("row {number}: there is no value for {name:?}");
            errors::programming(row.py(), text)
        })?;
        let label = || format!("row {number}, column {name:?}");
        encode::bind(params, &value, strict, &label)?;
    }
    Ok(())
}

fn unfit_error(py: Python<'_>, unfit: &Unfit, row: usize, column: usize) -> PyErr {
    let why = match unfit {
        Unfit::Beyond => "the value is beyond what SQLite can hold".to_owned(),
        Unfit::Violation(violation) => violation.to_string(),
    };
    errors::data(py, format!("row {row}, column {column}: {why}"))
}
