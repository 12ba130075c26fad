//! Capture files as bytes: pcap here, in both byte orders, in µs and ns; pcapng's blocks in `file/pcapng.rs`.
//!
//! Damage (a record that can't be one, a file that ends inside a record) doesn't end the reading: the next place
//! where records make sense again is looked for, and what was skipped is counted.

mod pcapng;

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use pcapng::{Interface, pcapng_block};

use super::ImportError;

/// How much is read at once.
const CHUNK: usize = 1 << 20;
/// Longest record that is believed: far above any snapshot length in use.
const MAX_RECORD: usize = 1 << 24;
/// How far in time two neighbours may lie apart when looking for records after damage: 30 days.
const NEIGHBOURS_S: i64 = 30 * 86_400;

/// Where a file is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset of the first byte that makes no sense.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// How many bytes could not be read, there and later.
    pub skipped_bytes: u64,
    /// How many places are damaged.
    pub places: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged at byte {}: {}; {} bytes skipped", self.offset, self.what, self.skipped_bytes)?;
        if self.places > 1 {
            write!(f, ", in {} places", self.places)?;
        }
        f.write_str(", everything else was read")
    }
}

/// What comes next in a file.
pub(super) enum Step {
    /// A packet; its bytes are had from [`CaptureFile::bytes`].
    Packet { time_ns: i64, link: u32, wire_length: u32, bytes: Range<usize> },
    /// Nothing before more is read, for which a pipe may make us wait.
    Pause,
    /// Nothing, for now.
    End,
}

enum Format {
    Pcap { big_endian: bool, modified: bool, fraction_ns: i64, link: u32, snaplen: u32 },
    PcapNg { big_endian: bool, interfaces: Vec<Interface> },
}

/// A capture file that is being read.
pub(super) struct CaptureFile<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer is not used yet.
    at: usize,
    /// Offset in the file of `buffer[at]`.
    offset: u64,
    format: Option<Format>,
    last_ns: i64,
    /// Whether the last read gave less than it could: the reader is a pipe, or at its end.
    short: bool,
    /// Whether that was told since.
    paused: bool,
    /// Whether the reader's end is the file's end: nothing is being written any more.
    ended: bool,
    damage: Option<Damage>,
}

/// One record, as far as the buffer shows it.
enum Record {
    Packet {
        time_ns: i64,
        link: u32,
        wire_length: u32,
        bytes: Range<usize>,
        length: usize,
    },
    Other {
        length: usize,
    },
    /// At least that many bytes are needed.
    Short(usize),
    Broken(&'static str),
}

impl<R: Read> CaptureFile<R> {
    pub(super) fn new(reader: R) -> Self {
        let buffer = Vec::with_capacity(2 * CHUNK);
        CaptureFile {
            reader,
            buffer,
            at: 0,
            offset: 0,
            format: None,
            last_ns: 0,
            short: false,
            paused: false,
            ended: false,
            damage: None,
        }
    }

    /// Offset in the file up to which everything is read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the packet that [`CaptureFile::step`] just told of.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    pub(super) fn step(&mut self) -> Result<Step, ImportError> {
        loop {
            let Some(format) = &mut self.format else {
                if !self.begin()? {
                    return Ok(Step::End);
                }
                continue;
            };
            let rest = &self.buffer[self.at..];
            match format.record(rest, self.last_ns) {
                Record::Packet { time_ns, link, wire_length, bytes, length } => {
                    let bytes = self.at + bytes.start..self.at + bytes.end;
                    self.last_ns = time_ns;
                    self.consume(length);
                    return Ok(Step::Packet { time_ns, link, wire_length, bytes });
                }
                Record::Other { length } => self.consume(length),
                Record::Short(_) if self.short && !self.paused => {
                    self.paused = true;
                    return Ok(Step::Pause);
                }
                Record::Short(needed) => {
                    self.paused = false;
                    if !self.fill(needed)? && !self.find_record_before_end()? {
                        return Ok(Step::End);
                    }
                }
                Record::Broken(what) => {
                    self.broken(what.to_owned());
                    if !self.find_record()? {
                        return Ok(Step::End);
                    }
                }
            }
        }
    }

    /// Nothing more comes: a record whose end isn't there is not waited for any longer.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What was wrong with the file.
    pub(super) fn into_damage(self) -> Result<Option<Damage>, ImportError> {
        if self.format.is_none() {
            return Err(not_a_capture(&self.buffer[self.at..]));
        }
        Ok(self.damage)
    }

