//! `weir bench day`: a day of a busy cluster comes in as fast as it can be stored. How many files there are meanwhile, how
//! often rows are written again, how much memory it takes, and what questions cost before and after files are merged.

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use weir_kit::exit;
use weir_query::{Engine, Limits};
use weir_store::{Compaction, Store, StoreConfig};

use super::cluster::Cluster;
use super::questions::{self, Dialect};
use super::{fill, rows};

/// How often it is looked at what there is.
const LOOKED_AT: u64 = 12;
/// How often each question is asked, after once to warm up.
const ROUNDS: usize = 3;

/// `weir bench day`.
#[derive(Debug, clap::Args)]
pub(in crate::cli::bench) struct Args {
    /// How many flows the day has; spans, handshakes and drops come with them. 5,000 a second are 432 million.
    #[arg(long, default_value = "20000000", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1_000_000..=1_000_000_000))]
    flows: u64,
    /// Where the rows go; it must not hold anything yet, and is deleted afterwards.
    #[arg(long, default_value = "weir-bench-day", value_name = "DIR")]
    dir: PathBuf,
    /// Leave the rows there.
    #[arg(long)]
    keep: bool,
}

pub(in crate::cli::bench) async fn run(args: &Args) -> anyhow::Result<()> {
    if args.dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        anyhow::bail!("{} holds something: choose another --dir", args.dir.display());
    }
    let outcome = measure(args).await;
    if !args.keep {
        fs::remove_dir_all(&args.dir).with_context(|| format!("delete {}", args.dir.display()))?;
    }
    outcome
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().context("count the cores")?.get();
    let config = StoreConfig {
        dir: args.dir.clone(),
        compaction: Compaction { is_on: false, ..Compaction::default() },
        ..StoreConfig::default()
    };
    let store = Store::open(config.clone()).await.context("open the store")?;
    say(&format!(
        "{} flows, as many as come in {:.1} h at 5,000 a second, {threads} threads\n{:<8} {:>12} {:>7} {:>12} {:>10} {:>9} {:>10}",
        args.flows,
        args.flows as f64 / 5_000.0 / 3_600.0,
        "of day",
        "rows",
        "files",
        "bytes",
        "rewritten",
        "merges",
        "memory"
    ))?;
    let begun = Instant::now();
    let all = args.flows.div_ceil(rows::BATCH_ROWS);
    for part in 0..LOOKED_AT {
        let numbers = all * part / LOOKED_AT..all * (part + 1) / LOOKED_AT;
        take_in(&store, numbers, args.flows, threads).await?;
        store.seal().await?;
        // What merging beside everything else would have done by then.
        store.merge_due().await?;
        say(&state(&store, &format!("{:.0} h", (part + 1) as f64 * 24.0 / LOOKED_AT as f64)))?;
    }
    let took = begun.elapsed();
    let before = ask(&store, threads).await?;
    store.compact().await?;
    say(&state(&store, "tidied"))?;
    let after = ask(&store, threads).await?;
    say(&format!(
        "{:.0} flows a second on {threads} cores, merging included\n",
        args.flows as f64 / took.as_secs_f64()
    ))?;
    say(&format!("{:<40} {:>10} {:>10}", "median of 3, ms", "at 24 h", "tidied"))?;
    for ((what, before), (_, after)) in before.iter().zip(&after) {
        say(&format!("{what:<40} {:>10.1} {:>10.1}", ms(*before), ms(*after)))?;
    }
    store.close().await.context("close the store")
}

/// Draws and stores batches.
async fn take_in(store: &Store, numbers: Range<u64>, flows: u64, threads: usize) -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::new());
    let stored = stream::iter(numbers).map(|number| {
        let cluster = cluster.clone();
        async move {
            let parts = tokio::task::spawn_blocking(move || fill::drawn(&cluster, number, flows)).await?;
            anyhow::Ok(store.append(parts.into()).await?)
        }
    });
    stored.buffered(2 * threads).try_collect::<()>().await
}

fn state(store: &Store, when: &str) -> String {
    let stats = store.stats();
    let sum = |value: fn(&weir_store::TableStats) -> u64| stats.iter().map(value).sum::<u64>();
    let (merged, bytes) = (store.compacted(), sum(|table| table.bytes));
    // Bytes that went into files the first time: what there is, and what merging saved.
    let sealed = bytes + merged.bytes_read.saturating_sub(merged.bytes_written);
    format!(
        "{when:<8} {:>12} {:>7} {:>12} {:>9.2}x {:>9} {:>10}",
        sum(|table| table.rows_sealed + table.rows_memory),
        sum(|table| table.files),
        indicatif::BinaryBytes(bytes).to_string(),
        merged.bytes_written as f64 / sealed as f64,
        merged.merges,
        indicatif::BinaryBytes(peak()).to_string(),
    )
}

/// The most memory that this process had so far, bytes.
fn peak() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(0, |usage| usage.max_rss() as u64 * 1_024)
}

async fn ask(store: &Store, threads: usize) -> anyhow::Result<Vec<(&'static str, Duration)>> {
    let limits = Limits { time: Duration::from_mins(10), threads, ..Limits::default() };
    let engine = Engine::new(store.clone(), limits)?;
    let mut answers = Vec::new();
    for question in questions::all(&Cluster::new()) {
        let (what, sql) = (question.what, question.text(Dialect::Weir));
        let mut times = Vec::new();
        for _ in 0..=ROUNDS {
            let begun = Instant::now();
            engine.collect(&sql, usize::MAX).await.with_context(|| what.to_owned())?;
            times.push(begun.elapsed());
        }
        let mut warm = times.split_off(1);
        warm.sort_unstable();
        answers.push((what, warm[warm.len() / 2]));
    }
    Ok(answers)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn say(text: &str) -> anyhow::Result<()> {
    exit::stdout(writeln!(io::stdout(), "{text}"))
}
