//! Python objects to parameter bytes, nothing in between.

use dqlite_proto::{Params, ValueRef, Violation};
use pyo3::exceptions::{PyOverflowError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple,
};

use crate::arrow::Encoded;
use crate::errors;
use crate::statement::Statement;
use crate::temporal;

/// The parameters of a call, counted against the statement.
///
/// A single list, tuple or dict is the set of parameters; otherwise each argument is one value.
/// `strict` refuses NaN, which SQLite stores as NULL.
pub(crate) fn parameters(
    statement: &Statement,
    args: &Bound<'_, PyTuple>,
    strict: bool,
) -> PyResult<Params> {
    if args.len() == 1 {
        let only = args.get_item(0)?;
        if let Ok(mapping) = only.cast::<PyDict>() {
            return by_name(statement, mapping, strict);
        }
        if let Ok(tuple) = only.cast::<PyTuple>() {
            return by_position(statement, tuple, strict);
        }
        if let Ok(list) = only.cast::<PyList>() {
            return by_position(statement, &list.to_tuple(), strict);
        }
    }
    by_position(statement, args, strict)
}

/// One set of parameters among many.
pub(crate) fn set(statement: &Statement, set: &Bound<'_, PyAny>, strict: bool) -> PyResult<Params> {
    if let Ok(tuple) = set.cast::<PyTuple>() {
        return by_position(statement, tuple, strict);
    }
    if let Ok(list) = set.cast::<PyList>() {
        return by_position(statement, &list.to_tuple(), strict);
    }
    let py = set.py();
    if let Ok(encoded) = set.cast::<Encoded>() {
        let params = encoded.get().take();
        let fits = |params: &Params| params.len() == statement.names().len();
        let refused = || errors::programming(py, "rows of one length are needed");
        return params.filter(fits).ok_or_else(refused);
    }
    let one_set = py.import("dqlite._parameters")?.getattr("one_set")?;
    let args = one_set.call1((set,))?.cast_into::<PyTuple>()?;
    parameters(statement, &args, strict)
}

fn by_position(
    statement: &Statement,
    values: &Bound<'_, PyTuple>,
    strict: bool,
) -> PyResult<Params> {
    let (py, given, needed) = (values.py(), values.len(), statement.names().len());
    if given != needed {
        let verb = if given == 1 { "is" } else { "are" };
        let text = format!(
            "Incorrect number of bindings supplied. The current statement uses {needed}, \
             and there {verb} {given} supplied."
        );
        return Err(errors::programming(py, text));
    }
    if let Some(name) = statement.names().iter().flatten().next() {
        let text = format!("the statement has a parameter named {name:?}: give a mapping");
        return Err(errors::programming(py, text));
    }
    let mut params = Params::new();
    for (at, value) in values.iter().enumerate() {
        bind(&mut params, &value, strict, &|| {
            format!("parameter {}", at + 1)
        })?;
    }
    Ok(params)
}

fn by_name(statement: &Statement, mapping: &Bound<'_, PyDict>, strict: bool) -> PyResult<Params> {
    let py = mapping.py();
    let mut params = Params::new();
    for (at, name) in statement.names().iter().enumerate() {
        let Some(name) = name else {
            let text = format!("parameter {} has no name: give a sequence", at + 1);
            return Err(errors::programming(py, text));
        };
        let Some(value) = mapping.get_item(name)? else {
            let text = format!("you did not supply a value for parameter :{name}");
            return Err(errors::programming(py, text));
        };
        bind(&mut params, &value, strict, &|| {
            format!("parameter :{name}")
        })?;
    }
    Ok(params)
}

/// Appends one value; `label` names it in an error.
pub(crate) fn bind(
    params: &mut Params,
    value: &Bound<'_, PyAny>,
    strict: bool,
    label: &dyn Fn() -> String,
) -> PyResult<()> {
    let py = value.py();
    let pushed = if value.is_none() {
        params.push(ValueRef::Null)
    } else if value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyBool>() {
        params.push(ValueRef::Integer(integer(value, label)?))
    } else if let Ok(text) = value.cast::<PyString>() {
        let text = text
            .to_str()
            .map_err(|error| surrogate(py, &error, label))?;
        params.push(ValueRef::Text(text.as_bytes()))
    } else if let Ok(number) = value.cast::<PyFloat>() {
        let number: f64 = number.extract()?;
        if strict && number.is_nan() {
            let text = format!("{}: NaN would be stored as NULL", label());
            return Err(errors::data(py, text));
        }
        params.push(ValueRef::Float(number))
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        params.push(ValueRef::Blob(bytes.as_bytes()))
    } else {
        return bind_other(params, value, label);
    };
    pushed.map_err(|violation| refused(py, &violation, label))
}

/// The rarer types: times, what counts as an index, buffers.
fn bind_other(
    params: &mut Params,
    value: &Bound<'_, PyAny>,
    label: &dyn Fn() -> String,
) -> PyResult<()> {
    let py = value.py();
    let pushed = if let Some(text) = temporal::to_text(value)? {
        params.push(ValueRef::Text(text.extract::<String>()?.as_bytes()))
    } else if value.hasattr("__index__")? {
        params.push(ValueRef::Integer(integer(value, label)?))
    } else if let Ok(bytes) = value.cast::<PyByteArray>() {
        params.push(ValueRef::Blob(&bytes.to_vec()))
    } else {
        let bytes = buffer(value)?.ok_or_else(|| {
            let kind = value
                .get_type()
                .name()
                .map_or_else(|_| String::new(), |n| n.to_string());
            errors::programming(py, format!("{}: type '{kind}' is not supported", label()))
        })?;
        params.push(ValueRef::Blob(bytes.as_bytes()))
    };
    pushed.map_err(|violation| refused(py, &violation, label))
}

fn integer(value: &Bound<'_, PyAny>, label: &dyn Fn() -> String) -> PyResult<i64> {
    value.extract::<i64>().map_err(|error| {
        if !error.is_instance_of::<PyOverflowError>(value.py()) {
            return error;
        }
        let text = format!("{}: an integer beyond 64 bits cannot be stored", label());
        errors::data(value.py(), text)
    })
}

/// The bytes of anything with a buffer. A number with a buffer, such as one of numpy, is no blob.
fn buffer<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    if value.hasattr("__float__")? {
        return Ok(None);
    }
    let Ok(view) = PyMemoryView::from(value) else {
        return Ok(None);
    };
    Ok(Some(view.call_method0("tobytes")?.cast_into::<PyBytes>()?))
}

fn surrogate(py: Python<'_>, error: &PyErr, label: &dyn Fn() -> String) -> PyErr {
    if error.is_instance_of::<PyUnicodeEncodeError>(py) {
        return errors::data(py, format!("{}: text with a lone surrogate", label()));
    }
    error.clone_ref(py)
}

fn refused(py: Python<'_>, violation: &Violation, label: &dyn Fn() -> String) -> PyErr {
    errors::data(py, format!("{}: {violation}", label()))
}
