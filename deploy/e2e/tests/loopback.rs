//! Nothing of Weir listens beyond this machine until somebody says so.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_e2e::{Namespace, Store, Weir, need_root, run, weir_binary};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// OTLP over gRPC and HTTP, PostgreSQL's protocol, web page, Flight, Flight SQL, Jaeger's gRPC and HTTP, Jaeger's remote storage.
const PORTS: [u16; 9] = [4317, 4318, 5433, 8480, 8481, 8483, 16685, 16686, 17271];

/// In a namespace of its own, where the default ports are free and every socket is Weir's.
#[tokio::test]
async fn weir_up_with_default_ports_listens_on_loopback_only() -> anyhow::Result<()> {
    need_root();
    let namespace = Namespace::new()?;
    let mut command = namespace.command(weir_binary());
    command.arg("up");
    let weir = Weir::launch(command, &Store::new()?).await?;

    let listening = listeners(weir.process.pid())?;
    let beyond: Vec<&SocketAddr> = listening.iter().filter(|address| !address.ip().is_loopback()).collect();
    assert!(beyond.is_empty(), "reachable from outside: {beyond:?}");
    let mut ports: Vec<u16> = listening.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports, PORTS, "the default ports, and no other");
    Ok(())
}

/// The same for what `--help` promises, subcommand by subcommand.
#[test]
fn every_default_address_in_the_help_is_a_loopback_one() -> anyhow::Result<()> {
    let help = run(weir_binary(), ["up", "--help"])?;
    let defaults: Vec<SocketAddr> = help
        .split("[default: ")
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .filter_map(|text| text.parse().ok())
        .collect();
    assert_eq!(defaults.len(), PORTS.len(), "{help}");
    assert!(defaults.iter().all(|address| address.ip().is_loopback()), "{defaults:?}");
    Ok(())
}

/// All listening TCP sockets and bound UDP sockets of the network namespace that `pid` is in.
fn listeners(pid: u32) -> anyhow::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state)) = (fields.get(1), fields.get(3)) else { continue };
            if table.starts_with("udp") || *state == LISTEN {
                found.push(address(local).unwrap_or_else(|| panic!("{table}: {line}")));
            }
        }
    }
    Ok(found)
}

/// `0100007F:2120` is 127.0.0.1:8480: words of the address in the machine's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => Ipv4Addr::from(v4).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[test]
fn addresses_of_proc_are_read_as_the_kernel_writes_them() {
    let read = |text: &str| address(text).map(|address| address.to_string());
    assert_eq!(read("0100007F:2120").as_deref(), Some("127.0.0.1:8480"));
    assert_eq!(read("00000000000000000000000001000000:10DD").as_deref(), Some("[::1]:4317"));
    assert_eq!(read("00000000:0050").as_deref(), Some("0.0.0.0:80"));
}
