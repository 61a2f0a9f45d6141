//! A capture of one direction of a connection as readable text, for people who debug.
//!
//! ```
//! use dqlite_proto::trace::{Direction, Trace};
//!
//! let capture = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
//! let direction = Direction::guess(&capture);
//! let lines: Vec<_> = Trace::new(direction, capture.to_vec().into(), 10)
//!     .map(|entry| entry.to_string())
//!     .collect();
//! assert_eq!(lines, ["       0  handshake version=1", "       8  LEADER"]);
//! ```

use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::capture::{Found, Walk};
use crate::frame::{HANDSHAKE, Header};
use crate::message::{Request, Response, ResponseKind};
use crate::params::ParamsRef;
use crate::rows::RowsFrame;
use crate::value::ValueRef;

pub use crate::capture::Direction;

/// How much of a blob is shown.
const BLOB_BYTES_SHOWN: usize = 32;

/// One message of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it begins in the capture, in bytes.
    pub at: usize,
    /// What it is and says; rows follow on lines of their own.
    pub text: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8}  {}", self.at, self.text)
    }
}

/// Walks over a capture message by message. A malformed message is reported and passed over; what
/// follows an impossible header cannot be found and ends the walk.
#[derive(Clone, Debug)]
pub struct Trace {
    walk: Walk,
    capture: Bytes,
    rows_shown: usize,
}

impl Trace {
    /// At most `rows_shown` rows of each ROWS message are written out.
    pub const fn new(direction: Direction, capture: Bytes, rows_shown: usize) -> Self {
        Self {
            walk: Walk::new(direction),
            capture,
            rows_shown,
        }
    }
}

impl Iterator for Trace {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (at, found) = self.walk.next(&self.capture)?;
        let text = describe(&found, self.rows_shown);
        Some(Entry { at, text })
    }
}

fn describe(found: &Found<'_>, rows_shown: usize) -> String {
    match found {
        Found::Handshake(HANDSHAKE) => "handshake version=1".to_owned(),
        Found::Handshake(_) => "handshake version=legacy".to_owned(),
        Found::Request(header, request) => describe_request(request, *header),
        Found::Reply(_, Response::Rows(frame)) => describe_rows(frame, rows_shown),
        Found::Reply(header, response) => describe_response(response, *header),
        Found::Malformed {
            name,
            header,
            error,
        } => format!(
            "{name} malformed: {error} ({} bytes, schema {})",
            header.body_bytes(),
            header.schema
        ),
        Found::Cut {
            message,
            bytes,
            whole,
        } => {
            let what = message.as_ref().map_or("a header", |(name, _)| name);
            format!("{what} cut off: {bytes} of {whole} bytes")
        }
        Found::Stopped(error) => format!("stopped: {error}"),
    }
}

fn describe_request(request: &Request<'_>, header: Header) -> String {
    let mut text = request.kind().to_string();
    if header.schema != 0 {
        push(&mut text, "schema", header.schema);
    }
    match *request {
        Request::Leader | Request::Interrupt => {}
        Request::Client { id } | Request::Remove { id } | Request::Transfer { id } => {
            push(&mut text, "id", id);
        }
        Request::Promote { id } => {
            push(&mut text, "id", id);
            push(&mut text, "role", "voter");
        }
        Request::Heartbeat { timestamp } => push(&mut text, "timestamp", timestamp),
        Request::Open { name, .. } | Request::Dump { name } => push_text(&mut text, "name", name),
        Request::Prepare { sql } => push_text(&mut text, "sql", sql),
        Request::Exec { statement, params } | Request::Query { statement, params } => {
            push(&mut text, "statement", statement);
            push_params(&mut text, params);
        }
        Request::Finalize { statement } => push(&mut text, "statement", statement),
        Request::ExecSql { sql, params } | Request::QuerySql { sql, params } => {
            push_text(&mut text, "sql", sql);
            push_params(&mut text, params);
        }
        Request::Connect { id, address } | Request::Add { id, address } => {
            push(&mut text, "id", id);
            push_text(&mut text, "address", address);
        }
        Request::Assign { id, role } => {
            push(&mut text, "id", id);
            push(&mut text, "role", role);
        }
        Request::Cluster { format } | Request::Describe { format } => {
            push(&mut text, "format", format);
        }
        Request::Weight { weight } => push(&mut text, "weight", weight),
    }
    text
}

