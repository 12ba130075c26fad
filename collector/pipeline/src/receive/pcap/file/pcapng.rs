//! pcapng's blocks: sections in either byte order, interfaces with clocks of their own, packets in three forms.

use pcap_parser::nom::Err as NomError;
use pcap_parser::{Block, InterfaceDescriptionBlock};

use super::{MAX_RECORD, Record, read_u32};

/// Where packets come from: its link layer and its clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    link: u32,
    snaplen: u32,
    /// Ticks a second, and seconds to add.
    resolution: u128,
    offset_s: i64,
}

/// The block that begins `bytes`, whatever it is; sections and interfaces are remembered.
pub(super) fn pcapng_block(
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
    if !(12..=MAX_RECORD).contains(&length) || !length.is_multiple_of(4) {
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
            snaplen: interface.snaplen,
            resolution: resolution(&interface),
            offset_s: offset_s(&interface, *big_endian),
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
            // It doesn't say how much of it was kept, only pads it to words. A limit of 0 is none.
            let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
            let captured = (packet.origlen.min(limit) as usize).min(packet.data.len());
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

/// The option `if_tsresol`: a power of ten, or of two where the highest bit is set. The crate that reads the blocks
/// knows the smaller ones only, and an offset in little-endian form only.
fn resolution(interface: &InterfaceDescriptionBlock<'_>) -> u128 {
    let Some(exponent) = option(interface, 9).and_then(|value| value.first()) else { return 1_000_000 };
    let base: u128 = if exponent & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(u32::from(exponent & 0x7f)).unwrap_or(u128::MAX)
}

/// The option `if_tsoffset`.
fn offset_s(interface: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> i64 {
    let value = option(interface, 14).and_then(|value| value.first_chunk::<8>());
    value.map_or(0, |value| if big_endian { i64::from_be_bytes(*value) } else { i64::from_le_bytes(*value) })
}

fn option<'a>(interface: &'a InterfaceDescriptionBlock<'_>, code: u16) -> Option<&'a [u8]> {
    let found = interface.options.iter().find(|option| option.code.0 == code)?;
    Some(&found.value)
}

impl Interface {
    fn time_ns(&self, ticks: u64) -> i64 {
        let ns = match self.resolution {
            1_000_000 => ticks.saturating_mul(1000),
            1_000_000_000 => ticks,
            other => u64::try_from(u128::from(ticks) * 1_000_000_000 / other).unwrap_or(u64::MAX),
        };
        i64::try_from(ns).unwrap_or(i64::MAX).saturating_add(self.offset_s.saturating_mul(1_000_000_000))
    }
}
