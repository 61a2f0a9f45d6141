//! What a call gives back: `Projection` before it, `Result` after it.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::arrow::{ArrowTable, Gatherer, Kept, Wish};
use crate::errors;

/// Which part of a result.
#[derive(Clone, Copy)]
pub(crate) enum Take {
    /// A list of rows.
    All,
    /// The first row, or None.
    First,
    /// One cell of the first row, or None.
    Value,
    /// A `Result`.
    Result,
    /// A `Result` if the answer fits one message, else a `Stream`.
    Stream,
}

impl Take {
    /// Whether column names and types are asked for.
    pub(crate) const fn is_described(self) -> bool {
        matches!(self, Self::Result | Self::Stream)
    }
}

/// A row as which object.
#[derive(Clone, Copy)]
pub(crate) enum RowShape {
    /// `Record`.
    Record,
    /// tuple.
    Tuple,
    /// list.
    List,
    /// dict; of columns with one name the last wins.
    Dict,
}

/// How cells of DATE, DATETIME, TIMESTAMP and BOOLEAN columns are read.
#[derive(Clone, Copy)]
pub(crate) enum Types {
    /// As date, time, datetime, bool where they allow it.
    Auto,
    /// The same, and an error where not.
    Strict,
    /// As the str and int on the wire.
    Raw,
    /// As `Raw`, with every BOOLEAN cell as bool.
    Client,
}

/// What a call gives back: which part of the result, as which objects.
#[pyclass(frozen, module = "dqlite._native")]
#[derive(Clone, Copy)]
pub(crate) struct Projection {
    pub(crate) take: Take,
    pub(crate) row: RowShape,
    pub(crate) types: Types,
    pub(crate) column: usize,
    pub(crate) tags: bool,
}

impl Projection {
    /// Whether values that would change are refused.
    pub(crate) const fn is_strict(self) -> bool {
        matches!(self.types, Types::Strict)
    }
}

#[pymethods]
impl Projection {
    #[new]
    #[pyo3(signature = (take, row = "record", types = "auto", *, column = 0, tags = false))]
    fn new(
        py: Python<'_>,
        take: &str,
        row: &str,
        types: &str,
        column: usize,
        tags: bool,
    ) -> PyResult<Self> {
        let unknown = |word: &str| errors::programming(py, format!("unknown projection {word:?}"));
        let take = match take {
            "all" => Take::All,
            "first" => Take::First,
            "value" => Take::Value,
            "result" => Take::Result,
            "stream" => Take::Stream,
            word => return Err(unknown(word)),
        };
        let row = match row {
            "record" => RowShape::Record,
            "tuple" => RowShape::Tuple,
            "list" => RowShape::List,
            "dict" => RowShape::Dict,
            word => return Err(unknown(word)),
        };
        let types = match types {
            "auto" => Types::Auto,
            "strict" => Types::Strict,
            "raw" => Types::Raw,
            "client" => Types::Client,
            word => return Err(unknown(word)),
        };
        Ok(Self {
            take,
            row,
            types,
            column,
            tags,
        })
    }
}

/// Everything a statement answered.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Result {
    pub(crate) columns: Option<Vec<Py<PyString>>>,
    pub(crate) tags: Vec<Vec<u8>>,
    pub(crate) rows: Py<PyList>,
    pub(crate) rowcount: i64,
    pub(crate) lastrowid: Option<i64>,
    /// The messages behind the rows, if they are a cursor's.
    pub(crate) kept: Kept,
}

#[pymethods]
impl Result {
    /// Column names; None if the statement gives no rows.
    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let names = self.columns.as_ref();
        names
            .map(|names| PyList::new(py, names.iter().map(|name| name.bind(py))))
            .transpose()
    }

    /// Wire tags: of the first row only, or of each row if the projection asked for them.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = self.tags.iter().map(|row| PyList::new(py, row));
        PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }

    /// The rows.
    #[getter]
    fn rows(&self, py: Python<'_>) -> Py<PyList> {
        self.rows.clone_ref(py)
    }

    /// The last `left` rows as an Arrow table.
    fn arrow(
        &self,
        py: Python<'_>,
        left: usize,
        batch_rows: usize,
        types: Vec<(String, String)>,
    ) -> PyResult<ArrowTable> {
        let wish = Wish::of(py, batch_rows, types, true)?;
        let Some(columns) = &self.columns else {
            return Ok(ArrowTable::nothing());
        };
        let names = columns.iter().map(|name| name.extract(py));
        let names = names.collect::<PyResult<Vec<String>>>()?;
        let table = Gatherer::of(py, names, wish, &self.kept, left)?.next(py, true)?;
        Ok(table.unwrap_or_else(ArrowTable::nothing))
    }

    /// Rows changed, or given by RETURNING; -1 where there is no such number.
    #[getter]
    const fn rowcount(&self) -> i64 {
        self.rowcount
    }

    /// The row id of an INSERT or REPLACE, else None.
    #[getter]
    const fn lastrowid(&self) -> Option<i64> {
        self.lastrowid
    }
}
