//! An entry as bytes: items, each a tag and its fields, integers little-endian, texts and bytes behind their length.
//!
//! Structs of the kernel ABI are written as they are: another ABI's state is not read (see [`Start::layout`]).

use std::sync::Arc;

use bytes::{Buf, Bytes};
use smol_str::SmolStr;
use weir_abi::{Totals, UdpFlow, UdpKey};
use weir_model::Table;
use weir_wire::Encoded;

use super::Identity;
use super::state::{ConnState, UdpState};
use crate::handshakes::Facts;
use crate::health::KernelLosses;
use crate::path::{Join, Told};
use crate::sys;

const VERSION: u32 = 3;

const START: u8 = 1;
const POSITION: u8 = 2;
const CONN: u8 = 3;
const CONN_GONE: u8 = 4;
const UDP: u8 = 5;
const UDP_GONE: u8 = 6;
const UNDER_WAY: u8 = 7;
const BATCH: u8 = 8;
const ACKED: u8 = 9;
const LOST: u8 = 10;
const CUT: u8 = 11;
const PATH: u8 = 12;
const PATH_GONE: u8 = 13;

/// What a file begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Of the writer's structs; the state of another layout can't be read.
    pub(super) layout: u32,
    pub(super) kernel_boot: String,
    pub(super) instance: String,
}

impl Start {
    /// The layout of this program's structs.
    pub(super) fn layout() -> u32 {
        let sizes = [
            size_of::<Totals>(),
            size_of::<UdpKey>(),
            size_of::<UdpFlow>(),
            size_of::<KernelLosses>(),
            size_of::<Told>(),
        ];
        sizes.iter().fold(VERSION << 8 | weir_abi::ABI_VERSION, |sum, size| {
            sum.wrapping_mul(31).wrapping_add(*size as u32)
        })
    }
}

/// A batch as it lies in the spool.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(super) table: String,
    pub(super) boot_id: String,
    pub(super) sequence: u64,
    pub(super) rows: u32,
    pub(super) bytes: Bytes,
}

/// One thing that an entry says.
#[derive(Debug)]
pub(super) enum Item {
    Start(Start),
    /// How far the ring was read.
    Position(u64),
    /// When the last interval ended, on the kernel's clock.
    Cut(u64),
    /// What was reported of a connection, by cookie.
    Conn(u64, ConnState),
    ConnGone(u64),
    Udp(UdpKey, UdpState),
    UdpGone(UdpKey),
    /// What was told of a connection at interfaces.
    Path(Told),
    PathGone(Join),
    /// Handshakes of which some bytes were read and no row was made.
    UnderWay(u64),
    /// The kernel's losses that were told.
    Lost(KernelLosses),
    Batch(Batch),
    /// Up to where a run's batches of a table are settled.
    Acked {
        table: String,
        boot_id: String,
        sequence: u64,
    },
}

/// An entry that is being made.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    bytes: Vec<u8>,
    rows: u64,
}

impl Entry {
    pub(crate) fn new() -> Entry {
        Entry::default()
    }

