//! Questions that several machines answer together: what such a question is, what it needs of the engine, and what becomes of
//! it where they can't. How they do it is their business (`query/cluster`); here it begins and ends as any other question.
//!
//! A question is planned once for this process, and where its files are so large that it may pay, once more for many. The
//! newest rows, which only this process has, go along inside the plan. Whatever goes wrong before the first row is here to be
//! answered as if there were nobody else.

mod failure;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, ParquetSource};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use tracing::{debug, warn};

use crate::compact::CompactExec;
use crate::damage::{Opened, Readers};
use crate::error::QueryError;
use crate::{files, functions, rules};

pub use failure::Failure;

/// So much of the newest rows goes along with a plan, bytes: more are answered here. Each part of a plan is a message.
const NEWEST_BYTES: usize = 32 << 20;

/// Rows of an answer that others give.
pub type Rows = BoxStream<'static, std::result::Result<RecordBatch, SpreadError>>;

/// Whoever has machines that read the store's files.
pub trait Spread: Debug + Send + Sync {
    /// How many parts they can work on at the same time.
    fn parts(&self) -> usize;

    /// A question that reads files of fewer bytes is answered here.
    fn least_bytes(&self) -> u64;

    /// What their settings must be for a plan that they get.
    fn settings(&self, config: SessionConfig) -> SessionConfig;

    /// The rows of `plan`. Dropping them ends the work.
    fn rows(&self, plan: Arc<dyn ExecutionPlan>, config: SessionConfig) -> Rows;
}

/// Why they have no rows, or no more of them.
#[derive(Debug)]
pub enum SpreadError {
    /// Nobody is there, or they went: another may answer.
    Nobody(String),
    /// The question failed.
    Failed(Failure),
}

/// What became of questions that others were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They had the rows, or said why there are none.
    pub answered: u64,
    /// They had none, and it was answered here.
    pub alone: u64,
    /// They went when some rows were told already.
    pub broken_off: u64,
}

/// The same, while it goes on.
#[derive(Debug, Default)]
struct Counted {
    answered: AtomicU64,
    alone: AtomicU64,
    broken_off: AtomicU64,
}

impl Counted {
    fn now(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { answered: of(&self.answered), alone: of(&self.alone), broken_off: of(&self.broken_off) }
    }
}

/// Others, and what became of what they were asked.
#[derive(Clone)]
pub(crate) struct Others {
    over: Arc<dyn Spread>,
    counted: Arc<Counted>,
    /// With the functions that everybody has.
    known: Arc<SessionState>,
}

impl Others {
    pub(crate) fn new(over: Arc<dyn Spread>, known: Arc<SessionState>) -> Others {
        Others { over, counted: Arc::default(), known }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counted.now()
    }
}

/// Under which URL plans name the store's files.
pub fn store_url() -> ObjectStoreUrl {
    files::store_url()
}

/// A session that knows what plans of questions are made of: every function, and no table.
pub fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    functions::register(&context);
    context.state()
}

