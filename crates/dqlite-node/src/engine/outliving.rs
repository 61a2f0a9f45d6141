//! Memory that another process can read when this one is gone.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd as _, RawFd};
use std::slice;
use std::sync::atomic::AtomicU64;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// Zeroed words that whoever opens this process's descriptor shares.
#[derive(Debug)]
pub struct Outliving {
    file: File,
    words: &'static [AtomicU64],
}

impl Outliving {
    /// As many words, for the rest of the process's life.
    pub fn new(words: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(words.saturating_mul(size_of::<AtomicU64>()))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let file = File::from(memfd_create(c"dqlite-in-flight", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(bytes.get() as u64)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else is touched.
        let memory = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, &file, 0) }?;
        // SAFETY: the mapping is as long, aligned to pages, zeroed, and never unmapped; nobody
        // shortens the file, whose only descriptors are ours and read-only ones. Others change it
        // by atomic stores only, if at all.
        let words = unsafe { slice::from_raw_parts(memory.cast().as_ptr(), words) };
        Ok(Self { file, words })
    }

    /// The words.
    pub const fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// To be opened by others, by way of `/proc`.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_written_is_seen_through_the_descriptor() {
        let memory = Outliving::new(1024).unwrap();
        memory.words()[1023].store(7, Ordering::Relaxed);
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.descriptor());
        let seen = fs::read(path).unwrap();
        assert_eq!(seen.len(), 8192);
        assert_eq!(seen[8184], 7);
        assert!(Outliving::new(0).is_err());
    }
}
