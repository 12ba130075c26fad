//! Packets on demand: the same that tcpdump sees on the same filter, no byte of payload, and not more than asked for.
//!
//! The traffic is another process's, since a probe leaves out its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_probe::Config;
use weir_wire::control::{Order, Packet, Report, Reports, Switchboard};

use crate::bench::{Bench, Hosts, collector};
use crate::restart::Place;

const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "not-for-anybody-else";

/// Two TCP services and one of UDP, for both families; each answers a line with 3,000 bytes, and ends the connection.
const SERVER: &str = r#"
import socket, sys, threading
secret = sys.argv[1].encode()
def tcp():
    s = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    def serve():
        while True:
            c, _ = s.accept()
            c.makefile("rb").readline()
            c.sendall((secret * 200)[:3000])
            c.close()
    threading.Thread(target=serve, daemon=True).start()
    return s.getsockname()[1]
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.83.0.2", 0))
    def serve():
        while True:
            data, peer = s.recvfrom(2000)
            s.sendto(data * 2, peer)
    threading.Thread(target=serve, daemon=True).start()
    return s.getsockname()[1]
print(tcp(), tcp(), udp(), flush=True)
sys.stdin.read()
"#;

/// Visits all of them over both families each time that it is told to, and says so.
const CLIENT: &str = r#"
import socket, sys
secret, one, other, udp = sys.argv[1].encode(), *map(int, sys.argv[2:5])
for _ in sys.stdin:
    for port in (one, other):
        for address in ("10.83.0.2", "fd83::2"):
            c = socket.create_connection((address, port))
            c.sendall(secret * 10 + b"\n")
            while c.recv(65536): pass
            c.close()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(3):
        u.sendto(secret, ("10.83.0.2", udp))
        u.recvfrom(2000)
    u.close()
    print("done", flush=True)
"#;

/// The traffic, and its ports.
struct Traffic {
    server: Child,
    client: Child,
    orders: ChildStdin,
    said: BufReader<std::process::ChildStdout>,
    one: u16,
    other: u16,
    udp: u16,
}

