//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder; two would overwrite each other.
    #[error("{dir} is in use by another weir (process {holder}): stop it, or give this one another folder")]
    Locked {
        /// The data folder.
        dir: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The folder was written by a newer version.
    #[error("{path} has format {found}, this version reads {known}: upgrade weir")]
    Format {
        /// The file that says so.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A file that everything else depends on can't be read.
    #[error("{path} is damaged ({reason}): restore it from a copy of the folder, or move the folder away")]
    Catalog {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store's URL, or what the environment says beside it, can't be understood.
    #[error("{url} is no place for a store: {why}")]
    Place {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The object store makes an object where there is one already, so that several writers can't share it.
    #[error(
        "the object store ignores `If-None-Match: *`, by which writers don't overwrite each other's commits: use one that knows it"
    )]
    Unconditional,
    /// The data folder has a store of its own, which would be left behind.
    #[error("{dir} has a store of its own: name another folder for the log of a shared one")]
    Other {
        /// The data folder.
        dir: PathBuf,
    },
    /// Two processes have the same name in a store that several share, as after a data folder was copied.
    #[error(
        "another process writes as {writer}: remove wal/writer from a copied data folder, and start again"
    )]
    Twice {
        /// The name.
        writer: String,
    },
    /// The batch can't be stored, whoever sends it again.
    #[error("batch of table {table}")]
    Batch {
        /// The table's name as the batch has it.
        table: String,
        /// What is wrong with it.
        #[source]
        source: weir_model::ModelError,
    },
    /// A file or folder can't be read or written.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object store said no.
    #[error("object store")]
    Objects(#[from] object_store::Error),
    /// Rows can't be encoded or decoded.
    #[error("arrow")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A file can't be encoded.
    #[error("parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The object store gave no answer, so that nobody knows whether it did what it was asked for.
    #[error("nothing more goes into files until a restart, since the object store gave no answer: {0}")]
    Unsure(String),
    /// The log could not be written; nothing of this append was acknowledged.
    #[error("the log can't be written: {0}")]
    Wal(String),
    /// The store was closed, or stopped after a failed fsync: restart to see what is durable.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.as_ref().to_owned();
        move |source| StoreError::Io { path, source }
    }
}