    /// Reads the file's header. False: not all of it is there.
    fn begin(&mut self) -> Result<bool, ImportError> {
        if !self.fill(24)? {
            return Ok(false);
        }
        let head = &self.buffer[self.at..];
        if head[..4] == [0x0a, 0x0d, 0x0d, 0x0a] {
            // The section header tells its byte order itself.
            self.format = Some(Format::PcapNg { big_endian: false, interfaces: Vec::new() });
            return Ok(true);
        }
        let Ok((_, header)) = pcap_parser::parse_pcap_header(head) else { return Err(not_a_capture(head)) };
        let nanoseconds = header.is_nanosecond_precision();
        self.format = Some(Format::Pcap {
            big_endian: header.is_bigendian(),
            modified: header.is_modified_format(),
            fraction_ns: if nanoseconds { 1 } else { 1000 },
            // The upper bits say how long the frame check sequence is.
            link: header.network.0 as u32 & 0xffff,
            snaplen: header.snaplen,
        });
        self.consume(24);
        Ok(true)
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
        self.offset += count as u64;
    }

    /// Reads until `needed` bytes are there. False: the file has no more.
    fn fill(&mut self, needed: usize) -> Result<bool, ImportError> {
        while self.buffer.len() - self.at < needed {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            let filled = self.buffer.len();
            let wanted = CHUNK.max(needed - filled);
            self.buffer.resize(filled + wanted, 0);
            // One read: what a pipe has is worth having before it has more.
            let read = self.reader.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(false),
                Ok(read) => self.short = read < wanted,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ImportError::Read { offset: self.offset, source }),
            }
        }
        Ok(true)
    }

    fn broken(&mut self, what: String) {
        let offset = self.offset;
        self.damage.get_or_insert(Damage { offset, what, skipped_bytes: 0, places: 0 }).places += 1;
    }

    fn skipped(&mut self, bytes: u64) {
        if let Some(damage) = &mut self.damage {
            damage.skipped_bytes += bytes;
        }
    }

    /// The file ends before the record that begins here does: torn, or a length that damage made so large.
    fn find_record_before_end(&mut self) -> Result<bool, ImportError> {
        let rest = self.buffer.len() - self.at;
        if !self.ended || rest == 0 {
            return Ok(false);
        }
        self.broken(format!("the file ends inside a record, of which only {rest} bytes are there"));
        let found = self.find_record()?;
        if let Some(damage) = self.damage.as_mut().filter(|damage| found && damage.places == 1) {
            "a record's length leads beyond the file's end".clone_into(&mut damage.what);
        }
        Ok(found)
    }

    /// After damage: goes on to the next place where two records in a row make sense, or the last one does.
    fn find_record(&mut self) -> Result<bool, ImportError> {
        loop {
            let more = self.fill(CHUNK)?;
            let Some(format) = &self.format else { return Ok(false) };
            let rest = &self.buffer[self.at..];
            // Without more to come, a record that ends with the file is the best proof there can be.
            let found = (1..rest.len()).find(|at| format.makes_sense(&rest[*at..], self.last_ns, !more));
            // The tail may be the beginning of a record whose end isn't read yet.
            let skip = found.unwrap_or(if more { rest.len() / 2 } else { rest.len() });
            self.consume(skip);
            self.skipped(skip as u64);
            if found.is_some() || !more {
                return Ok(found.is_some());
            }
        }
    }
}

impl Format {
    fn record(&mut self, bytes: &[u8], last_ns: i64) -> Record {
        match self {
            Format::Pcap { big_endian, modified, fraction_ns, link, snaplen } => {
                let (big_endian, modified) = (*big_endian, *modified);
                let record = pcap_record(bytes, big_endian, modified, *fraction_ns, *link, *snaplen);
                if let Record::Packet { time_ns, wire_length, bytes: captured, length, .. } = &record
                    && (!near(*time_ns, last_ns)
                        || captured.len() > *wire_length as usize
                        || *wire_length == 0)
                    && !self.goes_on(&bytes[*length..], *time_ns)
                {
                    return Record::Broken("a packet record that makes no sense, nor does what follows it");
                }
                record
            }
            Format::PcapNg { big_endian, interfaces } => pcapng_block(bytes, big_endian, interfaces, last_ns),
        }
    }

