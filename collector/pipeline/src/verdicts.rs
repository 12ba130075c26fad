//! What proxies refused → the verdict of the flow that the request came by.
//!
//! A proxy tells of a request within seconds; the flow's row comes at its interval's end. So refusals wait here for a minute, by
//! the connection's two ends, and are put into the rows that come meanwhile, before these are durable. A row that came before the
//! refusal, or has a verdict of its own, stays as it is.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use weir_model::tables::HttpRequestRow;
use weir_model::{FlowRow, Row, SmolStr};
use weir_store::Part;

/// How long a refusal waits for its flow's rows, ns.
const WAIT_NS: i64 = 60_000_000_000;
/// Refused connections that wait; beyond, the oldest are forgotten.
const MOST: usize = 10_000;

/// Client's and server's address and port.
type Ends = (SmolStr, u16, SmolStr, u16);

/// Refusals that wait for their flows.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    refused: HashMap<Ends, (i64, Option<SmolStr>, Option<SmolStr>)>,
    order: VecDeque<(i64, Ends)>,
}

impl Verdicts {
    /// Takes the refusals among requests.
    pub(crate) fn add(&self, requests: &[HttpRequestRow], now_ns: i64) {
        let mut waiting = self.0.lock();
        for request in requests.iter().filter(|request| request.policy_verdict.as_deref() == Some("dropped"))
        {
            let ends = ends(
                (request.client_ip.as_ref(), request.client_port),
                (request.server_ip.as_ref(), request.server_port),
            );
            let Some(ends) = ends else { continue };
            let refusal = (now_ns, request.policy.clone(), request.response_details.clone());
            waiting.refused.insert(ends.clone(), refusal);
            waiting.order.push_back((now_ns, ends));
        }
        waiting.forget(now_ns);
    }

    /// Puts them into a batch of flows; most batches are not looked into, since mostly nothing waits.
    pub(crate) fn put_into(&self, part: Part, now_ns: i64) -> Part {
        if part.meta.table != FlowRow::table().name {
            return part;
        }
        let mut waiting = self.0.lock();
        waiting.forget(now_ns);
        if waiting.refused.is_empty() {
            return part;
        }
        let Ok(mut rows) = FlowRow::from_batch(&part.batch) else { return part };
        let mut is_changed = false;
        for row in &mut rows {
            let refusal =
                ends((row.client_ip.as_ref(), row.client_port), (row.server_ip.as_ref(), row.server_port))
                    .and_then(|ends| waiting.refused.get(&ends));
            let is_open = matches!(row.policy_verdict.as_deref(), None | Some("forwarded"));
            if let Some((_, policy, reason)) = refusal.filter(|_| is_open) {
                row.policy_verdict = Some(SmolStr::new_static("dropped"));
                row.policy.clone_from(policy);
                row.policy_reason.clone_from(reason);
                is_changed = true;
            }
        }
        if is_changed { Part { batch: FlowRow::to_batch(&rows), ipc: None, ..part } } else { part }
    }
}

impl Waiting {
    fn forget(&mut self, now_ns: i64) {
        let since = now_ns.saturating_sub(WAIT_NS);
        while let Some((at, _)) = self.order.front()
            && (*at < since || self.order.len() > MOST)
            && let Some((at, ends)) = self.order.pop_front()
        {
            // One that was refused again since then waits on.
            if self.refused.get(&ends).is_some_and(|(last, ..)| *last <= at) {
                self.refused.remove(&ends);
            }
        }
    }
}

fn ends(client: (Option<&SmolStr>, Option<u16>), server: (Option<&SmolStr>, Option<u16>)) -> Option<Ends> {
    Some((client.0?.clone(), client.1?, server.0?.clone(), server.1?))
}

#[cfg(test)]
mod tests {
    use weir_model::BatchMeta;

    use super::*;

    fn request(port: u16, verdict: &'static str) -> HttpRequestRow {
        HttpRequestRow {
            client_ip: Some("10.0.0.7".into()),
            client_port: Some(port),
            server_ip: Some("10.0.0.9".into()),
            server_port: Some(8_080),
            policy_verdict: Some(verdict.into()),
            policy: Some("no-guests".into()),
            response_details: Some("rbac_access_denied".into()),
            ..HttpRequestRow::default()
        }
    }

    fn flow(port: u16, verdict: Option<&'static str>) -> FlowRow {
        FlowRow {
            client_ip: Some("10.0.0.7".into()),
            client_port: Some(port),
            server_ip: Some("10.0.0.9".into()),
            server_port: Some(8_080),
            policy_verdict: verdict.map(Into::into),
            ..FlowRow::default()
        }
    }

    fn verdicts(verdicts: &Verdicts, rows: &[FlowRow], now_ns: i64) -> Vec<Option<SmolStr>> {
        let meta = BatchMeta::of::<FlowRow>("n", "b", 1);
        let part = verdicts.put_into(Part { meta, batch: FlowRow::to_batch(rows), ipc: None }, now_ns);
        let rows = FlowRow::from_batch(&part.batch).expect("rows");
        rows.into_iter().map(|row| row.policy_verdict).collect()
    }

    #[test]
    fn a_refused_request_s_flow_is_dropped_and_no_other() {
        let waiting = Verdicts::default();
        waiting.add(&[request(1, "dropped"), request(2, "forwarded")], 0);
        let rows = [flow(1, None), flow(2, None), flow(1, Some("audit")), flow(3, Some("forwarded"))];
        let told = verdicts(&waiting, &rows, 1);
        assert_eq!(told, [Some("dropped".into()), None, Some("audit".into()), Some("forwarded".into())]);
    }

    #[test]
    fn a_refusal_waits_for_a_minute_after_the_last() {
        let waiting = Verdicts::default();
        waiting.add(&[request(1, "dropped")], 0);
        waiting.add(&[request(1, "dropped")], 30_000_000_000);
        assert_eq!(verdicts(&waiting, &[flow(1, None)], 80_000_000_000), [Some("dropped".into())]);
        assert_eq!(verdicts(&waiting, &[flow(1, None)], 91_000_000_000), [None]);
        assert!(waiting.0.lock().order.is_empty());
    }
}
