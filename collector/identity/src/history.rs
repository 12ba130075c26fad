//! Objects as they come and go → versions, claims and pods with their times.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use smol_str::SmolStr;

use crate::answer::Answer;
use crate::claims::{Claim, Holders, OPEN, Spec, claims};
use crate::kinds::Kind;
use crate::object::{Detail, Object, Owner};

/// How much is kept. A claim, with its share of the object, takes about 1 KB.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long an ended claim is kept after its end: probes that were cut off send rows as old.
    pub keep_ns: i64,
    /// Ended claims, pods and owners at most; the oldest go first, and are counted.
    pub ended: usize,
    /// Living objects at most; those beyond are not taken in, and are counted.
    pub live: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { keep_ns: 24 * 3_600 * 1_000_000_000, ended: 500_000, live: 1_000_000 }
    }
}

/// What was not kept against our will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Ended entries forgotten before their time, for want of room.
    pub evicted: u64,
    /// Objects beyond [`Limits::live`], each time that one came.
    pub refused: u64,
}

/// A version of an object, for `k8s_objects`.
#[derive(Clone, Debug)]
pub struct Version {
    /// What it was.
    pub object: Arc<Object>,
    /// From when.
    pub from: i64,
    /// Until when; `None` while it holds.
    pub to: Option<i64>,
}

/// What was where, when.
#[derive(Debug, Default)]
pub struct History {
    limits: Limits,
    losses: Losses,
    current: HashMap<Key, Current>,
    by_address: HashMap<IpAddr, Vec<Claim>>,
    /// By what a pod's cgroup is called by: its UID, or a static pod's hash.
    pods: HashMap<SmolStr, Vec<Life>>,
    /// `ReplicaSet`s and `Job`s by UID, with what owns them.
    owners: HashMap<SmolStr, Option<Owner>>,
    zones: HashMap<SmolStr, SmolStr>,
    /// Base and length, with how many nodes have it.
    pod_networks: HashMap<(IpAddr, u8), usize>,
    /// Whether of IPv4, and length, with how many nodes' networks have it.
    network_lengths: HashMap<(bool, u8), usize>,
    /// By end and id: what may be forgotten, in which order.
    ended: BTreeMap<(i64, u64), Ended>,
    /// Lists of a kind that were begun.
    rounds: HashMap<Group, u64>,
    next_id: u64,
}

type Group = (&'static str, &'static str);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    group: Group,
    namespace: Option<SmolStr>,
    name: SmolStr,
}

#[derive(Debug)]
struct Current {
    object: Arc<Object>,
    from: i64,
    round: u64,
}

#[derive(Debug)]
struct Life {
    object: Arc<Object>,
    from: i64,
    to: i64,
}

#[derive(Debug)]
enum Ended {
    Claim(IpAddr),
    Pod(SmolStr),
    Owner(SmolStr),
}

impl History {
    /// Nothing yet.
    pub fn new(limits: Limits) -> History {
        History { limits, ..History::default() }
    }

    /// Takes in an object as it was seen at `at`. `is_listed`: in a list of all that there are, so it may have been there
    /// for long. The versions that thereby ended and began.
    pub fn apply(&mut self, object: Object, at: i64, is_listed: bool) -> Vec<Version> {
        let key = Key::of(&object);
        let round = self.rounds.get(&key.group).copied().unwrap_or(0);
        let mut versions = Vec::new();
        let earliest = earliest(&object).unwrap_or(at).min(at);
        let mut from = if is_listed { earliest } else { at };
        if let Some(current) = self.current.get_mut(&key) {
            if current.object.is_the_same(&object) {
                current.round = round;
                return versions;
            }
            let was = current.from;
            if current.object.uid == object.uid {
                from = at;
                versions.push(Version { object: current.object.clone(), from: was, to: Some(at) });
            } else {
                versions.extend(self.end(&key, at));
            }
        } else if self.current.len() >= self.limits.live {
            self.losses.refused += 1;
            return versions;
        }
        let object = Arc::new(object);
        let before = self.current.get(&key).map(|current| current.object.clone());
        self.index(before.as_ref(), &object, from, earliest, at);
        versions.push(Version { object: object.clone(), from, to: None });
        self.current.insert(key, Current { object, from, round });
        self.make_room();
        versions
    }

    /// An object is no more.
    pub fn remove(&mut self, kind: Kind, namespace: Option<&str>, name: &str, at: i64) -> Option<Version> {
        let key = Key {
            group: (kind.group, kind.kind),
            namespace: namespace.map(SmolStr::new),
            name: SmolStr::new(name),
        };
        let version = self.end(&key, at);
        self.make_room();
        version
    }

