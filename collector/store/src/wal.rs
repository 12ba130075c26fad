//! Write-ahead log: a batch that was acknowledged survives `kill -9` and power loss.
//!
//! | file        | subject                                                |
//! |-------------|--------------------------------------------------------|
//! | `append.rs` | whole groups of records, one fsync each                  |
//! | `replay.rs` | start-up: every whole record, in order, once             |
//! | `record.rs` | what one record holds: batches that are stored together  |
//!
//! `wal/<number, 20 digits>.log` is `WEIRWAL1`, then a run of `len: u32le | crc32c: u32le | payload`. A torn tail is
//! cut and counted; damage in the middle costs the damaged records and sets a copy of the file aside. Never here:
//! tables, deduplication, when to delete.

mod append;
mod record;
mod replay;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use append::Log;
pub use record::{RecordPart, decode_parts, encode_ipc, frame};
pub use replay::{Replayed, replay};

/// The first bytes of each file.
pub(crate) const MAGIC: &[u8; 8] = b"WEIRWAL1";
/// Length and checksum before each payload.
pub(crate) const HEADER: usize = 8;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The file's number.
    pub segment: u64,
    /// Bytes from its start.
    pub offset: u64,
}

/// The file of that number.
pub(crate) fn path_of(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:020}.log"))
}

/// The numbers of all files in `dir`, in order.
pub(crate) fn segments(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|stem| stem.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests;