/// How many bytes the files have that a plan reads; `None` for one that does anything but read the store's files, rows that
/// it brings along, and nothing.
pub fn bytes_read(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let mut files = HashSet::new();
    let mut bytes = 0;
    let mut is_ours = true;
    let looked = plan.apply(|step| {
        is_ours &= !step.is::<DataSinkExec>() && !step.is::<AnalyzeExec>();
        if step.children().is_empty() {
            if let Some(config) = parquet(step) {
                is_ours &= config.object_store_url == store_url();
                for file in config.file_groups.iter().flat_map(FileGroup::iter) {
                    if files.insert(file.path().clone()) {
                        bytes += file.object_meta.size;
                    }
                }
            } else {
                is_ours &= is_memory(step) || step.is::<EmptyExec>() || step.is::<PlaceholderRowExec>();
            }
        }
        Ok(if is_ours { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    (looked.is_ok() && is_ours).then_some(bytes)
}

/// The files that a plan opened last, each once.
#[derive(Clone, Debug, Default)]
pub struct LastOpened(Arc<Opened>);

impl LastOpened {
    /// Their paths.
    pub fn paths(&self) -> Vec<Path> {
        self.0.last()
    }
}

/// The same plan, which notes the files that it opens.
///
/// # Errors
/// When a step can't have other files.
pub fn noting(
    plan: Arc<dyn ExecutionPlan>,
    objects: &Arc<dyn ObjectStore>,
    footers: &Arc<FileMetadataCache>,
) -> Result<(Arc<dyn ExecutionPlan>, LastOpened)> {
    let opened = LastOpened::default();
    let plan = plan.transform_up(|step| {
        let readers = Arc::new(Readers::new(objects.clone(), footers.clone(), opened.0.clone()));
        let noting = files::read_otherwise(&step, |source| source.with_parquet_file_reader_factory(readers));
        Ok(noting.map_or_else(|| Transformed::no(step), Transformed::yes))
    });
    Ok((plan.data()?, opened))
}

fn parquet(step: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let source = step.downcast_ref::<DataSourceExec>()?;
    source.downcast_to_file_source::<ParquetSource>().map(|(config, _)| config)
}

fn is_memory(step: &Arc<dyn ExecutionPlan>) -> bool {
    let source = step.downcast_ref::<DataSourceExec>();
    source.is_some_and(|source| {
        let source: &dyn std::any::Any = source.data_source().as_ref();
        source.is::<MemorySourceConfig>()
    })
}

/// Whether it is rows that only this process has.
fn is_newest(step: &Arc<dyn ExecutionPlan>) -> bool {
    step.is::<CompactExec>() || is_memory(step)
}

/// A question as it would be answered here.
pub(crate) struct Here<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) question: &'a LogicalPlan,
    pub(crate) plan: &'a Arc<dyn ExecutionPlan>,
    pub(crate) task: &'a Arc<TaskContext>,
}

impl Here<'_> {
    /// The answer of many; `None` where it is better answered here.
    ///
    /// # Errors
    /// When the newest rows can't be read.
    pub(crate) async fn spread(&self, others: &Others) -> Result<Option<SendableRecordBatchStream>> {
        let over = &others.over;
        let bytes = bytes_read(self.plan).filter(|bytes| *bytes > 0 && *bytes >= over.least_bytes());
        if bytes.is_none() || !knows_functions(self.plan, &others.known) {
            return Ok(None);
        }
        let config = over.settings(self.state.config().clone().with_target_partitions(over.parts()));
        let state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config.clone())
            .with_optimizer_rules(rules::logical_spread())
            .build();
        // What many can't plan isn't wrong: it was planned for this process already.
        let plan = match state.create_physical_plan(self.question).await {
            Ok(plan) if bytes_read(&plan).is_some() => plan,
            Ok(_) => return Ok(None),
            Err(err) => {
                debug!(%err, "a question can't be planned for many, and is answered here");
                return Ok(None);
            }
        };
        let Some(plan) = with_newest(plan, self.task).await? else {
            debug!("the newest rows are too many to send along: a question is answered here");
            return Ok(None);
        };
        let rows = over.rows(plan, config);
        let here = (self.plan.clone(), self.task.clone());
        let opened = self.state.config().get_extension::<Opened>().unwrap_or_default();
        let schema = self.plan.schema();
        // Optimizers may disagree on what may be null, and columns have the same names and types.
        let rows = answered(rows, here, schema.clone(), opened, others.counted.clone());
        Ok(Some(Box::pin(RecordBatchStreamAdapter::new(schema, rows))))
    }
}