    /// A version ended, and no other took its place; what happened since counts, if that is known.
    pub fn end_version(&mut self, object: &Object, at: i64) {
        let key = Key::of(object);
        let is_it = |current: &Current| {
            current.object.uid == object.uid && current.object.resource_version == object.resource_version
        };
        if self.current.get(&key).is_some_and(is_it) {
            self.end(&key, at);
            self.make_room();
        }
    }

    /// A list of all objects of a kind begins.
    pub fn begin_list(&mut self, kind: Kind) {
        *self.rounds.entry((kind.group, kind.kind)).or_default() += 1;
    }

    /// The list is complete: what it lacks has ended while nobody watched.
    pub fn finish_list(&mut self, kind: Kind, at: i64) -> Vec<Version> {
        let group = (kind.group, kind.kind);
        let round = self.rounds.get(&group).copied().unwrap_or(0);
        let gone = self.current.iter().filter(|(key, current)| key.group == group && current.round != round);
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        let versions = gone.iter().filter_map(|key| self.end(key, at)).collect();
        self.make_room();
        versions
    }

    /// Forgets what ended too long before `now`.
    pub fn forget(&mut self, now: i64) {
        let before = now.saturating_sub(self.limits.keep_ns);
        while let Some(first) = self.ended.first_entry().filter(|first| first.key().0 < before) {
            let ((_, id), what) = first.remove_entry();
            self.drop_ended(id, what);
        }
    }

