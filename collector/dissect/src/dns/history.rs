//! Which address had which name, for whom and when, from the answers that were seen.
//!
//! A connection to an address has the name that its host had resolved to it last before the connection was opened;
//! where several processes of a host did, the connection's own process counts first (two names behind one address are
//! usual: content networks). An answer holds from its time until its TTL is over and [`GRACE_NS`] more, since clients
//! keep what they resolved for longer than they should: browsers and the JVM for up to a minute, connection pools and
//! proxies for many. It is the name that was asked for, not the last of a chain of CNAMEs: what the client means.
//!
//! Bounded: [`MAX_NAMES`] of one address, and a limit for all; the oldest are forgotten first.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::Message;

/// How long an answer holds beyond its TTL.
pub const GRACE_NS: i64 = 600 * 1_000_000_000;
/// Longest TTL that is believed: a day, as resolvers do (RFC 8767 §4 has a week at most).
const MAX_TTL_S: u32 = 86_400;
/// Names of one address for one host that are remembered.
const MAX_NAMES: usize = 8;
const NOERROR: u16 = 0;

#[derive(Clone, Debug)]
struct Known {
    name: SmolStr,
    /// The process that asked; 0: unknown.
    asker: u32,
    from_ns: i64,
    until_ns: i64,
}

/// Names of addresses, for each host `H` (a network namespace, or an address that asks).
#[derive(Debug)]
pub struct History<H> {
    known: HashMap<(H, IpAddr), Vec<Known>>,
    /// When each address was first heard of; oldest first.
    order: VecDeque<(H, IpAddr)>,
    limit: usize,
}

impl<H: Hash + Eq + Clone> History<H> {
    /// Of at most `limit` addresses.
    pub fn new(limit: usize) -> History<H> {
        History { known: HashMap::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    /// `host` was answered `message` at `time_ns`, when `asker` had asked for `name`.
    pub fn learn(&mut self, host: &H, asker: u32, time_ns: i64, name: &SmolStr, message: &Message) {
        if message.response_code != NOERROR {
            return;
        }
        // A chain holds as long as its shortest link.
        let links = message.answers.iter().filter(|record| record.address.is_none());
        let shortest = links.map(|record| record.ttl_s).min().unwrap_or(MAX_TTL_S).min(MAX_TTL_S);
        for (record, address) in message.answers.iter().filter_map(|record| Some((record, record.address?))) {
            let ttl_ns = i64::from(record.ttl_s.min(shortest)) * 1_000_000_000;
            let until_ns = time_ns.saturating_add(ttl_ns).saturating_add(GRACE_NS);
            let known = Known { name: name.clone(), asker, from_ns: time_ns, until_ns };
            self.insert((host.clone(), address.to_canonical()), known);
        }
    }

    /// The name that `address` had for `host` (and rather for `asker` than for others) at `time_ns`.
    pub fn name(&self, host: &H, asker: u32, address: IpAddr, time_ns: i64) -> Option<&SmolStr> {
        let known = self.known.get(&(host.clone(), address.to_canonical()))?;
        let valid = known.iter().filter(|known| known.from_ns <= time_ns && time_ns <= known.until_ns);
        let is_own = |known: &Known| asker != 0 && known.asker == asker;
        valid.max_by_key(|known| (is_own(known), known.from_ns)).map(|known| &known.name)
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn insert(&mut self, key: (H, IpAddr), new: Known) {
        let is_first = !self.known.contains_key(&key);
        let names = self.known.entry(key.clone()).or_default();
        let other = names.iter().filter(|known| known.name != new.name).map(|known| known.from_ns).max();
        let same = names.iter_mut().find(|known| {
            let is_same = known.name == new.name && known.asker == new.asker;
            // The same again, without another in between: it goes on to hold.
            is_same && new.from_ns <= known.until_ns && other.is_none_or(|other_ns| other_ns < known.from_ns)
        });
        if let Some(known) = same {
            known.until_ns = known.until_ns.max(new.until_ns);
        } else {
            let by_age = |index: &usize| (names[*index].until_ns, names[*index].from_ns);
            if names.len() == MAX_NAMES
                && let Some(oldest) = (0..names.len()).min_by_key(by_age)
            {
                names.swap_remove(oldest);
            }
            names.push(new);
        }
        if is_first {
            self.order.push_back(key);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}
