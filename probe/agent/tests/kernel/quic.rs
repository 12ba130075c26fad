//! QUIC by aioquic and DTLS by OpenSSL: what both ends' handshake rows say, and what another tool says of the same packets.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_model::TlsHandshakeRow;

use crate::bench::{Bench, Hosts};
use crate::peers::{Running, shop_certificate};
use crate::wire::Capture;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/quic.py");

/// A server on the server's host, with its certificate.
struct Server {
    _running: Running,
    _files: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// aioquic; with `retry` each client must prove its address first.
    fn quic(hosts: &Hosts, retry: bool) -> Server {
        Server::start(hosts, &python(), |command, key, certificate| {
            command.args([SCRIPT, "server"]).args([certificate, key]);
            if retry {
                command.arg("retry");
            }
        })
    }

    /// `openssl s_server`, which makes each client prove its address first; with `-listen` before it keeps anything of it.
    fn dtls(hosts: &Hosts, options: &[&str]) -> Server {
        Server::start(hosts, Path::new("openssl"), |command, key, certificate| {
            command.args(["s_server", "-dtls1_2", "-accept", "10.83.0.2:0", "-alpn", "webrtc,c-webrtc"]);
            command.args(options).arg("-cert").arg(certificate).arg("-key").arg(key);
        })
    }

    fn start(hosts: &Hosts, program: &Path, arguments: impl Fn(&mut Command, &Path, &Path)) -> Server {
        let files = tempfile::tempdir().unwrap();
        let (key, certificate) = shop_certificate(files.path());
        let mut command = hosts.command(1, &program.display().to_string());
        arguments(&mut command, &key, &certificate);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("aioquic is installed: deploy/setup.sh test");
        // `PORT`, or `ACCEPT 10.83.0.2:PORT` after other things.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.rsplit(':').next()?.trim().parse().ok()).expect("it says its port");
        std::thread::spawn(move || lines.for_each(drop));
        Server { _running: Running(child), _files: files, port }
    }
}

/// Where aioquic is.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/python/bin/python")
}

