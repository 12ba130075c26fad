//! Turns that were made for each other → one trace: each turn's two ends, and below the server's the turns that it made
//! for that.
//!
//! | file               | subject                                                              |
//! |--------------------|----------------------------------------------------------------------|
//! | `traces/contexts.rs` | applications' own spans: which turn they are about                    |
//! | `traces/linker.rs` | which turn was made for which, where the kernel didn't see it: inferred |
//! | `traces/memory.rs` | what is remembered for a while                                         |
//!
//! Rows of one trace come from several nodes and in any order, a cause's after those of what it caused. So a turn is kept
//! until both of its ends had time to be told, and the first turn above it is known; then its spans are made, with that
//! one's trace. What comes later still finds its trace for as long as it is remembered. An answer to "how long" needs the
//! time: it is an argument.
//!
//! **Invariant**: each end of a turn has one span, whatever comes twice; no more turns are kept than
//! [`Limits::turns`], and those that had to go early are counted.

mod contexts;
mod linker;
mod memory;

use std::collections::{BTreeMap, HashMap, VecDeque};

use weir_model::{ExchangeRow, SmolStr, SpanRow, ToSmolStr, format_smolstr};

use crate::ends::{self, Side};
use crate::exchange::{self, Key, Parent, Turn};
use crate::is_shared_id;
use contexts::{Context, Contexts};
use linker::Linker;
pub(crate) use memory::Memory;

/// How long turns are waited for, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a turn's other end, ns: both tell of it when it is over, each in its next batch.
    pub other_end_ns: i64,
    /// For applications' own spans, where there are any, ns: they gather them for five seconds.
    pub context_ns: i64,
    /// For the turn that one was made for, ns: it is told of when it is over itself.
    pub cause_ns: i64,
    /// For what comes late, ns: how long a turn's trace is remembered.
    pub memory_ns: i64,
    /// Turns that wait at once, and four times as many whose trace is remembered. A waiting one takes about 2 KB.
    pub turns: usize,
    /// A cause that is less sure than that is none: the trace is split there.
    pub min_confidence: f64,
}

impl Default for Limits {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Limits {
            other_end_ns: 3 * SECOND,
            context_ns: 7 * SECOND,
            cause_ns: 30 * SECOND,
            memory_ns: 60 * SECOND,
            turns: 100_000,
            min_confidence: 0.5,
        }
    }
}

/// What became of turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kept now, until their trace is known.
    pub waiting: u64,
    /// Went before their time, for want of room: their traces may be split.
    pub hurried: u64,
    /// Were made for a turn that nobody told of in time: a trace begins there.
    pub orphaned: u64,
}

/// Turns whose spans are still to be made, and traces of those whose were.
#[derive(Debug)]
pub struct Traces {
    limits: Limits,
    turns: HashMap<Key, Held>,
    /// In the order in which they came.
    waiting: VecDeque<Key>,
    /// In the order in which they got their trace.
    told: VecDeque<(i64, Key)>,
    /// Turns that others were made for.
    causes: Memory<Key, ()>,
    /// TLS handshakes by connection, for its first turn.
    handshakes: Memory<SmolStr, SpanRow>,
    contexts: Contexts,
    linker: Linker,
    clocks: BTreeMap<SmolStr, i64>,
    ready: Vec<SpanRow>,
    counts: Counts,
}

/// One turn.
#[derive(Debug)]
struct Held {
    came_ns: i64,
    /// What the client's and the server's ends saw, until there are spans of it.
    rows: [Option<Box<ExchangeRow>>; 2],
    has: [bool; 2],
    context: Option<Context>,
    cause: Option<Cause>,
    link: Link,
    trace: Option<SmolStr>,
    /// The services that it came through, once it has a trace.
    path: Option<SmolStr>,
}

/// How far it is known what a turn was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Both ends aren't here yet.
    NotLookedFor,
    /// The inference has it.
    Inferring,
    /// As well as it will ever be.
    Known,
}

#[derive(Clone, Debug)]
struct Cause {
    key: Key,
    method: SmolStr,
    confidence: f64,
}

