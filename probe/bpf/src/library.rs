//! Certificates as TLS libraries get them to read: in TLS 1.3 the wire has them encrypted.
//!
//! A task (thread or goroutine) that receives on a connection whose handshake is under way is noted, until it sends
//! there, or receives on another such connection. What a library's function is given to read meanwhile is the other
//! end's certificate, and the first one is its own: its issuers' follow it. Whoever reads certificates at another time
//! (a bundle of authorities, its own) has no note, which costs one lookup.
//!
//! Memory of programs is read only where a certificate lies: the DER of a sequence, as long as the call says.
//!
//! Limits, also in `docs/certificates.md`: a library whose reading and parsing are on different threads has no note.

use aya_ebpf::bindings::{BPF_ANY, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::bpf_probe_read_user as copy_user;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_probe_read_user};
use weir_abi::{
    CALL_DATUM, CALL_GO_BEGINS, CALL_GO_SLICES, CALL_GO_STRUCT, CALL_POINTER, CALL_SLICE, CALL_SPAN, CERTIFICATE_LARGE,
    CERTIFICATE_SMALL, Certificate, KIND_CERTIFICATE, Lost, call_of, layout_of,
};

use crate::cause;
use crate::exchange;
use crate::kernel::{self, Task};
use crate::maps::{EVENTS, GO_HANDSHAKING, HANDSHAKING, Handshaking, Turn};

/// Set by user space before load: whether libraries are probed.
#[unsafe(no_mangle)]
static WEIR_LIBRARIES: u32 = 0;

/// [`Turn::parsing`]: its task is noted.
const NOTED: u8 = 1;
/// [`Turn::parsing`]: its task shall be when it receives.
const AWAITED: u8 = 2;
/// A library that took longer to read what it received is none that we wait for.
const PATIENCE_NS: u64 = 10_000_000_000;
/// A certificate is longer: its header and the shortest signature take as much.
const SHORTEST: u64 = 64;

/// Whether libraries are probed; the verifier sees a constant.
#[inline(always)]
pub fn wanted() -> bool {
    unsafe { core::ptr::read_volatile(&raw const WEIR_LIBRARIES) != 0 }
}

/// The client's encrypted messages have come: the server receives them now, or will, where they came before its own send
/// call was over.
#[inline(always)]
pub fn client_encrypts(state: &mut Turn, sent: bool) {
    if sent { state.parsing = AWAITED } else { received(state, 0) }
}

/// The task sent or received after [`received`] or [`client_encrypts`].
#[inline(always)]
pub fn moved(state: &mut Turn, has_sent: bool) {
    if state.parsing == NOTED && has_sent {
        sent(state);
    } else if state.parsing == AWAITED && !has_sent {
        received(state, 0);
    }
}

/// The task received on a connection whose handshake is under way; a client has read `received` bytes of the server's
/// stream.
#[inline(always)]
pub fn received(state: &mut Turn, received: u32) {
    state.parsing = NOTED;
    let key = cause::current_task();
    let cookie = state.turn.cookie;
    let time_ns = kernel::now();
    if let Some(note) = HANDSHAKING.get_ptr_mut(&key) {
        let note = unsafe { &mut *note };
        if note.cookie == cookie {
            note.received = received;
            note.time_ns = time_ns;
            return;
        }
    }
    let note = Handshaking { cookie, time_ns, received, taken: 0 };
    // An LRU map has room.
    let _ = HANDSHAKING.insert(&key, &note, u64::from(BPF_ANY));
}

/// The task sent: it has read what it had received.
#[inline(always)]
fn sent(state: &mut Turn) {
    state.parsing = 0;
    let key = cause::current_task();
    if let Some(note) = HANDSHAKING.get_ptr_mut(&key) {
        if unsafe { (*note).cookie } == state.turn.cookie {
            let _ = HANDSHAKING.remove(&key);
        }
    }
}

/// x86-64's `struct pt_regs`, as far as it is read.
#[repr(C)]
pub struct Registers {
    _r15_to_bp: [u64; 5],
    bx: u64,
    _r11_to_r8: [u64; 4],
    _ax: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    _orig_ax: u64,
    _ip: u64,
    _cs: u64,
    _flags: u64,
    sp: u64,
}

/// A library's function was called.
#[inline(always)]
pub fn called(ctx: *mut Registers) -> Result<(), Lost> {
    let cookie = unsafe { bpf_get_attach_cookie(ctx.cast()) };
    if call_of(cookie) == CALL_GO_BEGINS {
        let (pid, layout) = (Task::current().pid(), layout_of(cookie));
        // An LRU map has room.
        let _ = GO_HANDSHAKING.insert(&pid, &layout, u64::from(BPF_ANY));
        return Ok(());
    }
    reads(ctx, call_of(cookie))
}

