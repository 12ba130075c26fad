//! Who asked whom: the request that each call was made for, from timing alone where nothing better is known.
//!
//! | file               | subject                                                                  |
//! |--------------------|--------------------------------------------------------------------------|
//! | `infer/exchange.rs`  | what comes in, what goes out                                           |
//! | `infer/clock.rs`     | how far two services' clocks are apart                                 |
//! | `infer/service.rs`   | one service: what was learned of it, in rounds of choosing and learning |
//! | `infer/siblings.rs`  | requests of one trace to one service, and whether their places matter  |
//! | `infer/behaviour.rs` | what an operation's calls and end follow, and how long after           |
//! | `infer/pattern.rs`   | which calls it makes, and how many                                     |
//! | `infer/timing.rs`    | gaps as densities                                                      |
//! | `infer/forwarding.rs` | services that pass on what they get, byte by byte                     |
//! | `infer/assign.rs`    | all calls of a service at once: the likeliest whole                    |
//!
//! Services are gone through after those that ask them, so that what is found above tells which requests are of one trace.
//!
//! Exchanges are added in any order. [`Inference::settle`] takes a time before which all has come, gives the links of the
//! calls that are old enough to be sure of what surrounds them, and learns from these; the younger ones stay for the next
//! time. What was learned stays. Both ends of a service's work are judged by the service's own clock, so that what other
//! clocks say doesn't matter, except where only the other end was seen.
//!
//! Never here: I/O, clocks, randomness. The same exchanges give the same links in whatever order they came.

mod assign;
mod behaviour;
mod clock;
mod exchange;
mod forwarding;
mod pattern;
mod service;
mod siblings;
mod timing;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use assign::{Call, Effort, NONE, Request};
use clock::Clocks;
pub use exchange::{Cause, Exchange, Link, Method, Name, Span};
use service::{Service, Work};

/// ln of how much likelier a cause is that the kernel could only guess.
const GUESSED_CAUSE: f64 = 3.0;
/// The same of a request that has a call's lengths, where a service passes on what it gets.
const PASSED_ON: f64 = 12.0;

/// Links that are followed up to the beginning of a trace; deeper than any real one, and the end of what goes in circles.
const DEEPEST: usize = 64;

/// How links are inferred.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long an exchange waits for those around it, ns: a request that takes longer than this may come too late for its
    /// calls.
    pub wait_ns: i64,
    /// Links below this confidence are not told: the trace is split there.
    pub min_confidence: f32,
    /// Exchanges kept at once; beyond, the oldest are settled before their time.
    pub max_exchanges: usize,
    /// Hypotheses kept at once for a service: more are slower, and right more often where much happens at once.
    pub width: usize,
    /// How often a service that is new is gone through again with what was just learned of it.
    pub rounds: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { wait_ns: 10_000_000_000, min_confidence: 0.5, max_exchanges: 500_000, width: 48, rounds: 4 }
    }
}

/// Exchanges in, links out; what was learned of services in between.
#[derive(Debug)]
pub struct Inference {
    config: Config,
    names: HashMap<String, Name>,
    services: BTreeMap<Name, Service>,
    clocks: Clocks,
    held: Vec<Held>,
    ready: Vec<Link>,
}

/// An exchange that is still needed: to find its request, or the calls that were made for it.
#[derive(Clone, Copy, Debug)]
struct Held {
    exchange: Exchange,
    /// The times at the client and at the server, by the clock of each.
    client: Span,
    server: Span,
    linked: Linked,
    /// Whether it was learned from, as a request.
    is_learned: bool,
}

