//! The only unsafe code of the agent: bytes as ABI structs, the calls to bpf(2) that aya has no name for, and the ring
//! buffer's reading end (`ring.rs`); whole hashes (`walk.rs`), network devices (`devices.rs`).
#![expect(unsafe_code, reason = "this module is where the agent keeps it")]

mod devices;
mod ring;
mod walk;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use aya_obj::generated::bpf_attach_type::{BPF_TRACE_ITER, BPF_TRACE_UPROBE_MULTI};
use aya_obj::generated::bpf_insn;
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_KPROBE;
use weir_abi::capture::{CAPTURE_TERMS, CaptureTerm, PacketHead};
use weir_abi::{
    CertificateHead, ChunkHead, ConnRecord, DatagramHead, DropKey, Dropped, ExchangeRecord, FirstExchange,
    GoLayout, Opening, PastKey, PathFlow, PathKey, Sweep, Totals, UdpFlow, UdpKey, UdpRecord,
};

pub(crate) use devices::{Device, Devices};
pub(crate) use ring::Ring;
pub(crate) use walk::{lookup, take, take_all, walk};

/// Structs of the ABI that any bytes of their size are a value of, and that have no holes.
pub(crate) trait Plain: Copy {}
impl Plain for Totals {}
impl Plain for UdpKey {}
impl Plain for UdpFlow {}
impl Plain for DropKey {}
impl Plain for Dropped {}
impl Plain for ConnRecord {}
impl Plain for ExchangeRecord {}
impl Plain for FirstExchange {}
impl Plain for ChunkHead {}
impl Plain for UdpRecord {}
impl Plain for DatagramHead {}
impl Plain for PacketHead {}
impl Plain for CertificateHead {}
impl Plain for u64 {}
impl Plain for PathKey {}
impl Plain for PastKey {}
impl Plain for PathFlow {}
impl Plain for Opening {}
impl Plain for crate::path::Told {}
impl Plain for crate::path::Join {}

/// Reads a struct off the beginning of `bytes`; `None` if they are too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice has the struct's size, every bit pattern is a value of it (`Plain`), and the read asks for
    // no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A struct as its bytes.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the value is borrowed for as long as the slice, and has no holes (`Plain`), so each byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// [`UdpKey`] as aya's maps want it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Key(pub(crate) UdpKey);
// SAFETY: `repr(C)` of integers without holes (the ABI asserts its size).
unsafe impl aya::Pod for Key {}

/// [`UdpFlow`] as aya's maps want it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Flow(pub(crate) UdpFlow);
// SAFETY: as above.
unsafe impl aya::Pod for Flow {}

/// [`GoLayout`] as aya's maps want it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct GoValue(pub(crate) GoLayout);
// SAFETY: as above.
unsafe impl aya::Pod for GoValue {}

/// [`Sweep`] as aya's maps want it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct SweepValue(pub(crate) Sweep);
// SAFETY: as above.
unsafe impl aya::Pod for SweepValue {}

/// A capture's filter as aya's globals want it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Terms(pub(crate) [CaptureTerm; CAPTURE_TERMS]);
// SAFETY: as above.
unsafe impl aya::Pod for Terms {}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;

/// `union bpf_attr` as `BPF_LINK_CREATE` reads it.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    _pad: u32,
}

/// `union bpf_attr` as `BPF_LINK_CREATE` reads it for functions of a file.
#[repr(C)]
#[derive(Default)]
struct UprobeLinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    uprobe_flags: u32,
    pid: u32,
    _pad: u32,
}