    /// Whether an odd record is one all the same: the next one has a time like it, as far as that can be seen.
    fn goes_on(&self, next: &[u8], time_ns: i64) -> bool {
        next.len() < 16 || self.plausible(next, time_ns).is_some()
    }

    /// Whether a record begins here, and another after it.
    fn makes_sense(&self, bytes: &[u8], last_ns: i64, at_end: bool) -> bool {
        match self.plausible(bytes, last_ns) {
            Some(length) if length == bytes.len() => at_end,
            Some(length) if length < bytes.len() => self.plausible(&bytes[length..], last_ns).is_some(),
            _ => false,
        }
    }

    /// The length of the record that begins here, if its header is one that could be.
    fn plausible(&self, bytes: &[u8], last_ns: i64) -> Option<usize> {
        match self {
            Format::Pcap { big_endian, fraction_ns, modified, snaplen, .. } => {
                let word = |at| read_u32(bytes, at, *big_endian);
                let (seconds, fraction) = (i64::from(word(0)?), i64::from(word(4)?));
                let (captured, wire) = (word(8)?, word(12)?);
                let near = near(seconds * 1_000_000_000, last_ns);
                let bearable = captured > 0 && captured <= wire && captured <= (*snaplen).clamp(1, 1 << 18);
                let good = near && fraction * fraction_ns < 1_000_000_000 && bearable && wire < 1 << 24;
                good.then_some(if *modified { 24 } else { 16 } + captured as usize)
            }
            Format::PcapNg { big_endian, .. } => {
                let (kind, length) =
                    (read_u32(bytes, 0, *big_endian)?, read_u32(bytes, 4, *big_endian)? as usize);
                let known = matches!(kind, 1..=6 | 10 | 0x0a0d_0d0a);
                let bearable = (12..MAX_RECORD).contains(&length) && length.is_multiple_of(4);
                let good = known && bearable && read_u32(bytes, length - 4, *big_endian)? as usize == length;
                good.then_some(length)
            }
        }
    }
}

/// Whether two neighbours in a file may have these times; 0: there is none before.
fn near(time_ns: i64, last_ns: i64) -> bool {
    last_ns == 0 || (time_ns - last_ns).abs() < NEIGHBOURS_S * 1_000_000_000
}

fn pcap_record(
    bytes: &[u8],
    big_endian: bool,
    modified: bool,
    fraction_ns: i64,
    link: u32,
    snaplen: u32,
) -> Record {
    let header = if modified { 24 } else { 16 };
    if bytes.len() < header {
        return Record::Short(header);
    }
    let captured = read_u32(bytes, 8, big_endian).unwrap_or(0) as usize;
    // Some writers go over their own snapshot length; nobody goes over this.
    if captured > MAX_RECORD.min((snaplen as usize).max(1 << 18)) {
        return Record::Broken("a packet record can't be that long");
    }
    if bytes.len() < header + captured {
        return Record::Short(header + captured);
    }
    // What a crash leaves of blocks that never reached the disk, and no packet is that short.
    if bytes[..header].iter().all(|byte| *byte == 0) {
        return Record::Broken("zeros in a packet record's place");
    }
    let parse = match (modified, big_endian) {
        (true, _) => pcap_parser::parse_pcap_frame_modified,
        (_, true) => pcap_parser::parse_pcap_frame_be,
        (_, false) => pcap_parser::parse_pcap_frame,
    };
    let Ok((_, record)) = parse(bytes) else { return Record::Broken("not a packet record") };
    if i64::from(record.ts_usec) * fraction_ns >= 2_000_000_000 {
        return Record::Broken("a packet record's time has no such fraction of a second");
    }
    Record::Packet {
        time_ns: i64::from(record.ts_sec) * 1_000_000_000 + i64::from(record.ts_usec) * fraction_ns,
        link,
        wire_length: record.origlen,
        bytes: header..header + captured,
        length: header + captured,
    }
}

fn read_u32(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let word = *bytes.get(at..)?.first_chunk::<4>()?;
    Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

fn not_a_capture(head: &[u8]) -> ImportError {
    let found = match head {
        [] => "nothing at all".to_owned(),
        head => hex::encode(&head[..head.len().min(4)]),
    };
    ImportError::NotACapture { found }
}
