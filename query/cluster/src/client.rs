//! What a Weir that is asked knows of those that answer with it: where their scheduler is, and which questions are theirs.

mod job;

use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{StreamExt, TryStreamExt};
use tonic::transport::{Channel, Endpoint};
use url::Url;
use weir_query::spread::{Rows, Spread, SpreadError};

use crate::ClusterError;
use crate::settings::{self, MESSAGE_BYTES};
use job::Job;

/// How long it may take to reach the scheduler.
const CONNECT: Duration = Duration::from_secs(2);
/// A scheduler that says nothing for this long is asked whether it is there.
const ALIVE: Duration = Duration::from_secs(5);
/// How often a question is asked when executors go.
const ATTEMPTS: usize = 3;

type Client = SchedulerGrpcClient<Channel>;

/// The scheduler and its executors.
#[derive(Clone, Debug)]
pub struct Cluster {
    scheduler: Channel,
    parts: usize,
    least_bytes: u64,
}

impl Cluster {
    /// By the scheduler's address, `http://HOST:PORT`; it needn't be there yet. `parts` is into how many a question's files
    /// are divided, and questions that read files of fewer bytes than `least_bytes` stay here.
    ///
    /// # Errors
    /// [`ClusterError::Address`] where it isn't one.
    pub fn new(scheduler: &Url, parts: usize, least_bytes: u64) -> Result<Cluster, ClusterError> {
        let wrong = || ClusterError::Address(scheduler.to_string());
        if scheduler.scheme() != "http" || scheduler.host_str().is_none() {
            return Err(wrong());
        }
        let endpoint = Endpoint::from_shared(scheduler.to_string()).map_err(|_| wrong())?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Cluster { scheduler: endpoint.connect_lazy(), parts: parts.max(1), least_bytes })
    }

    fn client(&self) -> Client {
        SchedulerGrpcClient::new(self.scheduler.clone())
            .max_encoding_message_size(MESSAGE_BYTES)
            .max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Works on a plan until its rows lie at executors.
    async fn worked_on(&self, plan: &[u8], config: &SessionConfig) -> Result<Job, SpreadError> {
        let mut attempts = 1;
        loop {
            match Job::run(self.client(), plan.to_vec(), config).await {
                Err(job::Ended::Lost(why)) if attempts < ATTEMPTS => {
                    tracing::info!(%why, attempts, "a question is asked again of the executors that stay");
                    attempts += 1;
                }
                Err(job::Ended::Lost(why) | job::Ended::Refused(why)) => {
                    return Err(SpreadError::Nobody(why));
                }
                Err(job::Ended::Failed(failure)) => return Err(SpreadError::Failed(failure)),
                Ok(job) => return Ok(job),
            }
        }
    }
}

impl Spread for Cluster {
    fn parts(&self) -> usize {
        self.parts
    }

    fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    fn settings(&self, config: SessionConfig) -> SessionConfig {
        settings::spread(config).with_ballista_grpc_client_max_message_size(MESSAGE_BYTES)
    }

    fn rows(&self, plan: Arc<dyn ExecutionPlan>, config: SessionConfig) -> Rows {
        let cluster = self.clone();
        let rows = async move {
            let plan =
                encoded(plan).map_err(|err| SpreadError::Nobody(format!("the plan can't be sent: {err}")))?;
            Ok(cluster.worked_on(&plan, &config).await?.rows())
        };
        futures::stream::once(rows).try_flatten().boxed()
    }
}

fn encoded(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let codec = BallistaPhysicalExtensionCodec::default();
    PhysicalPlanNode::try_from_physical_plan(plan, &codec)?.try_encode(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scheduler_is_named_by_host_and_port() {
        let named = |url: &str| Cluster::new(&Url::parse(url).expect("a URL"), 16, 0);
        named("http://10.0.0.10:8484").expect("an address");
        named("http://[fd00::1]:8484").expect("an address");
        for wrong in ["https://10.0.0.10:8484", "unix:/run/weir.sock", "grpc://10.0.0.10:8484"] {
            let refused = named(wrong).expect_err("refused").to_string();
            assert!(refused.contains("http://HOST:PORT"), "{refused}");
        }
    }
}
