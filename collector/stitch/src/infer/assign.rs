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
use super::siblings::Siblings;

/// A request that a service had open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Index of its operation's expectation.
    pub(super) operation: usize,
    /// What is known of other requests of its trace to the service, where that says something.
    pub(super) siblings: Option<Siblings>,
}

impl Request {
    /// When its turn begins, where requests are worked at in their order.
    fn turn(&self) -> i64 {
        self.siblings.map_or(self.start, |siblings| siblings.all_came)
    }
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
    /// How likely it is that the oldest of several that waited made it, and that a younger one did.
    pub(super) order: [f32; 2],
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

/// Stories that are kept before any is forgotten.
const LEAST_STORIES: usize = 1024;

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
    pub(super) events: &'a Events,
    /// How long after its end a request may still make calls.
    pub(super) linger: i64,
}

/// One of the things that happen, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(u32),
    Call(u32),
    End(u32),
}

/// All that happens to a service, in the order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(Vec<(i64, Event)>);

impl Events {
    /// Requests are open as much longer as `linger` and `early` say.
    pub(super) fn of(requests: &[Request], calls: &[Call], linger: i64, early: i64) -> Events {
        let mut events = Vec::with_capacity(2 * requests.len() + calls.len());
        for (at, request) in requests.iter().enumerate() {
            events.push((request.start - early, Event::Begin(at as u32)));
            events.push((request.end.max(request.start) + linger, Event::End(at as u32)));
        }
        events.extend(calls.iter().enumerate().map(|(at, call)| (call.start, Event::Call(at as u32))));
        events.sort_unstable();
        Events(events)
    }
}

/// Chooses a request for each call. Both are in the order of their beginnings.
pub(super) fn assign(
    requests: &[Request],
    calls: &[Call],
    around: Surroundings<'_>,
    effort: Effort,
) -> Vec<Choice> {
    let events = around.events;
    let mut walk = Walk::new(requests, calls, around, effort);
    for &(time, event) in &events.0 {
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
    next: Next,
}

/// A story after the call that is looked at now.
#[derive(Clone, Copy, Debug)]
struct Next {
    call: u32,
    node: u32,
    /// ln of how likely the call is.
    gain: f64,
    /// Whether the request waits for such a call.
    waits: bool,
    /// The story, once a hypothesis has it.
    story: u32,
}

impl Next {
    const UNKNOWN: Next = Next { call: NONE, node: NO_CALLS, gain: 0.0, waits: false, story: NONE };
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
    /// Stories from which on those that no hypothesis has are forgotten.
    most_stories: usize,
    open: Vec<u32>,
    open_calls: Vec<(u32, i64)>,
    hypotheses: Vec<Hypothesis>,
    spare: Vec<Hypothesis>,
    emptied: Vec<Hypothesis>,
    /// Worth, hypothesis, place and order of what may follow a call.
    next: Vec<(f64, u32, u32, Order)>,
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
            most_stories: LEAST_STORIES,
            open: Vec::new(),
            open_calls: Vec::new(),
            hypotheses: vec![Hypothesis::default()],
            spare: Vec::new(),
            emptied: Vec::new(),
            next: Vec::new(),
            choices: vec![Choice { request: NONE, confidence: 0.0, order: [0.0; 2] }; calls.len()],
        }
    }

    fn begin(&mut self, request: u32) {
        if self.stories.len() >= self.most_stories {
            self.forget_stories();
        }
        let of = &self.requests[request as usize];
        let operation = of.operation;
        let times = self.times.len();
        self.times.resize(times + behaviour::times(self.kinds), 0);
        behaviour::begin(&mut self.times[times..], of);
        let story = self.stories.len() as u32;
        self.stories.push(Story { times, node: NO_CALLS, operation, next: Next::UNKNOWN });
        // Those that wait for siblings are served in the order in which their last ones come.
        let turn = |request: u32| self.requests[request as usize].turn();
        let place = self.open.partition_point(|&open| turn(open) <= turn(request));
        self.open.insert(place, request);
        for hypothesis in &mut self.hypotheses {
            hypothesis.stories.insert(place, story);
        }
    }

    /// Keeps only the stories that some hypothesis has.
    fn forget_stories(&mut self) {
        let len = behaviour::times(self.kinds);
        let mut kept_as = vec![NONE; self.stories.len()];
        let (mut stories, mut times) = (Vec::new(), Vec::new());
        for story in self.hypotheses.iter_mut().flat_map(|hypothesis| &mut hypothesis.stories) {
            let kept = &mut kept_as[*story as usize];
            if *kept == NONE {
                let Story { times: old, node, operation, .. } = self.stories[*story as usize];
                *kept = stories.len() as u32;
                stories.push(Story { times: times.len(), node, operation, next: Next::UNKNOWN });
                times.extend_from_slice(&self.times[old..old + len]);
            }
            *story = *kept;
        }
        self.most_stories = LEAST_STORIES.max(2 * stories.len());
        (self.stories, self.times) = (stories, times);
    }

    fn call(&mut self, at: u32) {
        let call = self.calls[at as usize];
        let place_of = |request| self.open.iter().position(|&open| open == request);
        let known = call.known.map(|request| (request, place_of(request)));
        if let Some((request, None)) = known {
            // Known better than by time: it has ended, or not come.
            self.choices[at as usize] = Choice { request, confidence: 1.0, order: [0.0; 2] };
            return;
        }
        let known = known.and_then(|(_, place)| place);
        let mut hypotheses = std::mem::take(&mut self.hypotheses);
        let unasked = self.around.unasked[call.kind];
        let mut best = f64::NEG_INFINITY;
        let mut next = std::mem::take(&mut self.next);
        next.clear();
        for (index, hypothesis) in hypotheses.iter().enumerate() {
            let mut consider = |place: u32, gain: f64, order: Order| {
                let worth = hypothesis.worth + gain;
                if worth >= best - self.effort.depth {
                    best = best.max(worth);
                    next.push((worth, index as u32, place, order));
                }
            };
            if let Some(place) = known {
                let story = &mut self.stories[hypothesis.stories[place] as usize];
                let next = weigh(story, &self.times, self.around.expectations, at, call);
                consider(place as u32, next.gain, Order::Alone);
                continue;
            }
            let (mut waits, mut wait_more) = (0_u64, 0_u64);
            for &story in &hypothesis.stories {
                let story = &mut self.stories[story as usize];
                if weigh(story, &self.times, self.around.expectations, at, call).waits {
                    wait_more |= waits & (1 << story.operation);
                    waits |= 1 << story.operation;
                }
            }
            let mut older = 0_u64;
            for (place, &story) in hypothesis.stories.iter().enumerate() {
                let Story { operation, next: Next { mut gain, waits, .. }, .. } =
                    self.stories[story as usize];
                let order = if older & (1 << operation) != 0 {
                    Order::Crossed
                } else if waits && wait_more & (1 << operation) != 0 {
                    Order::Kept
                } else {
                    Order::Alone
                };
                older |= u64::from(waits) << operation;
                gain += self.around.expectations[operation].order(call.kind, order);
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
        let mut kept = std::mem::take(&mut self.emptied);
        let mut expiry = call.start;
        for &(worth, index, place, order) in &next {
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
                *story = extend(&mut self.stories, &mut self.times, self.kinds, *story, call);
                new.choices.push((request, order));
            }
            kept.push(new);
        }
        self.spare.append(&mut hypotheses);
        self.emptied = hypotheses;
        self.next = next;
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
        let mut joined: Vec<Hypothesis> = std::mem::take(&mut self.emptied);
        for hypothesis in self.hypotheses.drain(..) {
            match joined.last_mut() {
                Some(last) if last.stories == hypothesis.stories && last.choices == hypothesis.choices => {
                    last.worth += (hypothesis.worth - last.worth).exp().ln_1p();
                    spare.push(hypothesis);
                }
                _ => joined.push(hypothesis),
            }
        }
        self.emptied = std::mem::replace(&mut self.hypotheses, joined);
    }
}

