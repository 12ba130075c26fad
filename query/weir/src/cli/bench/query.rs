//! `weir bench query`: fourteen questions about a day of a busy cluster, each asked of Weir and of what people would use
//! instead, over the same rows in one run; a wrong answer fails it.

mod answer;
mod cluster;
pub(super) mod day;
mod fill;
mod ours;
mod questions;
mod report;
mod rival;
mod rows;

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use weir_kit::exit;

use crate::flags;
use cluster::Cluster;
use ours::Weir;
use questions::{Dialect, Question};
use report::{Line, Report};
use rival::{Given, Rival};

/// `weir bench query`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many flows; spans, handshakes and drops come with them.
    #[arg(long, default_value = "10000000", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(100_000..=1_000_000_000))]
    flows: u64,
    /// Where the rows go. It is used again where it holds the same rows already.
    #[arg(long, default_value = "weir-bench", value_name = "DIR")]
    dir: PathBuf,
    /// Leave the rows there, and what the other engines made of them in DIR-rivals, for the next run.
    #[arg(long)]
    keep: bool,
    /// A Python that has duckdb, chdb and pyarrow (`make bench-query` installs one). Without it only Weir is asked.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// How often each question is asked, after once to warm up; the median counts.
    #[arg(long, default_value = "5", value_name = "COUNT")]
    rounds: NonZeroU32,
    /// Memory of each engine.
    #[arg(long, default_value = "4GiB", value_name = "SIZE", value_parser = flags::memory)]
    memory: usize,
    /// Only questions whose name has one of these words in it.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Print Weir's plan of each question with the time of each step.
    #[arg(long)]
    explain: bool,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let outcome = measure(args).await;
    if !args.keep && outcome.is_ok() {
        for folder in [args.dir.clone(), rival::folder_of(&args.dir)] {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("delete {}", folder.display()))?;
            }
        }
    }
    outcome
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().context("count the cores")?.get();
    fs::create_dir_all(&args.dir).with_context(|| format!("make {}", args.dir.display()))?;
    let dir = fs::canonicalize(&args.dir).with_context(|| format!("open {}", args.dir.display()))?;
    let filled = fill::fill(&dir, args.flows, threads).await?;
    let mut report = Report::new(&filled, threads, args.memory);
    say(&report.head())?;

    let mut rivals = start_rivals(args, &dir, threads).await?;
    for rival in &rivals {
        report.add_rival(rival);
    }
    say(&report.sizes())?;
    let begun = Instant::now();
    let weir = Weir::start(&dir, args.memory).await?;
    say(&format!("weir up is ready after {:.1} s\n\n{}", begun.elapsed().as_secs_f64(), report.titles()))?;
    let is_wanted = |question: &Question| {
        args.only.is_empty() || args.only.iter().any(|word| question.what.contains(word))
    };
    for question in questions::all(&Cluster::new()).into_iter().filter(is_wanted) {
        let line = ask(&question, args.rounds.get(), &weir, &mut rivals).await?;
        say(&report.line(line))?;
        if args.explain {
            say(&weir.explain(&question.text(Dialect::Weir)).await?)?;
        }
    }
    weir.stop().await?;
    say(&report.end())
}

/// DuckDB and ClickHouse in their own formats, and DuckDB over our files.
async fn start_rivals(args: &Args, dir: &Path, threads: usize) -> anyhow::Result<Vec<Rival>> {
    let Some(python) = &args.python else { return Ok(Vec::new()) };
    let given = Given { python: python.clone(), data: dir.to_owned(), threads, memory: args.memory };
    let mut rivals = Vec::new();
    for engine in ["duckdb", "clickhouse", "parquet"] {
        rivals.push(Rival::start(engine, &given).await?);
    }
    Ok(rivals)
}

/// Asks everybody in turns, so that what else the machine does meets all alike, and compares all answers.
async fn ask(question: &Question, rounds: u32, weir: &Weir, rivals: &mut [Rival]) -> anyhow::Result<Line> {
    let mut line = Line::new(question.what, rivals.len());
    for round in 0..=rounds {
        let ours = weir.ask(&question.text(Dialect::Weir)).await.with_context(|| question.what.to_owned())?;
        if round > 0 {
            line.ours.push(ours.ms);
            line.first.push(ours.first_ms);
        }
        for (rival, times) in rivals.iter_mut().zip(&mut line.theirs) {
            let (ms, rows) = rival.ask(&question.text(rival.dialect)).await?;
            ours.answer.compare(&rows).with_context(|| format!("{}, {}", question.what, rival.version))?;
            if round > 0 {
                times.push(ms);
            }
        }
    }
    Ok(line)
}

fn say(text: &str) -> anyhow::Result<()> {
    exit::stdout(writeln!(io::stdout(), "{text}"))
}
