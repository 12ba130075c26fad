//! `weir executor`: reads the store's files for questions that several machines answer together.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use tracing::info;
use url::Url;
use weir_cluster::Executor;
use weir_store::Shared;

use crate::flags;
use crate::up::{default_data_dir, listen};

/// What it works for, and with.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The scheduler.
    #[arg(long, env = "WEIR_SCHEDULER", value_name = "URL", default_value = "http://127.0.0.1:8484", value_parser = flags::scheduler)]
    scheduler: Url,
    /// The store, as `weir up --store` has it: `s3://BUCKET/PREFIX` or `file:///FOLDER`.
    #[arg(long, env = "WEIR_STORE", value_name = "URL")]
    store: String,
    /// Where Weirs, other executors and the scheduler reach it. Nobody is asked who they are: only where nobody else gets to.
    #[arg(long, env = "WEIR_EXECUTOR_LISTEN", value_name = "ADDR", default_value = "127.0.0.1")]
    listen: IpAddr,
    /// The port by which rows are fetched from it; 0: any.
    #[arg(long, env = "WEIR_EXECUTOR_ROWS_PORT", value_name = "PORT", default_value_t = 8485)]
    rows_port: u16,
    /// The port by which the scheduler gives it work; 0: any.
    #[arg(long, env = "WEIR_EXECUTOR_TASKS_PORT", value_name = "PORT", default_value_t = 8486)]
    tasks_port: u16,
    /// The host by which the others reach it, where that isn't the address.
    #[arg(long, env = "WEIR_EXECUTOR_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Tasks that it works on at the same time; 0: as many as there are cores.
    #[arg(long, env = "WEIR_EXECUTOR_THREADS", value_name = "N", default_value_t = 0)]
    threads: usize,
    /// What all its tasks may take for sorting, grouping and joining; what doesn't fit is spilled into its folder.
    #[arg(long, env = "WEIR_EXECUTOR_MEMORY", value_name = "SIZE", default_value = "1GiB", value_parser = flags::size)]
    memory: usize,
    /// Where rows on their way lie, and what is spilled. What an earlier one left there is deleted. Default: `executor` in the data
    /// folder.
    #[arg(long, env = "WEIR_EXECUTOR_WORK_DIR", value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Write the bound addresses as JSON into this file once they are known.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let work_dir = match args.work_dir {
        Some(dir) => dir,
        None => default_data_dir()?.join("executor"),
    };
    let shared = Shared::open(&args.store).context("--store")?;
    let executor = Executor {
        scheduler: args.scheduler.clone(),
        listen: args.listen,
        rows_port: args.rows_port,
        tasks_port: args.tasks_port,
        advertised: args.advertise,
        threads: args.threads,
        memory_bytes: args.memory,
        work_dir,
        objects: shared.objects(),
    };
    let ready = executor.prepare()?;
    let [rows, tasks] = ready.addresses();
    if let Some(path) = &args.ready_file {
        listen::write_ready(path, &serde_json::json!({ "rows": rows, "tasks": tasks }))?;
    }
    info!(store = %shared, scheduler = %args.scheduler, rows, tasks, "the executor begins");
    ready.run().await.with_context(|| format!("work for the scheduler at {}", args.scheduler))?;
    info!("stopped");
    Ok(())
}
