//! A service that passes on what it gets, byte by byte: a proxy that doesn't read what it carries (TCP proxies, connection
//! poolers). What it asks has the length of what it was asked, and so have the answers; that says more than any time.

use std::collections::HashMap;

use super::Span;

/// Calls from which on a service is judged.
const ENOUGH: usize = 10;
/// Of its calls, so many have the lengths of a request that is open, where it passes on what it gets.
const NEARLY_ALL: f64 = 0.9;
/// Requests of the same lengths that are looked through for one that is open.
const MOST: usize = 64;

/// Lengths of a request and of its answer, bytes.
pub(super) type Lengths = [i64; 2];

/// For each call the one open request that has its lengths; none where there are several, and none of a service that doesn't
/// pass on what it gets. Requests are in the order of their beginnings.
pub(super) fn passed_on(
    requests: &[(Span, Option<Lengths>)],
    calls: &[(Span, Option<Lengths>)],
) -> Vec<Option<u32>> {
    let mut alike: HashMap<Lengths, Vec<u32>> = HashMap::new();
    for (at, (_, lengths)) in requests.iter().enumerate() {
        if let Some(lengths) = lengths {
            alike.entry(*lengths).or_default().push(at as u32);
        }
    }
    let (mut judged, mut found) = (0_usize, 0_usize);
    let passed: Vec<Option<u32>> = calls
        .iter()
        .map(|(call, lengths)| {
            let lengths = lengths.as_ref()?;
            judged += 1;
            let same = alike.get(lengths)?;
            let begun = same.partition_point(|&at| requests[at as usize].0.start <= call.start);
            let last = same[..begun].iter().rev().take(MOST);
            let mut open = last.filter(|&&at| requests[at as usize].0.end >= call.start);
            let first = open.next().copied()?;
            found += 1;
            open.next().is_none().then_some(first)
        })
        .collect();
    let passes_on = judged >= ENOUGH && found as f64 >= judged as f64 * NEARLY_ALL;
    if passes_on { passed } else { vec![None; calls.len()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Timed = Vec<(Span, Option<Lengths>)>;

    fn of_lengths(times: Timed, lengths: Option<Lengths>) -> Timed {
        times.into_iter().map(|(span, _)| (span, lengths)).collect()
    }

    fn times(count: i64) -> Timed {
        // Each is open while the next one begins.
        (0..count).map(|at| (Span { start: 10 * at, end: 10 * at + 15 }, Some([100 + at % 2, 200]))).collect()
    }

    fn calls(count: i64) -> Timed {
        let later = |(Span { start, end }, lengths)| (Span { start: start + 12, end }, lengths);
        times(count).into_iter().map(later).collect()
    }

    #[test]
    fn the_open_request_of_the_same_lengths_is_found() {
        let found = passed_on(&times(20), &calls(20));
        assert_eq!(found, (0..20).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn one_of_several_of_the_same_lengths_is_not_told() {
        let same = Some([1, 2]);
        let found = passed_on(&of_lengths(times(20), same), &of_lengths(calls(20), same));
        assert!(found[..19].iter().all(Option::is_none), "{found:?}");
        assert_eq!(found[19], Some(19), "nothing began after it");
    }

    #[test]
    fn who_now_and_then_asks_what_it_was_asked_passes_nothing_on() {
        let mut asked = calls(20);
        asked.iter_mut().step_by(4).for_each(|(_, lengths)| *lengths = Some([7, 7]));
        assert_eq!(passed_on(&times(20), &asked), vec![None; 20]);
        assert_eq!(passed_on(&times(9), &calls(9)), vec![None; 9], "too few to say");
        assert_eq!(passed_on(&times(20), &of_lengths(asked, None)), vec![None; 20]);
    }
}
