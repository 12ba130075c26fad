//! Loads by programs that nobody here wrote: nginx with wrk, and iperf3.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::hosts::{CLIENT, Hosts, SERVER, SERVER_IP};
use super::pause;

const WEB_PORT: u16 = 8080;
const IPERF_PORT: u16 = 5201;
/// How long a peer may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As much as goes, by so many streams.
    Bulk(u32),
    /// Requests on 16 connections that stay.
    KeepAlive,
    /// A connection for each request.
    Connections,
    /// UDP datagrams of 64 bytes, as many as go.
    Datagrams,
}

/// How much was done.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Units a second.
    pub(crate) per_second: f64,
    /// Units in all: GB, requests, connections, datagrams received.
    pub(crate) units: f64,
}

impl Load {
    pub(crate) fn name(self) -> String {
        match self {
            Load::Bulk(1) => "bulk, 1 stream".to_owned(),
            Load::Bulk(streams) => format!("bulk, {streams} streams"),
            Load::KeepAlive => "keep-alive".to_owned(),
            Load::Connections => "connection per request".to_owned(),
            Load::Datagrams => "UDP, 64 bytes".to_owned(),
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Load::Bulk(_) => "GB",
            Load::KeepAlive => "request",
            Load::Connections => "connection",
            Load::Datagrams => "datagram",
        }
    }
}

/// The servers on the server's host; ended when dropped.
pub(crate) struct Peers {
    children: Vec<Child>,
    _config: TempDir,
}

impl Peers {
    pub(crate) fn start(hosts: &Hosts) -> Peers {
        let folder = TempDir::with_prefix("weir-bench-").unwrap();
        let config = folder.path().join("nginx.conf");
        let text = format!(
            "daemon off; master_process off; user root; worker_processes 1; pid {0}/nginx.pid; error_log {0}/error.log;
            events {{ worker_connections 4096; }}
            http {{ access_log off; keepalive_requests 2000000000; client_body_temp_path {0}; proxy_temp_path {0};
            fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};
            server {{ listen {WEB_PORT} backlog=16384; location / {{ return 200 '{1}'; }} }} }}",
            folder.path().display(),
            "weir".repeat(32)
        );
        std::fs::write(&config, text).unwrap();
        let mut nginx = hosts.command(SERVER, "nginx");
        nginx.arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(&config);
        let mut iperf = hosts.command(SERVER, "iperf3");
        iperf.args(["-s", "-p", &IPERF_PORT.to_string()]);
        let children = vec![quiet(&mut nginx), quiet(&mut iperf)];
        for port in [WEB_PORT, IPERF_PORT] {
            until(&format!("a server on port {port}"), || {
                hosts.within(CLIENT, || TcpStream::connect((SERVER_IP, port)).is_ok().then_some(()))
            });
        }
        Peers { children, _config: folder }
    }
}

impl Peers {
    /// CPU time that the servers, and all clients so far, took; ns.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let clients = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let clients = clients.user_time().num_nanoseconds() + clients.system_time().num_nanoseconds();
        self.children.iter().map(|child| cpu_ns(child.id())).sum::<u64>() + clients as u64
    }
}

/// CPU time that a process took so far, threads that ended too; ns.
pub(crate) fn cpu_ns(process_id: u32) -> u64 {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process_id.cast_signed())).unwrap();
    clock.now().unwrap().num_nanoseconds() as u64
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let pid = Pid::from_raw(child.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// Loads the wire for some seconds.
pub(crate) fn run(hosts: &Hosts, load: Load, seconds: u32) -> Done {
    let bulk = |more: &[&str]| -> Value {
        // The server takes one test at a time, and needs a moment after each.
        until("iperf3's server is free", || {
            let mut command = hosts.command(CLIENT, "iperf3");
            let port = IPERF_PORT.to_string();
            command.args(["-c", SERVER_IP, "-p", &port, "-J", "-t", &seconds.to_string()]).args(more);
            let output = command.output().expect("iperf3 is installed");
            serde_json::from_slice::<Value>(&output.stdout)
                .ok()
                .filter(|answer| answer.get("error").is_none())
        })
    };
    match load {
        Load::Bulk(streams) => {
            let answer = bulk(&["-P", &streams.to_string()]);
            let received = &answer["end"]["sum_received"];
            let bits = received["bits_per_second"].as_f64().unwrap();
            Done { per_second: bits / 8e9, units: received["bytes"].as_f64().unwrap() / 1e9 }
        }
        Load::Datagrams => {
            let answer = bulk(&["-u", "-b", "0", "-l", "64"]);
            let sum = &answer["end"]["sum"];
            let lost = sum["lost_packets"].as_f64().unwrap();
            let received = sum["packets"].as_f64().unwrap() - lost;
            Done { per_second: received / sum["seconds"].as_f64().unwrap(), units: received }
        }
        Load::KeepAlive => web(hosts, seconds, &[]),
        Load::Connections => web(hosts, seconds, &["-H", "Connection: close"]),
    }
}

fn web(hosts: &Hosts, seconds: u32, more: &[&str]) -> Done {
    let mut command = hosts.command(CLIENT, "wrk");
    command.args(["-t1", "-c16", &format!("-d{seconds}s")]).args(more);
    let output = command.arg(format!("http://{SERVER_IP}:{WEB_PORT}/")).output().expect("wrk is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let per_second = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let units = text.lines().find(|line| line.contains(" requests in "));
    let number = |text: Option<&str>| text.and_then(|text| text.split_whitespace().next()?.parse().ok());
    match (number(per_second), number(units)) {
        (Some(per_second), Some(units)) => Done { per_second, units },
        _ => panic!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Where the web server is.
pub(crate) fn web_address() -> std::net::SocketAddr {
    format!("{SERVER_IP}:{WEB_PORT}").parse().unwrap()
}

/// Looks again and again until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        pause(Duration::from_millis(20));
    }
}

fn quiet(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("start {command:?} (deploy/setup.sh bench): {error}"))
}
