//! `weir export`: flows and handshakes as OCSF, JSON Lines or CSV, into a file or onto standard output.
//!
//! A file is written beside its name and renamed when it is whole; a transfer that breaks off leaves no file that looks
//! finished, and the command fails.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use futures::StreamExt;
use weir_kit::exit;

use super::client;

/// Writes flows and handshakes to a file or standard output, oldest first, and says how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// From when: RFC 3339 (2026-11-24T08:00:00Z), or how long ago (1h, 7d).
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Until when; now by default.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// OCSF Network Activity events, rows as JSON Lines, or CSV (one table).
    #[arg(long, default_value = "ocsf")]
    format: Format,
    /// Which tables; `flows` and `tls_handshakes` by default, flows for CSV.
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    tables: Vec<String>,
    /// The file; standard output by default.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which Weir to ask.
    #[arg(long, env = "WEIR_SERVER", default_value = client::SERVER, value_name = "URL")]
    server: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Ocsf,
    Jsonl,
    Csv,
}

#[expect(clippy::print_stderr, reason = "the count is for the person; standard output may be the data")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let word = match args.format {
        Format::Ocsf => "ocsf",
        Format::Jsonl => "jsonl",
        Format::Csv => "csv",
    };
    let mut query = vec![("format", word.to_owned()), ("since", args.since.clone())];
    if let Some(until) = &args.until {
        query.push(("until", until.clone()));
    }
    if !args.tables.is_empty() {
        query.push(("tables", args.tables.join(",")));
    }
    let request = reqwest::Client::new()
        .get(format!("{}/api/v1/export", args.server.trim_end_matches('/')))
        .query(&query);
    let response = client::send(&args.server, request, None).await?;
    let incomplete = response
        .headers()
        .get("x-weir-completeness")
        .and_then(|value| serde_json::from_slice::<serde_json::Value>(value.as_bytes()).ok())
        .filter(|completeness| completeness["complete"] == false);

    let mut output = Output::open(args.output.as_deref())?;
    let mut records = Records::new(args.format == Format::Csv);
    let mut bytes = 0_u64;
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.with_context(|| {
            format!(
                "the export broke off after {} records: it is not complete, run it again",
                records.count()
            )
        })?;
        records.read(&chunk);
        bytes += chunk.len() as u64;
        output.write(&chunk)?;
    }
    if !records.is_at_end() {
        bail!("the export ended within a record: it is not complete, run it again");
    }
    let target = output.finish()?;
    eprintln!("{} records, {bytes} bytes, {target}", records.count());
    if let Some(completeness) = incomplete {
        eprintln!(
            "note: {}",
            completeness["message"].as_str().unwrap_or("records are missing in this range")
        );
    }
    Ok(())
}

/// Where it goes: standard output, or a file that gets its name at the end.
enum Output {
    Stdout(std::io::StdoutLock<'static>),
    File { file: BufWriter<File>, part: PathBuf, target: PathBuf, is_whole: bool },
}

impl Output {
    fn open(target: Option<&Path>) -> anyhow::Result<Output> {
        let Some(target) = target else { return Ok(Output::Stdout(std::io::stdout().lock())) };
        let mut part = target.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(|| format!("write {}", part.display()))?;
        Ok(Output::File { file: BufWriter::new(file), part, target: target.to_owned(), is_whole: false })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Output::Stdout(out) => exit::stdout(out.write_all(bytes)),
            Output::File { file, part, .. } => {
                file.write_all(bytes).with_context(|| format!("write {}", part.display()))
            }
        }
    }

    fn finish(mut self) -> anyhow::Result<String> {
        match &mut self {
            Output::Stdout(out) => {
                exit::stdout(out.flush())?;
                Ok("to standard output".to_owned())
            }
            Output::File { file, part, target, is_whole } => {
                file.flush()
                    .and_then(|()| file.get_ref().sync_all())
                    .with_context(|| format!("write {}", part.display()))?;
                fs::rename(&*part, &*target).with_context(|| format!("write {}", target.display()))?;
                *is_whole = true;
                Ok(format!("in {}", target.display()))
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Output::File { part, is_whole: false, .. } = self {
            // Nothing that looks like an export may stay of one that failed.
            let _ = fs::remove_file(part);
        }
    }
}

/// Counts records as they pass: a line each, and in CSV a line outside quotes, less the header.
struct Records {
    is_csv: bool,
    lines: u64,
    is_quoted: bool,
    last: u8,
}

impl Records {
    fn new(is_csv: bool) -> Records {
        Records { is_csv, lines: 0, is_quoted: false, last: b'\n' }
    }

    fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'"' if self.is_csv => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => self.lines += 1,
                _ => {}
            }
            self.last = byte;
        }
    }

    fn count(&self) -> u64 {
        self.lines.saturating_sub(u64::from(self.is_csv))
    }

    fn is_at_end(&self) -> bool {
        self.last == b'\n' && !self.is_quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_across_chunks_and_quotes() {
        let mut records = Records::new(true);
        for chunk in ["a,b\n1,\"x\n", "y\"\n2,z\n"] {
            records.read(chunk.as_bytes());
        }
        assert_eq!(records.count(), 2);
        assert!(records.is_at_end());
        records.read(b"3,");
        assert!(!records.is_at_end());
    }
}
