use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::sflow::SflowError;
use super::*;

const EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 40_000);
/// 2026-11-19T10:40:00Z.
const SENT: u32 = 1_795_084_800;

/// NetFlow v5: one flow of 10.0.0.1:`port` to 10.0.0.2:443, 1 in 10 packets looked at.
fn version_5(port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(5_u16.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(100_000_u32.to_be_bytes());
    bytes.extend(SENT.to_be_bytes());
    bytes.extend([0; 4 + 4 + 1 + 1]);
    bytes.extend((0x4000_u16 + 10).to_be_bytes());
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(900_u32.to_be_bytes());
    bytes.extend(90_000_u32.to_be_bytes());
    bytes.extend(95_000_u32.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend(443_u16.to_be_bytes());
    bytes.extend([0, 0x1b, 6, 0]);
    bytes.extend([0; 8]);
    bytes
}

/// IPFIX sets with their headers.
fn message(domain: u32, sets: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, set) in sets {
        body.extend(id.to_be_bytes());
        body.extend((set.len() as u16 + 4).to_be_bytes());
        body.extend(set);
    }
    let mut bytes = Vec::new();
    bytes.extend(10_u16.to_be_bytes());
    bytes.extend((body.len() as u16 + 16).to_be_bytes());
    bytes.extend(SENT.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(domain.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Addresses, ports, protocol, bytes and packets of both directions, start in ms, and a field that nobody knows.
fn template() -> (u16, Vec<u8>) {
    let fields: [(u16, u16, Option<u32>); 11] = [
        (8, 4, None),
        (12, 4, None),
        (7, 2, None),
        (11, 2, None),
        (4, 1, None),
        (1, 8, None),
        (2, 4, None),
        (1, 8, Some(29_305)),
        (2, 4, Some(29_305)),
        (152, 8, None),
        (5, 2, Some(99_999)),
    ];
    let mut bytes = Vec::new();
    bytes.extend(300_u16.to_be_bytes());
    bytes.extend((fields.len() as u16).to_be_bytes());
    for (number, length, enterprise) in fields {
        bytes.extend((number | if enterprise.is_some() { 0x8000 } else { 0 }).to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(enterprise.into_iter().flat_map(u32::to_be_bytes));
    }
    (2, bytes)
}

fn record() -> (u16, Vec<u8>) {
    let mut bytes = vec![10, 0, 0, 1, 10, 0, 0, 2];
    bytes.extend(80_u16.to_be_bytes());
    bytes.extend(40_001_u16.to_be_bytes());
    bytes.push(17);
    bytes.extend(1_000_u64.to_be_bytes());
    bytes.extend(4_u32.to_be_bytes());
    bytes.extend(2_000_u64.to_be_bytes());
    bytes.extend(5_u32.to_be_bytes());
    bytes.extend(((u64::from(SENT) - 3) * 1_000).to_be_bytes());
    bytes.extend([0xff, 0xff]);
    (300, bytes)
}

fn ends(row: &FlowRow) -> String {
    let text = |text: &Option<SmolStr>| text.clone().unwrap_or_default();
    let port = |port: Option<u16>| port.map_or_else(String::new, |port| format!(":{port}"));
    format!(
        "{} {}{} {}{}",
        text(&row.protocol),
        text(&row.client_ip),
        port(row.client_port),
        text(&row.server_ip),
        port(row.server_port)
    )
}

#[test]
fn a_sampled_flow_of_version_5_stands_for_what_was_left_out() {
    let (rows, told) = Netflow::default().read(EXPORTER, &version_5(40_000)).expect("reads");
    assert_eq!(told, Told { records: 1, ..Told::default() });
    let row = &rows[0];
    assert_eq!(ends(row), "tcp 10.0.0.1:40000 10.0.0.2:443");
    assert_eq!((row.client_bytes, row.client_packets, row.server_bytes), (9_000, 70, 0));
    // 10 s and 5 s before it was sent.
    let sent = i64::from(SENT) * 1_000_000_000;
    assert_eq!((row.time, row.end_time), (sent - 10_000_000_000, Some(sent - 5_000_000_000)));
    assert_eq!((row.node.as_deref(), row.source.as_deref()), (Some("192.0.2.9"), Some("netflow")));
    assert_eq!(row.observer.as_deref(), Some("path"));
}

/// The lower port is the server's, whichever way the record goes.
#[test]
fn both_directions_are_of_one_connection() {
    let mut netflow = Netflow::default();
    let mut there = netflow.read(EXPORTER, &version_5(40_000)).expect("reads").0.remove(0);
    let swapped = {
        let mut bytes = version_5(443);
        // Addresses and ports the other way round.
        bytes[24..32].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
        bytes[56..60].copy_from_slice(&[1, 187, 156, 64]);
        bytes
    };
    let answer = netflow.read(EXPORTER, &swapped).expect("reads").0.remove(0);
    assert_eq!(ends(&answer), ends(&there));
    assert_eq!(answer.connection_id, there.connection_id);
    assert_eq!((answer.client_bytes, answer.server_bytes), (0, 9_000));
    there.client_bytes += answer.client_bytes;
    assert_eq!((there.client_bytes, there.server_bytes), (9_000, 0));
}

#[test]
fn a_record_before_its_template_is_counted_and_later_ones_are_read() {
    let mut netflow = Netflow::default();
    let (rows, told) = netflow.read(EXPORTER, &message(1, &[record()])).expect("reads");
    assert_eq!((rows.len(), told), (0, Told { without_template: 1, ..Told::default() }));
    let (rows, told) = netflow.read(EXPORTER, &message(1, &[template(), record()])).expect("reads");
    assert_eq!(told, Told { records: 1, unknown_fields: 1, ..Told::default() });
    // A record of both directions says who began, whatever the ports.
    assert_eq!(ends(&rows[0]), "udp 10.0.0.1:80 10.0.0.2:40001");
    assert_eq!((rows[0].client_bytes, rows[0].client_packets), (1_000, 4));
    assert_eq!((rows[0].server_bytes, rows[0].server_packets), (2_000, 5));
    assert_eq!(rows[0].time, (i64::from(SENT) - 3) * 1_000_000_000);
    assert_eq!(rows[0].source.as_deref(), Some("ipfix"));
    // Another domain of the same exporter, and another exporter, have templates of their own.
    assert_eq!(netflow.read(EXPORTER, &message(2, &[record()])).expect("reads").1.without_template, 1);
    let other = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 1);
    assert_eq!(netflow.read(other, &message(1, &[record()])).expect("reads").1.without_template, 1);
}

#[test]
fn what_is_no_flow_datagram_is_said() {
    assert!(Netflow::default().read(EXPORTER, b"GET / HTTP/1.1").is_err());
    assert_eq!(sflow(&4_u32.to_be_bytes(), 0), Err(SflowError::Version(4)));
    assert_eq!(sflow(&[0, 0, 0, 5], 0), Err(SflowError::Short(4)));
}

/// sFlow: a datagram with one flow sample, of an Ethernet frame with the beginning of a TCP segment.
fn sampled(is_expanded: bool, frame: &[u8], length: u32) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mut header = frame.to_vec();
    header.resize(frame.len().next_multiple_of(4), 0);
    let mut record = words(&[1, length, 4, frame.len() as u32]);
    record.extend(&header);
    let mut sample = words(if is_expanded { &[1, 0, 7] } else { &[1, 7] });
    sample.extend(words(&[256, 0, 0]));
    sample.extend(words(if is_expanded { &[0, 1, 0, 2] } else { &[1, 2] }));
    // A record of another kind before ours.
    sample.extend(words(&[2, 1001, 4, 0]));
    sample.extend(words(&[1, record.len() as u32]));
    sample.extend(&record);
    let mut bytes = words(&[5, 1]);
    bytes.extend([192, 0, 2, 1]);
    bytes.extend(words(&[0, 9, 1_000, 2, 2, 4, 0]));
    bytes.extend(words(&[if is_expanded { 3 } else { 1 }, sample.len() as u32]));
    bytes.extend(&sample);
    bytes
}

fn frame() -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend([0x45, 0, 0, 52, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame.extend([0, 80, 156, 64, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    frame.extend([7; 5]);
    frame
}

#[test]
fn a_sampled_packet_stands_for_as_many_as_the_agent_takes_one_of() {
    for is_expanded in [false, true] {
        let (rows, told) = sflow(&sampled(is_expanded, &frame(), 1_518), 77).expect("reads");
        assert_eq!(told, Told { records: 1, ..Told::default() });
        let row = &rows[0];
        assert_eq!(ends(row), "tcp 10.0.0.1:40000 10.0.0.2:80");
        // 1,518 bytes of frame without what was stripped (a checksum of 4) and the Ethernet header.
        assert_eq!((row.server_bytes, row.server_packets, row.client_packets), (1_500 * 256, 256, 0));
        assert_eq!(
            (row.time, row.node.as_deref(), row.source.as_deref()),
            (77, Some("192.0.2.1"), Some("sflow"))
        );
    }
    let arp = [vec![0; 12], vec![8, 6], vec![0; 28]].concat();
    let (rows, told) = sflow(&sampled(false, &arp, 60), 0).expect("reads");
    assert_eq!((rows.len(), told.unreadable_samples), (0, 1));
}

proptest! {
    #[test]
    fn no_datagram_is_too_wild(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..200_usize,
        with in any::<u8>(),
        cut in 0..200_usize,
    ) {
        let mut netflow = Netflow::default();
        for valid in [version_5(1), message(1, &[template(), record()]), sampled(false, &frame(), 100), sampled(true, &frame(), 100)] {
            let mut bytes = valid;
            let length = bytes.len();
            bytes[at % length] = with;
            bytes.truncate(length - cut % length);
            let _ = netflow.read(EXPORTER, &bytes);
            let _ = sflow(&bytes, i64::MAX);
        }
        let _ = netflow.read(EXPORTER, &bytes);
        let _ = sflow(&bytes, 0);
    }
}
