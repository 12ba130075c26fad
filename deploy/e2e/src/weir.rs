//! A `weir up` of the test's own: free ports on loopback, its own data directory, asked over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::without_settings;
use crate::{Process, run, until, weir_binary};

/// A data directory that outlives the processes that use it.
#[derive(Clone)]
pub struct Store {
    dir: Arc<TempDir>,
}

impl Store {
    /// A new, empty one.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: Arc::new(TempDir::with_prefix("weir-e2e-")?) })
    }

    /// A path in the directory, beside the data.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A running `weir up`, ready to answer; killed when dropped.
pub struct Weir {
    /// The process itself.
    pub process: Process,
    store: Store,
    ready: Value,
    http: reqwest::Client,
}

impl Weir {
    /// Starts `weir up` on free ports with an empty store, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead, or isn't ready in time.
    pub async fn start(more: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(&Store::new()?, more).await
    }

    /// The same on a store that was used before.
    ///
    /// # Errors
    /// As [`Weir::start`].
    pub async fn start_on(store: &Store, more: &[&str]) -> anyhow::Result<Self> {
        Self::launch(Self::command(more), store).await
    }

    /// `weir up` on free ports, for [`Weir::launch`].
    pub fn command(more: &[&str]) -> Command {
        let mut command = Command::new(weir_binary());
        command.arg("up");
        for flag in [
            "--http",
            "--flight",
            "--otlp-grpc",
            "--otlp-http",
            "--jaeger",
            "--jaeger-grpc",
            "--jaeger-storage",
            "--flight-sql",
            "--postgres",
        ] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.args(more);
        command
    }

    /// Starts `command`, which ends in `weir up` and its flags, on `store`.
    ///
    /// # Errors
    /// As [`Weir::start`].
    pub async fn launch(mut command: Command, store: &Store) -> anyhow::Result<Self> {
        let ready_file = store.path("ready.json");
        if ready_file.exists() {
            std::fs::remove_file(&ready_file)?;
        }
        command.arg("--data-dir").arg(store.path("data")).arg("--ready-file").arg(&ready_file);
        without_settings(&mut command);
        let mut process = Process::start(&mut command, &store.path("weir.log"))?;
        let look = || {
            let found = process.must_run().map(|()| std::fs::read(&ready_file).ok());
            async { found }
        };
        let (text, _) = until("weir up is ready", look).await?;
        let ready = serde_json::from_slice(&text).context("read the ready file")?;
        // The loopback is asked directly, whatever proxy the environment names.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { process, store: store.clone(), ready, http })
    }

    /// The store it writes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A field of the ready file, such as `probe`.
    pub fn ready(&self, field: &str) -> &Value {
        &self.ready[field]
    }

    /// Where a listener is bound: `http`, `flight`, `otlp_grpc`, `otlp_http`, `jaeger`, `jaeger_grpc`, `jaeger_storage`, `flight_sql`,
    /// `postgres`.
    ///
    /// # Errors
    /// When the ready file has no such address.
    pub fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        let text =
            self.ready[listener].as_str().with_context(|| format!("no {listener} in {}", self.ready))?;
        text.parse().with_context(|| format!("{listener}: {text}"))
    }

    /// `http://address` of a listener.
    ///
    /// # Errors
    /// As [`Weir::address`].
    pub fn url(&self, listener: &str) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.address(listener)?))
    }

    /// `GET` of a JSON answer from the API, with query parameters.
    ///
    /// # Errors
    /// When the answer isn't 200 with JSON.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url("http")?);
        let response = self.http.get(&url).query(query).send().await.with_context(|| url.clone())?;
        answer(response, &url).await
    }

    /// `GET` of a page that is no JSON.
    ///
    /// # Errors
    /// When the answer isn't 200.
    pub async fn page(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.url("http")?);
        let response = self.http.get(&url).send().await.with_context(|| url.clone())?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// The rows that a query gives, each an array of values.
    ///
    /// # Errors
    /// When Weir refuses the query.
    pub async fn sql(&self, text: &str) -> anyhow::Result<Vec<Vec<Value>>> {
        let url = format!("{}/api/v1/sql", self.url("http")?);
        let request = self.http.post(&url).header("content-type", "text/plain").body(text.to_owned());
        let answer = answer(request.send().await?, text).await?;
        serde_json::from_value(answer["rows"].clone()).with_context(|| format!("rows of {answer}"))
    }

    /// The one number that a query gives.
    ///
    /// # Errors
    /// When it gives something else.
    pub async fn number(&self, text: &str) -> anyhow::Result<i64> {
        let rows = self.sql(text).await?;
        let value = rows.first().and_then(|row| row.first()).with_context(|| format!("no row: {text}"))?;
        match value {
            Value::Null => Ok(0),
            Value::String(digits) => digits.parse().with_context(|| format!("{digits} from {text}")),
            other => other.as_i64().with_context(|| format!("{other} from {text}")),
        }
    }

    /// Posts JSON to a path of a listener.
    ///
    /// # Errors
    /// When the answer isn't a success.
    pub async fn post(&self, listener: &str, path: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.url(listener)?);
        let response = self.http.post(&url).json(body).send().await?;
        let status = response.status();
        if !status.is_success() {
            bail!("{url}: {status}: {}", response.text().await?);
        }
        Ok(())
    }

    /// Runs a tool of the same binary against this Weir: `sql`, `import`, `export`.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn tool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut all = arguments.to_vec();
        let url = self.url("http")?;
        all.extend(["--server", &url]);
        run(weir_binary(), all)
    }

    /// As [`Weir::tool`], with a file as the last argument.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn tool_with(&self, arguments: &[&str], file: &Path) -> anyhow::Result<String> {
        let file = file.to_str().context("a temporary path in UTF-8")?;
        let mut all = arguments.to_vec();
        all.push(file);
        self.tool(&all)
    }
}

async fn answer(response: reqwest::Response, what: &str) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("{what}: {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{what}: not JSON: {text}"))
}
