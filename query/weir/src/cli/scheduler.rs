//! `weir scheduler`: the part of a cluster that gives work to executors.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tracing::info;
use weir_cluster::Scheduler;

use crate::up::listen;

/// Where it is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where Weirs and executors reach it. Nobody is asked who they are: only where nobody else gets to.
    #[arg(long, env = "WEIR_SCHEDULER_LISTEN", default_value = "127.0.0.1:8484", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The host by which executors reach it, where that isn't the address.
    #[arg(long, env = "WEIR_SCHEDULER_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Write the bound address as JSON into this file once it is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let stop = weir_kit::stop::on_signal().context("install the signal handlers")?;
    let scheduler = Scheduler::bind(args.listen, args.advertise).await?;
    if let Some(path) = &args.ready_file {
        listen::write_ready(path, &serde_json::json!({ "scheduler": scheduler.address().to_string() }))?;
    }
    info!(at = %scheduler.address(), "the scheduler is ready");
    scheduler.run(stop).await?;
    info!("stopped");
    Ok(())
}
