//! Which executors there are. When one goes, all jobs end first: Ballista would take those that it had a part in some steps
//! back, and may then wait for ever for what others have of them. Whoever asked asks again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;
use tracing::{info, warn};

use super::Server;
use super::jobs::Jobs;

/// The executors, in memory.
#[derive(Default)]
pub(super) struct Executors {
    known: InMemoryClusterState,
    /// What ends jobs; none before the scheduler is there, which is before any job.
    cancelling: OnceLock<(Arc<Jobs>, Server)>,
}

impl Executors {
    /// From now on, `jobs` end by `server` when an executor goes.
    pub(super) fn cancel_with(&self, jobs: Arc<Jobs>, server: Server) {
        if self.cancelling.set((jobs, server)).is_err() {
            warn!("there is a scheduler already");
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.executor_heartbeats().is_empty()
    }
}

#[async_trait]
impl ClusterState for Executors {
    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.known.bind_schedulable_tasks(distribution, active_jobs, executors).await
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        self.known.unbind_tasks(executor_slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let (id, host, port) = (metadata.id.clone(), metadata.host.clone(), metadata.port);
        self.known.register_executor(metadata, spec).await?;
        info!(executor = id, at = format!("{host}:{port}"), "an executor is there");
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.known.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.known.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.known.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.known.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        // Nothing is given to it any more; then nothing waits for it; then Ballista hears that it is gone.
        self.known.remove_executor(executor_id).await?;
        let Some((jobs, server)) = self.cancelling.get() else { return Ok(()) };
        let under_way = jobs.under_way();
        warn!(
            executor = executor_id,
            jobs = under_way.len(),
            "an executor is gone: jobs end, and are asked anew"
        );
        for job in under_way {
            server.cancel_job(job).await?;
        }
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.known.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.known.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.known.cluster_state_events().await
    }
}
