//! UDP flows: the kernel counts, we read: each flow once early, all that moved at each interval's end, and the idle
//! ones a last time.

use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::{UdpFlow, UdpKey, UdpRecord};
use weir_model::{FlowRow, ids};

use crate::ends::{Ends, address};
use crate::flows::since;
use crate::handshakes::{Context, Facts};
use crate::journal::{Entry, UdpState};

/// Ports below this are given to services, the others to whoever asks.
const FIRST_EPHEMERAL: u16 = 32_768;
const FIRST_UNPRIVILEGED: u16 = 1_024;

/// What was reported of each flow.
#[derive(Default)]
pub(crate) struct UdpFlows {
    /// When the running interval began, on the kernel's clock; 0: not known.
    cut_ns: u64,
    reported: HashMap<UdpKey, UdpState>,
    /// Flows whose state is not what the journal has.
    changed: Vec<UdpKey>,
    /// News that wait until a flow is old enough for its early row; oldest first.
    early: std::collections::VecDeque<(u64, UdpKey)>,
}

impl UdpFlows {
    /// Takes over what an earlier run of the probe reported.
    pub(crate) fn restore(&mut self, flows: HashMap<UdpKey, UdpState>, cut_ns: u64) {
        self.reported = flows;
        self.cut_ns = cut_ns;
    }

    /// An interval ended at `cut_ns`, on the kernel's clock: whatever moved in it has its row.
    pub(crate) fn cut(&mut self, cut_ns: u64) {
        self.cut_ns = cut_ns;
    }

    /// Writes down what changed since the last time.
    pub(crate) fn write_changes(&mut self, entry: &mut Entry) {
        for key in self.changed.drain(..) {
            entry.udp(&key, self.reported.get(&key));
        }
    }

    /// Writes down everything.
    pub(crate) fn write_all(&self, entry: &mut Entry) {
        for (key, state) in &self.reported {
            entry.udp(key, Some(state));
        }
    }

    /// A flow began.
    pub(crate) fn began(&mut self, record: &UdpRecord) {
        self.early.push_back((record.time_ns, record.key));
    }

