//! A real server that speaks S3's protocol, on loopback. `deploy/setup.sh test` builds it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::{TempDir, tempdir};

pub(crate) const ACCESS_KEY: &str = "an-access-key";
pub(crate) const SECRET: &str = "a-secret-that-nobody-may-tell";

/// A `versitygw` whose bucket `weir` is a folder.
pub(crate) struct S3 {
    process: Child,
    dir: TempDir,
    endpoint: String,
}

impl S3 {
    pub(crate) async fn start() -> S3 {
        let dir = tempdir().unwrap();
        for folder in ["buckets/weir", "metadata"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/versitygw/versitygw");
        let mut command = Command::new(&program);
        command.args(["--port", &address.to_string(), "--quiet", "posix", "--sidecar"]);
        command.arg(dir.path().join("metadata")).arg(dir.path().join("buckets"));
        command.env("ROOT_ACCESS_KEY", ACCESS_KEY).env("ROOT_SECRET_KEY", SECRET).stdout(Stdio::null());
        let hint = "`deploy/setup.sh test` builds it";
        let process = command.spawn().unwrap_or_else(|err| panic!("{}: {err}: {hint}", program.display()));
        while TcpStream::connect(address).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        S3 { process, dir, endpoint: format!("http://{address}") }
    }

    /// What a process has in its environment that may use it.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ]
    }

    /// What is in the bucket.
    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("buckets/weir")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
