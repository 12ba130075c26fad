//! What must hold for any packets whatever: nothing is lost, nothing depends on chance, nothing panics.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::ip::link;
use crate::testing::tls_frames;

/// A packet of a few connections, with numbers that are close to each other, or anything.
#[derive(Clone, Debug)]
struct Any {
    after_ns: i64,
    pair: u8,
    reply: bool,
    protocol: Protocol,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    payload: Vec<u8>,
    cut: usize,
}

fn any_packet() -> impl Strategy<Value = Any> {
    let number = prop_oneof![4 => 0_u32..200, 1 => (u32::MAX - 100)..=u32::MAX, 1 => any::<u32>()];
    let payload = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..40),
        (0_usize..60).prop_map(|keep| [&[0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3][..], &[7; 60]].concat()
            [..keep]
            .to_vec()),
        chunks(),
    ];
    let protocol = prop_oneof![6 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 2 => Just(Protocol::Sctp)];
    (
        (prop_oneof![5 => -MS..20 * MS, 1 => 0..60 * SECOND_NS], 0_u8..4, any::<bool>(), protocol),
        (prop_oneof![4 => Just(ACK), 1 => Just(SYN), 1 => Just(SYN | ACK), 1 => Just(FIN | ACK), 1 => any::<u8>()]),
        (number.clone(), number, payload, 0_usize..80),
    )
        .prop_map(|((after_ns, pair, reply, protocol), flags, (sequence, acknowledged, payload, cut))| Any {
            after_ns,
            pair,
            reply,
            protocol,
            flags,
            sequence,
            acknowledged,
            payload,
            cut,
        })
}

/// What SCTP would take for a few of its chunks, with lengths and numbers near the true ones.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (prop_oneof![4 => Just(0_u8), 4 => 0_u8..16, 1 => Just(64)], 0_u8..40, any::<u8>());
    proptest::collection::vec(chunk, 0..4).prop_map(|chunks| {
        let whole = |(kind, length, number): (u8, u8, u8)| {
            let mut chunk = vec![number; usize::from(length).next_multiple_of(4).max(4)];
            chunk[..4].copy_from_slice(&[kind, 3, 0, length]);
            chunk
        };
        chunks.into_iter().flat_map(whole).collect()
    })
}

