//! With whom questions are answered: flags → [`Cluster`].

use std::sync::Arc;

use anyhow::ensure;
use url::Url;
use weir_cluster::Cluster;
use weir_query::Engine;

use crate::flags;

/// Who answers large questions with this Weir.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// A scheduler (`weir scheduler`) whose executors read the files of --store for questions that are large. While it is away,
    /// this Weir answers by itself.
    #[arg(long, env = "WEIR_SCHEDULER", value_name = "URL", value_parser = flags::scheduler)]
    scheduler: Option<Url>,
    /// Questions that read files of fewer bytes than this are not shared out.
    #[arg(long, env = "WEIR_SCHEDULER_ABOVE", value_name = "SIZE", default_value = "1GiB", value_parser = flags::size)]
    scheduler_above: usize,
    /// Into how many parts such a question's files are divided: some times as many as all executors have threads.
    #[arg(long, env = "WEIR_SCHEDULER_PARTS", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    scheduler_parts: u16,
}

impl Args {
    /// The engine, with those that answer with it, if any.
    pub(crate) fn with(&self, engine: Engine, shares_store: bool) -> anyhow::Result<Engine> {
        let Some(scheduler) = &self.scheduler else { return Ok(engine) };
        ensure!(shares_store, "--scheduler needs --store: executors read the files where both reach them");
        let cluster = Cluster::new(scheduler, self.scheduler_parts.into(), self.scheduler_above as u64)?;
        Ok(engine.spreading(Arc::new(cluster)))
    }
}
