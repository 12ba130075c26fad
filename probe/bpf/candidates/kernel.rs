//! Reading the kernel's structs, and what several candidates share.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;

use crate::fields::FIELDS;

/// Set by the bench before load.
#[unsafe(no_mangle)]
static CANDIDATE_OFFSETS: [u32; FIELDS.len()] = [0; FIELDS.len()];

/// Indexes into `FIELDS`.
pub const REMOTE_IP: usize = 0;
pub const LOCAL_IP: usize = 1;
pub const REMOTE_PORT: usize = 2;
pub const LOCAL_PORT: usize = 3;
pub const BYTES_ACKED: usize = 4;
pub const BYTES_RECEIVED: usize = 5;
pub const SEGS_IN: usize = 6;
pub const SEGS_OUT: usize = 7;
pub const SRTT: usize = 8;
pub const RETRANSMITS: usize = 9;
pub const SND_UNA: usize = 10;
pub const RCV_NXT: usize = 11;
pub const SOCKET_SOCK: usize = 12;

/// `BPF_RB_NO_WAKEUP`.
pub const QUIET: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
pub const WAKE: u64 = 2;

/// Records for the bench, which reads and drops them.
#[btf_map(name = "EVENTS")]
pub static EVENTS: RingBuf<u8, { 8 << 20 }> = RingBuf::new();

/// # Safety
/// `base` is a typed kernel pointer to the struct that the field is in.
#[inline(always)]
pub unsafe fn read<T: Copy>(base: *const c_void, field: usize) -> T {
    unsafe {
        let offset = core::ptr::read_volatile(&raw const CANDIDATE_OFFSETS[field]) as usize;
        base.cast::<u8>().add(offset).cast::<T>().read_volatile()
    }
}

#[inline(always)]
pub fn now() -> u64 {
    unsafe { bpf_ktime_get_boot_ns() }
}

/// # Safety
/// `counter` points into a map's value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(counter, by)
    };
}

/// Socket storage.
#[repr(C)]
pub struct SkStorage<T> {
    r#type: *const [i32; 24], // BPF_MAP_TYPE_SK_STORAGE
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are what the loader reads from BTF; nothing dereferences them.
unsafe impl<T> Sync for SkStorage<T> {}

impl<T> SkStorage<T> {
    pub const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    #[inline(always)]
    pub fn get(&self, sk: *mut c_void) -> *mut T {
        self.lookup(sk, 0)
    }

    #[inline(always)]
    pub fn get_or_create(&self, sk: *mut c_void) -> *mut T {
        self.lookup(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn lookup(&self, sk: *mut c_void, flags: u64) -> *mut T {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags) }.cast()
    }
}
