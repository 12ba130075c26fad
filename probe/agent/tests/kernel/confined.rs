//! What a running `weir-probe` may still do, as its own process shows it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_model::{ProcessRow, TlsHandshakeRow};

use crate::bench::{Hosts, Keeper, collector};
use crate::certificates::{self, Files, Server};
use crate::processes::Client;

pub(crate) struct Probe(pub(crate) Child);

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of a line of `/proc/PID/status`, of each thread.
fn of_each_thread(pid: u32, name: &str) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
            line.trim().to_owned()
        })
        .collect()
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_probe_has_given_back_what_it_needs_no_more() {
    let hosts = Hosts::new();
    let (keeper, endpoint) = collector().await;
    let state = tempfile::tempdir().unwrap();
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let child = Command::new(env!("CARGO_BIN_EXE_weir-probe"))
        .args(["--collector", &endpoint, "--node", "confined", "--interval", "1", "--log", "error"])
        .args(["--health", &health.to_string(), "--state-dir"])
        .arg(state.path())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut probe = Probe(child);
    // It works: rows come, with whose they are.
    let (listener, at) = hosts.listen("10.83.0.2");
    let began = std::time::Instant::now();
    while keeper.flows(at.port()).is_empty() {
        assert!(began.elapsed().as_secs() < 30, "no row came");
        drop(hosts.connect(at).unwrap());
        drop(listener.accept().unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        keeper.flows(at.port())[0].client_process.is_some()
            || keeper.flows(at.port())[0].server_process.is_some()
    );

    // It still can look at processes.
    let client = Client::connect(&hosts, at.port());
    let rows_of = |keeper: &Keeper| {
        let mut rows: Vec<ProcessRow> = keeper.rows();
        rows.retain(|row| client.is_it(row));
        rows
    };
    let rows = keeper.until("the client's process", rows_of, |rows| !rows.is_empty()).await;
    client.check(&hosts, &rows[0]);

    // And at TLS libraries, on which it puts probes now.
    let (files, many) = (Files::make(), |keeper: &Keeper| certificates::probes(&keeper.rows()));
    keeper.until("probes on libraries", many, |probes| *probes >= 2).await;
    let server = Server::openssl(&hosts, &files, &[]);
    certificates::openssl(&hosts, server.port, &[]);
    let seen = |keeper: &Keeper| {
        let rows: Vec<TlsHandshakeRow> = keeper.rows();
        let mut rows = rows.into_iter().filter(|row| row.server_port == Some(server.port));
        rows.find_map(|row| row.server_certificate_sha256)
    };
    let sha256 = keeper.until("the server's certificate", seen, Option::is_some).await.unwrap();
    assert_eq!(sha256, files.sha256("server.pem"));

    let pid = probe.0.id();
    for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let threads = of_each_thread(pid, name);
        assert!(threads.len() > 1 && threads.iter().all(|thread| thread == value), "{name}: {threads:?}");
    }
    // bpf, perfmon, net_admin, sys_resource, sys_ptrace, dac_read_search, syslog.
    let allowed = [39, 38, 12, 24, 19, 2, 34].iter().fold(0_u64, |set, capability| set | 1 << capability);
    for name in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        for thread in of_each_thread(pid, name) {
            let has = u64::from_str_radix(&thread, 16).unwrap();
            assert_eq!(has & !allowed, 0, "{name}: {thread}");
        }
    }
    let listening = Command::new("ss").args(["-H", "-l", "-n", "-p", "-t", "-u"]).output().unwrap();
    let listening = String::from_utf8_lossy(&listening.stdout).into_owned();
    let own: Vec<&str> = listening.lines().filter(|line| line.contains(&format!("pid={pid},"))).collect();
    assert!(own.len() == 1 && own[0].contains(&health.to_string()), "{own:?}");

    assert!(ask(health, "/healthz").ends_with("\r\n\r\nok\n"));
    assert!(ask(health, "/readyz").contains("ready\n"));
    let metrics = ask(health, "/metrics");
    assert!(metrics.contains("weir_probe_lost_total{reason=\"ring_full_connections\"} 0"), "{metrics}");
    assert!(metrics.contains("weir_probe_feature_on{feature=\"TCP connections\"} 1"), "{metrics}");

    kill(Pid::from_raw(pid as i32), Signal::SIGTERM).unwrap();
    assert!(probe.0.wait().unwrap().success());
}

#[test]
fn health_is_for_this_machine_only() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir-probe")).args(["--health", "0.0.0.0:8482"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback only"));
}
