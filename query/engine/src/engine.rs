//! A question → an answer on its way.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;
use url::Url;
use weir_model::{Table, tables};
use weir_store::{Snapshot, Store};

use crate::answer::{Answer, Collected};
use crate::caller::Caller;
use crate::completeness::{self, Completeness};
use crate::damage::{Opened, Reading};
use crate::error::QueryError;
use crate::functions::{self, FunctionDoc};
use crate::limits::{Allowed, Limits, QuestionPool};
use crate::provider::StoreTable;
use crate::question::Question;
use crate::range::TimeRange;
use crate::spread::{self, Others, Spread};
use crate::turns::{Turn, Turns};
use crate::{compact, parameters, plain, postgres, rules, statement};

/// Footers of files are kept in memory up to this part of what questions may use, beside it.
const FOOTERS_SHARE: usize = 8;

/// What doesn't fit is spilled into temporary files, up to this many times the memory, and at least so much.
const SPILL_TIMES: u64 = 4;
const SPILL_LEAST: u64 = 1 << 30;
/// Where, below the store's folder.
const SPILL_FOLDER: &str = "spill";
/// A sort keeps this part of a question's memory free for merging what it has spilled, within these bounds.
const MERGE_SHARE: usize = 8;
pub(crate) const MERGE_BYTES: (usize, usize) = (64 << 10, 10 << 20);
/// A batch takes at most this part of a question's memory, the quick way and the spilling one, within these numbers of rows.
const BATCH_SHARE: (usize, usize) = (64, 1024);
/// So many files are merged at once: each takes two batches, and other parts of the question are sorting still.
const MERGED_AT_ONCE: usize = 8;
const BATCH_ROWS: (usize, usize) = (128, 8_192);
const SPILLING_ROWS: usize = 1_024;

