//! What flows say of a connection is what the kernel's own tool (`ss`) says of its socket, to the byte, the segment and the
//! microsecond.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use weir_model::FlowRow;

use crate::bench::{Bench, Hosts, sum};
use crate::drops::filter;

/// What both say of one end. Times that are added up are in milliseconds, as `ss` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    sent_bytes: i64,
    received_bytes: i64,
    segs_out: i64,
    segs_in: i64,
    retransmits: i64,
    bytes_retransmitted: i64,
    out_of_order: i64,
    window_limited_ms: i64,
    buffer_limited_ms: i64,
    rtt_us: i64,
    rtt_min_us: i64,
}

/// The socket of one end, as `ss` prints it.
fn by_ss(hosts: &Hosts, host: usize, local_port: u16) -> Told {
    let filter = format!("sport = :{local_port}");
    let output = hosts.command(host, "ss").args(["-tinmOH", &filter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one socket has port {local_port}: {text}");
    let told: HashMap<&str, &str> = text.split_whitespace().filter_map(|word| word.split_once(':')).collect();
    // What is nothing is left out.
    let number = |name: &str| -> i64 {
        let digits = told.get(name).map(|value| value.split(|c: char| !c.is_ascii_digit()).next().unwrap());
        digits.map_or(0, |digits| digits.parse().unwrap())
    };
    let us = |name: &str| {
        let ms = told.get(name).unwrap_or_else(|| panic!("no {name} in {text}")).split('/').next().unwrap();
        (ms.parse::<f64>().unwrap() * 1000.0).round() as i64
    };
    // Under way, and ever.
    let retransmits = told.get("retrans").and_then(|value| value.split_once('/'));
    let is_client = host == 0;
    Told {
        // A client's own SYN is in it.
        sent_bytes: number("bytes_acked") - i64::from(is_client),
        received_bytes: number("bytes_received"),
        // A server's socket was made when the SYN-ACK had been sent; that a SYN had come it was told.
        segs_out: number("segs_out") + i64::from(!is_client),
        segs_in: number("segs_in"),
        retransmits: retransmits.map_or(0, |(_, ever)| ever.parse().unwrap()),
        bytes_retransmitted: number("bytes_retrans"),
        out_of_order: number("rcv_ooopack"),
        window_limited_ms: number("rwnd_limited"),
        buffer_limited_ms: number("sndbuf_limited"),
        rtt_us: us("rtt"),
        rtt_min_us: us("minrtt"),
    }
}

/// The same out of its rows.
fn by_flows(rows: &[FlowRow], is_client: bool) -> Told {
    let Some(last) = rows.last() else { return Told::default() };
    let of = |client: fn(&FlowRow) -> Option<i64>, server: fn(&FlowRow) -> Option<i64>| {
        let (own, other) = if is_client { (client, server) } else { (server, client) };
        assert!(
            rows.iter().all(|row| own(row).is_some() && other(row).is_none()),
            "each end tells its own: {rows:#?}"
        );
        sum(rows, |row| own(row).unwrap())
    };
    let client = [sum(rows, |row| row.client_bytes), sum(rows, |row| row.client_packets)];
    let server = [sum(rows, |row| row.server_bytes), sum(rows, |row| row.server_packets)];
    let ([sent_bytes, segs_out], [received_bytes, segs_in]) =
        if is_client { (client, server) } else { (server, client) };
    Told {
        sent_bytes,
        received_bytes,
        segs_out,
        segs_in,
        retransmits: of(|row| row.client_retransmits, |row| row.server_retransmits),
        bytes_retransmitted: of(|row| row.client_bytes_retransmitted, |row| row.server_bytes_retransmitted),
        // Counted where they come in.
        out_of_order: of(|row| row.server_segments_out_of_order, |row| row.client_segments_out_of_order),
        window_limited_ms: of(|row| row.client_window_limited_us, |row| row.server_window_limited_us) / 1000,
        buffer_limited_ms: of(|row| row.client_buffer_limited_us, |row| row.server_buffer_limited_us) / 1000,
        rtt_us: last.rtt_us.unwrap_or_default(),
        rtt_min_us: last.rtt_min_us.unwrap_or_default(),
    }
}

fn rows_of(bench: &Bench, port: u16, is_client: bool) -> Vec<FlowRow> {
    let mut rows = bench.flows(port);
    rows.retain(|row| row.observer.as_deref() == Some(if is_client { "client" } else { "server" }));
    rows
}

/// Waits until the rows have come as far as the quiet socket; then all must be the same. `[client, server]`.
async fn agree(bench: &Bench, hosts: &Hosts, client: &TcpStream, at: SocketAddr) -> [Told; 2] {
    let ports = [client.local_addr().unwrap().port(), at.port()];
    let look = |bench: &Bench| {
        [0, 1].map(|host| {
            let before = by_ss(hosts, host, ports[host]);
            let told = by_flows(&rows_of(bench, at.port(), host == 0), host == 0);
            (before, told, by_ss(hosts, host, ports[host]))
        })
    };
    let has_come = |ends: &[(Told, Told, Told); 2]| {
        ends.iter().all(|(before, told, after)| {
            let segments = |told: &Told| (told.segs_out, told.segs_in);
            before == after && segments(told) == segments(before)
        })
    };
    let ends = bench.until("rows of all that passed", look, has_come).await;
    for (by_ss, by_flows, _) in &ends {
        assert_eq!(by_flows, by_ss);
    }
    ends.map(|(by_ss, _, _)| by_ss)
}

fn connect(hosts: &Hosts, listener: &TcpListener, at: SocketAddr) -> (TcpStream, TcpStream) {
    let client = hosts.connect(at).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Sends so many bytes one way, with whoever reads them at work.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    let mut sender = from.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&vec![b'x'; bytes]).unwrap());
    to.read_exact(&mut vec![0; bytes]).unwrap();
    sending.join().unwrap();
}

