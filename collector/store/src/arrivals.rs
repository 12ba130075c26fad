//! A stage between the log and memory, for one table. The log has rows as they came; what memory and files have is what the
//! stage makes of them, in the order of the log, so that a start which reads the log again comes to the same.

use std::collections::HashSet;
use std::fmt::Debug;

use arrow::array::RecordBatch;
use weir_model::Table;

/// What the stage has to be told of what is stored, before it can take a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Of rows from this time on, ns,
    pub from: i64,
    /// up to this one,
    pub upto: i64,
    /// those with one of these keys, which are the stage's own.
    pub keys: HashSet<u64>,
}

/// How memory changes where rows of several batches become one.
#[derive(Clone, Debug)]
pub enum Change {
    /// The batch of that number has fewer rows; it keeps its number.
    Replaced {
        /// Its number.
        number: u64,
        /// What is left of it.
        by: RecordBatch,
    },
    /// A new batch, of rows that were in batches of these numbers; it comes before what it leaves of them.
    Added {
        /// Its rows.
        batch: RecordBatch,
        /// Numbers of the batches.
        of: Vec<u64>,
    },
}

/// The stage.
pub trait Arrivals: Debug + Send + Sync {
    /// The table whose rows pass here; others go on as they come.
    fn table(&self) -> &'static Table;

    /// Columns of stored rows that [`Arrivals::recall`] reads.
    fn recalled_columns(&self) -> &'static [&'static str];

    /// A start: [`Arrivals::recall`] tells next of all stored rows of `since` (ns) and later, then the log's rows arrive.
    fn begin(&self, since: i64);

    /// What it has to be told before `batch` can arrive, if anything. `now` in ns.
    fn lacks(&self, batch: &RecordBatch, now: i64) -> Option<Lacking>;

    /// Stored rows; all, or those that were lacking.
    fn recall(&self, stored: &RecordBatch, lacking: Option<&Lacking>);

    /// The rows as they become visible. `now` in ns. `is_again`: the log is read again; rows that are stored already, as part
    /// of those that they became one with, are left out.
    fn arrive(&self, batch: &RecordBatch, now: i64, is_again: bool) -> RecordBatch;

    /// Rows that go into a file, as they are to be there.
    fn seal(&self, batches: Vec<RecordBatch>) -> Vec<RecordBatch>;

    /// Which rows of `memory` (numbered batches, all that is not being sealed) are one.
    fn merge(&self, memory: &[(u64, RecordBatch)]) -> Vec<Change>;
}
