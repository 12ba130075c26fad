//! Connections out of the kernel's numbers, without a kernel.

use weir_abi::{
    KNOWN_CLIENT_ISN, KNOWN_SERVER_ISN, Lane, OPENER_HIGH, OPENER_LOW, PATH_ACK, PATH_FIN, PATH_RST,
    PATH_SYN, PathFlow, PathKey, lane,
};

use super::conn::{Conn, Over};
use super::join::{self, Join, TCP, UDP};
use super::way::Way;
use super::{Patience, conn};

const SECOND: u64 = 1_000_000_000;
const PATIENCE: Patience = Patience { udp_ns: 30 * SECOND, is_crowded: false };

fn ip(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]
}

/// A flow at an interface: what passed from the client and from the server, as `(first_ns, packets, flags, left)`.
fn flow(
    client: (u8, u16),
    server: (u8, u16),
    ifindex: u32,
    lanes: [(u64, u64, u8, bool); 2],
) -> (PathKey, PathFlow) {
    let client_is_low = client < server;
    let (low, high) = if client_is_low { (client, server) } else { (server, client) };
    let key = PathKey {
        low_ip: ip(low.0),
        high_ip: ip(high.0),
        low_port: low.1,
        high_port: high.1,
        ifindex,
        protocol: TCP,
        ..PathKey::default()
    };
    let mut flow = PathFlow {
        born_ns: lanes[0].0,
        client_isn: 7,
        server_isn: 9,
        known: KNOWN_CLIENT_ISN | KNOWN_SERVER_ISN,
        opener: if client_is_low { OPENER_LOW } else { OPENER_HIGH },
        ..PathFlow::default()
    };
    for (end, (first_ns, packets, flags, out)) in lanes.into_iter().enumerate() {
        let from_high = (end == conn::CLIENT) != client_is_low;
        flow.lanes[lane(from_high, out)] =
            Lane { first_ns, last_ns: first_ns, packets, bytes: packets * 10, flags, ..Lane::default() };
    }
    (key, flow)
}

fn conn_of(flows: &[(PathKey, PathFlow)]) -> (Join, Conn) {
    let mut conn = Conn::default();
    for (key, flow) in flows {
        conn.see(key, flow, false);
    }
    (join::sure(&flows[0].0, &flows[0].1).unwrap_or(Join::client(TCP, 7)), conn)
}

#[test]
fn the_first_and_the_last_sight_of_the_client_s_packet_tell_what_nat_did() {
    // In by 3 as 1:4000 → 200:80, out by 5 as 250:6000 → 2:8080; the answer comes back the other way.
    let came = flow((1, 4000), (200, 80), 3, [(10, 5, PATH_SYN, false), (40, 4, 0, true)]);
    let left = flow((250, 6000), (2, 8080), 5, [(20, 5, PATH_SYN, true), (30, 4, 0, false)]);
    for order in [[came, left], [left, came]] {
        let (join, conn) = conn_of(&order);
        assert_eq!(join, Join::pair(TCP, 7, 9));
        let way = Way::of(&conn).expect("it was seen");
        assert_eq!((way.ingress, way.egress), (Some(3), Some(5)));
        assert_eq!(
            way.dialled().map(|(ip, port)| (ip.to_string(), port)),
            Some(("10.0.0.200".to_owned(), 80))
        );
        assert_eq!(way.left_by().map(|ip| ip.to_string()), Some("10.0.0.250".to_owned()));
        assert_eq!(way.first.0.1, 4000);
        assert_eq!(way.last.1.1, 8080);
        let counting = conn.counting().expect("one counts");
        assert_eq!((counting.key.ifindex, counting.sent[conn::CLIENT].packets), (3, 5));
    }
}

