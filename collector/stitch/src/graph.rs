//! Spans → calls: who asked whom, each request once, whatever told of it.
//!
//! | file             | subject                                                        |
//! |------------------|----------------------------------------------------------------|
//! | `graph/half.rs`  | a span → the end of a request that it tells of                   |
//! | `graph/links.rs` | flows → what went between two services, each byte once            |
//!
//! Up to four spans tell of one request: the client's and the server's own (OTLP), and what the network saw at either end
//! (stitched). They are gathered by the client's span, which a server's names as its parent, for a while; then the request is
//! one [`Call`], with the names that the applications gave, where they gave any.
//!
//! **Invariant**: pure; the same spans give the same calls, in whatever order they come within [`Limits::hold_ns`]; no more
//! are kept than [`Limits::requests`].

mod half;
mod links;

use std::collections::{HashMap, VecDeque};

use weir_model::{SmolStr, SpanRow};

use crate::ends::Side;
use crate::traces::Memory;
use half::{Half, Known};
pub use links::{Link, Links, Traffic};

/// How long spans of one request are waited for, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the other spans of a request, ns: applications gather theirs for five seconds, and an exchange waits for them.
    pub hold_ns: i64,
    /// Requests, and connections, that wait at once.
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { hold_ns: 20_000_000_000, requests: 100_000 }
    }
}

/// One request between two services.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Who asked; `user` where nobody told of it.
    pub client: SmolStr,
    /// Who was asked; the name that the client knows it by, where nobody there told of it.
    pub server: SmolStr,
    /// Whether one of both is only known by what the other says of it.
    pub is_virtual: bool,
    /// Whether it went through a queue.
    pub is_message: bool,
    /// Whether either end says that it failed.
    pub is_error: bool,
    /// How long it took for the client.
    pub client_ns: Option<i64>,
    /// How long it took for the server.
    pub server_ns: Option<i64>,
    /// When it was over.
    pub end_ns: i64,
    /// Its trace.
    pub trace_id: SmolStr,
    /// One of its spans.
    pub span_id: SmolStr,
}

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests, and connections, that wait now.
    pub waiting: u64,
    /// Went before their time, for want of room: a request's spans may have been counted as several.
    pub hurried: u64,
    /// Spans of requests that are below a span which nobody sent, so that it isn't known who asked.
    pub unpaired: u64,
}

/// A span, as the client's end of a request, or as the server's.
type Id = (Side, SmolStr, SmolStr);

/// Spans that wait for the others of their request.
#[derive(Debug)]
pub struct Graph {
    limits: Limits,
    requests: HashMap<u64, Request>,
    of_span: HashMap<Id, u64>,
    /// In the order in which they came.
    order: VecDeque<(i64, u64)>,
    next: u64,
    /// The services of applications' spans of all kinds: a request may be below one that is no client's.
    services: Memory<(SmolStr, SmolStr), SmolStr>,
    counts: Counts,
}

/// What was told of one request; or of several, where a client's span covers several exchanges.
#[derive(Debug, Default)]
struct Request {
    spans: Vec<Id>,
    clients: Vec<Half>,
    servers: Vec<Half>,
}

impl Graph {
    /// Empty.
    pub fn new(limits: Limits) -> Graph {
        Graph {
            limits,
            requests: HashMap::new(),
            of_span: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            services: Memory::default(),
            counts: Counts::default(),
        }
    }

    /// Takes a span, at `now_ns`. One that isn't about a request is none.
    pub fn add(&mut self, span: &SpanRow, now_ns: i64) {
        if span.source.as_deref() != Some("stitched")
            && let (Some(trace), Some(id), Some(service)) = (&span.trace_id, &span.span_id, &span.service)
        {
            self.services.insert((trace.clone(), id.clone()), service.clone(), now_ns);
        }
        let Some(Known { half, side, spans }) = half::of(span) else { return };
        let place = self.place(spans, now_ns);
        let Some(request) = self.requests.get_mut(&place) else { return };
        side.pick(&mut request.clients, &mut request.servers).push(half);
    }

