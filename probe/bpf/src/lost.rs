//! Counting what was lost.

use weir_abi::Lost;

use crate::maps::LOST;

/// Counts the loss, if there was one.
#[inline(always)]
pub fn count(result: Result<(), Lost>) {
    if let Err(lost) = result {
        if let Some(counter) = LOST.get_ptr_mut(lost as u32) {
            // An interrupt on this CPU may count in between; the atomic add costs nothing off the hot path.
            unsafe { add(counter, 1) };
        }
    }
}

/// Adds to a counter that other CPUs or interrupts add to.
///
/// # Safety
/// `counter` points into a map's value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(counter, by)
    };
}
