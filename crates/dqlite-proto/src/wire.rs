//! Reading and writing whole 8-byte words, the only units the protocol knows.
//!
//! ```text
//! u64, i64, f64   8 bytes, little-endian; two u32 share a word
//! text            the bytes, one NUL, zeros up to the next word
//! blob            u64 length, the bytes, padding up to the next word
//! ```
//!
//! Nothing here allocates, and no length is used before it has been compared with what is there.

use crate::error::DecodeError;

/// Bytes of one word.
pub const WORD: usize = 8;

/// Bytes that a text of `len` bytes takes, its NUL and padding included.
#[inline]
pub const fn text_size(len: usize) -> usize {
    (len | 7).saturating_add(1)
}

/// Bytes that a blob of `len` bytes takes, its length word and padding included.
#[inline]
pub const fn blob_size(len: usize) -> usize {
    padded(len).saturating_add(WORD)
}

/// `len` rounded up to whole words.
#[inline]
pub const fn padded(len: usize) -> usize {
    match len.checked_next_multiple_of(WORD) {
        Some(padded) => padded,
        None => usize::MAX,
    }
}

/// A cursor over bytes that came from the network.
///
/// Every method takes what it returns from the front; on an error the position is unspecified and
/// the message has to be given up.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            total: bytes.len(),
        }
    }

    /// What has not been taken yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have been taken.
    #[inline]
    pub const fn position(&self) -> usize {
        self.total.saturating_sub(self.rest.len())
    }

    /// Whether everything has been taken.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error that points at the current position.
    #[cold]
    pub const fn error(&self, what: &'static str) -> DecodeError {
        DecodeError {
            what,
            at: self.position(),
        }
    }

    /// One word.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let Some((word, rest)) = self.rest.split_first_chunk::<WORD>() else {
            return Err(self.error("a word is missing"));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*word))
    }

    /// Half a word.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let Some((half, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.error("half a word is missing"));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*half))
    }

    /// One word as a signed number.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.u64().map(u64::cast_signed)
    }

    /// One word as a floating-point number.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.u64().map(f64::from_bits)
    }

    /// A text up to its NUL; the padding behind it is skipped unseen.
    #[inline]
    pub fn text(&mut self) -> Result<&'a [u8], DecodeError> {
        // Most texts end within a word or two: go by words, as the padding does.
        let mut end = 0_usize;
        for word in self.rest.as_chunks::<WORD>().0 {
            let zeros = zero_bytes(u64::from_le_bytes(*word));
            if zeros != 0 {
                let len = end.wrapping_add((zeros.trailing_zeros() >> 3) as usize);
                let split = self.rest.split_at_checked(end.wrapping_add(WORD));
                let text = self.rest.get(..len);
                if let (Some((_, rest)), Some(text)) = (split, text) {
                    self.rest = rest;
                    return Ok(text);
                }
            }
            end = end.wrapping_add(WORD);
        }
        Err(self.error("a text does not end"))
    }

    /// A blob: its bytes without the length word and the padding.
    #[inline]
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u64()?;
        let split = usize::try_from(length).ok().and_then(|len| {
            let (blob, _) = self.rest.split_at_checked(len)?;
            let (_, rest) = self.rest.split_at_checked(padded(len))?;
            Some((blob, rest))
        });
        let Some((blob, rest)) = split else {
            return Err(self.error("a blob is longer than its message"));
        };
        self.rest = rest;
        Ok(blob)
    }

    /// Exactly `len` bytes as they are.
    #[inline]
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((raw, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.error("bytes are missing"));
        };
        self.rest = rest;
        Ok(raw)
    }

    /// Ends the reading of a message that must be used up.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error("bytes are left over"))
        }
    }
}

/// Appends one word.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, word: u64) {
    out.extend_from_slice(&word.to_le_bytes());
}

/// Appends half a word.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, half: u32) {
    out.extend_from_slice(&half.to_le_bytes());
}

/// Appends a text with its NUL and padding. The caller has made sure that it holds no NUL.
#[inline]
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let end = out.len().saturating_add(text_size(text.len()));
    out.extend_from_slice(text);
    out.resize(end, 0);
}

/// Appends a blob with its length word and padding.
#[inline]
pub fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    put_u64(out, blob.len() as u64);
    let end = out.len().saturating_add(padded(blob.len()));
    out.extend_from_slice(blob);
    out.resize(end, 0);
}

/// A mask whose lowest set bit stands in the first zero byte of `word`; 0 if it has none.
#[inline]
pub(crate) const fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    word.wrapping_sub(LOW) & !word & HIGH
}
