//! Rows in memory that tell of one connection and interval become one, within half a second after the last of them came.
//!
//! Only rows in memory are looked at, the newest: what is sealed stays as it is, and who comes later is a row of its own,
//! which counts only what is new in it. Never here: what rows count ([`super::count`]).

use std::collections::{BTreeMap, HashSet};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use hashbrown::HashMap;
use weir_model::time::SECOND_NS;
use weir_store::Change;

use super::choose::{self, Group};
use super::clocks::Clocks;
use super::rows::{CLIENT, Flow, Flows, PATH, SERVER};

/// Two nodes' clocks, and what each took for a connection's beginning or end, are nearer than this.
const APART_NS: u64 = SECOND_NS as u64;
/// A row that is in no batch any more.
const GONE: u32 = u32::MAX;

/// Where a row is that waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a batch of memory; the row as the batch first had it.
    Row(u64, u32),
    /// In a group of this pass.
    Group(usize),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: At,
    observers: u8,
    state: u8,
    time: i64,
    end_time: i64,
}

/// Rows that wait, by connection; most have one or none.
#[derive(Debug, Default)]
struct Rows {
    /// The latest of each connection, in `all`.
    latest: HashMap<u64, u32>,
    /// Each with the one before it of the same connection. Those that are taken stay, out of reach.
    all: Vec<(Waiting, Option<u32>)>,
}

impl Rows {
    fn add(&mut self, key: u64, waiting: Waiting) {
        let place = self.all.len() as u32;
        let before = self.latest.insert(key, place);
        self.all.push((waiting, before));
    }

    fn of(&self, key: u64) -> impl Iterator<Item = u32> {
        std::iter::successors(self.latest.get(&key).copied(), |place| self.all[*place as usize].1)
    }

    fn take_nearest(&mut self, key: u64, waiting: &Waiting) -> Option<Waiting> {
        let distance = |place: &u32| {
            let other = &self.all[*place as usize].0;
            other.time.abs_diff(waiting.time).saturating_add(other.end_time.abs_diff(waiting.end_time))
        };
        let possible = self.of(key).filter(|place| is_one(waiting, &self.all[*place as usize].0));
        let place = possible.min_by_key(distance)?;
        self.take(key, place);
        Some(self.all[place as usize].0)
    }

    fn take(&mut self, key: u64, place: u32) {
        let before = self.all[place as usize].1;
        let after = self.of(key).find(|after| self.all[*after as usize].1 == Some(place));
        match (after, before) {
            (Some(after), before) => self.all[after as usize].1 = before,
            (None, Some(before)) => drop(self.latest.insert(key, before)),
            (None, None) => drop(self.latest.remove(&key)),
        }
    }

    fn retain(&mut self, key: u64, stays: impl Fn(&Waiting) -> bool) {
        let gone: Vec<u32> = self.of(key).filter(|place| !stays(&self.all[*place as usize].0)).collect();
        for place in gone {
            self.take(key, place);
        }
    }

    /// Those that stay, without the room of others.
    fn only(&self, stays: impl Fn(&Waiting) -> bool) -> Rows {
        let mut rows = Rows::default();
        for key in self.latest.keys() {
            let mut of_key: Vec<u32> = self.of(*key).collect();
            of_key.reverse();
            for place in of_key {
                let waiting = self.all[place as usize].0;
                if stays(&waiting) {
                    rows.add(*key, waiting);
                }
            }
        }
        rows
    }
}

/// Rows of memory, by connection.
#[derive(Debug)]
pub(super) struct Merging {
    /// Rows that wait, in each map; the oldest are left alone then.
    most: usize,
    young: Rows,
    old: Rows,
    /// Nodes' clocks, as handshakes at both ends show them.
    pub(super) clocks: Clocks,
    /// Batches that were looked at: where each row is now, of those that lost some.
    batches: HashMap<u64, Option<Vec<u32>>>,
}

impl Merging {
    pub(super) fn new(most: usize) -> Merging {
        Merging {
            most,
            young: Rows::default(),
            old: Rows::default(),
            clocks: Clocks::default(),
            batches: HashMap::new(),
        }
    }

    /// `now` in ns.
    pub(super) fn merge(&mut self, memory: &[(u64, RecordBatch)], now: i64) -> Vec<Change> {
        self.forget_sealed(memory);
        let batches: HashMap<u64, &RecordBatch> =
            memory.iter().map(|(number, batch)| (*number, batch)).collect();
        let mut pass = Pass::default();
        for (number, batch) in memory {
            if self.batches.contains_key(number) {
                continue;
            }
            self.batches.insert(*number, None);
            let Some(flows) = Flows::of(batch) else { continue };
            for row in 0..batch.num_rows() {
                if let Some(flow) = flows.get(row) {
                    self.take(&flow, At::Row(*number, row as u32), &mut pass);
                }
            }
        }
        if pass.groups.is_empty() {
            return Vec::new();
        }
        // They get a number of their own, and are looked at again: a third may come.
        for key in &pass.keys {
            self.young.retain(*key, |waiting| matches!(waiting.at, At::Row(..)));
        }
        self.changes(&batches, pass, now)
    }

