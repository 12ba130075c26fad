//! Very many connections at once, both their ends on this machine: each is told once at each end, with its bytes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use weir_model::FlowRow;
use weir_probe::Config;

use crate::bench::{Bench, Hosts};

/// Connections to one listener: a client's host has no more ports for one address and port.
const EACH_LISTENER: usize = 10_000;

/// Both ends of a connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

/// Opens so many, a listener's own at a time, each with its first bytes.
fn open(hosts: &Hosts, listeners: &[(TcpListener, SocketAddr)], pairs: usize) -> Vec<Pair> {
    let mut opened = Vec::with_capacity(pairs);
    for (index, (listener, at)) in listeners.iter().enumerate() {
        let (at, count) = (*at, EACH_LISTENER.min(pairs - index * EACH_LISTENER));
        let accepting = listener.try_clone().unwrap();
        let servers = std::thread::spawn(move || -> HashMap<u16, TcpStream> {
            (0..count)
                .map(|_| accepting.accept().unwrap())
                .map(|(stream, peer)| (peer.port(), stream))
                .collect()
        });
        let clients: Vec<TcpStream> = hosts
            .on(0, move || (0..count).map(|_| TcpStream::connect(at).unwrap()).collect())
            .join()
            .unwrap();
        let mut servers = servers.join().unwrap();
        opened.extend(clients.into_iter().map(|client| {
            let server = servers.remove(&client.local_addr().unwrap().port()).unwrap();
            Pair { client, server }
        }));
    }
    opened
}

/// Each sends as many bytes as its number says, and a few more each time.
fn send(pairs: &mut [Pair], round: usize) -> usize {
    let mut buffer = [0; 1_024];
    for (number, Pair { client, server }) in pairs.iter_mut().enumerate() {
        let bytes = &mut buffer[..bytes_of(number, round)];
        client.write_all(bytes).unwrap();
        server.read_exact(bytes).unwrap();
    }
    pairs.len()
}

fn bytes_of(number: usize, round: usize) -> usize {
    number % 500 + round
}

async fn each_of_very_many_is_told_once(pairs: usize) {
    let descriptors = pairs as u64 * 2 + 1_500;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < descriptors {
        setrlimit(Resource::RLIMIT_NOFILE, descriptors, hard.max(descriptors)).unwrap();
    }
    let hosts = Hosts::new();
    let config = Config { interval: Duration::from_secs(2), ring_bytes: 32 << 20, ..Config::default() };
    let bench = Bench::with(config).await;
    let listeners: Vec<_> = (0..pairs.div_ceil(EACH_LISTENER)).map(|_| hosts.listen("10.83.0.2")).collect();
    let before = bench.count_flows();
    let mut open = open(&hosts, &listeners, pairs);
    send(&mut open, 1);
    bench.until("a row of each end", Bench::count_flows, |rows| *rows >= before + 2 * pairs).await;
    let before = bench.count_flows();
    send(&mut open, 2);
    bench.until("another row of each end", Bench::count_flows, |rows| *rows >= before + 2 * pairs).await;
    let wanted: HashMap<(u16, u16), i64> = open
        .iter()
        .enumerate()
        .map(|(number, Pair { client, server })| {
            let ports = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
            (ports, (bytes_of(number, 1) + bytes_of(number, 2)) as i64)
        })
        .collect();
    assert_eq!(wanted.len(), pairs);
    let before = bench.count_flows();
    for Pair { client, mut server } in open {
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
    bench.until("the end of each end", Bench::count_flows, |rows| *rows >= before + 2 * pairs).await;
    let rows: Vec<FlowRow> = bench.stop().await;
    let mut told: HashMap<(u16, u16, bool), (i64, usize, usize)> = HashMap::new();
    for row in &rows {
        let (Some(client), Some(server)) = (row.client_port, row.server_port) else { continue };
        if !listeners.iter().any(|(_, at)| at.port() == server) || !wanted.contains_key(&(client, server)) {
            continue;
        }
        let is_client = row.observer.as_deref() == Some("client");
        let told = told.entry((client, server, is_client)).or_default();
        told.0 += row.client_bytes;
        told.1 += usize::from(matches!(row.state.as_deref(), Some("opened" | "only")));
        told.2 += usize::from(matches!(row.state.as_deref(), Some("closed" | "only")));
    }
    assert_eq!(told.len(), 2 * pairs, "both ends of each");
    for ((client, server, is_client), (bytes, begun, over)) in told {
        let end = if is_client { "client" } else { "server" };
        assert_eq!(
            (bytes, begun, over),
            (wanted[&(client, server)], 1, 1),
            "the {end}'s end from port {client}: bytes, begun, over"
        );
    }
}

/// Within the 20,000 descriptors that most machines allow.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_nine_thousand_connections_is_told_once_at_both_ends() {
    each_of_very_many_is_told_once(9_000).await;
}
