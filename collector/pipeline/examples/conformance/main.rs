//! Scores what we read from captures against what independent tools say is in them.
//!
//! | file      | subject                                                                 |
//! |-----------|-------------------------------------------------------------------------|
//! | `tls.rs`  | TLS over TCP                                                                |
//! | `certificates.rs` | certificates of TLS and DTLS up to 1.2                             |
//! | `quic.rs` | QUIC and DTLS: TLS over UDP                                                  |
//! | `ja4.rs`  | nDPI's JA4 as the specification has it                                       |
//! | `dns.rs`  | DNS, against tshark                                                         |
//!
//! `cargo run -p weir-collector --example conformance -- [FOLDER]` reads `FOLDER/manifest.json` (default
//! `../shared/pcaps`), imports every capture that has known answers, and prints right / known per field and each
//! miss with its cause. Exit 1 where a subject falls below what it wants; an absent folder is no failure, since the
//! captures are not part of this repository.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

mod certificates;
mod dns;
mod ja4;
mod quic;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use serde_json::Value;
use weir_model::SmolStr;

/// How many answers of a field are known, and how many of them we give too.
#[derive(Default)]
struct Score {
    right: usize,
    known: usize,
}

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
        tls::score(&folder, &manifest),
        certificates::score(&folder, &manifest),
        quic::score(&folder, &manifest),
        dns::score(&folder, &manifest),
    ];
    if good.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a row is about the flow's two ends, whichever of them is the client.
fn same_ends(
    flow: &Value,
    client_ip: Option<&SmolStr>,
    client_port: Option<u16>,
    server_ip: Option<&SmolStr>,
    server_port: Option<u16>,
) -> bool {
    let end = |address: &str, port: &str| {
        let ip =
            flow[address].as_str().and_then(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
        Some((ip?, flow[port].as_u64()?))
    };
    // Written as each tool pleases: compared as addresses.
    let ours =
        |ip: Option<&SmolStr>, port: Option<u16>| Some((ip?.parse::<IpAddr>().ok()?, u64::from(port?)));
    let (src, dst) = (end("src", "sport"), end("dst", "dport"));
    let (client, server) = (ours(client_ip, client_port), ours(server_ip, server_port));
    src.is_some() && dst.is_some() && ((src, dst) == (client, server) || (src, dst) == (server, client))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
