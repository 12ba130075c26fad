//! What waits to be sent, on disk: in order, bounded, and kept until the receiver has it.
//!
//! `<number, 20 digits>.queue` is a run of `len: u32le | crc32c: u32le | kind: u8 | items: u32le | payload`; `cursor` says where
//! the first record is that wasn't acknowledged: `<number> <offset>`. Records are written before who brought them goes on, so
//! they outlive the process; they reach the disk itself within a second ([`Queue::sync`]), which is what a power cut may cost.
//! A torn end is cut; what can't be read is counted. Beyond the bound the oldest file is given up.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Length, checksum, kind and items before each payload.
const HEADER: usize = 13;
/// A file is finished when it is so large, or an eighth of the bound.
const FILE_BYTES: u64 = 8 << 20;
/// More than any record has: a length beyond it is damage.
const MOST_PAYLOAD: u64 = 64 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Spans = 0,
    Points = 1,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Spans => "spans",
            Kind::Points => "points",
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        [Kind::Spans, Kind::Points].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) items: u64,
    pub(super) payload: Vec<u8>,
    next: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: u64,
    offset: u64,
}

/// One file, and how much of what is in it.
#[derive(Debug)]
struct Part {
    number: u64,
    bytes: u64,
    items: [u64; 2],
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Queue {
    dir: PathBuf,
    most_bytes: u64,
    /// The oldest first; the last is written to.
    parts: VecDeque<Part>,
    writer: File,
    cursor: Place,
    /// Of the first file, acknowledged already.
    acknowledged: [u64; 2],
    is_dirty: bool,
}

impl Queue {
    /// Opens the folder, or makes it; says how many records of it can't be read.
    pub(super) fn open(dir: &Path, most_bytes: u64) -> io::Result<(Queue, u64)> {
        fs::create_dir_all(dir)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".queue")?.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let cursor = read_cursor(dir);
        let (mut parts, mut damaged, mut acknowledged) = (VecDeque::new(), 0, [0; 2]);
        for number in numbers {
            if cursor.is_some_and(|cursor| number < cursor.file) {
                fs::remove_file(path_of(dir, number))?;
                continue;
            }
            let read = scan(&path_of(dir, number), cursor.filter(|cursor| cursor.file == number))?;
            damaged += u64::from(read.is_damaged);
            if cursor.is_some_and(|cursor| cursor.file == number) {
                acknowledged = read.acknowledged;
            }
            parts.push_back(Part { number, bytes: read.bytes, items: read.items });
        }
        let next =
            parts.back().map_or_else(|| cursor.map_or(1, |cursor| cursor.file + 1), |part| part.number + 1);
        let first = parts.front().map_or(next, |part| part.number);
        let start = Place { file: first, offset: 0 };
        let cursor = cursor.filter(|cursor| cursor.file == first).unwrap_or(start);
        let writer = create(dir, next)?;
        parts.push_back(Part { number: next, bytes: 0, items: [0; 2] });
        let queue =
            Queue { dir: dir.to_owned(), most_bytes, parts, writer, cursor, acknowledged, is_dirty: false };
        Ok((queue, damaged))
    }

