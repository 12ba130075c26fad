//! The kernel's clock (`CLOCK_BOOTTIME`) as UTC, and what happens when UTC is set.
//!
//! Everything that is compared, waited for or subtracted is in the kernel's clock, which never jumps; UTC is what rows say,
//! and made last.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nix::time::{ClockId, clock_getres, clock_gettime};

/// Smaller corrections are not followed.
const CORRECTION_NS: i64 = 1_000_000;
/// UTC that differs by more between two looks was set by somebody; what runs faster or slower for a while differs by less.
const STEP_NS: i64 = 1_000_000_000;
/// Whoever is put off between two looks at clocks looks again, so many times.
const LOOKS: usize = 16;

/// Where UTC comes from: the machine's clock. One that is set ahead (tests) leaves the machine's alone.
#[derive(Clone, Debug, Default)]
pub struct Wall {
    ahead_ns: Arc<AtomicI64>,
}

impl Wall {
    /// From now on it is ahead of the machine's clock by so much, or behind it.
    pub fn set_ahead(&self, ahead_ns: i64) {
        self.ahead_ns.store(ahead_ns, Ordering::Relaxed);
    }

    /// How far it is ahead of the time since boot.
    fn ahead_of_boot(&self) -> i64 {
        let mut ahead_ns = 0;
        for _ in 0..LOOKS {
            let before = nanoseconds(ClockId::CLOCK_BOOTTIME);
            ahead_ns = nanoseconds(ClockId::CLOCK_REALTIME) - before;
            if nanoseconds(ClockId::CLOCK_BOOTTIME) - before < CORRECTION_NS / 2 {
                break;
            }
        }
        ahead_ns + self.ahead_ns.load(Ordering::Relaxed)
    }
}

/// How far UTC is ahead of the time since boot; UTC is corrected now and then, boot
/// time isn't.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ahead_ns: i64,
}

impl Clock {
    /// Compares the clocks.
    pub(crate) fn read(wall: &Wall) -> Clock {
        Clock { ahead_ns: wall.ahead_of_boot() }
    }

    /// Follows corrections of UTC that matter; not every microsecond, so that a connection keeps the times it has.
    pub(crate) fn follow(&mut self, wall: &Wall) {
        let now = Clock::read(wall);
        if (now.ahead_ns - self.ahead_ns).abs() > CORRECTION_NS {
            *self = now;
        }
    }

    /// Whether UTC was set since it was followed, to another time than it would have come to.
    pub(crate) fn was_set(self, wall: &Wall) -> bool {
        (Clock::read(wall).ahead_ns - self.ahead_ns).abs() > STEP_NS
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

    /// Booted so long after the epoch.
    pub(crate) fn ahead(ahead_ns: i64) -> Clock {
        Clock { ahead_ns }
    }
}

/// Microseconds of the kernel's tick (jiffy), as it reckons itself; its coarse clocks move by one.
pub(crate) fn tick_us() -> i64 {
    const SECOND_NS: i64 = 1_000_000_000;
    // Known to every kernel; its call can't fail.
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |tick| tick.tv_nsec());
    let hertz = (SECOND_NS + tick / 2) / tick.max(1);
    1_000_000 / hertz.max(1)
}

/// Nanoseconds since boot.
pub(crate) fn boot_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME) as u64
}

fn nanoseconds(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel that has BPF; their call can't fail.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_a_correction_and_both_are_followed() {
        let wall = Wall::default();
        let begin = Clock::read(&wall);
        for (ahead_ns, is_step) in [(500_000_000, false), (-500_000_000, false), (-3_600 * STEP_NS, true)] {
            wall.set_ahead(ahead_ns);
            let mut clock = begin;
            assert_eq!(clock.was_set(&wall), is_step, "{ahead_ns} ns");
            clock.follow(&wall);
            assert!(!clock.was_set(&wall));
            let moved = clock.utc(7) - begin.utc(7);
            assert!((moved - ahead_ns).abs() < 100 * CORRECTION_NS, "{moved} of {ahead_ns} ns");
            assert_eq!(clock.boot(clock.utc(7_000)), 7_000);
        }
    }
}
