//! Who sends very much, or asks everywhere: the probe goes on, tells each connection that came to be, and makes none up.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use weir_model::FlowRow;
use weir_model::tables::DropRow;

use crate::bench::{Bench, Hosts};

const SYNS: usize = 20_000;
const SCANNED: std::ops::Range<u16> = 20_000..22_000;
/// Who seems to send the flood: nobody has these addresses, and the way to them leads over the client's host.
const SPOOFED: &str = "10.99.0.0/16";

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 2);

fn run(hosts: &Hosts, host: usize, arguments: &[&str]) {
    let output = hosts.command(host, "ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded >> 16) + (folded & 0xffff)) as u16
}

/// A SYN as it leaves an IPv4 host; the kernel fills in what the IP header still lacks.
fn syn(from: Ipv4Addr, from_port: u16, to_port: u16, sequence: u32) -> [u8; 40] {
    let mut packet = [0; 40];
    let (ip, tcp) = packet.split_at_mut(20);
    ip[0] = 0x45;
    (ip[8], ip[9]) = (64, 6);
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&SERVER.octets());
    tcp[0..2].copy_from_slice(&from_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&to_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    (tcp[12], tcp[13]) = (5 << 4, 0x02);
    tcp[14..16].copy_from_slice(&64_240_u16.to_be_bytes());
    let sum = checksum(&[&from.octets(), &SERVER.octets(), &[0, 6, 0, 20], tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Sends SYNs from as many addresses to one port of the server's host.
fn flood(hosts: &Hosts, port: u16) {
    run(hosts, 1, &["route", "add", SPOOFED, "via", &CLIENT.to_string()]);
    let send = move || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        let to = SockaddrIn::new(10, 83, 0, 2, 0);
        for number in 0..SYNS {
            let from = Ipv4Addr::new(10, 99, (number >> 8) as u8, number as u8);
            let packet = syn(from, 1_024 + number as u16 % 50_000, port, number as u32 * 7_919);
            sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
        }
    };
    hosts.on(0, send).join().unwrap();
}

/// A counter of a host's own network stack (`/proc/net/snmp`, `/proc/net/netstat`).
fn counter(hosts: &Hosts, host: usize, file: &str, of: &str, name: &str) -> i64 {
    let path = format!("/proc/thread-self/net/{file}");
    let text = hosts.on(host, move || std::fs::read_to_string(path).unwrap()).join().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(of));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|known| known == name).unwrap();
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

/// Packets that a host dropped for a reason, as far as they were not lost from count.
fn dropped(bench: &Bench, hosts: &Hosts, host: usize, reason: &str) -> i64 {
    let netns = hosts.inode(host) as i64;
    let rows: Vec<DropRow> = bench.rows();
    let ours = rows.iter().filter(|row| row.netns == Some(netns) && row.reason.as_deref() == Some(reason));
    ours.map(|row| row.packets).sum()
}

/// No connection comes to be, and each SYN is a dropped packet, told or counted as lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_syn_flood_to_a_closed_port_is_dropped_packets_and_no_flow() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let port = hosts.free_port();
    flood(&hosts, port);
    let refused = counter(&hosts, 1, "snmp", "Tcp:", "OutRsts");
    assert!(refused > SYNS as i64 / 2, "the flood arrived: {refused}");
    let told = |bench: &Bench| {
        (dropped(bench, &hosts, 1, "NO_SOCKET"), bench.lost("drop_map_full"), bench.lost("drops_folded"))
    };
    let is_all = |(told, lost, _): &(i64, i64, i64)| told + lost >= refused;
    let (told, lost, folded) = bench.until("all SYNs", told, is_all).await;
    assert!(told <= refused, "{told} of {refused}, {lost} lost, {folded} folded");
    let rows = bench.stop().await;
    let ours: Vec<_> = rows.iter().filter(|row| row.server_port == Some(port)).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The queue is full, so that who really connects does so by a cookie: that connection is told as any other, and no other is.
#[tokio::test(flavor = "multi_thread")]
async fn a_syn_flood_to_an_open_port_leaves_only_the_real_connection() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let (listener, at) = hosts.listen("10.83.0.2");
    flood(&hosts, at.port());
    let mut client = hosts.connect(at).unwrap();
    client.write_all(b"question").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; 8]).unwrap();
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    let by_cookie = counter(&hosts, 1, "netstat", "TcpExt:", "SyncookiesRecv");
    assert!(by_cookie >= 1, "the flood filled the queue");
    let of_client = client.local_addr().unwrap().port();
    drop(client);
    drop(server);
    bench.both_ends(at.port()).await;
    let mut rows = bench.stop().await;
    rows.retain(|row| row.server_port == Some(at.port()));
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row.connection_id.clone()).collect();
    assert_eq!(ids.len(), 1, "one connection, one id at both ends: {rows:#?}");
    for observer in ["client", "server"] {
        let ours: Vec<&FlowRow> =
            rows.iter().filter(|row| row.observer.as_deref() == Some(observer)).collect();
        let bytes = |of: fn(&FlowRow) -> i64| ours.iter().map(|row| of(row)).sum::<i64>();
        assert_eq!((bytes(|row| row.client_bytes), bytes(|row| row.server_bytes)), (8, 6), "{ours:#?}");
        assert!(ours.iter().all(|row| row.client_port == Some(of_client)), "{ours:#?}");
        assert_eq!(ours.last().unwrap().close_reason.as_deref(), Some("fin"), "{ours:#?}");
    }
}

/// Each port that was asked is one refused connection, and what its host dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_scan_is_told_port_by_port() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    // An address that no other test asks.
    let [high, low] = ((std::process::id() % 60_000) as u16).to_be_bytes();
    let server = Ipv4Addr::new(10, 85, high, low);
    run(&hosts, 1, &["address", "add", &format!("{server}/32"), "dev", "eth0"]);
    run(&hosts, 0, &["route", "add", &format!("{server}/32"), "via", &SERVER.to_string()]);
    let scan = move || {
        for port in SCANNED {
            let error = TcpStream::connect(SocketAddr::new(server.into(), port)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{port}");
        }
    };
    hosts.on(0, scan).join().unwrap();
    let server = server.to_string();
    let look = |bench: &Bench| {
        let mut rows: Vec<FlowRow> = bench.rows();
        rows.retain(|row| row.server_ip.as_deref() == Some(server.as_str()));
        rows
    };
    let rows = bench.until("a row for each port", look, |rows| rows.len() >= SCANNED.len()).await;
    let told = |bench: &Bench| dropped(bench, &hosts, 1, "NO_SOCKET") + bench.lost("drop_map_full");
    bench.until("what the host dropped", told, |packets| *packets >= SCANNED.len() as i64).await;
    assert!(dropped(&bench, &hosts, 1, "NO_SOCKET") <= SCANNED.len() as i64);
    let mut by_port = BTreeMap::new();
    for row in rows {
        assert_eq!(row.close_reason.as_deref(), Some("refused"), "{row:#?}");
        assert_eq!((row.observer.as_deref(), row.state.as_deref()), (Some("client"), Some("only")));
        assert_eq!(row.client_pid, Some(i64::from(std::process::id())));
        *by_port.entry(row.server_port.unwrap()).or_insert(0) += 1;
    }
    assert!(by_port.keys().copied().eq(SCANNED) && by_port.values().all(|rows| *rows == 1), "{by_port:?}");
    bench.stop().await;
}
