//! Which batches were stored: (node, boot id, table) → ranges of sequences, so that a resent batch is stored once.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use weir_model::BatchMeta;

/// A sender that was silent for so many days will not resend anything.
const FORGET_DAYS: i64 = 30;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sender {
    node: String,
    boot_id: String,
    table: String,
}

impl Sender {
    fn of(meta: &BatchMeta) -> Sender {
        Sender { node: meta.node.clone(), boot_id: meta.boot_id.clone(), table: meta.table.clone() }
    }
}

/// One sender's batches, as the catalog keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenEntry {
    node: String,
    boot_id: String,
    table: String,
    /// First and last sequence of each run, in order; one run, unless batches were refused or dropped.
    ranges: Vec<(u64, u64)>,
    /// Day of the last batch, since the epoch.
    day: i64,
}

#[derive(Clone, Debug, Default)]
struct Batches {
    ranges: Vec<(u64, u64)>,
    day: i64,
    changed: u64,
}

/// All senders' batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    senders: HashMap<Sender, Batches>,
    /// Rises with every change: see [`Seen::changed_since`].
    version: u64,
}

impl Seen {
    pub(crate) fn contains(&self, meta: &BatchMeta) -> bool {
        self.senders
            .get(&Sender::of(meta))
            .is_some_and(|batches| find(&batches.ranges, meta.sequence).is_ok())
    }

    pub(crate) fn insert(&mut self, meta: &BatchMeta, today: i64) {
        self.version += 1;
        let batches = self.senders.entry(Sender::of(meta)).or_default();
        batches.day = today;
        batches.changed = self.version;
        add(&mut batches.ranges, meta.sequence);
    }

    /// Takes over what the catalog says of a sender, beside what is known: another writer may have other batches of it.
    pub(crate) fn restore(&mut self, entry: SeenEntry) {
        let SeenEntry { node, boot_id, table, ranges, day } = entry;
        let batches = self.senders.entry(Sender { node, boot_id, table }).or_default();
        batches.day = batches.day.max(day);
        batches.ranges.extend(ranges);
        join(&mut batches.ranges);
    }

    /// The senders that changed after `version`, and the version that this is.
    pub(crate) fn changed_since(&self, version: u64) -> (Vec<SeenEntry>, u64) {
        let changed = self.senders.iter().filter(|(_, batches)| batches.changed > version);
        (changed.map(|(sender, batches)| entry(sender, batches)).collect(), self.version)
    }

    /// Everything.
    pub(crate) fn entries(&self) -> Vec<SeenEntry> {
        self.senders.iter().map(|(sender, batches)| entry(sender, batches)).collect()
    }

    /// Forgets who was silent for [`FORGET_DAYS`].
    pub(crate) fn forget(&mut self, today: i64) {
        self.senders.retain(|_, batches| today - batches.day <= FORGET_DAYS);
    }
}

fn entry(sender: &Sender, batches: &Batches) -> SeenEntry {
    SeenEntry {
        node: sender.node.clone(),
        boot_id: sender.boot_id.clone(),
        table: sender.table.clone(),
        ranges: batches.ranges.clone(),
        day: batches.day,
    }
}

/// The range that holds `sequence`, or where it would be.
fn find(ranges: &[(u64, u64)], sequence: u64) -> Result<usize, usize> {
    ranges.binary_search_by(|(first, last)| {
        if *last < sequence {
            std::cmp::Ordering::Less
        } else if *first > sequence {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    })
}

fn add(ranges: &mut Vec<(u64, u64)>, sequence: u64) {
    let Err(at) = find(ranges, sequence) else { return };
    let joins_before = at > 0 && ranges[at - 1].1.checked_add(1) == Some(sequence);
    let joins_after = ranges.get(at).is_some_and(|(first, _)| sequence.checked_add(1) == Some(*first));
    match (joins_before, joins_after) {
        (true, true) => {
            ranges[at - 1].1 = ranges[at].1;
            ranges.remove(at);
        }
        (true, false) => ranges[at - 1].1 = sequence,
        (false, true) => ranges[at].0 = sequence,
        (false, false) => ranges.insert(at, (sequence, sequence)),
    }
}

/// In order, and those that touch as one.
fn join(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let touches = next.0 <= before.1.saturating_add(1);
        if touches {
            before.1 = before.1.max(next.1);
        }
        touches
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(sequence: u64) -> BatchMeta {
        BatchMeta {
            schema_version: 1,
            table: "flows".into(),
            node: "n".into(),
            boot_id: "b".into(),
            sequence,
        }
    }

    proptest! {
        /// Whatever order batches come in, exactly those that came are known, in as few runs as can be.
        #[test]
        fn what_was_inserted_is_seen_and_nothing_else(sequences in proptest::collection::vec(0_u64..40, 0..60)) {
            let mut seen = Seen::default();
            for sequence in &sequences {
                seen.insert(&meta(*sequence), 0);
            }
            for sequence in 0..41 {
                prop_assert_eq!(seen.contains(&meta(sequence)), sequences.contains(&sequence));
            }
            for entry in seen.entries() {
                for pair in entry.ranges.windows(2) {
                    prop_assert!(pair[0].1 + 1 < pair[1].0, "runs touch: {:?}", entry.ranges);
                }
            }
        }
    }

    proptest! {
        /// Two collectors that write to one catalog: what either has is known, in as few runs as can be.
        #[test]
        fn what_two_writers_have_adds_up(
            first in proptest::collection::vec(0_u64..40, 0..40),
            second in proptest::collection::vec(0_u64..40, 0..40),
        ) {
            let of = |sequences: &[u64]| {
                let mut seen = Seen::default();
                for sequence in sequences {
                    seen.insert(&meta(*sequence), 0);
                }
                seen.entries()
            };
            let mut both = Seen::default();
            for entry in of(&first).into_iter().chain(of(&second)) {
                both.restore(entry);
            }
            let all: Vec<u64> = first.into_iter().chain(second).collect();
            let ranges = |entries: Vec<SeenEntry>| entries.into_iter().map(|entry| entry.ranges).collect::<Vec<_>>();
            prop_assert_eq!(ranges(both.entries()), ranges(of(&all)));
        }
    }

    #[test]
    fn only_who_sent_something_new_is_written_again() {
        let mut seen = Seen::default();
        seen.insert(&meta(1), 0);
        let (first, version) = seen.changed_since(0);
        assert_eq!(first.len(), 1);
        assert!(seen.changed_since(version).0.is_empty());
        seen.insert(&meta(2), 0);
        assert_eq!(seen.changed_since(version).0.len(), 1);
    }

    #[test]
    fn a_sender_that_went_away_is_forgotten() {
        let mut seen = Seen::default();
        seen.insert(&meta(1), 0);
        seen.forget(FORGET_DAYS);
        assert!(seen.contains(&meta(1)));
        seen.forget(FORGET_DAYS + 1);
        assert!(!seen.contains(&meta(1)));
    }
}