    /// There will be so many more connections: memory for them at once, not again and again twice as much.
    pub(crate) fn expect_conns(&mut self, conns: usize) {
        /// One whose handshake has said nothing; most.
        const EACH: usize = size_of::<Totals>() + 36;
        self.bytes.reserve_exact(conns * EACH);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn extend(&mut self, other: Entry) {
        self.bytes.extend(other.bytes);
        self.rows += other.rows;
    }

    pub(super) fn start(&mut self, identity: &Identity) {
        self.tag(START).number(u64::from(Start::layout()));
        self.text(&identity.kernel_boot);
        self.text(&identity.instance);
    }

    /// How far the ring was read.
    pub(crate) fn position(&mut self, position: u64) {
        self.tag(POSITION).number(position);
    }

    /// When the last interval ended, on the kernel's clock.
    pub(crate) fn cut(&mut self, cut_ns: u64) {
        self.tag(CUT).number(cut_ns);
    }

    /// What was reported of a connection; `None`: it is over.
    pub(crate) fn conn(&mut self, cookie: u64, state: Option<&ConnState>) {
        let Some(state) = state else {
            self.tag(CONN_GONE).number(cookie);
            return;
        };
        self.tag(CONN).number(cookie);
        self.number(state.opened_ns as u64);
        self.number(state.first_ns);
        self.number(state.end_ns);
        self.bytes.extend(state.local_isn.to_le_bytes());
        self.bytes.extend(state.remote_isn.to_le_bytes());
        self.bytes.extend([state.role, state.flags]);
        self.bytes.extend_from_slice(sys::bytes_of(&state.totals));
        self.facts(state.facts.as_deref());
    }

    fn facts(&mut self, facts: Option<&Facts>) {
        match facts {
            None => self.bytes.push(0),
            // What ALPN said is told no more after a restart: nothing must be made up.
            Some(Facts { encryption, version, sni, .. }) => {
                self.bytes.push(1);
                self.text(encryption);
                self.text(version.as_deref().unwrap_or_default());
                self.text(sni.as_deref().unwrap_or_default());
            }
        }
    }

    /// What was reported of a UDP flow; `None`: it is over.
    pub(crate) fn udp(&mut self, key: &UdpKey, state: Option<&UdpState>) {
        self.tag(if state.is_some() { UDP } else { UDP_GONE });
        self.bytes.extend_from_slice(sys::bytes_of(key));
        if let Some(state) = state {
            self.number(state.opened_ns as u64);
            self.number(state.end_ns);
            self.bytes.extend_from_slice(sys::bytes_of(&state.flow));
            self.facts(state.facts.as_deref());
        }
    }

    /// What was told of a connection at interfaces; `None`: it is over.
    pub(crate) fn path(&mut self, join: &Join, told: Option<&Told>) {
        self.tag(if told.is_some() { PATH } else { PATH_GONE });
        match told {
            Some(told) => self.bytes.extend_from_slice(sys::bytes_of(told)),
            None => self.bytes.extend_from_slice(sys::bytes_of(join)),
        }
    }

    /// How many handshakes are under way.
    pub(crate) fn under_way(&mut self, handshakes: u64) {
        self.tag(UNDER_WAY).number(handshakes);
    }

    /// The kernel's losses that were told.
    pub(crate) fn lost(&mut self, losses: &KernelLosses) {
        self.tag(LOST);
        for loss in losses {
            self.number(*loss);
        }
    }

    /// A batch that has its metadata.
    pub(crate) fn batch(&mut self, table: &Table, boot_id: &str, sequence: u64, batch: &Encoded) {
        self.rows += batch.rows as u64;
        self.tag(BATCH);
        self.text(table.name);
        self.text(boot_id);
        self.number(sequence);
        self.bytes.extend((batch.rows as u32).to_le_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend([0; 4]);
        batch.to_bytes(&mut self.bytes);
        let length = (self.bytes.len() - length_at - 4) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn acked(&mut self, table: &str, boot_id: &str, sequence: u64) {
        self.tag(ACKED);
        self.text(table);
        self.text(boot_id);
        self.number(sequence);
    }

    fn tag(&mut self, tag: u8) -> &mut Entry {
        self.bytes.push(tag);
        self
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        // Names are far shorter; a longer one would be cut, not misread.
        let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
        self.bytes.extend((text.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(text);
    }
}

/// The items of an entry; ends at the first that can't be read.
pub(super) fn items(entry: Bytes) -> impl Iterator<Item = Item> {
    let mut reader = Reader(entry);
    std::iter::from_fn(move || reader.item())
}

struct Reader(Bytes);

impl Reader {
    fn item(&mut self) -> Option<Item> {
        Some(match self.byte()? {
            START => Item::Start(Start {
                layout: self.number()? as u32,
                kernel_boot: self.text()?,
                instance: self.text()?,
            }),
            POSITION => Item::Position(self.number()?),
            CUT => Item::Cut(self.number()?),
            CONN => Item::Conn(self.number()?, self.conn()?),
            CONN_GONE => Item::ConnGone(self.number()?),
            UDP => Item::Udp(self.plain()?, self.udp()?),
            UDP_GONE => Item::UdpGone(self.plain()?),
            PATH => Item::Path(self.plain()?),
            PATH_GONE => Item::PathGone(self.plain()?),
            UNDER_WAY => Item::UnderWay(self.number()?),
            LOST => Item::Lost(self.losses()?),
            BATCH => Item::Batch(self.batch()?),
            ACKED => Item::Acked { table: self.text()?, boot_id: self.text()?, sequence: self.number()? },
            _ => return None,
        })
    }

    fn conn(&mut self) -> Option<ConnState> {
        Some(ConnState {
            opened_ns: self.number()? as i64,
            first_ns: self.number()?,
            end_ns: self.number()?,
            local_isn: self.word()?,
            remote_isn: self.word()?,
            role: self.byte()?,
            flags: self.byte()?,
            totals: self.plain()?,
            facts: if self.byte()? == 0 { None } else { Some(Arc::new(self.facts()?)) },
        })
    }

    fn facts(&mut self) -> Option<Facts> {
        let encryption = SmolStr::new(self.text()?);
        let mut optional = || Some(Some(SmolStr::new(self.text()?)).filter(|text| !text.is_empty()));
        Some(Facts { encryption, version: optional()?, sni: optional()?, alpn: None, multiplexed: None })
    }

    fn udp(&mut self) -> Option<UdpState> {
        Some(UdpState {
            opened_ns: self.number()? as i64,
            end_ns: self.number()?,
            flow: self.plain()?,
            facts: if self.byte()? == 0 { None } else { Some(Arc::new(self.facts()?)) },
        })
    }

    fn losses(&mut self) -> Option<KernelLosses> {
        let mut losses = [0; weir_abi::Lost::COUNT];
        for loss in &mut losses {
            *loss = self.number()?;
        }
        Some(losses)
    }

    fn batch(&mut self) -> Option<Batch> {
        Some(Batch {
            table: self.text()?,
            boot_id: self.text()?,
            sequence: self.number()?,
            rows: self.word()?,
            bytes: {
                let length = self.word()? as usize;
                self.take(length)?
            },
        })
    }

    fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    fn word(&mut self) -> Option<u32> {
        self.0.try_get_u32_le().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (self.0.len() >= length).then(|| self.0.split_to(length))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.0.try_get_u16_le().ok()?;
        Some(String::from_utf8_lossy(&self.take(usize::from(length))?).into_owned())
    }

    fn plain<T: sys::Plain>(&mut self) -> Option<T> {
        sys::read(&self.take(size_of::<T>())?)
    }
}
