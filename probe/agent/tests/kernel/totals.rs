//! Totals of mixed traffic: what flows say of each conversation, at both ends, is what tshark counts on the wire; and what
//! tshark saw is all that the interface counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::SystemTime;

use weir_model::FlowRow;

use crate::bench::{Bench, Hosts};
use crate::peers::{Nginx, curl};
use crate::wire::Capture;

/// Protocol, client and server with their ports.
type Conversation = (String, (String, u16), (String, u16));

/// Bytes and packets of the client, then of the server.
type Counts = [i64; 4];

/// What one observer, or tshark, has of all.
type Conversations = BTreeMap<Conversation, Counts>;

/// Both ends' conversations, tshark's frames and conversations, and what the interface counted before and after a look at them.
type Seen = ([Conversations; 2], Option<(i64, Conversations)>, i64, i64);

/// Packets that an interface sent and received so far.
fn counted(hosts: &Hosts) -> i64 {
    let of = |name: &str| {
        let path = format!("/sys/class/net/eth0/statistics/{name}");
        // What the host's own sysfs shows.
        let output = hosts.command(0, "cat").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    of("rx_packets") + of("tx_packets")
}

/// What tshark saw: all frames, and the conversations with those server ports.
fn by_tshark(capture: &Capture, servers: &[u16]) -> Option<(i64, Conversations)> {
    let fields = ["ip.src", "ipv6.src", "ip.dst", "ipv6.dst"].into_iter().chain([
        "tcp.srcport",
        "udp.srcport",
        "tcp.dstport",
        "udp.dstport",
        "tcp.len",
        "udp.length",
        "tcp.analysis.retransmission",
    ]);
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture.path())
        .args(["-T", "fields", "-E", "separator=,"])
        .args(fields.flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark is installed: deploy/setup.sh test");
    // The last packet may be half written.
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut frames, mut conversations) = (0, Conversations::new());
    for line in text.lines() {
        frames += 1;
        let values: Vec<&str> = line.split(',').collect();
        let either = |index: usize| if values[index].is_empty() { values[index + 1] } else { values[index] };
        let Ok(from_port) = either(4).parse::<u16>() else { continue };
        let from = (either(0).to_owned(), from_port);
        let to = (either(2).to_owned(), either(6).parse().unwrap());
        let is_tcp = !values[8].is_empty();
        let protocol = if is_tcp { "tcp" } else { "udp" }.to_owned();
        // What is sent again (on suspicion: nothing gets lost here) counts once.
        let is_again = !values[10].is_empty();
        let bytes: i64 = match (is_tcp, is_again) {
            (true, true) => 0,
            (true, false) => values[8].parse().unwrap(),
            (false, _) => values[9].parse::<i64>().unwrap() - 8,
        };
        let by_client = servers.contains(&to.1);
        if !by_client && !servers.contains(&from.1) {
            continue;
        }
        let key = if by_client { (protocol, from, to) } else { (protocol, to, from) };
        let counts = conversations.entry(key).or_default();
        let at = if by_client { 0 } else { 2 };
        counts[at] += bytes;
        counts[at + 1] += 1;
    }
    (frames > 0).then_some((frames, conversations))
}

fn by_flows(rows: &[FlowRow], observer: &str, servers: &[u16]) -> Conversations {
    let mut conversations = Conversations::new();
    let is_meant = |row: &&FlowRow| {
        row.observer.as_deref() == Some(observer) && servers.contains(&row.server_port.unwrap_or_default())
    };
    for row in rows.iter().filter(is_meant) {
        let end = |ip: &Option<weir_model::SmolStr>, port: Option<u16>| {
            (ip.as_deref().unwrap().to_owned(), port.unwrap())
        };
        let key = (
            row.protocol.as_deref().unwrap().to_owned(),
            end(&row.client_ip, row.client_port),
            end(&row.server_ip, row.server_port),
        );
        let counts = conversations.entry(key).or_default();
        let more = [row.client_bytes, row.client_packets, row.server_bytes, row.server_packets];
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
    }
    conversations
}

/// A server that echoes, over IPv6, one connection after the other.
fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 10_000];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..read]).unwrap();
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_traffic_is_what_tshark_and_the_interface_count() {
    const DATAGRAMS: usize = 200;
    let hosts = Hosts::new();
    hosts.make_each_segment_a_packet();
    let bench = Bench::start().await;
    let nginx = Nginx::start(&hosts, None, 1_000_000);
    let (listener, wide) = hosts.listen("fd83::2");
    echo(listener);
    let sink = hosts.on(1, || UdpSocket::bind("10.83.0.2:0").unwrap()).join().unwrap();
    let narrow = sink.local_addr().unwrap();
    let servers = [nginx.port, wide.port(), narrow.port()];
    // nginx was asked whether it listens; only when that is over for the server, too, is the wire quiet.
    let is_over = |row: &FlowRow| row.observer.as_deref() == Some("server") && row.close_reason.is_some();
    let look = |bench: &Bench| bench.flows(nginx.port);
    bench.until("the end of the first look", look, |rows| rows.iter().any(is_over)).await;
    let began = Some(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64);
    let (before, capture) = loop {
        let before = counted(&hosts);
        let capture = Capture::start(&hosts, "");
        if counted(&hosts) == before {
            break (before, capture);
        }
    };
    let url = format!("http://10.83.0.2:{}", nginx.port);
    let body = nginx.file("upload", 300_000);
    curl(&hosts, &[&format!("{url}/small"), &format!("{url}/big"), &format!("{url}/small")]);
    curl(&hosts, &["--data-binary", &format!("@{}", body.display()), &format!("{url}/discard")]);
    for size in [1, 1_448, 5_000, 77_777] {
        let mut stream = hosts.connect(wide).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&vec![b'w'; size]).unwrap());
        stream.read_exact(&mut vec![0; size]).unwrap();
        writing.join().unwrap();
    }
    let sender = hosts.on(0, || UdpSocket::bind("10.83.0.1:0").unwrap()).join().unwrap();
    for number in 0..DATAGRAMS {
        sender.send_to(&vec![b'u'; number * 7], narrow).unwrap();
        let (_, from) = sink.recv_from(&mut [0; 2_000]).unwrap();
        if number % 4 == 0 {
            sink.send_to(b"answer", from).unwrap();
            sender.recv(&mut [0; 10]).unwrap();
        }
    }
    let look = |bench: &Bench| {
        let mut rows: Vec<FlowRow> = bench.rows();
        rows.retain(|row| row.opened_time >= began);
        let seen = ["client", "server"].map(|observer| by_flows(&rows, observer, &servers));
        let (before, wire, after) = (counted(&hosts), by_tshark(&capture, &servers), counted(&hosts));
        (seen, wire, before, after)
    };
    let agree = |(seen, wire, earlier, later): &Seen| {
        let Some((frames, wire)) = wire else { return false };
        earlier == later && *frames == earlier - before && seen.iter().all(|seen| seen == wire)
    };
    let ([client, _], wire, ..) = bench.until("the same conversations everywhere", look, agree).await;
    assert_eq!(client.len(), 2 + 4 + 1, "{client:#?}");
    let (_, wire) = wire.unwrap();
    let bytes: i64 = wire.values().map(|counts| counts[0] + counts[2]).sum();
    assert!(bytes > 2 * 84_226 + 1_300_000, "it was a real load: {bytes}");
    bench.stop().await;
}
