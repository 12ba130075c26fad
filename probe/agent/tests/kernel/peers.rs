//! Programs that tests talk to: nginx, curl, and little servers in Python and Go.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::bench::Hosts;

/// Runs curl on the client's host; each URL on one connection after the other, if the server lets it.
pub(crate) fn curl(hosts: &Hosts, arguments: &[&str]) {
    let urls = arguments.iter().filter(|argument| argument.starts_with("http"));
    let outputs = urls.flat_map(|_| ["-o", "/dev/null"]);
    let output = hosts
        .command(0, "curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "60"])
        .args(outputs)
        .args(arguments)
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A program that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A self-signed certificate of `shop.weir.test` in that directory, `key.pem` and `cert.pem`: `(key, certificate)`.
pub(crate) fn shop_certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (directory.join("key.pem"), directory.join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=shop.weir.test"])
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key, certificate)
}

/// The program in `peers/`, built once: TLS and HTTP/3 by Go.
pub(crate) fn go_peers() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-peers");
        let built = Command::new("go")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/peers"))
            .args(["build", "-ldflags=-s -w", "-buildvcs=false", "-o"])
            .args([program.as_os_str(), ".".as_ref()])
            .output()
            .expect("go is installed: deploy/setup.sh test");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    };
    BUILT.get_or_init(build).clone()
}

/// nginx on the server's host: `/small`, `/big` (of the size asked for), `/discard` (takes a body).
pub(crate) struct Nginx {
    child: Child,
    files: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Nginx {
    pub(crate) fn start(hosts: &Hosts, tls: Option<&str>, big: usize) -> Nginx {
        let files = tempfile::tempdir().unwrap();
        let root = files.path().display().to_string();
        // The worker is another user.
        Command::new("chmod").args(["a+rx", &root]).status().unwrap();
        std::fs::write(files.path().join("small"), "small").unwrap();
        std::fs::write(files.path().join("big"), vec![b'b'; big]).unwrap();
        let port = hosts.free_port();
        let listen = match tls {
            None => format!("listen 10.83.0.2:{port};"),
            Some("h2c") => format!("listen 10.83.0.2:{port} http2;"),
            Some(version) => {
                shop_certificate(files.path());
                format!(
                    "listen 10.83.0.2:{port} ssl; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem; \
                     ssl_protocols {version};"
                )
            }
        };
        // Whoever takes the body: nginx itself, which reads it only for a location that wants it.
        let servers = format!(
            "server {{ listen unix:{root}/sink; location / {{ return 200 taken; }} }}\n\
             server {{ {listen} root {root};\n\
             location /discard {{ proxy_pass http://unix:{root}/sink:/; }}\n}}"
        );
        Nginx::with(hosts, files, port, &servers)
    }

    /// It passes all on to `127.0.0.1:back`, on a connection for each request or on connections that stay.
    pub(crate) fn proxy(hosts: &Hosts, back: u16, stays: bool) -> Nginx {
        let port = hosts.free_port();
        let how = if stays { "proxy_http_version 1.1; proxy_set_header Connection \"\";" } else { "" };
        let keep = if stays { "keepalive 16;" } else { "" };
        let servers = format!(
            "upstream back {{ server 127.0.0.1:{back}; {keep} }}\n\
             server {{ listen 10.83.0.2:{port}; location / {{ proxy_pass http://back; {how} }} }}"
        );
        Nginx::with(hosts, tempfile::tempdir().unwrap(), port, &servers)
    }

    /// With what stands in its `http` section, on the port that it listens on there.
    fn with(hosts: &Hosts, files: tempfile::TempDir, port: u16, servers: &str) -> Nginx {
        let root = files.path().display().to_string();
        let conf = format!(
            "worker_processes 1; daemon off; pid {root}/pid; error_log {root}/error; user root;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n access_log off; sendfile on; client_max_body_size 100m; client_body_temp_path {root}/body; \
             client_body_buffer_size 16m; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f; \
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n{servers}\n}}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, conf).unwrap();
        let mut child = hosts
            .command(1, "nginx")
            .arg("-c")
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx is installed");
        let began = Instant::now();
        while hosts.connect(std::net::SocketAddr::from(([10, 83, 0, 2], port))).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
                panic!("nginx ended ({status}): {said}");
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nginx doesn't listen");
            #[expect(clippy::disallowed_methods, reason = "once at a test's start, while nginx starts")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Nginx { child, files, port }
    }

    /// Its main process.
    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }

    /// A file of that size.
    pub(crate) fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, vec![b'f'; bytes]).unwrap();
        path
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked to.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

/// A little server of our own on the server's host; it says its port on a line.
pub(crate) struct Little {
    _running: Running,
    _files: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Little {
    pub(crate) fn python(hosts: &Hosts, source: &str, arguments: &[String]) -> Little {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("server.py");
        std::fs::File::create(&path).unwrap().write_all(source.as_bytes()).unwrap();
        let path = path.display().to_string();
        let mut command = hosts.command(1, "python3");
        command.args(["-u", &path]).args(arguments);
        Little::start(command, files)
    }

    pub(crate) fn go(hosts: &Hosts, source: &str, arguments: &[String]) -> Little {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("main.go"), source).unwrap();
        std::fs::write(files.path().join("go.mod"), "module little\n\ngo 1.21\n").unwrap();
        let built = Command::new("go")
            .current_dir(files.path())
            .args(["build", "-ldflags=-s -w", "-o", "little", "."])
            .env("GOFLAGS", "-buildvcs=false")
            .output()
            .expect("go is installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let program = files.path().join("little").display().to_string();
        let mut command = hosts.command(1, &program);
        command.args(arguments);
        Little::start(command, files)
    }

    fn start(mut command: Command, files: tempfile::TempDir) -> Little {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("it said {line:?}"));
        Little { _running: Running(child), _files: files, port }
    }
}