/// Whether all functions of a plan are those that everybody has: a client of PostgreSQL's may use others.
fn knows_functions(plan: &Arc<dyn ExecutionPlan>, known: &SessionState) -> bool {
    let mut is_known = true;
    let mut look = |expression: &Arc<dyn PhysicalExpr>| {
        expression.apply(|part| {
            if let Some(call) = part.downcast_ref::<ScalarFunctionExpr>() {
                let function = known.scalar_functions().get(call.fun().name());
                is_known &= function.is_some_and(|function| function.as_ref() == call.fun());
            }
            Ok(if is_known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })
    };
    let looked = plan.apply(|step| step.apply_expressions(&mut look));
    looked.is_ok() && is_known
}

/// The plan with this process' newest rows in it, as they are; `None` where they are too many.
async fn with_newest(
    plan: Arc<dyn ExecutionPlan>,
    task: &Arc<TaskContext>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut newest = Vec::new();
    plan.apply(|step| {
        if !is_newest(step) {
            return Ok(TreeNodeRecursion::Continue);
        }
        newest.push(step.clone());
        Ok(TreeNodeRecursion::Jump)
    })?;
    let mut room = NEWEST_BYTES;
    let mut found = Vec::new();
    for step in newest {
        let mut batches = Vec::new();
        let mut rows = execute_stream(step.clone(), task.clone())?;
        while let Some(batch) = rows.try_next().await? {
            let bytes = batch.get_array_memory_size();
            if bytes > room {
                return Ok(None);
            }
            room -= bytes;
            batches.push(batch);
        }
        found.push((step.schema(), batches));
    }
    let mut found = found.into_iter();
    let plan = plan.transform_down(|step| {
        if !is_newest(&step) {
            return Ok(Transformed::no(step));
        }
        let Some((schema, batches)) = found.next() else {
            return internal_err!("newest rows that were not read");
        };
        let rows = MemorySourceConfig::try_new(&[batches], schema, None)?;
        Ok(Transformed::new(DataSourceExec::from_data_source(rows) as _, true, TreeNodeRecursion::Jump))
    });
    Ok(Some(plan.data()?))
}

/// Where an answer's rows come from.
enum Source {
    Many { rows: Rows, has_begun: bool },
    Here(SendableRecordBatchStream),
    Nowhere,
}

/// Rows of many, or from here where they have none.
fn answered(
    rows: Rows,
    here: (Arc<dyn ExecutionPlan>, Arc<TaskContext>),
    schema: SchemaRef,
    opened: Arc<Opened>,
    counted: Arc<Counted>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let count = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
    let next = move |mut from: Source| {
        let (here, schema, opened, counted) = (here.clone(), schema.clone(), opened.clone(), counted.clone());
        async move {
            loop {
                let (rows, has_begun) = match &mut from {
                    Source::Nowhere => return None,
                    Source::Here(rows) => return rows.next().await.map(|batch| (batch, from)),
                    Source::Many { rows, has_begun } => (rows, has_begun),
                };
                match rows.next().await {
                    Some(Ok(batch)) => {
                        *has_begun = true;
                        let own = RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
                        return Some((Ok(own.unwrap_or(batch)), from));
                    }
                    None => {
                        count(&counted.answered);
                        return None;
                    }
                    Some(Err(SpreadError::Failed(failure))) => {
                        count(&counted.answered);
                        failure.files.iter().for_each(|path| opened.note(path));
                        return Some((Err(failure.into()), Source::Nowhere));
                    }
                    Some(Err(SpreadError::Nobody(why))) if *has_begun => {
                        count(&counted.broken_off);
                        warn!(%why, "an answer of many broke off");
                        return Some((Err(QueryError::broken_off().into()), Source::Nowhere));
                    }
                    Some(Err(SpreadError::Nobody(why))) => {
                        count(&counted.alone);
                        warn!(%why, "nobody else answers a question: it is answered here");
                        match execute_stream(here.0.clone(), here.1.clone()) {
                            Ok(rows) => from = Source::Here(rows),
                            Err(err) => return Some((Err(err), Source::Nowhere)),
                        }
                    }
                }
            }
        }
    };
    futures::stream::unfold(Source::Many { rows, has_begun: false }, next)
}
