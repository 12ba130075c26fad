//! Start-up: every whole record, in order, once.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_model::BatchMeta;

use super::{HEADER, MAGIC, Position, path_of, segments};

/// What was found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Whole records.
    pub records: u64,
    /// Bytes of the unfinished last write that were cut; they were never acknowledged.
    pub torn_bytes: u64,
    /// Places where records are damaged although others follow: acknowledged, and lost.
    pub damaged_records: u64,
    /// The files that those were in.
    pub damaged_files: Vec<PathBuf>,
    /// The number that the next file gets.
    pub next_segment: u64,
}

/// Gives each whole record (its position and payload) of the log in `dir` to `on_record`, and cuts the torn tail.
///
/// # Errors
/// As the file system or `on_record` says.
pub fn replay<E: From<io::Error>>(
    dir: &Path,
    first_segment: u64,
    mut on_record: impl FnMut(Position, Bytes) -> Result<(), E>,
) -> Result<Replayed, E> {
    let segments = segments(dir)?;
    let mut found = Replayed { next_segment: first_segment, ..Replayed::default() };
    let last = segments.last().copied();
    for segment in segments {
        found.next_segment = found.next_segment.max(segment + 1);
        let path = path_of(dir, segment);
        let bytes = Bytes::from(fs::read(&path)?);
        let mut damaged = 0;
        let mut offset = if bytes.starts_with(MAGIC) { MAGIC.len() } else { 0 };
        while offset > 0 && offset < bytes.len() {
            let Some((end, true)) = bounds(&bytes, offset) else {
                // Whatever of it is damaged, its length too: where records come after it, it was once complete.
                let Some(next) = next_whole(&bytes, offset) else { break };
                damaged += 1;
                offset = next;
                continue;
            };
            found.records += 1;
            let position = Position { segment, offset: offset as u64 };
            on_record(position, bytes.slice(offset + HEADER..end))?;
            offset = end;
        }
        let unread = (bytes.len() - offset) as u64;
        // A file's first bytes are durable before any record, so one that lacks them was damaged later.
        let is_headless = offset == 0 && bytes.len() > MAGIC.len();
        if unread > 0 && Some(segment) == last && !is_headless {
            found.torn_bytes += unread;
            cut(&path, offset as u64)?;
        } else if unread > 0 {
            damaged += 1;
        }
        if damaged > 0 {
            found.damaged_records += damaged;
            found.damaged_files.push(path);
        }
    }
    Ok(found)
}

/// The next whole record after `offset`. A record can only be where its first batch's metadata says so.
fn next_whole(bytes: &[u8], offset: usize) -> Option<usize> {
    // Header, count, and the metadata's length.
    const BEFORE: usize = HEADER + 2 + 4;
    let mut from = offset + 1 + BEFORE;
    while let Some(found) = bytes.get(from..)?.windows(BatchMeta::BEGINS.len()).position(is_metadata) {
        let start = from + found - BEFORE;
        if bounds(bytes, start).is_some_and(|(_, is_right)| is_right) {
            return Some(start);
        }
        from += found + 1;
    }
    None
}

fn is_metadata(bytes: &[u8]) -> bool {
    bytes == BatchMeta::BEGINS
}

/// Where the record at `offset` ends, and whether its checksum is right.
fn bounds(bytes: &[u8], offset: usize) -> Option<(usize, bool)> {
    let header = bytes.get(offset..offset + HEADER)?;
    let length = u32::from_le_bytes(*header.first_chunk()?) as usize;
    let checksum = u32::from_le_bytes(*header.last_chunk()?);
    // A file that grew without its bytes reaching the disk ends in zeros.
    let end = (offset + HEADER).checked_add(length).filter(|_| length > 0)?;
    let payload = bytes.get(offset + HEADER..end)?;
    Some((end, crc32c::crc32c(payload) == checksum))
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    if length <= MAGIC.len() as u64 {
        return fs::remove_file(path);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}
