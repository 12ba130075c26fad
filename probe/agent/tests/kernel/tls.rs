//! TLS by OpenSSL's own programs: what both ends' handshake rows say.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use weir_model::TlsHandshakeRow;

use crate::bench::{Bench, Hosts};
use crate::peers::{Running, shop_certificate};

/// `openssl s_server` on the server's host.
struct Server {
    _running: Running,
    files: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn start(hosts: &Hosts) -> Server {
        Server::with(hosts, &[])
    }

    fn with(hosts: &Hosts, options: &[&str]) -> Server {
        let files = tempfile::tempdir().unwrap();
        let (key, certificate) = shop_certificate(files.path());
        let mut child = hosts
            .command(1, "openssl")
            .args(["s_server", "-accept", "10.83.0.2:0", "-alpn", "h2,http/1.1"])
            .args(options)
            .arg("-cert")
            .arg(&certificate)
            .arg("-key")
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says `ACCEPT 10.83.0.2:PORT`.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
            .unwrap();
        let port = at.rsplit(':').next().unwrap().trim().parse().unwrap();
        Server { _running: Running(child), files, port }
    }

    /// What the client shows, too.
    fn own_certificate(&self) -> [String; 4] {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        ["-cert".to_owned(), path("cert.pem"), "-key".to_owned(), path("key.pem")]
    }
}