/// Answers questions in SQL. A clone is the same engine: memory, turns and counts are shared.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    limits: Limits,
    /// Settings and functions of every question, and no tables.
    state: Arc<SessionState>,
    /// The tables with the columns that questions see.
    tables: Arc<[(&'static Table, SchemaRef)]>,
    running: Arc<AtomicUsize>,
    turns: Arc<Turns>,
    /// Whose questions these are; `None`: Weir's own, which wait for nobody.
    turn: Option<Arc<Turn>>,
    /// Machines that answer with us, where there are any.
    others: Option<Others>,
    /// The PostgreSQL session that asks, where one does.
    postgres: Option<postgres::Asking>,
    /// Kept open for its name.
    _spill_folder: Arc<File>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
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
pub(crate) struct Running(Arc<AtomicUsize>);

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

/// What an answer would look like.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns.
    pub schema: SchemaRef,
    /// The type of `$1`, `$2` …; `None` where its place takes any.
    pub parameters: Vec<Option<DataType>>,
}

impl Engine {
    /// An engine over `store`. What an earlier one left spilled in its folder is removed.
    ///
    /// # Errors
    /// When the limits can't be set up, or the folder for what is spilled can't be made.
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
        // Each scan decides for itself (`files.rs`): true here would decide for all.
        options.execution.parquet.pushdown_filters = false;
        options.execution.parquet.reorder_filters = true;
        options.execution.parquet.enable_page_index = true;
        options.execution.parquet.bloom_filter_on_read = true;
        options.catalog.create_default_catalog_and_schema = true;
        let spill = store.dir().join(SPILL_FOLDER);
        empty(&spill).map_err(|err| {
            QueryError::invalid("internal", format!("make {} for what is spilled: {err}", spill.display()))
        })?;
        // Named by its descriptor, so that no setting and no error tells where the data lies.
        let spill_folder = File::open(&spill).map_err(|err| {
            QueryError::invalid("internal", format!("open {} for what is spilled: {err}", spill.display()))
        })?;
        let spill = PathBuf::from(format!("/proc/self/fd/{}", spill_folder.as_raw_fd()));
        let spill_bytes = (limits.memory_bytes as u64).saturating_mul(SPILL_TIMES).max(SPILL_LEAST);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill]))
            .with_max_spill_merge_fan_in(MERGED_AT_ONCE)
            .with_max_temp_directory_size(spill_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .with_metadata_cache_limit(limits.memory_bytes / FOOTERS_SHARE)
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|err| QueryError::from_datafusion(&err, ""))?;
        let url = crate::files::store_url();
        runtime.register_object_store(AsRef::<Url>::as_ref(&url), store.objects());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rules(rules::logical())
            .with_physical_optimizer_rules(rules::physical())
            .build();
        let context = SessionContext::new_with_state(state);
        functions::register(&context);
        Ok(Engine {
            store,
            limits,
            state: Arc::new(context.state()),
            tables: tables::ALL.into_iter().map(|table| (table, plain::viewed(table))).collect(),
            running: Arc::default(),
            turns: Turns::new(limits),
            turn: None,
            others: None,
            postgres: None,
            _spill_folder: Arc::new(spill_folder),
        })
    }

    /// The same with machines that answer questions with it.
    #[must_use]
    pub fn spreading(self, over: Arc<dyn Spread>) -> Engine {
        Engine { others: Some(Others::new(over, self.state.clone())), ..self }
    }

    /// What became of questions that those were asked; `None` where there are none.
    pub fn spread(&self) -> Option<spread::Counts> {
        self.others.as_ref().map(Others::counts)
    }

    /// The same for one request of `caller`, whose turn it is as long as it or an answer of it lives. Waits for the turn.
    ///
    /// # Errors
    /// `limit.busy` where too many wait already, or it takes too long.
    pub async fn asked_by(&self, caller: Caller) -> Result<Engine, QueryError> {
        let turn = self.turns.take(caller).await?;
        Ok(Engine { turn: Some(Arc::new(turn)), ..self.clone() })
    }

    /// The same for one session of a client of PostgreSQL's, which has a catalogue and words of its own.
    #[must_use]
    pub fn for_postgres(&self, session: postgres::Session) -> Engine {
        let state = match &self.postgres {
            Some(asking) => asking.state.clone(),
            None => Arc::new(postgres::state(&self.state)),
        };
        let asking = postgres::Asking { session: Arc::new(session), state };
        Engine { postgres: Some(asking), ..self.clone() }
    }

    /// All functions that a question may use, ours first, by name.
    pub fn functions(&self) -> Vec<FunctionDoc> {
        functions::all(&self.state)
    }

    /// The store that it asks.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What a question may cost.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Questions that are worked on now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Plans a question and starts it. Rows come as they are found.
    ///
    /// # Errors
    /// [`QueryError`] with the position in the text where one is known.
    pub async fn sql(&self, question: impl Into<Question>) -> Result<Answer, QueryError> {
        self.start(question.into(), Pins::default()).await
    }

    async fn start(&self, question: Question, pins: Pins) -> Result<Answer, QueryError> {
        let running = Running::count(&self.running);
        let allowed = self.limits.lowered(&question.limits)?;
        let deadline = tokio::time::Instant::from_std(Instant::now() + allowed.time);
        let context =
            self.session(&pins, allowed).map_err(|err| QueryError::from_datafusion(&err, &question.text))?;
        // What the caller has is here, and for nobody else.
        let others = self.others.as_ref().filter(|_| pins.lock().snapshots.is_empty());
        let started = start(&context, &question, allowed, Way::Quick, others);
        let stream = tokio::time::timeout_at(deadline, started)
            .await
            .map_err(|_| QueryError::too_slow(allowed.time))??;
        let opened = context.state_ref().read().config().get_extension::<Opened>().unwrap_or_default();
        let reading = Reading { store: self.store.clone(), pins, opened };
        let again = Again { context, question, allowed };
        Ok(Answer::new(stream, deadline, allowed, again, reading, running, self.turn.clone()))
    }

    /// What a question's answer would look like: its columns, and the type of each parameter as far as its place tells.
    /// Parameters without values are taken for NULL. Nothing is read.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn describe(&self, question: impl Into<Question>) -> Result<Described, QueryError> {
        let question = question.into();
        let text = question.text.as_str();
        let allowed = self.limits.lowered(&question.limits)?;
        let failed = |err: &DataFusionError| QueryError::from_datafusion(err, text);
        let context = self.session(&Pins::default(), allowed).map_err(|err| failed(&err))?;
        let state = context.state();
        let plan = plan(&state, text).await?;
        let parameters = parameters::types(&plan, text)?;
        let mut values = question.parameters;
        if values.is_empty() {
            values = vec![ScalarValue::Null; parameters.len()];
        }
        let plan = parameters::bind(plan, &values, text)?;
        let plan = state.create_physical_plan(&plan).await.map_err(|err| failed(&err))?;
        Ok(Described { schema: plain::answered(&plan.schema()), parameters })
    }

    /// The tables, with their columns as answers have them.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, SchemaRef)> {
        self.tables.iter().map(|(table, columns)| (table.name, plain::answered(columns)))
    }

    /// The whole answer, cut after `most_rows`, or after as many as it may have.
    ///
    /// # Errors
    /// As [`Engine::sql`], and what goes wrong on the way.
    pub async fn collect(
        &self,
        question: impl Into<Question>,
        most_rows: usize,
    ) -> Result<Collected, QueryError> {
        let question = question.into();
        match self.collect_once(question.clone(), most_rows).await {
            // Another damaged file is for the next question to find.
            Err(err) if err.is_passing() => self.collect_once(question, most_rows).await,
            answer => answer,
        }
    }

    async fn collect_once(&self, question: Question, most_rows: usize) -> Result<Collected, QueryError> {
        self.sql(question).await?.collect(most_rows).await
    }

    /// The same of a part of `table` that the caller has: some of its files, or what is in memory.
    ///
    /// # Errors
    /// As [`Engine::collect`].
    pub async fn collect_from(
        &self,
        table: &'static Table,
        part: Snapshot,
        question: impl Into<Question>,
        most_rows: usize,
    ) -> Result<Collected, QueryError> {
        let pins = Pins::default();
        pins.lock().snapshots.push((table.name, part));
        self.start(question.into(), pins).await?.collect(most_rows).await
    }

    /// What was lost, shed or late in a range of time, rows of `tables` that were in damaged files, and which probes were silent
    /// at its end.
    ///
    /// # Errors
    /// When `probe_health` can't be read.
    pub async fn completeness(&self, range: TimeRange, tables: &[&str]) -> Result<Completeness, QueryError> {
        completeness::of(self, range, tables).await
    }

    /// A session of one question: its own tables, so that all mentions of one see the same rows, and nothing that an
    /// earlier question could have left.
    fn session(&self, pins: &Pins, allowed: Allowed) -> Result<SessionContext, DataFusionError> {
        let schema = MemorySchemaProvider::new();
        for &(table, ref columns) in self.tables.iter() {
            let provider = StoreTable::new(self.store.clone(), table, columns.clone(), pins.clone());
            schema.register_table(table.name.to_owned(), Arc::new(provider))?;
        }
        let names = &self.state.config_options().catalog;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&names.default_schema, Arc::new(schema))?;
        if let Some(asking) = &self.postgres {
            asking.session.add_tables(&catalog)?;
        }
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(names.default_catalog.clone(), Arc::new(catalog));
        let mut state =
            SessionState::clone(self.postgres.as_ref().map_or(&self.state, |asking| &asking.state));
        state.register_catalog_list(Arc::new(catalogs));
        if let Some(asking) = &self.postgres {
            state.config_mut().set_extension(asking.session.clone());
        }
        state.config_mut().set_extension(Arc::<Opened>::default());
        let merge = allowed.memory_bytes / MERGE_SHARE / state.config().target_partitions();
        state.config_mut().options_mut().execution.sort_spill_reservation_bytes =
            merge.clamp(MERGE_BYTES.0, MERGE_BYTES.1);
        Ok(SessionContext::new_with_state(state))
    }
}

