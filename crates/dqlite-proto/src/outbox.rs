//! Bytes that wait to be sent, and their place in the stream.

/// Output of a session. Positions count from the first byte of the connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    head: usize,
    /// Position of the first byte of `bytes`.
    base: u64,
}

/// Sent bytes are let go of when they are more than this and more than what is left; so is room
/// beyond it.
const KEEP_MAX: usize = 64 << 10;

impl Outbox {
    /// Where to append.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What has not been sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    /// Position of the first byte that has not been sent.
    pub(crate) const fn position(&self) -> u64 {
        self.base.saturating_add(self.head as u64)
    }

    /// Position behind the last byte.
    pub(crate) const fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes.len() as u64)
    }

    /// The first `count` unsent bytes are sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.head = self.head.saturating_add(count).min(self.bytes.len());
        let left = self.bytes.len().saturating_sub(self.head);
        if left == 0 || (self.head > KEEP_MAX && self.head > left) {
            self.base = self.position();
            self.bytes.drain(..self.head);
            self.bytes.shrink_to(KEEP_MAX.max(left));
            self.head = 0;
        }
    }

    /// Forgets what has not been sent: nothing more ever is.
    pub(crate) fn close(&mut self) {
        self.bytes.truncate(self.head);
    }

    /// Removes `size` bytes that end at position `end`, if none of them has been sent.
    pub(crate) fn take_back(&mut self, end: u64, size: usize) -> bool {
        let end = usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let start = end.saturating_sub(size);
        if start < self.head || end > self.bytes.len() || end.saturating_sub(start) != size {
            return false;
        }
        self.bytes.drain(start..end);
        true
    }
}
