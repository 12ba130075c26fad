//! pcap and pcapng as bytes: both byte orders, µs and ns, several interfaces with clocks of their own.
//!
//! Damage (a record that can't be one, a file that ends inside a record) doesn't end the reading: the next place
//! where records make sense again is looked for, and what was skipped is counted.

use std::fmt;
use std::io::Read;
use std::ops::Range;

use pcap_parser::Block;
use pcap_parser::nom::Err as NomError;

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
    /// Nothing, for now.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// Ticks a second, and seconds to add.
    resolution: u64,
    offset_s: i64,
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
        CaptureFile { reader, buffer, at: 0, offset: 0, format: None, last_ns: 0, damage: None }
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
                Record::Short(needed) => {
                    if !self.fill(needed)? {
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

    /// What was wrong with the file, now that nothing more comes.
    pub(super) fn into_damage(mut self) -> Result<Option<Damage>, ImportError> {
        let rest = self.buffer.len() - self.at;
        if self.format.is_none() {
            return Err(not_a_capture(&self.buffer[self.at..]));
        }
        if rest > 0 {
            self.broken(format!("the file ends inside a record, of which only {rest} bytes are there"));
            self.skipped(rest as u64);
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
            let wanted = CHUNK.max(needed - self.buffer.len()) as u64;
            let read = self
                .reader
                .by_ref()
                .take(wanted)
                .read_to_end(&mut self.buffer)
                .map_err(|source| ImportError::Read { offset: self.offset, source })?;
            if read == 0 {
                return Ok(false);
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
                pcap_record(bytes, big_endian, modified, *fraction_ns, *link, *snaplen)
            }
            Format::PcapNg { big_endian, interfaces } => pcapng_block(bytes, big_endian, interfaces, last_ns),
        }
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
                let near = last_ns == 0 || (seconds - last_ns / 1_000_000_000).abs() < NEIGHBOURS_S;
                let bearable = captured > 0 && captured <= wire && captured <= (*snaplen).clamp(1, 1 << 18);
                let good = near && fraction * fraction_ns < 1_000_000_000 && bearable && wire < 1 << 24;
                good.then_some(if *modified { 24 } else { 16 } + captured as usize)
            }
            Format::PcapNg { big_endian, .. } => {
                let (kind, length) =
                    (read_u32(bytes, 0, *big_endian)?, read_u32(bytes, 4, *big_endian)? as usize);
                let known = matches!(kind, 1..=6 | 10 | 0x0a0d_0d0a);
                let bearable = (12..MAX_RECORD).contains(&length) && length % 4 == 0;
                let good = known && bearable && read_u32(bytes, length - 4, *big_endian)? as usize == length;
                good.then_some(length)
            }
        }
    }
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

fn pcapng_block(
    bytes: &[u8],
    big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    last_ns: i64,
) -> Record {
    if bytes.len() < 12 {
        return Record::Short(12);
    }
    if bytes[..4] == [0x0a, 0x0d, 0x0d, 0x0a] {
        // A new section, in a byte order of its own.
        match bytes[8..12] {
            [0x1a, 0x2b, 0x3c, 0x4d] => *big_endian = true,
            [0x4d, 0x3c, 0x2b, 0x1a] => *big_endian = false,
            _ => return Record::Broken("a section header without its byte-order magic"),
        }
    }
    let length = read_u32(bytes, 4, *big_endian).unwrap_or(0) as usize;
    if !(12..=MAX_RECORD).contains(&length) || length % 4 != 0 {
        return Record::Broken("a block can't have that length");
    }
    if bytes.len() < length {
        return Record::Short(length);
    }
    if read_u32(bytes, length - 4, *big_endian) != Some(length as u32) {
        return Record::Broken("a block's length is not repeated at its end");
    }
    if read_u32(bytes, 0, *big_endian) == Some(2) {
        return old_packet(&bytes[..length], *big_endian, interfaces);
    }
    let parse = if *big_endian { pcap_parser::parse_block_be } else { pcap_parser::parse_block_le };
    let block = match parse(&bytes[..length]) {
        Ok((_, block)) => block,
        Err(NomError::Incomplete(_) | NomError::Error(_) | NomError::Failure(_)) => {
            return Record::Broken("a block's content doesn't fit into it");
        }
    };
    match block {
        Block::SectionHeader(_) => interfaces.clear(),
        Block::InterfaceDescription(interface) => interfaces.push(Interface {
            link: interface.linktype.0 as u32,
            resolution: interface.ts_resolution().unwrap_or(1_000_000),
            offset_s: interface.ts_offset(),
        }),
        Block::EnhancedPacket(packet) => {
            let Some(interface) = interfaces.get(packet.if_id as usize) else {
                return Record::Broken("a packet of an interface that was not described");
            };
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let captured = (packet.caplen as usize).min(packet.data.len());
            return Record::Packet {
                time_ns: interface.time_ns(ticks),
                link: interface.link,
                wire_length: packet.origlen,
                bytes: 28..28 + captured,
                length,
            };
        }
        Block::SimplePacket(packet) => {
            let Some(interface) = interfaces.first() else {
                return Record::Broken("a packet of an interface that was not described");
            };
            let captured = (packet.origlen as usize).min(packet.data.len());
            // It has no time; the packet before it is the nearest we know.
            return Record::Packet {
                time_ns: last_ns,
                link: interface.link,
                wire_length: packet.origlen,
                bytes: 12..12 + captured,
                length,
            };
        }
        _ => {}
    }
    Record::Other { length }
}

/// The Packet Block of old files: `interface: u16 | drops: u16 | time high | time low | captured | on the wire`.
fn old_packet(block: &[u8], big_endian: bool, interfaces: &[Interface]) -> Record {
    let word = |at| read_u32(block, at, big_endian).unwrap_or(0);
    let number = if big_endian { word(8) >> 16 } else { word(8) & 0xffff };
    let (captured, length) = (word(20) as usize, block.len());
    let Some(interface) = interfaces.get(number as usize) else {
        return Record::Broken("a packet of an interface that was not described");
    };
    if captured + 32 > length {
        return Record::Broken("a packet is longer than its block");
    }
    Record::Packet {
        time_ns: interface.time_ns(u64::from(word(12)) << 32 | u64::from(word(16))),
        link: interface.link,
        wire_length: word(24),
        bytes: 28..28 + captured,
        length,
    }
}

impl Interface {
    fn time_ns(&self, ticks: u64) -> i64 {
        let ns = match self.resolution {
            1_000_000 => ticks.saturating_mul(1000),
            1_000_000_000 => ticks,
            0 => 0,
            other => (u128::from(ticks) * 1_000_000_000 / u128::from(other)).min(u128::from(u64::MAX)) as u64,
        };
        i64::try_from(ns).unwrap_or(i64::MAX).saturating_add(self.offset_s.saturating_mul(1_000_000_000))
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
