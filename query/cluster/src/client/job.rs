//! One plan at work: sent to the scheduler, waited for, and its rows fetched from the executors that have them. Whatever
//! becomes of it, what it left there is deleted.

use std::time::Duration;

use ballista_core::client::BallistaClient;
use ballista_core::extension::SessionConfigHelperExt;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::job_status::Status as JobStatus;
use ballista_core::serde::protobuf::{
    CancelJobParams, CleanJobDataParams, ExecuteQueryParams, GetJobStatusParams, PartitionLocation,
    execute_query_result,
};
use ballista_core::version;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionConfig;
use futures::{StreamExt, TryStreamExt};
use tonic::{Request, Status};
use weir_query::spread::{Failure, Rows, SpreadError};

use super::Client;
use crate::settings::{LOST, MESSAGE_BYTES};

/// How often an executor is asked for rows that doesn't answer, and after how long.
const RETRIES: u8 = 2;
const RETRY: Duration = Duration::from_millis(100);
/// A job's state is asked for after this, then half as often each time, but at least so often.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// What a scheduler says of a job that was ended: by us, who don't hear it, or because an executor went.
const CANCELLED: &str = "Cancelled";

/// A job that has its rows.
pub(super) struct Job {
    parts: Vec<PartitionLocation>,
    left: Left,
}

/// How a job ended that has none.
pub(super) enum Ended {
    /// An executor went.
    Lost(String),
    /// Nobody works on it.
    Refused(String),
    /// The question failed.
    Failed(Failure),
}

impl Job {
    /// Waits until it has its rows.
    pub(super) async fn run(
        mut scheduler: Client,
        plan: Vec<u8>,
        config: &SessionConfig,
    ) -> Result<Job, Ended> {
        let mut request = Request::new(ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(plan)),
            settings: config.to_key_value_pairs(),
            // Executors keep what sessions have in common, footers of files above all: it is the same for everybody.
            session_id: "weir".to_owned(),
            operation_id: String::new(),
        });
        version::insert_version_header(request.metadata_mut());
        let refused = |status: Status| Ended::Refused(format!("the scheduler: {}", status.message()));
        let job_id = match scheduler.execute_query(request).await.map_err(refused)?.into_inner().result {
            Some(execute_query_result::Result::Success(taken)) => taken.job_id,
            told => return Err(Ended::Refused(format!("the scheduler: {told:?}"))),
        };
        // It tells of itself only when a stage has ended, which is late for those who want to end it.
        let mut left = Left { scheduler: scheduler.clone(), job_id: job_id.clone(), has_ended: false };
        let mut pause = LOOK.0;
        loop {
            let asked = GetJobStatusParams { job_id: job_id.clone() };
            let told = scheduler.get_job_status(asked).await.map_err(refused)?.into_inner();
            match told.status.and_then(|told| told.status) {
                None | Some(JobStatus::Queued(_) | JobStatus::Running(_)) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LOOK.1);
                }
                Some(JobStatus::Successful(done)) => {
                    left.has_ended = true;
                    return Ok(Job { parts: done.partition_location, left });
                }
                Some(JobStatus::Failed(failed)) => {
                    left.has_ended = true;
                    return Err(match Failure::find(&failed.error) {
                        Some(failure) => Ended::Failed(failure),
                        None if [CANCELLED, LOST].iter().any(|told| failed.error.contains(told)) => {
                            Ended::Lost(failed.error)
                        }
                        None => Ended::Refused(failed.error),
                    });
                }
            }
        }
    }

    /// Its rows, part by part.
    pub(super) fn rows(self) -> Rows {
        let Job { parts, left } = self;
        let rows = futures::stream::iter(parts).then(fetched).try_flatten();
        // Kept until the last row, or until nobody wants more.
        rows.map(move |row| (&left, row).1).map_err(|why| SpreadError::Nobody(why.to_string())).boxed()
    }
}

async fn fetched(part: PartitionLocation) -> datafusion::common::Result<SendableRecordBatchStream> {
    let layout = part.layout();
    let missing = |what: &str| datafusion::error::DataFusionError::External(format!("no {what}").into());
    let executor = part.executor_meta.ok_or_else(|| missing("executor"))?;
    let place = part.partition_id.ok_or_else(|| missing("place"))?;
    let (host, port) = (executor.host, executor.port as u16);
    let told = |err: ballista_core::error::BallistaError| err.into_datafusion();
    let retry = RETRY.as_millis() as u64;
    let client = BallistaClient::try_new(&host, port, MESSAGE_BYTES, false, None, RETRIES, retry, 0, 0).await;
    let mut client = client.map_err(told)?;
    client.fetch_partition(&executor.id, &place.into(), part.file_id, layout, true).await.map_err(told)
}

/// What a job leaves at the scheduler and at executors, until this is dropped.
struct Left {
    scheduler: Client,
    job_id: String,
    has_ended: bool,
}

impl Drop for Left {
    fn drop(&mut self) {
        let (mut scheduler, job_id, has_ended) =
            (self.scheduler.clone(), self.job_id.clone(), self.has_ended);
        // Without a runtime nobody is asked anything any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // What is ended is cleaned, too.
            let gone = if has_ended {
                scheduler
                    .clean_job_data(CleanJobDataParams { job_id, remove_stage_ids: Vec::new() })
                    .await
                    .map(drop)
            } else {
                scheduler.cancel_job(CancelJobParams { job_id }).await.map(drop)
            };
            if let Err(why) = gone {
                tracing::debug!(%why, "what a question left at executors stays there for some time");
            }
        });
    }
}
