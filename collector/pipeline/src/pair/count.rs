//! Each byte once: what a row adds to what is counted of its connection already, whoever told of it.
//!
//! Rows have totals since the opening. The highest that any observer told is what is counted; a row counts the rest, if there
//! is any. So the sum over all rows is the highest total, in whatever order rows come, and whichever of them never do.
//!
//! What was told of a connection is forgotten after one or two minutes without news. A row that comes then is one of two:
//! of a connection that was opened since, so that nothing was ever told of it; or of an older one, all of which was told
//! before the row's interval. Stored rows tell more, where a row is late or a start is near ([`Counting::recall`]).

use std::collections::HashSet;

use hashbrown::HashMap;
use weir_model::time::SECOND_NS;
use weir_store::Lacking;

use super::rows::{CLIENT, Flow, Flows, OPENED, PATH, SERVER, WRAPS};

/// After this time without news a connection may be forgotten; twice that, and it is. A row that ended longer ago is late.
const REMEMBERED_NS: i64 = 60 * SECOND_NS;
/// A row of both ends has the client's times; the server's own is this near.
const SAME_NS: u64 = 600_000_000;
/// What clocks of two nodes, and what they saw of one event, may be apart.
const APART_NS: i64 = 2 * SECOND_NS;

/// How much is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections with news in a minute. Beyond, the minute is cut short.
    pub(crate) connections: usize,
}

/// What was told of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Counted so far.
    counted: [i64; 4],
    /// What client, server and path told of events that each of them sees.
    seen: [[u32; 3]; 3],
    /// End of its latest row: a flow of the same addresses and ports that was opened later is another.
    end_time: i64,
    /// Whether it is counted as a connection.
    is_connection: bool,
    /// All before the row's interval was counted, we don't know how much.
    is_partial: bool,
}

/// A stored row.
#[derive(Clone, Copy, Debug)]
struct Stored {
    time: i64,
    end_time: i64,
    state: u8,
    is_opening: bool,
    counted: [i64; 4],
    /// All that was counted when it came, where it has that.
    total: Option<[i64; 4]>,
    observers: u8,
    seen: [u32; 3],
    /// Whether all stored rows of its connection were told of, and not those of some files.
    is_one_of_all: bool,
}

/// What a row counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) counted: [i64; 4],
    /// All that is counted of its connection now.
    pub(super) total: [i64; 4],
    pub(super) seen: [i64; 3],
    pub(super) connections: i64,
}

/// What was told of which connection.
#[derive(Debug)]
pub(crate) struct Counting {
    limits: Limits,
    young: HashMap<u64, Known>,
    old: HashMap<u64, Known>,
    /// Until the next turn, and no more than connections.
    recalled: HashMap<u64, Vec<Stored>>,
    recalled_rows: usize,
    /// When `young` was begun, and `old` before it.
    turned: [i64; 2],
    /// All that was told of connections that were opened after this is known.
    since: i64,
    /// Minutes that were cut short, and stored rows that found no room.
    hurried: u64,
}

impl Counting {
    pub(crate) fn new(limits: Limits) -> Counting {
        Counting {
            limits,
            young: HashMap::new(),
            old: HashMap::new(),
            recalled: HashMap::new(),
            recalled_rows: 0,
            turned: [i64::MIN; 2],
            since: i64::MIN,
            hurried: 0,
        }
    }

    /// How often connections were forgotten before their time, for want of room.
    pub(crate) fn hurried(&self) -> u64 {
        self.hurried
    }

    /// Stored rows of `since` and later are told of next.
    pub(crate) fn begin(&mut self, since: i64) {
        self.since = since;
    }

