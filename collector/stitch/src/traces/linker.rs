//! What the kernel didn't see, or could only guess: turns in the form that the inference takes, and its links back.
//!
//! A call that a thread made while it had one request open was made for that one where a thread works at one request at a
//! time. Of a process that was seen with several open at once on a thread (an async runtime), that is a guess as any other:
//! its tasks move between threads. Then the guess is a hint, and timing decides.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use weir_model::{ExchangeRow, SmolStr, ToSmolStr, format_smolstr};

use super::Cause;
use crate::exchange::Key;
use crate::infer::{self, Config, Exchange, Inference, Method, Name, Span};

/// Names that are kept. Beyond, all is forgotten and learned anew: processes that came and went.
const MOST_NAMES: usize = 50_000;

/// Between two rounds of inference: each goes through all that it keeps.
const EVERY_NS: i64 = 2_000_000_000;

/// How long it takes at most until what has ended is here, both of its ends: two seconds of silence until a probe takes a turn
/// to be over, its batch, and the wait for the other end.
const LAG_NS: i64 = 6_000_000_000;

/// How long a call waits for the end of the request that it was made for, before timing decides without that.
const WAIT_NS: i64 = 4_000_000_000;

/// The inference, and what is known of processes.
#[derive(Debug)]
pub(super) struct Linker {
    inference: Inference,
    config: Config,
    keys: HashMap<u64, Key>,
    processes: HashMap<SmolStr, Process>,
    last_ns: i64,
}

/// What was seen of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    /// It answers requests; so what it asks may be for one of these.
    serves: bool,
    /// A thread of it had several requests open at once.
    juggles: bool,
}

impl Linker {
    pub(super) fn new(min_confidence: f64, turns: usize) -> Linker {
        let config = Config {
            wait_ns: WAIT_NS,
            min_confidence: min_confidence as f32,
            max_exchanges: turns,
            ..Config::default()
        };
        Linker {
            inference: Inference::new(config.clone()),
            config,
            keys: HashMap::new(),
            processes: HashMap::new(),
            last_ns: 0,
        }
    }

    /// Notes what a row tells of its end's process.
    pub(super) fn note(&mut self, row: &ExchangeRow, is_server: bool) {
        let is_guess = row.cause_method.as_deref() == Some("event_loop");
        if !is_server && !is_guess {
            return;
        }
        if self.processes.len() >= MOST_NAMES {
            self.start_again();
        }
        let process = self.processes.entry(process_of(row)).or_default();
        process.serves |= is_server;
        process.juggles |= is_guess && row.cause_candidates.unwrap_or(1) > 1;
    }

    /// Whether there is more to know of a call's cause than what the kernel says.
    pub(super) fn is_open(&self, row: &ExchangeRow) -> bool {
        row.multiplexed != Some(true) && !self.is_certain(row)
    }

    fn is_certain(&self, row: &ExchangeRow) -> bool {
        match row.cause_method.as_deref() {
            None | Some("event_loop") => false,
            Some("thread") => !self.process(row).juggles,
            Some(_) => true,
        }
    }

    /// Whether a call without a certain cause may be for a request of the same process.
    pub(super) fn is_worth_a_look(&self, row: &ExchangeRow) -> bool {
        self.process(row).serves
    }

    /// Takes a turn of which both ends are known, or no more will be.
    pub(super) fn add(&mut self, key: &Key, client: Option<&ExchangeRow>, server: Option<&ExchangeRow>) {
        let Some(any) = server.or(client).filter(|row| row.multiplexed != Some(true)) else { return };
        let span =
            |row: &ExchangeRow| Span { start: row.time, end: row.end_time.unwrap_or(row.time).max(row.time) };
        let lengths = |row: &ExchangeRow| [row.request_bytes, row.response_bytes];
        let address = || {
            let ip = any.server_ip.as_deref().unwrap_or_default();
            format_smolstr!("{ip}|{}", any.server_port.unwrap_or_default())
        };
        let asked = server.map_or_else(address, process_of);
        let cause = client.and_then(|row| {
            let parent = id_of(&Key::of_cause(row)?);
            let several = u32::try_from(row.cause_candidates.unwrap_or(1)).unwrap_or(u32::MAX).max(2);
            Some(infer::Cause { parent, candidates: if self.is_certain(row) { 1 } else { several } })
        });
        let id = id_of(key);
        self.keys.insert(id, key.clone());
        let asker = client.map(process_of);
        let exchange = Exchange {
            id,
            client: asker.map(|asker| self.name(&asker)),
            server: self.name(&asked),
            operation: self.name(any.application_protocol.as_deref().unwrap_or_default()),
            client_time: client.map(span),
            server_time: server.map(span),
            client_bytes: client.map(lengths),
            server_bytes: server.map(lengths),
            cause,
        };
        self.inference.add(exchange);
    }

    /// Which turns were made for which, of those that ended long enough before `now_ns`: all of them where it `is_last`.
    pub(super) fn settle(&mut self, now_ns: i64, is_last: bool) -> Vec<(Key, Option<Cause>)> {
        if !is_last && now_ns.saturating_sub(self.last_ns) < EVERY_NS {
            return Vec::new();
        }
        self.last_ns = now_ns;
        let links = if is_last {
            self.inference.finish()
        } else {
            self.inference.settle(now_ns.saturating_sub(LAG_NS))
        };
        let told = links.into_iter().filter_map(|link| {
            let key = self.keys.get(&link.child)?.clone();
            let cause = link.parent.and_then(|parent| self.keys.get(&parent)).map(|parent| Cause {
                key: parent.clone(),
                method: SmolStr::new_static(match link.method {
                    Method::Thread => "thread",
                    Method::Timing => "timing",
                }),
                confidence: f64::from(link.confidence),
            });
            Some((key, cause))
        });
        told.collect()
    }

    /// A turn is remembered no more.
    pub(super) fn forget(&mut self, key: &Key) {
        self.keys.remove(&id_of(key));
    }

    fn process(&self, row: &ExchangeRow) -> Process {
        self.processes.get(&process_of(row)).copied().unwrap_or_default()
    }

    fn name(&mut self, text: &str) -> Name {
        self.inference.name(text)
    }

    fn start_again(&mut self) {
        self.processes.clear();
        self.inference = Inference::new(self.config.clone());
    }
}

/// Whose requests and calls belong together: one process. Where there is none, the pod's or the node's of that name.
fn process_of(row: &ExchangeRow) -> SmolStr {
    let text = |text: &Option<SmolStr>| text.clone().unwrap_or_default();
    let (node, process) = (text(&row.node), text(&row.process));
    let container = || text(&row.container);
    let instance = row.pid.map_or_else(container, |pid| pid.to_smolstr());
    format_smolstr!("{node}|{instance}|{process}")
}

fn id_of(key: &Key) -> u64 {
    // The same in every run: its keys are fixed.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
