//! DNS by dig and dnsmasq: what both ends' rows say of each exchange, and the names that flows get from it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use weir_model::DnsRow;

use crate::bench::{Bench, Hosts};

/// dnsmasq on the server's host, on both of its addresses.
struct Server {
    child: Child,
}

impl Server {
    fn start(hosts: &Hosts) -> Server {
        let long = ["x", "y", "z", "v", "w", "u"].map(|letter| letter.repeat(250)).join(",");
        let mut child = hosts
            .command(1, "dnsmasq")
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="])
            .args([
                "--user=root",
                "--bind-interfaces",
                "--listen-address=10.83.0.2,fd83::2",
                "--edns-packet-max=1232",
            ])
            .args([
                "--local=/weir.test/",
                "--local-ttl=300",
                "--host-record=edge.weir.test,10.83.0.2,fd83::2",
            ])
            .args([
                "--cname=www.weir.test,edge.weir.test",
                "--cname=shop.weir.test,edge.weir.test",
                "--server=/dead.test/10.83.0.1#5398",
            ])
            .arg(format!("--txt-record=long.weir.test,{long}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("dnsmasq is installed: deploy/setup.sh test");
        // It says `started` when its sockets are there, and goes on talking.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("started")), "dnsmasq ended");
        std::thread::spawn(move || lines.for_each(drop));
        Server { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dig(hosts: &Hosts, arguments: &[&str]) {
    let output =
        hosts.command(0, "dig").args(arguments).output().expect("dig is installed: deploy/setup.sh test");
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The rows of a name that both ends told.
async fn told(bench: &Bench, name: &str, count: usize) -> Vec<DnsRow> {
    let rows_of = |bench: &Bench| {
        let mut rows: Vec<DnsRow> = bench.rows();
        rows.retain(|row| row.question.as_deref() == Some(name));
        rows
    };
    let rows = bench.until("rows of both ends", rows_of, |rows| rows.len() >= count).await;
    assert_eq!(rows.len(), count, "{rows:#?}");
    for row in &rows {
        let process =
            if row.observer.as_deref() == Some("client") { &row.client_process } else { &row.server_process };
        // A server that never answered has no process that sent.
        if row.response_code.is_some() {
            let expected = if row.observer.as_deref() == Some("client") { "dig" } else { "dnsmasq" };
            assert!(
                process.as_deref().is_some_and(|process| process == expected || process == "isc-net-0000"),
                "{row:#?}"
            );
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_tell_each_question_and_its_answer() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let _server = Server::start(&hosts);
    for server in ["@10.83.0.2", "@fd83::2"] {
        dig(&hosts, &[server, "www.weir.test", "A", "+tries=1"]);
        dig(&hosts, &[server, "edge.weir.test", "AAAA", "+tries=1"]);
        dig(&hosts, &[server, "none.weir.test", "A", "+tries=1"]);
        dig(&hosts, &[server, "elsewhere.example", "A", "+tries=1"]);
        dig(&hosts, &[server, "long.weir.test", "TXT", "+tries=1"]);
    }
    dig(&hosts, &["@10.83.0.2", "slow.dead.test", "+tries=1", "+time=1"]);
    for row in told(&bench, "www.weir.test", 4).await {
        assert_eq!(row.answers, ["edge.weir.test", "10.83.0.2"], "{row:#?}");
        assert_eq!((row.response_code.as_deref(), row.authoritative), (Some("NOERROR"), Some(true)));
        assert!(row.latency_us.is_some(), "{row:#?}");
    }
    for row in told(&bench, "edge.weir.test", 4).await {
        assert_eq!((row.question_type.as_deref(), &row.answers[..]), (Some("AAAA"), &["fd83::2".into()][..]));
    }
    for row in told(&bench, "none.weir.test", 4).await {
        assert_eq!(row.response_code.as_deref(), Some("NXDOMAIN"), "{row:#?}");
    }
    for row in told(&bench, "elsewhere.example", 4).await {
        assert_eq!(row.response_code.as_deref(), Some("REFUSED"), "{row:#?}");
    }
    // Truncated over UDP, whole over TCP.
    let long = told(&bench, "long.weir.test", 8).await;
    let over = |protocol: &str| {
        long.iter().filter(|row| row.protocol.as_deref() == Some(protocol)).collect::<Vec<_>>()
    };
    assert!(over("udp").len() == 4 && over("udp").iter().all(|row| row.truncated == Some(true)), "{long:#?}");
    assert!(
        over("tcp").len() == 4 && over("tcp").iter().all(|row| row.answer_bytes > Some(1500)),
        "{long:#?}"
    );
    let silent = told(&bench, "slow.dead.test", 2).await;
    assert!(silent.iter().all(|row| row.response_code.is_none() && row.latency_us.is_none()), "{silent:#?}");
    // Each is on a connection that flows have.
    let all: Vec<DnsRow> = bench.rows();
    let asked =
        all.iter().filter(|row| row.question.as_deref().is_some_and(|name| name.ends_with("weir.test")));
    let ids: Vec<_> = asked.map(|row| row.connection_id.clone()).collect();
    let look = |bench: &Bench| {
        let flows = bench.flows(53);
        ids.iter().filter(|id| !flows.iter().any(|flow| flow.connection_id == **id)).count()
    };
    bench.until("the flow of each question", look, |missing| *missing == 0).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_named_by_what_its_host_had_resolved() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let _server = Server::start(&hosts);
    let (listener, at) = hosts.listen("10.83.0.2");
    // Not resolved yet: no name.
    drop(hosts.connect(at).unwrap());
    drop(listener.accept().unwrap());
    dig(&hosts, &["@10.83.0.2", "shop.weir.test", "A", "+tries=1"]);
    drop(hosts.connect(at).unwrap());
    drop(listener.accept().unwrap());
    let rows = bench
        .until("both connections at both ends", |bench| bench.flows(at.port()), |rows| rows.len() >= 4)
        .await;
    let (mut client, server): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.observer.as_deref() == Some("client"));
    client.sort_by_key(|row| row.opened_time);
    let names: Vec<_> = client.iter().map(|row| row.server_name.as_deref()).collect();
    assert_eq!(names, [None, Some("shop.weir.test")], "{client:#?}");
    assert!(server.iter().all(|row| row.server_name.is_none()), "nobody asked on the server's host");
    bench.stop().await;
}
