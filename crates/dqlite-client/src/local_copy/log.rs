//! The write-ahead log that servers before 1.18.2 send beside a database, put into it.
//!
//! A log is good up to its last commit before the first frame that is not whole: what SQLite
//! itself would recover.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;
/// The last bit says in which order checksums read their words.
const MAGIC: u32 = 0x377f_0682;

/// Writes every committed page of `log` to `database`.
pub(super) fn apply(log: &mut File, database: &File) -> io::Result<()> {
    let Some((frames, page_bytes)) = committed(log)? else {
        return Ok(());
    };
    let mut reader = after_header(log)?;
    let mut frame = vec![0; FRAME_BYTES + page_bytes];
    let mut pages = 0;
    for _ in 0..frames {
        reader.read_exact(&mut frame)?;
        let number = u64::from(word(&frame, 0));
        let after_commit = u64::from(word(&frame, 4));
        if after_commit > 0 {
            pages = after_commit;
        }
        let page = number.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
        database.write_all_at(&frame[FRAME_BYTES..], page * page_bytes as u64)?;
    }
    database.set_len(pages * page_bytes as u64)
}

/// How many frames there are up to the last commit, and the size of a page.
fn committed(log: &mut File) -> io::Result<Option<(u64, usize)>> {
    let mut header = [0; HEADER_BYTES];
    log.rewind()?;
    if read(log, &mut header)? < HEADER_BYTES || word(&header, 0) & !1 != MAGIC {
        return Ok(None);
    }
    let page_bytes = word(&header, 8) as usize;
    if !page_bytes.is_power_of_two() || !(512..=65536).contains(&page_bytes) {
        return Ok(None);
    }
    let mut sum = Sum {
        is_big_endian: word(&header, 0) & 1 == 1,
        words: [0, 0],
    };
    sum.add(&header[..24]);
    if sum.words != [word(&header, 24), word(&header, 28)] {
        return Ok(None);
    }
    let mut reader = after_header(log)?;
    let mut frame = vec![0; FRAME_BYTES + page_bytes];
    let (mut frames, mut good) = (0, None);
    while read(&mut reader, &mut frame)? == frame.len() {
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_BYTES..]);
        let is_whole = sum.words == [word(&frame, 16), word(&frame, 20)]
            && frame[8..16] == header[16..24]
            && word(&frame, 0) > 0;
        if !is_whole {
            break;
        }
        frames += 1;
        if word(&frame, 4) > 0 {
            good = Some((frames, page_bytes));
        }
    }
    Ok(good)
}

fn after_header(log: &mut File) -> io::Result<BufReader<&mut File>> {
    log.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    Ok(BufReader::new(log))
}

/// Reads until `into` is full or the file ends.
fn read(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            bytes => filled += bytes,
        }
    }
    Ok(filled)
}

struct Sum {
    is_big_endian: bool,
    words: [u32; 2],
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let [mut first, mut second] = self.words;
        for pair in bytes.chunks_exact(8) {
            let mut words = [word(pair, 0), word(pair, 4)];
            if !self.is_big_endian {
                words = words.map(u32::swap_bytes);
            }
            first = first.wrapping_add(words[0]).wrapping_add(second);
            second = second.wrapping_add(words[1]).wrapping_add(first);
        }
        self.words = [first, second];
    }
}

/// A word of a file of SQLite's, which are the same on all machines; 0 where there is none.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.copied().map_or(0, u32::from_be_bytes)
}
