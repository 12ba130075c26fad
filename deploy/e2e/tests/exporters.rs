//! NetFlow v5, v9 and IPFIX from a real exporter (softflowd), which reads a capture; what nfcapd makes of the same is the truth.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use weir_e2e::{Process, Weir, run, until};

/// TLS, DNS and more of them; the collector's own tests have them too.
const CAPTURES: [&str; 2] = ["tls.pcap", "dns.pcap"];

/// Bytes and packets by protocol and the two ends, the lower one first.
type Flows = BTreeMap<[String; 3], (u64, u64)>;

/// softflowd's flows of a capture, sent to `to`.
fn export(capture: &Path, version: &str, to: &str, dir: &Path) -> anyhow::Result<()> {
    let capture = capture.display().to_string();
    let pid = dir.join("softflowd.pid").display().to_string();
    // In the foreground, and without its control socket: with one, it may wait there for somebody to connect.
    run("softflowd", ["-d", "-r", &capture, "-n", to, "-v", version, "-p", &pid, "-c", "none"])?;
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Bytes that wait at a UDP port to be read; `None` where nobody has it.
fn waiting_at(port: u16) -> anyhow::Result<Option<u64>> {
    let table = std::fs::read_to_string("/proc/self/net/udp")?;
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ours =
        lines.filter(|fields| fields.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}"))));
    // `tx_queue:rx_queue`, in hex.
    let queue = ours.find_map(|fields| fields.get(4)?.split_once(':').map(|(_, queue)| queue.to_owned()));
    Ok(queue.map(|queue| u64::from_str_radix(&queue, 16)).transpose()?)
}

/// What nfcapd takes of the same exporter's, as nfdump tells it.
async fn truth(capture: &Path, version: &str) -> anyhow::Result<Flows> {
    let dir = TempDir::with_prefix("weir-nfcapd-")?;
    let port = free_port()?;
    let mut command = Command::new("nfcapd");
    command.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-w"]).arg(dir.path());
    let mut nfcapd = Process::start(&mut command, &dir.path().join("log"))?;
    until("nfcapd listens", || async { Ok(waiting_at(port)?.map(|_| ())) }).await?;
    export(capture, version, &format!("127.0.0.1:{port}"), dir.path())?;
    until("nfcapd has read all", || async { Ok(waiting_at(port)?.filter(|bytes| *bytes == 0)) }).await?;
    nfcapd.signal(Signal::SIGTERM)?;
    nfcapd.ended().await?;
    let mut flows = Flows::new();
    for entry in std::fs::read_dir(dir.path())? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nfcapd.")) {
            continue;
        }
        let text = run(
            "nfdump",
            ["-q", "-N", "-r", &path.display().to_string(), "-o", "fmt:%pr,%sa,%sp,%da,%dp,%byt,%pkt"],
        )?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [protocol, source, source_port, destination, destination_port, bytes, packets] = fields[..]
            else {
                anyhow::bail!("nfdump says {line:?}");
            };
            let number = |text: &str| text.parse::<u64>().with_context(|| line.to_owned());
            let flow = (number(bytes)?, number(packets)?);
            add(&mut flows, protocol, [(source, source_port), (destination, destination_port)], flow);
        }
    }
    Ok(flows)
}

fn add(flows: &mut Flows, protocol: &str, ends: [(&str, &str); 2], (bytes, packets): (u64, u64)) {
    let name = match protocol {
        "1" | "58" => "icmp",
        "6" => "tcp",
        "17" => "udp",
        other => other,
    };
    // Of ICMP, nfdump shows type and code where ports are.
    let is_icmp = name == "icmp";
    let mut ends = ends.map(|(ip, port)| if is_icmp { ip.to_owned() } else { format!("{ip} {port}") });
    ends.sort();
    let [first, second] = ends;
    let total = flows.entry([name.to_owned(), first, second]).or_default();
    (total.0, total.1) = (total.0 + bytes, total.1 + packets);
}

async fn stored(weir: &Weir, source: &str) -> anyhow::Result<Flows> {
    let sql = format!(
        "SELECT protocol, client_ip, client_port, server_ip, server_port, client_bytes + server_bytes, \
         client_packets + server_packets FROM flows WHERE source = '{source}'"
    );
    let mut flows = Flows::new();
    for row in weir.sql(&sql).await? {
        let text = |place: usize| match &row[place] {
            Value::String(text) => text.clone(),
            Value::Null => "0".to_owned(),
            other => other.to_string(),
        };
        let number = |place: usize| text(place).parse::<u64>();
        let ends = [(text(1), text(2)), (text(3), text(4))];
        let ends = [(ends[0].0.as_str(), ends[0].1.as_str()), (ends[1].0.as_str(), ends[1].1.as_str())];
        add(&mut flows, &text(0), ends, (number(5)?, number(6)?));
    }
    Ok(flows)
}

#[tokio::test]
async fn flows_of_a_real_exporter_are_what_nfcapd_makes_of_them() -> anyhow::Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../collector/pipeline/tests/fixtures");
    for (version, source) in [("5", "netflow"), ("9", "netflow"), ("10", "ipfix")] {
        for capture in CAPTURES {
            let capture = fixtures.join(capture);
            let expected = truth(&capture, version).await?;
            assert!(expected.len() > 2, "nfcapd took {} flows of version {version}", expected.len());
            let weir = Weir::start(&["--no-probe", "--netflow", "127.0.0.1:0"]).await?;
            let dir = TempDir::new()?;
            export(&capture, version, &weir.address("netflow")?.to_string(), dir.path())?;
            let same = || async {
                let flows = stored(&weir, source).await?;
                Ok((flows.len() >= expected.len()).then_some(flows))
            };
            let what = format!("{} flows of version {version} are stored", expected.len());
            let (flows, _) = until(&what, same).await?;
            assert_eq!(flows, expected, "version {version} of {}", capture.display());
            let exporter = "SELECT count(*) FROM flows WHERE node = '127.0.0.1' AND observer = 'path' AND time > '1990-01-01'";
            assert!(weir.number(exporter).await? > 0);
            assert_eq!(
                weir.number("SELECT count(*) FROM probe_health WHERE counter LIKE 'refused%'").await?,
                0
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_datagram_of_an_exporter_is_counted_and_nothing_else() -> anyhow::Result<()> {
    let weir = Weir::start(&["--no-probe", "--netflow", "127.0.0.1:0", "--sflow", "127.0.0.1:0"]).await?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for listener in ["netflow", "sflow"] {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[], &[0; 1_400]] {
            socket.send_to(bytes, weir.address(listener)?)?;
        }
    }
    let counted = || async {
        let page = weir.page("/metrics").await?;
        Ok(page.contains("weir_ingest_refused_total{reason=\"malformed_datagram\"} 6").then_some(()))
    };
    until("they are counted", counted).await?;
    let told = "SELECT sum(value) FROM probe_health WHERE counter = 'refused_malformed_datagram' AND node = '127.0.0.1'";
    until("probe_health has them", || async { Ok((weir.number(told).await? == 6).then_some(())) }).await?;
    assert_eq!(weir.number("SELECT count(*) FROM flows").await?, 0);
    Ok(())
}
