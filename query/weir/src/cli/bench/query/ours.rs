//! Weir itself, asked through its own door: a `weir up` over the filled folder, SQL over HTTP, the answer as an Arrow stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::answer::Answer;
use crate::cli::client;

/// How long a start may take.
const START: Duration = Duration::from_mins(5);
/// How long a stop may take: it closes its store.
const STOP: Duration = Duration::from_mins(1);

/// A running Weir.
pub(super) struct Weir {
    server: String,
    http: reqwest::Client,
    process: Child,
    ready_file: PathBuf,
}

/// An answer, and when it came.
pub(super) struct Timed {
    pub(super) answer: Answer,
    /// Until the last byte, ms.
    pub(super) ms: f64,
    /// Until the first rows, ms.
    pub(super) first_ms: f64,
}

impl Weir {
    /// Starts this program's own `weir up` on free ports, and waits until it answers.
    pub(super) async fn start(dir: &Path, memory: usize) -> anyhow::Result<Weir> {
        let ready_file = dir.join("bench-ready.json");
        let _ = fs::remove_file(&ready_file);
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(["--log", "warn", "up", "--no-probe", "--retention", "none"]);
        for listener in ["--http", "--flight", "--otlp-grpc", "--otlp-http", "--jaeger"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.arg("--data-dir").arg(dir).arg("--ready-file").arg(&ready_file);
        command.args(["--memory-limit", &memory.to_string()]);
        let mut process =
            command.stdout(Stdio::null()).kill_on_drop(true).spawn().context("start `weir up`")?;
        let begun = Instant::now();
        let text = loop {
            if let Some(status) = process.try_wait()? {
                bail!("`weir up` ended with {status}; what it said is above");
            }
            match fs::read(&ready_file) {
                Ok(text) => break text,
                Err(_) if begun.elapsed() < START => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => bail!("`weir up` is not ready after {} s", START.as_secs()),
            }
        };
        let ready: Value = serde_json::from_slice(&text).context("read the ready file")?;
        let address = ready["http"].as_str().context("no http in the ready file")?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Weir { server: format!("http://{address}"), http, process, ready_file })
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<Timed> {
        let begun = Instant::now();
        let ms = || begun.elapsed().as_secs_f64() * 1000.0;
        let request = self
            .http
            .post(format!("{}/api/v1/sql", self.server))
            .header(ACCEPT, "application/vnd.apache.arrow.stream")
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(sql.to_owned());
        let mut chunks = client::send(&self.server, request, Some(sql)).await?.bytes_stream();
        let mut decoder = StreamDecoder::new();
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut first_ms = None;
        while let Some(chunk) = chunks.next().await {
            let mut chunk = Buffer::from(chunk.context("the answer broke off")?);
            while !chunk.is_empty() {
                if let Some(batch) = decoder.decode(&mut chunk)? {
                    first_ms = first_ms.or_else(|| (batch.num_rows() > 0).then(ms));
                    batches.push(batch);
                }
            }
        }
        let whole_ms = ms();
        Ok(Timed { answer: Answer::of(&batches)?, ms: whole_ms, first_ms: first_ms.unwrap_or(whole_ms) })
    }

    /// How it goes about a question, with the time of each step.
    pub(super) async fn explain(&self, sql: &str) -> anyhow::Result<String> {
        let answer = self.ask(&format!("EXPLAIN ANALYZE {sql}")).await?.answer;
        let lines = answer.rows.iter().filter_map(|row| row.last()?.as_str());
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Stops it, so that the folder is free.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.process.id() {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGTERM)?;
        }
        let ended = tokio::time::timeout(STOP, self.process.wait()).await;
        ended.context("`weir up` does not stop")?.context("wait for `weir up`")?;
        let _ = fs::remove_file(&self.ready_file);
        Ok(())
    }
}
