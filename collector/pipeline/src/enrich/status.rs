//! Whether the watch is current, and since when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use weir_identity::kinds::{KINDS, Kind};
use weir_model::kubernetes::{KindState, KubernetesState};

const STARTING: &str = "starting";
const CURRENT: &str = "current";
const STALE: &str = "stale";

/// How long the first lists may take, while rows wait for them.
const FIRST_LISTS: Duration = Duration::from_secs(10);

/// The watch's state, kept true by [`super::watch`].
#[derive(Debug)]
pub(crate) struct Status {
    began: Instant,
    kinds: RwLock<BTreeMap<(&'static str, &'static str), OfKind>>,
}

#[derive(Clone, Debug)]
struct OfKind {
    state: &'static str,
    since: i64,
    error: Option<String>,
}

impl Status {
    /// All built-in kinds are about to be listed.
    pub(crate) fn new(now: i64) -> Status {
        let starting =
            |kind: &Kind| ((kind.group, kind.kind), OfKind { state: STARTING, since: now, error: None });
        let kinds = KINDS.iter().filter(|kind| kind.is_built_in).map(starting).collect();
        Status { began: Instant::now(), kinds: RwLock::new(kinds) }
    }

    /// A kind's watch goes on. True where thereby the whole is current again.
    pub(crate) fn is_current(&self, kind: Kind, now: i64) -> bool {
        let mut kinds = self.kinds.write();
        let current = OfKind { state: CURRENT, since: now, error: None };
        let was = kinds.get(&(kind.group, kind.kind)).map(|of| of.state);
        if was != Some(CURRENT) {
            kinds.insert((kind.group, kind.kind), current);
        } else if let Some(of) = kinds.get_mut(&(kind.group, kind.kind)) {
            of.error = None;
        }
        was != Some(CURRENT) && kinds.values().all(|of| of.state == CURRENT)
    }

    /// A kind's watch broke. True where that is news: the first of all that did, or one that never worked.
    pub(crate) fn is_stale(&self, kind: Kind, error: String, now: i64) -> bool {
        let mut kinds = self.kinds.write();
        let entry = kinds.entry((kind.group, kind.kind)).or_insert(OfKind {
            state: STARTING,
            since: now,
            error: None,
        });
        let is_other = entry.error.as_ref() != Some(&error);
        entry.error = Some(error);
        // What was never listed is still starting.
        if entry.state == STARTING {
            return is_other;
        }
        let was_current = entry.state == CURRENT;
        if was_current {
            (entry.state, entry.since) = (STALE, now);
        }
        was_current && kinds.values().filter(|of| of.state == STALE).count() == 1
    }

    /// Whether a pod that isn't known may be told of any moment.
    pub(crate) fn is_expected(&self) -> bool {
        match self.kinds.read().get(&("", "Pod")) {
            Some(pods) if pods.state == CURRENT => true,
            Some(pods) => {
                pods.state == STARTING && pods.error.is_none() && self.began.elapsed() < FIRST_LISTS
            }
            None => false,
        }
    }

    /// For the API.
    pub(crate) fn read(&self, objects: impl Fn(Kind) -> usize) -> KubernetesState {
        let kinds = self.kinds.read();
        let states: Vec<KindState> = KINDS
            .iter()
            .filter_map(|kind| {
                let of = kinds.get(&(kind.group, kind.kind))?;
                let objects = objects(*kind) as u64;
                let OfKind { state, since, error } = of.clone();
                Some(KindState { kind: kind.kind, group: kind.group, state, since, objects, error })
            })
            .collect();
        let worst =
            [STALE, STARTING].into_iter().find(|state| states.iter().any(|kind| kind.state == *state));
        let state = worst.unwrap_or(CURRENT);
        let since = states.iter().filter(|kind| kind.state == state).map(|kind| kind.since);
        // Stale since the first that broke; current since the last that came.
        let since = if state == CURRENT { since.max() } else { since.min() }.unwrap_or(0);
        let broken =
            states.iter().filter_map(|kind| Some(format!("{}: {}", kind.kind, kind.error.as_ref()?)));
        let message = broken.collect::<Vec<_>>().join("; ");
        KubernetesState { state, since, message, kinds: states }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_current_when_all_kinds_are_and_stale_when_one_is() {
        let status = Status::new(1);
        let read = || {
            let state = status.read(|_| 0);
            (state.state, state.since)
        };
        assert_eq!(read(), ("starting", 1));
        let built_in = || KINDS.into_iter().filter(|kind| kind.is_built_in);
        for (at, kind) in built_in().enumerate() {
            let is_last = at + 1 == built_in().count();
            assert_eq!(status.is_current(kind, 10 + at as i64), is_last);
        }
        assert_eq!(read(), ("current", 9 + built_in().count() as i64));
        let pods = KINDS[0];
        assert!(status.is_stale(pods, "connection refused".to_owned(), 100));
        assert!(!status.is_stale(pods, "connection reset".to_owned(), 101), "said once");
        assert!(!status.is_stale(KINDS[1], "connection refused".to_owned(), 102), "said once");
        assert!(!status.is_current(KINDS[1], 103));
        assert_eq!(read(), ("stale", 100));
        assert!(!status.is_expected());
        assert!(status.is_current(pods, 200));
        assert_eq!(read(), ("current", 200));
        assert_eq!(status.read(|_| 0).message, "");
    }
}
