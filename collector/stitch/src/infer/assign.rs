//! Which request made which call: all calls of a service at once, as the likeliest whole of what is known of how its
//! operations go about their work.
//!
//! Requests and calls are walked through in the order of time, with several hypotheses at once of who made what (as radars
//! track planes that cross). A hypothesis that only turns out wrong when a request ends without its last call is still beaten
//! then by one that gave the call to it. What separates hypotheses that remain is the confidence in each link.
//!
//! A call's parent is settled when the last request that it could have come from has ended.

use super::behaviour::{self, Expectation};
use super::pattern::NO_CALLS;

/// A request that a service had open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Index of its operation's expectation.
    pub(super) operation: usize,
}

/// A call that a service made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) kind: usize,
    /// The request that it is known to be for.
    pub(super) known: Option<u32>,
    /// The request that it's likely for, with ln of how much likelier than others.
    pub(super) hinted: Option<(u32, f64)>,
}

/// No request: the call was made for none that was seen.
pub(super) const NONE: u32 = u32::MAX;

/// A call's parent, an index of a request or [`NONE`], and how likely it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) request: u32,
    pub(super) confidence: f32,
    pub(super) order: Order,
}

/// Whether requests that wait for the same call get it in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// No other one waited.
    Alone,
    /// The oldest one got it.
    Kept,
    /// A younger one did.
    Crossed,
}

/// A request waits for a call that it makes more often than this (ln).
const EXPECTED: f64 = -1.0;

/// How hard to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Hypotheses kept at once.
    pub(super) width: usize,
    /// How much less likely than the best (as ln) a hypothesis may be and still be kept.
    pub(super) depth: f64,
}

impl Effort {
    pub(super) fn of_width(width: usize) -> Effort {
        Effort { width: width.max(1), depth: 10.0 }
    }

    /// Less: what is learned from many choices needs none of them to be the best.
    pub(super) fn to_learn(self) -> Effort {
        Effort { width: self.width.div_ceil(3), depth: 6.0 }
    }
}

/// What surrounds a service's requests.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) expectations: &'a mut [Expectation],
    /// ln of how often (per tick) calls of a kind are made for no request.
    pub(super) unasked: &'a [f64],
    /// How long after its end a request may still make calls, and how long before its beginning (clocks differ).
    pub(super) linger: i64,
    pub(super) early: i64,
}

/// One of the things that happen, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(u32),
    Call(u32),
    End(u32),
}

/// Chooses a request for each call. Both are in the order of their beginnings.
pub(super) fn assign(
    requests: &[Request],
    calls: &[Call],
    around: Surroundings<'_>,
    effort: Effort,
) -> Vec<Choice> {
    let mut events = Vec::with_capacity(2 * requests.len() + calls.len());
    for (at, request) in requests.iter().enumerate() {
        events.push((request.start - around.early, Event::Begin(at as u32)));
        events.push((request.end.max(request.start) + around.linger, Event::End(at as u32)));
    }
    events.extend(calls.iter().enumerate().map(|(at, call)| (call.start, Event::Call(at as u32))));
    events.sort_unstable();

    let mut walk = Walk::new(requests, calls, around, effort);
    for (time, event) in events {
        walk.settle_before(time);
        match event {
            Event::Begin(request) => walk.begin(request),
            Event::Call(call) => walk.call(call),
            Event::End(request) => walk.end(request),
        }
    }
    walk.settle_before(i64::MAX);
    walk.choices
}

/// One request with the calls that some hypotheses give it.
#[derive(Clone, Debug)]
struct Story {
    /// Its times, as an index into [`Walk::times`].
    times: usize,
    /// Its calls, as a node of the operation's prospects.
    node: u32,
    operation: usize,
    /// The story after the call that is looked at now, and what that is worth.
    next: (u32, u32, f64),
}

#[derive(Clone, Debug, Default)]
struct Hypothesis {
    worth: f64,
    /// A story for each open request.
    stories: Vec<u32>,
    /// A request for each open call.
    choices: Vec<(u32, Order)>,
}

struct Walk<'a> {
    requests: &'a [Request],
    calls: &'a [Call],
    around: Surroundings<'a>,
    effort: Effort,
    kinds: usize,
    stories: Vec<Story>,
    times: Vec<i64>,
    open: Vec<u32>,
    open_calls: Vec<(u32, i64)>,
    hypotheses: Vec<Hypothesis>,
    spare: Vec<Hypothesis>,
    choices: Vec<Choice>,
}