    /// Appends a record; says what had to be given up for it, where there was no room.
    pub(super) fn push(&mut self, kind: Kind, items: u64, payload: &[u8]) -> io::Result<Vec<(Kind, u64)>> {
        let size = (HEADER + payload.len()) as u64;
        let mut given_up = Vec::new();
        if size > self.most_bytes {
            return Ok(vec![(kind, items)]);
        }
        let file_bytes = FILE_BYTES.min(self.most_bytes / 8);
        if self.parts.back().is_some_and(|part| part.bytes > 0 && part.bytes + size > file_bytes) {
            self.begin_file()?;
        }
        while self.bytes() + size > self.most_bytes && self.parts.len() > 1 {
            given_up.extend(self.give_up_first()?);
        }
        if self.bytes() + size > self.most_bytes {
            self.begin_file()?;
            given_up.extend(self.give_up_first()?);
        }
        let mut record = Vec::with_capacity(size as usize);
        record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        record.extend_from_slice(&[0; 4]);
        record.push(kind as u8);
        record.extend_from_slice(&u32::try_from(items).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(payload);
        let checksum = crc32c::crc32c(&record[8..]);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        let Some(part) = self.parts.back_mut() else { return Ok(given_up) };
        if let Err(err) = self.writer.write_all(&record) {
            // Whatever was written of it is behind the file's end as we count it.
            self.writer.set_len(part.bytes)?;
            self.writer.seek(SeekFrom::Start(part.bytes))?;
            return Err(err);
        }
        part.bytes += size;
        part.items[kind as usize] += items;
        self.is_dirty = true;
        Ok(given_up)
    }

    /// The first record that wasn't acknowledged.
    pub(super) fn peek(&mut self) -> io::Result<Option<Record>> {
        loop {
            let Some(part) = self.parts.iter().find(|part| part.number == self.cursor.file) else {
                return Ok(None);
            };
            if self.cursor.offset < part.bytes {
                let mut file = File::open(path_of(&self.dir, part.number))?;
                file.seek(SeekFrom::Start(self.cursor.offset))?;
                if let Some((kind, items, payload)) = read_record(&mut file)? {
                    let offset = self.cursor.offset + (HEADER + payload.len()) as u64;
                    let next = Place { offset, ..self.cursor };
                    return Ok(Some(Record { kind, items, payload, next }));
                }
                // Changed under us since it was scanned: the rest of the file is passed by.
            }
            if self.parts.len() == 1 {
                return Ok(None);
            }
            self.drop_first()?;
            self.write_cursor()?;
        }
    }

    /// The receiver has it, or never will: it is not sent again.
    pub(super) fn done(&mut self, record: &Record) -> io::Result<()> {
        // Its file was given up while it was on the way.
        if record.next.file != self.cursor.file || record.next.offset <= self.cursor.offset {
            return Ok(());
        }
        self.cursor = record.next;
        self.acknowledged[record.kind as usize] += record.items;
        self.write_cursor()
    }

    /// Brings what was written to the disk itself.
    pub(super) fn sync(&mut self) -> io::Result<Option<File>> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(None);
        }
        self.writer.try_clone().map(Some)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        let all: u64 = self.parts.iter().map(|part| part.bytes).sum();
        all.saturating_sub(self.cursor.offset)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.parts.back().map_or(1, |part| part.number + 1);
        self.writer.sync_data()?;
        self.writer = create(&self.dir, number)?;
        self.parts.push_back(Part { number, bytes: 0, items: [0; 2] });
        Ok(())
    }

    fn give_up_first(&mut self) -> io::Result<Vec<(Kind, u64)>> {
        let Some(part) = self.parts.front() else { return Ok(Vec::new()) };
        let left = [Kind::Spans, Kind::Points]
            .map(|kind| (kind, part.items[kind as usize].saturating_sub(self.acknowledged[kind as usize])));
        self.drop_first()?;
        self.write_cursor()?;
        Ok(left.into_iter().filter(|(_, items)| *items > 0).collect())
    }

    fn drop_first(&mut self) -> io::Result<()> {
        if let Some(part) = self.parts.pop_front() {
            fs::remove_file(path_of(&self.dir, part.number))?;
        }
        self.acknowledged = [0; 2];
        let file = self.parts.front().map_or(self.cursor.file + 1, |part| part.number);
        self.cursor = Place { file, offset: 0 };
        Ok(())
    }

    fn write_cursor(&self) -> io::Result<()> {
        let part = self.dir.join("cursor.part");
        fs::write(&part, format!("{} {}", self.cursor.file, self.cursor.offset))?;
        fs::rename(&part, self.dir.join("cursor"))
    }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.queue"))
}

fn create(dir: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path_of(dir, number))
}

/// `None`, where there is none that can be read: everything is sent once more.
fn read_cursor(dir: &Path) -> Option<Place> {
    let text = fs::read_to_string(dir.join("cursor")).ok()?;
    let (file, offset) = text.trim().split_once(' ')?;
    Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
}

#[derive(Default)]
struct Scanned {
    bytes: u64,
    items: [u64; 2],
    acknowledged: [u64; 2],
    is_damaged: bool,
}

/// Looks through a file, and cuts off what isn't a whole record: a torn end is no damage, since nobody was told that it was
/// taken.
fn scan(path: &Path, cursor: Option<Place>) -> io::Result<Scanned> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let mut scanned = Scanned::default();
    loop {
        file.seek(SeekFrom::Start(scanned.bytes))?;
        let Some((kind, items, payload)) = read_record(&mut file)? else { break };
        scanned.bytes += (HEADER + payload.len()) as u64;
        scanned.items[kind as usize] += items;
        if cursor.is_some_and(|cursor| scanned.bytes <= cursor.offset) {
            scanned.acknowledged[kind as usize] += items;
        }
    }
    // A whole header, and a payload that should be there and isn't what it was.
    scanned.is_damaged = is_damaged(&mut file, scanned.bytes, size)?;
    if scanned.bytes < size {
        file.set_len(scanned.bytes)?;
    }
    Ok(scanned)
}

fn is_damaged(file: &mut File, at: u64, size: u64) -> io::Result<bool> {
    if size < at + HEADER as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    Ok(at + HEADER as u64 + u64::from(length) <= size || u64::from(length) > MOST_PAYLOAD)
}

/// `None` where there is no whole record.
fn read_record(file: &mut File) -> io::Result<Option<(Kind, u64, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = u64::from(number(0));
    if length > MOST_PAYLOAD {
        return Ok(None);
    }
    let mut payload = Vec::new();
    file.take(length).read_to_end(&mut payload)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[8..]), &payload);
    if payload.len() as u64 != length || checksum != number(4) {
        return Ok(None);
    }
    Ok(Kind::of(header[8]).map(|kind| (kind, u64::from(number(9)), payload)))
}

#[cfg(test)]
mod tests;
