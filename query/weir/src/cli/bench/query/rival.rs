//! Another engine over the same rows, in a Python process of its own (`benches/rivals.py` says how it is set up).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::questions::Dialect;

const SCRIPT: &str = include_str!("../../../../benches/rivals.py");

/// What each engine gets.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) python: PathBuf,
    pub(super) data: PathBuf,
    pub(super) threads: usize,
    pub(super) memory: usize,
}

/// A running engine.
pub(super) struct Rival {
    pub(super) version: String,
    pub(super) dialect: Dialect,
    /// How long loading took, s; next to nothing where an earlier run had loaded.
    pub(super) load_s: f64,
    /// Bytes on disk by table; empty where it reads our files.
    pub(super) bytes: BTreeMap<String, u64>,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Killed when dropped.
    _process: Child,
}

#[derive(Deserialize)]
struct Ready {
    version: String,
    load_s: f64,
    bytes: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Answer { ms: f64, rows: Vec<Vec<Value>> },
    Error { error: String },
}

impl Rival {
    /// Starts `engine` (`duckdb`, `clickhouse`, `parquet`) and waits until it has the rows.
    pub(super) async fn start(engine: &str, given: &Given) -> anyhow::Result<Rival> {
        let folder = folder_of(&given.data);
        let mut process = Command::new(&given.python)
            .args(["-c", SCRIPT, engine])
            .arg(&given.data)
            .arg(&folder)
            .args([given.threads.to_string(), given.memory.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("start {}: `make bench-query` installs what is needed", given.python.display())
            })?;
        let questions = process.stdin.take().context("the engine's standard input")?;
        let mut answers = BufReader::new(process.stdout.take().context("the engine's standard output")?);
        let ready: Ready = line(&mut answers).await.with_context(|| format!("start {engine}"))?;
        let Ready { version, load_s, bytes } = ready;
        let dialect = if engine == "clickhouse" { Dialect::ClickHouse } else { Dialect::DuckDb };
        Ok(Rival { version, dialect, load_s, bytes, questions, answers, _process: process })
    }

    /// How long the answer took, ms, and its rows.
    pub(super) async fn ask(&mut self, sql: &str) -> anyhow::Result<(f64, Vec<Vec<Value>>)> {
        let question = format!("{}\n", json!({ "sql": sql }));
        self.questions.write_all(question.as_bytes()).await.with_context(|| self.version.clone())?;
        match line(&mut self.answers).await.with_context(|| self.version.clone())? {
            Said::Answer { ms, rows } => Ok((ms, rows)),
            Said::Error { error } => bail!("{}: {error}\n{sql}", self.version),
        }
    }
}

/// Where the engines keep what they loaded: beside the data, so that it goes with it.
pub(super) fn folder_of(data: &Path) -> PathBuf {
    data.with_file_name(format!("{}-rivals", data.file_name().unwrap_or_default().to_string_lossy()))
}

async fn line<T: serde::de::DeserializeOwned>(answers: &mut BufReader<ChildStdout>) -> anyhow::Result<T> {
    let mut text = String::new();
    answers.read_line(&mut text).await.context("read from the engine")?;
    if text.is_empty() {
        bail!("the engine ended; what it said is above");
    }
    serde_json::from_str(&text).with_context(|| format!("read {text:?}"))
}