/// How many packets a host's rules dropped.
fn dropped(hosts: &Hosts, host: usize) -> i64 {
    let output = hosts.command(host, "nft").args(["list", "ruleset"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let counted = text.split("counter packets ").nth(1).expect("a rule that counts");
    counted.split_whitespace().next().unwrap().parse().unwrap()
}

/// Segments that a host's TCP sent again though nothing said that they were lost.
fn loss_probes(hosts: &Hosts, host: usize) -> i64 {
    let output = hosts.command(host, "nstat").args(["-asz", "TcpExtTCPLossProbes"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("TcpExtTCPLossProbes")).expect("nstat knows it");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_losses_both_ways_is_told_as_ss_does() {
    let hosts = Hosts::new();
    hosts.make_each_segment_a_packet();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let rule = "meta length > 200 numgen inc mod 50 0 counter drop;";
    filter(&hosts, 1, "input", &format!("tcp dport {} {rule}", at.port()));
    filter(&hosts, 0, "input", &format!("tcp sport {} {rule}", at.port()));
    let (mut client, mut server) = connect(&hosts, &listener, at);
    pass(&mut client, &mut server, 3_000_000);
    pass(&mut server, &mut client, 2_000_000);
    let told = agree(&bench, &hosts, &client, at).await;
    assert_eq!((told[0].sent_bytes, told[1].sent_bytes), (3_000_000, 2_000_000));
    for (host, told) in told.iter().enumerate() {
        // What the one sent was dropped at the other.
        let dropped = dropped(&hosts, 1 - host);
        let rows = rows_of(&bench, at.port(), host == 0);
        let lost = sum(&rows, |row| {
            if host == 0 { row.client_segments_lost } else { row.server_segments_lost }.unwrap()
        });
        assert!(dropped >= 20, "{dropped} were dropped");
        assert!(told.retransmits >= dropped, "each was sent again: {dropped} dropped, {told:?}");
        assert!(told.bytes_retransmitted > 0 && told.rtt_min_us <= told.rtt_us, "{told:?}");
        // TCP knows of each, but for those that it sent again on suspicion.
        let suspected = loss_probes(&hosts, host);
        assert!(
            lost + suspected >= dropped && lost > 0,
            "{lost} taken for lost, {suspected} suspected, {dropped} dropped"
        );
    }
    assert!(told[0].out_of_order > 0 && told[1].out_of_order > 0, "{told:?}");
    bench.stop().await;
}

/// The slow reader is found at once: each interval says how long it held the sender up.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_told_while_it_lasts() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    setsockopt(&listener, sockopt::RcvBuf, &20_000).unwrap();
    let (mut client, mut server) = connect(&hosts, &listener, at);
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < 64 << 20 {
        match client.write(&[b'x'; 4096]) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let held_up = |rows: &[FlowRow]| sum(rows, |row| row.client_window_limited_us.unwrap());
    let rows = bench
        .until(
            "a client that is held up for seconds",
            |bench| rows_of(bench, at.port(), true),
            |rows| held_up(rows) > 2_500_000,
        )
        .await;
    for row in &rows {
        let length_us = (row.end_time.unwrap() - row.time) / 1000;
        let limited_us = row.client_window_limited_us.unwrap();
        // Ticks are counted, and the socket is read a moment after the interval's end.
        assert!(limited_us < length_us + 300_000, "no longer than it lasted: {row:#?}");
        assert!(row.end_time > Some(row.time), "{row:#?}");
    }
    let whole = rows.iter().filter(|row| row.client_window_limited_us > Some(700_000)).count();
    assert!(whole >= 2, "each interval says so: {rows:#?}");
    client.set_nonblocking(false).unwrap();
    server.read_exact(&mut vec![0; sent]).unwrap();
    let [client_told, server_told] = agree(&bench, &hosts, &client, at).await;
    assert!(client_told.window_limited_ms >= 2_500 && server_told.window_limited_ms == 0, "{client_told:?}");
    let rows = rows_of(&bench, at.port(), true);
    assert_eq!(sum(&rows, |row| row.client_segments_lost.unwrap()), 0, "a window that is full loses nothing");
    bench.stop().await;
}

/// A sender whose buffer holds less than the peer would take waits for each acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_that_is_too_small_is_told_as_ss_does() {
    let hosts = Hosts::new();
    hosts.make_each_segment_a_packet();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let (mut client, mut server) = connect(&hosts, &listener, at);
    setsockopt(&client, sockopt::SndBuf, &2_304).unwrap();
    // A slow link, on which a segment takes a while.
    let slow = "qdisc add dev eth0 root tbf rate 5mbit burst 3000 latency 500ms";
    assert!(hosts.command(0, "tc").args(slow.split(' ')).status().unwrap().success());
    pass(&mut client, &mut server, 200_000);
    let [client_told, server_told] = agree(&bench, &hosts, &client, at).await;
    assert!(client_told.buffer_limited_ms > 0 && client_told.window_limited_ms == 0, "{client_told:?}");
    assert_eq!(server_told.buffer_limited_ms, 0);
    bench.stop().await;
}

/// A kernel without these counters: nothing is made up.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_kernel_does_not_count_is_null() {
    let directory = tempfile::tempdir().unwrap();
    let kernel_types = crate::features::types_without("chrono_stat", directory.path());
    let second = Duration::from_secs(1);
    let config = weir_probe::Config { kernel_types, interval: second, ..weir_probe::Config::default() };
    let bench = Bench::with(config).await;
    let hosts = Hosts::new();
    let (listener, at) = hosts.listen("10.83.0.2");
    let (mut client, mut server) = connect(&hosts, &listener, at);
    pass(&mut client, &mut server, 1000);
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    drop(server);
    let (client_rows, server_rows) = bench.both_ends(at.port()).await;
    for row in client_rows.iter().chain(&server_rows) {
        let counted = [row.client_window_limited_us, row.client_buffer_limited_us, row.client_segments_lost];
        assert_eq!(counted, [None; 3], "{row:#?}");
    }
    assert!(client_rows.iter().all(|row| row.client_bytes_retransmitted == Some(0)), "{client_rows:#?}");
    bench.stop().await;
}