/// A library's function was called that reads a certificate.
#[inline(always)]
fn reads(ctx: *mut Registers, call: u64) -> Result<(), Lost> {
    let key = cause::current_task();
    // Goroutines change threads at any moment: the thread's note could be another's.
    if call >= CALL_GO_SLICES && key.is_goroutine == 0 {
        return Ok(());
    }
    let Some(note) = HANDSHAKING.get_ptr_mut(&key) else { return Ok(()) };
    let note = unsafe { &mut *note };
    if note.taken != 0 || kernel::now().wrapping_sub(note.time_ns) > PATIENCE_NS {
        return Ok(());
    }
    let Some((at, len)) = argument(unsafe { &*ctx }, call) else { return Ok(()) };
    if len < SHORTEST || len > 0xffff || !is_certificate(at, len) {
        return Ok(());
    }
    // A client can't have it before it received as much; what is read in the midst of a message stands in one.
    let is_early = note.received != 0 && u64::from(note.received) <= len;
    if is_early || (call <= CALL_SPAN && !is_in_message(at, len)) {
        return Ok(());
    }
    if exchange::ring_use(8) {
        return Err(Lost::ChunkShed);
    }
    note.taken = 1;
    if len <= CERTIFICATE_SMALL as u64 {
        copy::<CERTIFICATE_SMALL>(note, at, len)
    } else if len <= CERTIFICATE_LARGE as u64 {
        copy::<CERTIFICATE_LARGE>(note, at, len)
    } else {
        Err(Lost::CertificateTooLong)
    }
}

/// Where the certificate lies, and how long the caller says it is.
#[inline(always)]
fn argument(registers: &Registers, call: u64) -> Option<(u64, u64)> {
    match call {
        CALL_POINTER => Some((user(registers.si)?, registers.dx)),
        CALL_DATUM => {
            let (at, len) = span(registers.si)?;
            Some((at, len & 0xffff_ffff))
        }
        CALL_SPAN => span(registers.di),
        CALL_SLICE => Some((registers.si, registers.dx)),
        CALL_GO_SLICES if registers.cx > 0 => span(registers.bx),
        CALL_GO_STRUCT => {
            let (slices, count) = span(registers.sp.wrapping_add(8))?;
            if count == 0 { None } else { span(slices) }
        }
        _ => None,
    }
}

/// A pointer and a length that lie beside each other.
#[inline(always)]
fn span(at: u64) -> Option<(u64, u64)> {
    Some((user(at)?, user(at.wrapping_add(8))?))
}

#[inline(always)]
fn user(at: u64) -> Option<u64> {
    unsafe { bpf_probe_read_user(at as *const u64) }.ok()
}

/// A sequence (DER) that is exactly so long.
#[inline(always)]
fn is_certificate(at: u64, len: u64) -> bool {
    let Ok(head) = (unsafe { bpf_probe_read_user(at as *const [u8; 4]) }) else { return false };
    let content = u64::from(head[2]) << 8 | u64::from(head[3]);
    head[0] == 0x30 && head[1] == 0x82 && content + 4 == len
}

/// Whether this is the first certificate of a Certificate message (RFC 8446 §4.4.2), where these libraries read it in
/// place: an empty context, the list's length, the certificate's. What is loaded from a file stands alone.
#[inline(always)]
fn is_in_message(at: u64, len: u64) -> bool {
    let Ok(before) = (unsafe { bpf_probe_read_user(at.wrapping_sub(7) as *const [u8; 7]) }) else {
        return false;
    };
    let list = u64::from(before[1]) << 16 | u64::from(before[2]) << 8 | u64::from(before[3]);
    let own = u64::from(before[4]) << 16 | u64::from(before[5]) << 8 | u64::from(before[6]);
    // Behind each certificate are its extensions, at least their length.
    before[0] == 0 && own == len && list >= len + 5
}

#[inline(always)]
fn copy<const N: usize>(note: &Handshaking, at: u64, len: u64) -> Result<(), Lost> {
    // As in `hello::send`: the verifier wants to see the check that the compiler could leave out.
    let len = unsafe { core::ptr::read_volatile(&raw const len) };
    if len == 0 || len > N as u64 {
        return Ok(());
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<Certificate<N>>(0) else {
        return Err(Lost::RingFullChunk);
    };
    let certificate = entry.as_mut_ptr();
    let failed = unsafe {
        let head = &raw mut (*certificate).head;
        (*head).kind = KIND_CERTIFICATE;
        (*head)._pad = 0;
        (*head).len = len as u16;
        (*head).received = note.received;
        (*head).time_ns = kernel::now();
        (*head).cookie = note.cookie;
        copy_user((&raw mut (*certificate).bytes).cast(), len as u32, at as *const _)
    };
    if failed != 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Err(Lost::CertificateUnreadable);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}
