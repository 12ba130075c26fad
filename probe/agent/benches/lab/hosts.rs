//! Two hosts (network namespaces) on one wire: `10.84.0.1` is the client's, `10.84.0.2` the server's.

use std::fs::File;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// Removed when dropped.
pub(crate) struct Hosts {
    names: [String; 2],
}

/// The client's host.
pub(crate) const CLIENT: usize = 0;
/// The server's host.
pub(crate) const SERVER: usize = 1;
/// Where the server is.
pub(crate) const SERVER_IP: &str = "10.84.0.2";

impl Hosts {
    pub(crate) fn new() -> Hosts {
        let tag = std::process::id();
        let hosts = Hosts { names: [format!("weir-c-a-{tag}"), format!("weir-c-b-{tag}")] };
        let [client, server] = &hosts.names;
        ip(&["netns", "add", client]);
        ip(&["netns", "add", server]);
        ip(&["-n", client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", server]);
        for (name, end) in [(client, 1), (server, 2)] {
            ip(&["-n", name, "address", "add", &format!("10.84.0.{end}/16"), "dev", "eth0"]);
            // More ports than one address has are reached by more addresses.
            for more in 1..=8 {
                ip(&["-n", name, "address", "add", &format!("10.84.{more}.{end}/16"), "dev", "eth0"]);
            }
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
        }
        for host in [CLIENT, SERVER] {
            hosts.within(host, || {
                for (name, value) in [
                    ("net/ipv4/ip_local_port_range", "1024 65000"),
                    ("net/ipv4/tcp_tw_reuse", "1"),
                    ("net/core/somaxconn", "65535"),
                ] {
                    std::fs::write(format!("/proc/sys/{name}"), value).unwrap();
                }
            });
        }
        hosts
    }

    /// A program on a host; its cgroups stay the machine's.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.names[host])).arg(program);
        command
    }

    /// Where a host's namespace is.
    #[allow(dead_code, reason = "not all benches start something there themselves")]
    pub(crate) fn path(&self, host: usize) -> String {
        format!("/run/netns/{}", self.names[host])
    }

    /// Does `work` on a host, on a thread of its own that ends with it.
    pub(crate) fn within<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.names[host])).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // Best effort: what can't be removed must not hide why the bench failed.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
