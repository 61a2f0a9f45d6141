//! Framing of the control channel: one JSON object per line, bounded.

use std::io::{self, BufRead, Write};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::LINE_BYTES_MAX;

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
    if line.last() == Some(&b'\n') {
        return Ok(Some(decode(&line)));
    }
    if line.len() < LINE_BYTES_MAX {
        return Ok(None);
    }
    Err(too_long())
}

/// Writes one message as a line in a single write, and flushes.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// One message as a line.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(too_long());
    }
    Ok(line)
}

/// Bytes of a stream that must not block, cut into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Bytes at the front that hold no line feed.
    searched: usize,
}

impl Lines {
    /// Adds what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line, its line feed included; `None` = more bytes are needed.
    pub(crate) fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let unsearched = self.bytes.iter().skip(self.searched);
        let Some(at) = unsearched.clone().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            if self.searched >= LINE_BYTES_MAX {
                return Err(too_long());
            }
            return Ok(None);
        };
        let rest = self.bytes.split_off(self.searched + at + 1);
        self.searched = 0;
        Ok(Some(std::mem::replace(&mut self.bytes, rest)))
    }
}

/// What a line says.
pub(crate) fn decode<T: DeserializeOwned>(line: &[u8]) -> Received<T> {
    match serde_json::from_slice(line) {
        Ok(message) => Received::Message(message),
        Err(reason) => Received::Unreadable(Unreadable {
            n: number(line),
            reason: reason.to_string(),
        }),
    }
}

fn number(line: &[u8]) -> Option<u32> {
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("n")?.as_u64()?.try_into().ok()
}

fn too_long() -> io::Error {
    let text = format!("control line longer than {LINE_BYTES_MAX} bytes");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
