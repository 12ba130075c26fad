//! `weir import`: capture files → rows → a running collector, by the way that a probe's rows go.

mod report;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::net::TcpStream;
use weir_collector::receive::pcap::{self, ImportReport, Rows};
use weir_model::SmolStr;
use weir_wire::{Shipper, ShipperConfig};

use super::client;

/// Batches between the reading and the sending half; more would only cost memory.
const AHEAD: usize = 4;
/// How often `--follow` looks whether the file has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Read a capture file (pcap, pcapng) into the store of a running Weir.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Capture files; `-` reads one from standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Go on reading as the file grows, until interrupted (as `tail -f`).
    #[arg(long, short)]
    follow: bool,
    /// Which Weir to read it into.
    #[arg(long, env = "WEIR_SERVER", default_value = client::SERVER, value_name = "URL")]
    server: String,
    /// Where its collector listens, for when the Weir of --server can't be asked; such as `http://127.0.0.1:8481`.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Name that the rows carry as their node, instead of the file's name.
    #[arg(long)]
    node: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if args.follow && args.files.len() > 1 {
        bail!("--follow reads one file; start one `weir import --follow` for each");
    }
    let collector = match &args.to {
        Some(to) => to.clone(),
        None => collector_of(&args.server).await?,
    };
    must_listen(&collector).await?;
    let mut reports = Vec::new();
    for file in &args.files {
        let report =
            import(&args, &collector, file).await.with_context(|| format!("import {}", file.display()))?;
        if let Some(damage) = &report.damage {
            tracing::warn!(file = %file.display(), "{damage}");
        }
        reports.push((file.display().to_string(), report));
    }
    report::print(&reports)
}

/// The collector of a running Weir: its port as `/api/v1/status` names it, on the host where that was asked.
async fn collector_of(server: &str) -> anyhow::Result<String> {
    let url = format!("{}/api/v1/status", server.trim_end_matches('/'));
    let status = client::send(server, reqwest::Client::new().get(url), None).await?;
    let status: Value = status.json().await.context("read its status")?;
    let flight = status["listeners"].as_array().and_then(|listeners| {
        listeners.iter().find(|listener| listener["name"] == "flight")?["address"].as_str()?.parse().ok()
    });
    let flight: SocketAddr =
        flight.with_context(|| format!("{server} names no collector of its own: name one with --to URL"))?;
    at_port(server, flight.port())
}

/// The same host at another port.
fn at_port(server: &str, port: u16) -> anyhow::Result<String> {
    let url = reqwest::Url::parse(server)
        .with_context(|| format!("{server} is not a URL (try {})", client::SERVER))?;
    let host = url.host_str().with_context(|| format!("{server} names no host (try {})", client::SERVER))?;
    Ok(format!("http://{host}:{port}"))
}

/// Fails at once where nobody listens; a shipper would wait for the collector to come back.
async fn must_listen(to: &str) -> anyhow::Result<()> {
    let url = reqwest::Url::parse(to)
        .with_context(|| format!("--to {to} is not a URL (try http://127.0.0.1:8481)"))?;
    let host =
        url.host_str().with_context(|| format!("--to {to} names no host (try http://127.0.0.1:8481)"))?;
    let port = url.port_or_known_default().unwrap_or(8481);
    let connected = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    connected
        .map(drop)
        .with_context(|| format!("no collector at {to}: start one with `weir up`, or name it with --to"))
}

async fn import(args: &Args, collector: &str, file: &Path) -> anyhow::Result<ImportReport> {
    let standard_input = file == Path::new("-");
    let name = match &args.node {
        Some(name) => name.clone(),
        None if standard_input => "stdin".to_owned(),
        None => {
            file.file_name().map_or_else(|| "pcap".to_owned(), |name| name.to_string_lossy().into_owned())
        }
    };
    let (reader, length): (Box<dyn Read + Send>, u64) = if standard_input {
        (Box::new(io::stdin()), 0)
    } else {
        let opened = File::open(file).context("open it")?;
        let length = opened.metadata().context("look at it")?.len();
        (Box::new(opened), length)
    };
    let shipper = Shipper::start(ShipperConfig {
        endpoint: collector.to_owned(),
        node: name.clone(),
        boot_id: weir_kit::host::boot_id(),
        queue_bytes: 64 << 20,
    });
    let options = pcap::Options { node: SmolStr::new(&name), ..pcap::Options::default() };
    let bar = progress_bar(length, &name);
    let (stop, stopped) = sync_channel::<()>(1);
    let follow = args.follow;
    let (rows_in, mut rows_out) = tokio::sync::mpsc::channel::<Rows>(AHEAD);

    let reading = tokio::task::spawn_blocking(move || {
        // True to its name only when following: the file's end is the end otherwise.
        let wait = || match follow.then(|| stopped.recv_timeout(LOOK_AGAIN)) {
            Some(Err(RecvTimeoutError::Timeout)) => Some(now_ns()),
            _ => None,
        };
        let on_rows = |rows| match rows_in.blocking_send(rows) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let progress = |progress: pcap::Progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} packets", progress.packets));
        };
        let report = pcap::follow(reader, options, wait, on_rows, progress);
        bar.finish_and_clear();
        report
    });
    stop_on_interrupt(follow, stop);

    while let Some(rows) = rows_out.recv().await {
        // Flows last: who finds one may want to know its handshake at once.
        shipper.send(&rows.handshakes).await?;
        shipper.send(&rows.dns).await?;
        shipper.send(&rows.flows).await?;
    }
    let report = reading.await.context("read it")??;
    shipper.flush().await?;
    let stats = shipper.stats();
    if stats.refused_rows > 0 {
        let why = stats.last_error.unwrap_or_else(|| "no reason given".to_owned());
        bail!(
            "the collector refused {} of {} rows: {why}",
            stats.refused_rows,
            report.flows + report.handshakes + report.dns
        );
    }
    Ok(report)
}

fn stop_on_interrupt(follow: bool, stop: SyncSender<()>) {
    if !follow {
        return;
    }
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            // The reader may have ended by itself: then nobody needs to be told.
            let _ = stop.try_send(());
        }
        // Kept until here: a sender that is dropped would read as a stop.
        drop(stop);
    });
}

fn progress_bar(length: u64, name: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = if length > 0 { ProgressBar::new(length) } else { ProgressBar::new_spinner() };
    let form = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg}";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.with_prefix(name.to_owned())
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_is_on_the_host_that_was_asked() {
        let at = |server| at_port(server, 8481).map_err(|err| err.to_string());
        assert_eq!(at("http://127.0.0.1:8480/"), Ok("http://127.0.0.1:8481".to_owned()));
        assert_eq!(at("http://[::1]:8480"), Ok("http://[::1]:8481".to_owned()));
        assert!(at("weir").is_err_and(|err| err.contains("not a URL")));
    }
}
