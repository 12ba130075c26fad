//! `weir scheduler`: takes plans, cuts them into stages, and gives their parts to executors. It reads no rows.

mod executors;
mod jobs;

use std::net::SocketAddr;
use std::sync::Arc;

use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use object_store::memory::InMemory;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use weir_query::spread;

use crate::settings::{GONE, HEARTBEAT, MESSAGE_BYTES, UNFETCHED};
use crate::{ClusterError, io};
use executors::Executors;
use jobs::Jobs;

type Server = ballista_scheduler::scheduler_server::SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// A scheduler that listens already.
#[derive(Debug)]
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
    advertised: String,
}

impl Scheduler {
    /// Listens on `address`. Executors call back under the host `advertised`, by default the address'.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn bind(address: SocketAddr, advertised: Option<String>) -> Result<Scheduler, ClusterError> {
        let listener =
            TcpListener::bind(address).await.map_err(io(format!("listen on {address} for executors")))?;
        let address = listener.local_addr().map_err(io("ask for the address"))?;
        let advertised = advertised.unwrap_or_else(|| address.ip().to_string());
        Ok(Scheduler { listener, address, advertised })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Schedules until `stop`. Questions that are under way then are answered by whoever was asked, alone.
    ///
    /// # Errors
    /// What ends it before.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ClusterError> {
        let config = SchedulerConfig {
            executor_timeout_seconds: GONE.as_secs(),
            expire_dead_executor_interval_seconds: HEARTBEAT.as_secs(),
            no_executors_grace_period_seconds: GONE.as_secs(),
            finished_job_data_clean_up_interval_seconds: UNFETCHED.as_secs(),
            finished_job_state_clean_up_interval_seconds: UNFETCHED.as_secs(),
            grpc_server_max_decoding_message_size: MESSAGE_BYTES as u32,
            grpc_server_max_encoding_message_size: MESSAGE_BYTES as u32,
            grpc_client_max_message_size: MESSAGE_BYTES as u32,
            // Whoever asked decides whether to ask again.
            task_max_failures: 1,
            stage_max_failures: 1,
            ..SchedulerConfig::default().with_hostname(self.advertised).with_port(self.address.port())
        };
        config.validate()?;
        // Plans name the store's files, and only executors read them.
        let runtime = Arc::new(RuntimeEnv::default());
        let store = spread::store_url();
        runtime.register_object_store(AsRef::<Url>::as_ref(&store), Arc::new(InMemory::new()));
        let executors = Arc::new(Executors::default());
        let jobs = Arc::new(Jobs::new(
            &config.scheduler_id,
            Arc::new(move |config: SessionConfig| Ok(spread::state(config, runtime.clone()))),
            executors.clone(),
        ));
        let cluster = BallistaCluster::new(executors.clone(), jobs.clone());
        let server: Server = scheduler_process::create_scheduler(cluster, Arc::new(config)).await?;
        executors.cancel_with(jobs, server.clone());
        let served = scheduler_process::start_grpc_service_with_listener(self.listener, server);
        tokio::select! {
            ended = served => ended.map_err(Into::into),
            () = stop.cancelled() => Ok(()),
        }
    }
}