fn describe_response(response: &Response, header: Header) -> String {
    let mut text = response.kind().to_string();
    if header.schema != 0 {
        push(&mut text, "schema", header.schema);
    }
    match response {
        Response::Failure(failure) => {
            push(&mut text, "code", failure.code);
            push_text(&mut text, "message", &failure.message);
        }
        Response::Server { id, address } => {
            push(&mut text, "id", id);
            push_text(&mut text, "address", address);
        }
        Response::ServerLegacy { address } => push_text(&mut text, "address", address),
        Response::Welcome {
            heartbeat_timeout_ms,
        } => {
            push(&mut text, "heartbeat_timeout_ms", heartbeat_timeout_ms);
        }
        Response::Servers(nodes) => {
            for node in nodes {
                let _ = write!(
                    text,
                    "\n            {} {} {}",
                    node.id, node.address, node.role
                );
            }
        }
        Response::Addresses(nodes) => {
            for (id, address) in nodes {
                let _ = write!(text, "\n            {id} {address}");
            }
        }
        Response::Db { id } => push(&mut text, "id", id),
        Response::Stmt { id, params, tail } => {
            push(&mut text, "id", id);
            push(&mut text, "params", params);
            if let Some(tail) = tail {
                push(&mut text, "tail", tail);
            }
        }
        Response::Result {
            last_insert_id,
            rows_affected,
        } => {
            push(&mut text, "last_insert_id", last_insert_id);
            push(&mut text, "rows_affected", rows_affected);
        }
        Response::Rows(_) | Response::Empty => {}
        Response::Files(files) => {
            for file in files {
                let _ = write!(
                    text,
                    "\n            {} {} bytes",
                    file.name,
                    file.content.len()
                );
            }
        }
        Response::Metadata(metadata) => {
            push(&mut text, "failure_domain", metadata.failure_domain);
            push(&mut text, "weight", metadata.weight);
        }
    }
    text
}

fn describe_rows(frame: &RowsFrame, shown: usize) -> String {
    let mut text = ResponseKind::ROWS.to_string();
    let end = if frame.is_done() { "DONE" } else { "PART" };
    let _ = write!(text, " columns={:?}", frame.columns().names());
    let mut cursor = frame.rows();
    let mut rows = 0_usize;
    let mut listed = String::new();
    let broken = loop {
        let row = match cursor.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        rows = rows.saturating_add(1);
        if rows > shown {
            continue;
        }
        listed.push_str("\n            ");
        for (column, value) in row.enumerate() {
            listed.push_str(if column == 0 { "" } else { " | " });
            match value {
                Ok(value) => push_value(&mut listed, value),
                Err(error) => {
                    let _ = write!(listed, "malformed: {error}");
                }
            }
        }
    };
    let _ = write!(text, " rows={rows} {end}");
    if let Some(error) = broken {
        let _ = write!(text, " malformed: {error}");
    }
    text.push_str(&listed);
    if rows > shown {
        let _ = write!(
            text,
            "\n            and {} more",
            rows.saturating_sub(shown)
        );
    }
    text
}

fn push(text: &mut String, name: &str, value: impl fmt::Display) {
    let _ = write!(text, " {name}={value}");
}

fn push_text(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, " {name}={value:?}");
}

fn push_params(text: &mut String, params: ParamsRef<'_>) {
    if params.is_empty() {
        return;
    }
    text.push_str(" params=[");
    for (index, value) in params.values().enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        push_value(text, value);
    }
    text.push(']');
}

fn push_value(text: &mut String, value: ValueRef<'_>) {
    let _ = match value {
        ValueRef::Integer(number) => write!(text, "{number}"),
        ValueRef::Float(number) => write!(text, "{number:?}"),
        ValueRef::Text(bytes) => write!(text, "{:?}", String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => {
            text.push_str("x'");
            for byte in bytes.iter().take(BLOB_BYTES_SHOWN) {
                let _ = write!(text, "{byte:02x}");
            }
            let left = bytes.len().saturating_sub(BLOB_BYTES_SHOWN);
            if left == 0 {
                write!(text, "'")
            } else {
                write!(text, "'.. and {left} bytes")
            }
        }
        ValueRef::Null => write!(text, "NULL"),
        ValueRef::UnixTime(seconds) => write!(text, "unixtime({seconds})"),
        ValueRef::Iso8601(bytes) => write!(text, "iso8601({:?})", String::from_utf8_lossy(bytes)),
        ValueRef::Boolean(number) => write!(text, "boolean({number})"),
    };
}
