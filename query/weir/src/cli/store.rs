//! `weir store`: is a data folder whole, and make few files of many.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use weir_kit::exit;
use weir_store::{Compaction, Store, StoreConfig, check};

/// Looks after a data folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every file and compare it with the catalog; changes nothing, and may run beside `weir up`.
    ///
    /// Ends with 0 if all is well, with 1 if a file is damaged. A damaged file costs its own rows: the next start of `weir up`
    /// sets it aside in quarantine/, and everything else stays readable.
    Check(Folder),
    /// Merge small files of each day into large ones, and tell what that saved. Weir must not be running on the folder.
    ///
    /// `weir up` does the same by and by; this is for a folder that is to be copied, or that many imports went into.
    Compact(Folder),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Where rows are kept. Default: /var/lib/weir as root, else ~/.local/state/weir.
    #[arg(long, env = "WEIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Folder {
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let dir = self.data_dir.clone().map_or_else(crate::up::default_data_dir, Ok)?;
        if !dir.join("catalog").is_dir() {
            bail!("{} is no data folder of Weir's: name one with --data-dir", dir.display());
        }
        Ok(dir)
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Check(folder) => checked(&folder.dir()?).await,
        What::Compact(folder) => compacted(folder.dir()?).await,
    }
}

async fn checked(dir: &Path) -> anyhow::Result<()> {
    let bar =
        ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed}")?);
    let checked = check(dir, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    let checked = checked.await.with_context(|| format!("read the catalog of {}", dir.display()))?;
    bar.finish_and_clear();
    let mut text = format!(
        "{:<16} {:>7} {:>14} {:>11}  {:<25} {}\n",
        "table", "files", "rows", "bytes", "from", "until"
    );
    for table in &checked.tables {
        let _ = writeln!(
            text,
            "{:<16} {:>7} {:>14} {:>11}  {:<25} {}",
            table.table,
            table.files,
            table.rows,
            indicatif::BinaryBytes(table.bytes).to_string(),
            time(table.min_time),
            time(table.max_time),
        );
    }
    for path in &checked.unnamed {
        let _ = writeln!(text, "not in the catalog: {}", path.display());
    }
    if checked.quarantined > 0 {
        let _ = writeln!(
            text,
            "{} files were set aside earlier, in {}",
            checked.quarantined,
            dir.join("quarantine").display()
        );
    }
    for (path, why) in &checked.damaged {
        let _ = writeln!(text, "damaged: {path}: {why}");
    }
    exit::stdout(std::io::stdout().lock().write_all(text.as_bytes()))?;
    match checked.damaged.len() {
        0 => Ok(()),
        1 => bail!("one file is damaged"),
        damaged => bail!("{damaged} files are damaged"),
    }
}

async fn compacted(dir: PathBuf) -> anyhow::Result<()> {
    let compaction = Compaction { is_on: false, ..Compaction::default() };
    let config = StoreConfig { dir: dir.clone(), compaction, ..StoreConfig::default() };
    let store = Store::open(config).await.with_context(|| format!("open the store in {}", dir.display()))?;
    let files = |store: &Store| store.stats().iter().map(|table| table.files).sum::<u64>();
    let before = files(&store);
    let bar = ProgressBar::new_spinner().with_message(format!("merging {before} files"));
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let outcome = store.compact().await;
    bar.finish_and_clear();
    let after = files(&store);
    store.close().await.context("close the store")?;
    let done = outcome.context("merge files")?;
    let text = format!(
        "{before} files before, {after} now: merged {} rows of {} files, {} into {}\n",
        done.rows,
        done.files,
        indicatif::BinaryBytes(done.bytes_read),
        indicatif::BinaryBytes(done.bytes_written),
    );
    exit::stdout(std::io::stdout().lock().write_all(text.as_bytes()))
}

/// A time as people and SQL read it.
fn time(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map_or_else(|_| ns.to_string(), |time| format!("{time:.0}"))
}
