//! Dropped packets: reasons, places and flows, against what nft's own counters and the ends say.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use weir_model::tables::DropRow;
use weir_model::{FlowRow, Row};
use weir_probe::Config;

use crate::bench::{Bench, Hosts, sum};

const DENIED: Option<&str> = Some("NETFILTER_DROP");

/// Ports that nobody listens on, others in each process.
pub(crate) fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let of_process = (std::process::id() % 400) as u16 * 50;
    10_000 + of_process + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Loads nft rules of one chain on a host.
pub(crate) fn filter(hosts: &Hosts, host: usize, hook: &str, rules: &str) {
    let table =
        format!("table inet weir {{ chain {hook} {{ type filter hook {hook} priority 0; {rules} }}; }}");
    let made = hosts.command(host, "nft").arg(&table).output().expect("nftables is installed");
    assert!(made.status.success(), "{table}: {}", String::from_utf8_lossy(&made.stderr));
}

pub(crate) fn drops(bench: &Bench, port: u16) -> Vec<DropRow> {
    let mut rows: Vec<DropRow> = bench.rows();
    rows.retain(|row| row.server_port == Some(port));
    rows
}

fn packets(rows: &[DropRow]) -> i64 {
    rows.iter().map(|row| row.packets).sum()
}

/// A `connect()` that is given up once its SYN has been sent again (after a second), or soon after that: an ICMP error
/// that comes while the call still holds the socket only counts the second time.
pub(crate) fn try_connect(hosts: &Hosts, to: SocketAddr, ending: &str) -> std::io::Result<TcpStream> {
    let patience = Duration::from_millis(if ending == "timed_out" { 1_200 } else { 20_000 });
    hosts.on(0, move || TcpStream::connect_timeout(&to, patience)).join().unwrap()
}

fn by<'a>(rows: &'a [FlowRow], observer: &str) -> Vec<&'a FlowRow> {
    rows.iter().filter(|row| row.observer.as_deref() == Some(observer)).collect()
}

/// Where a rule stands, what it does, and how the client's connection then ends.
const RULES: [(&str, &str); 3] =
    [("drop", "timed_out"), ("reject", "refused"), ("reject with tcp reset", "refused")];