/// `union bpf_attr` as `BPF_PROG_LOAD` reads it, as far as we set it.
#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` as `BPF_ITER_CREATE` reads it.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// `union bpf_attr` as the map commands read it.
#[repr(C)]
struct MapElement {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` as the batch commands read and write it.
#[repr(C)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

static SAVES_MEMORY: AtomicBool = AtomicBool::new(false);

/// Makes this process one that keeps little memory it doesn't use: one heap, and what is free goes back to the kernel when
/// asked. For a process that is the probe and nothing else; to be called before it has threads.
pub fn save_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls set numbers of the allocator. They fail for values that it doesn't know, which changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        // What each batch needs stays there between two trims: getting its pages anew took a third of our time.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 << 20);
    }
    SAVES_MEMORY.store(true, Ordering::Relaxed);
}

/// Gives what is free back to the kernel, where [`save_memory`] asked for it: a collector in the same process has far more,
/// and would wait meanwhile.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    if SAVES_MEMORY.load(Ordering::Relaxed) {
        // SAFETY: the allocator's own function, which locks what it looks at.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Links an iterator program, over the values of `map` if it is one over a map.
pub fn link_iterator(program: BorrowedFd<'_>, map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    // union bpf_iter_link_info: its first member is the map's descriptor.
    let info: u32 = map.map_or(0, |map| map.as_raw_fd() as u32);
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_ITER as u32,
        ..LinkCreate::default()
    };
    if map.is_some() {
        attr.iter_info = (&raw const info) as u64;
        attr.iter_info_len = size_of::<u32>() as u32;
    }
    let fd = bpf(BPF_LINK_CREATE, &attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a program that is put on functions of files, by one link each ([`link_function`]).
pub(crate) fn load_for_functions(
    name: &str,
    license: &CStr,
    instructions: &[bpf_insn],
) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    let name = &name.as_bytes()[..name.len().min(15)];
    prog_name[..name.len()].copy_from_slice(name);
    let attr = ProgramLoad {
        prog_type: BPF_PROG_TYPE_KPROBE as u32,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI as u32,
    };
    let fd = bpf(BPF_PROG_LOAD, &attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts such a program on the function that begins at `offset` of the file, for whoever runs it. The program is told
/// `cookie` each time.
pub(crate) fn link_function(
    program: BorrowedFd<'_>,
    path: &CStr,
    offset: u64,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let attr = UprobeLinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_UPROBE_MULTI as u32,
        path: path.as_ptr() as u64,
        offsets: (&raw const offset) as u64,
        cookies: (&raw const cookie) as u64,
        cnt: 1,
        ..UprobeLinkCreate::default()
    };
    let fd = bpf(BPF_LINK_CREATE, &attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens one run of a linked iterator; reading the file runs it.
pub fn open_iterator(link: &OwnedFd) -> io::Result<File> {
    let fd = bpf(BPF_ITER_CREATE, &IterCreate { link_fd: link.as_raw_fd() as u32, flags: 0 })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Mounts cgroup v2 without a place in any directory: only who has the descriptor sees it, and it ends with it.
pub(crate) fn mount_cgroup2() -> io::Result<OwnedFd> {
    mount(c"cgroup2")
}

/// The same with a file system for pinned maps: what is pinned there ends with it.
pub(crate) fn mount_bpf() -> io::Result<OwnedFd> {
    mount(c"bpf")
}

fn mount(kind: &CStr) -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: plain system calls; the strings are NUL-terminated and the null pointers are what the command asks for.
    unsafe {
        let context = owned(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1_u32))?;
        let fd = context.as_raw_fd();
        let none = std::ptr::null::<libc::c_char>();
        succeeded(libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0))?;
        owned(libc::syscall(libc::SYS_fsmount, fd, 1_u32, 0_u32))
    }
}

/// # Safety
/// `result` is what a system call that makes a descriptor returned.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    succeeded(result)?;
    // SAFETY: not negative, so it is the descriptor that was just made.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: `attr` is the command's own part of `union bpf_attr`, with its size; what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    succeeded(result)?;
    Ok(result as i32)
}

fn bpf_mut<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: as in `bpf`; the kernel writes results into `attr`, which is ours.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    succeeded(result)?;
    Ok(result as i32)
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHead {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`; two of them hold 64 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAP_SETPCAP: u32 = 8;
const CAPABILITIES: u32 = 64;

/// Keeps of this thread's capabilities those in `kept`, for itself and whatever it becomes, and lets no program that it
/// might start have more (`capabilities(7)`).
pub(crate) fn keep_capabilities(kept: u64) -> io::Result<()> {
    let head = CapabilityHead { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: both structs are what the version asks for.
    succeeded(unsafe { libc::syscall(libc::SYS_capget, &raw const head, words.as_mut_ptr()) })?;
    if words[0].effective >> CAP_SETPCAP & 1 == 1 {
        for capability in (0..CAPABILITIES).filter(|capability| kept >> capability & 1 == 0) {
            // SAFETY: a plain call with integers. It fails beyond the kernel's last capability, which there is none of.
            let _ = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    for (index, word) in words.iter_mut().enumerate() {
        let kept = (kept >> (32 * index)) as u32;
        word.permitted &= kept;
        word.effective = word.permitted;
        word.inheritable = 0;
    }
    // SAFETY: as above, and it only reads them.
    succeeded(unsafe { libc::syscall(libc::SYS_capset, &raw const head, words.as_ptr()) })?;
    // SAFETY: a plain call with integers.
    succeeded(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
}
