//! Applications' own spans → the turns that they are about. What they say of who asked whom was carried in the requests
//! (W3C trace context and its like), so it is worth more than what can be seen from outside; and one request is one trace.
//!
//! A span is a turn's where both have the same peer's address and port, and the time fits. On the server's side a connection
//! has one turn at a time. A client's span names the server only: it must be of the same process, and the only one that is
//! under way there.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use weir_model::{ExchangeRow, SmolStr, SpanRow};

use super::is_time;
use super::memory::Memory;
use crate::ends::Side;

/// How far an application's clock may be from the kernel's: some count milliseconds.
const SLACK_NS: i64 = 2_000_000;

/// Attributes with the peer's address and port, by OpenTelemetry's conventions: today's, then those of before.
const PEER: [(&str, &str); 2] =
    [("network.peer.address", "network.peer.port"), ("net.sock.peer.addr", "net.sock.peer.port")];
const CLIENT: [(&str, &str); 2] = [("client.address", "client.port"), ("net.peer.ip", "net.peer.port")];
const SERVER: [(&str, &str); 2] = [("server.address", "server.port"), ("net.peer.ip", "net.peer.port")];

/// Where a turn belongs, by what applications say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: SmolStr,
    /// The application's span that the turn is below; `None` where its server began the trace.
    pub(super) parent: Option<SmolStr>,
    /// The client's own span of the turn, once that has come.
    pub(super) client: Option<SmolStr>,
    /// The server's own.
    pub(super) server: Option<SmolStr>,
}

/// Spans of the last minute that name a peer.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    spans: HashMap<At, Vec<Told>>,
    order: VecDeque<(i64, At)>,
    /// All clients' spans of that time: most name their peer by its name, and not by its address.
    clients: Memory<SmolStr, ()>,
}

/// Which kind of span, and the peer that it names.
type At = (Side, IpAddr, u16);

#[derive(Debug)]
struct Told {
    came_ns: i64,
    trace_id: SmolStr,
    span_id: SmolStr,
    parent: Option<SmolStr>,
    start: i64,
    end: i64,
    pid: Option<i64>,
}

impl Contexts {
    /// Takes an application's span, if it says whom it spoke to.
    pub(super) fn add(&mut self, span: &SpanRow, now_ns: i64) {
        let (side, named) = match span.kind.as_deref() {
            Some("server") => (Side::Server, CLIENT),
            Some("client") => (Side::Client, SERVER),
            _ => return,
        };
        if let (Side::Client, Some(span_id)) = (side, &span.span_id) {
            self.clients.insert(span_id.clone(), (), now_ns);
        }
        let peer = PEER.into_iter().chain(named).find_map(|(ip, port)| {
            let address = attribute(&span.attributes, ip)?.parse::<IpAddr>().ok()?;
            Some((address.to_canonical(), attribute(&span.attributes, port)?.parse().ok()?))
        });
        let (Some((ip, port)), Some(trace_id), Some(span_id)) = (peer, &span.trace_id, &span.span_id) else {
            return;
        };
        let (start, end) = (span.time, span.end_time.unwrap_or(span.time));
        if !is_time(start) || !is_time(end) {
            return;
        }
        let at = (side, ip, port);
        self.order.push_back((now_ns, at));
        self.spans.entry(at).or_default().push(Told {
            came_ns: now_ns,
            trace_id: trace_id.clone(),
            span_id: span_id.clone(),
            parent: span.parent_span_id.clone(),
            start,
            end,
            pid: attribute(&span.resource_attributes, "process.pid").and_then(|pid| pid.parse().ok()),
        });
    }

    /// Whether there are any, so that more are worth waiting for.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Where a turn belongs.
    pub(super) fn of(&self, client: Option<&ExchangeRow>, server: Option<&ExchangeRow>) -> Option<Context> {
        if self.is_empty() {
            return None;
        }
        let served = server.and_then(|row| self.served(row));
        // Its parent is the very span that the client sent the request in.
        if let Some(Told { trace_id, span_id, parent: Some(parent), .. }) = served {
            let server = Some(span_id.clone());
            let parent = Some(parent.clone());
            let mut context = Context { trace_id: trace_id.clone(), parent, client: None, server };
            self.complete(&mut context);
            return Some(context);
        }
        let server = served.map(|told| told.span_id.clone());
        if let Some(called) = client.and_then(|row| self.called(row)) {
            let span_id = Some(called.span_id.clone());
            let trace_id = called.trace_id.clone();
            return Some(Context { trace_id, parent: span_id.clone(), client: span_id, server });
        }
        served.map(|told| Context { trace_id: told.trace_id.clone(), parent: None, client: None, server })
    }

    /// What a turn is below is its client's own span, where that is one that a client made.
    pub(super) fn complete(&self, context: &mut Context) {
        if context.client.is_none() {
            context.client = context.parent.clone().filter(|parent| self.clients.contains(parent));
        }
    }

    /// The server's span of a request that came while this turn was going on.
    fn served(&self, row: &ExchangeRow) -> Option<&Told> {
        let told = self.spans.get(&(Side::Server, address(row.client_ip.as_ref())?, row.client_port?))?;
        let end = row.end_time.unwrap_or(row.time);
        let fits = |told: &&Told| told.start >= row.time - SLACK_NS && told.start <= end + SLACK_NS;
        told.iter().filter(fits).min_by_key(|told| (told.start - row.time).abs())
    }

    /// The only client's span that was going on when this turn began.
    fn called(&self, row: &ExchangeRow) -> Option<&Told> {
        let told = self.spans.get(&(Side::Client, address(row.server_ip.as_ref())?, row.server_port?))?;
        let is_same = |told: &Told| told.pid.is_some() && told.pid == row.pid;
        let fits = |told: &&Told| {
            told.start <= row.time + SLACK_NS && told.end >= row.time - SLACK_NS && is_same(told)
        };
        let mut fitting = told.iter().filter(fits);
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }

    /// Those that came before `since`, and the first ones beyond `most`.
    pub(super) fn forget(&mut self, since: i64, most: usize) {
        self.clients.forget(since, most);
        while let Some((came_ns, _)) = self.order.front()
            && (*came_ns < since || self.order.len() > most)
            && let Some((came_ns, at)) = self.order.pop_front()
            && let Some(told) = self.spans.get_mut(&at)
        {
            told.retain(|told| told.came_ns > came_ns);
            if told.is_empty() {
                self.spans.remove(&at);
            }
        }
    }
}

fn address(text: Option<&SmolStr>) -> Option<IpAddr> {
    text?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn attribute<'a>(attributes: &'a [(SmolStr, SmolStr)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}
