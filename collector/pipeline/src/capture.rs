//! Captures on demand: one request → every asked probe's packets, as one pcapng stream.
//!
//! | file         | subject                                                             |
//! |--------------|---------------------------------------------------------------------|
//! | `merge.rs`   | many probes' reports → blocks of one file, within the request's limits  |
//! | `pcapng.rs`  | blocks as bytes                                                       |
//!
//! The file begins at once and is whole at any block's end. Each request is a row of `audit_log`, also one that is refused.
//! Payload is asked for only where the server was started for it. When whoever reads the stream goes, the probes stop.

mod merge;
pub mod pcapng;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};
use weir_model::capture::{CaptureRefusal, CaptureRequest, ConnectedProbe, Filter};
use weir_model::tables::AuditLogRow;
use weir_wire::control::{Order, Reports, Switchboard};

use crate::stage::Stage;
use merge::Merged;

/// Captures at once, of all askers.
const MOST_CAPTURES: usize = 8;
/// Pieces of a file on their way to who reads it.
const PIECES_UNDER_WAY: usize = 8;

/// Asks connected probes for packets. Clones are one.
#[derive(Clone, Debug)]
pub struct Captures {
    switchboard: Switchboard,
    stage: Arc<Stage>,
    allows_payload: bool,
    room: Arc<Semaphore>,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// Where from.
    pub client_ip: Option<String>,
}

/// A pcapng file as it is made.
pub type CaptureStream = ReceiverStream<Bytes>;

impl Captures {
    pub(crate) fn new(switchboard: Switchboard, stage: Arc<Stage>, allows_payload: bool) -> Captures {
        Captures { switchboard, stage, allows_payload, room: Arc::new(Semaphore::new(MOST_CAPTURES)) }
    }

    /// The probes that can be asked.
    pub fn probes(&self) -> Vec<ConnectedProbe> {
        let probes = self.switchboard.probes().into_iter();
        let probe = |hello: weir_wire::control::Hello| ConnectedProbe {
            node: hello.node,
            version: hello.version,
            allows_payload: hello.allows_payload,
        };
        probes.map(probe).collect()
    }

    /// Whether payload is given at all.
    pub fn allows_payload(&self) -> bool {
        self.allows_payload
    }

    /// Begins a capture.
    ///
    /// # Errors
    /// [`CaptureRefusal`]: nothing was asked of any probe.
    pub async fn begin(
        &self,
        request: CaptureRequest,
        asker: Asker,
    ) -> Result<CaptureStream, CaptureRefusal> {
        let audit = Audit::new(self.stage.clone(), &request, asker);
        match self.ask(&request) {
            Ok((probes, room)) => {
                let (send, pieces) = mpsc::channel(PIECES_UNDER_WAY);
                info!(
                    filter = request.filter,
                    payload = request.payload,
                    nodes = probes.len(),
                    "capture begins"
                );
                tokio::spawn(async move {
                    let _room = room;
                    let merged = merge::run(&request, probes, &send).await;
                    drop(send);
                    audit.write(&merged).await;
                });
                Ok(ReceiverStream::new(pieces))
            }
            Err(refusal) => {
                let merged =
                    Merged { outcome: "refused", error: Some(refusal.to_string()), ..Merged::default() };
                audit.write(&merged).await;
                Err(refusal)
            }
        }
    }

    fn ask(
        &self,
        request: &CaptureRequest,
    ) -> Result<(Vec<(String, Reports)>, tokio::sync::OwnedSemaphorePermit), CaptureRefusal> {
        request.check().map_err(CaptureRefusal::Bounds)?;
        Filter::parse(&request.filter)?;
        if request.payload > 0 && !self.allows_payload {
            return Err(CaptureRefusal::Payload);
        }
        let connected: Vec<String> = self.switchboard.probes().into_iter().map(|hello| hello.node).collect();
        if connected.is_empty() {
            return Err(CaptureRefusal::NoProbe("no probe is connected".to_owned()));
        }
        let mut nodes = if request.nodes.is_empty() { connected.clone() } else { request.nodes.clone() };
        nodes.sort_unstable();
        nodes.dedup();
        let room = self.room.clone().try_acquire_owned().map_err(|_| CaptureRefusal::Busy(MOST_CAPTURES))?;
        let mut probes = Vec::with_capacity(nodes.len());
        for node in nodes {
            let order = Order {
                id: 0,
                filter: request.filter.clone(),
                payload: request.payload,
                seconds: request.seconds,
                packets: request.packets,
                bytes: request.bytes,
            };
            let reports = self.switchboard.capture(&node, order).map_err(|missing| {
                CaptureRefusal::NoProbe(format!("{missing}; connected are: {}", some_of(&connected)))
            })?;
            probes.push((node, reports));
        }
        Ok((probes, room))
    }
}

/// The first of many names.
fn some_of(names: &[String]) -> String {
    const SOME: usize = 10;
    let more = if names.len() > SOME { format!(" and {} more", names.len() - SOME) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SOME)].join(", "))
}

/// One request's row of `audit_log`.
struct Audit {
    stage: Arc<Stage>,
    row: AuditLogRow,
    began: Instant,
}

impl Audit {
    fn new(stage: Arc<Stage>, request: &CaptureRequest, asker: Asker) -> Audit {
        let row = AuditLogRow {
            time: stage.now(),
            principal: Some("local".into()),
            client_ip: asker.client_ip.map(Into::into),
            action: Some("capture".into()),
            request: serde_json::to_string(request).ok().map(Into::into),
            ..AuditLogRow::default()
        };
        Audit { stage, row, began: Instant::now() }
    }

    async fn write(self, merged: &Merged) {
        let row = AuditLogRow {
            outcome: Some(merged.outcome.into()),
            rows: Some(merged.packets as i64),
            duration_us: Some(self.began.elapsed().as_micros() as i64),
            error: merged.error.clone().map(Into::into),
            ..self.row
        };
        info!(outcome = merged.outcome, packets = merged.packets, dropped = merged.dropped, "capture ended");
        if let Err(err) = self.stage.append_own(&[row]).await {
            warn!(%err, "a capture could not be written to audit_log");
        }
    }
}
