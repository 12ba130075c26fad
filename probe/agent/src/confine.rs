//! What a probe may still do once its kernel programs are at work: it reads the kernel's records and its own files, and
//! talks to the collector. It becomes nobody else, starts no program, listens nowhere new, changes no mount or namespace.
//!
//! Capabilities that it doesn't need are given back, and a seccomp filter allows the system calls that it makes and no
//! other: those fail with `EPERM`. To be called while the process has one thread; those that come later inherit it all.

use std::collections::BTreeMap;
use std::io;

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "a hundred names of one kind"))]
use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::sys;

/// Why the process is not confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel didn't take the capabilities back.
    #[error("give capabilities back")]
    Capabilities(#[source] io::Error),
    /// The kernel didn't take the filter.
    #[error("seccomp filter")]
    Seccomp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Capabilities that are kept, if they are there, each with what for (`capabilities(7)`).
const KEPT: [(u32, &str); 7] = [
    (39, "CAP_BPF: maps and programs, a capture's too"),
    (38, "CAP_PERFMON: reading the kernel's structs, uprobes"),
    (12, "CAP_NET_ADMIN: hooks on interfaces that come later"),
    (24, "CAP_SYS_RESOURCE: memory of maps on older kernels"),
    (19, "CAP_SYS_PTRACE: executables and libraries of other users' processes"),
    (2, "CAP_DAC_READ_SEARCH: files of containers, read only"),
    (34, "CAP_SYSLOG: names of the kernel's functions"),
];

/// Gives back what isn't needed.
///
/// # Errors
/// [`ConfineError`]: the kernel refused; a caller that goes on has more rights than it should.
pub fn confine() -> Result<(), ConfineError> {
    let kept = KEPT.iter().fold(0_u64, |set, (capability, _)| set | 1 << capability);
    sys::keep_capabilities(kept).map_err(ConfineError::Capabilities)?;
    let filter = filter().map_err(|error| ConfineError::Seccomp(error.into()))?;
    seccompiler::apply_filter(&filter).map_err(|error| ConfineError::Seccomp(error.into()))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(SYS_socket, sockets()?);
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// To the collector, to the resolver, and to ask the kernel for interfaces; no raw packets.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    [AF_INET, AF_INET6, AF_UNIX, AF_NETLINK]
        .into_iter()
        .map(|family| {
            let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family as u64)?;
            SeccompRule::new(vec![is_it])
        })
        .collect()
}

/// Files, memory, threads, time, waiting, sockets, BPF.
const ALLOWED: &[c_long] = &[
    // Files: the journal, /proc, cgroups, containers' own.
    SYS_openat,
    SYS_openat2,
    SYS_close,
    SYS_close_range,
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_write,
    SYS_writev,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_flock,
    SYS_fcntl,
    SYS_dup,
    SYS_dup3,
    SYS_getcwd,
    SYS_umask,
    SYS_ioctl,
    SYS_pipe2,
    SYS_memfd_create,
    SYS_copy_file_range,
    // Memory.
    SYS_brk,
    SYS_mmap,
    SYS_mremap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,
    // Threads and signals; no other program, and nobody else.
    SYS_clone,
    SYS_clone3,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_futex_waitv,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_rseq,
    SYS_set_tid_address,
    SYS_gettid,
    SYS_getpid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_sched_yield,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_tgkill,
    SYS_kill,
    SYS_restart_syscall,
    SYS_prctl,
    SYS_prlimit64,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrandom,
    SYS_capget,
    // Time and waiting.
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_ppoll,
    SYS_pselect6,
    // Sockets, but for `socket` itself (see `sockets`), and for `bind` and `listen`: what listens, listens already.
    SYS_socketpair,
    SYS_connect,
    SYS_accept4,
    SYS_accept,
    SYS_shutdown,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendmmsg,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_recvmmsg,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_getsockname,
    SYS_getpeername,
    // The kernel's side.
    SYS_bpf,
    SYS_perf_event_open,
];

/// Older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_unlink,
    SYS_rename,
    SYS_poll,
    SYS_select,
    SYS_epoll_wait,
    SYS_pipe,
    SYS_dup2,
    SYS_time,
    SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    /// The list is for the kernel; this holds it to what the module promises.
    #[test]
    fn no_call_is_allowed_that_starts_becomes_or_mounts() {
        let forbidden = [
            SYS_execve,
            SYS_execveat,
            SYS_ptrace,
            SYS_setuid,
            SYS_setresuid,
            SYS_capset,
            SYS_mount,
            SYS_umount2,
            SYS_pivot_root,
            SYS_setns,
            SYS_unshare,
            SYS_init_module,
            SYS_finit_module,
            SYS_kexec_load,
            SYS_reboot,
            SYS_listen,
            SYS_bind,
            SYS_process_vm_writev,
            SYS_io_uring_setup,
        ];
        for call in forbidden {
            assert!(!ALLOWED.contains(&call) && !ALLOWED_HERE.contains(&call), "{call}");
        }
        assert!(filter().is_ok_and(|filter| filter.len() > ALLOWED.len()));
    }
}
