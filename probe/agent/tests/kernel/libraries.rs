//! The libraries that most programs shake hands with, each against another one's server: what the probe tells of each
//! handshake, at both ends, is what tshark tells of the same packets. `handshakes.py` asks it, and makes JA4 of its fields.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use weir_dissect::tls::names;
use weir_model::TlsHandshakeRow;

use crate::bench::{Bench, Hosts};
use crate::certificates::Reader;
use crate::peers::{Running, go_peers, shop_certificate};
use crate::wire::Capture;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/handshakes.py");
const NAME: &str = "shop.weir.test";

/// A server that ends with the test.
struct Server {
    _running: Option<Running>,
    port: u16,
}

impl Server {
    /// One that says its port at the end of a line.
    fn that_says(command: &mut Command) -> Server {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.rsplit(':').next()?.trim().parse().ok()).expect("it says its port");
        std::thread::spawn(move || lines.for_each(drop));
        Server { _running: Some(Running(child)), port }
    }

    fn openssl(hosts: &Hosts, key: &Path, certificate: &Path) -> Server {
        let mut command = hosts.command(1, "openssl");
        command.args(["s_server", "-accept", "10.83.0.2:0", "-alpn", "http/1.1", "-www"]);
        Server::that_says(command.arg("-cert").arg(certificate).arg("-key").arg(key))
    }

    fn gnutls(hosts: &Hosts, key: &Path, certificate: &Path) -> Server {
        let port = hosts.free_port();
        let mut command = hosts.command(1, "gnutls-serv");
        command.args(["--http", "--disable-client-cert", "--port", &port.to_string()]);
        command.arg("--x509certfile").arg(certificate).arg("--x509keyfile").arg(key);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while hosts.connect(std::net::SocketAddr::from(([10, 83, 0, 2], port))).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "gnutls-serv doesn't listen");
            #[expect(clippy::disallowed_methods, reason = "once at a test's start, while the server starts")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { _running: Some(Running(child)), port }
    }

    fn go(hosts: &Hosts, mode: &str, key: &Path, certificate: &Path) -> Server {
        Server::that_says(
            hosts.command(1, &go_peers().display().to_string()).arg(mode).arg(certificate).arg(key),
        )
    }

    /// rustls in this program: answers so many connections with one HTTP response each.
    fn rustls(hosts: &Hosts, key: &Path, certificate: &Path, connections: usize) -> Server {
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let config = Arc::new(config);
        let (listener, address) = hosts.listen("10.83.0.2");
        std::thread::spawn(move || {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut tls = rustls::Stream::new(&mut session, &mut stream);
                // A client may leave as soon as its handshake is done.
                let mut request = BufReader::new(&mut tls).lines().map_while(Result::ok);
                request.find(String::is_empty);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ngoods";
                let _ = tls.write_all(answer);
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        Server { _running: None, port: address.port() }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client's program, which must end well; what it said.
fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn openssl(hosts: &Hosts, port: u16, options: &[&str]) {
    let mut command = hosts.command(0, "openssl");
    command.args(["s_client", "-connect", &format!("10.83.0.2:{port}"), "-servername", NAME]).args(options);
    assert!(succeeds(&mut command).contains("Server certificate"));
}

fn gnutls(hosts: &Hosts, port: u16, priority: &str) {
    let mut command = hosts.command(0, "gnutls-cli");
    command.args(["--port", &port.to_string(), "--insecure", "--sni-hostname", NAME, "--priority", priority]);
    command.args(["--alpn", "h2", "--alpn", "http/1.1", "10.83.0.2"]);
    assert!(succeeds(&mut command).contains("Handshake was completed"));
}

fn curl(hosts: &Hosts, port: u16) {
    let mut command = hosts.command(0, "curl");
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--output", "/dev/null"]);
    command.args(["--resolve", &format!("{NAME}:{port}:10.83.0.2"), &format!("https://{NAME}:{port}/")]);
    succeeds(&mut command);
}

fn go(hosts: &Hosts, mode: &str, port: u16) {
    succeeds(hosts.command(0, &go_peers().display().to_string()).args([mode, &format!("10.83.0.2:{port}")]));
}

fn rustls(hosts: &Hosts, port: u16) {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Reader(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let client = hosts.on(0, move || {
        let mut stream = std::net::TcpStream::connect(("10.83.0.2", port)).unwrap();
        let mut session =
            rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        tls.write_all(b"GET / HTTP/1.1\r\nHost: shop.weir.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut tls, &mut answer);
        assert!(answer.starts_with("HTTP/1."), "{answer}");
    });
    client.join().unwrap();
}

/// Chromium, which shows what it got; over QUIC where that is asked for.
fn chromium(hosts: &Hosts, port: u16, quic: bool, certificate: &Path) {
    let profile = tempfile::tempdir().unwrap();
    let mut command = hosts.command(0, "chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg("--host-resolver-rules=MAP * 10.83.0.2");
    command.arg(format!("--ignore-certificate-errors-spki-list={}", key_hash(certificate)));
    if quic {
        command.arg(format!("--origin-to-force-quic-on={NAME}:{port}"));
    }
    command.args(["--dump-dom", &format!("https://{NAME}:{port}/")]);
    assert!(succeeds(&mut command).contains("goods"));
}

/// SHA-256 of a certificate's public key, in base64.
fn key_hash(certificate: &Path) -> String {
    let pipe = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der | \
                openssl dgst -sha256 -binary | base64";
    succeeds(Command::new("sh").args(["-c", pipe]).arg(certificate)).trim().to_owned()
}

/// What tshark says of each handshake.
fn told_by_tshark(capture: &Capture, decode: &[String]) -> Vec<Value> {
    let said = succeeds(Command::new("python3").arg(SCRIPT).arg(capture.path()).args(decode));
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_about(row: &TlsHandshakeRow, told: &Value) -> bool {
    let ports = (row.client_port.map(u64::from), row.server_port.map(u64::from));
    ports == (told["client_port"].as_u64(), told["server_port"].as_u64())
}

fn check(row: &TlsHandshakeRow, told: &Value) {
    let number = |field: &str| told[field].as_u64().map(|number| number as u16);
    assert_eq!(row.tls_sni.as_deref(), told["sni"].as_str(), "{told} {row:#?}");
    assert_eq!(row.tls_ja4.as_deref(), told["ja4"].as_str(), "{told} {row:#?}");
    assert_eq!(row.tls_ja3.as_deref(), told["ja3"].as_str(), "{told} {row:#?}");
    assert_eq!(row.tls_ja3s.as_deref(), told["ja3s"].as_str(), "{told} {row:#?}");
    assert_eq!(row.tls_version, number("version").map(names::version), "{told} {row:#?}");
    assert_eq!(row.tls_cipher, number("cipher").map(names::cipher), "{told} {row:#?}");
    assert_eq!(row.tls_group, number("group").map(names::group), "{told} {row:#?}");
    assert_eq!(row.tls_post_quantum, number("group").map(names::is_post_quantum), "{told} {row:#?}");
    let offered = told["alpn_offered"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    assert!(row.tls_alpn_offered.iter().map(weir_model::SmolStr::as_str).eq(offered), "{told} {row:#?}");
    assert_eq!((row.tls_established, &row.failure_reason), (Some(true), &None), "{told} {row:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_library_s_handshake_is_told_as_tshark_tells_it() {
    let hosts = Hosts::new();
    let files = tempfile::tempdir().unwrap();
    let (key, certificate): (PathBuf, PathBuf) = shop_certificate(files.path());
    let bench = Bench::start().await;
    let capture = Capture::start(&hosts, "tcp or udp");
    let of_openssl = Server::openssl(&hosts, &key, &certificate);
    let of_gnutls = Server::gnutls(&hosts, &key, &certificate);
    let of_go = Server::go(&hosts, "tls-server", &key, &certificate);
    let of_rustls = Server::rustls(&hosts, &key, &certificate, 4);
    let of_quic_go = Server::go(&hosts, "quic-server", &key, &certificate);
    let tcp = [&of_openssl, &of_gnutls, &of_go, &of_rustls].map(|server| server.port);

    std::thread::scope(|scope| {
        // A browser takes a while to start.
        scope.spawn(|| chromium(&hosts, of_go.port, false, &certificate));
        scope.spawn(|| chromium(&hosts, of_quic_go.port, true, &certificate));
        for port in tcp {
            openssl(&hosts, port, &["-alpn", "h2,http/1.1"]);
            curl(&hosts, port);
            rustls(&hosts, port);
        }
        for port in &tcp[..3] {
            openssl(&hosts, *port, &["-tls1_2"]);
            gnutls(&hosts, *port, "NORMAL");
        }
        gnutls(&hosts, of_go.port, "NORMAL:-VERS-ALL:+VERS-TLS1.2");
        go(&hosts, "tls-client", of_go.port);
        go(&hosts, "tls-client", of_rustls.port);
        go(&hosts, "quic-client", of_quic_go.port);
    });
    // Each once, but browsers open as many connections as they please.
    let least = 4 * 3 + 3 * 2 + 1 + 2 + 1 + 2;

    let decode: Vec<String> = tcp
        .into_iter()
        .map(|port| format!("tcp.port=={port},tls"))
        .chain([format!("udp.port=={},quic", of_quic_go.port)])
        .collect();
    let told = capture
        .until("each handshake", || {
            Some(told_by_tshark(&capture, &decode)).filter(|told| told.len() >= least)
        })
        .await;
    let ports: Vec<u16> = tcp.into_iter().chain([of_quic_go.port]).collect();
    let rows_of = |bench: &Bench| -> Vec<TlsHandshakeRow> {
        ports.iter().flat_map(|port| bench.handshakes(*port)).collect()
    };
    let rows = bench.until("both ends of each", rows_of, |rows: &Vec<_>| rows.len() >= 2 * told.len()).await;
    assert_eq!(rows.len(), 2 * told.len(), "{told:#?}");
    for one in &told {
        for observer in ["client", "server"] {
            let mut of_end =
                rows.iter().filter(|row| is_about(row, one) && row.observer.as_deref() == Some(observer));
            check(of_end.next().unwrap_or_else(|| panic!("no row of the {observer}'s end: {one}")), one);
            assert_eq!(of_end.next(), None, "{one}");
        }
    }
    // What this is for: hellos that TCP and QUIC carry in more than one piece, and groups of the newest kind.
    let is_post_quantum = |row: &&TlsHandshakeRow| row.tls_post_quantum == Some(true);
    let over = |protocol: &str| {
        rows.iter().filter(is_post_quantum).filter(|row| row.protocol.as_deref() == Some(protocol)).count()
    };
    assert!(
        over("tcp") >= 4 && over("udp") >= 4,
        "Go and Chromium at both ends: {} {}",
        over("tcp"),
        over("udp")
    );
    bench.stop().await;
}