/// So many connections, one after the other; what the client knows of each.
fn connect(hosts: &Hosts, port: u16, version: &str, connections: usize) -> Vec<Value> {
    let output = hosts
        .command(0, &python().display().to_string())
        .args([SCRIPT, "client", &port.to_string(), version, &connections.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let known: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(known.len(), connections);
    known
}

/// The rows of handshakes of both ends with `port`, of flows that have each of them.
async fn rows_of(bench: &Bench, port: u16, count: usize) -> Vec<TlsHandshakeRow> {
    let rows = bench.until("handshakes", |bench| bench.handshakes(port), |rows| rows.len() >= count).await;
    assert_eq!(rows.len(), count, "{rows:#?}");
    for observer in ["client", "server"] {
        let own = rows.iter().filter(|row| row.observer.as_deref() == Some(observer));
        assert_eq!(own.count(), count / 2, "{rows:#?}");
    }
    for row in &rows {
        assert_eq!(row.protocol.as_deref(), Some("udp"), "{row:#?}");
        assert_eq!(row.client_ip.as_deref(), Some("10.83.0.1"), "{row:#?}");
        assert_eq!(row.tls_sni.as_deref(), Some("shop.weir.test"), "{row:#?}");
        assert_eq!((row.tls_established, &row.failure_reason), (Some(true), &None), "{row:#?}");
        assert!(row.hello_us.is_some() && row.handshake_us >= row.hello_us, "{row:#?}");
    }
    let look = |bench: &Bench| {
        let flows = bench.flows(port);
        let told = |row: &&TlsHandshakeRow| {
            flows.iter().any(|flow| {
                flow.connection_id == row.connection_id
                    && flow.observer == row.observer
                    && flow.encryption.as_deref() == Some("tls")
                    && flow.tls_version == row.tls_version
                    && flow.tls_sni == row.tls_sni
            })
        };
        rows.iter().filter(|row| !told(row)).count()
    };
    bench.until("a flow for each that says what it does", look, |missing| *missing == 0).await;
    rows
}

/// Both ends of QUIC connections, told by the probe, by aioquic and by tshark.
async fn quic_is_seen(version: &str, retry: bool) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::quic(&hosts, retry);
    let capture = Capture::start(&hosts, "udp");
    let known = connect(&hosts, server.port, version, 1).remove(0);
    let rows = rows_of(&bench, server.port, 2).await;
    let decode = format!("udp.port=={},quic", server.port);
    let hello = ["tls.handshake.extensions_server_name", "tls.handshake.ja3", "quic.dcid", "quic.scid"];
    let [sni, ja3, dcid, client_scid] = capture.fields(&decode, "tls.handshake.type == 1", hello).await;
    let answer = ["tls.handshake.ja3s", "quic.scid"];
    let [ja3s, server_scid] = capture.fields(&decode, "tls.handshake.type == 2", answer).await;
    for row in &rows {
        assert_eq!(row.quic_version.as_deref(), Some(version), "{row:#?}");
        assert_eq!(row.tls_version.as_deref(), Some("1.3"), "{row:#?}");
        assert_eq!(row.tls_alpn_offered, ["h3", "hq-interop"], "{row:#?}");
        assert_eq!(row.tls_cipher.as_deref(), known["cipher"].as_str(), "{row:#?}");
        assert_eq!(row.quic_client_scid.as_deref(), known["client_scid"].as_str(), "{row:#?}");
        assert_eq!(row.tls_address_validated, Some(retry), "{row:#?}");
        assert!(row.tls_ja4.as_deref().unwrap().starts_with("q13d"), "{row:#?}");
        assert_eq!(row.tls_sni.as_deref(), Some(&*sni));
        assert_eq!(row.tls_ja3.as_deref(), Some(&*ja3));
        assert_eq!(row.tls_ja3s.as_deref(), Some(&*ja3s));
        assert_eq!(row.quic_client_initial_dcid.as_deref(), Some(&*dcid));
        assert_eq!(row.quic_client_scid.as_deref(), Some(&*client_scid));
        assert_eq!(row.quic_server_scid.as_deref(), Some(&*server_scid));
        let (pid, process) = match row.observer.as_deref() {
            Some("client") => (row.client_pid, &row.client_process),
            _ => (row.server_pid, &row.server_process),
        };
        assert!(
            pid.is_some() && process.as_deref().is_some_and(|name| name.starts_with("python")),
            "{row:#?}"
        );
    }
    assert_eq!(rows[0].tls_ja4, rows[1].tls_ja4, "both ends saw the same bytes");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_handshake_is_seen_at_both_ends() {
    quic_is_seen("1", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_version_2_behind_a_retry_is_seen_at_both_ends() {
    quic_is_seen("2", true).await;
}

/// One socket at the server, each client from a port of its own.
#[tokio::test(flavor = "multi_thread")]
async fn each_quic_connection_has_its_row() {
    const CONNECTIONS: usize = 12;
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::quic(&hosts, false);
    let known = connect(&hosts, server.port, "1", CONNECTIONS);
    let rows = rows_of(&bench, server.port, 2 * CONNECTIONS).await;
    for one in &known {
        let own = rows.iter().filter(|row| row.quic_client_scid.as_deref() == one["client_scid"].as_str());
        assert_eq!(own.count(), 2, "{one}");
    }
    bench.stop().await;
}

/// Both ends of a DTLS connection, told by the probe, by OpenSSL and by tshark.
async fn dtls_is_seen(options: &[&str]) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::dtls(&hosts, options);
    let capture = Capture::start(&hosts, "udp");
    let output = hosts
        .command(0, "openssl")
        .args(["s_client", "-dtls1_2", "-connect", &format!("10.83.0.2:{}", server.port)])
        .args(["-servername", "shop.weir.test", "-alpn", "webrtc"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Protocol  : DTLSv1.2"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows_of(&bench, server.port, 2).await;
    let decode = format!("udp.port=={},dtls", server.port);
    let [ja3] = capture.fields(&decode, "dtls.handshake.type == 1", ["dtls.handshake.ja3"]).await;
    let answer = ["dtls.handshake.ja3s", "dtls.handshake.ciphersuite"];
    let [ja3s, cipher] = capture.fields(&decode, "dtls.handshake.type == 2", answer).await;
    // ECDHE-ECDSA-AES256-GCM-SHA384, as OpenSSL calls it.
    assert!(cipher == "0xc02c" && text.contains("ECDHE-ECDSA-AES256-GCM-SHA384"), "{cipher} {text}");
    for row in &rows {
        assert_eq!(row.tls_version.as_deref(), Some("dtls1.2"), "{row:#?}");
        assert_eq!(row.tls_cipher.as_deref(), Some("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), "{row:#?}");
        assert_eq!(row.tls_alpn.as_deref(), Some("webrtc"), "{row:#?}");
        assert_eq!(row.server_certificate_subject.as_deref(), Some("CN=shop.weir.test"), "{row:#?}");
        assert_eq!(row.tls_address_validated, Some(true), "{row:#?}");
        assert!(row.tls_ja4.as_deref().unwrap().starts_with("dd2d"), "{row:#?}");
        assert_eq!(row.tls_ja3.as_deref(), Some(&*ja3));
        assert_eq!(row.tls_ja3s.as_deref(), Some(&*ja3s));
        let process =
            if row.observer.as_deref() == Some("client") { &row.client_process } else { &row.server_process };
        assert_eq!(process.as_deref(), Some("openssl"), "{row:#?}");
    }
    assert_eq!(rows[0].tls_ja4, rows[1].tls_ja4, "both ends saw the same bytes");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dtls_handshake_is_seen_at_both_ends() {
    dtls_is_seen(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dtls_on_a_socket_that_listens_is_seen_at_both_ends() {
    dtls_is_seen(&["-listen"]).await;
}

/// Nobody answers: the client's end tells what it asked for, once the flow is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_quic_client_that_nobody_answers_is_told() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let silent = hosts.on(1, || std::net::UdpSocket::bind("10.83.0.2:0").unwrap()).join().unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut client = hosts
        .command(0, &python().display().to_string())
        .args([SCRIPT, "client", &port.to_string(), "1", "1"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = bench.until("both ends' rows", |bench| bench.handshakes(port), |rows| rows.len() >= 2).await;
    client.kill().unwrap();
    client.wait().unwrap();
    for row in &told {
        assert_eq!(row.tls_sni.as_deref(), Some("shop.weir.test"), "{row:#?}");
        assert_eq!((&row.tls_version, row.tls_established), (&None, None), "{row:#?}");
        assert_eq!(row.quic_version.as_deref(), Some("1"), "{row:#?}");
    }
    bench.stop().await;
}

/// Datagrams that only look like it: counted as any other, and no handshake.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_handshake_is_none() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let bind = |host, address: &'static str| {
        hosts.on(host, move || std::net::UdpSocket::bind((address, 0)).unwrap()).join().unwrap()
    };
    let (client, server) = (bind(0, "10.83.0.1"), bind(1, "10.83.0.2"));
    let at = server.local_addr().unwrap();
    let mut initial = vec![0x5a; 1_250];
    initial[..7].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8, 9]);
    let mut hello = [0; 60];
    hello[..14].copy_from_slice(&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 1]);
    hello[14..].fill(0xff);
    for datagram in [&initial[..], &hello[..], &initial[..50], b"\x16", b"\xc0\0\0\0\x01 nothing at all", b""]
    {
        client.send_to(datagram, at).unwrap();
        server.recv_from(&mut [0; 2_000]).unwrap();
    }
    let is_over = |rows: &Vec<weir_model::FlowRow>| {
        rows.iter().filter(|row| row.close_reason.as_deref() == Some("idle")).count() >= 2
    };
    let rows = bench.until("the end of both ends", |bench| bench.flows(at.port()), is_over).await;
    assert!(rows.iter().all(|row| row.encryption.as_deref() == Some("unknown")), "{rows:#?}");
    assert_eq!(crate::bench::sum(&rows, |row| row.client_packets), 12, "{rows:#?}");
    assert_eq!(bench.handshakes(at.port()).len(), 0, "{:#?}", bench.handshakes(at.port()));
    bench.stop().await;
}