async fn denied_where_it_leaves(server: &str) {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for (verdict, ending) in RULES {
        let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
        filter(&hosts, 0, "output", &format!("tcp dport {} counter {verdict};", to.port()));
        try_connect(&hosts, to, ending).unwrap_err();
        let look = |bench: &Bench| (bench.flows(to.port()), drops(bench, to.port()));
        let (flows, dropped) =
            bench.until("flow and drop", look, |(flows, drops)| !flows.is_empty() && !drops.is_empty()).await;
        assert_eq!(flows.len(), 1, "one connection, one row: {flows:#?}");
        let flow = &flows[0];
        assert_eq!(flow.observer.as_deref(), Some("client"));
        assert_eq!(flow.close_reason.as_deref(), Some(ending), "{verdict}: {flow:#?}");
        assert_eq!(flow.policy_verdict.as_deref(), Some("dropped"), "{verdict}: {flow:#?}");
        assert_eq!(flow.drop_reason.as_deref(), DENIED);
        assert!(flow.drops >= 1 && flow.client_pid == Some(i64::from(std::process::id())), "{flow:#?}");
        for row in &dropped {
            assert_eq!((row.reason.as_deref(), row.location.as_deref()), (DENIED, Some("netfilter")));
            assert_eq!(row.connection_id, flow.connection_id, "{verdict}: {row:#?}");
            assert_eq!(
                (row.client_ip.as_ref(), row.client_port),
                (flow.client_ip.as_ref(), flow.client_port)
            );
            assert!(row.netns.is_some() && row.bytes >= 40, "{row:#?}");
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_denied_where_it_leaves_says_so_over_ipv4() {
    denied_where_it_leaves("10.83.0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_denied_where_it_leaves_says_so_over_ipv6() {
    denied_where_it_leaves("fd83::2").await;
}

/// The server's node has no socket for it: its row is made of the drop.
async fn denied_where_it_arrives(server: &str) {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for (verdict, ending) in RULES {
        let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
        filter(&hosts, 1, "input", &format!("tcp dport {} counter {verdict};", to.port()));
        try_connect(&hosts, to, ending).unwrap_err();
        let both = |rows: &Vec<FlowRow>| !by(rows, "client").is_empty() && !by(rows, "server").is_empty();
        let flows = bench.until("both ends", |bench| bench.flows(to.port()), both).await;
        let client = by(&flows, "client")[0];
        assert_eq!(client.close_reason.as_deref(), Some(ending), "{verdict}: {client:#?}");
        assert_eq!(client.policy_verdict, None, "the client's host dropped nothing");
        let denied = by(&flows, "server");
        assert!(denied.iter().all(|row| row.connection_id == client.connection_id), "{denied:#?}");
        let server = denied[0];
        assert_eq!(server.policy_verdict.as_deref(), Some("dropped"), "{server:#?}");
        assert_eq!(server.close_reason.as_deref(), Some("denied"));
        assert_eq!(server.drop_reason.as_deref(), DENIED);
        assert_eq!((&server.client_ip, server.client_port), (&client.client_ip, client.client_port));
        assert_eq!((&server.server_ip, server.server_port), (&client.server_ip, client.server_port));
        assert!(server.server_node.is_some() && server.client_node.is_none(), "{server:#?}");
        let dropped = drops(&bench, to.port());
        assert!(dropped.iter().all(|row| row.connection_id == server.connection_id), "{dropped:#?}");
        assert_eq!(packets(&dropped), denied.iter().map(|row| row.drops).sum::<i64>());
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_denied_where_it_arrives_is_a_flow_over_ipv4() {
    denied_where_it_arrives("10.83.0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_denied_where_it_arrives_is_a_flow_over_ipv6() {
    denied_where_it_arrives("fd83::2").await;
}

/// The server's own filter lets the SYN in and its answer not out.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_denied_is_laid_to_the_right_end() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let (_listener, at) = hosts.listen("10.83.0.2");
    filter(&hosts, 1, "output", &format!("tcp sport {} drop;", at.port()));
    try_connect(&hosts, at, "timed_out").unwrap_err();
    let is_told = |rows: &Vec<FlowRow>| !by(rows, "server").is_empty();
    let flows = bench.until("the server's row", |bench| bench.flows(at.port()), is_told).await;
    let server = by(&flows, "server")[0];
    assert_eq!(server.policy_verdict.as_deref(), Some("dropped"));
    assert_eq!(
        (server.client_ip.as_deref(), server.server_ip.as_deref()),
        (Some("10.83.0.1"), Some("10.83.0.2"))
    );
    assert!(server.server_packets >= 1 && server.client_packets == 0, "{server:#?}");
    bench.stop().await;
}

async fn denied_datagrams(client: &'static str, server: &str) {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    for (host, hook, observer) in [(0, "output", "client"), (1, "input", "server")] {
        for verdict in ["drop", "reject"] {
            let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
            filter(&hosts, host, hook, &format!("udp dport {} {verdict};", to.port()));
            let socket = hosts.on(0, move || UdpSocket::bind((client, 0)).unwrap()).join().unwrap();
            for _ in 0..3 {
                // Where the rule stands on the way out, the call itself fails.
                let _ = socket.send_to(b"datagram", to);
            }
            let is_told =
                |rows: &Vec<FlowRow>| by(rows, observer).iter().map(|row| row.drops).sum::<i64>() == 3;
            let flows = bench.until("the denial", |bench| bench.flows(to.port()), is_told).await;
            for row in by(&flows, observer) {
                assert_eq!(row.policy_verdict.as_deref(), Some("dropped"), "{hook} {verdict}: {row:#?}");
                assert_eq!(row.protocol.as_deref(), Some("udp"));
                assert_eq!(row.client_port, Some(socket.local_addr().unwrap().port()));
                assert_eq!((row.client_ip.as_deref(), row.client_bytes), (Some(client), 0));
                let pid = (observer == "client").then_some(i64::from(std::process::id()));
                assert_eq!(row.client_pid, pid, "{hook} {verdict}: {row:#?}");
            }
            let told = drops(&bench, to.port());
            assert_eq!((packets(&told), told[0].protocol.as_deref()), (3, Some("udp")));
            assert_eq!(told[0].bytes, 3 * if client.contains(':') { 56 } else { 36 });
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_datagrams_are_flows_over_ipv4() {
    denied_datagrams("10.83.0.1", "10.83.0.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_datagrams_are_flows_over_ipv6() {
    denied_datagrams("fd83::1", "fd83::2").await;
}

/// A node that only forwards: neither end is its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_router_denies_is_a_flow_on_the_path() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let run = |host, program: &str, arguments: &[&str]| {
        let output = hosts.command(host, program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(0, "ip", &["route", "add", "10.84.0.0/24", "via", "10.83.0.2"]);
    run(0, "ip", &["route", "add", "fd84::/64", "via", "fd83::2"]);
    run(1, "ip", &["link", "add", "next", "type", "veth", "peer", "name", "nowhere"]);
    run(1, "ip", &["address", "add", "10.84.0.1/24", "dev", "next"]);
    run(1, "ip", &["address", "add", "fd84::1/64", "dev", "next", "nodad"]);
    run(1, "ip", &["link", "set", "next", "up"]);
    run(1, "ip", &["link", "set", "nowhere", "up"]);
    run(
        1,
        "sh",
        &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"],
    );
    for server in ["10.84.0.9", "fd84::9"] {
        let to = SocketAddr::new(server.parse::<IpAddr>().unwrap(), unused_port());
        filter(&hosts, 1, "forward", &format!("tcp dport {} reject with tcp reset;", to.port()));
        try_connect(&hosts, to, "refused").unwrap_err();
        let is_told = |rows: &Vec<FlowRow>| !by(rows, "path").is_empty() && !by(rows, "client").is_empty();
        let flows = bench.until("the router's row", |bench| bench.flows(to.port()), is_told).await;
        let row = by(&flows, "path")[0];
        assert_eq!(row.policy_verdict.as_deref(), Some("dropped"));
        assert_eq!(
            (row.server_ip.as_deref(), &row.client_ip),
            (Some(server), &by(&flows, "client")[0].client_ip)
        );
        assert!(row.client_node.is_none() && row.server_node.is_none(), "{row:#?}");
    }
    bench.stop().await;
}

/// A rule that comes while a connection lives: nothing moves at the server any more, yet its row tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_off_by_a_new_rule_tells() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut client = hosts.connect(at).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"before").unwrap();
    server.read_exact(&mut [0; 6]).unwrap();
    bench.until("early rows", |bench| bench.flows(at.port()), |rows| rows.len() >= 2).await;
    filter(&hosts, 1, "input", &format!("tcp dport {} drop;", at.port()));
    client.write_all(b"after").unwrap();
    let is_told = |rows: &Vec<FlowRow>| by(rows, "server").iter().any(|row| row.drops > 0);
    let flows = bench.until("the drops", |bench| bench.flows(at.port()), is_told).await;
    let row = *by(&flows, "server").iter().find(|row| row.drops > 0).unwrap();
    assert_eq!(row.policy_verdict.as_deref(), Some("dropped"), "nothing comes through: {row:#?}");
    assert_eq!(row.connection_id, by(&flows, "client")[0].connection_id);
    assert_eq!(row.state.as_deref(), Some("ongoing"));
    assert!(by(&flows, "client").iter().all(|row| row.drops == 0));
    let told = bench.until("their row", |bench| drops(bench, at.port()), |rows| !rows.is_empty()).await;
    assert!(told.iter().all(|told| told.connection_id == row.connection_id), "{told:#?}");
    assert_eq!(told[0].client_ip.as_deref(), Some("10.83.0.1"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_socket_s_drops_are_counted_exactly() {
    const SENT: i64 = 300;
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let server = hosts.on(1, || UdpSocket::bind("10.83.0.2:0").unwrap()).join().unwrap();
    let client = hosts.on(0, || UdpSocket::bind("10.83.0.1:0").unwrap()).join().unwrap();
    setsockopt(&server, sockopt::RcvBuf, &4096).unwrap();
    let at = server.local_addr().unwrap();
    for _ in 0..SENT {
        client.send_to(&[b'x'; 500], at).unwrap();
    }
    server.set_nonblocking(true).unwrap();
    let kept = std::iter::repeat_with(|| server.recv(&mut [0; 500])).take_while(Result::is_ok).count() as i64;
    assert!(kept > 0 && kept < SENT, "{kept}");
    let look = |bench: &Bench| drops(bench, at.port());
    let rows = bench.until("the drops", look, |rows| packets(rows) == SENT - kept).await;
    for row in &rows {
        assert_eq!(row.reason.as_deref(), Some("SOCKET_RCVBUFF"), "{row:#?}");
        assert!(row.location.as_deref().is_some_and(|location| location.contains("udp")), "{row:#?}");
        assert_eq!(row.bytes, row.packets * 528);
    }
    let flows = bench.flows(at.port());
    let server: Vec<FlowRow> = by(&flows, "server").into_iter().cloned().collect();
    assert_eq!(sum(&server, |row| row.drops), SENT - kept, "{server:#?}");
    assert!(server.iter().all(|row| row.policy_verdict.is_none()), "no rule did it");
    assert!(rows.iter().all(|row| row.connection_id == server[0].connection_id));
    bench.stop().await;
}

/// Segments that tell nothing new, resets, closes: the kernel frees them with a reason, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_works_drops_nothing() {
    let (hosts, bench) = (Hosts::new(), Bench::start().await);
    let (listener, at) = hosts.listen("10.83.0.2");
    for round in 0..40 {
        let mut client = hosts.connect(at).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[b'q'; 16_000]).unwrap();
        server.read_exact(&mut [0; 16_000]).unwrap();
        server.write_all(&[b'a'; 16_000]).unwrap();
        client.read_exact(&mut [0; 16_000]).unwrap();
        if round % 4 == 0 {
            setsockopt(&client, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        }
        if round % 2 == 0 {
            drop(client);
            drop(server);
        } else {
            drop(server);
            drop(client);
        }
    }
    let is_over = |rows: &Vec<FlowRow>| {
        rows.iter().filter(|row| matches!(row.state.as_deref(), Some("only" | "closed"))).count() == 80
    };
    bench.until("all ends", |bench| bench.flows(at.port()), is_over).await;
    let rows = bench.stop_keeping::<DropRow>().await;
    let ours: Vec<_> = rows.into_iter().filter(|row| row.server_port == Some(at.port())).collect();
    assert_eq!(ours, [], "{}", DropRow::table().name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_drop_map_is_counted() {
    let config = Config { drop_entries: 1, interval: Duration::from_secs(1), ..Config::default() };
    let (hosts, bench) = (Hosts::new(), Bench::with(config).await);
    let client = hosts.on(0, || UdpSocket::bind("10.83.0.1:0").unwrap()).join().unwrap();
    filter(&hosts, 1, "input", "udp dport 9 drop;");
    for last in 0..50 {
        let from = hosts.on(0, || UdpSocket::bind("10.83.0.1:0").unwrap()).join().unwrap();
        from.send_to(&[last], "10.83.0.2:9").unwrap();
    }
    bench.until("the counter", |bench| bench.lost("drop_map_full"), |lost| *lost > 0).await;
    drop(client);
    bench.stop().await;
}
