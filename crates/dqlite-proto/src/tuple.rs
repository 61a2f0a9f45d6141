//! Checks a parameter tuple while it passes, whatever its size, holding its tags only.

use crate::error::DecodeError;
use crate::params::PARAMS_MAX;
use crate::value::tag;
use crate::wire::{WORD, padded, zero_bytes};

/// Follows the words of one tuple. Feed it all bytes behind the SQL text or statement id, in any
/// pieces, and [`finish`](Self::finish) it.
#[derive(Clone, Debug)]
pub struct TupleCheck {
    schema: u8,
    /// Bytes of the body that have not been looked at.
    left: u64,
    /// Bytes of a blob that need no look.
    skip: u64,
    word: [u8; WORD],
    filled: usize,
    count: usize,
    tags: Vec<u8>,
    value: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Count,
    Tags,
    Values,
    End,
}

impl TupleCheck {
    /// For a tuple in the variant of that schema that takes `bytes` of its message.
    pub const fn new(schema: u8, bytes: u64) -> Self {
        Self {
            schema,
            left: bytes,
            skip: 0,
            word: [0; WORD],
            filled: 0,
            count: 0,
            tags: Vec::new(),
            value: 0,
            state: if bytes == 0 { State::End } else { State::Count },
        }
    }

    /// Takes the next bytes. After an error the message must not be completed.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let (_, rest) = bytes.split_at_checked(skipped).unwrap_or((bytes, &[]));
                let taken = bytes.len().saturating_sub(rest.len()) as u64;
                self.skip = self.skip.saturating_sub(taken);
                self.left = self.left.saturating_sub(taken);
                bytes = rest;
            } else if let Some(word) = self.whole_word(&mut bytes) {
                self.left = self.left.saturating_sub(WORD as u64);
                self.word(word)?;
            }
        }
        Ok(())
    }

    /// The message has ended.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.state == State::End && self.skip == 0 {
            Ok(())
        } else {
            Err(self.error("a parameter is missing"))
        }
    }

    fn whole_word(&mut self, bytes: &mut &[u8]) -> Option<[u8; WORD]> {
        let space = self.word.get_mut(self.filled..)?;
        let wanted = space.len().min(bytes.len());
        let (head, rest) = bytes.split_at_checked(wanted)?;
        space.get_mut(..wanted)?.copy_from_slice(head);
        *bytes = rest;
        self.filled = self.filled.saturating_add(wanted);
        if self.filled < WORD {
            return None;
        }
        self.filled = 0;
        Some(self.word)
    }

    fn word(&mut self, word: [u8; WORD]) -> Result<(), DecodeError> {
        match self.state {
            State::Count => {
                let [b0, b1, b2, b3, ..] = word;
                let (count, size) = if self.schema == 0 {
                    (u32::from(b0), 1)
                } else {
                    (u32::from_le_bytes([b0, b1, b2, b3]), 4)
                };
                self.count = usize::try_from(count).unwrap_or(usize::MAX);
                let header = padded(self.count.saturating_add(size));
                let behind = header.saturating_sub(WORD) as u64;
                if self.count > PARAMS_MAX || behind > self.left {
                    return Err(self.error("more parameters than there is room for"));
                }
                self.state = State::Tags;
                self.take_tags(word.get(size..).unwrap_or_default())
            }
            State::Tags => self.take_tags(&word),
            State::Values => self.take_value(word),
            State::End => Err(self.error("bytes are left over")),
        }
    }

    fn take_tags(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let known = self.tags.len();
        let missing = self.count.saturating_sub(known);
        let tags = bytes.get(..missing).unwrap_or(bytes);
        if let Some(unknown) = tags.iter().position(|tag| !is_parameter(*tag)) {
            self.value = known.saturating_add(unknown);
            return Err(self.error("a tag that is none of a parameter"));
        }
        self.tags.extend_from_slice(tags);
        if self.tags.len() == self.count {
            self.state = State::Values;
            self.end_if_complete();
        }
        Ok(())
    }

    fn take_value(&mut self, word: [u8; WORD]) -> Result<(), DecodeError> {
        let number = u64::from_le_bytes(word);
        match self.tags.get(self.value).copied().unwrap_or_default() {
            tag::TEXT | tag::ISO8601 if zero_bytes(number) == 0 => return Ok(()),
            tag::BLOB => {
                let fits = number <= self.left;
                let size = number.checked_next_multiple_of(WORD as u64);
                let Some(size) = size.filter(|size| fits && *size <= self.left) else {
                    return Err(self.error("a blob is longer than its message"));
                };
                self.skip = size;
            }
            _ => {}
        }
        self.value = self.value.saturating_add(1);
        self.end_if_complete();
        Ok(())
    }

    fn end_if_complete(&mut self) {
        if self.value == self.count {
            self.state = State::End;
        }
    }

    /// Points at the parameter, for want of an offset that would mean something.
    #[cold]
    const fn error(&self, what: &'static str) -> DecodeError {
        DecodeError {
            what,
            at: self.value,
        }
    }
}

const fn is_parameter(tag: u8) -> bool {
    matches!(
        tag,
        tag::INTEGER | tag::FLOAT | tag::TEXT | tag::BLOB | tag::NULL | tag::ISO8601 | tag::BOOLEAN
    )
}
