//! What an engine was at when it died: notes in memory that outlives its process.
//!
//! A process that is killed says nothing. So a node keeps a [`Note`] of each request that its
//! engine has begun, without parameters, in memory that its supervisor holds, too; whoever dies,
//! [`read`] tells what ran. Nothing that is found there can do harm: it may be half written.
//!
//! ```text
//! words:  0 magic   1 unlisted   2..8 reserved   then slots of 18 words each
//! slot:   0 in use, kind, length   1 order   2 hash   3..18 the first 120 bytes
//! ```
//!
//! ```
//! use dqlite_proto::{RequestKind, suspects};
//!
//! let note = suspects::Note::new(RequestKind::QUERY_SQL, b"SELECT 1");
//! let mut bytes = suspects::MAGIC.to_le_bytes().to_vec();
//! bytes.resize(suspects::HEADER_WORDS * 8, 0);
//! bytes.extend(note.words(7).iter().flat_map(|word| word.to_le_bytes()));
//! let read = suspects::read(&bytes);
//! assert_eq!(read.listed[0].text, "SELECT 1");
//! ```

use std::fmt;

use crate::message::RequestKind;
use crate::wire::WORD;

/// The first word: what follows is laid out as this module says.
pub const MAGIC: u64 = u64::from_le_bytes(*b"dqnotes1");
/// Size of the whole.
pub const BYTES: usize = 64 << 10;
/// Words before the first slot.
pub const HEADER_WORDS: usize = 8;
/// The word that counts requests for which there was no slot.
pub const UNLISTED_WORD: usize = 1;
/// Words of a slot; the first is 0 in a free one.
pub const SLOT_WORDS: usize = 3 + TEXT_WORDS;
/// How many requests are listed at most.
pub const SLOTS: usize = (BYTES / WORD - HEADER_WORDS) / SLOT_WORDS;
/// Of a longer text only the beginning is kept.
pub const TEXT_BYTES: usize = TEXT_WORDS * WORD;

const TEXT_WORDS: usize = 15;
const IN_USE: u64 = 1 << 63;
const KIND_SHIFT: u32 = 32;
const LENGTH: u64 = u32::MAX as u64;

/// One request, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    kind: RequestKind,
    length: u32,
    hash: u64,
    text: [u64; TEXT_WORDS],
}

impl Note {
    /// Of a request with this text.
    pub fn new(kind: RequestKind, text: &[u8]) -> Self {
        let mut kept = [0; TEXT_WORDS];
        for (word, bytes) in kept.iter_mut().zip(text.chunks(WORD)) {
            *word = padded(bytes);
        }
        Self {
            kind,
            length: u32::try_from(text.len()).unwrap_or(u32::MAX),
            hash: hash(text),
            text: kept,
        }
    }

    /// The same text in another request.
    #[must_use]
    pub const fn asked_by(self, kind: RequestKind) -> Self {
        Self { kind, ..self }
    }

    /// A slot; `order` says which of two requests began first. To be written with its first word
    /// last.
    pub fn words(&self, order: u64) -> [u64; SLOT_WORDS] {
        let mut words = [0; SLOT_WORDS];
        let kind = u64::from(self.kind.0) << KIND_SHIFT;
        let first = [IN_USE | kind | u64::from(self.length), order, self.hash];
        for (word, value) in words.iter_mut().zip(first.iter().chain(&self.text)) {
            *word = *value;
        }
        words
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// What had begun, in the order of beginning.
    pub listed: Vec<Suspect>,
    /// How many more there were.
    pub unlisted: u64,
}

/// A request that had begun and was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its type.
    pub kind: RequestKind,
    /// The beginning of its SQL text, or the name of its database; one line.
    pub text: String,
    /// Length of the whole text.
    pub bytes: u32,
    /// Of the whole text; the same text has the same hash.
    pub hash: u64,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.text)?;
        if self.bytes as usize > TEXT_BYTES {
            write!(f, "... ({} bytes, hash {:016x})", self.bytes, self.hash)?;
        }
        Ok(())
    }
}

/// Reads what is there, whatever it is: memory without the magic holds nothing.
pub fn read(bytes: &[u8]) -> Suspects {
    let (words, _) = bytes.as_chunks();
    let words: Vec<u64> = words
        .iter()
        .take(BYTES / WORD)
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    if words.first() != Some(&MAGIC) {
        return Suspects::default();
    }
    let slots = words.get(HEADER_WORDS..).unwrap_or_default();
    let mut listed: Vec<(u64, Suspect)> = slots.as_chunks().0.iter().filter_map(suspect).collect();
    listed.sort_by_key(|(order, _)| *order);
    Suspects {
        listed: listed.into_iter().map(|(_, suspect)| suspect).collect(),
        unlisted: words.get(UNLISTED_WORD).copied().unwrap_or_default(),
    }
}