/// A question that didn't fit into memory by the quick way: by one that can spill, it may.
pub(crate) struct Again {
    context: SessionContext,
    question: Question,
    allowed: Allowed,
}

impl Again {
    pub(crate) async fn start(self) -> Result<SendableRecordBatchStream, QueryError> {
        start(&self.context, &self.question, self.allowed, Way::Spilling, None).await
    }
}

/// Text → plan, read-only.
async fn plan(state: &SessionState, text: &str) -> Result<LogicalPlan, QueryError> {
    let limit = state.config_options().sql_parser.recursion_limit.get();
    let mut parsed = statement::parse(text, limit)?;
    if let Some(session) = state.config().get_extension::<postgres::Session>() {
        session.rewrite(&mut parsed);
    }
    let planned = state.statement_to_plan(parsed).await;
    let plan = planned.map_err(|err| QueryError::from_datafusion(&err, text))?;
    statement::read_only(&plan)?;
    Ok(plan)
}

/// How a question is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Joins by hash and the first rows of a sort are held in memory, and batches are as operators like them.
    Quick,
    /// Both are sorted whole, which spills, and batches are small, so that merging many files needs little.
    Spilling,
}

/// Starts a question.
async fn start(
    context: &SessionContext,
    question: &Question,
    allowed: Allowed,
    way: Way,
    others: Option<&Others>,
) -> Result<SendableRecordBatchStream, QueryError> {
    let text = question.text.as_str();
    let failed = |err: &DataFusionError| QueryError::from_datafusion(err, text);
    let mut state = context.state();
    if way == Way::Spilling {
        state.config_mut().options_mut().optimizer.prefer_hash_join = false;
        // What makes its rows itself (generate_series) asks for this while it is planned.
        *state.config_mut() = state.config().clone().with_batch_size(SPILLING_ROWS);
    }
    let asked = plan(&state, text).await?;
    let asked = parameters::bind(asked, &question.parameters, text)?;
    let mut plan = state.create_physical_plan(&asked).await.map_err(|err| failed(&err))?;
    if way == Way::Spilling {
        plan = plan.transform_up(|plan| Ok(sorted_whole(plan))).data().map_err(|err| failed(&err))?;
    }
    let shared = RuntimeEnv::clone(state.runtime_env());
    let pool = QuestionPool::new(allowed.memory_bytes, shared.memory_pool.clone());
    let runtime = Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..shared });
    let config = state.config().clone().with_batch_size(batch_rows(plan.as_ref(), allowed.memory_bytes, way));
    let task = Arc::new(TaskContext::from(&state).with_session_config(config).with_runtime(runtime));
    if let Some(others) = others {
        let here = spread::Here { state: &state, question: &asked, plan: &plan, task: &task };
        if let Some(rows) = Box::pin(here.spread(others)).await.map_err(|err| failed(&err))? {
            return Ok(rows);
        }
    }
    execute_stream(plan, task).map_err(|err| failed(&err))
}

