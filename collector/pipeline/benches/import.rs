//! Packets a second from a capture file to rows, one core. Rival: `tshark -q -z conv,tcp` on the same file, which
//! computes less (no rows, no handshakes). Budget: 1,000,000 packets a second. The totals of packets and bytes must be
//! those of tshark and capinfos, or the bench fails.
//!
//! `cargo bench -p weir-collector --bench import`; `WEIR_BENCH_PACKETS` changes the size (1,000,000). Where others use
//! the machine too, processor time is the figure to look at.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "import/generate.rs"]
mod generate;

use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use weir_collector::receive::pcap;

const RUNS: usize = 5;

fn main() {
    let packets =
        std::env::var("WEIR_BENCH_PACKETS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.pcap");
    let written = generate::capture(&mut BufWriter::new(File::create(&path).unwrap()), packets).unwrap();
    let size = path.metadata().unwrap().len();
    println!("import: {packets} packets, {} TCP connections, {} MB", written.connections, size >> 20);

    let mut best = (Duration::MAX, Duration::MAX);
    let mut last = None;
    for run in 1..=RUNS {
        let (took, processor, report) = import(&path);
        println!(
            "  weir, run {run}: {:.3} s, {:.2} M packets/s ({:.2} of processor time), {} flow rows, {} handshakes",
            took.as_secs_f64(),
            per_second(packets, took),
            per_second(packets, processor),
            report.flows,
            report.handshakes
        );
        best = (best.0.min(took), best.1.min(processor));
        last = Some(report);
    }
    println!(
        "  weir, best of {RUNS}: {:.2} M packets/s, {:.2} of processor time",
        per_second(packets, best.0),
        per_second(packets, best.1)
    );
    let report = last.unwrap();
    assert_eq!((report.packets, report.wire_bytes), (written.packets, written.bytes));
    assert_eq!((report.totals.tcp_packets, report.tcp_wire_bytes), (written.tcp_packets, written.tcp_bytes));
    assert_eq!(report.totals.udp_packets, written.udp_packets);

    let Some((took, conversations)) = tool("tshark", &["-q", "-n", "-z", "conv,tcp", "-r"], &path) else {
        println!("  tshark is not installed: no rival's figure (apt-get install tshark)");
        return;
    };
    println!(
        "  tshark -q -z conv,tcp: {:.2} s, {:.3} M packets/s",
        took.as_secs_f64(),
        per_second(packets, took)
    );
    println!("  weir is {:.0} times as fast", took.as_secs_f64() / best.0.as_secs_f64());
    assert_eq!(report.totals.tcp_packets, packets_of(&conversations), "tshark's TCP packets");
    // conv,tcp rounds bytes to kB; the protocol hierarchy has them whole.
    let (_, hierarchy) = tool("tshark", &["-q", "-n", "-z", "io,phs", "-r"], &path).unwrap();
    assert_eq!((report.totals.tcp_packets, report.tcp_wire_bytes), frames_and_bytes(&hierarchy, "tcp"));
    assert_eq!((report.totals.udp_packets, report.udp_wire_bytes), frames_and_bytes(&hierarchy, "udp"));
    let (_, table) = tool("capinfos", &["-T", "-r", "-M", "-c", "-d"], &path).unwrap();
    let counts: Vec<u64> = table.trim().split('\t').skip(1).map(|count| count.parse().unwrap()).collect();
    assert_eq!([report.packets, report.wire_bytes], counts[..2], "capinfos' packets and bytes");
    println!(
        "  totals as tshark and capinfos have them: {} packets, {} bytes; TCP {} packets, {} bytes",
        report.packets, report.wire_bytes, report.totals.tcp_packets, report.tcp_wire_bytes
    );
}

/// File to rows on this one thread; the rows are dropped. How long it took by the clock, and on the processor.
fn import(path: &Path) -> (Duration, Duration, pcap::ImportReport) {
    let (start, used) = (Instant::now(), processor_time());
    let on_rows = |rows| {
        std::hint::black_box(rows);
        ControlFlow::Continue(())
    };
    let report = pcap::import(File::open(path).unwrap(), pcap::Options::default(), on_rows, |_| {}).unwrap();
    (start.elapsed(), processor_time().saturating_sub(used), report)
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds() as u64)
}

/// What a tool prints about a file, and how long it took; `None` where it isn't installed.
fn tool(name: &str, arguments: &[&str], path: &Path) -> Option<(Duration, String)> {
    let start = Instant::now();
    let done = Command::new(name).args(arguments).arg(path).stderr(Stdio::null()).output().ok()?;
    assert!(done.status.success(), "{name} could not read {}", path.display());
    Some((start.elapsed(), String::from_utf8(done.stdout).unwrap()))
}

/// The packets of all conversations: `a <-> b  frames bytes unit  frames bytes unit  frames bytes unit …`.
fn packets_of(conversations: &str) -> u64 {
    let lines = conversations.lines().filter(|line| line.contains("<->"));
    lines.map(|line| line.split_whitespace().nth(9).unwrap().parse::<u64>().unwrap()).sum()
}

/// `tcp  frames:123 bytes:4567` of the protocol hierarchy.
fn frames_and_bytes(hierarchy: &str, protocol: &str) -> (u64, u64) {
    let line = hierarchy.lines().find(|line| line.split_whitespace().next() == Some(protocol)).unwrap();
    let number =
        |name: &str| line.split(name).nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    (number("frames:"), number("bytes:"))
}

fn per_second(packets: u64, took: Duration) -> f64 {
    packets as f64 / took.as_secs_f64() / 1e6
}
