//! The fields of requests: one table, both ways.

use dqlite_proto::{Params, ParamsRef, Request, RequestKind, Role, ServerClass};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyString};

use super::fields::Fields;
use super::values;

macro_rules! requests {
    ($($kind:ident $variant:ident $(if $form:ident)? {
        $($field:ident: $type:ty $(= $default:expr)?),*
    })*) => {
        /// Writes the fields of a request into a dict.
        pub(super) fn show(request: &Request<'_>, shown: &Bound<'_, PyDict>) -> PyResult<()> {
            match request {
                $(Request::$variant { $($field),* } => {
                    $(shown.set_item(stringify!($field), $field.show(shown.py())?)?;)*
                })*
            }
            Ok(())
        }

        /// The bytes of a request; None if no request has that name.
        pub(super) fn encode(
            name: &str,
            schema: Option<u8>,
            fields: &mut Fields<'_, '_>,
        ) -> PyResult<Option<Vec<u8>>> {
            match name {
                $(_ if RequestKind::$kind.name() == Some(name)
                    $(&& fields.has(stringify!($form))?)? =>
                {
                    $(
                        let default = default!($($default)?);
                        let $field: $type = fields.take(stringify!($field), default)?;
                    )*
                    let request = Request::$variant { $($field: $field.lend()),* };
                    finish(&request, schema, fields).map(Some)
                })*
                _ => Ok(None),
            }
        }
    };
}

macro_rules! default {
    () => {
        None
    };
    ($default:expr) => {
        Some($default)
    };
}

requests! {
    LEADER Leader {}
    CLIENT Client { id: u64 }
    HEARTBEAT Heartbeat { timestamp: u64 }
    OPEN Open { name: String, flags: u64 = 0, vfs: String = String::new() }
    PREPARE Prepare { sql: String }
    EXEC Exec { statement: u32, params: Params = Params::new() }
    QUERY Query { statement: u32, params: Params = Params::new() }
    FINALIZE Finalize { statement: u32 }
    EXEC_SQL ExecSql { sql: String, params: Params = Params::new() }
    QUERY_SQL QuerySql { sql: String, params: Params = Params::new() }
    INTERRUPT Interrupt {}
    CONNECT Connect { id: u64, address: String }
    ADD Add { id: u64, address: String }
    ASSIGN Assign if role { id: u64, role: Role }
    ASSIGN Promote { id: u64 }
    REMOVE Remove { id: u64 }
    DUMP Dump { name: String }
    CLUSTER Cluster { format: u64 }
    TRANSFER Transfer { id: u64 }
    DESCRIBE Describe { format: u64 }
    WEIGHT Weight { weight: u64 }
}

fn finish(request: &Request<'_>, schema: Option<u8>, fields: &Fields<'_, '_>) -> PyResult<Vec<u8>> {
    fields.finish()?;
    let mut bytes = Vec::new();
    schema
        .map_or_else(|| request.schema(ServerClass::B), Ok)
        .and_then(|schema| request.encode(schema, &mut bytes))
        .map_err(|violation| fields.refuse(&violation.to_string()))?;
    Ok(bytes)
}

/// A field as the request carries it.
trait Lend {
    type Lent<'a>
    where
        Self: 'a;

    fn lend(&self) -> Self::Lent<'_>;
}

/// A field as Python sees it.
trait Show {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
}

macro_rules! plain {
    ($($type:ty: |$value:ident, $py:ident| $shown:expr;)*) => {$(
        impl Lend for $type {
            type Lent<'a> = Self;

            fn lend(&self) -> Self {
                *self
            }
        }

        impl Show for $type {
            fn show<'py>(&self, $py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                let $value = self;
                Ok($shown.into_any())
            }
        }
    )*};
}

plain! {
    u32: |number, py| PyInt::new(py, *number);
    u64: |number, py| PyInt::new(py, *number);
    Role: |role, py| PyString::new(py, role.name());
}

impl Lend for String {
    type Lent<'a> = &'a str;

    fn lend(&self) -> &str {
        self
    }
}

impl Show for &str {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyString::new(py, self).into_any())
    }
}

impl Lend for Params {
    type Lent<'a> = ParamsRef<'a>;

    fn lend(&self) -> ParamsRef<'_> {
        self.as_ref()
    }
}

impl Show for ParamsRef<'_> {
    fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let list = PyList::empty(py);
        for value in self.values() {
            list.append(values::show(py, value)?)?;
        }
        Ok(list.into_any())
    }
}
