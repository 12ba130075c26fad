//! What a question may cost: the server's limits, what a request lowers them to, and the memory that one question has of
//! what all share.

use std::fmt::{Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{Result, resources_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::error::QueryError;

/// What questions may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory for sorting, grouping and joining, all questions together; one of them has at most three quarters of it.
    pub memory_bytes: usize,
    /// How long a question may take.
    pub time: Duration,
    /// Rows of an answer.
    pub rows: usize,
    /// Threads that one question uses; 0: as many as there are cores.
    pub threads: usize,
    /// Requests that are worked on at once.
    pub at_once: usize,
    /// How many of them are one caller's.
    pub at_once_each: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// How many of them are one caller's.
    pub waiting_each: usize,
    /// How long one waits.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 2 << 30,
            time: Duration::from_mins(1),
            rows: 100_000_000,
            threads: 0,
            at_once: 16,
            at_once_each: 12,
            waiting: 256,
            waiting_each: 128,
            patience: Duration::from_secs(15),
        }
    }
}

/// One question's part of the memory.
const SHARE: (usize, usize) = (3, 4);

impl Limits {
    /// What one question may take.
    pub(crate) fn question_bytes(&self) -> usize {
        self.memory_bytes / SHARE.1 * SHARE.0
    }

    /// What a question with these limits of its own may cost.
    ///
    /// # Errors
    /// `request.limits` where it asks for more than there is, or for nothing.
    pub(crate) fn lowered(&self, by: &Lowered) -> Result<Allowed, QueryError> {
        let most = Allowed { rows: self.rows, time: self.time, memory_bytes: self.question_bytes() };
        let checked = |name: &str, wanted: u128, most: u128| match wanted {
            0 => Err(QueryError::limits(format!("{name} is 0: nothing could be answered"))),
            _ if wanted > most => {
                Err(QueryError::limits(format!("{name} is {wanted}: the most is {most} here")))
            }
            _ => Ok(()),
        };
        let mut allowed = most;
        if let Some(rows) = by.rows {
            checked("rows", rows as u128, most.rows as u128)?;
            allowed.rows = rows;
        }
        if let Some(time) = by.time {
            checked("time_ms", time.as_millis(), most.time.as_millis())?;
            allowed.time = time;
        }
        if let Some(bytes) = by.memory_bytes {
            checked("memory_bytes", bytes as u128, most.memory_bytes as u128)?;
            allowed.memory_bytes = bytes;
        }
        Ok(allowed)
    }
}

/// Limits that a request sets for itself. `None` leaves the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// Rows of the answer.
    pub rows: Option<usize>,
    /// How long it may take.
    pub time: Option<Duration>,
    /// Memory for sorting, grouping and joining.
    pub memory_bytes: Option<usize>,
}

/// What one question may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) rows: usize,
    pub(crate) time: Duration,
    pub(crate) memory_bytes: usize,
}

/// What operators that can spill may take of a question's memory: the rest is for those that can't, such as the merge of what
/// was sorted, which begins when the sorts are full.
const SPILLABLE: (usize, usize) = (1, 2);

/// The merge of what was spilled takes whatever there is, to read as many files at once as it can; the last part is for those
/// that come after it and need a few batches. DataFusion calls it so.
const MERGE: &str = "ExternalSorterMerge";
const MERGEABLE: (usize, usize) = (7, 8);

/// The memory of one question: fair between its own operators, and within what all questions share.
#[derive(Debug)]
pub(crate) struct QuestionPool {
    spillable: FairSpillPool,
    own: GreedyMemoryPool,
    /// Up to where merges are granted more.
    mergeable: usize,
    shared: Arc<dyn MemoryPool>,
}

impl QuestionPool {
    pub(crate) fn new(bytes: usize, shared: Arc<dyn MemoryPool>) -> QuestionPool {
        QuestionPool {
            spillable: FairSpillPool::new(bytes / SPILLABLE.1 * SPILLABLE.0),
            own: GreedyMemoryPool::new(bytes),
            mergeable: bytes / MERGEABLE.1 * MERGEABLE.0,
            shared,
        }
    }