/// What `story` would be with one more call.
fn weigh(story: &mut Story, times: &[i64], expectations: &mut [Expectation], at: u32, call: Call) -> Next {
    if story.next.call != at {
        let expectation = &mut expectations[story.operation];
        let times = &times[story.times..story.times + behaviour::times(expectation.kinds())];
        let slot = behaviour::slot(call.kind, expectation.prospects.has(story.node, call.kind));
        let (node, share) = expectation.prospects.call(story.node, call.kind);
        let gain = share + expectation.call(slot, times, call.start);
        story.next = Next { call: at, node, gain, waits: share > EXPECTED, story: NONE };
    }
    story.next
}

/// `story` with the call that it was weighed with.
fn extend(stories: &mut Vec<Story>, times: &mut Vec<i64>, kinds: usize, story: u32, call: Call) -> u32 {
    let Story { times: old, operation, next, .. } = stories[story as usize];
    if next.story != NONE {
        return next.story;
    }
    let new = times.len();
    times.extend_from_within(old..old + behaviour::times(kinds));
    behaviour::note_call(&mut times[new..], call.kind, call.start, call.end);
    let made = stories.len() as u32;
    stories.push(Story { times: new, node: next.node, operation, next: Next::UNKNOWN });
    stories[story as usize].next.story = made;
    made
}

/// The likeliest choice of all hypotheses for the open call at `at`.
fn choose(hypotheses: &[Hypothesis], at: usize) -> Choice {
    let best = hypotheses.iter().map(|hypothesis| hypothesis.worth).fold(f64::NEG_INFINITY, f64::max);
    let mut shares: Vec<(u32, f64)> = Vec::with_capacity(4);
    let mut order = [0.0; 2];
    for hypothesis in hypotheses {
        let weight = (hypothesis.worth - best).exp();
        let (request, place) = hypothesis.choices[at];
        match place {
            Order::Alone => {}
            Order::Kept => order[0] += weight,
            Order::Crossed => order[1] += weight,
        }
        match shares.iter_mut().find(|(known, _)| *known == request) {
            Some((_, share)) => *share += weight,
            None => shares.push((request, weight)),
        }
    }
    let all: f64 = shares.iter().map(|(_, share)| share).sum();
    let best =
        shares.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)));
    let (request, share) = best.unwrap_or((NONE, 0.0));
    Choice { request, confidence: (share / all) as f32, order: order.map(|order| (order / all) as f32) }
}
