//! `weir capture`: packets on demand from the nodes' probes, into a pcapng file or a pipe.
//!
//! | file        | subject                                                     |
//! |-------------|-------------------------------------------------------------|
//! | `blocks.rs` | the stream cut into whole blocks, and what they count          |
//! | `tell.rs`   | what is said on standard error while it runs, and at the end   |
//!
//! Only whole blocks are written, so that the file is one however the capture ends.

mod blocks;
mod tell;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use weir_kit::exit;
use weir_model::capture::{CaptureRequest, MOST_PAYLOAD};

use super::client;
use blocks::Blocks;
use tell::Teller;

/// Takes packets on the nodes where they meet their sockets, and writes them with their process and pod.
///
/// Headers only, unless --payload asks for more and the server was started for it. A capture ends after --seconds, with
/// --packets or --bytes, or with Ctrl-C; the file is whole each time. It costs the nodes nothing when none runs. In
/// Wireshark the comment of a packet says node, process, pod, container and network namespace; frame.comment filters.
///
/// FILTER is written as for tcpdump:
///
///     host 10.0.0.1            net 10.0.0.0/8        port 443        port 8000-8080
///     tcp  udp  icmp  icmp6  sctp  proto 47          ip   ip6        tcp port 443
///     src … dst …              of the packet's sender or receiver: src host 10.0.0.1
///     client … server …        of who opened the connection: server port 5432
///     process nginx   pid 7    netns 4026531840      cgroup 12345
///     container 3f0c9a2b7d6e   pod 12345678-90ab-cdef-1234-567890abcdef
///     and  or  not  ( )
///
/// Examples:
///
///     weir capture --filter 'tcp port 443 and host 10.0.0.1' -o out.pcapng
///     weir capture --filter 'server port 5432 and process app' --node node-1 --seconds 60 -o db.pcapng
///     weir capture --filter 'udp port 53' -o - | tshark -r - -T fields -e ip.dst -e frame.comment
///     weir capture --filter 'port 80 and not net 10.0.0.0/8' --payload 200 -o - | wireshark -k -i -
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Which packets; all by default.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    filter: String,
    /// A node to ask, repeatable; all whose probes are connected by default.
    #[arg(long, value_name = "NODE")]
    node: Vec<String>,
    /// Where to: a file, or `-` for standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// How long, at most 3600.
    #[arg(long, default_value_t = CaptureRequest::default().seconds)]
    seconds: u32,
    /// Most packets, all nodes together.
    #[arg(long, default_value_t = CaptureRequest::default().packets)]
    packets: u64,
    /// Most bytes of the file, such as 500k, 100M or 2G.
    #[arg(long, default_value = "100M", value_parser = bytes)]
    bytes: u64,
    /// Bytes of payload to keep of each packet, or `all`. Payload can be secret: the server refuses it unless it was
    /// started with --allow-payload-capture.
    #[arg(long, default_value = "0", value_name = "BYTES|all", value_parser = payload)]
    payload: u32,
    /// Which Weir to ask.
    #[arg(long, env = "WEIR_SERVER", default_value = client::SERVER, value_name = "URL")]
    server: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let is_stdout = args.output == Path::new("-");
    if is_stdout && std::io::stdout().is_terminal() {
        bail!("packets are no text for a terminal: pipe them into a program, or name a file with -o");
    }
    let asked = CaptureRequest {
        filter: args.filter.clone(),
        nodes: args.node.clone(),
        seconds: args.seconds,
        packets: args.packets,
        bytes: args.bytes,
        payload: args.payload,
    };
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/capture", args.server.trim_end_matches('/')))
        .json(&asked);
    // Before the file is made: a refusal must not leave an empty one in the place of an older one.
    let response = client::send(&args.server, request, Some(&args.filter)).await?;
    let stop = weir_kit::stop::on_signal().context("install the signal handlers")?;
    let mut output = Output::open(&args.output)?;
    let mut teller = Teller::new(&asked);
    let mut blocks = Blocks::default();
    let copied = copy(response, &stop, &mut output, &mut blocks, &mut teller).await;
    let why = if copied.is_ok() { "ended: interrupted" } else { "failed: broken off" };
    output.write(&blocks.last_words(why))?;
    output.finish()?;
    teller.end(&blocks, &args.output);
    copied?;
    let failed: Vec<&str> =
        blocks.nodes().filter(|node| node.has_failed()).map(|node| node.name.as_str()).collect();
    if !failed.is_empty() {
        bail!("not all nodes gave packets: {}", failed.join(", "));
    }
    Ok(())
}

/// From the stream to the output, until its end or until `stop`.
async fn copy(
    response: reqwest::Response,
    stop: &CancellationToken,
    output: &mut Output,
    blocks: &mut Blocks,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    let mut chunks = response.bytes_stream();
    loop {
        let chunk = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            chunk = chunks.next() => chunk,
        };
        let Some(chunk) = chunk else {
            if blocks.is_at_end() {
                return Ok(());
            }
            bail!("the capture broke off within a packet; what is written is whole");
        };
        let chunk = chunk.context("the capture broke off; what is written is whole")?;
        output.write(&blocks.read(&chunk)?)?;
        teller.go_on(blocks);
    }
}

/// Where packets go. A file has its name from the beginning: what is in it is whole at any time.
enum Output {
    Stdout(std::io::StdoutLock<'static>),
    File { file: BufWriter<File>, path: PathBuf },
}

impl Output {
    fn open(path: &Path) -> anyhow::Result<Output> {
        if path == Path::new("-") {
            return Ok(Output::Stdout(std::io::stdout().lock()));
        }
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        Ok(Output::File { file: BufWriter::new(file), path: path.to_owned() })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            // Whoever reads a pipe wants packets now.
            Output::Stdout(out) => exit::stdout(out.write_all(bytes).and_then(|()| out.flush())),
            Output::File { file, path } => file
                .write_all(bytes)
                .and_then(|()| file.flush())
                .with_context(|| format!("write {}", path.display())),
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Output::Stdout(_) => Ok(()),
            Output::File { file, path } => {
                file.get_ref().sync_all().with_context(|| format!("write {}", path.display()))
            }
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let factor = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1_u64 << 30,
        unit => return Err(format!("no unit {unit:?}: k, M or G")),
    };
    let number: u64 =
        number.parse().map_err(|_| "a whole number, with k, M or G behind it if you like".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too many".to_owned())
}

fn payload(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(MOST_PAYLOAD);
    }
    match text.parse() {
        Ok(bytes) if bytes <= MOST_PAYLOAD => Ok(bytes),
        _ => Err(format!("0 to {MOST_PAYLOAD} bytes, or all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["7", "7b", "2k", "3M", "1GiB"].map(bytes), [7, 7, 2 << 10, 3 << 20, 1 << 30].map(Ok));
        assert!(bytes("x").is_err() && bytes("1T").is_err() && bytes("99999999999999G").is_err());
        assert_eq!(["0", "64", "all"].map(payload), [0, 64, MOST_PAYLOAD].map(Ok));
        assert!(payload("-1").is_err() && payload("65537").is_err());
    }

    #[test]
    fn the_usual_bounds_are_the_api_s() {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let args = Cli::parse_from(["weir", "-o", "x"]).args;
        let usual = CaptureRequest::default();
        assert_eq!((args.seconds, args.packets, args.bytes), (usual.seconds, usual.packets, usual.bytes));
        assert_eq!((args.payload, args.filter.as_str()), (usual.payload, ""));
    }
}
