//! pcapng's blocks as bytes (draft-ietf-opsawg-pcapng): a section, an interface for each node, packets from the IP header on
//! with who holds their socket as a comment, and each interface's statistics. Little-endian, times in nanoseconds.

/// `LINKTYPE_RAW`: a packet begins with its IP header.
const LINK_RAW: u16 = 101;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// Options that every block may have.
const COMMENT: u16 = 1;
const END: u16 = 0;
/// Longest option that we write: its length has 16 bits, and a comment is meant for reading.
const MOST_TEXT: usize = 4_096;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Which interface, counted from 0.
    pub interface: u32,
    /// UTC nanoseconds.
    pub time_ns: i64,
    /// Length on the wire, from the IP header on.
    pub wire_len: u32,
    /// Whether the node sent it.
    pub sent: bool,
    /// Packets of this interface that were lost since the one before.
    pub lost_before: u64,
    /// For people: who holds the socket.
    pub comment: &'a str,
    /// What was kept.
    pub bytes: &'a [u8],
}

/// What became of an interface's packets.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    /// Which interface, counted from 0.
    pub interface: u32,
    /// When the capture began and ended, UTC nanoseconds.
    pub times_ns: (i64, i64),
    /// Packets that passed the filter.
    pub matched: u64,
    /// Of those, packets that were lost.
    pub lost: u64,
    /// Packets in the file.
    pub given: u64,
    /// For people: why it ended.
    pub comment: &'a str,
}

/// A section's header: what follows is ours, and what it is of.
pub fn section(comment: &str, application: &str) -> Vec<u8> {
    block(SECTION, |body| {
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // Nobody knows how long it becomes.
        body.extend((-1_i64).to_le_bytes());
        text(body, COMMENT, comment);
        text(body, 4, application);
        end(body);
    })
}

/// A node; its interfaces are all of its sockets.
pub fn interface(node: &str, description: &str, filter: &str) -> Vec<u8> {
    block(INTERFACE, |body| {
        body.extend(LINK_RAW.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(weir_model::capture::MOST_PAYLOAD.to_le_bytes());
        text(body, 2, node);
        text(body, 3, description);
        // Ten to the power of minus nine.
        option(body, 9, &[9]);
        // 0: the filter is a text.
        let filter: Vec<u8> = [0].into_iter().chain(cut(filter).bytes()).collect();
        option(body, 11, &filter);
        end(body);
    })
}

/// A packet.
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    block(PACKET, |body| {
        body.extend(packet.interface.to_le_bytes());
        time(body, packet.time_ns);
        body.extend((packet.bytes.len() as u32).to_le_bytes());
        body.extend(packet.wire_len.to_le_bytes());
        body.extend(packet.bytes);
        pad(body);
        text(body, COMMENT, packet.comment);
        // Inbound is 1, outbound 2.
        option(body, 2, &(1 + u32::from(packet.sent)).to_le_bytes());
        if packet.lost_before > 0 {
            option(body, 4, &packet.lost_before.to_le_bytes());
        }
        end(body);
    })
}

/// An interface's statistics, once nothing more comes of it.
pub fn statistics(statistics: &Statistics<'_>) -> Vec<u8> {
    block(STATISTICS, |body| {
        body.extend(statistics.interface.to_le_bytes());
        time(body, statistics.times_ns.1);
        text(body, COMMENT, statistics.comment);
        for (code, at) in [(2, statistics.times_ns.0), (3, statistics.times_ns.1)] {
            let mut value = Vec::with_capacity(8);
            time(&mut value, at);
            option(body, code, &value);
        }
        // Received, dropped by the interface, and given to the file.
        for (code, count) in [(4, statistics.matched), (5, statistics.lost), (8, statistics.given)] {
            option(body, code, &count.to_le_bytes());
        }
        end(body);
    })
}

fn block(kind: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut block = Vec::with_capacity(256);
    block.extend(kind.to_le_bytes());
    block.extend([0; 4]);
    fill(&mut block);
    let length = (block.len() as u32 + 4).to_le_bytes();
    block[4..8].copy_from_slice(&length);
    block.extend(length);
    block
}

/// High half first, as pcapng wants it in either byte order.
fn time(body: &mut Vec<u8>, time_ns: i64) {
    let ticks = time_ns.max(0) as u64;
    body.extend(((ticks >> 32) as u32).to_le_bytes());
    body.extend((ticks as u32).to_le_bytes());
}

fn text(body: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        option(body, code, cut(text).as_bytes());
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end(body: &mut Vec<u8>) {
    option(body, END, &[]);
}

/// Every part of a block has a multiple of four bytes, and so has all before it.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MOST_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader is somebody else's: the crate that `weir import` reads with.
    #[test]
    fn every_block_is_read_as_it_was_written() {
        use pcap_parser::{Block, OptionCode, parse_block_le};
        let read = |bytes: &[u8]| -> usize {
            let (rest, _) = parse_block_le(bytes).expect("a block");
            rest.len()
        };
        for length in 0..9 {
            let filter = "x".repeat(length);
            let bytes = [1_u8, 2, 3, 4, 5, 6, 7, 8];
            assert_eq!(read(&section(&filter, "weir")), 0);
            assert_eq!(read(&interface("node", &filter, &filter)), 0);
            let written = packet(&Packet {
                interface: 0,
                time_ns: 1_700_000_000_123_456_789,
                wire_len: 1_500,
                sent: true,
                lost_before: 7,
                comment: &filter,
                bytes: &bytes[..length.min(8)],
            });
            let (rest, block) = parse_block_le(&written).expect("a packet");
            let Block::EnhancedPacket(read) = block else { panic!("{block:?}") };
            let ticks = u64::from(read.ts_high) << 32 | u64::from(read.ts_low);
            assert_eq!((rest.len(), ticks), (0, 1_700_000_000_123_456_789));
            assert_eq!((read.origlen, &read.data[..read.caplen as usize]), (1_500, &bytes[..length.min(8)]));
            let value = |code| {
                let option = read.options.iter().find(|option| option.code == OptionCode(code))?;
                Some(option.value[..usize::from(option.len)].to_vec())
            };
            assert_eq!(value(1).unwrap_or_default(), filter.as_bytes());
            assert_eq!(value(2), Some(2_u32.to_le_bytes().to_vec()));
            assert_eq!(value(4), Some(7_u64.to_le_bytes().to_vec()));
        }
    }

    #[test]
    fn a_text_without_end_is_cut_between_letters() {
        let long = "ß".repeat(40_000);
        assert_eq!(cut(&long).len(), MOST_TEXT);
        assert!(cut(&format!("a{long}")).len() < MOST_TEXT);
        assert!(section(&long, &long).len() < 3 * MOST_TEXT);
    }
}
