//! Packets that the kernel dropped → rows of `drops`, what a flow's row says of its own, and flows that never came to be
//! since a rule denied them.
//!
//! | file        | subject                                                    |
//! |-------------|------------------------------------------------------------|
//! | `ends.rs`   | whose packet it was: which flow, which end is the client     |
//! | `denied.rs` | rows of flows that only exist in what was dropped            |
//! | `icmp.rs`   | ICMP errors, which are counted in the same way               |
//!
//! The kernel's entries are taken out whenever there are any, before flows' rows are sent: a connection that ends because
//! its packet was dropped has that drop in its row. What no flow's row took by the interval's end is looked up among the
//! living; the rest stands alone.
//!
//! An entry gets its connection's id from the flow with its 5-tuple in its network namespace; a SYN of which there is no
//! flow says by itself which connection it would have opened.

mod denied;
mod ends;
mod icmp;

use hashbrown::{HashMap, HashSet};
use smol_str::SmolStr;
use weir_abi::{DropKey, Dropped, Owner};
use weir_model::tables::DropRow;
use weir_model::{FlowRow, ProbeHealthRow};

use crate::ends::{End, address, address_text};
use crate::handshakes::Context;
use crate::locations::Locations;
use crate::reasons::Reasons;
use denied::Denied;
pub(crate) use ends::FlowKey;
use ends::{Whose, protocol_name};
use icmp::Seen;

/// Entries that are told one by one in an interval; further ones are told together.
const MOST_ENTRIES: usize = 4_096;
/// How long a connection that nobody answers is waited for: `connect()` gives up after 127 s (`tcp_syn_retries`).
const LONGEST_CONNECT_NS: u64 = 150_000_000_000;

/// What is known of packets that were dropped together.
struct Entry {
    dropped: Dropped,
    /// When the first packet was dropped that no row of `drops` has yet.
    news_ns: u64,
    /// What rows of `drops` have.
    told: (u64, u64),
    /// What flows' rows have.
    attributed: u64,
    /// The flow it belongs to, once one is found: its id, and whether the sender is its client.
    flow: Option<(SmolStr, bool)>,
}

impl Entry {
    fn new(dropped: Dropped) -> Entry {
        Entry { news_ns: dropped.first_ns, dropped, told: (0, 0), attributed: 0, flow: None }
    }

    fn add(&mut self, more: &Dropped) {
        if self.told.0 == self.dropped.packets {
            self.news_ns = more.first_ns;
        }
        self.dropped.packets += more.packets;
        self.dropped.bytes += more.bytes;
        self.dropped.last_ns = self.dropped.last_ns.max(more.last_ns);
    }

    /// Packets that no flow's row has.
    fn open(&self) -> u64 {
        self.dropped.packets - self.attributed
    }
}

/// Dropped packets on their way to rows.
pub(crate) struct Drops {
    reasons: Reasons,
    locations: Locations,
    entries: HashMap<DropKey, Entry>,
    by_flow: HashMap<FlowKey, Vec<DropKey>>,
    denied: Denied,
    /// The flows of the rows that were made since entries were last matched, in order.
    fresh: Vec<FlowKey>,
    /// Packets that are told together with others since the last look at it.
    folded: u64,
}

impl Drops {
    /// Names reasons as this kernel does.
    pub(crate) fn new(reasons: Reasons) -> Drops {
        Drops {
            reasons,
            locations: Locations::open(),
            entries: HashMap::new(),
            by_flow: HashMap::new(),
            denied: Denied::default(),
            fresh: Vec::new(),
            folded: 0,
        }
    }

    /// A flow's row was made; the next call of [`Drops::fill`] has it.
    pub(crate) fn row_of(&mut self, flow: FlowKey) {
        self.fresh.push(flow);
    }

