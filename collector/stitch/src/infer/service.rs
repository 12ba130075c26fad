//! One service as the one that calls others: what was learned of it, and its part of a window's exchanges.

use std::collections::BTreeMap;

use super::Name;
use super::assign::{self, Call, Choice, Effort, Events, NONE, Request, Surroundings};
use super::behaviour::{self, Behaviour, Expectation};
use super::siblings::{Groups, Telling};
use super::timing;

/// Kinds of calls that are told apart; rarer ones are one kind.
const MAX_KINDS: usize = 24;
/// Operations that are told apart; others are one.
const MAX_OPERATIONS: usize = 64;
/// As if so many of a hundred calls were made for no request, before any were seen.
const UNASKED: f64 = 0.2;

/// Requests from which on a service needs no further rounds.
const FAMILIAR: f64 = 500.0;
/// Requests that an operation remembers: older ones fade.
const MEMORY: f64 = 20_000.0;
/// The longest that a call is looked for behind its request's end, or before its beginning.
const LONGEST_NS: i64 = 1_000_000_000;
/// What is remembered of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    kinds: BTreeMap<(Name, Name), usize>,
    operations: BTreeMap<Name, usize>,
    /// What of a request's place among its siblings says which calls it makes, if anything does.
    telling: Option<Telling>,
    /// Operations as parts of operations: by what they are a part of, and the place.
    parts: BTreeMap<(Option<usize>, bool), usize>,
    behaviours: Vec<Behaviour>,
    /// What all times are multiples of, ns; 0 before any was seen.
    tick: i64,
    /// How many ticks after its end a request may still make calls, and how many before its beginning.
    linger: i64,
    early: i64,
}

/// Calls of the service and requests to it, in a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    pub(super) requests: Vec<Request>,
    /// Each request's trace, as far as it's known: a number that those of the same trace share.
    pub(super) traces: Vec<u32>,
    /// Indexes of the requests in the order of their ends.
    by_end: Vec<u32>,
    events: Events,
    pub(super) calls: Vec<Call>,
}

impl Service {
    pub(super) fn kind(&mut self, server: Name, operation: Name) -> usize {
        let next = self.kinds.len().min(MAX_KINDS - 1);
        *self.kinds.entry((server, operation)).or_insert(next)
    }

    pub(super) fn operation(&mut self, operation: Name) -> usize {
        let next = self.behaviours.len().min(MAX_OPERATIONS - 1);
        let at = *self.operations.entry(operation).or_insert(next);
        self.behave(at)
    }

    /// The part of an operation, or of all, that has the place that matters, or hasn't.
    fn part(&mut self, operation: Option<usize>, has_place: bool) -> usize {
        let next = self.behaviours.len().min(MAX_OPERATIONS - 1);
        let at = *self.parts.entry((operation, has_place)).or_insert(next);
        self.behave(at)
    }

    /// `at`, of which something can be learned now.
    fn behave(&mut self, at: usize) -> usize {
        if self.behaviours.len() <= at {
            self.behaviours.resize_with(at + 1, Behaviour::default);
        }
        at
    }

    fn kinds(&self) -> usize {
        self.kinds.values().max().map_or(0, |last| last + 1)
    }

    /// Requests that were learned from.
    pub(super) fn seen(&self) -> f64 {
        self.behaviours.iter().map(Behaviour::seen).sum()
    }

    /// Chooses a request for each call. `work` comes in nanoseconds, and is left in the clock's ticks.
    pub(super) fn solve(&mut self, work: &mut Work, rounds: usize, effort: Effort) -> Vec<Choice> {
        self.take_ticks(work);
        let kinds = self.kinds();
        self.widen(work);
        work.by_end = (0..work.requests.len() as u32).collect();
        work.by_end.sort_unstable_by_key(|&at| (work.requests[at as usize].end, at));
        work.events = Events::of(&work.requests, &work.calls, self.linger, self.early);
        let groups = Groups::of(work);
        if let Some(telling) = self.telling {
            self.tell_apart(work, &groups, telling);
        }
        let mut expectations = self.expectations(kinds);
        let mut choices = Vec::new();
        if self.seen() < FAMILIAR {
            if self.seen() == 0.0 {
                choices = oldest_without(work, kinds, self.early, self.linger);
                expectations = self.relearned(work, &choices, &expectations, kinds);
            }
            let mut left = rounds.saturating_sub(1);
            while left > 0 {
                left -= 1;
                choices = self.assign(work, &choices, &mut expectations, effort.to_learn());
                if self.finds_telling(work, &groups, &choices) {
                    expectations = self.expectations(kinds);
                    left += 1;
                }
                expectations = self.relearned(work, &choices, &expectations, kinds);
            }
        }
        choices = self.assign(work, &choices, &mut expectations, effort);
        self.finds_telling(work, &groups, &choices);
        choices
    }

