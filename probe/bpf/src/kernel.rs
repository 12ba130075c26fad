//! Reading the kernel's structs at offsets that user space resolved from BTF.
//!
//! A typed pointer plus an offset from read-only data is, to the verifier, the field: it checks that one lies
//! there, and the load needs no helper.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_task_btf, bpf_ktime_get_boot_ns};
use weir_abi::{Field, Owner};

/// Set by user space before load.
#[unsafe(no_mangle)]
static WEIR_OFFSETS: [u32; Field::COUNT] = [0; Field::COUNT];

/// TCP states (`include/net/tcp_states.h`).
pub mod tcp {
    pub const ESTABLISHED: i32 = 1;
    pub const SYN_SENT: i32 = 2;
    pub const SYN_RECV: i32 = 3;
    pub const FIN_WAIT1: i32 = 4;
    pub const FIN_WAIT2: i32 = 5;
    pub const TIME_WAIT: i32 = 6;
    pub const CLOSE: i32 = 7;
    pub const CLOSE_WAIT: i32 = 8;
    pub const LAST_ACK: i32 = 9;
    pub const LISTEN: i32 = 10;
    pub const CLOSING: i32 = 11;

    /// Whether this end's FIN is queued behind what the application wrote.
    #[inline(always)]
    pub fn fin_is_queued(state: i32) -> bool {
        matches!(state, FIN_WAIT1 | FIN_WAIT2 | TIME_WAIT | LAST_ACK | CLOSING)
    }
}

const AF_INET: u16 = 2;
const PF_KTHREAD: u32 = 0x0020_0000;
const SOCK_DONE: u64 = 1 << 1;

#[inline(always)]
fn offset(field: Field) -> usize {
    // Volatile: the compiler must not take the zeros above for the values.
    unsafe { core::ptr::read_volatile(&raw const WEIR_OFFSETS[field as usize]) as usize }
}

/// Whether this kernel has the field; where it hasn't, the verifier prunes what would read it.
#[inline(always)]
pub fn has(field: Field) -> bool {
    offset(field) != u32::MAX as usize
}

/// Loads a field of a kernel struct.
///
/// # Safety
/// `base` is a typed kernel pointer to the struct that `field` is in.
#[inline(always)]
pub unsafe fn read<T: Copy>(base: *const c_void, field: Field) -> T {
    unsafe { address(base, field).cast::<T>().read_volatile() }
}

/// Where a field of a kernel struct lies.
///
/// # Safety
/// As for [`read`].
#[inline(always)]
pub unsafe fn address(base: *const c_void, field: Field) -> *const u8 {
    unsafe { base.cast::<u8>().add(offset(field)) }
}

/// Memory of the kernel, wherever that is.
#[inline(always)]
pub fn copy<T: Copy>(from: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    let failed = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const c_void)
    };
    if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now() -> u64 {
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The socket that a packet belongs to, or null.
#[inline(always)]
pub fn socket_of(skb: *mut __sk_buff) -> *mut c_void {
    unsafe { (*skb).__bindgen_anon_2.sk }.cast()
}

/// A `struct tcp_sock` whose fields can be had.
pub trait Tcp: Copy {
    /// A field, `skip` bytes into it.
    fn get_at<T: Copy>(self, field: Field, skip: usize) -> T;

    /// A field.
    #[inline(always)]
    fn get<T: Copy>(self, field: Field) -> T {
        self.get_at(field, 0)
    }

    /// Two neighbours of an array.
    #[inline(always)]
    fn pair_at(self, field: Field, skip: usize) -> [u32; 2] {
        [self.get_at(field, skip), self.get_at(field, skip + 4)]
    }
}

/// A typed pointer to it: its fields are loaded.
#[derive(Clone, Copy)]
pub struct Typed(pub *mut c_void);

impl Tcp for Typed {
    #[inline(always)]
    fn get_at<T: Copy>(self, field: Field, skip: usize) -> T {
        unsafe { address(self.0, field).add(skip).cast::<T>().read_volatile() }
    }
}

/// Its address, where the socket may be gone meanwhile: its fields are copied, zeros where that fails.
#[derive(Clone, Copy)]
pub struct Known(pub u64);

impl Tcp for Known {
    #[inline(always)]
    fn get_at<T: Copy>(self, field: Field, skip: usize) -> T {
        copied(self.0 as *const c_void, field, skip)
    }

    /// One copy, not two.
    #[inline(always)]
    fn pair_at(self, field: Field, skip: usize) -> [u32; 2] {
        self.get_at(field, skip)
    }
}

/// A field of a kernel struct whose address is only a number.
#[inline(always)]
pub fn copied<T: Copy>(base: *const c_void, field: Field, skip: usize) -> T {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address(base, field).add(skip).cast(),
        );
        value.assume_init()
    }
}

/// A typed `struct sock`.
#[derive(Clone, Copy)]
pub struct Sock(pub *mut c_void);

impl Sock {
    /// Local and remote address, IPv4 mapped.
    #[inline(always)]
    pub fn addresses(self) -> ([u8; 16], [u8; 16]) {
        if unsafe { read::<u16>(self.0, Field::Family) } == AF_INET {
            let local = unsafe { read::<u32>(self.0, Field::LocalIp4) };
            let remote = unsafe { read::<u32>(self.0, Field::RemoteIp4) };
            (mapped(local), mapped(remote))
        } else {
            (self.wide(Field::LocalIp6), self.wide(Field::RemoteIp6))
        }
    }