fn feed(tracker: &mut FlowTracker, packets: &[Any], rows: &mut Rows) {
    let mut now_ns = START_NS;
    for any in packets {
        now_ns += any.after_ns;
        let (client, server) =
            ((IpAddr::from([10, 0, 0, any.pair]), 4000), (IpAddr::from([10, 0, 1, 1]), 443));
        let (src, dst) = if any.reply { (server, client) } else { (client, server) };
        let (src_port, dst_port) = (src.1, dst.1);
        let transport = match any.protocol {
            Protocol::Udp => Transport::Udp { src_port, dst_port },
            Protocol::Sctp => Transport::Sctp { src_port, dst_port },
            Protocol::Tcp => {
                let Any { flags, sequence, acknowledged, .. } = *any;
                Transport::Tcp(Tcp { src_port, dst_port, sequence, acknowledged, flags })
            }
        };
        let payload = &any.payload[..any.payload.len().min(any.cut)];
        let payload_length = any.payload.len();
        tracker.packet(now_ns, &Packet { src: src.0, dst: dst.0, transport, payload, payload_length });
        let ready = tracker.take_rows();
        rows.flows.extend(ready.flows);
        rows.handshakes.extend(ready.handshakes);
    }
    let last = tracker.finish();
    rows.flows.extend(last.flows);
    rows.handshakes.extend(last.handshakes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every packet is in exactly one row, also of connections that were forgotten for want of room; bytes are
    /// never more than were sent; a connection opens and closes at most once.
    #[test]
    fn every_packet_is_in_one_row(
        packets in proptest::collection::vec(any_packet(), 0..120),
        max_connections in 1_usize..6,
    ) {
        let mut tracker = FlowTracker::new(Options { max_connections, ..Options::default() });
        let mut rows = Rows::default();
        feed(&mut tracker, &packets, &mut rows);
        let sum = |of: fn(&FlowRow) -> i64| rows.flows.iter().map(of).sum::<i64>();
        prop_assert_eq!(sum(|row| row.client_packets + row.server_packets), packets.len() as i64);
        let sent: usize = packets.iter().map(|any| any.payload.len()).sum();
        prop_assert!(sum(|row| row.client_bytes + row.server_bytes) <= sent as i64);
        prop_assert!(rows.flows.iter().all(|row| row.client_bytes >= 0 && row.server_bytes >= 0));
        let totals = tracker.totals();
        let counted = totals.tcp_packets + totals.udp_packets + totals.sctp_packets;
        prop_assert_eq!(counted, packets.len() as u64);
        let ends = rows.flows.iter().filter(|row| row.close_reason.is_some()).count() as u64;
        prop_assert!(ends <= totals.tcp_connections + totals.udp_flows + totals.sctp_associations);
        for row in &rows.flows {
            let closes = matches!(row.state.as_deref(), Some("closed" | "only"));
            prop_assert_eq!(closes, row.close_reason.is_some());
            prop_assert!(row.end_time >= Some(row.time), "{:?}", row);
        }
    }

    /// The same capture gives the same rows in the same order, so that a second import can be recognised.
    #[test]
    fn rows_dont_depend_on_chance(packets in proptest::collection::vec(any_packet(), 0..60)) {
        let all = || {
            let mut rows = Rows::default();
            feed(&mut FlowTracker::new(Options::default()), &packets, &mut rows);
            (rows.flows, rows.handshakes)
        };
        prop_assert_eq!(all(), all());
    }

    /// Sequence numbers are relative: where they begin, and whether they wrap around, changes nothing but the id.
    #[test]
    fn initial_sequence_numbers_only_name_a_connection(
        client in any::<u32>(),
        server in any::<u32>(),
        steps in proptest::collection::vec((any::<bool>(), 0_u32..3, 0_usize..50), 0..40),
    ) {
        let talk = |client: u32, server: u32| {
            let mut talk = Talk::between(client, server);
            talk.open();
            for (from_client, kind, length) in &steps {
                let from = if *from_client { Side::Client } else { Side::Server };
                let payload = vec![b'x'; *length];
                talk.wait(MS);
                match kind {
                    0 => talk.say(from, ACK, &payload),
                    1 => talk.again(from, (*length as u32).min(30), ACK, &payload),
                    _ => talk.skip(from, 20).say(from, ACK, &payload),
                };
            }
            let mut rows = talk.close().rows().flows;
            for row in &mut rows {
                (row.connection_id, row.trace_id) = (None, None);
            }
            rows
        };
        prop_assert_eq!(talk(client, server), talk(1_000_000, 2_000_000));
    }

    /// A capture that is damaged, reordered, doubled: whatever its times and bytes, it is read.
    #[test]
    fn no_frames_make_it_panic(
        frames in proptest::collection::vec((any::<Index>(), any::<i64>(), any::<bool>()), 0..60),
        damage in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..10),
    ) {
        let known = tls_frames();
        let mut all: Vec<Vec<u8>> = frames.iter().map(|(which, ..)| which.get(&known).to_vec()).collect();
        for (which, at, value) in &damage {
            if !all.is_empty() {
                let frame = &mut all[which.index(frames.len())];
                // Behind Ethernet and IP, else most of it is only ignored.
                let at = 34 + at.index(frame.len() - 34);
                frame[at] = *value;
            }
        }
        let mut tracker = FlowTracker::new(Options { max_connections: 3, ..Options::default() });
        for (nth, (frame, (_, wild_time, wild))) in all.iter().zip(&frames).enumerate() {
            let time_ns = if *wild { *wild_time } else { START_NS + nth as i64 * SECOND_NS };
            if let Ok(packet) = ip::packet(link::ETHERNET, frame) {
                tracker.packet(time_ns, &packet);
            }
        }
        tracker.advance(i64::MAX);
        tracker.finish();
    }
}