    /// Whether it shows in these choices, for the first time, that a request's place among its siblings matters.
    fn finds_telling(&mut self, work: &mut Work, groups: &Groups, choices: &[Choice]) -> bool {
        if self.telling.is_some() {
            return false;
        }
        self.telling = groups.telling(work, choices, self.kinds());
        if let Some(telling) = self.telling {
            self.tell_apart(work, groups, telling);
        }
        self.telling.is_some()
    }

    /// Makes operations of their own of requests with and without a place among their siblings.
    fn tell_apart(&mut self, work: &mut Work, groups: &Groups, telling: Telling) {
        for (at, request) in work.requests.iter_mut().enumerate() {
            request.siblings = groups.siblings[at];
            if let Some(siblings) = request.siblings {
                let operation = Some(request.operation).filter(|_| !telling.is_all);
                request.operation = self.part(operation, siblings.has(telling.place));
            }
        }
    }

    /// Learns for good from the requests that are `over`, and whose calls were chosen.
    pub(super) fn learn(&mut self, work: &Work, choices: &[Choice], over: &[bool]) {
        let kinds = self.kinds();
        let expectations = self.expectations(kinds);
        let fresh = self.seen() == 0.0;
        let before = if fresh { self.relearned(work, choices, &expectations, kinds) } else { expectations };
        let learned = count(work, choices, &before, kinds, |request| over[request]);
        for (known, learned) in self.behaviours.iter_mut().zip(&learned) {
            known.merge(learned);
            let seen = known.seen();
            if seen > MEMORY {
                known.fade(MEMORY / seen);
            }
        }
    }

    fn expectations(&self, kinds: usize) -> Vec<Expectation> {
        self.behaviours.iter().map(|behaviour| behaviour.expectation(kinds)).collect()
    }

    /// What to expect after these choices.
    fn relearned(
        &self,
        work: &Work,
        choices: &[Choice],
        before: &[Expectation],
        kinds: usize,
    ) -> Vec<Expectation> {
        let mut learned = count(work, choices, before, kinds, |_| true);
        for (learned, known) in learned.iter_mut().zip(&self.behaviours) {
            learned.merge(known);
        }
        learned.iter().map(|behaviour| behaviour.expectation(kinds)).collect()
    }

    fn assign(
        &self,
        work: &Work,
        before: &[Choice],
        expectations: &mut [Expectation],
        effort: Effort,
    ) -> Vec<Choice> {
        let unasked = unasked(work, before, self.kinds());
        let around =
            Surroundings { expectations, unasked: &unasked, events: &work.events, linger: self.linger };
        assign::assign(&work.requests, &work.calls, around, effort)
    }

    /// Turns nanoseconds into the ticks of the clock that the times were read from.
    fn take_ticks(&mut self, work: &mut Work) {
        let requests = work.requests.iter().flat_map(|request| [request.start, request.end]);
        let calls = work.calls.iter().flat_map(|call| [call.start, call.end]);
        let tick = timing::tick_of(requests.chain(calls));
        if self.tick == 0 || tick < self.tick {
            // Gaps in coarser ticks say nothing of finer ones.
            self.behaviours.iter_mut().for_each(|behaviour| *behaviour = Behaviour::default());
            self.tick = tick;
        }
        for request in &mut work.requests {
            (request.start, request.end) =
                (request.start.div_euclid(self.tick), request.end.div_euclid(self.tick));
        }
        for call in &mut work.calls {
            (call.start, call.end) = (call.start.div_euclid(self.tick), call.end.div_euclid(self.tick));
        }
    }

    /// Where calls are made when no request is open, looks how long after one, or how long before: work that goes on behind
    /// the answer, and clocks that differ.
    fn widen(&mut self, work: &Work) {
        let longest = LONGEST_NS / self.tick;
        let (mut late, mut early) = (Vec::new(), Vec::new());
        let mut last_end = i64::MIN;
        let mut next = 0;
        for call in &work.calls {
            while let Some(request) = work.requests.get(next).filter(|request| request.start <= call.start) {
                last_end = last_end.max(request.end);
                next += 1;
            }
            if last_end >= call.start {
                continue;
            }
            let after = call.start.saturating_sub(last_end);
            let before = work.requests.get(next).map_or(i64::MAX, |request| request.start - call.start);
            if after <= before && after <= longest {
                late.push(after);
            } else if before < after && before <= longest {
                early.push(before);
            }
        }
        let enough = work.calls.len() / 100;
        let widest = |mut gaps: Vec<i64>| {
            gaps.sort_unstable();
            if gaps.len() > enough { gaps[gaps.len() * 98 / 100] * 5 / 4 + 1 } else { 0 }
        };
        self.linger = self.linger.max(widest(late));
        self.early = self.early.max(widest(early));
    }
}

