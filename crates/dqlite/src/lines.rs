//! Framing of the control channel: one JSON object per line, bounded.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::control::LINE_BYTES_MAX;

/// One line that arrived.
#[derive(Debug)]
pub enum Received<T> {
    /// A message.
    Message(T),
    /// A line that is no message of this version; the channel goes on behind it.
    Unreadable(Unreadable),
}

/// A line that is no message of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `n` of the line, if it had one: a request that deserves an answer.
    pub n: Option<u32>,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the next line; `None` at the end of the stream.
///
/// An error is the stream's own, or `InvalidData` for a line longer than [`LINE_BYTES_MAX`],
/// behind which nothing can be trusted. A last line without its line feed counts as cut off, and
/// reads as the end.
pub fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<Received<T>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    io::Read::take(&mut *from, limit).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        if line.len() < LINE_BYTES_MAX {
            return Ok(None);
        }
        let text = format!("control line longer than {LINE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(match serde_json::from_slice(&line) {
        Ok(message) => Received::Message(message),
        Err(reason) => Received::Unreadable(Unreadable {
            n: number(&line),
            reason: reason.to_string(),
        }),
    }))
}

/// Writes one message as a line in a single write, and flushes.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        let text = format!("control line longer than {LINE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    to.write_all(&line)?;
    to.flush()
}

fn number(line: &[u8]) -> Option<u32> {
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("n")?.as_u64()?.try_into().ok()
}
