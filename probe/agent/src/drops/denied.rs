//! Flows that only exist in what was dropped: a rule denied their packets before there was a socket.

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::{DropKey, Owner};
use weir_model::{FlowRow, ids};

use super::Entry;
use super::ends::{self, FlowKey, protocol_name};
use crate::ends::{End, Ends, address, address_text};
use crate::handshakes::Context;
use crate::identity::Holder;
use crate::reasons::Reasons;

/// Silence after which the same 5-tuple is another flow: longer than TCP waits between two tries.
const FORGET_NS: u64 = 65_000_000_000;
/// Flows that are remembered, so that their next row has the same id.
const MOST_FLOWS: usize = 8_192;

struct Flow {
    id: SmolStr,
    ends: Ends,
    observer: &'static str,
    protocol: u8,
    sender_is_client: bool,
    owner: Owner,
    /// UTC; the same in all its rows.
    opened_ns: i64,
    /// On the kernel's clock.
    last_ns: u64,
    /// Since the last row.
    news: News,
}

#[derive(Clone, Default)]
struct News {
    /// On the kernel's clock.
    first_ns: u64,
    packets: i64,
    /// Of the commonest reason.
    reason: Option<(i64, SmolStr)>,
}

/// Flows that were denied and not forgotten yet.
#[derive(Default)]
pub(super) struct Denied {
    flows: HashMap<FlowKey, Flow>,
}

impl Denied {
    /// Counts what no other flow's row has.
    pub(super) fn add(
        &mut self,
        key: &DropKey,
        entry: &Entry,
        observer: &'static str,
        reasons: &Reasons,
        context: &Context<'_>,
    ) {
        let flow = FlowKey::of_drop(key);
        let dropped = &entry.dropped;
        let first_ns = entry.news_ns;
        if !self.flows.contains_key(&flow) && self.flows.len() >= MOST_FLOWS {
            // Its packets are told in `drops` all the same.
            return;
        }
        let flow = self.flows.entry(flow).or_insert_with(|| {
            let sender_is_client = ends::sender_is_client(key, dropped);
            let from = (address(key.from_ip), key.from_port);
            let to = (address(key.to_ip), key.to_port);
            let (client, server) = if sender_is_client { (from, to) } else { (to, from) };
            let ends = Ends { client, server, client_is_ours: observer == "client" };
            let protocol = protocol_name(key.protocol);
            // `observer`: both ends of a flow may be on one node, and each has its own row.
            let scope = format!("{}|{observer}", context.node);
            Flow {
                id: ends::unopened_id(key, dropped)
                    .unwrap_or_else(|| ids::flow_id(&scope, &protocol, client, server, first_ns as i64)),
                ends,
                observer,
                protocol: key.protocol,
                sender_is_client,
                owner: dropped.owner,
                opened_ns: context.clock.utc(first_ns),
                last_ns: first_ns,
                news: News::default(),
            }
        });
        let packets = entry.open() as i64;
        let news = &mut flow.news;
        news.first_ns = if news.packets == 0 { first_ns } else { news.first_ns.min(first_ns) };
        news.packets += packets;
        if news.reason.as_ref().is_none_or(|(most, _)| packets > *most) {
            news.reason = Some((packets, reasons.name(key.reason)));
        }
        flow.last_ns = flow.last_ns.max(dropped.last_ns);
    }

    /// The id of the flow that a dropped packet belongs to, if that was denied.
    pub(super) fn id_of(&self, key: &DropKey) -> Option<SmolStr> {
        self.flows.get(&FlowKey::of_drop(key)).map(|flow| flow.id.clone())
    }

    /// Those that are forwarded: protocol, client and server.
    pub(super) fn on_path(&self) -> impl Iterator<Item = (u8, End, End)> {
        let forwarded = self.flows.values().filter(|flow| flow.observer == "path");
        forwarded.map(|flow| (flow.protocol, flow.ends.client, flow.ends.server))
    }

    /// Rows of what came since the last call.
    pub(super) fn cut(&mut self, cut_ns: i64, context: &mut Context<'_>, rows: &mut Vec<FlowRow>) {
        for flow in self.flows.values_mut().filter(|flow| flow.news.packets > 0) {
            let news = std::mem::take(&mut flow.news);
            rows.push(row(flow, news, cut_ns, context));
        }
        self.forget(context.clock.boot(cut_ns));
    }

    /// Forgets what has been silent for long. `now_ns` is the kernel's.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.flows.retain(|_, flow| now_ns.saturating_sub(flow.last_ns) < FORGET_NS);
    }
}

fn row(flow: &Flow, news: News, cut_ns: i64, context: &mut Context<'_>) -> FlowRow {
    let mut row = FlowRow {
        time: context.clock.utc(news.first_ns).min(cut_ns),
        end_time: Some(cut_ns),
        opened_time: Some(flow.opened_ns),
        connection_id: Some(flow.id.clone()),
        trace_id: Some(ids::trace_id(&flow.id)),
        state: Some(SmolStr::new_static("only")),
        close_reason: Some(SmolStr::new_static("denied")),
        protocol: Some(protocol_name(flow.protocol)),
        drops: news.packets,
        drop_reason: news.reason.map(|(_, name)| name),
        policy_verdict: Some(SmolStr::new_static("dropped")),
        encryption: Some(SmolStr::new_static("unknown")),
        direction: Some(SmolStr::new_static("node")),
        source: Some(SmolStr::new_static("probe")),
        ..FlowRow::default()
    };
    let is_path = flow.observer == "path";
    let holder = if is_path { Holder::default() } else { context.identities.holder(&flow.owner) };
    if is_path {
        let port = |port: u16| (port != 0).then_some(port);
        row.node = Some(context.node.clone());
        row.client_ip = Some(address_text(flow.ends.client.0));
        row.client_port = port(flow.ends.client.1);
        row.server_ip = Some(address_text(flow.ends.server.0));
        row.server_port = port(flow.ends.server.1);
    } else {
        let is_known = flow.owner != Owner::default();
        flow.ends.fill_flow(&mut row, context.node, holder);
        if !is_known {
            // Nobody was there to take it: that end is not known to be a process.
            (row.client_identity, row.server_identity) = (None, None);
        }
    }
    row.observer = Some(SmolStr::new_static(flow.observer));
    // They were sent, and dropped: none of their payload counts as carried.
    if flow.sender_is_client {
        row.client_packets = news.packets;
    } else {
        row.server_packets = news.packets;
    }
    row
}