    /// Rows of batches that are not in memory any more wait for nobody.
    fn forget_sealed(&mut self, memory: &[(u64, RecordBatch)]) {
        let in_memory: HashSet<u64> = memory.iter().map(|(number, _)| *number).collect();
        if self.batches.keys().any(|number| !in_memory.contains(number)) {
            self.batches.retain(|number, _| in_memory.contains(number));
            let is_here =
                |waiting: &Waiting| matches!(waiting.at, At::Row(number, _) if in_memory.contains(&number));
            self.young = self.young.only(is_here);
            self.old = self.old.only(is_here);
        }
        if self.young.all.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// One more row: with all that it belongs to, or to wait for them.
    fn take(&mut self, flow: &Flow, at: At, pass: &mut Pass) {
        let mut waiting = Waiting {
            at,
            observers: flow.observers,
            state: flow.state,
            time: flow.time,
            end_time: flow.end_time,
        };
        while let Some(other) = self.partner(flow.key, &waiting) {
            waiting = pass.join(waiting, other);
            pass.keys.push(flow.key);
        }
        self.young.add(flow.key, waiting);
    }

    /// Takes the row that is nearest in time among those that it can be one with.
    fn partner(&mut self, key: u64, waiting: &Waiting) -> Option<Waiting> {
        self.young.take_nearest(key, waiting).or_else(|| self.old.take_nearest(key, waiting))
    }

    fn changes(&mut self, batches: &HashMap<u64, &RecordBatch>, pass: Pass, now: i64) -> Vec<Change> {
        let mut gone: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut sources: Vec<&RecordBatch> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut groups = Vec::new();
        for parts in pass.groups.into_iter().filter(|parts| parts.len() > 1) {
            let mut group = Group::default();
            for Waiting { at, observers, state, .. } in parts {
                let At::Row(number, row) = at else { continue };
                let current = match &self.batches[&number] {
                    Some(rows) => rows[row as usize],
                    None => row,
                };
                let source = *places.entry(number).or_insert_with(|| {
                    sources.push(batches[&number]);
                    sources.len() - 1
                });
                group.add((source, current as usize), observers, state);
                gone.entry(number).or_default().push(row);
            }
            groups.push(group);
        }
        for (client, server, handshake) in choose::handshakes(&sources, &groups) {
            self.clocks.learn(&client, &server, handshake, now);
        }
        let of = gone.keys().copied().collect();
        let mut changes = vec![Change::Added { batch: choose::merged(&sources, &groups), of }];
        for (number, rows) in gone {
            changes.push(Change::Replaced { number, by: self.without(number, batches[&number], &rows) });
        }
        changes
    }

    /// The batch without some of its rows, which are named as it first had them.
    fn without(&mut self, number: u64, batch: &RecordBatch, gone: &[u32]) -> RecordBatch {
        let known = self.batches.get_mut(&number).expect("a batch that rows are taken from is known");
        let places = known.get_or_insert_with(|| (0..batch.num_rows() as u32).collect());
        let mut stays = vec![true; batch.num_rows()];
        for row in gone {
            let place = std::mem::replace(&mut places[*row as usize], GONE);
            stays[place as usize] = false;
        }
        let mut next = 0;
        for place in places.iter_mut().filter(|place| **place != GONE) {
            *place = next;
            next += 1;
        }
        if next == 0 {
            self.batches.remove(&number);
        }
        filter_record_batch(batch, &BooleanArray::from(stays)).expect("one mark a row")
    }
}

/// What is found to be one, in one pass.
#[derive(Default)]
struct Pass {
    groups: Vec<Vec<Waiting>>,
    keys: Vec<u64>,
}

impl Pass {
    fn join(&mut self, one: Waiting, other: Waiting) -> Waiting {
        // A row of both ends has the client's view of time, as the row that they become.
        let (first, second) = if one.observers & CLIENT != 0 { (one, other) } else { (other, one) };
        let mut parts = Vec::with_capacity(2);
        for waiting in [one, other] {
            match waiting.at {
                At::Row(..) => parts.push(waiting),
                At::Group(group) => parts.append(&mut self.groups[group]),
            }
        }
        self.groups.push(parts);
        Waiting {
            at: At::Group(self.groups.len() - 1),
            observers: first.observers | second.observers,
            state: first.state | second.state,
            ..first
        }
    }
}

/// Whether two rows of a connection tell of one interval, and none tells what the other does.
fn is_one(one: &Waiting, other: &Waiting) -> bool {
    let both = one.observers & other.observers;
    // Of the path there may be many witnesses, but without an end they are what each node saw.
    let is_twice = both & (CLIENT | SERVER) != 0 || (one.observers == PATH && other.observers == PATH);
    if is_twice {
        return false;
    }
    let overlap = one.end_time.min(other.end_time).saturating_sub(one.time.max(other.time));
    let shorter = (one.end_time.saturating_sub(one.time)).min(other.end_time.saturating_sub(other.time));
    let is_near = |one: i64, other: i64| one.abs_diff(other) <= APART_NS;
    is_near(one.time, other.time) || is_near(one.end_time, other.end_time) || overlap > shorter / 2
}

const _: () = assert!(CLIENT | SERVER | PATH == 7, "each observer is a bit");
