//! `weir store`: is a store whole, make few files of many, and the files once more for other tools.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use weir_kit::exit;
use weir_store::{Compaction, Export, ExportedTable, Shared, Store, StoreConfig, check, export_delta};

use crate::up::place;

/// Looks after a store.
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
    /// Merge small files of each day into large ones, and tell what that saved. Weir must not be running on the data folder; others
    /// that share the store may go on.
    ///
    /// `weir up` does the same by and by; this is for a folder that is to be copied, or that many imports went into.
    Compact(Folder),
    /// Write the files once more, as tables of an open format, for tools that want to know which files belong together.
    ///
    /// Has all rows that are in files at one moment: the newest are still in Weir's memory (a clean stop writes them). May run beside
    /// `weir up`.
    Export(ExportArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    folder: Folder,
    /// The open format. Delta Lake's times are whole nanoseconds since 1970 here, since its own have microseconds.
    #[arg(long, value_enum)]
    format: Format,
    /// Make hard links to the store's files in place of copies: no room is taken. Only where both are on one file system.
    #[arg(long)]
    link: bool,
    /// The folder that gets a folder for each table; nothing may be in it yet.
    #[arg(value_name = "OUT")]
    to: PathBuf,
}

/// An open table format.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Delta Lake.
    Delta,
}

#[derive(Debug, clap::Args)]
struct Folder {
    #[command(flatten)]
    place: place::Args,
}

/// Where a store is.
struct Found {
    dir: PathBuf,
    shared: Option<Shared>,
}

impl Folder {
    fn find(&self) -> anyhow::Result<Found> {
        let (dir, shared) = (self.place.dir()?, self.place.shared()?);
        if shared.is_none() && !dir.join("catalog").is_dir() {
            bail!("{} is no data folder of Weir's: name one with --data-dir", dir.display());
        }
        Ok(Found { dir, shared })
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.shared {
            Some(shared) => shared.fmt(f),
            None => self.dir.display().fmt(f),
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Check(folder) => checked(&folder.find()?).await,
        What::Compact(folder) => compacted(folder.find()?).await,
        What::Export(args) => exported(args).await,
    }
}

async fn checked(found: &Found) -> anyhow::Result<()> {
    let bar = bar()?;
    let checked = check(&found.dir, found.shared.as_ref(), |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    let checked = checked.await.with_context(|| format!("read the catalog of {found}"))?;
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
        let _ = writeln!(text, "not in the catalog: {path}");
    }
    if checked.quarantined > 0 {
        let _ = writeln!(text, "{} files were set aside earlier, in {found}/quarantine", checked.quarantined);
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

async fn exported(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { folder, format: Format::Delta, link, to } = args;
    let found = folder.find()?;
    if link && found.shared.as_ref().is_some_and(|shared| shared.root().is_none()) {
        bail!("{found} is on no file system of this machine: leave --link out");
    }
    let said = found.to_string();
    let export = Export { dir: found.dir, shared: found.shared, to, is_linked: link };
    let bar = bar()?;
    let exported = export_delta(&export, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    let exported = exported.await.with_context(|| format!("export {said} into {}", export.to.display()))?;
    bar.finish_and_clear();
    let mut text = String::new();
    for ExportedTable { table, files, rows, bytes } in exported.tables {
        let bytes = indicatif::BinaryBytes(bytes).to_string();
        let place = export.to.join(table);
        let _ =
            writeln!(text, "{table:<16} {files:>7} files {rows:>14} rows {bytes:>11}  {}", place.display());
    }
    exit::stdout(std::io::stdout().lock().write_all(text.as_bytes()))
}

/// Files done, of all.
fn bar() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed}")?;
    Ok(ProgressBar::new(0).with_style(style))
}

async fn compacted(found: Found) -> anyhow::Result<()> {
    let compaction = Compaction { is_on: false, ..Compaction::default() };
    let Found { dir, shared } = &found;
    let (dir, shared) = (dir.clone(), shared.clone());
    let config = StoreConfig { dir, shared, compaction, ..StoreConfig::default() };
    let store = Store::open(config).await.with_context(|| format!("open the store in {found}"))?;
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