    /// Late rows whose connections are forgotten.
    pub(crate) fn lacks(&self, flows: &Flows<'_>, rows: usize, now: i64) -> Option<Lacking> {
        let late = now - REMEMBERED_NS;
        // Most rows are neither late nor of old connections, and this is asked of each.
        let may_lack = |row: &usize| {
            let (end_time, opened) = flows.times(*row);
            // One that was idle for long and goes on is no reason to read files.
            opened.is_none_or(|opened| opened < self.since)
                && (end_time < late || flows.state(*row) & OPENED != 0)
        };
        let is_unknown = |flow: &Flow| {
            ![&self.young, &self.old].into_iter().any(|known| known.contains_key(&flow.key))
                && !self.recalled.contains_key(&flow.key)
        };
        let mut lacking = Lacking { from: i64::MAX, upto: i64::MIN, keys: HashSet::new() };
        let flows = (0..rows).filter(may_lack).filter_map(|row| flows.get(row)).filter(is_unknown);
        for flow in flows {
            lacking.keys.insert(flow.key);
            lacking.from = lacking.from.min(flow.time.saturating_sub(REMEMBERED_NS));
            lacking.upto = lacking.upto.max(flow.end_time.saturating_add(REMEMBERED_NS));
        }
        (!lacking.keys.is_empty()).then_some(lacking)
    }

    /// Stored rows; those of `keys`, or all.
    pub(crate) fn recall(&mut self, flows: &Flows<'_>, rows: usize, lacking: Option<&Lacking>) {
        for flow in (0..rows).filter_map(|row| flows.get(row)) {
            if lacking.is_some_and(|lacking| !lacking.keys.contains(&flow.key)) {
                continue;
            }
            if self.recalled_rows >= self.limits.connections {
                self.hurried += 1;
                return;
            }
            self.recalled_rows += 1;
            let stored = Stored {
                time: flow.time,
                end_time: flow.end_time,
                state: flow.state,
                is_opening: flow.connections > 0 || flow.state & OPENED != 0,
                counted: flow.counted,
                total: flow.totals,
                observers: flow.observers,
                seen: flow.seen.map(|seen| seen as u32),
                is_one_of_all: lacking.is_none(),
            };
            self.recalled.entry(flow.key).or_default().push(stored);
        }
    }

    /// Whether a stored row of both ends has this one in it.
    pub(super) fn has_stored(&self, flow: &Flow) -> bool {
        let is_near = |one: i64, other: i64| one.abs_diff(other) <= SAME_NS;
        let has_it = |stored: &Stored| {
            stored.observers & flow.observers == flow.observers
                && stored.state & flow.state == flow.state
                && is_near(stored.time, flow.time)
                && is_near(stored.end_time, flow.end_time)
        };
        self.recalled.get(&flow.key).is_some_and(|stored| stored.iter().any(has_it))
    }

    /// What `flow` adds. `now` in ns; it only says when to forget.
    pub(super) fn count(&mut self, flow: &Flow, now: i64) -> Counts {
        self.forget(now);
        if let Some(known) = self.young.get_mut(&flow.key)
            && is_same_life(known.end_time, flow)
        {
            return add(known, flow);
        }
        let old = if self.old.is_empty() { None } else { self.old.remove(&flow.key) };
        let mut known =
            old.filter(|known| is_same_life(known.end_time, flow)).unwrap_or_else(|| self.meet(flow));
        let counts = add(&mut known, flow);
        self.young.insert(flow.key, known);
        counts
    }

    fn forget(&mut self, now: i64) {
        let is_full = self.young.len() >= self.limits.connections;
        let [turned, before] = self.turned;
        if turned == i64::MIN {
            self.turned = [now; 2];
            return;
        }
        if !is_full && now - turned < REMEMBERED_NS {
            return;
        }
        self.hurried += u64::from(is_full && now - turned < REMEMBERED_NS);
        if !self.old.is_empty() {
            // What has had no news since `before` was opened before it, as clocks go.
            self.since = self.since.max(before.saturating_add(APART_NS));
        }
        self.old = std::mem::take(&mut self.young);
        self.turned = [now, turned];
        (self.recalled, self.recalled_rows) = (HashMap::new(), 0);
    }

