//! What an earlier run of the probe leaves to the next: how far each living connection was reported, how far the ring
//! was read, which batches are settled.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use weir_abi::{Totals, UdpFlow, UdpKey};

use super::entry::{Item, Start, items};
use crate::by_cookie::ByCookie;
use crate::handshakes::Facts;
use crate::health::KernelLosses;
use crate::path::{Join, Told};

/// What was reported of a living connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnState {
    /// Counters at its last row.
    pub(crate) totals: Totals,
    /// When it was opened, UTC; the same in all its rows.
    pub(crate) opened_ns: i64,
    /// The same on the kernel's clock: ids are made of it, whatever becomes of UTC.
    pub(crate) first_ns: u64,
    /// End of its last row, on the kernel's clock.
    pub(crate) end_ns: u64,
    /// Which end we are, `ROLE_*`: programs that see it for the first time could only guess.
    pub(crate) role: u8,
    /// `FLAG_*`: whether the sequence numbers are known.
    pub(crate) flags: u8,
    /// Of this end.
    pub(crate) local_isn: u32,
    /// Of the other end.
    pub(crate) remote_isn: u32,
    /// What its handshake said.
    pub(crate) facts: Option<Arc<Facts>>,
}

/// What was reported of a UDP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpState {
    /// Counters at its last row.
    pub(crate) flow: UdpFlow,
    /// When its first datagram passed, UTC; the same in all its rows.
    pub(crate) opened_ns: i64,
    /// End of its last row, on the kernel's clock.
    pub(crate) end_ns: u64,
    /// What a handshake in it said.
    pub(crate) facts: Option<Arc<Facts>>,
}

/// Up to where a run's batches of a table are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(super) table: String,
    pub(super) boot_id: String,
    pub(super) sequence: u64,
}

/// The state at the end of all entries.
#[derive(Debug)]
pub(crate) struct Restored {
    kernel_boot: String,
    /// Whether what is read now can be taken over.
    is_ours: bool,
    /// The kernel programs that the position belongs to.
    pub(crate) instance: Option<String>,
    /// How far the ring was read.
    pub(crate) position: u64,
    /// When the last interval ended, on the kernel's clock; 0: not known.
    pub(crate) cut_ns: u64,
    /// Connections by cookie.
    pub(crate) conns: ByCookie<ConnState>,
    /// UDP flows.
    pub(crate) udp: HashMap<UdpKey, UdpState>,
    /// Connections at interfaces.
    pub(crate) path: HashMap<Join, Told>,
    /// Handshakes of which bytes were read and no row was made.
    pub(crate) under_way: u64,
    /// The kernel's losses that were told.
    pub(crate) told: KernelLosses,
    /// Which batches are settled.
    pub(crate) acked: Vec<Acked>,
    /// Files whose state was written by another version of the probe.
    pub(crate) unreadable: u64,
}

impl Restored {
    /// Nothing yet, and only what is of this boot of the kernel will be.
    pub(crate) fn new(kernel_boot: &str) -> Restored {
        Restored {
            kernel_boot: kernel_boot.to_owned(),
            is_ours: false,
            instance: None,
            position: 0,
            cut_ns: 0,
            conns: ByCookie::default(),
            udp: HashMap::new(),
            path: HashMap::new(),
            under_way: 0,
            told: [0; weir_abi::Lost::COUNT],
            acked: Vec::new(),
            unreadable: 0,
        }
    }

    /// Takes over an entry; returns how many rows are in its batches.
    pub(super) fn apply(&mut self, entry: &[u8]) -> u64 {
        let mut rows = 0;
        for item in items(Bytes::copy_from_slice(entry)) {
            match item {
                Item::Start(start) => self.start(start),
                Item::Batch(batch) => rows += u64::from(batch.rows),
                Item::Acked { table, boot_id, sequence } => self.settle(table, boot_id, sequence),
                _ if !self.is_ours => {}
                Item::Position(position) => self.position = position,
                Item::Cut(cut_ns) => self.cut_ns = cut_ns,
                Item::Conn(cookie, state) => drop(self.conns.insert(cookie, state)),
                Item::ConnGone(cookie) => drop(self.conns.swap_remove(&cookie)),
                Item::Udp(key, state) => drop(self.udp.insert(key, state)),
                Item::UdpGone(key) => drop(self.udp.remove(&key)),
                Item::Path(told) => drop(self.path.insert(told.join, told)),
                Item::PathGone(join) => drop(self.path.remove(&join)),
                Item::UnderWay(handshakes) => self.under_way = handshakes,
                Item::Lost(told) => self.told = told,
            }
        }
        rows
    }

    /// A file begins: its state replaces what was read before.
    fn start(&mut self, start: Start) {
        // After a reboot there are other sockets with these cookies.
        let is_of_this_boot = start.kernel_boot == self.kernel_boot;
        let is_readable = start.layout == Start::layout();
        self.unreadable += u64::from(is_of_this_boot && !is_readable);
        self.is_ours = is_of_this_boot && is_readable;
        self.conns.clear();
        self.udp.clear();
        self.path.clear();
        self.under_way = 0;
        self.position = 0;
        self.cut_ns = 0;
        self.told = [0; weir_abi::Lost::COUNT];
        self.instance = self.is_ours.then_some(start.instance);
    }

    fn settle(&mut self, table: String, boot_id: String, sequence: u64) {
        match self.acked.iter_mut().find(|acked| acked.table == table && acked.boot_id == boot_id) {
            Some(acked) => acked.sequence = acked.sequence.max(sequence),
            None => self.acked.push(Acked { table, boot_id, sequence }),
        }
    }
}
