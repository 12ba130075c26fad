//! How far nodes' clocks are apart, from TCP handshakes that were seen at both ends.
//!
//! The client's SYN leaves before it comes to the server, and the server's answer leaves before the client has it. So by the
//! client's clock the SYN came between the two, and the middle is wrong by half the handshake at most (as in NTP, RFC 5905
//! §8). Of many handshakes the quickest is believed, for a while, so that the estimate follows a clock that drifts or is set.
//! Never here: a clock of our own, what is done with the answer.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use weir_model::SmolStr;
use weir_model::time::SECOND_NS;

/// How long a handshake is the best one: clocks drift by up to a tenth of a millisecond in a second.
const WINDOW_NS: i64 = 10 * SECOND_NS;
/// Pairs of nodes that are followed; about 150 bytes each.
const MOST_PAIRS: usize = 50_000;

/// A TCP handshake at both of its ends, times by each end's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// When the client sent its SYN, ns.
    pub(super) sent: i64,
    /// How long it then took to the answer, ns.
    pub(super) took: i64,
    /// When the SYN came to the server, ns.
    pub(super) came: i64,
}

/// What one handshake says.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Server's clock less client's, ns.
    offset: i64,
    /// It is wrong by this much at most, ns.
    error: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    began: i64,
    /// The best of this window, and of the one before.
    best: [Option<Sample>; 2],
}

impl Pair {
    fn add(&mut self, sample: Sample, now: i64) {
        if now.saturating_sub(self.began) >= WINDOW_NS {
            *self = Pair { began: now, best: [None, self.best[0].or(self.best[1])] };
        }
        let best = self.best[0].get_or_insert(sample);
        if sample.error <= best.error {
            *best = sample;
        }
    }

    /// The quicker of both windows, unless the newer one contradicts the older: then the clock was set.
    fn estimate(&self) -> Option<Sample> {
        let [Some(new), Some(old)] = self.best else { return self.best[0].or(self.best[1]) };
        let is_contradicted = new.offset.abs_diff(old.offset) > (new.error + old.error) as u64;
        Some(if is_contradicted || new.error <= old.error { new } else { old })
    }
}

/// Nodes' clocks, two by two.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// By the names of both, the lesser first.
    pairs: HashMap<(SmolStr, SmolStr), Pair>,
}

impl Clocks {
    /// Learns from a handshake between two nodes; `now` in ns.
    pub(super) fn learn(&mut self, client: &SmolStr, server: &SmolStr, handshake: Handshake, now: i64) {
        if client == server || handshake.took < 0 {
            return;
        }
        let middle = handshake.sent.saturating_add(handshake.took / 2);
        let sample = Sample { offset: handshake.came.saturating_sub(middle), error: handshake.took / 2 + 1 };
        let is_ordered = client < server;
        let sample = if is_ordered { sample } else { Sample { offset: -sample.offset, ..sample } };
        let key =
            if is_ordered { (client.clone(), server.clone()) } else { (server.clone(), client.clone()) };
        if self.pairs.len() >= MOST_PAIRS && !self.pairs.contains_key(&key) {
            return;
        }
        self.pairs.entry(key).or_insert(Pair { began: now, ..Pair::default() }).add(sample, now);
    }

    /// What to add to each node's times so that all are by one clock: that of the node in the middle. Nodes that may agree as
    /// well, and those that nobody talked with, are left out.
    pub(super) fn corrections(&self) -> BTreeMap<SmolStr, i64> {
        let mut corrections = BTreeMap::new();
        let mut edges: BTreeMap<&SmolStr, Vec<(&SmolStr, Sample)>> = BTreeMap::new();
        for ((low, high), pair) in &self.pairs {
            let Some(sample) = pair.estimate() else { continue };
            edges.entry(low).or_default().push((high, sample));
            edges.entry(high).or_default().push((low, Sample { offset: -sample.offset, ..sample }));
        }
        let mut left: BTreeSet<&SmolStr> = edges.keys().copied().collect();
        while let Some(first) = left.pop_first() {
            let ahead = ahead_of(first, &edges);
            left.retain(|node| !ahead.contains_key(node));
            let mut middle: Vec<i64> = ahead.values().map(|sample| sample.offset).collect();
            middle.sort_unstable();
            let middle = middle[(middle.len() - 1) / 2];
            for (node, sample) in ahead {
                let by = middle - sample.offset;
                if by.abs() > sample.error {
                    corrections.insert(node.clone(), by);
                }
            }
        }
        corrections
    }
}

