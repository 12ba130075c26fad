//! A question → an answer that streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use parking_lot::Mutex;
use url::Url;
use weir_model::{Table, tables};
use weir_store::{Snapshot, Store};

use crate::completeness::{self, Completeness};
use crate::distinct::CountsBesideDistinct;
use crate::error::QueryError;
use crate::plain;
use crate::provider::StoreTable;
use crate::range::TimeRange;

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

/// Footers of files are kept in memory up to this part of what questions may use, beside it.
const FOOTERS_SHARE: usize = 8;

/// What doesn't fit is spilled into temporary files, up to this many times the memory.
const SPILL_TIMES: u64 = 4;

/// Answers questions in SQL.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    limits: Limits,
    /// Settings and functions of every question, and no tables.
    state: Arc<SessionState>,
    /// The tables with the columns that questions see.
    tables: Arc<[(&'static Table, SchemaRef)]>,
    running: Arc<AtomicUsize>,
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
    /// The times that the question is about.
    pub range: TimeRange,
    stream: SendableRecordBatchStream,
    deadline: tokio::time::Instant,
    limit: Duration,
    /// Keeps the files that the plan reads.
    _pins: Pins,
    _running: Running,
}

/// What the tables of one question share.
pub(crate) type Pins = Arc<Mutex<Pinned>>;

/// The snapshots of one question (every mention of a table sees the same rows), and the times that it is about.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    pub(crate) snapshots: Vec<(&'static str, Snapshot)>,
    /// `None` until a table is read.
    pub(crate) range: Option<TimeRange>,
}

/// Counts a question for as long as it is worked on.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn count(running: &Arc<AtomicUsize>) -> Running {
        running.fetch_add(1, Ordering::Relaxed);
        Running(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The columns.
    pub schema: SchemaRef,
    /// The times that the question is about.
    pub range: TimeRange,
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
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_collect_statistics(true)
            .with_default_catalog_and_schema("weir", "public");
        if limits.threads > 0 {
            config = config.with_target_partitions(limits.threads);
        }
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        options.execution.parquet.enable_page_index = true;
        options.execution.parquet.bloom_filter_on_read = true;
        options.catalog.create_default_catalog_and_schema = true;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .with_metadata_cache_limit(limits.memory_bytes / FOOTERS_SHARE)
            .with_max_temp_directory_size(limits.memory_bytes as u64 * SPILL_TIMES)
            .build_arc()
            .map_err(|err| QueryError::from_datafusion(&err, ""))?;
        let url = crate::provider::store_url();
        runtime.register_object_store(AsRef::<Url>::as_ref(&url), store.objects());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rule(Arc::new(CountsBesideDistinct))
            .build();
        let context = SessionContext::new_with_state(state);
        crate::functions::register(&context);
        crate::percentiles::register(&context);
        Ok(Engine {
            store,
            limits,
            state: Arc::new(context.state()),
            tables: tables::ALL.into_iter().map(|table| (table, plain::viewed(table))).collect(),
            running: Arc::default(),
        })
    }

    /// The store that it asks.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Questions that are worked on now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Plans `text` and starts it. Rows come as they are found.
    ///
    /// # Errors
    /// [`QueryError`] with the position in `text` where one is known.
    pub async fn sql(&self, text: &str) -> Result<Answer, QueryError> {
        self.start(text, Pins::default()).await
    }

    async fn start(&self, text: &str, pins: Pins) -> Result<Answer, QueryError> {
        let running = Running::count(&self.running);
        let deadline = tokio::time::Instant::from_std(Instant::now() + self.limits.time);
        let context = self.session(&pins).map_err(|err| QueryError::from_datafusion(&err, ""))?;
        let stream = tokio::time::timeout_at(deadline, start(&context, text))
            .await
            .map_err(|_| QueryError::too_slow(self.limits.time))??;
        let range = pins.lock().range.unwrap_or(TimeRange::ALL);
        Ok(Answer {
            schema: plain::answered(&stream.schema()),
            range,
            stream,
            deadline,
            limit: self.limits.time,
            _pins: pins,
            _running: running,
        })
    }

    /// The whole answer, cut after `most_rows`.
    ///
    /// # Errors
    /// As [`Engine::sql`], and what goes wrong on the way.
    pub async fn collect(&self, text: &str, most_rows: usize) -> Result<Collected, QueryError> {
        self.sql(text).await?.collect(most_rows).await
    }

    /// The same of a part of `table` that the caller has: some of its files, or what is in memory.
    ///
    /// # Errors
    /// As [`Engine::collect`].
    pub async fn collect_from(
        &self,
        table: &'static Table,
        part: Snapshot,
        text: &str,
        most_rows: usize,
    ) -> Result<Collected, QueryError> {
        let pins = Pins::default();
        pins.lock().snapshots.push((table.name, part));
        self.start(text, pins).await?.collect(most_rows).await
    }

    /// What was lost, shed or late in a range of time, and which probes were silent at its end.
    ///
    /// # Errors
    /// When `probe_health` can't be read.
    pub async fn completeness(&self, range: TimeRange) -> Result<Completeness, QueryError> {
        completeness::of(self, range).await
    }

    /// A session of one question: its own tables, so that all mentions of one see the same rows, and nothing that an
    /// earlier question could have left.
    fn session(&self, pins: &Pins) -> Result<SessionContext, DataFusionError> {
        let schema = MemorySchemaProvider::new();
        for &(table, ref columns) in self.tables.iter() {
            let provider = StoreTable::new(self.store.clone(), table, columns.clone(), pins.clone());
            schema.register_table(table.name.to_owned(), Arc::new(provider))?;
        }
        let names = &self.state.config_options().catalog;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&names.default_schema, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
        let mut state = SessionState::clone(&self.state);
        state.register_catalog_list(Arc::new(catalogs));
        Ok(SessionContext::new_with_state(state))
    }
}

impl Answer {
    /// All of it, cut after `most_rows`.
    async fn collect(mut self, most_rows: usize) -> Result<Collected, QueryError> {
        let mut batches = Vec::new();
        let mut room = most_rows;
        let mut is_truncated = false;
        while let Some(batch) = self.next().await {
            let batch = batch?;
            is_truncated = batch.num_rows() > room;
            let batch = batch.slice(0, batch.num_rows().min(room));
            room -= batch.num_rows();
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
            if is_truncated {
                break;
            }
        }
        Ok(Collected { schema: self.schema.clone(), range: self.range, batches, is_truncated })
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        match tokio::time::timeout_at(self.deadline, self.stream.next()).await {
            Ok(next) => next.map(|batch| {
                let batch = batch.and_then(|batch| Ok(plain::answer(batch, &self.schema)?));
                batch.map_err(|err| QueryError::from_datafusion(&err, ""))
            }),
            Err(_) => Some(Err(QueryError::too_slow(self.limit))),
        }
    }
}

async fn start(context: &SessionContext, text: &str) -> Result<SendableRecordBatchStream, QueryError> {
    let failed = |err: &DataFusionError| QueryError::from_datafusion(err, text);
    let plan = context.state().create_logical_plan(text).await.map_err(|err| failed(&err))?;
    read_only(&plan)?;
    let frame = context.execute_logical_plan(plan).await.map_err(|err| failed(&err))?;
    frame.execute_stream().await.map_err(|err| failed(&err))
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
