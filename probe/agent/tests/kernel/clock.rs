//! Somebody sets the node's clock while connections live: what passes is told with the time that it took, and once.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use weir_model::FlowRow;
use weir_probe::Config;
use weir_probe::lab::Wall;

use crate::bench::{Bench, Hosts, sum};

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;

/// One end's rows in the order that they were made, whatever their times say.
fn in_order(bench: &Bench, port: u16, observer: &str) -> Vec<FlowRow> {
    let mut rows: Vec<FlowRow> = bench.rows();
    rows.retain(|row| row.server_port == Some(port) && row.observer.as_deref() == Some(observer));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_bends_no_interval_of_what_lives() {
    let hosts = Hosts::new();
    let wall = Wall::default();
    let second = Duration::from_secs(1);
    let config =
        Config { interval: second, udp_idle: second * 3600, ring_bytes: 32 << 20, ..Config::default() };
    let bench = Bench::by(wall.clone(), config).await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let began = Instant::now();
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let bind = |host, address: &'static str| {
        hosts.on(host, move || UdpSocket::bind((address, 0)).unwrap()).join().unwrap()
    };
    let (asks, answers) = (bind(0, "10.83.0.1"), bind(1, "10.83.0.2"));
    let udp_port = answers.local_addr().unwrap().port();
    let mut sent = 0;
    // As it is, back by an hour, and ahead by two; at each time several intervals.
    for ahead_ns in [0, -HOUR_NS, HOUR_NS] {
        wall.set_ahead(ahead_ns);
        for _ in 0..3 {
            client.write_all(&[b'x'; 100]).unwrap();
            server.read_exact(&mut [0; 100]).unwrap();
            asks.send_to(&[b'x'; 100], answers.local_addr().unwrap()).unwrap();
            answers.recv(&mut [0; 100]).unwrap();
            sent += 100;
            for (port, observer) in
                [at.port(), udp_port].iter().flat_map(|port| [(*port, "client"), (*port, "server")])
            {
                let told = |rows: &Vec<FlowRow>| sum(rows, |row| row.client_bytes) == sent;
                bench.until("its row", |bench| in_order(bench, port, observer), told).await;
            }
        }
    }
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    bench.both_ends(at.port()).await;
    let lasted_ns = began.elapsed().as_nanos() as i64;
    for (port, observer) in
        [(at.port(), "client"), (at.port(), "server"), (udp_port, "client"), (udp_port, "server")]
    {
        let rows = in_order(&bench, port, observer);
        assert_eq!(sum(&rows, |row| row.client_bytes), sent, "{rows:#?}");
        let length = |row: &FlowRow| row.end_time.unwrap() - row.time;
        // The first of a UDP flow may be one datagram, which takes no time.
        assert!(rows[1..].iter().all(|row| length(row) > 0), "each took time: {rows:#?}");
        assert!(rows.iter().all(|row| length(row) < 2 * SECOND_NS), "and no more than it took: {rows:#?}");
        assert!(rows.iter().map(length).sum::<i64>() <= lasted_ns, "no time is told twice: {rows:#?}");
        assert!(rows.iter().all(|row| row.opened_time == rows[0].opened_time), "one opening: {rows:#?}");
        for ahead_ns in [0, -HOUR_NS, HOUR_NS] {
            let here = |row: &&FlowRow| (row.end_time.unwrap() - rows[0].time - ahead_ns).abs() < HOUR_NS / 2;
            let own: Vec<_> = rows.iter().filter(here).collect();
            assert!(own.len() >= 2, "rows by this clock: {ahead_ns} {rows:#?}");
            let on_grid = own.iter().filter(|row| row.end_time.unwrap() % SECOND_NS == 0).count();
            assert!(on_grid >= 2, "intervals are cut by the clock that there is: {own:#?}");
            for pair in own.windows(2) {
                assert!(pair[0].end_time <= Some(pair[1].time), "intervals don't overlap: {pair:#?}");
            }
        }
    }
    bench.stop().await;
}