/// A sort that keeps its first rows as one of all rows, of which the first are taken.
fn sorted_whole(plan: Arc<dyn ExecutionPlan>) -> Transformed<Arc<dyn ExecutionPlan>> {
    let first_rows = plan.downcast_ref::<SortExec>().and_then(|sort| Some((sort, sort.fetch()?)));
    let Some((sort, fetch)) = first_rows else { return Transformed::no(plan) };
    let whole = SortExec::new(sort.expr().clone(), sort.input().clone())
        .with_preserve_partitioning(sort.preserve_partitioning());
    Transformed::yes(Arc::new(LocalLimitExec::new(Arc::new(whole), fetch)))
}

/// How many rows operators hand on at a time: sorting and merging hold a few batches of each part, which must be a small part
/// of the memory also where rows are wide.
fn batch_rows(plan: &dyn ExecutionPlan, memory_bytes: usize, way: Way) -> usize {
    fn widest(plan: &dyn ExecutionPlan) -> usize {
        let below = plan.children().into_iter().map(|child| widest(child.as_ref())).max();
        compact::row_bytes(&plan.schema()).max(below.unwrap_or_default())
    }
    let share = if way == Way::Quick { BATCH_SHARE.0 } else { BATCH_SHARE.1 };
    let rows = memory_bytes / share / widest(plan);
    rows.clamp(BATCH_ROWS.0, BATCH_ROWS.1)
}

/// Makes a folder that has nothing in it.
fn empty(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    std::fs::create_dir_all(folder)
}
