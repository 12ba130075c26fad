//! A node (a network namespace that forwards) between a client's host and a server's: `10.90.1.2` — `in0` node `out0` —
//! `10.90.2.2`; and the probe, which runs in the node's namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_model::FlowRow;

use crate::bench::{Keeper, own_ports, serve};
use crate::restart::Place;

pub(super) const CLIENT: usize = 0;
pub(super) const NODE: usize = 1;
pub(super) const SERVER: usize = 2;

pub(super) const CLIENT_IP: &str = "10.90.1.2";
pub(super) const SERVER_IP: &str = "10.90.2.2";
/// The node's address at the server's side.
pub(super) const NODE_IP: &str = "10.90.2.1";
/// Where the node's NAT has a service.
pub(super) const SERVICE_IP: &str = "10.96.0.10";

/// The three of them.
pub(super) struct Net {
    names: [String; 3],
}

impl Net {
    pub(super) fn new() -> Net {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let net = Net { names: ["c", "n", "s"].map(|who| format!("weir-p-{who}-{tag}")) };
        let [client, node, server] = &net.names;
        for name in &net.names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        for (host, name, subnet) in [(client, "in0", 1), (server, "out0", 2)] {
            ip(&["-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", node]);
            ip(&["-n", host, "address", "add", &format!("10.90.{subnet}.2/24"), "dev", "eth0"]);
            ip(&["-n", node, "address", "add", &format!("10.90.{subnet}.1/24"), "dev", name]);
            ip(&["-n", host, "address", "add", &format!("fd90:{subnet}::2/64"), "dev", "eth0", "nodad"]);
            ip(&["-n", node, "address", "add", &format!("fd90:{subnet}::1/64"), "dev", name, "nodad"]);
            ip(&["-n", host, "link", "set", "eth0", "up"]);
            ip(&["-n", node, "link", "set", name, "up"]);
            ip(&["-n", host, "route", "add", "default", "via", &format!("10.90.{subnet}.1")]);
            ip(&["-n", host, "-6", "route", "add", "default", "via", &format!("fd90:{subnet}::1")]);
        }
        net.on(NODE, || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        net.on(SERVER, own_ports);
        net
    }

    /// `10.96.0.10:80` becomes the server's port, and the client's address the node's.
    pub(super) fn nat(&self, port: u16) {
        self.nft(&format!(
            "table ip nat {{
                chain before {{ type nat hook prerouting priority dstnat;
                    ip daddr {SERVICE_IP} tcp dport 80 dnat to {SERVER_IP}:{port}
                }}
                chain after {{ type nat hook postrouting priority srcnat
                    oifname out0 masquerade
                }}
            }}"
        ));
    }

    pub(super) fn nft(&self, rules: &str) {
        let mut nft = self.command(NODE, "nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "nft (nftables) takes {rules}");
    }

    /// Where a host's namespace is.
    pub(super) fn path(&self, host: usize) -> String {
        format!("/run/netns/{}", self.names[host])
    }

    /// A program on a host; mounts stay the machine's.
    pub(super) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path(host))).arg(program);
        command
    }

    /// `ip` on a host.
    pub(super) fn ip(&self, host: usize, arguments: &[&str]) {
        ip(&[&["-n", &self.names[host]], arguments].concat());
    }

    /// Does `work` on a host.
    pub(super) fn on<T: Send + 'static>(&self, host: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(self.path(host)).unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
        .join()
        .unwrap()
    }

    /// A pair of interfaces, one on each of two hosts, with addresses and up.
    pub(super) fn link(&self, one: (usize, &str, &str), other: (usize, &str, &str)) {
        let names = [&self.names[one.0], &self.names[other.0]];
        ip(&[
            "-n", names[0], "link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", names[1],
        ]);
        for (name, (_, device, address)) in names.into_iter().zip([one, other]) {
            ip(&["-n", name, "address", "add", address, "dev", device]);
            ip(&["-n", name, "link", "set", device, "up"]);
        }
    }

    /// A listener on the server's host.
    pub(super) fn listen(&self, address: &str) -> TcpListener {
        let address: SocketAddr = address.parse().unwrap();
        self.on(SERVER, move || TcpListener::bind(address).unwrap())
    }

    /// A connection from the client's host, and its other end.
    pub(super) fn connect(&self, to: &str, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let to: SocketAddr = to.parse().unwrap();
        let client = self.on(CLIENT, move || TcpStream::connect(to).unwrap());
        (client, listener.accept().unwrap().0)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            // Best effort: what can't be removed must not hide the test's own failure.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends so many bytes from one to the other, which reads them.
pub(super) fn send(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    let mut reader = to.try_clone().unwrap();
    let reading = std::thread::spawn(move || reader.read_exact(&mut vec![0; bytes]).unwrap());
    from.write_all(&vec![b'x'; bytes]).unwrap();
    reading.join().unwrap();
}

/// A probe on the node, and the collector that it has there.
pub(super) struct Running {
    child: Child,
}

/// What probes of a test report to, and where they keep what they need.
pub(super) struct Watched {
    pub(super) keeper: Arc<Keeper>,
    endpoint: String,
    place: Place,
}

impl Watched {
    pub(super) fn new(net: &Net) -> Watched {
        let keeper = Arc::new(Keeper::default());
        let listener = net.on(NODE, || TcpListener::bind("127.0.0.1:0").unwrap());
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        serve(&keeper, tokio::net::TcpListener::from_std(listener).unwrap());
        Watched { keeper, endpoint, place: Place::new() }
    }

    /// Starts the probe on the node and waits until its programs are at work.
    pub(super) async fn probe(&self, net: &Net, flags: &[&str]) -> Running {
        let ready = self.place.state().with_extension("ready");
        let _ = std::fs::remove_file(&ready);
        let mut command = net.command(NODE, env!("CARGO_BIN_EXE_weir-probe"));
        command.args(["--collector", &self.endpoint, "--node", "node", "--interval", "1", "--log", "warn"]);
        command.args(["--health", "127.0.0.1:0", "--level", "packets"]);
        command.arg("--state-dir").arg(self.place.state()).arg("--pin-dir").arg(self.place.pins());
        command.arg("--ready-file").arg(&ready).args(flags);
        let running = Running { child: command.stderr(Stdio::inherit()).spawn().unwrap() };
        let began = std::time::Instant::now();
        while !ready.exists() {
            assert!(began.elapsed().as_secs() < 30, "the probe never was ready");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        running
    }

    /// Rows of the path where this is so.
    pub(super) fn path(&self, is_it: impl Fn(&FlowRow) -> bool) -> Vec<FlowRow> {
        let mut rows: Vec<FlowRow> = self.keeper.rows();
        rows.retain(|row| row.observer.as_deref() == Some("path") && is_it(row));
        rows.sort_by_key(|row| row.end_time);
        rows
    }

    /// Waits until rows of the path, and of `ends` ends, say that the connection to that port is over; gives all.
    pub(super) async fn over(&self, port: u16, ends: usize) -> Vec<FlowRow> {
        let found = |keeper: &Keeper| keeper.flows(port);
        let is_over = |row: &&FlowRow| matches!(row.state.as_deref(), Some("closed" | "only"));
        let count = |rows: &[FlowRow], is_path: bool| {
            let of = rows.iter().filter(|row| (row.observer.as_deref() == Some("path")) == is_path);
            of.filter(is_over).count()
        };
        let is_all = |rows: &Vec<FlowRow>| count(rows, true) >= 1 && count(rows, false) >= ends;
        self.keeper.until("the end of the connection, on the path too", found, is_all).await
    }
}

impl Running {
    pub(super) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
