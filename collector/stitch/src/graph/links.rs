//! Flows → what went between two services: bytes, segments sent again, connections and how they failed.
//!
//! Both ends of a connection tell of the same bytes, and a node on the path once more. So a connection's rows wait for each
//! other, and one observer's count: the client's, else the server's, else the path's, for as long as the connection lives.
//! The names are the best that any of them knows. Segments sent again each end knows of itself alone: both count.

use std::collections::{HashMap, VecDeque};

use weir_model::{FlowRow, SmolStr, format_smolstr};

use super::Limits;
use crate::ends::{self, End};
use crate::is_shared_id;

/// What went between two services since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload bytes of the client's.
    pub client_bytes: u64,
    /// Payload bytes of the server's.
    pub server_bytes: u64,
    /// Segments that the client sent again.
    pub client_retransmits: u64,
    /// Segments that the server sent again.
    pub server_retransmits: u64,
    /// Connections that were opened, or tried to.
    pub connections: u64,
}

/// Two services, and what went between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who opened the connection; `user` where only an address is known.
    pub client: SmolStr,
    /// Whom to.
    pub server: SmolStr,
    /// What went.
    pub traffic: Traffic,
    /// Why a connection between them failed, where one did: `refused`, `timed_out`, …
    pub failure: Option<SmolStr>,
}

/// Connections whose flows wait for what others tell of them.
#[derive(Debug)]
pub struct Links {
    limits: Limits,
    connections: HashMap<SmolStr, Connection>,
    /// Those with something to tell, in the order in which it came.
    order: VecDeque<(i64, SmolStr)>,
    /// Those that have told all, until they are forgotten.
    quiet: VecDeque<(i64, SmolStr)>,
    hurried: u64,
}

/// A connection: by whom its bytes are counted, once that is decided, and what each observer told since the last time.
#[derive(Debug, Default)]
struct Connection {
    client: Name,
    server: Name,
    counted_by: Option<usize>,
    told: [Option<Told>; 3],
    seen_ns: i64,
    is_waiting: bool,
}

#[derive(Clone, Debug, Default)]
struct Told {
    traffic: Traffic,
    failure: Option<SmolStr>,
}

/// A name, and how good it is: a service, a name outside, an address.
#[derive(Debug, Default)]
struct Name {
    text: SmolStr,
    rank: u8,
}

/// The rank of a name that is an address.
const ADDRESS: u8 = 1;

/// An idle connection is remembered that long, ns: a living one has a row in each interval in which something went.
pub(super) const REMEMBERED_NS: i64 = 600_000_000_000;

impl Links {
    /// None yet.
    pub fn new(limits: Limits) -> Links {
        Links {
            limits,
            connections: HashMap::new(),
            order: VecDeque::new(),
            quiet: VecDeque::new(),
            hurried: 0,
        }
    }

    /// Takes a flow, at `now_ns`.
    pub fn add(&mut self, flow: &FlowRow, now_ns: i64) {
        let Some(observer) = rank(flow) else { return };
        let Some(key) = key(flow) else { return };
        let connection = self.connections.entry(key.clone()).or_default();
        let (client, server) = ends::of_flow(flow);
        connection.client.improve(&client);
        connection.server.improve(&server);
        connection.seen_ns = now_ns;
        let told = connection.told[observer].get_or_insert_default();
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let traffic = &mut told.traffic;
        let add = |to: &mut u64, number: i64| *to = to.saturating_add(count(number));
        add(&mut traffic.client_bytes, flow.client_bytes);
        add(&mut traffic.server_bytes, flow.server_bytes);
        add(&mut traffic.client_retransmits, flow.client_retransmits.unwrap_or_default());
        add(&mut traffic.server_retransmits, flow.server_retransmits.unwrap_or_default());
        add(&mut traffic.connections, i64::from(matches!(flow.state.as_deref(), Some("opened" | "only"))));
        told.failure = failure(flow).or(told.failure.take());
        if !std::mem::replace(&mut connection.is_waiting, true) {
            self.order.push_back((now_ns, key));
        }
    }

