//! The one thread that writes the log: takes what waits, leaves out what was stored before, one fsync for all,
//! makes it visible, then acknowledges.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, warn};
use weir_model::BatchMeta;

use crate::StoreError;
use crate::arrivals::Arrivals;
use crate::memtable::size_of;
use crate::view::index_of;
use crate::view::{View, Visible};
use crate::wal::{Log, Position, frame};

/// Appends that wait for the thread at most; more wait for their turn.
const WAITING: usize = 256;
/// A group ends at this size, so that the first in it doesn't wait for long.
const GROUP_BYTES: usize = 16 << 20;

/// Batches that are stored together, on their way into the log.
pub(crate) struct Append {
    pub(crate) parts: Vec<(Visible, Bytes)>,
    pub(crate) done: oneshot::Sender<Result<Stored, StoreError>>,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Batches that had been stored before.
    pub(crate) duplicates: usize,
}

/// The thread's other end.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) queue: mpsc::Sender<Append>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the thread; it ends when the queue is closed.
pub(crate) fn start(
    log: Log,
    view: Arc<RwLock<View>>,
    arrivals: Option<Arc<dyn Arrivals>>,
    grown: Arc<Notify>,
) -> std::io::Result<Committer> {
    let (queue, waiting) = mpsc::channel(WAITING);
    let mut writer = Writer { log, view, arrivals, grown, group: Vec::new() };
    let thread = thread::Builder::new().name("weir-wal".to_owned()).spawn(move || writer.run(waiting))?;
    Ok(Committer { queue, thread })
}

struct Writer {
    log: Log,
    view: Arc<RwLock<View>>,
    arrivals: Option<Arc<dyn Arrivals>>,
    /// Told after each group: there may be something to seal.
    grown: Arc<Notify>,
    /// The group's bytes; kept for its room.
    group: Vec<u8>,
}

/// An append in the group: where its record begins, what is new in it, whom to tell.
struct Member {
    position: Position,
    fresh: Vec<Visible>,
    stored: Stored,
    done: oneshot::Sender<Result<Stored, StoreError>>,
}

impl Writer {
    fn run(&mut self, mut waiting: mpsc::Receiver<Append>) {
        while let Some(first) = waiting.blocking_recv() {
            let members = self.gather(first, &mut waiting);
            match self.write() {
                Ok(()) => self.publish(members),
                Err(reason) => refuse(members, &reason),
            }
            self.group.clear();
            self.group.shrink_to(GROUP_BYTES);
            if self.log.is_broken() {
                error!("the log is in an unknown state; nothing more is stored until a restart");
                return;
            }
            if let Err(err) = self.log.rotate_if_full() {
                warn!(%err, "a new log file could not be begun; the old one grows");
            }
        }
    }

    /// Frames `first` and everything that waits behind it.
    fn gather(&mut self, first: Append, waiting: &mut mpsc::Receiver<Append>) -> Vec<Member> {
        let mut members = Vec::new();
        let mut in_group = HashSet::new();
        let mut next = Some(first);
        while let Some(append) = next {
            members.push(self.add(append, &mut in_group));
            next = if self.group.len() < GROUP_BYTES { waiting.try_recv().ok() } else { None };
        }
        members
    }

    /// Frames what is new in `append`: neither stored nor in this group.
    fn add(&mut self, append: Append, in_group: &mut HashSet<BatchMeta>) -> Member {
        let mut position = self.log.end();
        position.offset += self.group.len() as u64;
        let all = append.parts.len();
        let view = self.view.read();
        let fresh: Vec<_> = append
            .parts
            .into_iter()
            .filter(|(visible, _)| {
                !view.seen.contains(&visible.meta) && in_group.insert(visible.meta.clone())
            })
            .collect();
        drop(view);
        if !fresh.is_empty() {
            frame(fresh.iter().map(|(visible, ipc)| (&visible.meta, ipc)), &mut self.group);
        }
        let stored = Stored { duplicates: all - fresh.len() };
        let fresh = fresh.into_iter().map(|(visible, _)| visible).collect();
        Member { position, fresh, stored, done: append.done }
    }

    fn write(&mut self) -> Result<(), String> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.log.append(&self.group).map_err(|err| err.to_string())
    }

    fn publish(&self, mut members: Vec<Member>) {
        let today = today();
        if let Some(arrivals) = &self.arrivals {
            // They are durable, and this thread alone makes rows visible: they arrive in the order of the log.
            let fresh = members.iter_mut().flat_map(|member| &mut member.fresh);
            fresh.for_each(|visible| arrive(&**arrivals, visible, false));
        }
        let mut answers = Vec::with_capacity(members.len());
        {
            let mut view = self.view.write();
            for Member { position, fresh, stored, done } in members {
                for visible in fresh {
                    view.apply(visible, position, today);
                }
                answers.push((done, stored));
            }
            view.applied = self.log.end();
        }
        self.grown.notify_one();
        for (done, stored) in answers {
            // Who asked may be gone; the rows are stored all the same.
            let _ = done.send(Ok(stored));
        }
    }
}

fn refuse(members: Vec<Member>, reason: &str) {
    error!(reason, appends = members.len(), "the log can't be written; senders keep their batches");
    for member in members {
        let _ = member.done.send(Err(StoreError::Wal(reason.to_owned())));
    }
}

/// Makes of a batch what becomes visible of it.
pub(crate) fn arrive(arrivals: &dyn Arrivals, visible: &mut Visible, is_again: bool) {
    if visible.table == index_of(arrivals.table()) {
        visible.batch = arrivals.arrive(&visible.batch, now(), is_again);
        visible.bytes = size_of(&visible.batch);
    }
}

/// Now, ns since the epoch.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i64)
}

/// Days since the epoch.
pub(crate) fn today() -> i64 {
    now() / 86_400_000_000_000
}