/// Bytes of a path of services; a longer one ends with "…".
const LONGEST_PATH: usize = 500;

/// Causes above each other that are followed: more are a circle, or nobody's idea of a trace.
const MOST_ABOVE: usize = 100;

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// What is known of the trace that a turn is in.
enum Known {
    Trace(SmolStr),
    NotYet,
    /// It was made for itself, by way of others.
    Circle,
}

impl Traces {
    /// None yet.
    pub fn new(limits: Limits) -> Traces {
        Traces {
            limits,
            turns: HashMap::new(),
            waiting: VecDeque::new(),
            told: VecDeque::new(),
            causes: Memory::default(),
            handshakes: Memory::default(),
            contexts: Contexts::default(),
            linker: Linker::new(limits.min_confidence, limits.turns),
            clocks: BTreeMap::new(),
            ready: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// What to add to nodes' times, ns, so that all are by one clock; of nodes that are not here nothing. Spans that are made
    /// from now on go by it, but not while applications send their own: those have times by their nodes' clocks.
    pub fn follow_clocks(&mut self, corrections: BTreeMap<SmolStr, i64>) {
        self.clocks = corrections;
    }

    /// Takes what one end saw of a turn, at `now_ns`. A row that doesn't say which turn, which end and when is none; of
    /// several about the same the first counts.
    pub fn add(&mut self, row: ExchangeRow, now_ns: i64) {
        let (Some(key), Some(side)) = (Key::of(&row), side_of(&row)) else { return };
        if !is_time(row.time) || !is_time(row.end_time.unwrap_or(row.time)) {
            return;
        }
        let held = self.turns.entry(key.clone()).or_insert_with(|| Held {
            came_ns: now_ns,
            rows: [None, None],
            has: [false, false],
            context: None,
            cause: None,
            link: Link::NotLookedFor,
            trace: None,
            path: None,
        });
        if held.has[side as usize] {
            return;
        }
        self.linker.note(&row, side == Side::Server);
        let is_new = !held.has[0] && !held.has[1];
        held.has[side as usize] = true;
        if side == Side::Client {
            held.cause = cause_of(&row);
            if let Some(cause) = &held.cause {
                self.causes.insert(cause.key.clone(), (), now_ns);
            }
        }
        held.rows[side as usize] = Some(Box::new(row));
        if held.trace.is_some() {
            held.leave_unsure(self.limits.min_confidence);
            let spans = spans_of(&key, held, &mut self.handshakes);
            let clocks = self.clocks_to_follow();
            let spans: Vec<SpanRow> = spans.into_iter().map(|span| by_one_clock(span, clocks)).collect();
            self.ready.extend(spans);
        } else if is_new {
            self.waiting.push_back(key);
        }
    }

    /// Takes the span of a TLS handshake, for the request that it was made for.
    pub fn add_handshake(&mut self, span: &SpanRow, now_ns: i64) {
        let Some(connection_id) = &span.connection_id else { return };
        self.handshakes.insert(connection_id.clone(), span.clone(), now_ns);
    }

    /// Takes an application's own span: a turn that it is about is in its trace.
    pub fn add_context(&mut self, span: &SpanRow, now_ns: i64) {
        self.contexts.add(span, now_ns);
    }

    /// The spans of all turns whose trace is known at `now_ns`.
    pub fn settle(&mut self, now_ns: i64) -> Vec<SpanRow> {
        let excess = self.waiting.len().saturating_sub(self.limits.turns);
        self.settle_with(now_ns, excess)
    }

    /// The spans of all turns that are left, with what is known by now.
    pub fn finish(&mut self, now_ns: i64) -> Vec<SpanRow> {
        self.settle_with(now_ns, usize::MAX)
    }

    /// What became of the turns so far.
    pub fn counts(&self) -> Counts {
        Counts { waiting: self.waiting.len() as u64, ..self.counts }
    }

    /// `hurried`: of those that wait, the first so many go in any case.
    fn settle_with(&mut self, now_ns: i64, hurried: usize) -> Vec<SpanRow> {
        self.link(now_ns, hurried == usize::MAX);
        let mut spans = std::mem::take(&mut self.ready);
        for (place, key) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let is_hurried = place < hurried;
            let trace = match self.trace_of(&key, now_ns) {
                Known::Trace(trace) => trace,
                Known::NotYet if is_hurried => {
                    self.counts.hurried += u64::from(hurried != usize::MAX);
                    self.trace_of(&key, i64::MAX).or_own(&key)
                }
                Known::NotYet => {
                    self.waiting.push_back(key);
                    continue;
                }
                Known::Circle => {
                    if let Some(held) = self.turns.get_mut(&key) {
                        held.cause = None;
                    }
                    key.trace_id()
                }
            };
            self.tell(key, trace, now_ns, &mut spans);
        }
        self.forget(now_ns);
        spans
    }

    /// Looks for what turns were made for, of those that are as whole as they will be.
    fn link(&mut self, now_ns: i64, is_last: bool) {
        for key in &self.waiting {
            let Some(held) = self.turns.get_mut(key) else { continue };
            let waited_ns = now_ns.saturating_sub(held.came_ns);
            if !is_last && !held.is_whole(key) && waited_ns < self.limits.other_end_ns {
                continue;
            }
            let [client, server] = [0, 1].map(|side| held.rows[side].as_deref());
            if held.context.is_none() && !held.is_burst() {
                held.context = self.contexts.of(client, server);
            } else if let Some(context) = &mut held.context {
                self.contexts.complete(context);
            }
            if held.link != Link::NotLookedFor {
                continue;
            }
            self.linker.add(key, client, server);
            let is_open = client.is_some_and(|row| self.linker.is_open(row));
            // One of two at least, where a thread had only this one open, but others of the process may have been at it.
            if let Some(guess) = held.cause.as_mut().filter(|_| is_open) {
                guess.confidence = guess.confidence.min(0.5);
            }
            held.link = if is_open { Link::Inferring } else { Link::Known };
        }
        for (key, cause) in self.linker.settle(now_ns, is_last) {
            let Some(held) = self.turns.get_mut(&key).filter(|held| held.link == Link::Inferring) else {
                continue;
            };
            held.link = Link::Known;
            // Where timing finds none, what the kernel guessed stands.
            let Some(cause) = cause else { continue };
            let is_as_guessed = held.cause.as_ref().is_some_and(|guess| guess.key == cause.key);
            let method = held.cause.take().filter(|_| is_as_guessed).map(|guess| guess.method);
            held.cause = Some(Cause { method: method.unwrap_or(cause.method), ..cause });
        }
    }

    /// The trace that a turn is in: that of the first one above it.
    fn trace_of(&self, key: &Key, now_ns: i64) -> Known {
        let mut at = key;
        let mut waits_since = now_ns;
        for _ in 0..MOST_ABOVE {
            let Some(held) = self.turns.get(at) else {
                let is_late = now_ns.saturating_sub(waits_since) >= self.limits.cause_ns;
                return if is_late { Known::Trace(at.trace_id()) } else { Known::NotYet };
            };
            if let Some(trace) = &held.trace {
                return Known::Trace(trace.clone());
            }
            waits_since = held.came_ns;
            let waited_ns = now_ns.saturating_sub(waits_since);
            // What it was made for is known at its client's end only; and its own spans know both ends.
            let is_whole = held.is_whole(at) || held.has[Side::Client as usize] && at != key;
            if !is_whole && waited_ns < self.limits.other_end_ns {
                return Known::NotYet;
            }
            if let Some(context) = held.context.as_ref().filter(|context| context.parent.is_some()) {
                // The client's own span, of the same request, may be on its way.
                let is_partial = at == key && held.has[Side::Client as usize] && context.client.is_none();
                if is_partial && waited_ns < self.limits.context_ns {
                    return Known::NotYet;
                }
                return Known::Trace(context.trace_id.clone());
            }
            let is_context_near = !self.contexts.is_empty() && !held.is_burst() && held.context.is_none();
            if is_context_near && waited_ns < self.limits.context_ns || self.is_inferring(held, waited_ns) {
                return Known::NotYet;
            }
            let Some(cause) = held.cause(self.limits.min_confidence) else {
                let begun = held.context.as_ref().map(|context| context.trace_id.clone());
                return Known::Trace(begun.unwrap_or_else(|| at.trace_id()));
            };
            at = &cause.key;
        }
        Known::Circle
    }

    /// Whether it may yet be found what it was made for. A process that only asks shows that by never being asked.
    fn is_inferring(&self, held: &Held, waited_ns: i64) -> bool {
        if held.link == Link::Known || waited_ns >= self.limits.cause_ns {
            return false;
        }
        let Some(row) = held.rows[Side::Client as usize].as_deref() else { return false };
        self.linker.is_open(row) && (waited_ns < self.limits.other_end_ns || self.linker.is_worth_a_look(row))
    }

    fn tell(&mut self, key: Key, trace: SmolStr, now_ns: i64, spans: &mut Vec<SpanRow>) {
        let Some(held) = self.turns.get_mut(&key) else { return };
        held.leave_unsure(self.limits.min_confidence);
        let cause = held.cause.as_ref().map(|cause| cause.key.clone());
        let is_orphaned = cause.is_some_and(|cause| !self.turns.contains_key(&cause));
        self.counts.orphaned += u64::from(is_orphaned);
        let Some(held) = self.turns.get_mut(&key) else { return };
        held.trace = Some(trace);
        let path = self.path_of(&key, MOST_ABOVE);
        let Some(held) = self.turns.get_mut(&key) else { return };
        held.path = path;
        // Many requests that share a turn are none of them: it is worth a span where it leads somewhere.
        if held.is_burst() && held.cause.is_none() && !self.causes.contains(&key) {
            held.rows = [None, None];
        }
        let made = spans_of(&key, held, &mut self.handshakes);
        spans.extend(made.into_iter().map(|span| by_one_clock(span, self.clocks_to_follow())));
        self.told.push_back((now_ns, key));
    }

    /// The services that a turn came through: from who asked first down to who asked in it.
    fn path_of(&self, key: &Key, most_above: usize) -> Option<SmolStr> {
        let held = self.turns.get(key)?;
        if held.path.is_some() {
            return held.path.clone();
        }
        let [client, server] = [0, 1].map(|side| held.rows[side].as_deref());
        let own = ends::of_turn(client, server).0.service()?.clone();
        let is_told = held.told_parent().is_some();
        let cause = held.cause(self.limits.min_confidence).filter(|_| !is_told && most_above > 0);
        let above = cause.and_then(|cause| self.path_of(&cause.key, most_above - 1));
        Some(match above {
            Some(above) if above.len() + own.len() > LONGEST_PATH => format_smolstr!("{above}…"),
            Some(above) => format_smolstr!("{above} > {own}"),
            None => own,
        })
    }

    fn clocks_to_follow(&self) -> Option<&BTreeMap<SmolStr, i64>> {
        Some(&self.clocks).filter(|clocks| !clocks.is_empty() && self.contexts.is_empty())
    }

    fn forget(&mut self, now_ns: i64) {
        let since = now_ns.saturating_sub(self.limits.memory_ns);
        let most = self.limits.turns.saturating_mul(4);
        while let Some((at, _)) = self.told.front()
            && (*at < since || self.told.len() > most)
            && let Some((_, key)) = self.told.pop_front()
        {
            self.linker.forget(&key);
            self.turns.remove(&key);
        }
        self.causes.forget(since, most);
        self.handshakes.forget(since, self.limits.turns);
        self.contexts.forget(since, most);
    }
}

impl Held {
    /// Whether both ends are here, or only one can be.
    fn is_whole(&self, key: &Key) -> bool {
        self.has == [true, true] || !is_shared_id(&key.connection_id)
    }

