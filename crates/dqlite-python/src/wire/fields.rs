//! The fields that a caller gives for a message, checked one by one.

use std::fmt;

use dqlite_proto::{Role, Violation};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyString, PyTuple};

use crate::errors;

/// What was given for one message, and what has been asked for.
pub(super) struct Fields<'a, 'py> {
    message: &'a str,
    given: &'a Bound<'py, PyDict>,
    known: Vec<&'static str>,
}

impl<'a, 'py> Fields<'a, 'py> {
    /// Nothing has been asked for yet.
    pub(super) const fn new(message: &'a str, given: &'a Bound<'py, PyDict>) -> Self {
        Self {
            message,
            given,
            known: Vec::new(),
        }
    }

    /// Whether a field was given; tells the forms of a message apart.
    pub(super) fn has(&self, field: &str) -> PyResult<bool> {
        self.given.contains(field)
    }

    /// The value of a field, or its default.
    pub(super) fn take<F: Field>(
        &mut self,
        field: &'static str,
        default: Option<F>,
    ) -> PyResult<F> {
        self.known.push(field);
        match (self.given.get_item(field)?, default) {
            (Some(value), _) => F::read(&value, self.place(field)),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.missing(field)),
        }
    }

    /// A field without a default that is a list or tuple.
    pub(super) fn list(&mut self, field: &'static str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.known.push(field);
        let Some(value) = self.given.get_item(field)? else {
            return Err(self.missing(field));
        };
        items(&value, self.place(field))
    }

    fn missing(&self, field: &str) -> PyErr {
        let text = format!("{} needs the field {field}", self.message);
        errors::programming(self.given.py(), text)
    }

    /// Refuses fields that nobody asked for.
    pub(super) fn finish(&self) -> PyResult<()> {
        for field in self.given.keys() {
            let field: String = field.extract()?;
            if !self.known.contains(&field.as_str()) {
                let known = match self.known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                let text = format!("{} has no field {field}: {known}", self.message);
                return Err(errors::programming(self.given.py(), text));
            }
        }
        Ok(())
    }

    /// The message as a whole cannot be carried.
    pub(super) fn refuse(&self, reason: &str) -> PyErr {
        errors::data(self.given.py(), format!("{}: {reason}", self.message))
    }

    /// The place of a field.
    pub(super) fn place(&self, field: &'static str) -> Place<'a, 'py> {
        Place {
            py: self.given.py(),
            message: self.message,
            field,
            index: None,
            column: None,
        }
    }
}

/// Where a value stands, for the errors about it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a, 'py> {
    py: Python<'py>,
    message: &'a str,
    field: &'static str,
    index: Option<usize>,
    column: Option<usize>,
}

impl Place<'_, '_> {
    /// An item of the list that stands here.
    pub(super) const fn at(self, index: usize) -> Self {
        if self.index.is_none() {
            return Self {
                index: Some(index),
                ..self
            };
        }
        Self {
            column: Some(index),
            ..self
        }
    }

    /// The value has the wrong type.
    pub(super) fn wrong(self, needed: &str, value: &Bound<'_, PyAny>) -> PyErr {
        let kind = value
            .get_type()
            .name()
            .map_or_else(|_| "this".to_owned(), |name| name.to_string());
        errors::programming(self.py, format!("{self}: {needed} is needed, not {kind}"))
    }

    /// The value cannot be carried.
    pub(super) fn refuse(self, reason: &str) -> PyErr {
        errors::data(self.py, format!("{self}: {reason}"))
    }
}

impl fmt::Display for Place<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, field {}", self.message, self.field)?;
        for index in [self.index, self.column].into_iter().flatten() {
            write!(f, "[{index}]")?;
        }
        Ok(())
    }
}

/// The items of a list or tuple.
pub(super) fn items<'py>(
    value: &Bound<'py, PyAny>,
    place: Place<'_, 'py>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Ok(list.iter().collect());
    }
    match value.cast::<PyTuple>() {
        Ok(tuple) => Ok(tuple.iter().collect()),
        Err(_) => Err(place.wrong("a list or tuple", value)),
    }
}

/// A type of field.
pub(super) trait Field: Sized {
    /// Takes it from Python.
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self>;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
                let Ok(number) = value.cast::<PyInt>() else {
                    return Err(place.wrong("an int", value));
                };
                number.extract().map_err(|_| {
                    let (min, max) = (Self::MIN, Self::MAX);
                    place.refuse(&format!("{number} is not between {min} and {max}"))
                })
            }
        }
    )*};
}

numbers! { u32 u64 i64 }

impl Field for bool {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        value.extract().map_err(|_| place.wrong("a bool", value))
    }
}

impl Field for String {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        let Ok(text) = value.cast::<PyString>() else {
            return Err(place.wrong("a str", value));
        };
        match text.to_str() {
            Ok(text) if text.contains('\0') => Err(place.refuse(&Violation::Nul.to_string())),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(place.refuse(&Violation::NotUtf8.to_string())),
        }
    }
}

impl Field for Role {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        let name = String::read(value, place)?;
        let roles = [Self::Voter, Self::StandBy, Self::Spare];
        let found = roles.into_iter().find(|role| role.name() == name);
        found.ok_or_else(|| {
            let names = roles.map(Self::name).join(", ");
            place.refuse(&format!("{name:?} is none of {names}"))
        })
    }
}

impl<F: Field> Field for Option<F> {
    fn read<'py>(value: &Bound<'py, PyAny>, place: Place<'_, 'py>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(None);
        }
        F::read(value, place).map(Some)
    }
}
