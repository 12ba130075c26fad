//! Processes that hold sockets: whose they are, and that no secret leaves the node.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use weir_model::ProcessRow;

use crate::bench::{Bench, Hosts};

/// Connects, says so, and stays until its standard input ends.
const CLIENT: &str = "import socket,sys; s=socket.create_connection(('10.83.0.2',int(sys.argv[1]))); \
                      s.sendall(b'hello'); print('connected',flush=True); sys.stdin.read()";
const SECRET: &str = "correct-horse-battery";

/// A process that holds a connection until it is dropped.
pub(crate) struct Client(Child);

impl Client {
    pub(crate) fn connect(hosts: &Hosts, port: u16) -> Client {
        let mut child = hosts
            .command(0, "python3")
            .args(["-c", CLIENT, &port.to_string(), "--user", "joe", "--password", SECRET])
            .args([&format!("API_TOKEN={SECRET}"), &format!("amqp://joe:{SECRET}@mq/shop")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "connected\n");
        Client(child)
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.0.id())
    }

    /// Before it was this program it was a fork of the test, and may have closed other tests' sockets.
    pub(crate) fn is_it(&self, row: &ProcessRow) -> bool {
        row.pid == Some(self.pid()) && row.process.as_deref().is_some_and(|name| name.starts_with("python3"))
    }

    pub(crate) fn check(&self, hosts: &Hosts, row: &ProcessRow) {
        let path = std::fs::read_link(format!("/proc/{}/exe", self.0.id())).unwrap();
        assert_eq!(row.executable.as_deref(), path.to_str(), "{row:#?}");
        let line = row.command_line.as_deref().unwrap();
        assert!(!line.contains("horse"), "{line}");
        assert!(line.ends_with("--user joe --password *** API_TOKEN=*** amqp://joe:***@mq/shop"), "{line}");
        assert_eq!(row.netns, Some(hosts.inode(0) as i64), "{row:#?}");
        assert!(row.start_time.is_some_and(|start| start <= row.time + 10_000_000), "{row:#?}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_told_once_with_its_program_and_without_its_secrets() {
    let hosts = Hosts::new();
    let bench = Bench::start().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let client = Client::connect(&hosts, at.port());
    let (mut accepted, _) = listener.accept().unwrap();
    let pid = client.pid();
    let rows_of = |bench: &Bench| {
        let mut rows: Vec<ProcessRow> = bench.rows();
        rows.retain(|row| client.is_it(row));
        rows
    };
    let rows = bench.until("its process", rows_of, |rows| !rows.is_empty()).await;
    client.check(&hosts, &rows[0]);
    // Its flows are found by node, process id and time.
    let flows_of = |bench: &Bench| {
        let mut flows = bench.flows(at.port());
        flows.retain(|flow| flow.client_pid == Some(pid));
        flows
    };
    let before = bench.until("its flow", flows_of, |flows| !flows.is_empty()).await;
    assert!(before[0].node == rows[0].node && Some(rows[0].time) <= before[0].end_time, "{before:#?}");
    // Later flows are no reason to tell it again.
    accepted.write_all(b"more").unwrap();
    bench.until("another flow", flows_of, |flows| flows.len() > before.len()).await;
    assert_eq!(rows_of(&bench).len(), 1);
    drop(client);
    bench.stop().await;
}
