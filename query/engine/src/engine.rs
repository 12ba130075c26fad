//! A question → an answer that streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use parking_lot::Mutex;
use url::Url;
use weir_model::tables;
use weir_store::{Snapshot, Store};

use crate::completeness::{self, Completeness};
use crate::error::QueryError;
use crate::provider::StoreTable;

/// What one question may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory for sorting, grouping and joining, all questions together.
    pub memory_bytes: usize,
    /// How long a question may take.
    pub time: Duration,
    /// Threads that one question uses; 0: as many as there are cores.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: 2 << 30, time: Duration::from_mins(1), threads: 0 }
    }
}

/// Answers questions in SQL.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    limits: Limits,
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An answer, on its way. Dropping it cancels the question.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    stream: SendableRecordBatchStream,
    deadline: tokio::time::Instant,
    limit: Duration,
    /// Keeps the files that the plan reads.
    _pins: Pins,
}

/// The snapshots of one question: every mention of a table sees the same rows.
pub(crate) type Pins = Arc<Mutex<Vec<(&'static str, Snapshot)>>>;

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The columns.
    pub schema: SchemaRef,
    /// At most as many rows as were asked for.
    pub batches: Vec<RecordBatch>,
    /// Whether there were more.
    pub is_truncated: bool,
}

impl Engine {
    /// An engine over `store`.
    ///
    /// # Errors
    /// When the limits can't be set up.
    pub fn new(store: Store, limits: Limits) -> Result<Engine, QueryError> {
        let mut config = SessionConfig::new().with_information_schema(true).with_collect_statistics(true);
        if limits.threads > 0 {
            config = config.with_target_partitions(limits.threads);
        }
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        // Files hold plain strings, memory dictionaries: one type for both, ours.
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        options.execution.parquet.enable_page_index = true;
        options.execution.parquet.bloom_filter_on_read = true;
        options.catalog.create_default_catalog_and_schema = true;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .build_arc()
            .map_err(|err| QueryError::from_datafusion(&err, ""))?;
        let url = crate::provider::store_url();
        runtime.register_object_store(AsRef::<Url>::as_ref(&url), store.objects());
        Ok(Engine { store, limits, config, runtime })
    }

    /// The store that it asks.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Plans `text` and starts it. Rows come as they are found.
    ///
    /// # Errors
    /// [`QueryError`] with the position in `text` where one is known.
    pub async fn sql(&self, text: &str) -> Result<Answer, QueryError> {
        let pins = Pins::default();
        let context = self.session(&pins)?;
        let failed = |err: &datafusion::error::DataFusionError| QueryError::from_datafusion(err, text);
        let plan = context.state().create_logical_plan(text).await.map_err(|err| failed(&err))?;
        read_only(&plan)?;
        let frame = context.execute_logical_plan(plan).await.map_err(|err| failed(&err))?;
        let stream = frame.execute_stream().await.map_err(|err| failed(&err))?;
        Ok(Answer {
            schema: stream.schema(),
            stream,
            deadline: tokio::time::Instant::from_std(Instant::now() + self.limits.time),
            limit: self.limits.time,
            _pins: pins,
        })
    }

    /// The whole answer, cut after `most_rows`.
    ///
    /// # Errors
    /// As [`Engine::sql`], and what goes wrong on the way.
    pub async fn collect(&self, text: &str, most_rows: usize) -> Result<Collected, QueryError> {
        let mut answer = self.sql(text).await?;
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            let batch = batch?;
            let room = most_rows - rows;
            if batch.num_rows() > room {
                if room > 0 {
                    batches.push(batch.slice(0, room));
                }
                return Ok(Collected { schema: answer.schema.clone(), batches, is_truncated: true });
            }
            rows += batch.num_rows();
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        Ok(Collected { schema: answer.schema.clone(), batches, is_truncated: false })
    }

    /// What was lost, shed or late between two times (UTC nanoseconds).
    ///
    /// # Errors
    /// When `probe_health` can't be read.
    pub async fn completeness(&self, from: i64, until: i64) -> Result<Completeness, QueryError> {
        completeness::between(self, from, until).await
    }

    fn session(&self, pins: &Pins) -> Result<SessionContext, QueryError> {
        let state = SessionStateBuilder::new()
            .with_config(self.config.clone())
            .with_runtime_env(self.runtime.clone())
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        crate::functions::register(&context);
        for table in tables::ALL {
            let provider = Arc::new(StoreTable::new(self.store.clone(), table, pins.clone()));
            context
                .register_table(table.name, provider)
                .map_err(|err| QueryError::from_datafusion(&err, ""))?;
        }
        Ok(context)
    }
}

impl Answer {
    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        match tokio::time::timeout_at(self.deadline, self.stream.next()).await {
            Ok(next) => next.map(|batch| batch.map_err(|err| QueryError::from_datafusion(&err, ""))),
            Err(_) => Some(Err(QueryError::too_slow(self.limit))),
        }
    }
}

/// Refuses everything that isn't a question.
fn read_only(plan: &LogicalPlan) -> Result<(), QueryError> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|_| QueryError::read_only())
}
