//! Datagrams of exporters, several of one exporter's after each other, so that templates of some are used by others: no panic,
//! and no more rows than bytes can tell of.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use weir_dissect::exported::{Netflow, sflow};

fuzz_target!(|bytes: &[u8]| {
    let exporter = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2055);
    let mut netflow = Netflow::default();
    let mut rest = bytes;
    while let [high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (datagram, after) = more.split_at(length);
        if let Ok((rows, told)) = netflow.read(exporter, datagram) {
            assert_eq!(rows.len() as u64, told.records);
            assert!(rows.len() <= datagram.len(), "a record has a byte at least");
        }
        rest = after;
    }
    if let Ok((rows, _)) = sflow(bytes, i64::MAX) {
        assert!(rows.len() <= bytes.len());
        assert!(rows.iter().all(|row| row.client_bytes >= 0 && row.server_bytes >= 0));
    }
});
