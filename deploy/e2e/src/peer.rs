//! TLS by somebody else's code: `openssl s_server` and `openssl s_client` on loopback.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{Process, run, until};

/// A running `openssl s_server` on a free port of loopback.
pub struct TlsServer {
    process: Process,
    address: SocketAddrV4,
    _dir: TempDir,
}

impl TlsServer {
    /// Makes a certificate for `name` and serves with it until dropped.
    ///
    /// # Errors
    /// Where `openssl` is missing or doesn't listen in time.
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let (key, certificate) = self_signed(dir.path(), name)?;
        // openssl can't say which port it was given, so a port that was free a moment ago is named.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-alpn", "http/1.1", "-accept", &address.to_string()]);
        command.arg("-key").arg(key).arg("-cert").arg(certificate);
        let process = Process::start(&mut command, &dir.path().join("server.log"))?;
        let server = Self { process, address, _dir: dir };
        until("openssl s_server accepts", || async {
            Ok(server.process.output().contains("ACCEPT").then_some(()))
        })
        .await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Its process id, as flows should name it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One whole connection: handshake with this server name, one HTTP request, close.
    ///
    /// # Errors
    /// When the handshake or the request fails.
    pub fn visit(&self, sni: &str, more: &[&str]) -> anyhow::Result<Peer> {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &self.address.to_string(), "-servername", sni])
            .args(["-alpn", "http/1.1"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start openssl s_client")?;
        let pid = child.id();
        if let Some(mut stdin) = child.stdin.take() {
            use std::io::Write;
            stdin.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let output = child.wait_with_output()?;
            drop(stdin);
            if !String::from_utf8_lossy(&output.stdout).contains("200 ok") {
                bail!("openssl s_client: no answer\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(Peer { pid })
    }
}

/// A client that has ended.
pub struct Peer {
    /// Its process id while it ran.
    pub pid: u32,
}

fn self_signed(dir: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (dir.join("server.key"), dir.join("server.pem"));
    let subject = format!("/CN={name}");
    let mut arguments: Vec<&std::ffi::OsStr> = Vec::new();
    for text in
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    {
        arguments.push(text.as_ref());
    }
    arguments.extend(["-subj".as_ref(), subject.as_ref(), "-keyout".as_ref(), key.as_os_str()]);
    arguments.extend(["-out".as_ref(), certificate.as_os_str()]);
    run("openssl", arguments)?;
    Ok((key, certificate))
}
