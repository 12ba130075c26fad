//! The demo's network: a namespace with a bridge, and one namespace a service, joined to it by a veth pair.
//!
//! Both ends of every pair are made inside the demo's namespaces: removing those removes everything, and nothing
//! ever appears among this machine's own interfaces, routes or firewall rules. Packet loss is an nftables rule
//! in the receiving namespace, because the network emulator (netem) is missing from many kernels.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns};

use super::service::Role;

const PREFIX: &str = "weir-demo-";
const NETNS_DIR: &str = "/run/netns";
const BRIDGE: &str = "net";
/// The services whose incoming packets are dropped now and then.
const LOSSY: [Role; 2] = [Role::Api, Role::Store];

/// The namespaces of one run; dropping it removes them.
pub(super) struct Network {
    id: u32,
    loss: Loss,
}

enum Loss {
    Percent(u8),
    None(String),
}

impl Network {
    /// Makes namespaces, bridge, links and addresses, and `loss` percent of loss towards `api` and `store`.
    pub(super) fn create(id: u32, loss: u8) -> anyhow::Result<Self> {
        let mut network = Self { id, loss: Loss::Percent(loss) };
        network.build().context("make the demo's network")?;
        if loss == 0 {
            network.loss = Loss::None("no packets lost (--loss 0)".into());
        } else if let Err(err) = network.lose(loss) {
            network.loss = Loss::None(format!("no packets lost: {err:#} (apt-get install nftables)"));
        }
        Ok(network)
    }

    /// What every namespace's name begins with.
    pub(super) fn prefix(&self) -> String {
        format!("{PREFIX}{}-", self.id)
    }

    /// A phrase for the introduction.
    pub(super) fn loss(&self) -> String {
        match &self.loss {
            Loss::Percent(percent) => format!("{percent} % of the TCP packets to api and store are lost"),
            Loss::None(why) => why.clone(),
        }
    }

    /// Runs `work` on a thread inside a service's namespace; processes it starts stay there.
    pub(super) fn inside<T: Send>(
        &self,
        node: &str,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let path = format!("{NETNS_DIR}/{}{node}", self.prefix());
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        // The namespace belongs to the thread that enters it, so that thread must not be one that stays.
        std::thread::scope(|scope| {
            let entered = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))?;
                work()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Packets that the loss rules dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        let Loss::Percent(_) = self.loss else { return 0 };
        let counted = LOSSY.iter().filter_map(|role| {
            let list = || output(Command::new("nft").args(["list", "table", "inet", "weir_demo"]));
            dropped_in(&self.inside(role.name(), list).ok()?)
        });
        counted.sum()
    }

    fn build(&self) -> anyhow::Result<()> {
        let bridge = format!("{}{BRIDGE}", self.prefix());
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link add br0 type bridge"))
            .context("this kernel has no bridge (CONFIG_BRIDGE; try `modprobe bridge`)")?;
        ip(&format!("-n {bridge} link set br0 up"))?;
        for role in Role::ALL {
            let (name, node) = (role.name(), format!("{}{}", self.prefix(), role.name()));
            ip(&format!("netns add {node}"))?;
            ip(&format!("-n {bridge} link add to-{name} type veth peer name eth0 netns {node}"))
                .context("this kernel has no veth (CONFIG_VETH; try `modprobe veth`)")?;
            ip(&format!("-n {bridge} link set to-{name} master br0 up"))?;
            ip(&format!("-n {node} link set lo up"))?;
            ip(&format!("-n {node} addr add {}/24 dev eth0", role.ipv4()))?;
            // Without nodad an IPv6 address can't be bound for the first second or two.
            ip(&format!("-n {node} addr add {}/64 dev eth0 nodad", role.ipv6()))?;
            ip(&format!("-n {node} link set eth0 up"))?;
        }
        Ok(())
    }

    fn lose(&self, percent: u8) -> anyhow::Result<()> {
        let rules = format!(
            "table inet weir_demo {{\n chain loss {{\n  type filter hook input priority 0; policy accept;\n  \
             meta l4proto tcp numgen random mod 100 < {percent} counter drop;\n }}\n}}\n"
        );
        for role in LOSSY {
            self.inside(role.name(), || feed(Command::new("nft").args(["-f", "-"]), &rules))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(err) = remove(self.id) {
            tracing::warn!(%err, "demo network not removed; the next start of the demo tries again");
        }
    }
}

/// Removes the namespaces of the run `id`; what is in them goes with them.
pub(super) fn remove(id: u32) -> anyhow::Result<()> {
    for name in namespaces()? {
        if owner(&name) == Some(id) {
            ip(&format!("netns del {name}"))?;
        }
    }
    Ok(())
}

/// The runs that have namespaces now.
pub(super) fn owners() -> anyhow::Result<BTreeSet<u32>> {
    Ok(namespaces()?.iter().filter_map(|name| owner(name)).collect())
}

fn namespaces() -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err).context(format!("list {NETNS_DIR}")),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    output(Command::new("ip").args(arguments.split(' '))).map(drop)
}

fn feed(command: &mut Command, input: &str) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| missing(command))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let done = child.wait_with_output()?;
    checked(command, &done).map(drop)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| missing(command))?;
    checked(command, &done)
}

fn checked(command: &Command, done: &std::process::Output) -> anyhow::Result<String> {
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn missing(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let package = if program == "ip" { "iproute2" } else { "nftables" };
    format!("can't run {program} (apt-get install {package})")
}

/// The count in nft's `… counter packets 12 bytes 720 drop`.
fn dropped_in(listing: &str) -> Option<u64> {
    listing.split_once("counter packets ")?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_demos_own_namespaces_have_an_owner() {
        assert_eq!(owner("weir-demo-4711-front"), Some(4711));
        for foreign in ["front", "weir-demo-front", "weir-demo-", "cni-4711-x", "weir-demo-x-front"] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_count_of_dropped_packets_is_read_from_nft() {
        let listing = "\t\tmeta l4proto tcp numgen random mod 100 < 2 counter packets 12 bytes 720 drop\n";
        assert_eq!(dropped_in(listing), Some(12));
        assert_eq!(dropped_in("table inet weir_demo {}"), None);
    }
}