impl Inference {
    /// An inference that knows nothing yet.
    pub fn new(config: Config) -> Inference {
        Inference {
            config,
            names: HashMap::new(),
            services: BTreeMap::new(),
            clocks: Clocks::default(),
            held: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// The short form of a service's or an operation's name.
    pub fn name(&mut self, text: &str) -> Name {
        if let Some(&name) = self.names.get(text) {
            return name;
        }
        let name = Name(self.names.len() as u32);
        self.names.insert(text.to_owned(), name);
        name
    }

    /// Takes an exchange. Those without any time are none.
    pub fn add(&mut self, exchange: Exchange) {
        let Some(some) = exchange.client_time.or(exchange.server_time) else { return };
        if self.held.len() >= self.config.max_exchanges {
            let middle = self.middle_ns();
            let links = self.settle_until(middle, middle);
            self.ready.extend(links);
        }
        self.held.push(Held {
            exchange,
            client: some,
            server: some,
            linked: Linked::NotYet,
            is_learned: false,
        });
    }

    /// How many exchanges are kept.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The links of all calls that ended [`Config::wait_ns`] before `watermark_ns`, before which all exchanges have been added.
    pub fn settle(&mut self, watermark_ns: i64) -> Vec<Link> {
        let horizon = watermark_ns.saturating_sub(self.config.wait_ns);
        let links = self.settle_until(horizon, horizon.saturating_sub(self.config.wait_ns));
        [std::mem::take(&mut self.ready), links].concat()
    }

    /// The links of all calls that are left.
    pub fn finish(&mut self) -> Vec<Link> {
        let links = self.settle_until(i64::MAX, i64::MAX);
        [std::mem::take(&mut self.ready), links].concat()
    }

    fn middle_ns(&self) -> i64 {
        let mut ends: Vec<i64> = self.held.iter().map(Held::end).collect();
        let middle = ends.len() / 2;
        *ends.select_nth_unstable(middle).1
    }

    /// Links the calls that ended until `horizon`, and keeps what ended after `needed_after`.
    fn settle_until(&mut self, horizon: i64, needed_after: i64) -> Vec<Link> {
        self.held.sort_unstable_by_key(|held| {
            (held.exchange.client_time, held.exchange.server_time, held.exchange.id)
        });
        self.clocks.learn(self.held.iter().map(|held| &held.exchange));
        for held in &mut self.held {
            (held.client, held.server) = self.clocks.both_ends(&held.exchange);
        }
        let ids: HashMap<u64, u32> =
            self.held.iter().enumerate().map(|(at, held)| (held.exchange.id, at as u32)).collect();
        let parts = self.parts(&ids);
        let mut above = self.known_above(&ids);
        let mut places = vec![NONE; self.held.len()];
        let mut links = Vec::new();
        for (name, mut part) in self.callers_first(parts) {
            let service = self.services.entry(name).or_default();
            part.fill(service, &self.held, &ids, &above, &mut places);
            let effort = Effort::of_width(self.config.width);
            let choices = service.solve(&mut part.work, self.config.rounds, effort);
            let held = &mut self.held;
            for (&at, choice) in part.calls.iter().zip(&choices) {
                let request = (choice.request != NONE).then(|| part.requests[choice.request as usize]);
                above[at as usize] = request.unwrap_or(NONE);
                let parent = request.map(|request| held[request as usize].exchange.id);
                let call = &mut held[at as usize];
                if call.linked != Linked::NotYet || call.client.end > horizon {
                    continue;
                }
                call.linked = Linked::to(parent);
                let is_told = call.told_parent().is_some();
                links.push(Link {
                    child: call.exchange.id,
                    parent: parent.filter(|_| choice.confidence >= self.config.min_confidence),
                    method: if is_told { Method::Thread } else { Method::Timing },
                    confidence: choice.confidence,
                });
            }
            let is_over = |at: u32| {
                let held = &held[at as usize];
                held.server.end <= horizon && !held.is_learned
            };
            let over: Vec<bool> = part.requests.iter().map(|&at| is_over(at)).collect();
            service.learn(&part.work, &choices, &over);
            for (&at, _) in part.requests.iter().zip(&over).filter(|(_, is_over)| **is_over) {
                held[at as usize].is_learned = true;
            }
        }
        self.link_what_is_certain(horizon, &ids, &mut links);
        links.sort_unstable_by_key(|link| link.child);
        self.cut_circles(&ids, &mut links);
        self.held.retain(|held| held.end() > needed_after);
        links
    }

    /// Each service's part of what is held, as indexes.
    fn parts(&self, ids: &HashMap<u64, u32>) -> BTreeMap<Name, Part> {
        let mut parts: BTreeMap<Name, Part> = BTreeMap::new();
        for (at, held) in self.held.iter().enumerate() {
            let parent =
                held.linked.parent().or(held.told_parent().filter(|_| held.linked == Linked::NotYet));
            let is_settled = held.linked != Linked::NotYet || parent.is_some();
            // Its request is known and gone, or it is known to have none.
            if is_settled && !self.is_request_of(held, parent, ids) {
                continue;
            }
            if let Some(client) = held.exchange.client {
                parts.entry(client).or_default().calls.push(at as u32);
            }
        }
        for (at, held) in self.held.iter().enumerate() {
            if let Some(part) = parts.get_mut(&held.exchange.server) {
                part.requests.push(at as u32);
            }
        }
        parts
    }

    /// The services, each after those that ask it, so that the traces of its requests are known. Of those that ask each other
    /// in a circle, the one comes first that was seen first: names are numbered as they come, and mustn't matter.
    fn callers_first(&self, mut parts: BTreeMap<Name, Part>) -> Vec<(Name, Part)> {
        let mut seen = Vec::new();
        let mut callers: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
        for held in &self.held {
            let Exchange { client, server, .. } = held.exchange;
            if parts.contains_key(&server) {
                let callers = callers.entry(server).or_insert_with(|| {
                    seen.push(server);
                    BTreeSet::new()
                });
                callers.extend(client.filter(|client| *client != server && parts.contains_key(client)));
            }
        }
        let mut ordered = Vec::with_capacity(parts.len());
        while !seen.is_empty() {
            let next = seen.iter().position(|name| callers[name].is_empty()).unwrap_or(0);
            let name = seen.remove(next);
            for callers in callers.values_mut() {
                callers.remove(&name);
            }
            ordered.extend(parts.remove_entry(&name));
        }
        // Nobody was seen to ask these: their calls have no requests.
        ordered.extend(parts);
        ordered
    }

    /// Each exchange's parent among those held, as far as it's settled or known; [`NONE`] where not.
    fn known_above(&self, ids: &HashMap<u64, u32>) -> Vec<u32> {
        let parent = |held: &Held| match held.linked {
            Linked::NotYet => held.told_parent(),
            linked => linked.parent(),
        };
        let parents = self.held.iter().map(|held| parent(held).and_then(|id| ids.get(&id)));
        parents.map(|parent| parent.copied().unwrap_or(NONE)).collect()
    }

    /// Whether `parent` is held, and a request to the service that made this call.
    fn is_request_of(&self, call: &Held, parent: Option<u64>, ids: &HashMap<u64, u32>) -> bool {
        let request = parent.and_then(|parent| ids.get(&parent)).map(|&at| &self.held[at as usize]);
        request.is_some_and(|request| Some(request.exchange.server) == call.exchange.client)
    }

    /// Takes away what would make an exchange the cause of itself: clocks that differ may show two services' calls to each
    /// other each within the other.
    fn cut_circles(&mut self, ids: &HashMap<u64, u32>, links: &mut [Link]) {
        let at = |id: u64| ids.get(&id).map(|&at| at as usize);
        for link in links {
            let Some(child) = at(link.child) else { continue };
            let mut above = link.parent.and_then(at);
            let mut steps = 0;
            while let Some(next) = above
                && next != child
                && steps < self.held.len()
            {
                above = self.held[next].linked.parent().and_then(at);
                steps += 1;
            }
            if above.is_some() {
                link.parent = None;
                self.held[child].linked = Linked::ToNone;
            }
        }
    }

    /// Links to requests that the probe knows, and that nobody has shown here.
    fn link_what_is_certain(&mut self, horizon: i64, ids: &HashMap<u64, u32>, links: &mut Vec<Link>) {
        for at in 0..self.held.len() {
            let held = &self.held[at];
            let parent = held.told_parent();
            let is_due =
                held.linked == Linked::NotYet && held.client.end <= horizon && held.exchange.client.is_some();
            if parent.is_some() && is_due && !self.is_request_of(held, parent, ids) {
                let child = held.exchange.id;
                self.held[at].linked = Linked::to(parent);
                links.push(Link { child, parent, method: Method::Thread, confidence: 1.0 });
            }
        }
    }
}

/// Whether an exchange's link was given, and to which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linked {
    NotYet,
    ToNone,
    To(u64),
}

impl Linked {
    fn to(parent: Option<u64>) -> Linked {
        parent.map_or(Linked::ToNone, Linked::To)
    }

