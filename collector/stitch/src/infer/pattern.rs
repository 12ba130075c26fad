//! Which calls a request makes: how often each set of calls was seen, and what a set that is not complete yet may become.
//!
//! A request that made the calls `m` so far has the worth of all sets that hold `m`; each further call multiplies that by
//! what it leaves over, and its end by how much of it is `m` alone. So a second call of a kind that is only ever made once
//! costs at once, and a call that never came costs when the request ends.

use std::collections::BTreeMap;

/// Different sets that are remembered for one operation; rarer ones count by kind only.
const MAX_SETS: usize = 128;

/// Calls by kind.
type Set = Vec<u8>;

/// The sets that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    sets: BTreeMap<Set, f64>,
    total: f64,
    /// Sum of the squares of weights, for how many requests they are worth.
    squares: f64,
}

impl Patterns {
    pub(super) fn add(&mut self, calls: &[u8], weight: f64) {
        self.add_all(calls, weight);
        self.squares += weight * weight;
    }

    fn add_all(&mut self, calls: &[u8], weight: f64) {
        let last = calls.iter().rposition(|&calls| calls > 0).map_or(0, |last| last + 1);
        let calls = &calls[..last];
        if let Some(seen) = self.sets.get_mut(calls) {
            *seen += weight;
        } else if self.sets.len() < 4 * MAX_SETS {
            self.sets.insert(calls.to_vec(), weight);
        }
        self.total += weight;
    }

    /// As how many requests of equal weight those are that were seen (Kish's effective sample size).
    fn seen(&self) -> f64 {
        if self.squares > 0.0 { self.total * self.total / self.squares } else { 0.0 }
    }

    pub(super) fn fade(&mut self, share: f64) {
        self.sets.values_mut().for_each(|seen| *seen *= share);
        self.total *= share;
        self.squares *= share;
        if self.sets.len() > MAX_SETS {
            let mut seen: Vec<f64> = self.sets.values().copied().collect();
            seen.sort_by(|one, other| other.total_cmp(one));
            let least = seen[MAX_SETS - 1];
            self.sets.retain(|_, seen| *seen >= least);
        }
    }

    pub(super) fn merge(&mut self, other: &Patterns) {
        for (calls, weight) in &other.sets {
            self.add_all(calls, *weight);
        }
        self.squares += other.squares;
    }

    pub(super) fn prospects(&self, kinds: usize) -> Prospects {
        Prospects::new(self, kinds)
    }
}

/// What is still possible for a request, by the calls it has made: a graph whose edges are calls, made as it is walked.
#[derive(Clone, Debug)]
pub(super) struct Prospects {
    sets: Vec<(Set, f64)>,
    /// Of calls by kind, each independent of the others: what is left for sets that nobody has seen.
    per_kind: Vec<f64>,
    /// How much of the worth is left for those.
    novelty: f64,
    kinds: usize,
    nodes: Vec<Node>,
    known: BTreeMap<Set, u32>,
}

#[derive(Clone, Debug)]
struct Node {
    calls: Set,
    /// ln of the share of all sets that hold these calls.
    within: f64,
    /// ln of the share of the set that is just these.
    exactly: f64,
    next: Vec<u32>,
}

/// Not walked yet.
const UNKNOWN: u32 = u32::MAX;
/// Where a request begins.
pub(super) const NO_CALLS: u32 = 0;

impl Prospects {
    fn new(patterns: &Patterns, kinds: usize) -> Prospects {
        let total = patterns.total.max(f64::MIN_POSITIVE);
        let mut calls = vec![0.0; kinds];
        let mut sets: Vec<(Set, f64)> = Vec::new();
        for (set, seen) in &patterns.sets {
            let mut set = set.clone();
            set.resize(kinds, 0);
            for (kind, &times) in set.iter().enumerate() {
                calls[kind] += seen / total * f64::from(times);
            }
            sets.push((set, seen / total));
        }
        sets.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        sets.truncate(MAX_SETS);
        let seen = patterns.seen();
        let mut prospects = Prospects {
            sets,
            per_kind: calls.iter().map(|mean| (mean + 0.02) / (mean + 1.02)).collect(),
            novelty: if seen > 0.0 { (0.01 + 1.0 / (seen + 2.0)).min(1.0) } else { 1.0 },
            kinds,
            nodes: Vec::new(),
            known: BTreeMap::new(),
        };
        prospects.node(vec![0; kinds]);
        prospects
    }

    /// The node after one more call of `kind`, and ln of what it leaves over.
    pub(super) fn call(&mut self, node: u32, kind: usize) -> (u32, f64) {
        let mut next = self.nodes[node as usize].next[kind];
        if next == UNKNOWN {
            let mut calls = self.nodes[node as usize].calls.clone();
            calls[kind] = calls[kind].saturating_add(1);
            next = self.node(calls);
            self.nodes[node as usize].next[kind] = next;
        }
        (next, self.nodes[next as usize].within - self.nodes[node as usize].within)
    }

    /// ln of the share that these calls are all there will be.
    pub(super) fn end(&self, node: u32) -> f64 {
        let node = &self.nodes[node as usize];
        node.exactly - node.within
    }

    /// Whether a call of `kind` was made before.
    pub(super) fn has(&self, node: u32, kind: usize) -> bool {
        self.nodes[node as usize].calls[kind] > 0
    }

    fn node(&mut self, calls: Set) -> u32 {
        if let Some(&node) = self.known.get(&calls) {
            return node;
        }
        let (mut within, mut exactly) = (0.0, 0.0);
        for (set, share) in &self.sets {
            if set.iter().zip(&calls).all(|(all, some)| all >= some) {
                within += share;
                if *set == calls {
                    exactly += share;
                }
            }
        }
        let mut any = 1.0;
        let mut just = 1.0;
        for (&more, &times) in self.per_kind.iter().zip(&calls) {
            any *= more.powi(i32::from(times));
            just *= 1.0 - more;
        }
        within = (1.0 - self.novelty) * within + self.novelty * any;
        exactly = (1.0 - self.novelty) * exactly + self.novelty * any * just;
        let node = self.nodes.len() as u32;
        self.nodes.push(Node {
            calls: calls.clone(),
            within: within.max(1e-300).ln(),
            exactly: exactly.max(1e-300).ln(),
            next: vec![UNKNOWN; self.kinds],
        });
        self.known.insert(calls, node);
        node
    }
}
