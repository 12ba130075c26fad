//! How an operation goes about its work: which calls it makes, and how long after what.
//!
//! A call follows something: the request, another call's beginning (in parallel), its answer (in series), the last of several
//! answers (a join). Which one is not told, so each is an *anchor* with a weight and a distribution of gaps: the anchor that a
//! call really follows has a sharp one and draws the weight to itself as learning goes round. The request's end follows the
//! calls in the same way, with gaps below zero where a call outlives its request.

use std::collections::BTreeMap;

use super::assign::{Order, Request};
use super::pattern::{NO_CALLS, Patterns, Prospects};
use super::timing::{Density, Gaps, unknown};

/// A time that hasn't come.
pub(super) const NEVER: i64 = i64::MIN;

/// As if so many calls had kept the order, and as many crossed it, before any were seen.
const ORDER_UNKNOWN: f64 = 5.0;

/// Anchors, as indexes into a request's times.
const REQUEST: usize = 0;
const LAST_ANSWER: usize = 1;
const ANSWERED: usize = 2;
const ALL_CAME: usize = 3;
const OTHERS_ENDED: usize = 4;
const CALLS: usize = 5;

/// How many times a request with so many kinds of calls keeps.
pub(super) fn times(kinds: usize) -> usize {
    CALLS + 2 * kinds
}

/// Notes the beginning of a request that has made no calls.
pub(super) fn begin(times: &mut [i64], request: &Request) {
    times.fill(NEVER);
    times[REQUEST] = request.start;
    times[ANSWERED] = request.end;
    if let Some(siblings) = request.siblings {
        times[ALL_CAME] = siblings.all_came;
        times[OTHERS_ENDED] = siblings.others_ended;
    }
}

/// Notes a call.
pub(super) fn note_call(times: &mut [i64], kind: usize, start: i64, end: i64) {
    times[CALLS + 2 * kind] = start;
    times[CALLS + 2 * kind + 1] = end;
    times[LAST_ANSWER] = times[LAST_ANSWER].max(end);
}

/// Where a call's gaps are kept: the first of its kind follows something else than those after it.
pub(super) fn slot(kind: usize, is_repeated: bool) -> usize {
    2 * kind + usize::from(is_repeated)
}

/// What was learned of one operation, as counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    pub(super) patterns: Patterns,
    /// Requests that were learned from.
    seen: f64,
    /// By slot and anchor.
    calls: BTreeMap<(usize, usize), Gaps>,
    /// By whether it made calls, and anchor.
    end: BTreeMap<(bool, usize), Gaps>,
    /// By kind: calls that the oldest of several waiting requests made, and that a younger one did.
    order: BTreeMap<usize, [f64; 2]>,
}

impl Behaviour {
    pub(super) fn seen(&self) -> f64 {
        self.seen
    }

    pub(super) fn fade(&mut self, share: f64) {
        self.seen *= share;
        self.patterns.fade(share);
        self.calls.values_mut().for_each(|gaps| gaps.fade(share));
        self.end.values_mut().for_each(|gaps| gaps.fade(share));
        self.order.values_mut().flatten().for_each(|seen| *seen *= share);
    }

    pub(super) fn merge(&mut self, other: &Behaviour) {
        self.seen += other.seen;
        self.patterns.merge(&other.patterns);
        for (at, gaps) in &other.calls {
            self.calls.entry(*at).or_default().merge(gaps);
        }
        for (at, gaps) in &other.end {
            self.end.entry(*at).or_default().merge(gaps);
        }
        for (kind, more) in &other.order {
            let seen = self.order.entry(*kind).or_default();
            seen.iter_mut().zip(more).for_each(|(seen, more)| *seen += more);
        }
    }

    /// Adds a call at `start`, as far as `expected` (from the round before) can say what it followed.
    pub(super) fn add_call(
        &mut self,
        expected: Option<&Expectation>,
        slot: usize,
        times: &[i64],
        start: i64,
        weight: f64,
    ) {
        let shares = shares(expected.and_then(|expected| expected.calls.get(slot)), times, start, |anchor| {
            is_before(anchor, times, start)
        });
        for (anchor, share) in shares {
            self.calls.entry((slot, anchor)).or_default().add(start - times[anchor], weight * share);
        }
    }

    /// Adds whether a call kept to the order of the requests.
    pub(super) fn add_order(&mut self, kind: usize, order: [f32; 2], weight: f64) {
        let seen = self.order.entry(kind).or_default();
        seen.iter_mut().zip(order).for_each(|(seen, more)| *seen += weight * f64::from(more));
    }

    /// Adds how a request ended that made all its calls; what they are counts `alone`, for other requests may have made them.
    pub(super) fn add_end(
        &mut self,
        expected: Option<&Expectation>,
        times: &[i64],
        calls: &[u8],
        weight: f64,
        alone: f64,
    ) {
        self.seen += 1.0;
        self.patterns.add(calls, weight * alone);
        let end = times[ANSWERED];
        let called = times[LAST_ANSWER] != NEVER;
        let shares =
            shares(expected.map(|expected| &expected.end[usize::from(called)]), times, end, |_| true);
        for (anchor, share) in shares.into_iter().filter(|(anchor, _)| *anchor != ANSWERED) {
            self.end.entry((called, anchor)).or_default().add(end - times[anchor], weight * share);
        }
    }