impl Traffic {
    fn start(hosts: &Hosts) -> Traffic {
        let start = |host, script: &str, more: &[String]| {
            let mut command = hosts.command(host, "python3");
            command.args(["-c", script, SECRET]).args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut server = start(1, SERVER, &[]);
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut client = start(0, CLIENT, &ports);
        let (orders, said) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
        let [one, other, udp] = [0, 1, 2].map(|index| ports[index].parse().unwrap());
        Traffic { server, client, orders, said, one, other, udp }
    }

    fn go(&mut self) {
        self.orders.write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A tcpdump on the client's interface, whose packets are read from its file.
struct Tcpdump {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Tcpdump {
    fn start(hosts: &Hosts, filter: &str) -> Tcpdump {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command: Command = hosts.command(0, "tcpdump");
        command.args(["-i", "eth0", "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w"]);
        let mut child = command.arg(file.path()).arg(filter).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        // It writes more when it ends, and must find a reader.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Tcpdump { child, file }
    }

    /// Its packets so far, from the IP header on.
    fn packets(&self) -> Vec<Vec<u8>> {
        const ETHERNET: usize = 14;
        let bytes = std::fs::read(self.file.path()).unwrap();
        let mut packets = Vec::new();
        let mut at = 24;
        while let Some(length) = bytes.get(at + 8..at + 12) {
            let length = u32::from_ne_bytes(length.try_into().unwrap()) as usize;
            let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
            let mut packet = frame[ETHERNET..].to_vec();
            // Short frames are padded on the way; the IP header knows.
            packet.truncate(ip_length(&packet));
            packets.push(packet);
            at += 16 + length;
        }
        packets
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn ip_length(packet: &[u8]) -> usize {
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 { field(2) } else { 40 + field(4) }
}

/// Bytes before the payload, as a reader of RFCs counts them.
fn header_length(packet: &[u8]) -> usize {
    let (ip, protocol) =
        if packet[0] >> 4 == 4 { (usize::from(packet[0] & 15) * 4, packet[9]) } else { (40, packet[6]) };
    ip + if protocol == 17 { 8 } else { usize::from(packet[ip + 12] >> 4) * 4 }
}

/// What a capture has reported so far.
struct Seen {
    reports: Reports,
    packets: Vec<(Packet, String)>,
    last: Report,
}

impl Seen {
    /// Begins a capture and returns once it takes packets.
    async fn begin(bench: &Bench, order: Order) -> Seen {
        let mut reports = ask(bench.switchboard(), "bench", order).await;
        let last = reports.next().await.unwrap();
        assert_eq!(last.ended, "");
        Seen { reports, packets: Vec::new(), last }
    }

    async fn next(&mut self) -> bool {
        let Ok(Some(report)) = tokio::time::timeout(PATIENCE, self.reports.next()).await else {
            return false;
        };
        let Report { packets, holders, .. } = &report;
        self.packets
            .extend(packets.iter().map(|packet| (packet.clone(), holders[packet.holder as usize].clone())));
        self.last = Report { packets: Vec::new(), ..report };
        self.last.ended.is_empty()
    }

    /// Reads on until it is so.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Seen) -> bool) {
        let began = Instant::now();
        while !is_it(self) {
            assert!(self.next().await && began.elapsed() < PATIENCE, "{what}: {:?}", self.last);
        }
    }

    async fn read_to_end(&mut self) -> &Report {
        while self.next().await {}
        &self.last
    }
}

/// A probe dials its collector in its own time.
async fn ask(switchboard: &Switchboard, node: &str, order: Order) -> Reports {
    let began = Instant::now();
    loop {
        match switchboard.capture(node, order.clone()) {
            Ok(reports) => return reports,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn order(filter: String) -> Order {
    Order { id: 0, filter, payload: 0, seconds: 60, packets: 10_000, bytes: 10 << 20 }
}

fn sorted(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets.sort();
    packets
}

/// How many TCP connections are over in these packets: both FINs, and the ACK of the second.
fn is_over(packets: &[Vec<u8>], connections: usize) -> bool {
    let flags = |packet: &Vec<u8>| packet[if packet[0] >> 4 == 4 { 20 } else { 40 } + 13];
    let fins = packets.iter().filter(|packet| flags(packet) & 1 != 0).count();
    fins >= 2 * connections && packets.last().is_some_and(|packet| flags(packet) & 1 == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_has_the_packets_that_tcpdump_has_and_no_payload() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let mut traffic = Traffic::start(&hosts);
    let filter = format!("tcp port {}", traffic.one);
    let tcpdump = Tcpdump::start(&hosts, &filter);
    // Of the client's end only: tcpdump stands there, and the server's end is on this machine too.
    let mut seen = Seen::begin(&bench, order(format!("{filter} and netns {}", hosts.inode(0)))).await;
    traffic.go();
    let began = Instant::now();
    while !is_over(&tcpdump.packets(), 2) {
        assert!(began.elapsed() < PATIENCE, "tcpdump sees both connections' end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let theirs = tcpdump.packets();
    seen.until("as many packets", |seen| seen.packets.len() >= theirs.len()).await;

    let wire: usize = theirs.iter().map(Vec::len).sum();
    assert!(wire > 2 * 3_200, "the answers passed: {wire} bytes");
    assert_eq!(seen.packets.iter().map(|(packet, _)| packet.wire_len as usize).sum::<usize>(), wire);
    let headers = theirs.iter().map(|packet| packet[..header_length(packet)].to_vec()).collect();
    let ours = seen.packets.iter().map(|(packet, _)| packet.bytes.to_vec()).collect();
    assert_eq!(sorted(ours), sorted(headers));
    assert!(seen.packets.iter().all(|(packet, _)| !holds(&packet.bytes, SECRET.as_bytes())));

    let sent = seen.packets.iter().filter(|(packet, _)| packet.sent).count();
    assert!(sent > 0 && sent < seen.packets.len(), "both directions");
    let client = format!("pid={} process=python3 ", traffic.client.id());
    let strange: Vec<&String> =
        seen.packets.iter().map(|(_, words)| words).filter(|words| !words.starts_with(&client)).collect();
    assert!(strange.is_empty(), "{client} holds all: {strange:?}");
    assert!(seen.packets[0].1.contains(&format!("netns={}", hosts.inode(0))), "{}", seen.packets[0].1);
    let ordered = seen.packets.windows(2).all(|pair| pair[0].0.time_ns <= pair[1].0.time_ns + 1_000_000);
    assert!(ordered, "times run on");
    assert_eq!((seen.last.matched, seen.last.dropped), (theirs.len() as u64, 0));
    bench.stop().await;
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_is_told_by_process_and_ends_by_role() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let mut traffic = Traffic::start(&hosts);
    // The flow's holder is known from the second packet on: the first makes it known.
    let filter = format!(
        "server port {} and client host 10.83.0.1 and process python3 or udp port {}",
        traffic.other, traffic.udp
    );
    let mut seen = Seen::begin(&bench, order(filter)).await;
    traffic.go();
    // Three datagrams each way, each seen at both ends.
    let udp = |seen: &Seen| seen.packets.iter().filter(|(packet, _)| packet.bytes[9] == 17).count();
    seen.until("all datagrams", |seen| udp(seen) >= 12).await;
    assert_eq!(udp(&seen), 12);
    let (four, six): (Vec<_>, Vec<_>) =
        seen.packets.iter().partition(|(packet, _)| packet.bytes[0] >> 4 == 4);
    assert!(six.is_empty(), "the client's address is the IPv4 one");
    let tcp = four.iter().filter(|(packet, _)| packet.bytes[9] == 6);
    let ports =
        |packet: &Packet| [20, 22].map(|at| u16::from_be_bytes([packet.bytes[at], packet.bytes[at + 1]]));
    assert!(
        tcp.clone().count() > 10 && tcp.clone().all(|(packet, _)| ports(packet).contains(&traffic.other))
    );
    let clients =
        four.iter().filter(|(_, words)| words.contains(&format!("pid={} ", traffic.client.id()))).count();
    let servers =
        four.iter().filter(|(_, words)| words.contains(&format!("pid={} ", traffic.server.id()))).count();
    assert!(clients > 0 && servers > 0, "{clients} {servers}");
    assert!(
        four.iter().filter(|(packet, _)| packet.bytes[9] == 17).all(|(packet, _)| packet.bytes.len() == 28)
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let mut traffic = Traffic::start(&hosts);
    let port = traffic.one;
    let filter = || format!("port {port}");
    let mut packets = Seen::begin(&bench, Order { packets: 5, ..order(filter()) }).await;
    let mut bytes = Seen::begin(&bench, Order { bytes: 200, ..order(filter()) }).await;
    let mut seconds = Seen::begin(&bench, Order { seconds: 1, ..order(filter()) }).await;
    traffic.go();
    assert_eq!(packets.read_to_end().await.ended, "the limit of packets is reached");
    assert_eq!(packets.packets.len(), 5);
    assert_eq!(bytes.read_to_end().await.ended, "the limit of bytes is reached");
    let kept: usize = bytes.packets.iter().map(|(packet, _)| packet.bytes.len()).sum();
    assert!(kept > 100 && kept <= 200, "{kept}");
    assert_eq!(seconds.read_to_end().await.ended, "the time is over");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payload_leaves_a_node_only_where_its_operator_allows_it() {
    let hosts = Hosts::new();
    let mut traffic = Traffic::start(&hosts);
    let asked =
        Order { payload: 25, ..order(format!("tcp src port {} and netns {}", traffic.one, hosts.inode(0))) };

    let bench = Bench::start().await;
    let refusal = ask(bench.switchboard(), "bench", asked.clone()).await.next().await.unwrap();
    assert!(refusal.failed && refusal.ended.contains("--allow-payload-capture"), "{refusal:?}");
    bench.stop().await;

    let allowing = Bench::with(Config { allow_payload_capture: true, ..Config::default() }).await;
    let mut seen = Seen::begin(&allowing, asked).await;
    traffic.go();
    let payload = |packet: &Packet| packet.bytes[header_length(&packet.bytes)..].to_vec();
    let secret = SECRET.as_bytes();
    seen.until("an answer", |seen| seen.packets.iter().any(|(packet, _)| holds(&payload(packet), secret)))
        .await;
    assert!(seen.packets.iter().all(|(packet, _)| payload(packet).len() <= 25), "not more than asked for");
    allowing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_or_matches_nothing_ends_at_once() {
    let bench = Bench::start().await;
    for (filter, failed, word) in [
        ("port https", true, "no port"),
        ("pod 12345678-90ab-cdef-1234-567890abcdef", false, "nothing on this node"),
    ] {
        let mut reports = ask(bench.switchboard(), "bench", order(filter.to_owned())).await;
        let last = reports.next().await.unwrap();
        assert!(last.failed == failed && last.ended.contains(word), "{last:?}");
    }
    bench.stop().await;
}

/// Idle costs nothing: the programs are there only while somebody captures. A process of its own, since other tests load
/// programs too.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_are_gone_when_the_asker_goes() {
    let (keeper, endpoint) = collector().await;
    // Its maps are pinned, as they usually are; in the other tests they are not.
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-probe"));
    command.args(["--collector", &endpoint, "--node", "alone", "--state-dir"]).arg(place.state());
    let mut probe = command.arg("--pin-dir").arg(place.pins()).spawn().unwrap();
    let filter = "process nobody and server port 1".to_owned();
    let mut reports = ask(keeper.switchboard(), "alone", order(filter)).await;
    let usual = packet_programs(probe.id());
    assert_eq!(reports.next().await.unwrap().ended, "");
    assert_eq!(packet_programs(probe.id()), usual + 2);
    drop(reports);
    let began = Instant::now();
    while packet_programs(probe.id()) > usual {
        assert!(began.elapsed() < PATIENCE, "they are taken out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kill(Pid::from_raw(probe.id() as i32), Signal::SIGTERM).unwrap();
    assert!(probe.wait().unwrap().success());
}

/// Programs of the packet hooks' type that a process holds.
fn packet_programs(pid: u32) -> usize {
    const BPF_PROG_TYPE_CGROUP_SKB: &str = "prog_type:\t8\n";
    let fds = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let infos = fds.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    infos.filter(|info| info.contains(BPF_PROG_TYPE_CGROUP_SKB)).count()
}
