//! Whatever is too small is filled on purpose: its counter must say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use weir_model::FlowRow;
use weir_probe::Config;

use crate::bench::Bench;

fn end_of(row: &FlowRow) -> (u16, String) {
    (row.client_port.unwrap(), row.observer.as_deref().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ring_is_counted_and_connections_go_on() {
    let config = Config { ring_bytes: 4096, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    for _ in 0..500 {
        let client = TcpStream::connect(at).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
    bench.until("the counter", |bench| bench.lost("ring_full_connections"), |lost| *lost > 0).await;
    let reported = |bench: &Bench| bench.flows(at.port()).len() as i64;
    // Two ends each; what others on this machine do is counted too.
    let or_lost = |bench: &Bench| reported(bench) + bench.lost("ring_full_connections");
    bench.until("each end reported or counted as lost", or_lost, |total| *total >= 1000).await;
    assert!(reported(&bench) < 1000, "some were lost, and the rest came through");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_udp_map_is_counted() {
    let config = Config { udp_flows: 1, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", server.local_addr().unwrap()).unwrap();
    }
    bench.until("the counter", |bench| bench.lost("udp_map_full"), |lost| *lost > 0).await;
    bench.stop().await;
}

/// Each datagram passes at its sender and at its receiver: it is in a row of each, or counted as lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_udp_map_leaves_out_and_what_rows_tell_is_all_that_passed() {
    const SENDERS: i64 = 300;
    const EACH: i64 = 5;
    let config = Config { udp_flows: 64, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    // All at once: a port that is given back may be the next one's.
    let senders: Vec<UdpSocket> = (0..SENDERS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (number, sender) in senders.iter().enumerate() {
        for _ in 0..EACH {
            sender.send_to(&vec![b'x'; number + 1], to).unwrap();
            server.recv(&mut [0; 512]).unwrap();
        }
    }
    let told = |bench: &Bench| bench.flows(to.port()).iter().map(|row| row.client_packets).sum::<i64>();
    // What others on this machine send is lost too.
    let all = |bench: &Bench| told(bench) + bench.lost("udp_map_full");
    bench.until("each datagram at both ends", all, |all| *all >= 2 * SENDERS * EACH).await;
    let rows: Vec<FlowRow> =
        bench.stop().await.into_iter().filter(|row| row.server_port == Some(to.port())).collect();
    let mut ends: BTreeMap<(String, u16), (i64, i64)> = BTreeMap::new();
    for row in &rows {
        let end = (row.observer.as_deref().unwrap().to_owned(), row.client_port.unwrap());
        let (packets, bytes) = ends.entry(end).or_default();
        (*packets, *bytes) = (*packets + row.client_packets, *bytes + row.client_bytes);
    }
    let packets: i64 = ends.values().map(|(packets, _)| packets).sum();
    assert!((1..2 * SENDERS * EACH).contains(&packets), "some had room, and not all: {packets}");
    for (end, (packets, bytes)) in ends {
        assert!(
            (1..=EACH).contains(&packets) && bytes % packets == 0,
            "nothing is made up: {end:?} {packets} {bytes}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_is_room_for_are_counted_and_room_comes_back() {
    let config = Config { connections: 16, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut open: Vec<_> =
        (0..40).map(|_| (TcpStream::connect(at).unwrap(), listener.accept().unwrap().0)).collect();
    bench.until("the counter", |bench| bench.lost("storage_full"), |lost| *lost >= 40 * 2 - 16).await;
    for (number, (client, server)) in open.iter_mut().enumerate() {
        client.write_all(&[b'x'; 50][..=number]).unwrap();
        server.read_exact(&mut [0; 50][..=number]).unwrap();
    }
    let ports: Vec<u16> = open.iter().map(|(client, _)| client.local_addr().unwrap().port()).collect();
    let had_room: BTreeSet<(u16, String)> = bench.flows(at.port()).iter().map(end_of).collect();
    for (client, mut server) in open {
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
    let over = |bench: &Bench| {
        let mut rows = bench.flows(at.port());
        rows.retain(|row| ports.contains(&row.client_port.unwrap()));
        rows
    };
    let ended = |rows: &[FlowRow]| -> BTreeSet<_> {
        let is_over = |row: &&FlowRow| matches!(row.state.as_deref(), Some("closed" | "only"));
        rows.iter().filter(is_over).map(end_of).collect()
    };
    let has_all = |rows: &Vec<FlowRow>| ended(rows).is_superset(&had_room);
    let rows = bench.until("the end of those that had room", over, has_all).await;
    // More may have had room, whose first rows came later: their last ones may not be here yet.
    let ended = ended(&rows);
    let mut told: BTreeMap<(u16, String), i64> = BTreeMap::new();
    for row in rows.iter().filter(|row| ended.contains(&end_of(row))) {
        *told.entry(end_of(row)).or_default() += row.client_bytes;
    }
    for ((port, observer), bytes) in told {
        let number = ports.iter().position(|known| *known == port).unwrap() as i64;
        assert_eq!(bytes, number + 1, "what has room is told right: {observer} of {port}");
    }
    let began = std::time::Instant::now();
    let known = bench.flows(at.port()).len();
    assert!(known <= 2 * 16, "a row for what there was room for, maybe an early one too: {known}");
    while bench.flows(at.port()).len() <= 2 * 16 {
        assert!(began.elapsed() < Duration::from_secs(30), "room never came back");
        let client = TcpStream::connect(at).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.stop().await;
}

/// Short of room, exchanges are the first to go without: connections keep their rows, and exchanges come back.
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_are_shed_first_and_come_back() {
    const TURNS: usize = 20_000;
    let config = Config { ring_bytes: 1 << 18, interval: Duration::from_secs(1), ..Config::default() };
    let bench = Bench::with(config).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut turn = || {
        client.write_all(b"question").unwrap();
        server.read_exact(&mut [0; 8]).unwrap();
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    };
    (0..TURNS).for_each(|_| turn());
    bench.until("the counter", |bench| bench.lost("exchanges_shed"), |shed| *shed > 0).await;
    let health: Vec<weir_model::ProbeHealthRow> = bench.rows();
    let shed = health.iter().find(|row| row.counter.as_deref() == Some("exchanges_shed")).unwrap();
    assert_eq!(shed.kind.as_deref(), Some("shed"));
    let later = |bench: &Bench| {
        let rows = bench.exchanges(at.port());
        rows.iter().filter(|row| row.number > Some(TURNS as i64)).count()
    };
    let began = std::time::Instant::now();
    while later(&bench) == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "no exchange came after the rush");
        turn();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((client, server));
    let ends = |bench: &Bench| {
        let rows = bench.flows(at.port());
        rows.iter().filter(|row| matches!(row.state.as_deref(), Some("closed" | "only"))).count()
    };
    bench.until("the connection's end at both ends", ends, |ends| *ends == 2).await;
    bench.stop().await;
}
