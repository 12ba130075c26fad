//! What another tool sees of a test's packets: tcpdump on the client's host, read by tshark.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Hosts;
use crate::peers::Running;

/// tcpdump on the client's host.
pub(crate) struct Capture {
    _running: Running,
    files: tempfile::TempDir,
}

impl Capture {
    /// Of what `filter` lets through, in pcap's language.
    pub(crate) fn start(hosts: &Hosts, filter: &str) -> Capture {
        let files = tempfile::tempdir().unwrap();
        let mut child = hosts
            .command(0, "tcpdump")
            .args(["-i", "eth0", "-U", "-Z", "root", "-B", "16384", "-w"])
            .arg(files.path().join("wire.pcap"))
            .arg(filter)
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed: deploy/setup.sh test");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on")), "tcpdump ended");
        std::thread::spawn(move || lines.for_each(drop));
        Capture { _running: Running(child), files }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.files.path().join("wire.pcap")
    }

    /// What `look` finds in the capture, once it finds something: what was captured is written by another process.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(began.elapsed().as_secs() < 30, "the capture never showed {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fields of the packets that `filter` lets through, once one did: its first value of each.
    pub(crate) async fn fields<const N: usize>(
        &self,
        decode: &str,
        filter: &str,
        fields: [&str; N],
    ) -> [String; N] {
        let look = || {
            let output = Command::new("tshark")
                .arg("-r")
                .arg(self.path())
                .args(["-d", decode, "-Y", filter, "-T", "fields", "-E", "occurrence=f"])
                .args(fields.iter().flat_map(|field| ["-e", *field]))
                .output()
                .expect("tshark is installed: deploy/setup.sh test");
            let text = String::from_utf8_lossy(&output.stdout);
            let values: Vec<String> = text.lines().next()?.split('\t').map(str::to_owned).collect();
            Some(values.try_into().unwrap_or_else(|values| panic!("{values:?}")))
        };
        self.until(filter, look).await
    }
}
