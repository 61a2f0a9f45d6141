//! Values of parameters and rows, both ways and without loss.

use dqlite_proto::{Params, ValueRef, Violation};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString};

use super::fields::{Field, Place, items};

/// How texts that are not UTF-8 survive in a str.
const TEXT: (&str, &str) = ("utf-8", "surrogateescape");

/// The classes of `dqlite.wire` for the tags that Python has no type for.
struct Tagged {
    unix_time: Py<PyAny>,
    iso8601: Py<PyAny>,
    boolean: Py<PyAny>,
}

impl Tagged {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static TAGGED: PyOnceLock<Tagged> = PyOnceLock::new();
        TAGGED.get_or_try_init(py, || {
            let module = py.import("dqlite.wire")?;
            Ok(Self {
                unix_time: module.getattr("UnixTime")?.unbind(),
                iso8601: module.getattr("Iso8601")?.unbind(),
                boolean: module.getattr("Boolean")?.unbind(),
            })
        })
    }
}

/// A value as a Python object.
pub(super) fn show<'py>(py: Python<'py>, value: ValueRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        ValueRef::Integer(number) => number.into_pyobject(py)?.into_any(),
        ValueRef::Float(number) => PyFloat::new(py, number).into_any(),
        ValueRef::Text(text) => show_text(py, text)?,
        ValueRef::Blob(bytes) => PyBytes::new(py, bytes).into_any(),
        ValueRef::Null => py.None().into_bound(py),
        ValueRef::UnixTime(seconds) => Tagged::get(py)?.unix_time.bind(py).call1((seconds,))?,
        ValueRef::Iso8601(text) => {
            let text = show_text(py, text)?;
            Tagged::get(py)?.iso8601.bind(py).call1((text,))?
        }
        ValueRef::Boolean(number) => Tagged::get(py)?.boolean.bind(py).call1((number,))?,
    })
}

fn show_text<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, text).call_method1("decode", TEXT),
    }
}

/// A value that came from Python, with its bytes.
pub(super) enum Cell {
    /// Needs no bytes.
    Word(ValueRef<'static>),
    /// A text.
    Text(Vec<u8>),
    /// A blob.
    Blob(PyBackedBytes),
    /// A time as text.
    Iso8601(Vec<u8>),
}

impl Cell {
    /// The value itself.
    pub(super) fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Word(value) => *value,
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
            Self::Iso8601(text) => ValueRef::Iso8601(text),
        }
    }
}

impl Field for Cell {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        let py = value.py();
        if value.is_none() {
            return Ok(Self::Word(ValueRef::Null));
        }
        if value.is_instance_of::<PyInt>() {
            return i64::read(value, place).map(|number| Self::Word(ValueRef::Integer(number)));
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return Ok(Self::Word(ValueRef::Float(number.value())));
        }
        if value.is_instance_of::<PyString>() {
            return read_text(value, place).map(Self::Text);
        }
        if let Ok(bytes) = value.extract() {
            return Ok(Self::Blob(bytes));
        }
        let tagged = Tagged::get(py)?;
        if value.is_instance(tagged.unix_time.bind(py))? {
            let seconds = i64::read(&value.getattr("seconds")?, place)?;
            return Ok(Self::Word(ValueRef::UnixTime(seconds)));
        }
        if value.is_instance(tagged.iso8601.bind(py))? {
            return read_text(&value.getattr("text")?, place).map(Self::Iso8601);
        }
        if value.is_instance(tagged.boolean.bind(py))? {
            let number = u64::read(&value.getattr("number")?, place)?;
            return Ok(Self::Word(ValueRef::Boolean(number)));
        }
        Err(place.wrong("a value", value))
    }
}

fn read_text<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Vec<u8>> {
    let Ok(text) = value.cast::<PyString>() else {
        return Err(place.wrong("a str", value));
    };
    let bytes = match text.to_str() {
        Ok(text) => text.as_bytes().to_vec(),
        Err(_) => text
            .call_method1("encode", TEXT)
            .and_then(|bytes| bytes.extract())
            .map_err(|_| place.refuse(&Violation::NotUtf8.to_string()))?,
    };
    if bytes.contains(&0) {
        return Err(place.refuse(&Violation::Nul.to_string()));
    }
    Ok(bytes)
}

impl Field for Params {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        let mut params = Self::new();
        for (index, value) in items(value, place)?.iter().enumerate() {
            let place = place.at(index);
            params
                .push(Cell::read(value, place)?.value())
                .map_err(|violation| place.refuse(&violation.to_string()))?;
        }
        Ok(params)
    }
}