/// How far each node that can be compared with `first` is ahead of it, by the handshakes that are least wrong in sum.
fn ahead_of<'a>(
    first: &'a SmolStr,
    edges: &BTreeMap<&'a SmolStr, Vec<(&'a SmolStr, Sample)>>,
) -> BTreeMap<&'a SmolStr, Sample> {
    let mut known = BTreeMap::new();
    let mut next: BTreeSet<(i64, &SmolStr, i64)> = BTreeSet::from([(0, first, 0)]);
    while let Some((error, node, offset)) = next.pop_first() {
        if known.contains_key(node) {
            continue;
        }
        known.insert(node, Sample { offset, error });
        for (other, sample) in edges.get(node).into_iter().flatten() {
            next.insert((error + sample.error, other, offset + sample.offset));
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    fn name(node: usize) -> SmolStr {
        format!("node-{node}").into()
    }

    /// What `correction` leaves between two nodes whose clocks are `offsets` off.
    fn left(clocks: &Clocks, offsets: &[i64], one: usize, other: usize) -> i64 {
        let corrections = clocks.corrections();
        let true_by = |node: usize| offsets[node] + corrections.get(&name(node)).copied().unwrap_or_default();
        (true_by(one) - true_by(other)).abs()
    }

    proptest! {
        /// Clocks 500 ms apart, ways that are slow in one direction, held up at random: what is left is less than the
        /// quickest handshakes took.
        #[test]
        fn corrected_times_agree_as_well_as_handshakes_are_quick(
            offsets in prop::collection::vec(-500 * MS..500 * MS, 2..6),
            seen in prop::collection::vec((0_usize..6, 0_usize..6, 10_000_i64..400_000, 10_000_i64..400_000), 1..40),
        ) {
            let mut clocks = Clocks::default();
            let mut slowest = 0;
            let mut now = 1_000 * SECOND_NS;
            for node in 1..offsets.len() {
                // A chain, so that all can be compared.
                for (client, server, there, back) in
                    seen.iter().map(|(_, _, there, back)| (node, node - 1, *there, *back)).chain(
                        seen.iter().map(|(client, server, there, back)| (client % offsets.len(), server % offsets.len(), *there, *back)),
                    )
                {
                    now += MS;
                    let handshake = Handshake {
                        sent: now + offsets[client],
                        took: there + back,
                        came: now + there + offsets[server],
                    };
                    clocks.learn(&name(client), &name(server), handshake, now);
                    slowest = slowest.max(there + back);
                }
            }
            for one in 0..offsets.len() {
                for other in 0..offsets.len() {
                    let most = 2 * (slowest + 2) * offsets.len() as i64;
                    prop_assert!(left(&clocks, &offsets, one, other) <= most);
                }
            }
        }
    }

    /// A clock that runs a tenth of a millisecond a second too fast, and then is set.
    #[test]
    fn drift_and_a_clock_that_is_set_are_followed() {
        let mut clocks = Clocks::default();
        let mut offset = 300 * MS;
        let mut worst = 0;
        for second in 0..600 {
            let now = (1_000 + second) * SECOND_NS;
            offset += if second == 400 { -450 * MS } else { MS / 10 };
            let way = if second % 7 == 0 { 50_000 } else { 900_000 };
            let handshake = Handshake { sent: now, took: 2 * way, came: now + way + offset };
            clocks.learn(&name(0), &name(1), handshake, now);
            if !(400..400 + 2 * WINDOW_NS / SECOND_NS).contains(&second) {
                worst = worst.max(left(&clocks, &[0, offset], 0, 1));
            }
        }
        assert!(worst < 3 * MS, "{worst} ns");
    }

    #[test]
    fn clocks_that_may_agree_are_left_alone_and_the_odd_one_is_corrected() {
        let mut clocks = Clocks::default();
        let now = 1_000 * SECOND_NS;
        let mut meet = |client: usize, server: usize, offset: i64| {
            let handshake = Handshake { sent: now, took: 200_000, came: now + 130_000 + offset };
            clocks.learn(&name(client), &name(server), handshake, now);
        };
        meet(0, 1, 0);
        meet(1, 2, -80 * MS);
        meet(0, 2, -80 * MS);
        let corrections = clocks.corrections();
        assert_eq!(corrections.keys().collect::<Vec<_>>(), [&name(2)]);
        assert!((corrections[&name(2)] - 80 * MS).abs() < 200_000, "{corrections:?}");
    }
}