#[test]
fn where_only_answers_pass_the_way_is_read_backwards() {
    let came = flow((1, 4000), (2, 80), 3, [(0, 0, 0, false), (40, 4, 0, true)]);
    let left = flow((9, 4000), (2, 80), 5, [(0, 0, 0, true), (30, 4, 0, false)]);
    let (_, conn) = conn_of(&[came, left]);
    let way = Way::of(&conn).expect("it was seen");
    assert_eq!((way.ingress, way.egress), (Some(3), Some(5)));
    assert_eq!(way.left_by().map(|ip| ip.to_string()), Some("10.0.0.9".to_owned()));
}

#[test]
fn a_packet_that_leaves_by_the_interface_that_it_came_by_counts_once() {
    let (key, mut both) = flow((1, 4000), (2, 80), 3, [(10, 5, 0, false), (30, 4, 0, false)]);
    for from_high in [false, true] {
        both.lanes[lane(from_high, true)] = both.lanes[lane(from_high, false)];
    }
    let (_, conn) = conn_of(&[(key, both)]);
    let counting = conn.counting().expect("one counts");
    assert_eq!(counting.sent.map(|sent| (sent.packets, sent.bytes)), [(5, 50), (4, 40)]);
}

#[test]
fn an_end_is_told_once_it_is_still() {
    let ended = |client, server| {
        conn_of(&[flow((1, 4000), (2, 80), 3, [(10, 5, client, false), (SECOND, 4, server, true)])])
    };
    for (client, server, over) in [
        (PATH_FIN, PATH_FIN, Over::Fin),
        (PATH_RST, 0, Over::ResetByClient),
        (0, PATH_RST, Over::ResetByServer),
        // A client that is gone answers the server's FIN so.
        (PATH_FIN | PATH_RST, PATH_FIN, Over::Fin),
    ] {
        let (join, conn) = ended(client, server | PATH_SYN | PATH_ACK);
        assert!(conn.is_ending());
        assert_eq!(conn.over(&join, SECOND + SECOND / 2, PATIENCE), None, "more may come");
        assert_eq!(conn.over(&join, 2 * SECOND, PATIENCE), Some(over));
    }
    let (join, half) = ended(PATH_FIN, 0);
    assert_eq!(half.over(&join, 60 * SECOND, PATIENCE), None);
    assert_eq!(half.over(&join, 200 * SECOND, PATIENCE), Some(Over::Fin));
    let (join, open) = ended(0, 0);
    assert_eq!(open.over(&join, 7_000 * SECOND, PATIENCE), None, "it may be used again");
    let crowded = Patience { is_crowded: true, ..PATIENCE };
    assert_eq!(open.over(&join, 400 * SECOND, crowded), Some(Over::Idle));
}

#[test]
fn who_is_not_answered_was_refused_or_waited_in_vain() {
    let (key, mut asked) = flow((1, 4000), (2, 80), 3, [(10, 3, PATH_SYN, false), (0, 0, 0, true)]);
    asked.known = KNOWN_CLIENT_ISN;
    let (_, conn) = conn_of(&[(key, asked)]);
    let join = Join::client(TCP, 7);
    assert_eq!(conn.over(&join, 60 * SECOND, PATIENCE), None);
    assert_eq!(conn.over(&join, 70 * SECOND, PATIENCE), Some(Over::TimedOut));
    let (key, mut refused) = flow((1, 4000), (2, 80), 3, [(10, 1, PATH_SYN, false), (20, 1, PATH_RST, true)]);
    refused.known = KNOWN_CLIENT_ISN;
    let (_, conn) = conn_of(&[(key, refused)]);
    assert_eq!(conn.over(&join, 2 * SECOND, PATIENCE), Some(Over::Refused));
}

#[test]
fn a_late_answer_of_a_service_does_not_swap_the_ends_of_datagrams() {
    let (mut key, mut answer) = flow((9, 45_000), (2, 53), 3, [(0, 0, 0, true), (10, 1, 0, false)]);
    (key.protocol, answer.known, answer.opener) = (UDP, 0, 0);
    let (join, conn) = conn_of(&[(key, answer)]);
    assert_eq!(join, Join::tuple(&key));
    let way = Way::of(&conn).expect("it was seen");
    assert_eq!((way.first.0.1, way.last.1.1), (45_000, 53));
}
