//! When exchanges are looked for, and processes: not more often than it is worth.

use std::time::{Duration, Instant};

/// How often turns are looked through for those whose answer has fallen silent, while there may be some.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);
/// After the last request, so long may a turn not have been silent for long enough.
const SILENCE_WINDOW: Duration = Duration::from_secs(5);
/// How often new processes are looked at.
const PROCESSES_PAUSE: Duration = Duration::from_secs(1);

/// When exchanges were looked for, and processes.
pub(super) struct Looking {
    processes: Option<Instant>,
    silence: Instant,
    pause: Duration,
    begun: u64,
    moved: Instant,
}

impl Looking {
    pub(super) fn new() -> Looking {
        let now = Instant::now();
        Looking { processes: None, silence: now, pause: SILENCE_PAUSE, begun: 0, moved: now }
    }

    pub(super) fn is_time_for_processes(&mut self) -> bool {
        let is_time = self.processes.is_none_or(|at| at.elapsed() >= PROCESSES_PAUSE);
        if is_time {
            self.processes = Some(Instant::now());
        }
        is_time
    }

    /// Where no exchange was begun for longer than the silence that ends one, there is nothing to find.
    pub(super) fn is_time_for_silence(&mut self, begun: u64) -> bool {
        if std::mem::replace(&mut self.begun, begun) != begun {
            self.moved = Instant::now();
        }
        self.silence.elapsed() >= self.pause && self.moved.elapsed() < SILENCE_WINDOW.max(self.pause * 4)
    }

    /// Looking through many connections takes its time: then it is done less often, in at most 2 % of one CPU.
    pub(super) fn took(&mut self, time: Duration) {
        self.silence = Instant::now();
        self.pause = SILENCE_PAUSE.max(time * 50);
    }
}
