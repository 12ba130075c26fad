//! The receiver, and certificates for both ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;
use weir_e2e::{Process, run, until};

/// `receiver.py`; ended when dropped.
pub(crate) struct Receiver {
    dir: TempDir,
    tls: Option<[String; 3]>,
    port: u16,
    process: Option<Process>,
}

impl Receiver {
    /// Starts it on a free port, with TLS where there are certificates.
    pub(crate) async fn start(certificates: Option<&Certificates>) -> anyhow::Result<Receiver> {
        let dir = TempDir::with_prefix("weir-receiver-")?;
        let tls = certificates.map(Certificates::of_the_server);
        let mut receiver = Receiver { dir, tls, port: 0, process: None };
        receiver.start_again().await?;
        Ok(receiver)
    }

    /// Where it listens, or did.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Starts it where it was.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../.tools/otlp/bin/python");
        if !python.exists() {
            bail!("no {}: run `make setup`", python.display());
        }
        let mut command = Command::new(python);
        command.arg(root.join("tests/export/receiver.py")).arg(self.port.to_string()).arg(self.output());
        command.args(self.tls.iter().flatten());
        let mut process = Process::start(&mut command, &self.dir.path().join("log"))?;
        let look = || {
            let port = process.must_run().map(|()| {
                let output = process.output();
                let (line, _) = output.split_once('\n')?;
                line.parse::<u16>().ok()
            });
            async { port }
        };
        (self.port, _) = until("the receiver listens", look).await?;
        self.process = Some(process);
        Ok(())
    }

    /// What it got of `what`: a request a line.
    pub(crate) fn requests(&self, what: &str) -> anyhow::Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.output()).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut requests = Vec::new();
        for line in whole.lines() {
            let request: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if request["what"] == what {
                requests.push(request);
            }
        }
        Ok(requests)
    }

    /// Ids of all spans that it got.
    pub(crate) fn span_ids(&self) -> anyhow::Result<BTreeSet<String>> {
        let requests = self.requests("spans")?;
        let spans = requests.iter().filter_map(|request| request["items"].as_array()).flatten();
        Ok(spans.filter_map(|span| span["span"].as_str()).map(str::to_owned).collect())
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("received")
    }
}

/// An authority, and certificates of it for a server on loopback and for a client.
pub(crate) struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> anyhow::Result<Certificates> {
        let dir = TempDir::with_prefix("weir-certificates-")?;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let make = |arguments: &[&str]| {
            run("openssl", [&["req", "-x509", "-days", "2"], &key[..], arguments].concat())
        };
        make(&["-subj", "/CN=test authority", "-keyout", &file("ca.key"), "-out", &file("ca.pem")])?;
        for (name, more) in
            [("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")]
        {
            let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
            let (own_key, own) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
            let subject = format!("/CN={name}");
            make(&[
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-subj",
                &subject,
                "-addext",
                more,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                &own_key,
                "-out",
                &own,
            ])?;
        }
        Ok(Certificates { dir })
    }

    /// Authority, certificate, key.
    pub(crate) fn of_the_client(&self) -> [String; 3] {
        ["ca.pem", "client.pem", "client.key"].map(|name| self.file(name))
    }

    fn of_the_server(&self) -> [String; 3] {
        ["server.key", "server.pem", "ca.pem"].map(|name| self.file(name))
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}
