//! `dqlite.wire`: messages of the protocol as Python values, for people who debug captures.
//!
//! Names, numbers and fields come from `dqlite_proto`; Python adds the face.

mod fields;
mod replies;
mod requests;
mod values;

use dqlite_proto::capture::{Direction, Found, Walk};
use dqlite_proto::frame::{FrameError, HANDSHAKE, HANDSHAKE_LEGACY};
use dqlite_proto::trace::Trace;
use dqlite_proto::{Bytes, Header};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::errors;
use fields::Fields;

/// The word with which a client starts.
pub(crate) const HANDSHAKE_BYTES: [u8; 8] = HANDSHAKE.to_le_bytes();

const HANDSHAKE_NAME: &str = "HANDSHAKE";

/// Offset, name, schema, fields, error.
type Message<'py> = (usize, String, u8, Bound<'py, PyDict>, Option<String>);

/// The messages of a capture; see `dqlite.wire.decode`.
#[pyfunction]
pub(crate) fn wire_decode<'py>(
    py: Python<'py>,
    capture: PyBackedBytes,
    direction: &str,
) -> PyResult<Vec<Message<'py>>> {
    let direction = way(py, direction, &capture)?;
    let capture = Bytes::from_owner(capture);
    let mut walk = Walk::new(direction);
    let mut messages = Vec::new();
    while let Some((at, found)) = walk.next(&capture) {
        messages.push(message(py, at, found)?);
    }
    Ok(messages)
}

/// One message as bytes; see `dqlite.wire.encode`.
#[pyfunction]
pub(crate) fn wire_encode<'py>(
    py: Python<'py>,
    message: &str,
    schema: Option<u8>,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut fields = Fields::new(message, fields);
    if let Some(bytes) = requests::encode(message, schema, &mut fields)? {
        return Ok(PyBytes::new(py, &bytes));
    }
    let (bytes, only) = if message == HANDSHAKE_NAME {
        (handshake(&mut fields)?.to_vec(), 0)
    } else if let Some(response) = replies::build(message, &mut fields)? {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        let header = bytes.first_chunk().copied().map(Header::decode);
        (bytes, header.map_or(0, |header| header.schema))
    } else {
        let text = format!("there is no message named {message:?}");
        return Err(errors::programming(py, text));
    };
    if let Some(schema) = schema.filter(|schema| *schema != only) {
        let text = format!("{message} with these fields has schema {only}, not {schema}");
        return Err(errors::programming(py, text));
    }
    Ok(PyBytes::new(py, &bytes))
}

/// A capture as readable text; see `dqlite.wire.trace`.
#[pyfunction]
pub(crate) fn wire_trace(
    py: Python<'_>,
    capture: PyBackedBytes,
    direction: &str,
    rows: usize,
) -> PyResult<String> {
    let direction = way(py, direction, &capture)?;
    let mut text = String::new();
    for entry in Trace::new(direction, Bytes::from_owner(capture), rows) {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    Ok(text)
}

fn way(py: Python<'_>, direction: &str, capture: &[u8]) -> PyResult<Direction> {
    Ok(match direction {
        "auto" => Direction::guess(capture),
        "requests" => Direction::Requests,
        "replies" => Direction::Replies,
        other => {
            let text = format!("direction must be auto, requests or replies, got {other:?}");
            return Err(errors::programming(py, text));
        }
    })
}

fn message<'py>(py: Python<'py>, at: usize, found: Found<'_>) -> PyResult<Message<'py>> {
    let fields = PyDict::new(py);
    let (name, schema, error) = match found {
        Found::Handshake(version) => {
            fields.set_item("version", version)?;
            (HANDSHAKE_NAME.to_owned(), 0, None)
        }
        Found::Request(header, request) => {
            requests::show(&request, &fields)?;
            (request.kind().to_string(), header.schema, None)
        }
        Found::Reply(header, response) => {
            let broken = replies::show(&response, &fields)?;
            let error = broken.map(|error| error.to_string());
            (response.kind().to_string(), header.schema, error)
        }
        Found::Malformed {
            name,
            header,
            error,
        } => (name, header.schema, Some(error)),
        Found::Cut {
            message,
            bytes,
            whole,
        } => {
            let (name, schema) = message.unwrap_or_default();
            let error = format!("cut off: {bytes} of {whole} bytes");
            (name, schema, Some(error))
        }
        Found::Stopped(error) => (String::new(), 0, Some(error.to_string())),
    };
    Ok((at, name, schema, fields, error))
}

fn handshake(fields: &mut Fields<'_, '_>) -> PyResult<[u8; 8]> {
    let version = fields.take("version", Some(HANDSHAKE))?;
    fields.finish()?;
    if !matches!(version, HANDSHAKE | HANDSHAKE_LEGACY) {
        let reason = FrameError::Handshake(version).to_string();
        return Err(fields.place("version").refuse(&reason));
    }
    Ok(version.to_le_bytes())
}
