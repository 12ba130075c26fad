//! Whole groups of records, one fsync each.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{MAGIC, Position, path_of};

/// The file that is being appended to.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    file: File,
    end: Position,
    max_bytes: u64,
    is_broken: bool,
}

impl Log {
    /// Begins the file of number `segment`, which must not exist.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(dir: &Path, segment: u64, max_bytes: u64) -> io::Result<Log> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path_of(dir, segment))?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        let end = Position { segment, offset: MAGIC.len() as u64 };
        Ok(Log { dir: dir.to_owned(), file, end, max_bytes, is_broken: false })
    }

    /// Where the next record goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Appends a group of framed records; durable when it returns.
    ///
    /// # Errors
    /// Nothing of the group is in the log, or ([`Log::is_broken`]) nobody can know.
    pub fn append(&mut self, group: &[u8]) -> io::Result<()> {
        if let Err(err) = self.file.write_all(group) {
            // A full disk leaves half a record: cut it, and the log is as before.
            let cut = self.file.set_len(self.end.offset).and_then(|()| self.file.seek(SeekFrom::End(0)));
            self.is_broken = cut.is_err();
            return Err(err);
        }
        if let Err(err) = self.file.sync_data() {
            // After a failed fsync the kernel may have dropped the pages: what is on disk is unknown.
            self.is_broken = true;
            return Err(err);
        }
        self.end.offset += group.len() as u64;
        Ok(())
    }

    /// Begins a new file where this one is full.
    ///
    /// # Errors
    /// As the file system says; appending goes on in the old file.
    pub fn rotate_if_full(&mut self) -> io::Result<()> {
        if self.end.offset < self.max_bytes {
            return Ok(());
        }
        *self = Log::begin(&self.dir, self.end.segment + 1, self.max_bytes)?;
        Ok(())
    }

    /// Whether what is on disk is unknown, so that nothing more may be acknowledged.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}
