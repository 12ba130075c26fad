//! Packets a second from a capture file to rows, one core. Rival: `tshark -q -z conv,tcp` on the same file, which
//! computes less (no rows, no handshakes). Budget: 1,000,000 packets a second.
//!
//! `cargo bench -p weir-collector --bench import`; `WEIR_BENCH_PACKETS` changes the size (1,000,000).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "import/generate.rs"]
mod generate;

use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

    let mut best = Duration::MAX;
    for run in 1..=RUNS {
        let (took, report) = import(&path);
        assert_eq!((report.packets, report.totals.tcp_packets), (written.packets, written.tcp_packets));
        println!(
            "  weir, run {run}: {:.3} s, {:.2} M packets/s, {} flow rows, {} handshakes",
            took.as_secs_f64(),
            per_second(packets, took),
            report.flows,
            report.handshakes
        );
        best = best.min(took);
    }
    println!("  weir, best of {RUNS}: {:.2} M packets/s", per_second(packets, best));

    match tshark(&path) {
        Some(took) => {
            println!(
                "  tshark -q -z conv,tcp: {:.2} s, {:.3} M packets/s",
                took.as_secs_f64(),
                per_second(packets, took)
            );
            println!("  weir is {:.0} times as fast", took.as_secs_f64() / best.as_secs_f64());
        }
        None => println!("  tshark is not installed: no rival's figure (apt-get install tshark)"),
    }
}

/// File to rows on this one thread; the rows are dropped.
fn import(path: &Path) -> (Duration, pcap::ImportReport) {
    let start = Instant::now();
    let on_rows = |flows, handshakes| {
        std::hint::black_box((flows, handshakes));
        ControlFlow::Continue(())
    };
    let report = pcap::import(File::open(path).unwrap(), pcap::Options::default(), on_rows, |_| {}).unwrap();
    (start.elapsed(), report)
}

fn tshark(path: &Path) -> Option<Duration> {
    let start = Instant::now();
    let done = Command::new("tshark")
        .args(["-q", "-z", "conv,tcp", "-r"])
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    assert!(done.success(), "tshark could not read {}", path.display());
    Some(start.elapsed())
}

fn per_second(packets: u64, took: Duration) -> f64 {
    packets as f64 / took.as_secs_f64() / 1e6
}
