//! Requests of the same trace to the same service, by what is known of the services above: siblings.
//!
//! Where a service waits until it has been asked for all parts of a whole, one of the siblings goes on with the work, and the
//! others are just answered. Which calls a request makes then depends on its place among them. Whether it does is learned.
//!
//! Never here: which calls are made for which request.

use std::collections::BTreeMap;

use super::assign::{Choice, NONE};
use super::behaviour::NEVER;
use super::service::Work;

/// What a place must tell of the calls of each request, in nats, to be heeded.
const WORTH: f64 = 0.05;

/// The places that a request may have among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    LastToEnd,
    LastToCome,
    FirstToCome,
}

const PLACES: [Place; 3] = [Place::LastToEnd, Place::LastToCome, Place::FirstToCome];

/// What of requests with siblings says which calls they make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    pub(super) place: Place,
    /// Whether the operation says nothing beside the place.
    pub(super) is_all: bool,
}

/// One request among its siblings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Siblings {
    /// When the last of all had come.
    pub(super) all_came: i64,
    /// When the last of the others was answered.
    pub(super) others_ended: i64,
    /// By [`Place`].
    places: [bool; PLACES.len()],
}

impl Siblings {
    pub(super) fn has(&self, place: Place) -> bool {
        self.places[place as usize]
    }
}

/// All requests of a service in a window, among their siblings.
#[derive(Debug)]
pub(super) struct Groups {
    /// By request; `None` for one that is alone in its trace.
    pub(super) siblings: Vec<Option<Siblings>>,
}

impl Groups {
    pub(super) fn of(work: &Work) -> Groups {
        let mut by_trace: Vec<(u32, u32)> =
            work.traces.iter().enumerate().map(|(at, &trace)| (trace, at as u32)).collect();
        by_trace.sort_unstable();
        let mut siblings = vec![None; work.requests.len()];
        for group in by_trace.chunk_by(|(one, _), (other, _)| one == other).filter(|group| group.len() > 1) {
            // Requests are in the order of their beginnings; of those that end together the later one ends last.
            let all = || group.iter().map(|&(_, at)| (work.requests[at as usize].end, at));
            let (ended, last_to_end) = all().max().unwrap_or((NEVER, NONE));
            let others = all().filter(|&(_, at)| at != last_to_end).map(|(end, _)| end).max();
            let (first, last) = (group[0].1, group[group.len() - 1].1);
            for &(_, at) in group {
                siblings[at as usize] = Some(Siblings {
                    all_came: work.requests[last as usize].start,
                    others_ended: if at == last_to_end { others.unwrap_or(NEVER) } else { ended },
                    places: [at == last_to_end, at == last, at == first],
                });
            }
        }
        Groups { siblings }
    }

    /// What tells most of which calls a request makes, if anything tells enough.
    pub(super) fn telling(&self, work: &Work, choices: &[Choice], kinds: usize) -> Option<Telling> {
        let mut calls = vec![0_u8; work.requests.len() * kinds];
        for (call, choice) in work.calls.iter().zip(choices).filter(|(_, choice)| choice.request != NONE) {
            let calls = &mut calls[choice.request as usize * kinds + call.kind];
            *calls = calls.saturating_add(1);
        }
        let seen: Vec<Seen<'_>> = (self.siblings.iter().enumerate())
            .filter_map(|(at, siblings)| {
                let calls = &calls[at * kinds..(at + 1) * kinds];
                siblings.map(|siblings| Seen { operation: work.requests[at].operation, siblings, calls })
            })
            .collect();
        let worth = |place| told(&seen, |seen| (seen.operation, usize::from(seen.siblings.has(place))));
        let (place, worth) = PLACES
            .into_iter()
            .map(|place| (place, worth(place)))
            .max_by(|one, other| one.1.total_cmp(&other.1))?;
        let is_all = told(&seen, |seen| (usize::from(seen.siblings.has(place)), seen.operation)) <= 0.0;
        (worth > WORTH * seen.len() as f64).then_some(Telling { place, is_all })
    }
}

