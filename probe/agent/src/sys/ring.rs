//! The reading end of a BPF ring buffer, with a position of its own: what was read is given back to the kernel when its
//! rows are safe, not when it was looked at.
//!
//! Layout as in the kernel's `kernel/bpf/ringbuf.c`: a page with the consumer's position, a page with the producer's, the
//! data twice in a row, so that no record is split; each record behind `length | flags: u32, page: u32`.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEAD: u64 = 8;

struct Mapping {
    at: NonNull<u8>,
    len: NonZeroUsize,
}

// SAFETY: the memory stays mapped as long as the value lives, whichever thread has it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, protection: ProtFlags, offset: usize) -> io::Result<Mapping> {
        let len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new shared mapping wherever the kernel likes; nothing that exists is touched.
        let at = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, fd, offset as i64) }?;
        Ok(Mapping { at: at.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing borrowed from it outlives it. It can't fail for a mapping that exists.
        let _ = unsafe { munmap(self.at.cast(), self.len.get()) };
    }
}

/// A ring buffer's reading end.
pub(crate) struct Ring {
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    mask: u64,
    position: u64,
}

impl Ring {
    /// Maps the ring behind `fd`, whose data has `data_bytes` (a power of two). Reading goes on where it was given back.
    pub(crate) fn new(fd: BorrowedFd<'_>, data_bytes: u32) -> io::Result<Ring> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?
            .and_then(|page| usize::try_from(page).ok())
            .unwrap_or(4096);
        let consumer = Mapping::new(fd, page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, 0)?;
        let producer = Mapping::new(fd, page + 2 * data_bytes as usize, ProtFlags::PROT_READ, page)?;
        let mut ring = Ring { consumer, producer, page, mask: u64::from(data_bytes) - 1, position: 0 };
        ring.position = ring.released().load(Ordering::Acquire);
        Ok(ring)
    }

    /// How far it was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether something was read and not given back.
    pub(crate) fn has_read(&self) -> bool {
        self.released().load(Ordering::Relaxed) != self.position
    }

    /// Skips what an earlier reader had read and had no time to give back.
    pub(crate) fn skip_to(&mut self, position: u64) {
        let produced = self.produced().load(Ordering::Acquire);
        if (self.position..=produced).contains(&position) {
            self.position = position;
            self.release();
        }
    }

    /// The next record; stays where it is until [`Ring::release`].
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        loop {
            if self.position >= self.produced().load(Ordering::Acquire) {
                return None;
            }
            let at = self.page + (self.position & self.mask) as usize;
            // SAFETY: below the producer's position a record's head lies at each record's end, within the data that is
            // mapped twice; it is aligned to 8, and the kernel writes it atomically.
            let head = unsafe { self.producer.at.add(at).cast::<AtomicU32>().as_ref() };
            let head = head.load(Ordering::Acquire);
            if head & BUSY != 0 {
                return None;
            }
            let len = u64::from(head & !(BUSY | DISCARDED));
            self.position += (HEAD + len).next_multiple_of(8);
            if head & DISCARDED == 0 && len <= self.mask {
                let at = at + HEAD as usize;
                // SAFETY: the record lies within the data that is mapped twice, since it is no longer than the ring, and
                // the kernel won't write there again before `release`, which the borrow keeps from being called.
                return Some(unsafe {
                    std::slice::from_raw_parts(self.producer.at.add(at).as_ptr(), len as usize)
                });
            }
        }
    }

    /// Gives all that was read back to the kernel.
    pub(crate) fn release(&mut self) {
        self.released().store(self.position, Ordering::Release);
    }

    fn released(&self) -> &AtomicU64 {
        // SAFETY: the first word of the consumer's page, which is mapped and aligned.
        unsafe { self.consumer.at.cast::<AtomicU64>().as_ref() }
    }

    fn produced(&self) -> &AtomicU64 {
        // SAFETY: the first word of the producer's page, which is mapped and aligned.
        unsafe { self.producer.at.cast::<AtomicU64>().as_ref() }
    }
}