/// Counts what is seen under `choices`, of the requests that are `wanted`.
fn count(
    work: &Work,
    choices: &[Choice],
    expectations: &[Expectation],
    kinds: usize,
    is_wanted: impl Fn(usize) -> bool,
) -> Vec<Behaviour> {
    let mut learned = vec![Behaviour::default(); expectations.len()];
    let mut by_request: Vec<(u32, u32)> = choices
        .iter()
        .enumerate()
        .filter(|(_, choice)| choice.request != NONE)
        .map(|(call, choice)| (choice.request, call as u32))
        .collect();
    by_request.sort_unstable();
    let mut rest = by_request.as_slice();
    let rivals = rivals(work, expectations);
    let mut times = vec![0; behaviour::times(kinds)];
    let mut counts = vec![0_u8; kinds];
    for (at, request) in work.requests.iter().enumerate() {
        let own = rest.iter().take_while(|(request, _)| *request == at as u32).count();
        let (calls, others) = rest.split_at(own);
        rest = others;
        if !is_wanted(at) {
            continue;
        }
        let weight =
            calls.iter().map(|(_, call)| f64::from(choices[*call as usize].confidence)).fold(1.0, f64::min);
        // Of many rivals, who made what was decided by what is now to be learned: sets and orders that were wrong would
        // confirm themselves.
        let alone = (1.0 + rivals[at]).powi(-2);
        let few = (2.0 / (1.0 + rivals[at])).min(1.0).powi(3);
        behaviour::begin(&mut times, request);
        counts.fill(0);
        let expected = Some(&expectations[request.operation]);
        for (_, call) in calls {
            let choice = choices[*call as usize];
            let call = work.calls[*call as usize];
            learned[request.operation].add_order(call.kind, choice.order, few);
            let slot = behaviour::slot(call.kind, counts[call.kind] > 0);
            learned[request.operation].add_call(expected, slot, &times, call.start, weight);
            behaviour::note_call(&mut times, call.kind, call.start, call.end);
            counts[call.kind] = counts[call.kind].saturating_add(1);
        }
        learned[request.operation].add_end(expected, &times, &counts, weight, alone);
    }
    learned
}

/// A first guess where nothing is known: the oldest open request that made the fewest calls of the kind. How far it is to be
/// trusted falls with how many requests were open.
fn oldest_without(work: &Work, kinds: usize, early: i64, linger: i64) -> Vec<Choice> {
    let mut open: Vec<u32> = Vec::new();
    let mut made = vec![0_u8; work.requests.len() * kinds];
    let mut next = 0;
    let mut choices = Vec::with_capacity(work.calls.len());
    for call in &work.calls {
        while next < work.requests.len() && work.requests[next].start - early <= call.start {
            open.push(next as u32);
            next += 1;
        }
        open.retain(|&request| work.requests[request as usize].end + linger >= call.start);
        let best = open.iter().copied().min_by_key(|&request| made[request as usize * kinds + call.kind]);
        let Some(request) = call.known.or(best) else {
            choices.push(Choice { request: NONE, confidence: 1.0, order: [0.0; 2] });
            continue;
        };
        let made = &mut made[request as usize * kinds + call.kind];
        *made = made.saturating_add(1);
        let confidence = 1.0 / (open.len().max(1) as f32).powi(2);
        choices.push(Choice { request, confidence, order: [0.0; 2] });
    }
    choices
}

/// ln of how often (per tick) each kind of call is made for no request.
fn unasked(work: &Work, choices: &[Choice], kinds: usize) -> Vec<f64> {
    let mut calls = vec![0.0; kinds];
    for call in &work.calls {
        calls[call.kind] += UNASKED / 100.0;
    }
    for (call, choice) in work.calls.iter().zip(choices) {
        if choice.request == NONE {
            calls[call.kind] += 1.0;
        }
    }
    let first = work.calls.first().map_or(0, |call| call.start);
    let last = work.calls.last().map_or(0, |call| call.start);
    let lasted = ((last - first) as f64).max(1.0);
    calls.iter().map(|calls| (calls.max(1e-3) / lasted).ln()).collect()
}

/// How many other requests were open at the same time as each, each as far as it makes calls at all.
fn rivals(work: &Work, expectations: &[Expectation]) -> Vec<f64> {
    let calls: Vec<f64> = expectations.iter().map(Expectation::calls_at_all).collect();
    let of = |at: u32| calls[work.requests[at as usize].operation];
    let mut rivals = vec![0.0; work.requests.len()];
    let (mut begun, mut next) = (0.0, 0);
    for &at in &work.by_end {
        while let Some(request) = work.requests.get(next)
            && request.start <= work.requests[at as usize].end
        {
            begun += of(next as u32);
            next += 1;
        }
        rivals[at as usize] = begun - of(at);
    }
    let mut ended = 0.0;
    let mut by_end = work.by_end.iter().peekable();
    for (request, rivals) in work.requests.iter().zip(&mut rivals) {
        while let Some(&at) = by_end.next_if(|at| work.requests[**at as usize].end < request.start) {
            ended += of(at);
        }
        *rivals = (*rivals - ended).max(0.0);
    }
    rivals
}
