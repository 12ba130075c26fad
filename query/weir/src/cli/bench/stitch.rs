//! `weir bench stitch`: exchanges out of CSV files, through the inference that the collector has, to links as CSV.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use weir_kit::exit;
use weir_stitch::infer::{Config, Exchange, Inference, Link};

use super::exchanges::{self, Exchanges};
use super::score;
use crate::flags;

/// `weir bench stitch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CSV files of exchanges; each is inferred for itself.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the links go; standard output by default. Links of several files follow each other.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Links below this confidence (0 to 1) are not told: the trace is split there. By default the likeliest link always is.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = flags::share)]
    min_confidence: f64,
    /// Infer every so many seconds of the data's time, as the collector does, and not all at once.
    #[arg(long, value_name = "SECONDS")]
    window: Option<u32>,
}

#[expect(clippy::print_stderr, reason = "the report is for the person; standard output is the data")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.window == Some(0) {
        bail!("--window is at least a second (try --window 5)");
    }
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).with_context(|| format!("create {}", path.display()))?,
        )),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    exit::stdout(writeln!(out, "exchange_id,parent_id"))?;
    for path in &args.files {
        let read = exchanges::read(path)?;
        let (links, took) = infer(args, &read);
        write_links(&mut out, &read, &links, args).with_context(|| format!("links of {}", path.display()))?;
        eprintln!("{}", report(path, &read, &links, took));
    }
    exit::stdout(out.flush())
}

/// The links of all exchanges, and how long they took on one core.
fn infer(args: &Args, read: &Exchanges) -> (Vec<Link>, Duration) {
    let mut inference = Inference::new(Config { min_confidence: 0.0, ..Config::default() });
    let mut arriving: Vec<Exchange> = read.exchanges(&mut inference);
    arriving.sort_by_key(end);
    let window_ns = args.window.map(|seconds| i64::from(seconds) * 1_000_000_000);
    let mut settled = arriving.first().map_or(0, end);
    let mut links = Vec::with_capacity(arriving.len());

    let begun = Instant::now();
    for exchange in arriving {
        let now = end(&exchange);
        if window_ns.is_some_and(|window_ns| now - settled > window_ns) {
            settled = now;
            links.extend(inference.settle(now));
        }
        inference.add(exchange);
    }
    links.extend(inference.finish());
    (links, begun.elapsed())
}

fn end(exchange: &Exchange) -> i64 {
    let ends = [exchange.client_time, exchange.server_time].into_iter().flatten();
    ends.map(|span| span.end).max().unwrap_or_default()
}

fn write_links(out: &mut impl Write, read: &Exchanges, links: &[Link], args: &Args) -> anyhow::Result<()> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    for link in links {
        let parent = link.parent.filter(|_| f64::from(link.confidence) >= args.min_confidence);
        let written = csv.write_record([read.id(link.child), parent.map_or("", |parent| read.id(parent))]);
        exit::stdout(written.map_err(io::Error::from))?;
    }
    exit::stdout(csv.flush())
}

fn report(path: &Path, read: &Exchanges, links: &[Link], took: Duration) -> String {
    let rate = read.len() as f64 / took.as_secs_f64().max(1e-9);
    let mut report = format!(
        "{}: {} exchanges, {} links in {:.0} ms: {rate:.0} exchanges/s on one core\n",
        path.display(),
        read.len(),
        links.len(),
        took.as_secs_f64() * 1e3,
    );
    if let Some(truth) = read.truth() {
        report.push_str(&score::table(truth, links));
    }
    report
}