    /// Takes what came out of the kernel.
    pub(crate) fn take(&mut self, taken: Vec<(DropKey, Dropped)>) {
        for (key, dropped) in taken {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.add(&dropped);
            } else if self.entries.len() < MOST_ENTRIES {
                self.by_flow.entry(FlowKey::of_drop(&key)).or_default().push(key);
                self.entries.insert(key, Entry::new(dropped));
            } else {
                self.fold(key, &dropped);
            }
        }
    }

    /// Too many different ones: first their senders are left out, and where even that is too much, their receivers.
    fn fold(&mut self, key: DropKey, dropped: &Dropped) {
        self.folded += dropped.packets;
        let place = DropKey {
            location: key.location,
            reason: key.reason,
            netns: key.netns,
            protocol: key.protocol,
            flags: key.flags,
            ..DropKey::default()
        };
        let receiver = DropKey { to_ip: key.to_ip, to_port: key.to_port, ..place };
        let has_room = self.entries.len() < 2 * MOST_ENTRIES || self.entries.contains_key(&receiver);
        let nobody = Dropped { owner: Owner::default(), tcp_flags: 0, sender_state: 0, ..*dropped };
        self.entries
            .entry(if has_room { receiver } else { place })
            .and_modify(|entry| entry.add(&nobody))
            .or_insert_with(|| Entry::new(nobody));
    }

    /// Says in each new row what was dropped of its flow. `rows` are all flows that wait to be sent, the new ones last.
    pub(crate) fn fill(&mut self, rows: &mut [FlowRow]) {
        let first = rows.len().saturating_sub(self.fresh.len());
        for (flow, row) in std::mem::take(&mut self.fresh).into_iter().zip(&mut rows[first..]) {
            if self.by_flow.is_empty() {
                break;
            }
            self.fill_row(&flow, row);
        }
    }

    fn fill_row(&mut self, flow: &FlowKey, row: &mut FlowRow) {
        let mut commonest = 0;
        let (mut sent, mut told) = (0, 0);
        // Where the kernel doesn't say the namespace any more, the 5-tuple must do.
        for key in [*flow, flow.anywhere()] {
            for key in self.by_flow.get(&key).into_iter().flatten() {
                let Some(entry) = self.entries.get_mut(key) else { continue };
                let packets = entry.open();
                if packets == 0 {
                    continue;
                }
                entry.attributed = entry.dropped.packets;
                if let Some(seen) = icmp::seen(key) {
                    *(if seen == Seen::Sent { &mut sent } else { &mut told }) += packets;
                    row.icmp_error = Some(icmp::name(key.reason));
                    continue;
                }
                let client_is_local = row.observer.as_deref() == Some("client");
                entry.flow = row
                    .connection_id
                    .clone()
                    .map(|id| (id, client_is_local == FlowKey::sender_is_local(key)));
                row.drops += packets as i64;
                if packets > commonest {
                    commonest = packets;
                    row.drop_reason = Some(self.reasons.name(key.reason));
                }
                if self.reasons.is_denial(key.reason) && is_cut_off(row) {
                    row.policy_verdict = Some(SmolStr::new_static("dropped"));
                }
            }
        }
        // The same errors, if both the sender and the receiver are here.
        row.icmp_errors += sent.max(told) as i64;
    }

    /// Whether something was dropped of this flow that no row has.
    pub(crate) fn has_news_of(&self, flow: &FlowKey) -> bool {
        let has_news = |flow: &FlowKey| {
            let keys = self.by_flow.get(flow).into_iter().flatten();
            keys.filter_map(|key| self.entries.get(key)).any(|entry| entry.open() > 0)
        };
        !self.by_flow.is_empty() && (has_news(flow) || has_news(&flow.anywhere()))
    }

    /// Whether something was dropped of TCP connections that may live on and no row has.
    pub(crate) fn has_news_of_living(&self) -> bool {
        self.entries.iter().any(|(key, entry)| {
            icmp::seen(key).is_none() && Whose::of(key, &entry.dropped).may_live() && entry.open() > 0
        })
    }

    /// An interval ends: rows of what was dropped in it, and of flows that exist in nothing else.
    pub(crate) fn cut(
        &mut self,
        cut_ns: i64,
        context: &mut Context<'_>,
        rows: &mut Vec<DropRow>,
        flows: &mut Vec<FlowRow>,
    ) {
        if self.entries.is_empty() {
            self.denied.forget(context.clock.boot(cut_ns));
            return;
        }
        let addresses = self.entries.iter().flat_map(|(key, entry)| [key.location, entry.dropped.input]);
        self.locations.learn(addresses.filter(|address| *address != 0));
        let mut entries = std::mem::take(&mut self.entries);
        for (key, entry) in &entries {
            let whose = Whose::of(key, &entry.dropped);
            let is_denied = self.reasons.is_denial(key.reason) && entry.flow.is_none() && entry.open() > 0;
            if is_denied && whose.may_be_denied(self.is_forwarded(entry)) {
                self.denied.add(key, entry, self.observer(key, entry), &self.reasons, context);
            }
        }
        for (key, entry) in &mut entries {
            if icmp::seen(key).is_none() && entry.dropped.packets > entry.told.0 {
                rows.push(self.row(key, entry, context));
                entry.told = (entry.dropped.packets, entry.dropped.bytes);
            }
        }
        self.denied.cut(cut_ns, context, flows);
        // A connect() that still waits has its row when it ends; that row counts all that was dropped of it.
        entries.retain(|key, entry| {
            let is_over = entry.dropped.last_ns + LONGEST_CONNECT_NS < context.clock.boot(cut_ns);
            let may_wait = match icmp::seen(key) {
                Some(_) => key.protocol == ends::TCP,
                None => Whose::of(key, &entry.dropped) == Whose::Connecting,
            };
            may_wait && entry.open() > 0 && !is_over
        });
        self.by_flow.clear();
        for key in entries.keys() {
            self.by_flow.entry(FlowKey::of_drop(key)).or_default().push(*key);
        }
        self.entries = entries;
    }

    /// Flows of which rows say that a rule denied them on their way through: protocol, client and server.
    pub(crate) fn denied_on_path(&self) -> HashSet<(u8, End, End)> {
        self.denied.on_path().collect()
    }

    /// How many packets were told together with others, since the last call.
    pub(crate) fn folded(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }

    fn row(&self, key: &DropKey, entry: &Entry, context: &Context<'_>) -> DropRow {
        let dropped = &entry.dropped;
        let id = entry.flow.as_ref().map(|(id, _)| id.clone());
        let id = id.or_else(|| self.denied.id_of(key)).or_else(|| ends::unopened_id(key, dropped));
        let sender_is_client = entry
            .flow
            .as_ref()
            .map_or_else(|| ends::sender_is_client(key, dropped), |(_, sender_is_client)| *sender_is_client);
        let from = (ip_text(key.from_ip), port(key.from_ip, key.from_port));
        let to = (ip_text(key.to_ip), port(key.to_ip, key.to_port));
        let (client, server) = if sender_is_client { (from, to) } else { (to, from) };
        DropRow {
            time: context.clock.utc(entry.news_ns),
            end_time: Some(context.clock.utc(dropped.last_ns)),
            node: Some(context.node.clone()),
            connection_id: id,
            protocol: Some(protocol_name(key.protocol)),
            client_ip: client.0,
            client_port: client.1,
            server_ip: server.0,
            server_port: server.1,
            reason: Some(self.reasons.name(key.reason)),
            location: self.location(key),
            packets: (dropped.packets - entry.told.0) as i64,
            bytes: (dropped.bytes - entry.told.1) as i64,
            policy: None,
            netns: (key.netns != 0).then_some(i64::from(key.netns)),
        }
    }

    fn location(&self, key: &DropKey) -> Option<SmolStr> {
        const NETFILTER: [&str; 6] = ["nf_", "nft_", "ipt_", "ip6t_", "xt_", "br_nf_"];
        let function = self.locations.name(key.location);
        let is_netfilter = self.reasons.name(key.reason) == "NETFILTER_DROP"
            || function.as_ref().is_some_and(|name| NETFILTER.iter().any(|prefix| name.starts_with(prefix)));
        if is_netfilter { Some(SmolStr::new_static("netfilter")) } else { function }
    }

    fn is_forwarded(&self, entry: &Entry) -> bool {
        self.locations.name(entry.dropped.input).is_some_and(|name| name.contains("forward"))
    }

    /// Which end of a flow drops its packet, if it is one of its ends.
    fn observer(&self, key: &DropKey, entry: &Entry) -> &'static str {
        let is_local = FlowKey::sender_is_local(key)
            || self
                .locations
                .name(entry.dropped.input)
                .is_some_and(|name| matches!(name.as_str(), "ip_local_deliver" | "ip6_input"));
        let sender_is_client = ends::sender_is_client(key, &entry.dropped);
        match (is_local, sender_is_client == FlowKey::sender_is_local(key)) {
            (true, true) => "client",
            (true, false) => "server",
            (false, _) => "path",
        }
    }

    /// Health's row of what was told together.
    pub(crate) fn health(&mut self, template: &ProbeHealthRow) -> Option<ProbeHealthRow> {
        let folded = self.folded();
        (folded > 0).then(|| ProbeHealthRow {
            component: Some(SmolStr::new_static("probe")),
            counter: Some(SmolStr::new_static("drops_folded")),
            value: folded as i64,
            kind: Some(SmolStr::new_static("shed")),
            message: Some(SmolStr::new_static(
                "dropped packets told without their connection: too many different ones in one interval",
            )),
            ..template.clone()
        })
    }
}

/// Whether a flow's row tells of nothing that came through: what was denied of it was all there was.
fn is_cut_off(row: &FlowRow) -> bool {
    const NEVER_OPENED: [&str; 4] = ["refused", "timed_out", "unreachable", "abandoned"];
    let never_opened = row.close_reason.as_deref().is_some_and(|reason| NEVER_OPENED.contains(&reason));
    let heard =
        if row.observer.as_deref() == Some("client") { row.server_packets } else { row.client_packets };
    heard == 0 || (never_opened && row.client_bytes == 0 && row.server_bytes == 0)
}

/// What was folded has no address, and so no port.
fn ip_text(ip: [u8; 16]) -> Option<SmolStr> {
    (ip != [0; 16]).then(|| address_text(address(ip)))
}

fn port(ip: [u8; 16], port: u16) -> Option<u16> {
    (ip != [0; 16] && port != 0).then_some(port)
}

#[cfg(test)]
mod tests;
