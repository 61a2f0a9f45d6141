//! `Record`: one row, with its values by position and by name.

use std::sync::Arc;

use dqlite_proto::Columns;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PySlice, PyString, PyTuple};

/// Column names as they came, and what was made of them.
pub(crate) type Known = (Arc<Columns>, Arc<Header>);

/// The column names of one result, shared by its records.
pub(crate) struct Header {
    names: Vec<Py<PyString>>,
}

impl Header {
    /// Interns the names, so that equal names of all results are one object.
    pub(crate) fn new<'a>(py: Python<'_>, names: impl Iterator<Item = &'a str>) -> Arc<Self> {
        let names = names
            .map(|name| PyString::intern(py, name).unbind())
            .collect();
        Arc::new(Self { names })
    }

    /// The names of a result.
    pub(crate) fn of(py: Python<'_>, columns: &Columns) -> Arc<Self> {
        Self::new(py, columns.names().iter().map(String::as_str))
    }

    /// The same, taken over from the result before if it has the same columns.
    pub(crate) fn known(
        py: Python<'_>,
        columns: &Arc<Columns>,
        known: &mut Option<Known>,
    ) -> Arc<Self> {
        if let Some((same, header)) = known
            && Arc::ptr_eq(same, columns)
        {
            return Arc::clone(header);
        }
        let header = Self::of(py, columns);
        *known = Some((Arc::clone(columns), Arc::clone(&header)));
        header
    }

    /// The names in column order.
    pub(crate) fn names(&self) -> &[Py<PyString>] {
        &self.names
    }

    /// The first column of exactly this name, else the first that differs in ASCII case only.
    fn position(&self, py: Python<'_>, name: &str) -> PyResult<Option<usize>> {
        let mut folded = None;
        for (at, own) in self.names.iter().enumerate() {
            let own = own.to_str(py)?;
            if own == name {
                return Ok(Some(at));
            }
            if folded.is_none() && own.eq_ignore_ascii_case(name) {
                folded = Some(at);
            }
        }
        Ok(folded)
    }
}

/// One row of a result: immutable, a sequence of its values that also knows their names.
///
/// ``record[0]``, ``record["name"]`` (an exact name first, then regardless of ASCII case, the first
/// of several) and ``record[1:3]`` (a tuple). It equals and hashes as the tuple of its values.
/// Columns are no attributes, so that no column name can hide a method.
#[pyclass(frozen, sequence, module = "dqlite")]
pub(crate) struct Record {
    header: Arc<Header>,
    values: Py<PyTuple>,
}

impl Record {
    /// A row of the result that `header` describes.
    pub(crate) fn of(header: &Arc<Header>, values: Bound<'_, PyTuple>) -> Self {
        Self {
            header: Arc::clone(header),
            values: values.unbind(),
        }
    }

    fn of_names(py: Python<'_>, names: &[String], values: &Bound<'_, PyAny>) -> PyResult<Self> {
        let values = values.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if values.len() != names.len() {
            let text = format!("{} names for {} values", names.len(), values.len());
            return Err(PyTypeError::new_err(text));
        }
        let header = Header::new(py, names.iter().map(String::as_str));
        Ok(Self {
            header,
            values: PyTuple::new(py, values)?.unbind(),
        })
    }

    fn at<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Option<usize>> {
        self.header.position(py, name.to_str()?)
    }
}

#[pymethods]
impl Record {
    /// Makes a row from a cursor, whose `description` has the names, and a sequence of values.
    #[new]
    fn new(cursor: &Bound<'_, PyAny>, values: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = cursor.py();
        let mut names = Vec::new();
        for column in cursor.getattr("description")?.try_iter()? {
            names.push(column?.get_item(0)?.extract::<String>()?);
        }
        Self::of_names(py, &names, values)
    }

    #[staticmethod]
    #[pyo3(name = "_restore")]
    fn restore(names: &Bound<'_, PyList>, values: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::of_names(names.py(), &names.extract::<Vec<String>>()?, values)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let restore = slf.get_type().getattr("_restore")?;
        let record = slf.get();
        (restore, (record.keys(py)?, record.values.bind(py))).into_pyobject(py)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.values.bind(py).len()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let values = self.values.bind(py);
        if let Ok(name) = key.cast::<PyString>() {
            return match self.at(py, name)? {
                Some(at) => values.get_item(at),
                None => Err(PyKeyError::new_err(key.clone().unbind())),
            };
        }
        if !key.is_instance_of::<PySlice>() && !key.is_instance_of::<PyInt>() {
            let kind = key.get_type().name()?;
            let text = format!("record indices must be integers, slices or names, not {kind}");
            return Err(PyTypeError::new_err(text));
        }
        values.as_any().get_item(key).map_err(|error| {
            if error.is_instance_of::<PyIndexError>(py) {
                return PyIndexError::new_err("record index out of range");
            }
            error
        })
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.values.bind(py).try_iter()?.into_any())
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.values.bind(value.py()).contains(value)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let values = self.values.bind(py);
        let equal = if let Ok(record) = other.cast::<Self>() {
            values.eq(record.get().values.bind(py))?
        } else if other.is_instance_of::<PyTuple>() {
            values.eq(other)?
        } else {
            return Ok(py.NotImplemented());
        };
        Ok(equal.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.values.bind(py).hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut words = vec!["<Record".to_owned()];
        for (name, value) in self.header.names.iter().zip(self.values.bind(py)) {
            words.push(format!("{}={}", name.to_str(py)?, value.repr()?));
        }
        Ok(words.join(" ") + ">")
    }

    /// The column names in order.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.header.names.iter().map(|name| name.bind(py)))
    }

    /// The values in order.
    #[pyo3(name = "values")]
    fn values_list<'py>(&self, py: Python<'py>) -> Bound<'py, PyList> {
        self.values.bind(py).to_list()
    }

    /// Pairs of name and value in order.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names = self.header.names.iter().map(|name| name.bind(py).clone());
        PyList::new(py, names.zip(self.values.bind(py)).collect::<Vec<_>>())
    }

    /// The value of that name, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyString>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        match self.at(py, key)? {
            Some(at) => self.values.bind(py).get_item(at),
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
    }

    /// The row as a dict; of columns with one name the last wins.
    fn _asdict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.header.names.iter().zip(self.values.bind(py)) {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }
}
