//! Where the store is: flags → [`StoreConfig`]'s folder and what it shares.

use std::path::PathBuf;

use anyhow::Context;
use weir_store::Shared;

/// Where rows are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where rows are kept. Default: /var/lib/weir as root, else ~/.local/state/weir.
    #[arg(long, env = "WEIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep files and catalog here instead, where several Weirs may have them in common, each with a data folder of its own for
    /// its log: `s3://BUCKET/PREFIX` (credentials, region and endpoint by the usual `AWS_*` variables) or `file:///FOLDER`.
    #[arg(long, env = "WEIR_STORE", value_name = "URL")]
    store: Option<String>,
}

impl Args {
    /// The data folder.
    pub(crate) fn dir(&self) -> anyhow::Result<PathBuf> {
        self.data_dir.clone().map_or_else(super::default_data_dir, Ok)
    }

    /// Where several have their files in common, if so.
    pub(crate) fn shared(&self) -> anyhow::Result<Option<Shared>> {
        let open = |url: &String| Shared::open(url).context("--store");
        self.store.as_ref().map(open).transpose()
    }
}