    #[inline(always)]
    fn wide(self, field: Field) -> [u8; 16] {
        let halves: [u64; 2] = unsafe {
            let base = address(self.0, field).cast::<u64>();
            [base.read_volatile(), base.add(1).read_volatile()]
        };
        unsafe { core::mem::transmute(halves) }
    }

    /// Inode of the network namespace.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        unsafe {
            let net: *const c_void = read(self.0, Field::Net);
            read(net, Field::NetInode)
        }
    }

    /// Whether it is TCP's own (not MPTCP's, nor another protocol's).
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        const IPPROTO_TCP: u16 = 6;
        unsafe { read::<u16>(self.0, Field::Protocol) == IPPROTO_TCP }
    }

    /// Whether the peer's FIN was received.
    #[inline(always)]
    pub fn fin_received(self) -> bool {
        fin_received(Typed(self.0))
    }

    /// The errno that ended it.
    #[inline(always)]
    pub fn error(self) -> u32 {
        unsafe { read(self.0, Field::Error) }
    }

    /// The errno of an ICMP error that came while a system call held the socket: it is not the socket's own, but where a
    /// `connect()` failed, it says why. Over IPv4 such an error is queued as well, and what has asked for it
    /// (`SO_ERROR`) leaves it there.
    #[inline(always)]
    pub fn told_error(self) -> u32 {
        /// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`.
        const ORIGINS: [u8; 2] = [2, 3];
        if !has(Field::SoftError) || !has(Field::QueuedErrno) || !has(Field::QueuedOrigin) {
            return 0;
        }
        if !has(Field::ErrorQueue) || !has(Field::ErrorQueueLast) || !has(Field::SkbControl) {
            return 0;
        }
        unsafe {
            let last = read::<u64>(self.0, Field::ErrorQueueLast);
            if last != address(self.0, Field::ErrorQueue) as u64 {
                let queued = address(last as *const c_void, Field::SkbControl).cast();
                let origin = copy::<u8>(address(queued, Field::QueuedOrigin) as u64).unwrap_or(0);
                if ORIGINS.contains(&origin) {
                    return copy(address(queued, Field::QueuedErrno) as u64).unwrap_or(0);
                }
            }
            read(self.0, Field::SoftError)
        }
    }
}

/// Whether the peer's FIN was received.
#[inline(always)]
pub fn fin_received(tcp: impl Tcp) -> bool {
    tcp.get::<u64>(Field::SockFlags) & SOCK_DONE != 0
}

#[inline(always)]
pub fn mapped(ip4: u32) -> [u8; 16] {
    // Network order stays: ::ffff:a.b.c.d.
    let halves: [u32; 4] = [0, 0, 0xffff_0000, ip4];
    unsafe { core::mem::transmute(halves) }
}

/// A typed `struct task_struct`.
#[derive(Clone, Copy)]
pub struct Task(pub *mut c_void);

impl Task {
    #[inline(always)]
    pub fn current() -> Task {
        Task(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// Process id; 0 for kernel threads, which close sockets for others and own none that we report.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        unsafe {
            if read::<u32>(self.0, Field::TaskFlags) & PF_KTHREAD != 0 {
                return 0;
            }
            read(self.0, Field::Tgid)
        }
    }

    /// The thread's own id.
    #[inline(always)]
    pub fn thread_id(self) -> u32 {
        unsafe { read(self.0, Field::ThreadId) }
    }

    /// The thread's own name.
    #[inline(always)]
    pub fn thread_name(self) -> [u8; 16] {
        let halves: [u64; 2] = unsafe {
            let base = address(self.0, Field::Comm).cast::<u64>();
            [base.read_volatile(), base.add(1).read_volatile()]
        };
        unsafe { core::mem::transmute(halves) }
    }

    /// Where the thread's own storage lies in its program's memory; 0 where this machine has no such field.
    #[inline(always)]
    pub fn fs_base(self) -> u64 {
        if has(Field::FsBase) { unsafe { read(self.0, Field::FsBase) } } else { 0 }
    }

    /// The main thread's name: threads have names that no one knows the process by.
    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        let halves: [u64; 2] = unsafe {
            let leader: *const c_void = read(self.0, Field::Leader);
            let base = address(leader, Field::Comm).cast::<u64>();
            [base.read_volatile(), base.add(1).read_volatile()]
        };
        unsafe { core::mem::transmute(halves) }
    }

    /// Inode of its cgroup v2 directory.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        unsafe {
            let set: *const c_void = read(self.0, Field::Cgroups);
            let cgroup: *const c_void = read(set, Field::DefaultCgroup);
            let node: *const c_void = read(cgroup, Field::CgroupNode);
            read(node, Field::NodeId)
        }
    }

    /// Who this task is, as a socket's owner.
    #[inline(always)]
    pub fn owner(self) -> Owner {
        Owner { cgroup_id: self.cgroup_id(), pid: self.pid(), _pad: 0, comm: self.comm() }
    }
}

/// Who runs right now; only meaningful where the kernel works on behalf of a system call.
#[inline(always)]
pub fn current_owner() -> Owner {
    let task = Task::current();
    Owner { cgroup_id: unsafe { bpf_get_current_cgroup_id() }, pid: task.pid(), _pad: 0, comm: task.comm() }
}
