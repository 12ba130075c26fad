//! How long rows are kept: flags → the store's [`Retention`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use weir_store::{Retention, Shared};

use crate::flags;

/// How long rows are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How old rows may become before their files are deleted, such as 12h, 30d or 8w; `none`: as old as they like.
    #[arg(long, env = "WEIR_RETENTION", value_name = "AGE", default_value = "30d", value_parser = flags::age)]
    retention: Age,
    /// Another age for a table, such as `audit_log=52w`; several with commas, or by saying it again.
    #[arg(long, env = "WEIR_RETENTION_OF", value_name = "TABLE=AGE", value_delimiter = ',', value_parser = flags::table_age)]
    retention_of: Vec<(&'static str, Age)>,
    /// How large all files together may become before the oldest are deleted: a size, or a share of the file system (none, where
    /// the store is on no file system).
    #[arg(long, env = "WEIR_RETENTION_SIZE", value_name = "SIZE", default_value = "80%", value_parser = flags::room)]
    retention_size: Room,
}

/// An age, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Option<Duration>);

/// Room on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Bytes.
    Bytes(u64),
    /// Of the file system's size.
    Percent(u8),
}

/// As good as for ever, and still a time that can be reckoned with.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 200);

impl Args {
    /// What is kept in the data folder `dir`, which exists, or where several share a store.
    pub(crate) fn of(&self, dir: &Path, shared: Option<&Shared>) -> anyhow::Result<Retention> {
        let dir = shared.map_or(Some(dir), Shared::root);
        let bytes = match (self.retention_size, dir) {
            (Room::Bytes(bytes), _) => Some(bytes),
            (Room::Percent(_), None) => None,
            (Room::Percent(percent), Some(dir)) => {
                let found = nix::sys::statvfs::statvfs(dir);
                let system = found
                    .with_context(|| format!("ask how large the file system of {} is", dir.display()))?;
                let bytes = system.blocks().saturating_mul(system.fragment_size());
                Some(bytes / 100 * u64::from(percent))
            }
        };
        let of = |(table, Age(age)): (&'static str, Age)| (table, age.unwrap_or(FOR_EVER));
        let tables: BTreeMap<_, _> = self.retention_of.iter().copied().map(of).collect();
        Ok(Retention { age: self.retention.0, tables, bytes })
    }
}
