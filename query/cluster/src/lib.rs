//! Questions that several machines answer together, by Apache Ballista, which is `DataFusion`'s own way to do that: a
//! scheduler, and executors that read the store's files where everybody reaches them.
//!
//! | file               | subject                                                                  |
//! |--------------------|--------------------------------------------------------------------------|
//! | `client.rs`        | [`Cluster`]: what a Weir that is asked knows of the others                  |
//! | `client/job.rs`    | one plan, sent to the scheduler, and its rows, fetched from executors        |
//! | `scheduler.rs`     | `weir scheduler`                                                           |
//! | `scheduler/executors.rs` | which executors there are, and what becomes of jobs when one goes      |
//! | `scheduler/jobs.rs` | which jobs are taken, and which are under way                              |
//! | `executor.rs`      | `weir executor`                                                            |
//! | `executor/stage.rs` | a part of a plan at work: which files it opened, why it failed              |
//! | `executor/connections.rs` | connections to other executors                                   |
//! | `settings.rs`      | what all of them must have alike                                            |
//!
//! What is planned, and which questions are worth it, is `weir_query::spread`'s. **Invariant**: a scheduler takes no plan but
//! one that reads the store's files; a question whose executor goes is asked once more of those that stay, and is never left
//! waiting for one that is gone.

mod client;
mod executor;
mod scheduler;
mod settings;

pub use client::Cluster;
pub use executor::Executor;
pub use scheduler::Scheduler;

/// Why a part of the cluster doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address, a port or a folder can't be had.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The address of a scheduler isn't one.
    #[error("{0:?} is no address of a scheduler: http://HOST:PORT")]
    Address(String),
    /// Ballista's own words.
    #[error("{0}")]
    Ballista(String),
}

impl From<ballista_core::error::BallistaError> for ClusterError {
    fn from(error: ballista_core::error::BallistaError) -> ClusterError {
        ClusterError::Ballista(error.to_string())
    }
}

impl From<datafusion::error::DataFusionError> for ClusterError {
    fn from(error: datafusion::error::DataFusionError) -> ClusterError {
        ClusterError::Ballista(error.strip_backtrace())
    }
}

/// `io` of something.
fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClusterError {
    move |source| ClusterError::Io { what: what.into(), source }
}
