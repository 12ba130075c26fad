//! A capture of anything: no panic, and each packet that is taken is in exactly one row.
//!
//! The input is read as a classic pcap file with little-endian headers, so that captures are its corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_dissect::ip;
use weir_dissect::tcp::{FlowTracker, Options};

fuzz_target!(|bytes: &[u8]| {
    let Some((header, mut records)) = bytes.split_at_checked(24) else { return };
    let link = u32::from_le_bytes([header[20], header[21], header[22], header[23]]);
    let mut tracker = FlowTracker::new(Options::default());
    let mut taken = 0;
    let mut rows = Vec::new();
    while let Some((head, rest)) = records.split_at_checked(16) {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = (number(8) as usize).min(rest.len());
        let time_ns = i64::from(number(0)) * 1_000_000_000 + i64::from(number(4)) * 1000;
        if let Ok(packet) = ip::packet(link, &rest[..length]) {
            taken += 1;
            tracker.packet(time_ns, &packet);
        }
        if tracker.ready() > 16 {
            rows.extend(tracker.take_rows().flows);
        }
        records = &rest[length..];
    }
    rows.extend(tracker.finish().flows);
    let counted: i64 = rows.iter().map(|row| row.client_packets + row.server_packets).sum();
    let totals = tracker.totals();
    assert_eq!(counted, taken, "packets in rows, packets taken");
    let tracked = totals.tcp_packets + totals.udp_packets + totals.sctp_packets;
    assert_eq!(tracked, taken as u64, "packets in totals, packets taken");
});
