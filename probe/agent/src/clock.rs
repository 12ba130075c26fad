//! The kernel's clock (`CLOCK_BOOTTIME`) as UTC.

use nix::time::{ClockId, clock_gettime};

/// Smaller corrections are not followed.
const CORRECTION_NS: i64 = 1_000_000;

/// How far UTC is ahead of the time since boot; UTC is corrected now and then, boot
/// time isn't.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ahead_ns: i64,
}

impl Clock {
    /// Compares the clocks.
    pub(crate) fn read() -> Clock {
        Clock { ahead_ns: nanoseconds(ClockId::CLOCK_REALTIME) - nanoseconds(ClockId::CLOCK_BOOTTIME) }
    }

    /// Follows corrections of UTC that matter; not every microsecond, so that a connection keeps the times it has.
    pub(crate) fn follow(&mut self) {
        let now = Clock::read();
        if (now.ahead_ns - self.ahead_ns).abs() > CORRECTION_NS {
            *self = now;
        }
    }

    /// A time that the kernel gave us, in UTC nanoseconds.
    pub(crate) fn utc(self, boot_ns: u64) -> i64 {
        boot_ns as i64 + self.ahead_ns
    }

    /// A time in UTC as the kernel's.
    pub(crate) fn boot(self, utc_ns: i64) -> u64 {
        (utc_ns - self.ahead_ns).max(0) as u64
    }
}

#[cfg(test)]
impl Clock {
    /// Booted at the epoch.
    pub(crate) fn at_epoch() -> Clock {
        Clock { ahead_ns: 0 }
    }
}

/// Nanoseconds since boot.
pub(crate) fn boot_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME) as u64
}

fn nanoseconds(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel that has BPF; their call can't fail.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