    /// What it was made for, where that is sure enough.
    fn cause(&self, min_confidence: f64) -> Option<&Cause> {
        self.cause.as_ref().filter(|cause| cause.confidence >= min_confidence)
    }

    /// Better no cause than one that isn't sure enough; and none beside what the applications say.
    fn leave_unsure(&mut self, min_confidence: f64) {
        if self.cause(min_confidence).is_none() || self.told_parent().is_some() {
            self.cause = None;
        }
    }

    /// The application's own span of what this end saw.
    fn told(&self, side: Side) -> Option<SmolStr> {
        let context = self.context.as_ref()?;
        side.pick(&context.client, &context.server).clone()
    }

    /// The application's span that it is below.
    fn told_parent(&self) -> Option<Parent> {
        let span_id = self.context.as_ref()?.parent.clone()?;
        Some(Parent { span_id, method: SmolStr::new_static("trace_context"), confidence: 1.0 })
    }

    fn is_burst(&self) -> bool {
        self.rows.iter().flatten().any(|row| row.multiplexed == Some(true))
    }
}

impl Known {
    fn or_own(self, key: &Key) -> SmolStr {
        match self {
            Known::Trace(trace) => trace,
            Known::NotYet | Known::Circle => key.trace_id(),
        }
    }
}

/// Whether it can be a time: whoever sends rows may write any number. All further ones add up without overflow.
fn is_time(ns: i64) -> bool {
    (0..=i64::MAX / 4).contains(&ns)
}

fn side_of(row: &ExchangeRow) -> Option<Side> {
    SIDES.into_iter().find(|side| row.observer.as_deref() == Some(side.role()))
}

/// What the kernel saw or guessed that a turn was made for.
fn cause_of(row: &ExchangeRow) -> Option<Cause> {
    let key = Key::of_cause(row).filter(|cause| Some(cause) != Key::of(row).as_ref())?;
    let method = row.cause_method.clone()?;
    let candidates = row.cause_candidates.unwrap_or(1).max(1);
    // Where the task had several open, each may have been it.
    let confidence = if method == "event_loop" { 1.0 / candidates as f64 } else { 1.0 };
    Some(Cause { key, method, confidence })
}

/// The spans of a turn's ends that have none yet. Its trace is known.
fn spans_of(key: &Key, held: &mut Held, handshakes: &mut Memory<SmolStr, SpanRow>) -> Vec<SpanRow> {
    let Some(trace) = held.trace.clone() else { return Vec::new() };
    let [client, server] = std::mem::take(&mut held.rows);
    let turn = Turn { key, client: client.as_deref(), server: server.as_deref() };
    let mut spans = Vec::with_capacity(2);
    if let Some(row) = turn.client {
        let seen = held.cause.as_ref().map(|cause| Parent {
            span_id: cause.key.span_id(Side::Server),
            method: cause.method.clone(),
            confidence: cause.confidence,
        });
        let parent = held.told_parent().or(seen);
        let told = held.told(Side::Client);
        spans.push(exchange::span(turn, Side::Client, row, &trace, parent, held.path.as_ref(), told));
        if row.opened_time.is_some() {
            spans.extend(exchange::before(turn, row, &trace, handshakes.take(&key.connection_id)));
        }
    }
    if let Some(row) = turn.server {
        let is_known = held.has[Side::Client as usize];
        let parent = is_known.then(|| Parent {
            span_id: key.span_id(Side::Client),
            method: SmolStr::new_static("sequence_numbers"),
            confidence: 1.0,
        });
        let parent = parent.or_else(|| held.told_parent());
        let told = held.told(Side::Server);
        spans.push(exchange::span(turn, Side::Server, row, &trace, parent, held.path.as_ref(), told));
    }
    spans
}

/// The span with its times by the common clock, and by how much they were moved.
fn by_one_clock(mut span: SpanRow, clocks: Option<&BTreeMap<SmolStr, i64>>) -> SpanRow {
    let correction = clocks.zip(span.node.as_ref()).and_then(|(clocks, node)| clocks.get(node));
    let Some(by) = correction.copied().filter(|by| is_time(span.time.saturating_add(*by))) else {
        return span;
    };
    span.time += by;
    span.end_time = span.end_time.map(|end| end.saturating_add(by));
    span.attributes.push((SmolStr::new_static("weir.clock.correction_us"), (by / 1_000).to_smolstr()));
    span.attribute_types = Some(format_smolstr!("{}i", span.attribute_types.unwrap_or_default()));
    span
}

#[cfg(test)]
mod tests;