    /// What went, of connections that others had time to tell of at `now_ns`.
    pub fn settle(&mut self, now_ns: i64) -> Vec<Link> {
        let since = now_ns.saturating_sub(self.limits.hold_ns);
        let mut links = Vec::new();
        while let Some((came_ns, _)) = self.order.front() {
            let is_due = *came_ns <= since;
            if !is_due && self.order.len() <= self.limits.requests {
                break;
            }
            let Some((_, key)) = self.order.pop_front() else { break };
            self.hurried += u64::from(!is_due);
            if let Some(connection) = self.connections.get_mut(&key) {
                links.extend(connection.take());
                self.quiet.push_back((now_ns, key));
            }
        }
        self.forget(now_ns);
        links
    }

    /// Connections that wait now, and those that went before their time for want of room.
    pub fn counts(&self) -> (u64, u64) {
        (self.order.len() as u64, self.hurried)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.order.is_empty() && self.quiet.is_empty()
    }

    fn forget(&mut self, now_ns: i64) {
        let since = now_ns.saturating_sub(REMEMBERED_NS);
        let most = self.limits.requests;
        while let Some((at, _)) = self.quiet.front()
            && (*at < since || self.quiet.len() > most)
            && let Some((at, key)) = self.quiet.pop_front()
        {
            // One that told more since then is further on in the line, or waits.
            if self.connections.get(&key).is_some_and(|known| !known.is_waiting && known.seen_ns <= at) {
                self.connections.remove(&key);
            }
        }
    }
}

impl Connection {
    fn take(&mut self) -> Option<Link> {
        self.is_waiting = false;
        let told = std::mem::take(&mut self.told);
        let first = *self.counted_by.get_or_insert(told.iter().position(Option::is_some)?);
        let counted = told[first].clone().unwrap_or_default();
        let mut traffic = counted.traffic;
        if first != PATH {
            let beside = told.iter().enumerate().filter(|(place, _)| *place != first && *place != PATH);
            for told in beside.filter_map(|(_, told)| told.as_ref()) {
                traffic.client_retransmits += told.traffic.client_retransmits;
                traffic.server_retransmits += told.traffic.server_retransmits;
            }
        }
        // A server at an address is worth a name; each client that comes from one is not.
        let is_anybody = self.client.rank <= ADDRESS;
        Some(Link {
            client: if is_anybody { SmolStr::new_static("user") } else { self.client.text.clone() },
            server: self.server.text.clone(),
            traffic,
            failure: counted.failure,
        })
    }
}

impl Name {
    fn improve(&mut self, end: &End<'_>) {
        let known = [end.ip, end.name(), end.known_service()];
        for (rank, text) in (ADDRESS..).zip(known) {
            if let Some(text) = text.filter(|_| rank > self.rank) {
                *self = Name { text: text.clone(), rank };
            }
        }
    }
}

/// A path's place among the observers.
const PATH: usize = 2;

/// Whose rows are worth more; `None` for one who tells of it beside the ends.
fn rank(flow: &FlowRow) -> Option<usize> {
    match flow.observer.as_deref() {
        Some("client" | "both") => Some(0),
        Some("server") => Some(1),
        _ if crate::ends::Side::of_flow(flow).is_empty() => None,
        _ => Some(PATH),
    }
}

/// One for both ends' rows: the id where they derive the same, else the 5-tuple.
fn key(flow: &FlowRow) -> Option<SmolStr> {
    let id = flow.connection_id.as_ref()?;
    if is_shared_id(id) {
        return Some(id.clone());
    }
    let text = |text: &Option<SmolStr>| text.clone().unwrap_or_default();
    let port = |port: Option<u16>| port.unwrap_or_default();
    Some(format_smolstr!(
        "{} {} {} {} {}",
        text(&flow.protocol),
        text(&flow.client_ip),
        port(flow.client_port),
        text(&flow.server_ip),
        port(flow.server_port)
    ))
}

/// Why the connection failed, where it did: an orderly end and an idle one are none.
fn failure(flow: &FlowRow) -> Option<SmolStr> {
    let reason = flow.close_reason.as_ref()?;
    matches!(
        reason.as_str(),
        "refused" | "timed_out" | "unreachable" | "denied" | "reset_by_client" | "reset_by_server"
    )
    .then(|| reason.clone())
}