    /// Everyone who had an address at some time of these.
    pub fn holders(&self, address: IpAddr, from: i64, to: i64) -> Holders<'_> {
        let all = self.by_address.get(&address.to_canonical());
        Holders::within(all.map_or(&[], Vec::as_slice), from, to)
    }

    /// Who had an address, as the end of a connection with that port.
    pub fn who(&self, address: IpAddr, port: Option<u16>, at: i64) -> Option<Answer> {
        let holders = self.holders(address, at, at);
        holders.pick(port, at).map(|pick| self.describe(&pick)).or_else(|| holders.part(port, at))
    }

    /// The pod that a cgroup is of.
    pub fn pod_by_uid(&self, uid: &str, at: i64) -> Option<Answer> {
        let lives = self.pods.get(uid)?;
        // A UID is one pod's for good; a static pod's hash is its mirrors', one after the other.
        let life = lives.iter().rev().find(|life| life.from <= at).or(lives.first())?;
        Some(self.of_pod(&life.object))
    }

    /// Whether it is an address of the networks that nodes give pods theirs from.
    pub fn is_of_pods(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        // Few lengths, and as many networks as nodes.
        let mut lengths = self.network_lengths.keys().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        lengths.any(|(_, length)| self.pod_networks.contains_key(&(masked(address, *length), *length)))
    }

    /// Whether there is anything to ask.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty() && self.ended.is_empty()
    }

    /// Living objects of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.current.keys().filter(|key| key.group == (kind.group, kind.kind)).count()
    }

    /// What was not kept.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    pub(crate) fn zone_of(&self, node: &str) -> Option<SmolStr> {
        self.zones.get(node).cloned()
    }

    pub(crate) fn owner_of(&self, uid: &str) -> Option<&Owner> {
        self.owners.get(uid)?.as_ref()
    }

    pub(crate) fn is_owner_known(&self, uid: &str) -> bool {
        self.owners.contains_key(uid)
    }

    /// Moves claims, pods and networks from the version before to this one.
    fn index(
        &mut self,
        before: Option<&Arc<Object>>,
        object: &Arc<Object>,
        from: i64,
        earliest: i64,
        at: i64,
    ) {
        let old: HashSet<Spec> =
            before.map(|before| claims(before).into_iter().collect()).unwrap_or_default();
        let new: HashSet<Spec> = claims(object).into_iter().collect();
        for spec in old.difference(&new) {
            self.end_claim(spec, &object.uid, at);
        }
        for spec in old.intersection(&new) {
            if let Some(claim) = self.open_claim(spec, &object.uid) {
                claim.object = object.clone();
            }
        }
        for spec in new.difference(&old) {
            let id = self.id();
            let claim = Claim { id, spec: spec.clone(), object: object.clone(), earliest, from, to: OPEN };
            self.by_address.entry(spec.address).or_default().push(claim);
        }
        match &object.detail {
            Detail::Pod { .. } => {
                let lives = self.pods.entry(cgroup_uid(object).clone()).or_default();
                match lives.iter_mut().find(|life| life.object.uid == object.uid) {
                    Some(life) => life.object = object.clone(),
                    None => lives.push(Life { object: object.clone(), from: earliest, to: OPEN }),
                }
            }
            Detail::Node { zone, pod_networks, .. } => {
                if let Some(zone) = zone {
                    self.zones.insert(object.name.clone(), zone.clone());
                }
                if let Some(before) = before {
                    self.forget_networks(before);
                }
                for (base, length) in pod_networks {
                    *self.pod_networks.entry((masked(*base, *length), *length)).or_default() += 1;
                    *self.network_lengths.entry((base.is_ipv4(), *length)).or_default() += 1;
                }
            }
            _ if object.kind.metadata_only => {
                self.owners.insert(object.uid.clone(), object.owner.clone());
            }
            _ => {}
        }
    }

    fn end(&mut self, key: &Key, at: i64) -> Option<Version> {
        let Current { object, from, .. } = self.current.remove(key)?;
        let to = at.max(from);
        for spec in claims(&object).into_iter().collect::<HashSet<_>>() {
            self.end_claim(&spec, &object.uid, to);
        }
        match &object.detail {
            Detail::Pod { .. } => {
                let uid = cgroup_uid(&object).clone();
                let id = self.id();
                let lives = self.pods.get_mut(&uid).into_iter().flatten();
                for life in lives.filter(|life| life.object.uid == object.uid) {
                    life.to = to;
                }
                self.ended.insert((to, id), Ended::Pod(uid));
            }
            Detail::Node { .. } => self.forget_networks(&object),
            _ if object.kind.metadata_only => {
                let id = self.id();
                self.ended.insert((to, id), Ended::Owner(object.uid.clone()));
            }
            _ => {}
        }
        Some(Version { object, from, to: Some(to) })
    }

    fn end_claim(&mut self, spec: &Spec, uid: &str, at: i64) {
        let Some(claim) = self.open_claim(spec, uid) else { return };
        claim.to = at.max(claim.from);
        let ended = (claim.to, claim.id);
        self.ended.insert(ended, Ended::Claim(spec.address));
    }

    fn open_claim(&mut self, spec: &Spec, uid: &str) -> Option<&mut Claim> {
        let claims = self.by_address.get_mut(&spec.address)?;
        claims.iter_mut().find(|claim| claim.to == OPEN && &claim.spec == spec && claim.object.uid == uid)
    }

    fn forget_networks(&mut self, node: &Object) {
        let Detail::Node { pod_networks, .. } = &node.detail else { return };
        for (base, length) in pod_networks {
            less(&mut self.pod_networks, (masked(*base, *length), *length));
            less(&mut self.network_lengths, (base.is_ipv4(), *length));
        }
    }

    fn make_room(&mut self) {
        while self.ended.len() > self.limits.ended
            && let Some(((_, id), what)) = self.ended.pop_first()
        {
            self.losses.evicted += 1;
            self.drop_ended(id, what);
        }
    }

    fn drop_ended(&mut self, id: u64, what: Ended) {
        match what {
            Ended::Claim(address) => {
                let Some(claims) = self.by_address.get_mut(&address) else { return };
                claims.retain(|claim| claim.id != id);
                if claims.is_empty() {
                    self.by_address.remove(&address);
                }
            }
            Ended::Pod(uid) => {
                let Some(lives) = self.pods.get_mut(&uid) else { return };
                // In the order in which they ended: the first of those that did.
                if let Some(first) = lives.iter().position(|life| life.to != OPEN) {
                    lives.remove(first);
                }
                if lives.is_empty() {
                    self.pods.remove(&uid);
                }
            }
            Ended::Owner(uid) => {
                self.owners.remove(&uid);
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Key {
    fn of(object: &Object) -> Key {
        Key {
            group: (object.kind.group, object.kind.kind),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        }
    }
}

/// By when it can have had what it has.
fn earliest(object: &Object) -> Option<i64> {
    match object.detail {
        Detail::Pod { started, .. } => started.or(object.created),
        _ => object.created,
    }
}

fn cgroup_uid(pod: &Object) -> &SmolStr {
    match &pod.detail {
        Detail::Pod { cgroup_uid: Some(uid), .. } => uid,
        _ => &pod.uid,
    }
}

/// One fewer; none is no entry.
fn less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let hashbrown::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// The network of that length that an address is in.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests;
