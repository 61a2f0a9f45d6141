//! What Python sees of Arrow: tables, schemas, and streams whose batches a Python function brings.

use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

use crate::errors;

/// Record batches in memory; see the stub for its contract.
#[pyclass(frozen, module = "dqlite.arrow")]
pub(crate) struct ArrowTable {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Names and types of columns; see the stub for its contract.
#[pyclass(frozen, module = "dqlite.arrow")]
pub(crate) struct ArrowSchema(SchemaRef);

impl ArrowTable {
    pub(super) const fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// A table without columns, for statements that give no rows.
    pub(crate) fn nothing() -> Self {
        Self::new(Arc::new(arrow_schema::Schema::empty()), Vec::new())
    }
}

#[pymethods]
impl ArrowTable {
    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[getter]
    fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        let batches = self.batches.iter();
        batches.map(RecordBatch::get_array_memory_size).sum()
    }

    #[getter]
    fn column_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.schema.fields().iter().map(|field| field.name()))
    }

    #[getter]
    fn schema(&self) -> ArrowSchema {
        ArrowSchema(Arc::clone(&self.schema))
    }

    fn __len__(&self) -> usize {
        self.num_rows()
    }

    fn __repr__(&self) -> String {
        let rows = self.num_rows();
        format!(
            "<dqlite.arrow.ArrowTable {rows} rows, {}>",
            told(&self.schema)
        )
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches: Vec<_> = self.batches.iter().cloned().map(Ok).collect();
        let reader = RecordBatchIterator::new(batches, Arc::clone(&self.schema));
        stream_capsule(py, Box::new(reader))
    }
}

#[pymethods]
impl ArrowSchema {
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.fields().iter().map(|field| field.name()))
    }

    #[getter]
    fn types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let fields = self.0.fields().iter();
        PyList::new(py, fields.map(|field| field.data_type().to_string()))
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __repr__(&self) -> String {
        format!("<dqlite.arrow.ArrowSchema {}>", told(&self.0))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0)
    }
}

/// A stream that begins with `first` and goes on with what `pull()` returns, until that is None.
/// `close()` is called when nobody reads on.
#[pyfunction]
pub(crate) fn arrow_stream<'py>(
    py: Python<'py>,
    first: &Bound<'py, ArrowTable>,
    pull: Py<PyAny>,
    close: Py<PyAny>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let first = first.get();
    let reader = Pulled {
        schema: Arc::clone(&first.schema),
        batches: first.batches.clone().into_iter(),
        calls: Some((pull, close)),
    };
    stream_capsule(py, Box::new(reader))
}

/// Batches that Python brings, for a reader that may be in any thread.
struct Pulled {
    schema: SchemaRef,
    batches: std::vec::IntoIter<RecordBatch>,
    calls: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl Iterator for Pulled {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batches.next() {
                return Some(Ok(batch));
            }
            let (pull, _) = self.calls.as_ref()?;
            let pulled = Python::attach(|py| match pull.call0(py) {
                Ok(answer) if answer.is_none(py) => Ok(None),
                Ok(answer) => {
                    let table = answer.bind(py).cast::<ArrowTable>().map_err(PyErr::from);
                    table
                        .map(|table| Some(table.get().batches.clone()))
                        .map_err(|error| external(py, &error))
                }
                Err(error) => Err(external(py, &error)),
            });
            match pulled {
                Ok(Some(batches)) => self.batches = batches.into_iter(),
                Ok(None) => {
                    self.end();
                    return None;
                }
                Err(error) => {
                    self.end();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Pulled {
    /// Says once that nobody reads on. At the end of the interpreter there is nobody to be told.
    fn end(&mut self) {
        let Some((pull, close)) = self.calls.take() else {
            return;
        };
        let mut calls = Some((pull, close));
        let _ = Python::try_attach(|py| {
            if let Some((_, close)) = calls.take()
                && let Err(error) = close.call0(py)
            {
                error.write_unraisable(py, None);
            }
        });
        // Without an interpreter their memory goes with the process.
        std::mem::forget(calls);
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        self.end();
    }
}

impl RecordBatchReader for Pulled {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The class and text of an exception, which is all that can be told across the C interface.
fn external(py: Python<'_>, error: &PyErr) -> ArrowError {
    let class = error.get_type(py).name();
    let class = class.map_or_else(|_| String::new(), |name| name.to_string());
    ArrowError::ExternalError(format!("{class}: {}", error.value(py)).into())
}

fn stream_capsule(
    py: Python<'_>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

fn schema_capsule<'py>(py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyCapsule>> {
    let made = FFI_ArrowSchema::try_from(schema.as_ref());
    let made = made.map_err(|error| errors::data(py, error.to_string()))?;
    PyCapsule::new_with_value(py, made, c"arrow_schema")
}

fn told(schema: &SchemaRef) -> String {
    let fields = schema.fields().iter();
    let words: Vec<_> = fields
        .map(|field| format!("{}: {}", field.name(), field.data_type()))
        .collect();
    words.join(", ")
}