fn suspect(slot: &[u64; SLOT_WORDS]) -> Option<(u64, Suspect)> {
    let [first, order, hash, text @ ..] = slot;
    if first & IN_USE == 0 {
        return None;
    }
    let bytes = u32::try_from(first & LENGTH).unwrap_or(u32::MAX);
    let text: Vec<u8> = text
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .take(bytes as usize)
        .collect();
    let [_, _, _, _, kind, ..] = first.to_le_bytes();
    let suspect = Suspect {
        kind: RequestKind(kind),
        text: one_line(&text, bytes as usize > text.len()),
        bytes,
        hash: *hash,
    };
    Some((*order, suspect))
}

fn one_line(bytes: &[u8], cut: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    // A cut may fall within a character.
    let text = if cut {
        text.trim_end_matches(char::REPLACEMENT_CHARACTER)
    } else {
        &text
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// Fast and good enough to tell texts apart.
fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let ends = [padded(rest), text.len() as u64];
    words.chain(ends).fold(0, |hash: u64, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

/// Up to eight bytes as a word.
fn padded(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory(slots: &[[u64; SLOT_WORDS]], unlisted: u64) -> Vec<u8> {
        let mut words = vec![0; BYTES / WORD];
        words[0] = MAGIC;
        words[UNLISTED_WORD] = unlisted;
        for (at, slot) in slots.iter().enumerate() {
            let at = HEADER_WORDS + at * SLOT_WORDS;
            words[at..at + SLOT_WORDS].copy_from_slice(slot);
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn what_was_noted_is_read_in_the_order_of_beginning() {
        let long = format!("SELECT '{}'", "ä".repeat(200));
        let slots = [
            Note::new(RequestKind::EXEC_SQL, b"INSERT\nINTO t").words(2),
            [0; SLOT_WORDS],
            Note::new(RequestKind::PREPARE, long.as_bytes())
                .asked_by(RequestKind::QUERY)
                .words(1),
        ];
        let read = read(&memory(&slots, 3));
        assert_eq!(read.unlisted, 3);
        let [first, second] = &read.listed[..] else {
            panic!("{read:?}");
        };
        assert_eq!(first.kind, RequestKind::QUERY);
        assert_eq!(first.bytes as usize, long.len());
        assert!(long.starts_with(&first.text) && first.text.len() >= TEXT_BYTES - 1);
        let shown = first.to_string();
        assert!(shown.ends_with(&format!("... (409 bytes, hash {:016x})", first.hash)));
        assert_eq!(second.to_string(), "EXEC_SQL INSERT INTO t");
    }

    #[test]
    fn texts_are_told_apart_by_what_is_not_kept() {
        let [a, b] = ["a", "b"].map(|end| {
            let text = format!("{}{end}", " ".repeat(1000));
            Note::new(RequestKind::QUERY_SQL, text.as_bytes()).hash
        });
        assert_ne!(a, b);
        assert_ne!(hash(b"a"), hash(b"a\0"));
    }

    #[test]
    fn what_is_no_such_memory_holds_nothing() {
        let mut other = memory(&[Note::new(RequestKind::EXEC, b"x").words(1)], 1);
        other[0] ^= 1;
        for bytes in [&b""[..], b"dqnotes", &[0xff; 100], &other] {
            assert_eq!(read(bytes), Suspects::default());
        }
        assert_eq!(read(b"dqnotes1"), Suspects::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..20_000),
            size in 0..BYTES * 2,
        ) {
            bytes[..8].copy_from_slice(b"dqnotes1");
            let bytes: Vec<u8> = bytes.iter().copied().cycle().take(size).collect();
            let read = read(&bytes);
            prop_assert!(read.listed.len() <= SLOTS);
            for suspect in &read.listed {
                prop_assert!(suspect.text.len() <= TEXT_BYTES * 3);
                prop_assert!(!suspect.text.contains(char::is_control));
            }
        }

        #[test]
        fn any_text_comes_back(text in "[ -~]{0,300}") {
            let slot = Note::new(RequestKind::EXEC_SQL, text.as_bytes()).words(9);
            let read = read(&memory(&[slot], 0));
            prop_assert_eq!(&read.listed[0].text, &text[..text.len().min(TEXT_BYTES)]);
            prop_assert_eq!(read.listed[0].bytes as usize, text.len());
        }
    }
}
