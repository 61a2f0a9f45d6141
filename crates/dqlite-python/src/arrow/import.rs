//! Streams of others, by Arrow's C interface: the one place where a pointer of somebody else's is
//! believed.

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

use crate::errors;

/// The stream of anything with `__arrow_c_stream__`; `None` if it has no such method.
pub(super) fn reader(source: &Bound<'_, PyAny>) -> PyResult<Option<RecordBatchStreamReader>> {
    let py = source.py();
    let Some(export) = source.getattr_opt(intern!(py, "__arrow_c_stream__"))? else {
        return Ok(None);
    };
    let capsule = export.call0()?.cast_into::<PyCapsule>()?;
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    let stream = stream.as_ptr().cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name points at an `ArrowArrayStream` that is valid as long as the
    // capsule lives, which outlives this call, and that nobody else reads: we hold the interpreter.
    // `from_raw` moves it out and leaves one that is released, so that the capsule's destructor has
    // nothing to do. A stream that is released already is answered with an error.
    #[expect(unsafe_code, reason = "the interface is made of pointers")]
    let reader = unsafe { RecordBatchStreamReader::from_raw(stream) };
    let reader = reader.map_err(|error| errors::data(py, format!("Arrow stream: {error}")))?;
    Ok(Some(reader))
}
