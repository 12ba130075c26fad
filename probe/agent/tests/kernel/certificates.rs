//! Certificates of TLS 1.3, which the wire has encrypted: real libraries' programs on real files, at both ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_model::{FlowRow, ProbeHealthRow, TlsHandshakeRow};
use weir_probe::{Config, FeatureState, try_features};

use crate::bench::{Bench, Hosts};
use crate::peers::Running;
use crate::starttls;

/// Two self-signed certificates, the server's and the client's, with their keys.
pub(crate) struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    pub(crate) fn make() -> Files {
        let files = Files { directory: tempfile::tempdir().unwrap() };
        for (name, key) in [("server", "rsa:2048"), ("client", "ec")] {
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", key]);
            if key == "ec" {
                command.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
            }
            let made = command
                .args(["-subj", &format!("/CN={name}.weir.test")])
                .args(["-addext", &format!("subjectAltName=DNS:{name}.weir.test,IP:10.83.0.2"), "-keyout"])
                .arg(files.path(&format!("{name}.key")))
                .arg("-out")
                .arg(files.path(&format!("{name}.pem")))
                .output()
                .expect("openssl is installed");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Copies of OpenSSL's libraries, as another container has its own; the setting that has a program use them.
    pub(crate) fn own_libraries(&self) -> (&'static str, PathBuf) {
        for name in ["libssl.so.3", "libcrypto.so.3"] {
            std::fs::copy(Path::new("/usr/lib/x86_64-linux-gnu").join(name), self.path(name)).unwrap();
        }
        ("LD_LIBRARY_PATH", self.directory.path().to_owned())
    }

    /// SHA-256 of a certificate's DER, by openssl.
    pub(crate) fn sha256(&self, name: &str) -> String {
        let told = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(self.path(name))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        told.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase()
    }
}

/// A server that ends with the test.
pub(crate) struct Server {
    running: Running,
    pub(crate) port: u16,
}

impl Server {
    /// One that says where it listens, on a line that ends in `:PORT` behind `word`.
    fn that_says(word: &str, command: &mut Command) -> Server {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.into_iter().find_map(|line| line.strip_prefix(word).map(str::to_owned)).unwrap();
        let port = said.rsplit(':').next().unwrap().trim().parse().unwrap();
        Server { running: Running(child), port }
    }

    pub(crate) fn openssl(hosts: &Hosts, files: &Files, options: &[&str]) -> Server {
        Server::openssl_of(hosts, files, None, options)
    }

    /// The same with a setting in its environment.
    pub(crate) fn openssl_of(
        hosts: &Hosts,
        files: &Files,
        setting: Option<(&str, &Path)>,
        options: &[&str],
    ) -> Server {
        let mut command = hosts.command(1, "openssl");
        command.envs(setting);
        command.args(["s_server", "-accept", "10.83.0.2:0", "-tls1_3", "-cert", &files.text("server.pem")]);
        command.args(["-key", &files.text("server.key")]).args(options);
        Server::that_says("ACCEPT ", &mut command)
    }

    /// One that doesn't say: asked until it answers.
    fn that_answers(hosts: &Hosts, port: u16, command: &mut Command) -> Server {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Server { running: Running(child), port };
        let began = Instant::now();
        while hosts.connect(std::net::SocketAddr::from(([10, 83, 0, 2], port))).is_err() {
            assert!(server.running.0.try_wait().unwrap().is_none(), "it ended");
            assert!(began.elapsed() < Duration::from_secs(20), "it doesn't listen");
            #[expect(clippy::disallowed_methods, reason = "once at a test's start, while the server starts")]
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// `openssl s_client` on the client's host.
pub(crate) fn openssl(hosts: &Hosts, port: u16, options: &[&str]) {
    openssl_of(hosts, port, None, options);
}

/// The same with a setting in its environment.
pub(crate) fn openssl_of(hosts: &Hosts, port: u16, setting: Option<(&str, &Path)>, options: &[&str]) {
    let mut command = hosts.command(0, "openssl");
    command.envs(setting);
    command.args(["s_client", "-connect", &format!("10.83.0.2:{port}"), "-servername", "server.weir.test"]);
    let said = succeeded(&command.args(options).stdin(Stdio::null()).output().unwrap());
    assert!(said.contains("Server certificate"), "{said}");
}

/// A probe that has the machine's own libraries.
async fn bench() -> Bench {
    let bench = Bench::start().await;
    // OpenSSL's and GnuTLS's.
    bench.until("probes on libraries", |bench| probes(&bench.rows()), |probes| *probes >= 2).await;
    bench
}

/// How many functions are probed.
pub(crate) fn probes(rows: &[ProbeHealthRow]) -> i64 {
    let gauges = rows.iter().filter(|row| row.counter.as_deref() == Some("library_probes"));
    gauges.map(|row| row.value).max().unwrap_or(0)
}

/// Handshakes of both ends, `(client's, server's)`, once there are so many of each.
async fn handshakes(bench: &Bench, port: u16, count: usize) -> [Vec<TlsHandshakeRow>; 2] {
    let look = |bench: &Bench| {
        let rows = bench.handshakes(port);
        ["client", "server"].map(|end| {
            let of_end = rows.iter().filter(|row| row.observer.as_deref() == Some(end));
            of_end.cloned().collect::<Vec<_>>()
        })
    };
    bench.until("handshakes", look, |ends| ends.iter().all(|rows| rows.len() >= count)).await
}

fn check_server_certificate(row: &TlsHandshakeRow, files: &Files) {
    assert_eq!(row.tls_version.as_deref(), Some("1.3"));
    assert_eq!(row.server_certificate_sha256.as_deref(), Some(&files.sha256("server.pem")[..]), "{row:#?}");
    assert_eq!(row.certificate_source.as_deref(), Some("library"));
    assert_eq!(row.server_certificate_subject.as_deref(), Some("CN=server.weir.test"));
    assert_eq!(row.server_certificate_key.as_deref(), Some("rsa-2048"));
}

/// What a server learns of its client, and what the client's own row says about that.
fn check_mutual(ends: &[Vec<TlsHandshakeRow>; 2], server: &Files, client: &Files) {
    let [clients, servers] = ends;
    for row in clients {
        check_server_certificate(row, server);
        assert_eq!(row.client_certificate_sha256, None, "a client's library reads the server's only");
        assert_eq!(row.tls_client_certificate_known_by.as_deref(), Some("record_length"), "{row:#?}");
    }
    for row in servers {
        assert_eq!(
            row.client_certificate_sha256.as_deref(),
            Some(&client.sha256("client.pem")[..]),
            "{row:#?}"
        );
        assert_eq!(row.client_certificate_key.as_deref(), Some("ec-p256"));
        assert_eq!(row.certificate_source.as_deref(), Some("library"));
        assert_eq!(row.server_certificate_sha256, None, "a server's library reads the client's only");
        assert_eq!(row.tls_client_certificate_known_by.as_deref(), Some("library"));
        assert_eq!(row.tls_client_certificate_requested, Some(true));
        assert_eq!(row.tls_established, Some(true));
    }
}

fn check_not_mutual(ends: &[Vec<TlsHandshakeRow>; 2], files: &Files) {
    for row in &ends[0] {
        check_server_certificate(row, files);
    }
    for row in ends.iter().flatten() {
        assert_eq!(
            (row.tls_client_certificate_sent, row.client_certificate_sha256.as_deref()),
            (Some(false), None)
        );
        assert_eq!(row.tls_client_certificate_requested, Some(false), "{row:#?}");
    }
    for row in &ends[1] {
        assert_eq!(
            (row.server_certificate_sha256.as_deref(), row.certificate_source.as_deref()),
            (None, None)
        );
    }
}

async fn flows_say(bench: &Bench, port: u16, encryption: &str) {
    let (client, server) = bench.both_ends(port).await;
    let last: [&FlowRow; 2] = [client.last().unwrap(), server.last().unwrap()];
    for flow in last {
        assert_eq!(flow.encryption.as_deref(), Some(encryption), "{flow:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_s_certificates_are_read_where_it_reads_them() {
    let (hosts, files, bench) = (Hosts::new(), Files::make(), bench().await);
    let server = Server::openssl(&hosts, &files, &[]);
    openssl(&hosts, server.port, &[]);
    check_not_mutual(&handshakes(&bench, server.port, 1).await, &files);
    flows_say(&bench, server.port, "tls").await;

    let server = Server::openssl(&hosts, &files, &["-Verify", "1", "-CAfile", &files.text("client.pem")]);
    let own = ["-cert", &files.text("client.pem"), "-key", &files.text("client.key")];
    openssl(&hosts, server.port, &own);
    check_mutual(&handshakes(&bench, server.port, 1).await, &files, &files);
    flows_say(&bench, server.port, "mtls").await;

    // Asked, and nothing shown.
    let server = Server::openssl(&hosts, &files, &["-verify", "1"]);
    openssl(&hosts, server.port, &[]);
    let [clients, servers] = handshakes(&bench, server.port, 1).await;
    for row in clients.iter().chain(&servers) {
        assert_eq!(
            (row.tls_client_certificate_requested, row.tls_client_certificate_sent),
            (Some(true), Some(false))
        );
    }
    bench.stop().await;
}

/// Each proxy and service mesh speaks to many at once, on one thread: whose certificate is whose?
#[tokio::test(flavor = "multi_thread")]
async fn of_many_handshakes_at_once_each_has_its_own_certificate() {
    const CLIENTS: usize = 40;
    let (hosts, bench) = (Hosts::new(), bench().await);
    let servers: Vec<(Files, Server)> = (0..4)
        .map(|_| {
            let files = Files::make();
            let server = python_server(&hosts, &files);
            (files, server)
        })
        .collect();
    let ports: Vec<String> = servers.iter().map(|(_, server)| server.port.to_string()).collect();
    let source = format!(
        "import asyncio, ssl, sys\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n\
         context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n\
         context.load_cert_chain(sys.argv[1], sys.argv[2])\n\
         async def one(port):\n\
         \x20   reader, writer = await asyncio.open_connection('10.83.0.2', port, ssl=context)\n\
         \x20   await reader.read(1)\n\
         \x20   writer.close()\n\
         async def all():\n\
         \x20   await asyncio.gather(*[one(int(port)) for port in sys.argv[3:] for _ in range({})])\n\
         asyncio.run(all())\n",
        CLIENTS / servers.len()
    );
    let (certificate, key) = (servers[0].0.text("client.pem"), servers[0].0.text("client.key"));
    let mut client = hosts.command(0, "python3");
    client.args(["-c", &source, &certificate, &key]).args(&ports);
    succeeded(&client.output().unwrap());
    for (files, server) in &servers {
        let [clients, accepted] = handshakes(&bench, server.port, CLIENTS / servers.len()).await;
        for row in &clients {
            check_server_certificate(row, files);
        }
        for row in accepted {
            let expected = servers[0].0.sha256("client.pem");
            assert_eq!(row.client_certificate_sha256.as_deref(), Some(&expected[..]), "{row:#?}");
        }
    }
    bench.stop().await;
}

/// Asks for a client's certificate and takes any; says a byte, and waits for the client's end.
fn python_server(hosts: &Hosts, files: &Files) -> Server {
    let source = "import asyncio, ssl, sys\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
        context.load_cert_chain(sys.argv[1], sys.argv[2])\n\
        context.load_verify_locations(sys.argv[3])\n\
        context.verify_mode = ssl.CERT_OPTIONAL\n\
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN\n\
        async def serve(reader, writer):\n\
        \x20   writer.write(b'x')\n\
        \x20   await reader.read(1)\n\
        \x20   writer.close()\n\
        async def main():\n\
        \x20   server = await asyncio.start_server(serve, '10.83.0.2', 0, ssl=context, backlog=100)\n\
        \x20   print('AT :%d' % server.sockets[0].getsockname()[1], flush=True)\n\
        \x20   await server.serve_forever()\n\
        asyncio.run(main())\n";
    let mut command = hosts.command(1, "python3");
    let paths = [files.text("server.pem"), files.text("server.key"), files.text("client.pem")];
    Server::that_says("AT ", command.args(["-c", source]).args(paths))
}

#[tokio::test(flavor = "multi_thread")]
async fn gnutls_s_certificates_are_read_where_it_reads_them() {
    let (hosts, files, bench) = (Hosts::new(), Files::make(), bench().await);
    let own = ["--x509certfile", &files.text("client.pem"), "--x509keyfile", &files.text("client.key")];
    for (asks, options) in [(false, &[][..]), (true, &own[..])] {
        let port = hosts.free_port();
        let mut command = hosts.command(1, "gnutls-serv");
        command.args(["--echo", "--port", &port.to_string(), "--x509certfile", &files.text("server.pem")]);
        command.args(["--x509keyfile", &files.text("server.key")]);
        if asks {
            command.args(["--require-client-cert", "--x509cafile", &files.text("client.pem")]);
        } else {
            command.arg("--disable-client-cert");
        }
        let server = Server::that_answers(&hosts, port, &mut command);
        let mut client = hosts.command(0, "gnutls-cli");
        client.args(["--port", &port.to_string(), "--x509cafile", &files.text("server.pem")]);
        client.args(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "--verify-hostname", "server.weir.test"]);
        client.args(options).arg("10.83.0.2").stdin(Stdio::null());
        succeeded(&client.output().unwrap());
        let ends = handshakes(&bench, server.port, 1).await;
        if asks { check_mutual(&ends, &files, &files) } else { check_not_mutual(&ends, &files) }
    }
    bench.stop().await;
}

const GO: &str = r#"package main

import ("crypto/tls"; "fmt"; "io"; "os")

func main() {
	own, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	if err != nil { panic(err) }
	config := &tls.Config{Certificates: []tls.Certificate{own}, InsecureSkipVerify: true,
		ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13, ServerName: "server.weir.test"}
	if os.Args[1] == "client" {
		done := make(chan error)
		for i := 0; i < 16; i++ {
			go func() {
				conn, err := tls.Dial("tcp", os.Args[4 + i % 2], config)
				if err == nil { _, err = conn.Read(make([]byte, 1)); conn.Close() }
				done <- err
			}()
		}
		for i := 0; i < 16; i++ { if err := <-done; err != nil { panic(err) } }
		return
	}
	listener, err := tls.Listen("tcp", "10.83.0.2:0", config)
	if err != nil { panic(err) }
	fmt.Println("AT", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil { panic(err) }
		go func() { conn.Write([]byte("x")); io.Copy(io.Discard, conn); conn.Close() }()
	}
}
"#;

/// Goroutines change threads at any moment: with two servers at once it shows whose certificate is whose.
#[tokio::test(flavor = "multi_thread")]
async fn go_s_certificates_are_read_where_it_reads_them() {
    const AT_ONCE: usize = 8;
    const RUNS: usize = 5;
    let (hosts, files, bench) = (Hosts::new(), [Files::make(), Files::make()], bench().await);
    std::fs::write(files[0].path("main.go"), GO).unwrap();
    std::fs::write(files[0].path("go.mod"), "module little\n\ngo 1.22\n").unwrap();
    let built = Command::new("go")
        .current_dir(files[0].directory.path())
        .args(["build", "-ldflags=-s -w", "-o", "little", "."])
        .env("GOFLAGS", "-buildvcs=false")
        .output()
        .expect("go is installed");
    succeeded(&built);
    let program = files[0].text("little");
    let servers = files.each_ref().map(|files| {
        let mut command = hosts.command(1, &program);
        command.args(["server", &files.text("server.pem"), &files.text("server.key")]);
        Server::that_says("AT ", &mut command)
    });
    let run = || {
        let mut client = hosts.command(0, &program);
        client.args(["client", &files[0].text("client.pem"), &files[0].text("client.key")]);
        client.args(servers.each_ref().map(|server| format!("10.83.0.2:{}", server.port)));
        succeeded(&client.output().unwrap());
    };
    // A file is probed within some seconds of its first process's beginning.
    let began = Instant::now();
    let mut before = 0;
    loop {
        run();
        before += AT_ONCE;
        let [clients, accepted] = handshakes(&bench, servers[0].port, before).await;
        handshakes(&bench, servers[1].port, before).await;
        let are_seen = clients.iter().any(|row| row.server_certificate_sha256.is_some())
            && accepted.iter().any(|row| row.client_certificate_sha256.is_some());
        if are_seen {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no certificate: {clients:#?}");
    }
    for _ in 0..RUNS {
        run();
    }
    for (server, files_of_server) in servers.iter().zip(&files) {
        let ends = handshakes(&bench, server.port, before + RUNS * AT_ONCE).await;
        let later = ends.map(|rows| rows[before..].to_vec());
        check_mutual(&later, files_of_server, &files[0]);
    }
    bench.stop().await;
}

/// rustls in this very program, whose symbols say where it reads certificates.
#[tokio::test(flavor = "multi_thread")]
async fn rustls_s_certificates_are_read_where_it_has_symbols() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    let (hosts, files, bench) = (Hosts::new(), Files::make(), bench().await);
    let certificate = |name: &str| CertificateDer::from_pem_file(files.path(name)).unwrap();
    let key = PrivateKeyDer::from_pem_file(files.path("client.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Reader(provider)))
        .with_client_auth_cert(vec![certificate("client.pem")], key)
        .unwrap();
    let config = Arc::new(config);
    let server = Server::openssl(&hosts, &files, &["-Verify", "1", "-CAfile", &files.text("client.pem")]);
    let began = Instant::now();
    for count in 1.. {
        let (config, port) = (config.clone(), server.port);
        let client = hosts.on(0, move || {
            let mut stream = std::net::TcpStream::connect(("10.83.0.2", port)).unwrap();
            let name = ServerName::try_from("server.weir.test").unwrap();
            let mut session = rustls::ClientConnection::new(config, name).unwrap();
            while session.is_handshaking() || session.wants_write() {
                session.complete_io(&mut stream).unwrap();
            }
        });
        client.join().unwrap();
        let ends = handshakes(&bench, server.port, count).await;
        if ends[0].iter().any(|row| row.server_certificate_sha256.is_some()) {
            check_mutual(&ends.map(|rows| rows[count - 1..].to_vec()), &files, &files);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no certificate: {:#?}", ends[0]);
    }
    bench.stop().await;
}

/// Reads the server's certificate as every verifier does, and believes it.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Reader {
    fn verify_server_cert(
        &self,
        certificate: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        rustls::server::ParsedCertificate::try_from(certificate)?;
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// curl reads its authorities, over a hundred certificates, before the one of the server that it asks.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_a_program_loads_are_nobody_s_certificate() {
    let (hosts, files, bench) = (Hosts::new(), Files::make(), bench().await);
    let server = Server::openssl(&hosts, &files, &["-www"]);
    let curl = |options: &[&str]| {
        let mut command = hosts.command(0, "curl");
        command.args(["--silent", "--output", "/dev/null", "--max-time", "20"]).args(options);
        command.arg(format!("https://10.83.0.2:{}/", server.port)).status().unwrap()
    };
    assert!(curl(&["--insecure"]).success());
    // Doesn't trust it, and says so in an alert.
    assert!(!curl(&[]).success());
    let [clients, _] = handshakes(&bench, server.port, 2).await;
    for row in &clients {
        check_server_certificate(row, &files);
    }
    assert_eq!(clients[1].failure_reason.as_deref(), Some("unknown_ca"), "{clients:#?}");

    // Loaded again and again, before, while and after a connection is open, on its own thread.
    let server = Server::openssl(&hosts, &files, &["-www"]);
    let source = "import socket, ssl, sys\n\
        def load(): return ssl.create_default_context(cafile='/etc/ssl/certs/ca-certificates.crt')\n\
        context = load()\n\
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n\
        raw = socket.create_connection(('10.83.0.2', int(sys.argv[1])))\n\
        load()\n\
        with context.wrap_socket(raw, server_hostname='server.weir.test') as secured:\n\
        \x20   load()\n\
        \x20   secured.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n\
        \x20   load()\n\
        \x20   while secured.recv(4096): load()\n\
        load()\n";
    let mut python = hosts.command(0, "python3");
    succeeded(&python.args(["-c", source, &server.port.to_string()]).output().unwrap());
    let [clients, servers] = handshakes(&bench, server.port, 1).await;
    assert_eq!((clients.len(), servers.len()), (1, 1));
    check_server_certificate(&clients[0], &files);
    assert_eq!(servers[0].client_certificate_sha256, None);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_turns_to_tls_shows_its_certificate_too() {
    let (hosts, bench) = (Hosts::new(), bench().await);
    for protocol in ["smtp", "postgres"] {
        let server = starttls::Server::start(&hosts, protocol);
        starttls::s_client(&hosts, server.port, protocol, "-tls1_3");
        let [clients, _] = handshakes(&bench, server.port, 1).await;
        assert_eq!(clients[0].server_certificate_subject.as_deref(), Some("CN=shop.weir.test"), "{protocol}");
        assert_eq!(clients[0].certificate_source.as_deref(), Some("library"));
    }
    bench.stop().await;
}

/// A server in a root directory of its own with its own copy of the libraries, as in a container.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_s_own_library_is_found_there() {
    let (hosts, files, bench) = (Hosts::new(), Files::make(), bench().await);
    let root = files.path("root");
    let program = Command::new("sh").args(["-c", "command -v openssl"]).output().unwrap();
    let program = String::from_utf8_lossy(&program.stdout).trim().to_owned();
    let needs = Command::new("ldd").arg(&program).output().unwrap();
    let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
    let libraries = needs.split_ascii_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([&program[..]]) {
        copy(Path::new(file), &root);
    }
    for name in ["server.pem", "server.key", "client.pem"] {
        std::fs::copy(files.path(name), root.join(name)).unwrap();
    }
    std::fs::write(root.join("openssl.cnf"), "").unwrap();
    let mut command = hosts.command(1, "chroot");
    command.arg(&root).arg(&program).env("OPENSSL_CONF", "/openssl.cnf");
    command.args(["s_server", "-accept", "10.83.0.2:0", "-tls1_3", "-cert", "/server.pem", "-key"]);
    command.args(["/server.key", "-Verify", "1", "-CAfile", "/client.pem"]);
    let server = Server::that_says("ACCEPT ", &mut command);
    let began = Instant::now();
    for count in 1.. {
        let own = ["-cert", &files.text("client.pem"), "-key", &files.text("client.key")];
        openssl(&hosts, server.port, &own);
        let [_, servers] = handshakes(&bench, server.port, count).await;
        // By the first handshake the library is known to be in use.
        if let Some(row) = servers.iter().find(|row| row.client_certificate_sha256.is_some()) {
            assert_eq!(row.client_certificate_sha256.as_deref(), Some(&files.sha256("client.pem")[..]));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "no certificate: {servers:#?}");
    }
    bench.stop().await;
}

/// Into the same place below another root, as a file of its own.
fn copy(file: &Path, root: &Path) {
    let to = root.join(file.strip_prefix("/").unwrap());
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(file, to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_no_program_is_touched() {
    let config = Config { library_probes: false, interval: Duration::from_secs(1), ..Config::default() };
    let features = try_features(&config).unwrap();
    let of_libraries = features.iter().find(|feature| feature.name.contains("libraries")).unwrap();
    assert_eq!(of_libraries.state, FeatureState::SwitchedOff);

    let (hosts, files, bench) = (Hosts::new(), Files::make(), Bench::with(config).await);
    let server = Server::openssl(&hosts, &files, &[]);
    openssl(&hosts, server.port, &[]);
    for row in handshakes(&bench, server.port, 1).await.iter().flatten() {
        assert_eq!(
            (row.server_certificate_sha256.as_deref(), row.certificate_source.as_deref()),
            (None, None)
        );
    }
    bench.stop().await;
}