    /// The next flow that began before `before_ns` and had no row yet.
    pub(crate) fn next_early(&mut self, before_ns: u64) -> Option<UdpKey> {
        while self.early.front().is_some_and(|(began_ns, _)| *began_ns <= before_ns) {
            let (_, key) = self.early.pop_front()?;
            if !self.reported.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }

    /// Whether nothing passed since the flow's last row.
    pub(crate) fn is_idle(&self, key: &UdpKey, flow: &UdpFlow) -> bool {
        self.reported.get(key).is_some_and(|reported| packets(&reported.flow) == packets(flow))
    }

    /// How many flows are remembered.
    pub(crate) fn len(&self) -> usize {
        self.reported.len()
    }

    /// A flow's row, told at `time_ns` on the kernel's clock. `is_over`: it was idle, and has ended by that. `facts`: what a handshake in it said.
    pub(crate) fn row(
        &mut self,
        key: &UdpKey,
        flow: &UdpFlow,
        time_ns: u64,
        is_over: bool,
        facts: Option<&Arc<Facts>>,
        context: &mut Context<'_>,
    ) -> FlowRow {
        let before = self.reported.remove(key);
        self.changed.push(*key);
        let first = before.is_none();
        let before = before.unwrap_or_else(|| UdpState {
            flow: UdpFlow::default(),
            opened_ns: context.clock.utc(flow.first_ns),
            end_ns: flow.first_ns,
            facts: None,
        });
        // An earlier run of the probe may have seen it.
        let facts = facts.cloned().or(before.facts);
        // One that began when the interval had ended is told already, with what passed since.
        let end_ns =
            if is_over || time_ns <= before.end_ns { flow.last_ns.max(before.end_ns) } else { time_ns };
        let start_ns = since(before.end_ns, if first { 0 } else { self.cut_ns }, end_ns);
        let utc = |boot_ns| context.clock.utc(boot_ns);
        let mut row = FlowRow { time: utc(start_ns), end_time: Some(utc(end_ns)), ..FlowRow::default() };
        row.opened_time = Some(before.opened_ns);
        row.state = Some(SmolStr::new_static(match (first, is_over) {
            (true, true) => "only",
            (true, false) => "opened",
            (false, true) => "closed",
            (false, false) => "ongoing",
        }));
        row.close_reason = is_over.then(|| SmolStr::new_static("idle"));
        let (ends, id) = ends_and_id(key, flow.first_ns, flow.began_here != 0, context.node);
        row.trace_id = Some(ids::trace_id(&id));
        row.connection_id = Some(id);
        row.protocol = Some(SmolStr::new_static("udp"));
        let holder = context.identities.holder(&flow.owner);
        ends.fill_flow(&mut row, context.node, holder);
        let sent = (
            flow.sent_bytes.saturating_sub(before.flow.sent_bytes) as i64,
            flow.sent_packets.saturating_sub(before.flow.sent_packets) as i64,
        );
        let received = (
            flow.received_bytes.saturating_sub(before.flow.received_bytes) as i64,
            flow.received_packets.saturating_sub(before.flow.received_packets) as i64,
        );
        if ends.client_is_ours {
            (row.client_bytes, row.client_packets) = sent;
            (row.server_bytes, row.server_packets) = received;
            let answered = flow.first_received_ns > 0;
            row.first_byte_us =
                answered.then(|| flow.first_received_ns.saturating_sub(flow.first_ns) as i64 / 1000);
        } else {
            (row.server_bytes, row.server_packets) = sent;
            (row.client_bytes, row.client_packets) = received;
        }
        if !first {
            let sent = (Some(flow.sent_bytes as i64), Some(flow.sent_packets as i64));
            let received = (Some(flow.received_bytes as i64), Some(flow.received_packets as i64));
            let (client, server) = if ends.client_is_ours { (sent, received) } else { (received, sent) };
            (row.client_bytes_total, row.client_packets_total) = client;
            (row.server_bytes_total, row.server_packets_total) = server;
        }
        match &facts {
            Some(facts) => facts.fill(&mut row),
            None => row.encryption = Some(SmolStr::new_static("unknown")),
        }
        row.direction = Some(SmolStr::new_static("node"));
        row.source = Some(SmolStr::new_static("probe"));
        if !is_over {
            self.reported.insert(*key, UdpState { flow: *flow, opened_ns: before.opened_ns, end_ns, facts });
        }
        row
    }
}

fn packets(flow: &UdpFlow) -> u64 {
    flow.sent_packets + flow.received_packets
}

/// Who talks to whom in a flow, and its id: the same for all that is told of it, its datagrams included. The time in it
/// is the kernel's, which no correction of the clock changes.
pub(crate) fn ends_and_id(key: &UdpKey, first_ns: u64, began_here: bool, node: &str) -> (Ends, SmolStr) {
    let local = (address(key.local_ip), key.local_port);
    let remote = (address(key.remote_ip), key.remote_port);
    let ends = Ends::new(local, remote, client_is_ours(key, began_here));
    let id = ids::flow_id(node, "udp", ends.client, ends.server, first_ns as i64);
    (ends, id)
}

/// The client is who sent first; except where our first look was at an answer from a service's port.
fn client_is_ours(key: &UdpKey, began_here: bool) -> bool {
    let answers_us = key.remote_port < FIRST_UNPRIVILEGED && key.local_port >= FIRST_EPHEMERAL;
    let answered_by_us = key.local_port < FIRST_UNPRIVILEGED && key.remote_port >= FIRST_EPHEMERAL;
    if answers_us || answered_by_us { answers_us } else { began_here }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_seen_first_doesn_t_swap_the_ends() {
        let key = |local_port, remote_port| UdpKey { local_port, remote_port, ..UdpKey::default() };
        assert!(client_is_ours(&key(45_000, 53), false), "a late answer from a DNS server");
        assert!(!client_is_ours(&key(53, 45_000), true), "our DNS server's late answer");
        assert!(client_is_ours(&key(9_000, 9_001), true));
        assert!(!client_is_ours(&key(9_000, 9_001), false));
    }
}
