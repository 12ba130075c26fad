//! A Kubernetes control plane of the test's own: etcd and `kube-apiserver`, the real ones, on loopback. No kubelet and no
//! controllers: the test says what they would.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Process, run, until};

/// What an administrator says to be one; of this control plane, which lives as long as its test.
const ADMIN: &str = "test-administrator";

/// A running control plane; ended when dropped.
pub struct ControlPlane {
    dir: TempDir,
    port: u16,
    etcd_port: u16,
    flags: Vec<String>,
    /// Declared before etcd, and so ended before it.
    api: Process,
    _etcd: Process,
}

impl ControlPlane {
    /// Starts both on free ports, and waits until the API server is ready.
    ///
    /// # Errors
    /// When either is missing (`make setup`), ends instead, or isn't ready in time.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more flags for the API server.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(flags: &[String]) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("weir-kubernetes-")?;
        let [port, etcd_port, peer_port] = free_ports()?;
        let etcd = start_etcd(dir.path(), etcd_port, peer_port)?;
        let key = dir.path().join("sa.key");
        run("openssl", ["genrsa", "-out", path(&key)?, "2048"])?;
        secret(&dir.path().join("tokens.csv"), &format!("{ADMIN},admin,admin,system:masters\n"))?;
        let api = start_api(dir.path(), port, etcd_port, flags)?;
        let mut plane = Self { dir, port, etcd_port, flags: flags.to_vec(), api, _etcd: etcd };
        plane.ready().await?;
        Ok(plane)
    }

    /// Ends the API server as a crash would: asked kindly, it waits a minute for those who watch.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill_api(&mut self) -> anyhow::Result<()> {
        self.api.kill()
    }

    /// Starts it again where it was, and waits until it is ready.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_api(&mut self) -> anyhow::Result<()> {
        self.api = start_api(self.dir.path(), self.port, self.etcd_port, &self.flags)?;
        self.ready().await
    }

    /// Asks the API as an administrator.
    ///
    /// # Errors
    /// When the answer is no success; with what it says.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask_with(ADMIN, method, path, body)
    }

    /// Asks the API as somebody else, by their token.
    ///
    /// # Errors
    /// As [`ControlPlane::ask`].
    pub fn ask_as(&self, token: &str, method: &str, path: &str) -> anyhow::Result<Value> {
        self.ask_with(token, method, path, &Value::Null)
    }

    /// The token in a kubeconfig of [`ControlPlane::kubeconfig`].
    ///
    /// # Errors
    /// When the file has none.
    pub fn token_of(&self, kubeconfig: &Path) -> anyhow::Result<String> {
        let config: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?)?;
        Ok(config["users"][0]["user"]["token"].as_str().context("a token")?.to_owned())
    }

    fn ask_with(&self, token: &str, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut arguments = vec!["-sS".to_owned(), "--max-time".to_owned(), "20".to_owned()];
        arguments.extend(["--cacert".to_owned(), self.ca().display().to_string()]);
        arguments.extend([
            "-X".to_owned(),
            method.to_owned(),
            "-H".to_owned(),
            format!("Content-Type: {kind}"),
        ]);
        arguments.extend(["-H".to_owned(), format!("Authorization: Bearer {token}")]);
        if !body.is_null() {
            arguments.extend(["--data-binary".to_owned(), body.to_string()]);
        }
        arguments.push(format!("{}{path}", self.url()));
        let answer = run("curl", arguments)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::String(answer));
        // Refusals are a Status with a code; what was deleted is answered by one without.
        if answer["kind"] == "Status" && answer["status"] == "Failure" {
            bail!("{method} {path}: {}", answer["message"]);
        }
        Ok(answer)
    }

    /// Makes an object, in the collection at `path`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn make(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.ask("POST", path, object)
    }

    /// A kubeconfig for a service account, with the rights that this has and no others.
    ///
    /// # Errors
    /// When it gets no token, or the file can't be written.
    pub fn kubeconfig(&self, namespace: &str, account: &str) -> anyhow::Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let token = self.make(&path, &request)?;
        let token = token["status"]["token"].as_str().context("a token in the answer")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority": self.ca()}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let file = self.dir.path().join("kubeconfig");
        secret(&file, &config.to_string())?;
        Ok(file)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("apiserver.crt")
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let look = || {
            let answer = self.api.must_run().map(|()| {
                let ready = self.ask("GET", "/readyz", &Value::Null).ok()?;
                (ready == "ok").then_some(())
            });
            async { answer }
        };
        until("the API server is ready", look).await.map(|_| ()).with_context(|| tail(&self.api.output()))
    }
}

fn start_etcd(dir: &Path, port: u16, peer_port: u16) -> anyhow::Result<Process> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let mut etcd = Command::new("etcd");
    etcd.args([
        "--data-dir",
        path(&dir.join("etcd"))?,
        "--name",
        "test",
        "--initial-cluster",
        &format!("test={peer}"),
    ]);
    etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    Process::start(&mut etcd, &dir.join("etcd.log"))
}

fn start_api(dir: &Path, port: u16, etcd_port: u16, flags: &[String]) -> anyhow::Result<Process> {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/kubernetes/kube-apiserver");
    if !binary.is_file() {
        bail!("no {}: run `make setup`", binary.display());
    }
    let file = |name: &str| dir.join(name).display().to_string();
    let mut api = Command::new(binary);
    api.args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
    // Its own certificate, made at the first start.
    api.args(["--cert-dir", path(dir)?, "--etcd-servers", &format!("http://127.0.0.1:{etcd_port}")]);
    api.args(["--token-auth-file", &file("tokens.csv"), "--authorization-mode", "RBAC"]);
    api.args(["--service-cluster-ip-range", "10.96.0.0/16", "--endpoint-reconciler-type", "none"]);
    api.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    api.args([
        "--service-account-key-file",
        &file("sa.key"),
        "--service-account-signing-key-file",
        &file("sa.key"),
    ]);
    // Nobody makes default accounts here.
    api.args(["--disable-admission-plugins", "ServiceAccount", "--shutdown-delay-duration", "0s"]);
    api.args(flags);
    Process::start(&mut api, &dir.join("apiserver.log"))
}

/// Ports that were free a moment ago, all at once.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("as many ports as listeners"))
}

/// A file that only its owner reads.
fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a temporary path in UTF-8")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
