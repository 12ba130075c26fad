//! Connections that begin in clear and turn to TLS: what both ends' rows say.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::bench::{Bench, Hosts};
use crate::peers::{Running, shop_certificate};
use crate::tls::told_at_both_ends;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/starttls.py");

/// Serves one connection of a protocol on the server's host.
pub(crate) struct Server {
    _running: Running,
    _files: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(hosts: &Hosts, protocol: &str) -> Server {
        let files = tempfile::tempdir().unwrap();
        let (key, certificate) = shop_certificate(files.path());
        let mut child = hosts
            .command(1, "python3")
            .args([SCRIPT, "server", protocol])
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed: deploy/setup.sh test");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { _running: Running(child), _files: files, port: line.trim().parse().unwrap() }
    }
}

pub(crate) fn s_client(hosts: &Hosts, port: u16, protocol: &str, version: &str) {
    let output = hosts
        .command(0, "openssl")
        .args(["s_client", "-connect", &format!("10.83.0.2:{port}"), "-servername", "shop.weir.test"])
        .args(["-starttls", protocol, version])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Server certificate"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn script(hosts: &Hosts, mode: &str, port: u16) {
    let output = hosts.command(0, "python3").args([SCRIPT, mode, &port.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn both_ends_see(protocol: &str, version: &str, talk: impl Fn(&Hosts, u16)) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts, protocol);
    talk(&hosts, server.port);
    told_at_both_ends(&bench, server.port, version).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_is_seen_in_each_protocol() {
    for protocol in ["smtp", "ftp", "imap", "pop3", "postgres", "mysql", "ldap"] {
        both_ends_see(protocol, "1.3", |hosts, port| s_client(hosts, port, protocol, "-tls1_3")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_to_tls_1_2_is_seen() {
    both_ends_see("smtp", "1.2", |hosts, port| s_client(hosts, port, "smtp", "-tls1_2")).await;
}

/// MySQL's client need not wait for an answer to its request.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_in_the_segment_of_the_request_is_seen() {
    both_ends_see("mysql", "1.3", |hosts, port| script(hosts, "mysql", port)).await;
}

/// What is asked in clear, what asks for TLS, and what is asked behind it; the handshake is none of it.
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_go_on_behind_the_handshake() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts, "smtp");
    script(&hosts, "mail", server.port);
    let look = |bench: &Bench| bench.exchanges(server.port);
    let rows = bench.until("four exchanges at both ends", look, |rows| rows.len() >= 8).await;
    assert_eq!(rows.len(), 8, "{rows:#?}");
    let told_by = |observer: &str| -> Vec<_> {
        let own = rows.iter().filter(|row| row.observer.as_deref() == Some(observer));
        own.map(|row| (row.number, row.request_offset, row.request_bytes, row.ended_by.clone())).collect()
    };
    assert_eq!(told_by("client"), told_by("server"));
    let ended: Vec<_> =
        told_by("client").into_iter().map(|(number, _, _, by)| (number, by.unwrap_or_default())).collect();
    let expected = ["next_request", "upgrade", "next_request", "close"];
    assert_eq!(ended, (1..).map(Some).zip(expected.map(Into::into)).collect::<Vec<_>>());
    for row in &rows {
        assert_eq!(row.application_protocol.as_deref(), Some("smtp"), "{row:#?}");
        // Behind a TLS 1.3 handshake session tickets look like the answer.
        assert_eq!(row.first_byte_us.is_none(), row.number == Some(3), "{row:#?}");
    }
    assert_eq!(rows[2].request_bytes, "STARTTLS\r\n".len() as i64, "{:#?}", rows[2]);
    bench.stop().await;
}

/// A hello whose first segment comes last can't be put together: what came before it was not copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_is_overtaken_is_counted() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts, "smtp");
    // Segments are small, and not put together on their way; the first one of the hello has to be sent again.
    let made = hosts
        .command(0, "ip")
        .args(["link", "set", "eth0", "mtu", "200", "gso_max_segs", "1"])
        .output()
        .expect("iproute2 is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let rule = format!(
        "table inet lossy {{ chain input {{ type filter hook input priority 0; \
         tcp dport {} meta length > 150 numgen inc mod 1000 0 counter drop; }}; }}",
        server.port
    );
    let made = hosts.command(1, "nft").arg(rule).output().expect("nftables is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    s_client(&hosts, server.port, "smtp", "-tls1_3");
    bench.until("the counter", |bench| bench.lost("hellos_overtaken"), |lost| *lost > 0).await;
    let rows = bench
        .until("the client's handshake", |bench| bench.handshakes(server.port), |rows| !rows.is_empty())
        .await;
    assert_eq!(rows[0].observer.as_deref(), Some("client"), "{rows:#?}");
    assert_eq!(rows[0].tls_sni.as_deref(), Some("shop.weir.test"), "{rows:#?}");
    bench.stop().await;
}

/// Not even where a message has a hello in it: only the beginnings of segments are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn mail_in_clear_has_no_handshake() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts, "smtp");
    script(&hosts, "plain", server.port);
    let (client, accepted) = bench.both_ends(server.port).await;
    for flow in [client.last().unwrap(), accepted.last().unwrap()] {
        assert_ne!(flow.encryption.as_deref(), Some("tls"), "{flow:#?}");
        assert_eq!((&flow.tls_sni, &flow.tls_version), (&None, &None));
    }
    let port = server.port;
    let kept = bench.handshakes(port);
    assert_eq!(kept.len(), 0, "{kept:#?}");
    bench.stop().await;
}
