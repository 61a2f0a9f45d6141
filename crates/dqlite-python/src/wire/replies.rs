//! The fields of replies, both ways.

use dqlite_proto::wire::WORD;
use dqlite_proto::{
    Code, Columns, DecodeError, Failure, File, Metadata, NodeInfo, Response, ResponseKind, Role,
    RowsFrame,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::fields::{Field as _, Fields, items};
use super::values::{self, Cell};

/// Writes the fields of a reply into a dict; what is wrong with its rows is returned, and the rows
/// in front of that are there.
pub(super) fn show(
    response: &Response,
    shown: &Bound<'_, PyDict>,
) -> PyResult<Option<DecodeError>> {
    match response {
        Response::Failure(Failure { code, message }) => {
            shown.set_item("code", code.0)?;
            shown.set_item("name", code.name())?;
            shown.set_item("message", message)?;
        }
        Response::Server { id, address } => {
            shown.set_item("id", id)?;
            shown.set_item("address", address)?;
        }
        Response::ServerLegacy { address } => shown.set_item("address", address)?,
        Response::Welcome {
            heartbeat_timeout_ms,
        } => shown.set_item("heartbeat_timeout_ms", heartbeat_timeout_ms)?,
        Response::Servers(nodes) => {
            let nodes = nodes
                .iter()
                .map(|node| (node.id, node.address.as_str(), node.role.name()));
            shown.set_item("nodes", nodes.collect::<Vec<_>>())?;
        }
        Response::Addresses(nodes) => shown.set_item("nodes", nodes)?,
        Response::Db { id } => shown.set_item("id", id)?,
        Response::Stmt { id, params, tail } => {
            shown.set_item("id", id)?;
            shown.set_item("params", params)?;
            shown.set_item("tail", tail)?;
        }
        Response::Result {
            last_insert_id,
            rows_affected,
        } => {
            shown.set_item("last_insert_id", last_insert_id)?;
            shown.set_item("rows_affected", rows_affected)?;
        }
        Response::Rows(frame) => return show_rows(frame, shown),
        Response::Empty => {}
        Response::Files(files) => {
            let py = shown.py();
            let files = files
                .iter()
                .map(|file| (file.name.as_str(), PyBytes::new(py, &file.content)));
            shown.set_item("files", files.collect::<Vec<_>>())?;
        }
        Response::Metadata(metadata) => {
            shown.set_item("failure_domain", metadata.failure_domain)?;
            shown.set_item("weight", metadata.weight)?;
        }
    }
    Ok(None)
}

fn show_rows(frame: &RowsFrame, shown: &Bound<'_, PyDict>) -> PyResult<Option<DecodeError>> {
    let py = shown.py();
    let rows = PyList::empty(py);
    shown.set_item("columns", frame.columns().names())?;
    shown.set_item("rows", &rows)?;
    shown.set_item("done", frame.is_done())?;
    let (mut cursor, mut row) = (frame.rows(), Vec::new());
    loop {
        match cursor.next_into(&mut row) {
            Ok(true) => {
                let values: Vec<_> = row
                    .iter()
                    .map(|value| values::show(py, *value))
                    .collect::<PyResult<_>>()?;
                rows.append(PyTuple::new(py, values)?)?;
            }
            Ok(false) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// A reply of the fields that were given; None if no reply has that name.
pub(super) fn build(name: &str, fields: &mut Fields<'_, '_>) -> PyResult<Option<Response>> {
    let kinds = (0..=u8::MAX).map(ResponseKind);
    let Some(kind) = kinds.into_iter().find(|kind| kind.name() == Some(name)) else {
        return Ok(None);
    };
    let response = match kind {
        ResponseKind::FAILURE => failure(fields)?,
        ResponseKind::SERVER if fields.has("id")? => Response::Server {
            id: fields.take("id", None)?,
            address: fields.take("address", None)?,
        },
        ResponseKind::SERVER => Response::ServerLegacy {
            address: fields.take("address", None)?,
        },
        ResponseKind::WELCOME => Response::Welcome {
            heartbeat_timeout_ms: fields.take("heartbeat_timeout_ms", None)?,
        },
        ResponseKind::SERVERS => servers(fields)?,
        ResponseKind::DB => Response::Db {
            id: fields.take("id", Some(0))?,
        },
        ResponseKind::STMT => Response::Stmt {
            id: fields.take("id", None)?,
            params: fields.take("params", None)?,
            tail: fields.take("tail", Some(None))?,
        },
        ResponseKind::RESULT => Response::Result {
            last_insert_id: fields.take("last_insert_id", None)?,
            rows_affected: fields.take::<u32>("rows_affected", None)?.into(),
        },
        ResponseKind::ROWS => rows(fields)?,
        ResponseKind::EMPTY => Response::Empty,
        ResponseKind::FILES => files(fields)?,
        ResponseKind::METADATA => Response::Metadata(Metadata {
            failure_domain: fields.take("failure_domain", None)?,
            weight: fields.take("weight", None)?,
        }),
        _ => return Ok(None),
    };
    fields.finish()?;
    Ok(Some(response))
}

/// Code or name is enough; both must agree.
fn failure(fields: &mut Fields<'_, '_>) -> PyResult<Response> {
    let name: Option<String> = fields.take("name", Some(None))?;
    let named = match &name {
        None => None,
        Some(name) => {
            let known = Code::NAMED.iter().find(|code| code.name() == Some(name));
            let unknown = || {
                let reason = format!("no result code is named {name:?}");
                fields.place("name").refuse(&reason)
            };
            Some(known.ok_or_else(unknown)?.0)
        }
    };
    let code = fields.take("code", named)?;
    if named.is_some_and(|named| named != code) {
        let reason = format!("the result code {code} has another name");
        return Err(fields.place("name").refuse(&reason));
    }
    if code > Code::MAX {
        let reason = format!("{code} is not between 0 and {}", Code::MAX);
        return Err(fields.place("code").refuse(&reason));
    }
    Ok(Response::Failure(Failure {
        code: Code(code),
        message: fields.take("message", None)?,
    }))
}

/// Nodes are `(id, address, role)`, or all `(id, address)`.
fn servers(fields: &mut Fields<'_, '_>) -> PyResult<Response> {
    let given = fields.list("nodes")?;
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for (index, node) in given.iter().enumerate() {
        let place = fields.place("nodes").at(index);
        match items(node, place)?.as_slice() {
            [id, address, role] if addresses.is_empty() => nodes.push(NodeInfo {
                id: u64::read(id, place)?,
                address: String::read(address, place)?,
                role: Role::read(role, place)?,
            }),
            [id, address] if nodes.is_empty() => {
                addresses.push((u64::read(id, place)?, String::read(address, place)?));
            }
            _ => {
                let needed = "(id, address, role), or (id, address) for all nodes,";
                return Err(place.wrong(needed, node));
            }
        }
    }
    Ok(if addresses.is_empty() {
        Response::Servers(nodes)
    } else {
        Response::Addresses(addresses)
    })
}

fn rows(fields: &mut Fields<'_, '_>) -> PyResult<Response> {
    let mut columns = Vec::new();
    for (index, name) in fields.list("columns")?.iter().enumerate() {
        columns.push(String::read(name, fields.place("columns").at(index))?);
    }
    let mut cells = Vec::new();
    for (index, row) in fields.list("rows")?.iter().enumerate() {
        let place = fields.place("rows").at(index);
        let row = items(row, place)?;
        if columns.is_empty() || row.len() != columns.len() {
            let reason = format!("{} values for {} columns", row.len(), columns.len());
            return Err(place.refuse(&reason));
        }
        let row = row.iter().enumerate();
        let row = row.map(|(column, value)| Cell::read(value, place.at(column)));
        cells.push(row.collect::<PyResult<Vec<_>>>()?);
    }
    let done = fields.take("done", Some(true))?;
    if cells.is_empty() && !done {
        let reason = "only the last part of a result can be without rows";
        return Err(fields.place("rows").refuse(reason));
    }
    let rows: Vec<_> = cells
        .iter()
        .map(|row| row.iter().map(Cell::value).collect())
        .collect();
    let frame = RowsFrame::build(Columns::new(&columns).into(), &rows, done);
    Ok(Response::Rows(frame))
}

/// Files are `(name, content)`; servers send whole pages, so the protocol has no padding.
fn files(fields: &mut Fields<'_, '_>) -> PyResult<Response> {
    let mut files = Vec::new();
    for (index, file) in fields.list("files")?.iter().enumerate() {
        let place = fields.place("files").at(index);
        let pair = items(file, place)?;
        let [name, content] = pair.as_slice() else {
            return Err(place.wrong("(name, content)", file));
        };
        let Ok(bytes) = content.extract::<PyBackedBytes>() else {
            return Err(place.wrong("bytes", content));
        };
        if !bytes.len().is_multiple_of(WORD) {
            let reason = format!("{} bytes are not whole words of {WORD}", bytes.len());
            return Err(place.refuse(&reason));
        }
        files.push(File {
            name: String::read(name, place)?,
            content: dqlite_proto::Bytes::from_owner(bytes),
        });
    }
    Ok(Response::Files(files))
}