/// A request with siblings, and its calls.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    operation: usize,
    siblings: Siblings,
    calls: &'a [u8],
}

/// How much it tells of the calls, in nats in all, to split what is known by a second trait where a first is known: less what
/// chance makes it tell (as BIC has it).
fn told(seen: &[Seen<'_>], traits: impl Fn(&Seen<'_>) -> (usize, usize)) -> f64 {
    // ln of the likelihood of the calls by such a key, and the numbers that it is made of.
    let likelihood = |split: &dyn Fn(&Seen<'_>) -> (usize, usize)| {
        let (mut with_calls, mut without) = (BTreeMap::new(), BTreeMap::new());
        for seen in seen {
            let key = split(seen);
            *with_calls.entry((key, seen.calls)).or_insert(0.0) += 1.0;
            *without.entry(key).or_insert(0.0) += 1.0;
        }
        let entropy = |count: &f64| count * count.ln();
        let all = with_calls.values().map(entropy).sum::<f64>() - without.values().map(entropy).sum::<f64>();
        (all, (with_calls.len() - without.len()) as f64)
    };
    let (split, numbers) = likelihood(&|seen| traits(seen));
    let (whole, fewer) = likelihood(&|seen| (traits(seen).0, 0));
    split - whole - 0.5 * (numbers - fewer) * (seen.len() as f64).max(1.0).ln()
}

#[cfg(test)]
mod tests {
    use super::super::assign::{Call, Request};
    use super::*;

    /// By trace, operation, start and end.
    fn work(requests: &[(u32, usize, i64, i64)]) -> Work {
        let mut work = Work::default();
        for &(trace, operation, start, end) in requests {
            work.traces.push(trace);
            work.requests.push(Request { start, end, operation, siblings: None });
        }
        work
    }

    #[test]
    fn a_request_knows_its_place_among_those_of_its_trace() {
        let groups = Groups::of(&work(&[(1, 0, 10, 50), (2, 0, 11, 12), (1, 0, 15, 20), (1, 0, 18, 90)]));
        assert!(groups.siblings[1].is_none(), "it is alone");
        let of = |at: usize| groups.siblings[at].unwrap();
        for (at, others_ended, places) in
            [(0, 90, [false, false, true]), (2, 90, [false, false, false]), (3, 50, [true, true, false])]
        {
            assert_eq!((of(at).all_came, of(at).others_ended), (18, others_ended), "request {at}");
            assert_eq!(PLACES.map(|place| of(at).has(place)), places, "request {at}");
        }
    }

    /// Two operations in each of 100 traces; the request that is said to calls.
    fn telling(calls: impl Fn(u32) -> u32) -> Option<Telling> {
        let mut requests = Vec::new();
        for trace in 0..100 {
            let start = i64::from(trace) * 100;
            requests.extend([
                (trace, 0, start, start + 20),
                (trace, 1, start + 5, start + 10 + i64::from(trace % 2) * 50),
            ]);
        }
        let mut work = work(&requests);
        let call = Call { start: 0, end: 0, kind: 0, known: None, hinted: None };
        work.calls = vec![call; 100];
        let choices: Vec<Choice> = (0..100)
            .map(|trace| Choice { request: 2 * trace + calls(trace), confidence: 1.0, order: [0.0; 2] })
            .collect();
        Groups::of(&work).telling(&work, &choices, 1)
    }

    #[test]
    fn a_place_is_heeded_only_where_it_says_more_than_the_operation() {
        assert_eq!(telling(|_| 0).map(|telling| telling.place), None, "always the same operation");
        assert_eq!(telling(|trace| trace / 2 % 2).map(|telling| telling.place), None, "any of them");
        let last = telling(|trace| trace % 2).unwrap();
        assert_eq!((last.place, last.is_all), (Place::LastToEnd, true));
    }
}
