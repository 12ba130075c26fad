//! One file of entries. Reading stops where an entry is torn or damaged: what follows can't be trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};

const HEAD: usize = 8;
/// No commit comes near; a longer one is a damaged length.
const LONGEST_ENTRY: usize = 256 << 20;

/// A file of entries.
#[derive(Debug)]
pub(super) struct Segment {
    /// Files are read in the order of their numbers.
    pub(super) number: u64,
    file: File,
    /// Where it can be deleted; none for one in memory.
    path: Option<PathBuf>,
    /// Bytes of whole entries.
    len: AtomicU64,
    /// Rows in batches.
    rows: AtomicU64,
}

impl Segment {
    /// A new file; one in memory without a directory.
    pub(super) fn create(directory: Option<&Path>, number: u64) -> io::Result<Segment> {
        let (file, path) = match directory {
            Some(directory) => {
                let path = path(directory, number);
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
                (file, Some(path))
            }
            None => (memfd_create("weir-spool", MFdFlags::MFD_CLOEXEC)?.into(), None),
        };
        Ok(Segment { number, file, path, len: AtomicU64::new(0), rows: AtomicU64::new(0) })
    }

    /// A file that an earlier run wrote.
    pub(super) fn open(directory: &Path, number: u64) -> io::Result<Segment> {
        let path = path(directory, number);
        let file = File::open(&path)?;
        Ok(Segment { number, file, path: Some(path), len: AtomicU64::new(0), rows: AtomicU64::new(0) })
    }

    /// Reads all whole entries, and knows then how long they are.
    pub(super) fn read(&self, mut each: impl FnMut(&[u8]) -> u64) -> io::Result<()> {
        let mut at = 0;
        while let Some((entry, next)) = self.entry_at(at, u64::MAX)? {
            self.rows.fetch_add(each(&entry), Ordering::Relaxed);
            at = next;
        }
        self.len.store(at, Ordering::Release);
        Ok(())
    }

    /// Writes an entry behind the others.
    pub(super) fn append(&self, entry: &[u8], rows: u64) -> io::Result<()> {
        let at = self.len();
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&(entry.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&crc32c::crc32c(entry).to_le_bytes());
        self.file.write_all_at(entry, at + HEAD as u64)?;
        // Last: an entry without its head isn't there.
        self.file.write_all_at(&head, at)?;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.len.store(at + (HEAD + entry.len()) as u64, Ordering::Release);
        Ok(())
    }

    /// Bytes of whole entries.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Rows in its batches.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The entry at `at` and where the next one begins; `None` at the end, or where it is torn.
    pub(super) fn next_entry(&self, at: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        self.entry_at(at, self.len())
    }

    fn entry_at(&self, at: u64, end: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        if at >= end {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        if !read_whole(&self.file, &mut head, at)? {
            return Ok(None);
        }
        let [length, checksum] =
            [&head[..4], &head[4..]].map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
        if length == 0 || length as usize > LONGEST_ENTRY {
            return Ok(None);
        }
        let mut entry = vec![0; length as usize];
        let is_whole = read_whole(&self.file, &mut entry, at + HEAD as u64)?;
        if !is_whole || crc32c::crc32c(&entry) != checksum {
            return Ok(None);
        }
        Ok(Some((entry, at + HEAD as u64 + u64::from(length))))
    }

    /// Deletes the file; who still reads it may go on.
    pub(super) fn delete(&self) -> io::Result<()> {
        match self.path.as_deref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.log"))
}

/// `false`: the file ends before.
fn read_whole(file: &File, into: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(into, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