    pub(super) fn expectation(&self, kinds: usize) -> Expectation {
        let mut calls = vec![Vec::new(); 2 * kinds];
        for ((slot, anchor), gaps) in &self.calls {
            calls[*slot].push((*anchor, gaps));
        }
        Expectation {
            order: (0..kinds).map(|kind| order_of(self.order.get(&kind))).collect(),
            prospects: self.patterns.prospects(kinds),
            calls: calls.into_iter().map(Mixture::new).collect(),
            end: [false, true].map(|called| {
                let of = self.end.iter().filter(|((of, _), _)| *of == called);
                Mixture::new(of.map(|((_, anchor), gaps)| (*anchor, gaps)).collect())
            }),
        }
    }
}

/// Whether a call at `start` may follow `anchor`. Of the request itself the clock may say that it came later; and calls that wait
/// until all siblings have come are none of a request whose siblings come later.
fn is_before(anchor: usize, times: &[i64], start: i64) -> bool {
    matches!(anchor, REQUEST | ALL_CAME | OTHERS_ENDED) || times[anchor] <= start
}

/// How likely it is that something at `at` followed each of `times`.
fn shares(
    mixture: Option<&Mixture>,
    times: &[i64],
    at: i64,
    is_candidate: impl Fn(usize) -> bool,
) -> Vec<(usize, f64)> {
    let candidates = (0..times.len()).filter(|&anchor| times[anchor] != NEVER && is_candidate(anchor));
    let known = mixture.filter(|mixture| mixture.seen > 0.0);
    let mut shares: Vec<(usize, f64)> = match known {
        Some(mixture) => mixture
            .anchors
            .iter()
            .filter(|anchor| times[anchor.at] != NEVER && is_candidate(anchor.at))
            .map(|anchor| (anchor.at, anchor.weight * (anchor.density.at(at - times[anchor.at]) + 1e-14)))
            .collect(),
        None => candidates.clone().map(|anchor| (anchor, 1.0)).collect(),
    };
    if shares.is_empty() {
        shares = candidates.map(|anchor| (anchor, 1.0)).collect();
    }
    let all: f64 = shares.iter().map(|(_, share)| share).sum();
    for (_, share) in &mut shares {
        *share /= all;
    }
    shares.retain(|(_, share)| *share > 0.001);
    shares
}

/// What is expected of one operation: [`Behaviour`] in the form that is quick to ask.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub(super) prospects: Prospects,
    calls: Vec<Mixture>,
    end: [Mixture; 2],
    order: Vec<[f64; 2]>,
}

/// ln of how much likelier than by chance a call is to keep to the order, and to cross it.
fn order_of(seen: Option<&[f64; 2]>) -> [f64; 2] {
    let [kept, crossed] = seen.copied().unwrap_or_default();
    let all = kept + crossed + 2.0 * ORDER_UNKNOWN;
    [(2.0 * (kept + ORDER_UNKNOWN) / all).ln(), (2.0 * (crossed + ORDER_UNKNOWN) / all).ln()]
}

impl Expectation {
    /// ln of how much likelier that order makes a call of `kind`.
    pub(super) fn order(&self, kind: usize, order: Order) -> f64 {
        match order {
            Order::Alone => 0.0,
            Order::Kept => self.order[kind][0],
            Order::Crossed => self.order[kind][1],
        }
    }

    /// How likely a request is to make any call.
    pub(super) fn calls_at_all(&self) -> f64 {
        1.0 - self.prospects.end(NO_CALLS).exp()
    }

    pub(super) fn kinds(&self) -> usize {
        self.calls.len() / 2
    }

    /// ln of the density of a call at `start`.
    pub(super) fn call(&self, slot: usize, times: &[i64], start: i64) -> f64 {
        let since = start - times[REQUEST];
        self.calls[slot].density(times, start, since, |anchor| is_before(anchor, times, start)).ln()
    }

    /// ln of the density of the request's end after all its calls.
    pub(super) fn end(&self, times: &[i64]) -> f64 {
        let end = times[ANSWERED];
        let called = times[LAST_ANSWER] != NEVER;
        let since = end - if called { times[LAST_ANSWER] } else { times[REQUEST] };
        self.end[usize::from(called)].density(times, end, since, |_| true).ln()
    }
}

#[derive(Clone, Debug)]
struct Mixture {
    anchors: Vec<Anchor>,
    seen: f64,
}

#[derive(Clone, Debug)]
struct Anchor {
    at: usize,
    weight: f64,
    density: Density,
}

impl Mixture {
    fn new(gaps: Vec<(usize, &Gaps)>) -> Mixture {
        let seen: f64 = gaps.iter().map(|(_, gaps)| gaps.total()).sum();
        let anchors = gaps
            .into_iter()
            .filter(|(_, gaps)| gaps.total() > 0.01 * seen)
            .map(|(at, gaps)| Anchor { at, weight: gaps.total() / seen, density: gaps.density() })
            .collect();
        Mixture { anchors, seen }
    }

    /// The density at `at`, of which all that is known else is that it's `since` later than it could be.
    fn density(&self, times: &[i64], at: i64, since: i64, is_candidate: impl Fn(usize) -> bool) -> f64 {
        let (mut density, mut weight) = (0.0, 0.0);
        for anchor in &self.anchors {
            let time = times[anchor.at];
            if time != NEVER && is_candidate(anchor.at) {
                density += anchor.weight * anchor.density.at(at - time);
                weight += anchor.weight;
            }
        }
        let doubt = if weight > 0.0 { (0.005 + 1.0 / (self.seen + 2.0)).min(1.0) } else { 1.0 };
        let known = if weight > 0.0 { density / weight } else { 0.0 };
        (1.0 - doubt) * known + doubt * unknown(since)
    }
}
