//! The files of a dump on their way into one database that SQLite can open.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IntoInnerError, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{OwnFile, log};
use crate::cluster::Piece;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
/// Where the header says by whom the file is written and read: 2 with a log beside it, 1 without.
const VERSIONS_AT: u64 = 18;
const WITHOUT_LOG: [u8; 2] = [1, 1];
const CHUNK_BYTES: usize = 256 << 10;

/// A database being written. Dropped before its end, nothing is left of it.
pub(super) struct Landing {
    database: Part,
    log: Option<Part>,
    files: usize,
}

struct Part {
    file: BufWriter<File>,
    path: OwnFile,
}

impl Part {
    fn create(path: PathBuf) -> io::Result<Self> {
        // Whoever may read the database is the cluster's affair, so nobody else may read the copy.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file: BufWriter::with_capacity(CHUNK_BYTES, file),
            path: OwnFile(path),
        })
    }

    fn close(self) -> io::Result<(File, OwnFile)> {
        let file = self.file.into_inner().map_err(IntoInnerError::into_error)?;
        Ok((file, self.path))
    }
}

impl Landing {
    /// A new file in a directory.
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        let name = format!("dqlite-copy-{:016x}.db", fastrand::u64(..));
        Ok(Self {
            database: Part::create(directory.join(name))?,
            log: None,
            files: 0,
        })
    }

    /// Takes what has come; [`Piece::End`] is for [`finish`](Self::finish).
    pub(super) fn take(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::File { size: 0, .. } => self.files += 1,
            Piece::File { .. } => {
                if self.files == 1 {
                    let path = self.database.path.0.with_extension("log");
                    self.log = Some(Part::create(path)?);
                }
                self.files += 1;
            }
            Piece::Bytes(bytes) => match (self.files, &mut self.log) {
                (1, _) => self.database.file.write_all(&bytes)?,
                (2, Some(log)) => log.file.write_all(&bytes)?,
                _ => return Err(invalid("more files than a database and its log")),
            },
            Piece::End => {}
        }
        Ok(())
    }

    /// Makes a database of the files: its path and size; `None` if there is none.
    pub(super) fn finish(self) -> io::Result<Option<(OwnFile, u64)>> {
        let (file, path) = self.database.close()?;
        if let Some(log) = self.log {
            let (mut log, _path) = log.close()?;
            log::apply(&mut log, &file)?;
        }
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        check(&header, bytes)?;
        file.write_all_at(&WITHOUT_LOG, VERSIONS_AT)?;
        Ok(Some((path, bytes)))
    }
}

/// Whether a file of that size can begin so.
fn check(header: &[u8; HEADER_BYTES], bytes: u64) -> io::Result<()> {
    if !header.starts_with(MAGIC) {
        return Err(invalid("what came is no database"));
    }
    let page_bytes = match u64::from(log::word(header, 16) >> 16) {
        1 => 65536,
        bytes => bytes,
    };
    let pages = u64::from(log::word(header, 28));
    // The number of pages counts if it was written with the last change.
    let counts = log::word(header, 24) == log::word(header, 92);
    let is_whole = page_bytes >= 512 && bytes.is_multiple_of(page_bytes);
    if !is_whole || (counts && pages != bytes / page_bytes) {
        return Err(invalid("the database that came is not whole"));
    }
    Ok(())
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// An empty database with a log beside it, in pages of 512 bytes.
    fn database() -> Vec<u8> {
        let mut page = vec![0; 512];
        page[..16].copy_from_slice(MAGIC);
        page[16..20].copy_from_slice(&[2, 0, 2, 2]);
        page[31] = 1;
        page
    }

    fn land(files: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        let mut landing = Landing::begin(folder.path())?;
        let mut landed = Ok(None);
        let taken = files.iter().try_for_each(|content| {
            let name = String::new();
            let size = content.len() as u64;
            landing.take(Piece::File { name, size })?;
            let chunks = content.chunks(100);
            chunks
                .map(|chunk| Piece::Bytes(Bytes::copy_from_slice(chunk)))
                .try_for_each(|piece| landing.take(piece))
        });
        match taken {
            Ok(()) => {
                if let Some((file, size)) = landing.finish()? {
                    let content = std::fs::read(&file.0).unwrap();
                    assert_eq!(content.len() as u64, size);
                    landed = Ok(Some(content));
                }
            }
            Err(error) => {
                drop(landing);
                landed = Err(error);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        landed
    }

    #[test]
    fn a_database_lands_without_its_log() {
        let landed = land(&[&database(), &[]]).unwrap().unwrap();
        assert_eq!(landed[18..20], [1, 1]);
        assert_eq!(
            (&landed[..18], &landed[20..]),
            (&database()[..18], &database()[20..])
        );
        assert!(land(&[]).unwrap().is_none());
        assert!(land(&[&[], &[]]).unwrap().is_none());
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let two_pages = {
            let mut database = database();
            database[31] = 2;
            database
        };
        let not_whole = "the database that came is not whole";
        for (files, why) in [
            (vec![&b"x".repeat(512)[..]], "what came is no database"),
            (vec![&two_pages], not_whole),
            (vec![&database()[..500]], not_whole),
            (
                vec![&database(), &[1], &[1]],
                "more files than a database and its log",
            ),
        ] {
            assert_eq!(land(&files).unwrap_err().to_string(), why);
        }
        // A log of which nothing is whole changes nothing.
        let landed = land(&[&database(), &[7; 600]]).unwrap().unwrap();
        assert_eq!(landed.len(), 512);
    }
}
