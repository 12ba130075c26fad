//! What client, scheduler and executors must have alike.

use std::time::Duration;

use ballista_core::extension::SessionConfigExt;
use datafusion::prelude::SessionConfig;

/// A message between them: a part of a plan may have the newest rows in it.
pub(crate) const MESSAGE_BYTES: usize = 256 << 20;
/// How often an executor says that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// After how long without a word it is gone. Whoever gives it a task while it is gone finds out at once.
pub(crate) const GONE: Duration = Duration::from_secs(6);
/// How long an executor waits at its start for the scheduler to be there.
pub(crate) const AT_THE_START: Duration = Duration::from_secs(10);
/// Rows that nobody fetched are deleted after this.
pub(crate) const UNFETCHED: Duration = Duration::from_mins(10);

/// What an executor says that waits for the rows of one that went.
pub(crate) const LOST: &str = "rows of another executor can't be had";

/// Settings of a session, before those of a question.
pub(crate) fn session() -> SessionConfig {
    spread(SessionConfig::new())
}

/// What a plan may have in it that many work on: nothing that one step tells another as it goes, since that one may be
/// elsewhere.
pub(crate) fn spread(config: SessionConfig) -> SessionConfig {
    let config = config.upgrade_for_ballista();
    // Ballista's joins are by sorting, which spills, and takes several times as long. What doesn't fit is answered by whoever
    // was asked, who can spill.
    config.set_bool("datafusion.optimizer.prefer_hash_join", true)
}
