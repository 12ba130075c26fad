//! Scores what we read from captures against what independent tools say is in them.
//!
//! | file              | subject                                                                 |
//! |-------------------|-------------------------------------------------------------------------|
//! | `connections.rs`  | connections, their ends, packets, bytes and how they ended, against Zeek    |
//! | `tls.rs`          | TLS over TCP                                                              |
//! | `certificates.rs` | certificates of TLS and DTLS up to 1.2                                    |
//! | `quic.rs`         | QUIC and DTLS: TLS over UDP                                               |
//! | `dns.rs`          | DNS, against tshark                                                       |
//! | `handshakes.rs`   | what `tls.rs` and `quic.rs` share: a flow's row, and how the two compare    |
//! | `ja4.rs`          | nDPI's JA4 as the specification has it                                    |
//! | `zeek.rs`         | Zeek's logs                                                               |
//! | `report.rs`       | the table that each subject prints                                        |
//!
//! `make conformance`, or the program with a folder, reads `FOLDER/manifest.json` (default
//! `../shared/pcaps`), imports every capture that has known answers, and prints right / known per field and each
//! miss with its cause. Exit 1 where a subject falls below what it wants; an absent folder is no failure, since the
//! captures are not part of this repository.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

mod certificates;
mod connections;
mod dns;
mod handshakes;
mod ja4;
mod quic;
mod report;
mod tls;
mod zeek;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use serde_json::Value;
use weir_collector::receive::pcap;
use weir_model::{FlowRow, SmolStr, TlsHandshakeRow};

use report::Report;

fn main() -> ExitCode {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("../shared/pcaps"), PathBuf::from);
    let manifest = match fs::read_to_string(folder.join("manifest.json")) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            println!("conformance: no captures in {}, nothing to score", folder.display());
            return ExitCode::SUCCESS;
        }
        Err(err) => {
            println!("conformance: read {}/manifest.json: {err}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    let manifest = match serde_json::from_str::<Value>(&manifest) {
        Ok(manifest) => manifest,
        Err(err) => {
            println!("conformance: {}/manifest.json: {err}", folder.display());
            return ExitCode::FAILURE;
        }
    };
    // Each subject prints its own table, whatever the others found.
    let good = [
        connections::score(&folder, &manifest),
        tls::score(&folder, &manifest),
        certificates::score(&folder, &manifest),
        quic::score(&folder, &manifest),
        dns::score(&folder, &manifest),
    ];
    if good.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What we read from a capture.
#[derive(Default)]
struct Imported {
    flows: Vec<FlowRow>,
    handshakes: Vec<TlsHandshakeRow>,
}

/// What an import gives of a capture; one that fails is a miss, as is then all that is known of the file.
fn imported(folder: &Path, file: &str, report: &mut Report) -> Imported {
    let mut rows = Imported::default();
    let on_rows = |ready: pcap::Rows| {
        rows.flows.extend(ready.flows);
        rows.handshakes.extend(ready.handshakes);
        ControlFlow::Continue(())
    };
    let result = fs::File::open(folder.join(file)).map_err(|err| err.to_string()).and_then(|reader| {
        pcap::import(reader, pcap::Options::default(), on_rows, |_| {}).map_err(|err| err.to_string())
    });
    if let Err(err) = result {
        report.miss(format!("{file}: {err}"));
    }
    rows
}

type End = (IpAddr, u16);

/// A row that is about two ends.
trait Ends {
    /// Client and server.
    fn ends(&self) -> Option<(End, End)>;

    /// Whether it is about the ends of a manifest's flow, whichever of them is the client.
    fn is_between(&self, flow: &Value) -> bool {
        let end = |address: &str, port: &str| {
            let ip = flow[address].as_str()?.parse::<IpAddr>().ok()?.to_canonical();
            Some((ip, u16::try_from(flow[port].as_u64()?).ok()?))
        };
        let (Some(src), Some(dst)) = (end("src", "sport"), end("dst", "dport")) else { return false };
        self.ends().is_some_and(|ours| ours == (src, dst) || ours == (dst, src))
    }
}

/// Addresses are written as each tool pleases: compared as addresses.
fn end(ip: Option<&SmolStr>, port: Option<u16>) -> Option<End> {
    Some((ip?.parse().ok()?, port?))
}

impl Ends for FlowRow {
    fn ends(&self) -> Option<(End, End)> {
        let client = end(self.client_ip.as_ref(), self.client_port)?;
        Some((client, end(self.server_ip.as_ref(), self.server_port)?))
    }
}

impl Ends for TlsHandshakeRow {
    fn ends(&self) -> Option<(End, End)> {
        let client = end(self.client_ip.as_ref(), self.client_port)?;
        Some((client, end(self.server_ip.as_ref(), self.server_port)?))
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