    /// Those that have a say, in the order in which they are asked.
    fn pools(&self, consumer: &MemoryConsumer) -> impl Iterator<Item = &dyn MemoryPool> {
        let spillable = consumer.can_spill().then_some(&self.spillable as &dyn MemoryPool);
        spillable.into_iter().chain([&self.own as &dyn MemoryPool, self.shared.as_ref()])
    }
}

impl MemoryPool for QuestionPool {
    fn name(&self) -> &'static str {
        "question"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pools(consumer).for_each(|pool| pool.register(consumer));
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pools(consumer).for_each(|pool| pool.unregister(consumer));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pools(reservation.consumer()).for_each(|pool| pool.grow(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pools(reservation.consumer()).for_each(|pool| pool.shrink(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let is_merge = reservation.consumer().name().starts_with(MERGE);
        if is_merge && self.own.reserved() + additional > self.mergeable {
            return resources_err!(
                "{} asks for {additional} bytes more: the question has {} of {}",
                reservation.consumer().name(),
                self.own.reserved(),
                self.own
            );
        }
        for (index, pool) in self.pools(reservation.consumer()).enumerate() {
            if let Err(err) = pool.try_grow(reservation, additional) {
                // Whoever agreed before takes it back.
                let agreed = self.pools(reservation.consumer()).take(index);
                agreed.for_each(|pool| pool.shrink(reservation, additional));
                return Err(err);
            }
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl Display for QuestionPool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.own, self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_lowers_limits_and_never_raises_them() {
        let limits = Limits { memory_bytes: 4 << 20, rows: 1_000, ..Limits::default() };
        let lowered = Lowered { rows: Some(10), time: Some(Duration::from_millis(5)), memory_bytes: None };
        let allowed = limits.lowered(&lowered).expect("allowed");
        assert_eq!(
            (allowed.rows, allowed.time, allowed.memory_bytes),
            (10, Duration::from_millis(5), 3 << 20)
        );
        for more in [
            Lowered { rows: Some(1_001), ..Lowered::default() },
            Lowered { time: Some(Duration::from_hours(1)), ..Lowered::default() },
            Lowered { memory_bytes: Some(4 << 20), ..Lowered::default() },
            Lowered { rows: Some(0), ..Lowered::default() },
        ] {
            assert_eq!(limits.lowered(&more).expect_err("refused").code, "request.limits", "{more:?}");
        }
    }

    #[test]
    fn a_question_has_its_own_part_and_no_more_than_all_have() {
        let shared: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        let one: Arc<dyn MemoryPool> = Arc::new(QuestionPool::new(75, shared.clone()));
        let other: Arc<dyn MemoryPool> = Arc::new(QuestionPool::new(75, shared.clone()));
        let first = MemoryConsumer::new("first").register(&one);
        let second = MemoryConsumer::new("second").register(&other);
        assert!(first.try_grow(76).is_err(), "more than its part");
        first.try_grow(75).expect("its part");
        assert!(second.try_grow(26).is_err(), "more than is left");
        assert_eq!((one.reserved(), other.reserved(), shared.reserved()), (75, 0, 75));
        second.try_grow(25).expect("what is left");
        drop((first, second));
        assert_eq!((one.reserved(), other.reserved(), shared.reserved()), (0, 0, 0));
        let sorts = MemoryConsumer::new("sorts").with_can_spill(true).register(&one);
        assert!(sorts.try_grow(38).is_err(), "half is for those that can't spill");
        sorts.try_grow(37).expect("the other half");
        let merges = MemoryConsumer::new("merges").register(&one);
        merges.try_grow(38).expect("the rest");
        assert!(merges.try_grow(1).is_err());
        drop((sorts, merges));
        let merges = MemoryConsumer::new("ExternalSorterMerge[0]").register(&one);
        assert!(merges.try_grow(64).is_err(), "what comes after a merge needs some, too");
        merges.try_grow(63).expect("seven eighths");
    }
}