    /// The calls that are as whole as they will be at `now_ns`.
    pub fn settle(&mut self, now_ns: i64) -> Vec<Call> {
        let since = now_ns.saturating_sub(self.limits.hold_ns);
        let mut calls = Vec::new();
        while let Some((came_ns, place)) = self.order.front().copied() {
            let is_due = came_ns <= since;
            if !is_due && self.requests.len() <= self.limits.requests {
                break;
            }
            self.order.pop_front();
            // Merged into another, which has its own place in the order.
            let Some(request) = self.requests.remove(&place) else { continue };
            self.counts.hurried += u64::from(!is_due);
            for id in &request.spans {
                self.of_span.remove(id);
            }
            self.count(request, &mut calls);
        }
        // Twice as long: a request's caller may have been told of before it.
        self.services.forget(since.saturating_sub(self.limits.hold_ns), self.limits.requests);
        calls
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> Counts {
        Counts { waiting: self.requests.len() as u64, ..self.counts }
    }

    /// The request that all of `spans` are of; several that turn out to be one become one.
    fn place(&mut self, spans: Vec<Id>, now_ns: i64) -> u64 {
        let mut places: Vec<u64> = spans.iter().filter_map(|id| self.of_span.get(id).copied()).collect();
        places.sort_unstable();
        places.dedup();
        let place = places.first().copied().unwrap_or_else(|| {
            self.next += 1;
            self.order.push_back((now_ns, self.next));
            self.requests.insert(self.next, Request::default());
            self.next
        });
        for other in places.into_iter().skip(1) {
            let Some(merged) = self.requests.remove(&other) else { continue };
            self.join(place, merged);
        }
        self.join(place, Request { spans, ..Request::default() });
        place
    }

    fn join(&mut self, place: u64, more: Request) {
        let Some(request) = self.requests.get_mut(&place) else { return };
        for id in more.spans {
            if self.of_span.insert(id.clone(), place).is_none_or(|before| before != place) {
                request.spans.push(id);
            }
        }
        request.clients.extend(more.clients);
        request.servers.extend(more.servers);
    }

    fn count(&mut self, request: Request, calls: &mut Vec<Call>) {
        let Request { clients, servers, .. } = request;
        let client = told_first(&clients);
        let asked = requests_of(&servers);
        if asked.is_empty() {
            // Nobody told of the server's end: as often as the client asked.
            for half in requests_of(&clients) {
                calls.extend(half.peer.clone().map(|server| Call {
                    server,
                    is_virtual: true,
                    client_ns: Some(half.duration_ns),
                    ..half.call(half.service.clone())
                }));
            }
            return;
        }
        let is_only = asked.len() == 1;
        for server in asked {
            let asker = match client {
                Some(client) => Some((client.service.clone(), false)),
                None => self.asker(server),
            };
            let Some((name, is_virtual)) = asker else {
                self.counts.unpaired += 1;
                continue;
            };
            let client = client.filter(|_| is_only);
            calls.push(Call {
                client: name,
                is_virtual,
                is_error: server.is_error || client.is_some_and(|client| client.is_error),
                client_ns: client.map(|client| client.duration_ns),
                server_ns: Some(server.duration_ns),
                ..server.call(server.service.clone())
            });
        }
    }

    /// Who asked, where no client's span tells: the service of the span above, whom the network saw, or somebody outside.
    fn asker(&self, server: &Half) -> Option<(SmolStr, bool)> {
        if let Some(parent) = &server.parent {
            let key = (server.trace_id.clone(), parent.clone());
            return Some((self.services.get(&key)?.clone(), false));
        }
        let known = server.known_peer.clone();
        Some(known.map_or((SmolStr::new_static("user"), true), |peer| (peer, false)))
    }
}

/// The application's own, else what the network saw.
fn told_first(halves: &[Half]) -> Option<&Half> {
    halves.iter().find(|half| !half.is_stitched).or_else(|| halves.first())
}

/// One half a request: the application's own, and as many of the network's as there are more requests than those.
fn requests_of(halves: &[Half]) -> Vec<&Half> {
    let (seen, told): (Vec<&Half>, Vec<&Half>) = halves.iter().partition(|half| half.is_stitched);
    let more = seen.len().saturating_sub(told.len());
    // One that an application's span tells of is counted with that, were it hours ago.
    let beside = seen.into_iter().filter(|half| !half.is_told).take(more);
    told.into_iter().chain(beside).collect()
}

#[cfg(test)]
mod tests;