    fn parent(self) -> Option<u64> {
        match self {
            Linked::To(parent) => Some(parent),
            Linked::NotYet | Linked::ToNone => None,
        }
    }
}

impl Held {
    /// The exchange that this one was certainly made for. None is made for itself.
    fn told_parent(&self) -> Option<u64> {
        let told = self.exchange.cause.filter(Cause::is_certain).map(|cause| cause.parent);
        told.filter(|&parent| parent != self.exchange.id)
    }

    fn end(&self) -> i64 {
        self.client.end.max(self.server.end)
    }
}

/// What one service did: indexes of its requests and calls among those held.
#[derive(Debug, Default)]
struct Part {
    requests: Vec<u32>,
    calls: Vec<u32>,
    work: Work,
}

impl Part {
    fn fill(
        &mut self,
        service: &mut Service,
        all: &[Held],
        ids: &HashMap<u64, u32>,
        above: &[u32],
        places: &mut [u32],
    ) {
        let of = |at: &u32| &all[*at as usize];
        self.requests.sort_unstable_by_key(|at| (of(at).server.start, of(at).server.end, of(at).exchange.id));
        self.calls.sort_unstable_by_key(|at| (of(at).client.start, of(at).client.end, of(at).exchange.id));
        for (place, &at) in self.requests.iter().enumerate() {
            places[at as usize] = place as u32;
        }
        // What another service left there is not of this one's requests.
        let place_of = |id: u64| {
            let &at = ids.get(&id)?;
            Some(places[at as usize]).filter(|&place| self.requests.get(place as usize) == Some(&at))
        };
        for at in &self.requests {
            let Span { start, end } = of(at).server;
            let operation = service.operation(of(at).exchange.operation);
            self.work.requests.push(Request { start, end, operation, siblings: None });
            self.work.traces.push(top(*at, above));
        }
        let requests = self.requests.iter().map(|at| (of(at).server, of(at).exchange.server_bytes));
        let calls = self.calls.iter().map(|at| (of(at).client, of(at).exchange.client_bytes));
        let passed_on = forwarding::passed_on(&requests.collect::<Vec<_>>(), &calls.collect::<Vec<_>>());
        for (at, passed_on) in self.calls.iter().zip(passed_on) {
            let Span { start, end } = of(at).client;
            let exchange = &of(at).exchange;
            let kind = service.kind(exchange.server, exchange.operation);
            let known = of(at).linked.parent().or(of(at).told_parent()).and_then(place_of);
            let guessed = exchange.cause.filter(|cause| !cause.is_certain());
            let guessed =
                guessed.and_then(|cause| place_of(cause.parent)).map(|place| (place, GUESSED_CAUSE));
            let hinted = passed_on.map(|place| (place, PASSED_ON)).or(guessed);
            self.work.calls.push(Call { start, end, kind, known, hinted });
        }
    }
}

/// The beginning of an exchange's trace, as far as it's known.
fn top(mut at: u32, above: &[u32]) -> u32 {
    for _ in 0..DEEPEST {
        match above[at as usize] {
            NONE => break,
            parent => at = parent,
        }
    }
    at
}

#[cfg(test)]
mod tests;