impl<'a> Walk<'a> {
    fn new(requests: &'a [Request], calls: &'a [Call], around: Surroundings<'a>, effort: Effort) -> Walk<'a> {
        Walk {
            requests,
            calls,
            kinds: around.unasked.len(),
            around,
            effort,
            stories: Vec::new(),
            times: Vec::new(),
            open: Vec::new(),
            open_calls: Vec::new(),
            hypotheses: vec![Hypothesis::default()],
            spare: Vec::new(),
            choices: vec![Choice { request: NONE, confidence: 0.0, order: Order::Alone }; calls.len()],
        }
    }

    fn begin(&mut self, request: u32) {
        if self.open.is_empty() && self.open_calls.is_empty() {
            self.stories.clear();
            self.times.clear();
        }
        let Request { start, end, operation } = self.requests[request as usize];
        let times = self.times.len();
        self.times.resize(times + behaviour::times(self.kinds), 0);
        behaviour::begin(&mut self.times[times..], start, end);
        let story = self.stories.len() as u32;
        self.stories.push(Story { times, node: NO_CALLS, operation, next: (NONE, NONE, 0.0) });
        self.open.push(request);
        for hypothesis in &mut self.hypotheses {
            hypothesis.stories.push(story);
        }
    }

    fn call(&mut self, at: u32) {
        let call = self.calls[at as usize];
        let place_of = |request| self.open.iter().position(|&open| open == request);
        let known = call.known.map(|request| (request, place_of(request)));
        if let Some((request, None)) = known {
            // Known better than by time: it has ended, or not come.
            self.choices[at as usize] = Choice { request, confidence: 1.0, order: Order::Alone };
            return;
        }
        let known = known.and_then(|(_, place)| place);
        let hypotheses = std::mem::take(&mut self.hypotheses);
        let unasked = self.around.unasked[call.kind];
        let mut best = f64::NEG_INFINITY;
        let mut next: Vec<(f64, u32, u32, Order)> = Vec::with_capacity(hypotheses.len() * 2);
        for (index, hypothesis) in hypotheses.iter().enumerate() {
            let mut consider = |place: u32, gain: f64, order: Order| {
                let worth = hypothesis.worth + gain;
                if worth >= best - self.effort.depth {
                    best = best.max(worth);
                    next.push((worth, index as u32, place, order));
                }
            };
            if let Some(place) = known {
                let (_, gain) = extend(
                    &mut self.stories,
                    &mut self.times,
                    self.around.expectations,
                    hypothesis.stories[place],
                    at,
                    call,
                );
                consider(place as u32, gain, Order::Alone);
                continue;
            }
            let (mut waits, mut wait_more) = (0_u64, 0_u64);
            for &story in &hypothesis.stories {
                let Story { node, operation, .. } = self.stories[story as usize];
                if self.around.expectations[operation].prospects.call(node, call.kind).1 > EXPECTED {
                    wait_more |= waits & (1 << operation);
                    waits |= 1 << operation;
                }
            }
            let mut older = 0_u64;
            for (place, &story) in hypothesis.stories.iter().enumerate() {
                let (_, mut gain) =
                    extend(&mut self.stories, &mut self.times, self.around.expectations, story, at, call);
                let Story { node, operation, .. } = self.stories[story as usize];
                let expectation = &mut self.around.expectations[operation];
                let waiting = expectation.prospects.call(node, call.kind).1 > EXPECTED;
                let order = if older & (1 << operation) != 0 {
                    Order::Crossed
                } else if waiting && wait_more & (1 << operation) != 0 {
                    Order::Kept
                } else {
                    Order::Alone
                };
                older |= u64::from(waiting) << operation;
                gain += expectation.order(call.kind, order);
                if let Some((hinted, likelier)) = call.hinted
                    && self.open[place] == hinted
                {
                    gain += likelier;
                }
                consider(place as u32, gain, order);
            }
            consider(NONE, unasked, Order::Alone);
        }
        next.retain(|(worth, ..)| *worth >= best - self.effort.depth);
        if next.len() > self.effort.width {
            next.select_nth_unstable_by(self.effort.width, |one, other| {
                other.0.total_cmp(&one.0).then_with(|| (one.1, one.2).cmp(&(other.1, other.2)))
            });
            next.truncate(self.effort.width);
        }
        let mut kept = Vec::with_capacity(next.len());
        let mut expiry = call.start;
        for (worth, index, place, order) in next {
            let old = &hypotheses[index as usize];
            let mut new = self.spare.pop().unwrap_or_default();
            new.worth = worth - best;
            new.stories.clear();
            new.stories.extend_from_slice(&old.stories);
            new.choices.clear();
            new.choices.extend_from_slice(&old.choices);
            if place == NONE {
                new.choices.push((NONE, order));
            } else {
                let request = self.open[place as usize];
                expiry = expiry.max(self.requests[request as usize].end + self.around.linger);
                let story = &mut new.stories[place as usize];
                *story = self.stories[*story as usize].next.1;
                new.choices.push((request, order));
            }
            kept.push(new);
        }
        self.spare.extend(hypotheses);
        self.hypotheses = kept;
        self.open_calls.push((at, expiry));
    }

    fn end(&mut self, request: u32) {
        let Some(place) = self.open.iter().position(|&open| open == request) else { return };
        self.open.remove(place);
        let mut best = f64::NEG_INFINITY;
        for hypothesis in &mut self.hypotheses {
            let story = &self.stories[hypothesis.stories.remove(place) as usize];
            let expectation = &self.around.expectations[story.operation];
            let times = &self.times[story.times..story.times + behaviour::times(self.kinds)];
            hypothesis.worth += expectation.prospects.end(story.node) + expectation.end(times);
            best = best.max(hypothesis.worth);
        }
        let least = best - self.effort.depth;
        let mut at = 0;
        while at < self.hypotheses.len() {
            if self.hypotheses[at].worth < least {
                self.spare.push(self.hypotheses.swap_remove(at));
            } else {
                self.hypotheses[at].worth -= best;
                at += 1;
            }
        }
    }

    /// Settles the calls that no request open at `time` can have made.
    fn settle_before(&mut self, time: i64) {
        let mut at = 0;
        let before = self.open_calls.len();
        while at < self.open_calls.len() {
            let (call, expiry) = self.open_calls[at];
            if expiry >= time {
                at += 1;
                continue;
            }
            self.choices[call as usize] = choose(&self.hypotheses, at);
            self.open_calls.swap_remove(at);
            for hypothesis in &mut self.hypotheses {
                hypothesis.choices.swap_remove(at);
            }
        }
        if self.open_calls.len() < before {
            self.join_equal();
        }
    }

    /// Makes one of hypotheses that no longer differ.
    fn join_equal(&mut self) {
        if self.hypotheses.len() < 2 {
            return;
        }
        self.hypotheses.sort_unstable_by(|one, other| {
            (&one.stories, &one.choices)
                .cmp(&(&other.stories, &other.choices))
                .then_with(|| other.worth.total_cmp(&one.worth))
        });
        let spare = &mut self.spare;
        let mut joined: Vec<Hypothesis> = Vec::with_capacity(self.hypotheses.len());
        for hypothesis in self.hypotheses.drain(..) {
            match joined.last_mut() {
                Some(last) if last.stories == hypothesis.stories && last.choices == hypothesis.choices => {
                    last.worth += (hypothesis.worth - last.worth).exp().ln_1p();
                    spare.push(hypothesis);
                }
                _ => joined.push(hypothesis),
            }
        }
        self.hypotheses = joined;
    }
}

/// `story` with one more call, and ln of how likely that is.
fn extend(
    stories: &mut Vec<Story>,
    times: &mut Vec<i64>,
    expectations: &mut [Expectation],
    story: u32,
    at: u32,
    call: Call,
) -> (u32, f64) {
    let Story { times: old, node, operation, next } = stories[story as usize];
    if next.0 == at {
        return (next.1, next.2);
    }
    let expectation = &mut expectations[operation];
    let len = behaviour::times(expectation.kinds());
    let slot = behaviour::slot(call.kind, expectation.prospects.has(node, call.kind));
    let (node, share) = expectation.prospects.call(node, call.kind);
    let gain = share + expectation.call(slot, &times[old..old + len], call.start);
    let new = times.len();
    times.extend_from_within(old..old + len);
    behaviour::note_call(&mut times[new..], call.kind, call.start, call.end);
    let made = stories.len() as u32;
    stories.push(Story { times: new, node, operation, next: (NONE, NONE, 0.0) });
    stories[story as usize].next = (at, made, gain);
    (made, gain)
}

/// The likeliest choice of all hypotheses for the open call at `at`.
fn choose(hypotheses: &[Hypothesis], at: usize) -> Choice {
    let best = hypotheses.iter().map(|hypothesis| hypothesis.worth).fold(f64::NEG_INFINITY, f64::max);
    let mut shares: Vec<(u32, f64, Order)> = Vec::with_capacity(4);
    for hypothesis in hypotheses {
        let weight = (hypothesis.worth - best).exp();
        let (request, order) = hypothesis.choices[at];
        match shares.iter_mut().find(|(known, ..)| *known == request) {
            Some((_, share, _)) => *share += weight,
            None => shares.push((request, weight, order)),
        }
    }
    let all: f64 = shares.iter().map(|(_, share, _)| share).sum();
    let best =
        shares.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)));
    let (request, share, order) = best.unwrap_or((NONE, 0.0, Order::Alone));
    Choice { request, confidence: (share / all) as f32, order }
}