    /// The first row of a connection, or of one that was forgotten.
    fn meet(&self, flow: &Flow) -> Known {
        let mut known = Known { end_time: flow.end_time, ..Known::default() };
        let is_young = flow.opened.is_some_and(|opened| opened >= self.since);
        let stored = match self.recalled.get(&flow.key) {
            Some(stored) => stored.as_slice(),
            None if is_young || flow.state & OPENED != 0 => return known,
            None => &[],
        };
        let of_this: Vec<&Stored> =
            stored.iter().filter(|stored| is_same_life(stored.end_time, flow)).collect();
        let sum = |rows: &mut dyn Iterator<Item = &&Stored>| {
            rows.fold([0; 4], |sum: [i64; 4], row| std::array::from_fn(|at| sum[at] + row.counted[at]))
        };
        for stored in &of_this {
            for (_, seen) in observers(stored.observers, &mut known.seen) {
                for (sum, seen) in seen.iter_mut().zip(stored.seen) {
                    *sum += seen;
                }
            }
        }
        let totals = of_this.iter().filter_map(|stored| stored.total);
        if let Some(total) = totals.reduce(|one, other| std::array::from_fn(|at| one[at].max(other[at]))) {
            known.counted = total;
            known.is_connection = true;
            known.is_partial = of_this.iter().any(|stored| !stored.is_one_of_all);
            return known;
        }
        if of_this.iter().any(|stored| stored.is_opening) {
            known.counted = sum(&mut of_this.iter());
            known.is_connection = true;
            return known;
        }
        if of_this.is_empty() && (is_young || flow.state & OPENED != 0) {
            return known;
        }
        // Older than what we know: whatever was before its interval was counted then.
        let since = sum(&mut of_this.iter().filter(|stored| stored.end_time > flow.time));
        let before = before(flow);
        known.counted = std::array::from_fn(|at| before[at] + since[at]);
        (known.is_connection, known.is_partial) = (true, true);
        known
    }
}

/// Whether a row is of the connection that was told of up to `end_time`.
fn is_same_life(end_time: i64, flow: &Flow) -> bool {
    !flow.is_by_addresses || flow.opened.is_none_or(|opened| opened <= end_time.saturating_add(APART_NS))
}

/// Its observer's totals before the row.
fn before(flow: &Flow) -> [i64; 4] {
    let totals = flow.totals.unwrap_or(flow.counted);
    std::array::from_fn(|at| (totals[at] - flow.counted[at]).max(0))
}

fn observers(bits: u8, seen: &mut [[u32; 3]; 3]) -> impl Iterator<Item = (u8, &mut [u32; 3])> {
    [CLIENT, SERVER, PATH].into_iter().zip(seen).filter(move |(bit, _)| bits & bit != 0)
}

fn highest(seen: &[[u32; 3]; 3]) -> [u32; 3] {
    std::array::from_fn(|at| seen.iter().map(|seen| seen[at]).max().unwrap_or_default())
}

fn add(known: &mut Known, flow: &Flow) -> Counts {
    let mut counts = Counts::default();
    let is_first = flow.state & OPENED != 0;
    let totals = flow.totals.or_else(|| is_first.then_some(flow.counted));
    for at in 0..4 {
        let counted = &mut known.counted[at];
        let Some(total) = totals.map(|totals| totals[at]) else {
            // Nobody says of how much this is a part.
            counts.counted[at] = flow.counted[at];
            *counted += flow.counted[at];
            continue;
        };
        let total = if WRAPS[at] { unwrapped(total, *counted) } else { total };
        if known.is_partial {
            *counted = (*counted).max(total - flow.counted[at]);
        }
        counts.counted[at] = (total - *counted).max(0);
        *counted = (*counted).max(total);
    }
    counts.total = known.counted;
    let before = highest(&known.seen);
    for (_, seen) in observers(flow.observers, &mut known.seen) {
        for (sum, seen) in seen.iter_mut().zip(flow.seen) {
            *sum = sum.saturating_add(seen as u32);
        }
    }
    let after = highest(&known.seen);
    counts.seen = std::array::from_fn(|at| i64::from(after[at] - before[at]));
    let is_told = flow.opened.is_some() || is_first;
    counts.connections = i64::from(is_told && !known.is_connection);
    known.is_connection |= is_told;
    known.end_time = known.end_time.max(flow.end_time);
    counts
}

/// A total of which 32 bits came, as near to `counted` as can be.
fn unwrapped(total: i64, counted: i64) -> i64 {
    const TURN: i64 = 1 << 32;
    if total >= TURN || counted < TURN / 2 {
        return total;
    }
    let turns = (counted - total + TURN / 2).div_euclid(TURN);
    total + turns.max(0) * TURN
}

#[cfg(test)]
mod tests;
