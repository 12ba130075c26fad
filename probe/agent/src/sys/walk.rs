//! Hashes of the kernel's side, read or emptied entry by entry or as a whole, in the ABI's own types.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{MapBatch, MapElement, Plain, bpf, bpf_mut};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// Entries that one call reads.
const AT_ONCE: usize = 256;
/// Where a hash's entries all fell into one bucket.
const MOST_AT_ONCE: usize = 1 << 20;

/// One entry's value.
pub(crate) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    element(BPF_MAP_LOOKUP_ELEM, map, key)
}

/// Takes an entry out, so that nothing is added between reading and removing it.
pub(crate) fn take<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, key)
}

fn element<K: Plain, V: Plain>(command: libc::c_long, map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::zeroed();
    let attr = MapElement {
        map_fd: map.as_raw_fd() as u32,
        _pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match bpf(command, &attr) {
        // SAFETY: it was zeroed, and the kernel wrote the map's value, any bytes of which are one of this type (`Plain`).
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows all entries, bucket by bucket; one that is added or removed meanwhile may be left out, none comes twice.
pub(crate) fn walk<K: Plain + Default, V: Plain + Default>(
    map: BorrowedFd<'_>,
    show: impl FnMut(&K, &V),
) -> io::Result<()> {
    batches(BPF_MAP_LOOKUP_BATCH, map, show)
}

/// Takes all entries out, bucket by bucket.
pub(crate) fn take_all<K: Plain + Default, V: Plain + Default>(
    map: BorrowedFd<'_>,
) -> io::Result<Vec<(K, V)>> {
    let mut taken = Vec::new();
    batches(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, |key, value| taken.push((*key, *value)))?;
    Ok(taken)
}

fn batches<K: Plain + Default, V: Plain + Default>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    mut show: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut room = AT_ONCE;
    let mut keys = vec![K::default(); room];
    let mut values = vec![V::default(); room];
    // Where the kernel goes on, in its own terms.
    let (mut position, mut next) = (0_u32, 0_u32);
    let mut is_first = true;
    loop {
        let mut attr = MapBatch {
            in_batch: if is_first { 0 } else { (&raw const position) as u64 },
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        let is_last = match bpf_mut(command, &mut attr) {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                // One bucket has more than fits: the kernel gave none of it.
                Some(libc::ENOSPC) if room < MOST_AT_ONCE => {
                    room *= 2;
                    keys.resize(room, K::default());
                    values.resize(room, V::default());
                    continue;
                }
                _ => return Err(error),
            },
        };
        // The kernel wrote how many there were.
        let count = (attr.count as usize).min(room);
        keys.iter().zip(&values).take(count).for_each(|(key, value)| show(key, value));
        if is_last {
            return Ok(());
        }
        (position, is_first) = (next, false);
    }
}