/// One handshake of `openssl s_client`, which then ends.
fn handshake(hosts: &Hosts, port: u16, options: &[&str]) {
    let output = hosts
        .command(0, "openssl")
        .args(["s_client", "-connect", &format!("10.83.0.2:{port}"), "-servername", "shop.weir.test"])
        .args(["-alpn", "h2,http/1.1"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Server certificate"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// What both ends must tell of the one handshake on that port, however it began; their rows.
pub(crate) async fn told_at_both_ends(bench: &Bench, port: u16, version: &str) -> Vec<TlsHandshakeRow> {
    let rows = bench.until("two handshakes", |bench| bench.handshakes(port), |rows| rows.len() >= 2).await;
    assert_eq!(rows.len(), 2, "one an end: {rows:#?}");
    for row in &rows {
        assert_eq!(row.tls_sni.as_deref(), Some("shop.weir.test"), "{row:#?}");
        assert_eq!(row.tls_version.as_deref(), Some(version), "{row:#?}");
        assert_eq!(row.tls_established, Some(true), "{row:#?}");
        assert!(row.tls_ja3.is_some() && row.tls_ja3s.is_some() && row.tls_cipher.is_some(), "{row:#?}");
        assert!(row.tls_ja4.is_some(), "{row:#?}");
    }
    assert_eq!(rows[0].tls_ja4, rows[1].tls_ja4, "both ends saw the same bytes");
    let (client, accepted) = bench.both_ends(port).await;
    for flow in [client.last().unwrap(), accepted.last().unwrap()] {
        assert_eq!(flow.encryption.as_deref(), Some("tls"), "{flow:#?}");
        assert_eq!(flow.tls_sni.as_deref(), Some("shop.weir.test"));
        assert_eq!(flow.tls_version.as_deref(), Some(version));
        assert!(rows.iter().all(|row| row.connection_id == flow.connection_id), "{flow:#?}");
    }
    rows
}

async fn both_ends_see(options: &[&str], check: impl Fn(&TlsHandshakeRow), version: &str) {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts);
    handshake(&hosts, server.port, options);
    for row in told_at_both_ends(&bench, server.port, version).await {
        assert_eq!(row.tls_alpn_offered, ["h2", "http/1.1"]);
        assert!(row.hello_us.is_some() && row.handshake_us >= row.hello_us, "{row:#?}");
        check(&row);
    }
    let (client, accepted) = bench.both_ends(server.port).await;
    assert_eq!(client[0].client_process.as_deref(), Some("openssl"));
    assert_eq!(accepted[0].server_process.as_deref(), Some("openssl"));
    assert_ne!(client[0].client_pid, accepted[0].server_pid, "two processes");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_1_3_handshake_is_seen_at_both_ends() {
    let check = |row: &TlsHandshakeRow| {
        assert!(row.tls_ja4.as_deref().unwrap().starts_with("t13d"), "{row:#?}");
    };
    both_ends_see(&["-tls1_3"], check, "1.3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_1_2_handshake_shows_its_certificate() {
    let check = |row: &TlsHandshakeRow| {
        assert!(row.tls_ja4.as_deref().unwrap().starts_with("t12d"), "{row:#?}");
        assert!(row.server_certificate_sha256.is_some(), "{row:#?}");
        assert!(
            row.server_certificate_subject.as_deref().is_some_and(|name| name.contains("CN=")),
            "{row:#?}"
        );
        assert_eq!(row.server_certificate_self_signed, Some(true), "{row:#?}");
        assert!(row.server_certificate_not_after > row.server_certificate_not_before, "{row:#?}");
        assert_eq!(row.tls_alpn.as_deref(), Some("h2"), "{row:#?}");
    };
    both_ends_see(&["-tls1_2"], check, "1.2").await;
}

/// By the length of what the client sends first where it is encrypted.
#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_is_told_from_other_tls() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let versions = [
        ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ];
    for (server_options, shows, expected) in [
        (&[][..], true, (Some(false), Some(false), "tls")),
        (&["-verify", "1"], false, (Some(true), Some(false), "tls")),
        (&["-Verify", "1"], true, (Some(true), Some(true), "mtls")),
    ] {
        for version in versions {
            let server = Server::with(&hosts, server_options);
            let certificate = server.own_certificate();
            let mut options = version.to_vec();
            if shows {
                options.extend(certificate.iter().map(String::as_str));
            }
            handshake(&hosts, server.port, &options);
            let look = |bench: &Bench| bench.handshakes(server.port);
            let rows = bench.until("two handshakes", look, |rows| rows.len() >= 2).await;
            let by = if version[0] == "-tls1_3" { "record_length" } else { "message" };
            let (requested, sent, encryption) = expected;
            for row in &rows {
                assert_eq!(row.tls_client_certificate_requested, requested, "{version:?} {row:#?}");
                assert_eq!(row.tls_client_certificate_sent, sent, "{version:?} {row:#?}");
                // The server's library may have been seen to read it, see `certificates.rs`.
                let by_library = row.certificate_source.as_deref() == Some("library")
                    && row.observer.as_deref() == Some("server");
                let by = if by_library { "library" } else { by };
                assert_eq!(row.tls_client_certificate_known_by.as_deref(), Some(by), "{version:?} {row:#?}");
                let is_seen = row.client_certificate_subject.is_some();
                assert_eq!(is_seen, sent == Some(true) && by != "record_length", "{version:?} {row:#?}");
            }
            let (client, accepted) = bench.both_ends(server.port).await;
            for flow in [client.last().unwrap(), accepted.last().unwrap()] {
                assert_eq!(flow.encryption.as_deref(), Some(encryption), "{version:?} {flow:#?}");
            }
        }
    }
    bench.stop().await;
}

/// Handshakes while the server's host drops packets that `matches` says, of the client's to the server.
async fn both_ends_agree_although_lost(matches: &str) {
    const HANDSHAKES: usize = 6;
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let server = Server::start(&hosts);
    let rule = format!(
        "table inet lossy {{ chain input {{ type filter hook input priority 0; \
         tcp dport {} {matches} counter drop; }}; }}",
        server.port
    );
    let made = hosts.command(1, "nft").arg(rule).output().expect("nftables is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for _ in 0..HANDSHAKES {
        handshake(&hosts, server.port, &["-tls1_3"]);
    }
    let rules = hosts.command(1, "nft").args(["list", "table", "inet", "lossy"]).output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("counter packets") && !rules.contains("counter packets 0 "), "none lost: {rules}");

    let look = |bench: &Bench| bench.handshakes(server.port);
    let rows = bench.until("every handshake at both ends", look, |rows| rows.len() >= 2 * HANDSHAKES).await;
    assert_eq!(rows.len(), 2 * HANDSHAKES);
    for row in &rows {
        assert_eq!(row.failure_reason, None, "{row:#?}");
        assert_eq!(row.tls_established, Some(true), "{row:#?}");
        assert_eq!(row.tls_sni.as_deref(), Some("shop.weir.test"), "{row:#?}");
    }
    // Not asked: `handshakes_given_up`, which counts the whole machine's. Each row above is whole.
    bench.stop().await;
}

/// A lost segment comes again after those that it was sent before; both ends must still tell the same handshake. Here
/// each second of the client's larger packets is lost, so its Finished, but not the close that follows at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_whose_segments_overtook_each_other_is_whole_at_both_ends() {
    both_ends_agree_although_lost("meta length > 100 numgen inc mod 2 1").await;
}

/// Without the ACK that ends TCP's handshake, the ClientHello reaches the listener and makes the socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_makes_its_own_socket_is_seen_at_both_ends() {
    both_ends_agree_although_lost("tcp flags & (fin|syn|rst|psh|ack) == ack meta length < 80").await;
}
