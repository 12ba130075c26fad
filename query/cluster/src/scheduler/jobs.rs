//! Which jobs are taken, and which are under way.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::error::{BallistaError, Result};
use ballista_core::serde::protobuf::JobStatus;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::{JobId, JobStatusSubscriber};
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::cluster::{JobState, JobStateEventStream};
use ballista_scheduler::scheduler_server::SessionBuilder;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;
use weir_query::spread;

use super::executors::Executors;
use crate::settings;

/// The jobs, in memory.
pub(super) struct Jobs {
    known: InMemoryJobState,
    executors: Arc<Executors>,
    under_way: Mutex<HashSet<JobId>>,
}

impl Jobs {
    pub(super) fn new(scheduler: &str, sessions: SessionBuilder, executors: Arc<Executors>) -> Jobs {
        let known = InMemoryJobState::new(scheduler, sessions, Arc::new(settings::session));
        Jobs { known, executors, under_way: Mutex::default() }
    }

    /// Those that have begun and not ended.
    pub(super) fn under_way(&self) -> Vec<JobId> {
        self.under_way.lock().iter().cloned().collect()
    }
}

#[async_trait]
impl JobState for Jobs {
    fn accept_job(&self, job_id: &JobId, job_name: &str, queued_at: u64) -> Result<()> {
        self.known.accept_job(job_id, job_name, queued_at)
    }

    fn pending_job_number(&self) -> usize {
        self.known.pending_job_number()
    }

    async fn submit_job(
        &self,
        job_id: JobId,
        graph: &ExecutionGraphBox,
        subscriber: Option<JobStatusSubscriber>,
    ) -> Result<()> {
        if spread::bytes_read(&graph.physical_plan()).is_none() {
            return Err(BallistaError::General("only plans that read the store are worked on".to_owned()));
        }
        if self.executors.is_empty() {
            // It would wait for one.
            return Err(BallistaError::General("there is no executor".to_owned()));
        }
        self.under_way.lock().insert(job_id.clone());
        self.known.submit_job(job_id, graph, subscriber).await
    }

    async fn get_jobs(&self) -> Result<HashSet<JobId>> {
        self.known.get_jobs().await
    }

    async fn get_all_jobs(&self) -> Result<HashSet<JobId>> {
        self.known.get_all_jobs().await
    }

    async fn get_job_status(&self, job_id: &JobId) -> Result<Option<JobStatus>> {
        self.known.get_job_status(job_id).await
    }

    async fn get_execution_graph(&self, job_id: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.known.get_execution_graph(job_id).await
    }

    async fn save_job(&self, job_id: &JobId, graph: &ExecutionGraphBox) -> Result<()> {
        if matches!(graph.status().status, Some(Status::Successful(_) | Status::Failed(_))) {
            self.under_way.lock().remove(job_id);
        }
        self.known.save_job(job_id, graph).await
    }

    async fn fail_unscheduled_job(&self, job_id: &JobId, reason: String) -> Result<()> {
        self.under_way.lock().remove(job_id);
        self.known.fail_unscheduled_job(job_id, reason).await
    }

    async fn remove_job(&self, job_id: &JobId) -> Result<()> {
        self.known.remove_job(job_id).await
    }

    async fn try_acquire_job(&self, job_id: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.known.try_acquire_job(job_id).await
    }

    async fn job_state_events(&self) -> Result<JobStateEventStream> {
        self.known.job_state_events().await
    }

    async fn create_or_update_session(
        &self,
        session_id: &str,
        config: &SessionConfig,
    ) -> Result<Arc<SessionContext>> {
        self.known.create_or_update_session(session_id, config).await
    }

    async fn remove_session(&self, session_id: &str) -> Result<()> {
        self.known.remove_session(session_id).await
    }

    fn produce_config(&self) -> SessionConfig {
        self.known.produce_config()
    }
}
