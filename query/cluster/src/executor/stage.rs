//! A part of a plan at work: which files it opened last, and why it failed, in words that whoever asked can tell apart.

use std::sync::Arc;

use arrow::error::ArrowError;
use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use weir_query::spread::{self, Failure, LastOpened};

use super::connections::Connections;
use crate::settings::LOST;

/// Makes parts of plans work.
pub(super) struct Stages {
    usual: DefaultExecutionEngine,
    objects: Arc<dyn ObjectStore>,
    footers: Arc<FileMetadataCache>,
}

impl Stages {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, runtime: &RuntimeEnv) -> Stages {
        Stages {
            usual: DefaultExecutionEngine::with_client_pool(Arc::new(Connections::default())),
            objects,
            footers: runtime.cache_manager.get_file_metadata_cache(),
        }
    }
}

impl ExecutionEngine for Stages {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let (plan, opened) = spread::noting(plan, &self.objects, &self.footers)?;
        let usual = self.usual.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            plan,
            work_dir,
            config,
        )?;
        Ok(Arc::new(Stage { usual, opened }))
    }
}

#[derive(Debug)]
struct Stage {
    usual: Arc<dyn QueryStageExecutor>,
    opened: LastOpened,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.usual.fmt(f)
    }
}

#[async_trait]
impl QueryStageExecutor for Stage {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let written = self.usual.execute_query_stage(task_id, context).await;
        written.map_err(|err| match cause(&err) {
            // Not in a form by which Ballista would take steps back: whoever asked asks anew.
            Cause::Another(why) => DataFusionError::Execution(format!("{LOST}: {why}")),
            Cause::Own(err) => DataFusionError::External(Box::new(Failure::of(err, self.opened.paths()))),
            Cause::Arrow(err) => {
                DataFusionError::External(Box::new(Failure::of_arrow(err, self.opened.paths())))
            }
        })
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.usual.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.usual.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.usual.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.usual.collect_column_stats()
    }
}

/// Why a task failed.
enum Cause<'a> {
    Own(&'a DataFusionError),
    Arrow(&'a ArrowError),
    /// Another executor has no rows to give any more.
    Another(&'a str),
}

/// The cause, in what Ballista has wrapped it.
fn cause(error: &DataFusionError) -> Cause<'_> {
    let root = error.find_root();
    let DataFusionError::External(told) = root else { return Cause::Own(root) };
    match told.downcast_ref::<BallistaError>() {
        Some(BallistaError::FetchFailed(_, _, _, why)) => Cause::Another(why),
        Some(BallistaError::DataFusionError(inner)) => cause(inner),
        Some(BallistaError::ArrowError(err)) => Cause::Arrow(err),
        _ => Cause::Own(root),
    }
}
