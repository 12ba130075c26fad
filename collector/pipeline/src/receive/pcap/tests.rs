//! One capture in every form that files have, whole and damaged: the same rows, or a message that says where.

mod damage;
mod forms;
mod live;

use weir_dissect::ip::link;
use weir_model::{FlowRow, TlsHandshakeRow};

use super::*;

/// What came of a file.
#[derive(Debug)]
struct Imported {
    report: ImportReport,
    flows: Vec<FlowRow>,
    handshakes: Vec<TlsHandshakeRow>,
}

impl Imported {
    #[track_caller]
    fn has_the_rows_of(&self, other: &Imported, what: &str) {
        assert_eq!(self.flows.len(), other.flows.len(), "{what}");
        for (ours, theirs) in self.flows.iter().zip(&other.flows) {
            assert_eq!(ours, theirs, "{what}");
        }
        assert_eq!(self.handshakes.len(), other.handshakes.len(), "{what}");
        for (ours, theirs) in self.handshakes.iter().zip(&other.handshakes) {
            assert_eq!(ours, theirs, "{what}");
        }
    }
}

fn try_read(reader: impl Read) -> Result<Imported, ImportError> {
    let (mut flows, mut handshakes) = (Vec::new(), Vec::new());
    let on_rows = |rows: Rows| {
        flows.extend(rows.flows);
        handshakes.extend(rows.handshakes);
        ControlFlow::Continue(())
    };
    let report = import(reader, Options::default(), on_rows, |_| {})?;
    Ok(Imported { report, flows, handshakes })
}

#[track_caller]
fn read(file: &[u8]) -> Imported {
    try_read(file).unwrap()
}

/// A packet: when, and its bytes.
type Frame = (i64, Vec<u8>);

/// The Ethernet frames of `tests/fixtures/tls.pcap`, their times in whole µs.
fn frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = &include_bytes!("../../../tests/fixtures/tls.pcap")[24..];
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (bytes, next) = after.split_at(word(8) as usize);
        frames.push((i64::from(word(0)) * 1_000_000_000 + i64::from(word(4)) / 1000 * 1000, bytes.to_vec()));
        rest = next;
    }
    frames
}

/// Writes numbers in one of the two byte orders.
#[derive(Clone, Copy, Debug)]
struct Order {
    big_endian: bool,
}

const LITTLE: Order = Order { big_endian: false };
const BIG: Order = Order { big_endian: true };

impl Order {
    fn words(self, words: &[u32]) -> Vec<u8> {
        words
            .iter()
            .flat_map(|word| if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() })
            .collect()
    }

    /// Two numbers of 16 bits in one word's place.
    fn halves(self, first: u16, second: u16) -> Vec<u8> {
        [first, second]
            .iter()
            .flat_map(|half| if self.big_endian { half.to_be_bytes() } else { half.to_le_bytes() })
            .collect()
    }

    /// A pcap file; `fraction_ns` is the length of its clock's ticks.
    fn pcap(self, fraction_ns: i64, link_type: u32, frames: &[Frame]) -> Vec<u8> {
        let magic = if fraction_ns == 1 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut file = self.words(&[magic]);
        file.extend(self.halves(2, 4));
        file.extend(self.words(&[0, 0, 262_144, link_type]));
        for (time_ns, bytes) in frames {
            file.extend(self.record(fraction_ns, *time_ns, bytes));
        }
        file
    }

    fn record(self, fraction_ns: i64, time_ns: i64, bytes: &[u8]) -> Vec<u8> {
        let (seconds, ns) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
        let length = bytes.len() as u32;
        let mut record = self.words(&[seconds as u32, (ns / fraction_ns) as u32, length, length]);
        record.extend(bytes);
        record
    }

    /// A block of a pcapng file.
    fn block(self, kind: u32, mut content: Vec<u8>) -> Vec<u8> {
        content.resize(content.len().next_multiple_of(4), 0);
        let length = content.len() as u32 + 12;
        [self.words(&[kind, length]), content, self.words(&[length])].concat()
    }

    fn section(self) -> Vec<u8> {
        let mut content = self.words(&[0x1a2b_3c4d]);
        content.extend(self.halves(1, 0));
        content.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, content)
    }

    /// An interface whose clock ticks as `resolution` says (`None`: µs), and began `offset_s` after the epoch.
    fn interface(self, link_type: u32, snaplen: u32, resolution: Option<u8>, offset_s: i64) -> Vec<u8> {
        let mut content = self.halves(link_type as u16, 0);
        content.extend(self.words(&[snaplen]));
        if let Some(resolution) = resolution {
            content.extend(self.halves(9, 1));
            content.extend([resolution, 0, 0, 0]);
        }
        if offset_s != 0 {
            content.extend(self.halves(14, 8));
            content.extend(if self.big_endian { offset_s.to_be_bytes() } else { offset_s.to_le_bytes() });
        }
        content.extend(self.halves(0, 0));
        self.block(1, content)
    }

    fn enhanced(self, interface: u32, ticks: u64, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len() as u32;
        let mut content = self.words(&[interface, (ticks >> 32) as u32, ticks as u32, length, length]);
        content.extend(bytes);
        self.block(6, content)
    }

    /// A pcapng file of one Ethernet interface with a clock in µs.
    fn pcapng(self, frames: &[Frame]) -> Vec<u8> {
        let mut file = self.section();
        file.extend(self.interface(link::ETHERNET, 0, None, 0));
        for (time_ns, bytes) in frames {
            file.extend(self.enhanced(0, *time_ns as u64 / 1000, bytes));
        }
        file
    }
}

/// An Ethernet frame as another link layer would show it.
fn behind(link_type: u32, frame: &[u8]) -> Vec<u8> {
    let (kind, ip) = (&frame[12..14], &frame[14..]);
    match link_type {
        link::ETHERNET => frame.to_vec(),
        link::LINUX_SLL => [&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], kind, ip].concat(),
        link::LINUX_SLL2 => [kind, &[0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], ip].concat(),
        link::NULL => [&[2, 0, 0, 0], ip].concat(),
        link::LOOP => [&[0, 0, 0, 2], ip].concat(),
        link::PPP => [&[0xff, 3, 0, 0x21], ip].concat(),
        link::RAW | link::IPV4 => ip.to_vec(),
        other => panic!("no form of link type {other}"),
    }
}
