//! Iterators: what living connections count, and sockets older than the probe. Their output is a file that user
//! space reads, so that no ring can overflow.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_seq_write, bpf_skc_to_tcp_sock, bpf_sock_from_file};
use weir_abi::{
    Conn, ConnRecord, FLAG_BACKFILLED, FLAG_ISNS, Field, KIND_LIVING, Lost, ROLE_CLIENT, ROLE_SERVER, SWEEP_ALL,
    SWEEP_EARLY,
};

use crate::kernel::{self, Known, Task, Tcp, Typed, read, tcp};
use crate::lifecycle::{fresh, identify, is_held_back, keep, sequence_numbers, totals};
use crate::maps::{CONNS, ConnState, FRESH_OLDER, LISTENERS, STREAM_DONE, SWEEP, TURNS, Table};

/// Reports a living connection if this sweep wants it. Its socket is known by its address alone, and may be gone.
#[inline(always)]
pub fn living(meta: *mut c_void, sk: u64, state: *mut ConnState) -> Result<(), Lost> {
    let state = unsafe { &mut *state };
    if state.conn.opened_ns == 0 || state.closed != 0 {
        return Ok(());
    }
    let Some(sweep) = SWEEP.get(0) else { return Ok(()) };
    if state.reported == 0 {
        if state.conn.opened_ns > sweep.opened_before_ns {
            return Ok(());
        }
    } else if sweep.mode == SWEEP_EARLY {
        return Ok(());
    }
    let tcp = Known(sk);
    if tcp.get::<u64>(Field::Cookie) != state.conn.cookie {
        return vanished(sk, state);
    }
    let segs = segments(tcp);
    // Each field that is looked at costs every idle connection some 100 ns. What began to hold an end back came with
    // segments, and an end that nobody saw too, but for those that were there before us.
    let is_still = segs == state.reported_segs && (state.held_back == 0 || !is_held_back(tcp));
    let is_passed_over = state.reported != 0 && sweep.mode != SWEEP_ALL && is_still;
    if is_passed_over && state.conn.flags & FLAG_BACKFILLED == 0 {
        return Ok(());
    }
    let tcp_state = tcp.get::<u8>(Field::State);
    if i32::from(tcp_state) == tcp::CLOSE {
        return vanished(sk, state);
    }
    if is_passed_over {
        return Ok(());
    }
    report(meta, tcp, tcp_state, state, segs)
}

/// The socket is closed, or another one's by now, and nobody saw it close: a state change in an interrupt of our own program
/// is passed over, and one that comes while [`older`] takes note of the connection finds nothing to end. A close that is
/// seen has taken the entry out before the socket says that it is closed.
#[inline(always)]
fn vanished(sk: u64, state: &mut ConnState) -> Result<(), Lost> {
    if state.closed != 0 {
        return Ok(());
    }
    state.closed = 1;
    let _ = CONNS.remove(sk);
    let _ = TURNS.remove(sk);
    Err(Lost::CloseUnseen)
}

#[inline(always)]
fn segments(tcp: impl Tcp) -> u64 {
    u64::from(tcp.get::<u32>(Field::SegsIn)) + u64::from(tcp.get::<u32>(Field::SegsOut))
}

#[inline(always)]
fn report(
    meta: *mut c_void,
    tcp: impl Tcp,
    tcp_state: u8,
    state: &mut ConnState,
    segs: u64,
) -> Result<(), Lost> {
    let fin_is_queued = tcp::fin_is_queued(i32::from(tcp_state));
    let role = state.conn.role;
    let mut record = ConnRecord {
        kind: KIND_LIVING,
        state: tcp_state,
        fin_received: 0,
        fin_sent: u8::from(fin_is_queued),
        error: 0,
        time_ns: kernel::now(),
        conn: state.conn,
        totals: totals(tcp, role, fin_is_queued),
        heads: state.heads,
    };
    // Nobody locks the socket for us. The initial sequence numbers that follow from the counters must be those of
    // the beginning; if not, a packet came in between.
    if record.conn.flags & FLAG_ISNS != 0 && sequence_numbers(tcp, role) != isns(&record.conn) {
        record.totals = totals(tcp, role, fin_is_queued);
        if sequence_numbers(tcp, role) != isns(&record.conn) {
            return Err(Lost::ReadTorn);
        }
    }
    // It ended meanwhile, and another connection may have its entry already.
    if state.closed != 0 || state.conn.cookie != record.conn.cookie {
        return Ok(());
    }
    // The file's buffer is full: the kernel shows us this socket again with an empty one.
    if write(meta, &record) {
        state.reported = 1;
        state.reported_segs = segs;
        state.held_back = u8::from(is_held_back(tcp));
    }
    Ok(())
}

#[inline(always)]
fn isns(conn: &Conn) -> (u32, u32) {
    (conn.local_isn, conn.remote_isn)
}

#[inline(always)]
fn write(meta: *mut c_void, record: &ConnRecord) -> bool {
    // struct bpf_iter_meta begins with its seq_file.
    let seq = unsafe { *meta.cast::<*mut c_void>() };
    let bytes = core::ptr::from_ref(record).cast();
    unsafe { bpf_seq_write(seq.cast(), bytes, size_of::<ConnRecord>() as u32) == 0 }
}

/// Picks up a TCP socket that was there before us: listeners for their owner, connections with their counters
/// so far, which user space takes as the start.
#[inline(always)]
pub fn older(meta: *mut c_void, task: Task, file: *mut c_void) -> Result<(), Lost> {
    let socket = unsafe { bpf_sock_from_file(file.cast()) }.cast::<c_void>();
    if socket.is_null() {
        return Ok(());
    }
    let sk: *mut c_void = unsafe { read(socket, Field::SocketSock) };
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() {
        return Ok(());
    }
    let tcp_state = i32::from(unsafe { read::<u8>(sk, Field::State) });
    if !matches!(tcp_state, tcp::ESTABLISHED | tcp::CLOSE_WAIT | tcp::LISTEN) {
        return Ok(());
    }
    if tcp_state == tcp::LISTEN {
        let owner = LISTENERS.get_or_create(sk);
        if let Some(owner) = unsafe { owner.as_mut() }
            && owner.pid == 0
        {
            *owner = task.owner();
        }
        return Ok(());
    }
    if let Some(state) = unsafe { CONNS.of(sk).as_mut() } {
        // Another process that holds it too, or one that began since the programs are at work.
        if state.conn.owner.pid == 0 {
            state.conn.owner = task.owner();
        }
        return Ok(());
    }
    let Some(state) = fresh(FRESH_OLDER) else { return Ok(()) };
    let (role, certain) = role_by_counters(tp);
    state.conn.role = role;
    state.conn.owner = task.owner();
    identify(sk, tp, &mut state.conn);
    state.conn.flags = FLAG_BACKFILLED | if certain { FLAG_ISNS } else { 0 };
    state.conn.opened_ns = kernel::now();
    state.stream = [STREAM_DONE; 2];
    keep(sk, state)?;
    let Some(state) = (unsafe { CONNS.of(sk).as_mut() }) else { return Ok(()) };
    let segs = segments(Typed(tp));
    report(meta, Typed(tp), tcp_state as u8, state, segs)
}

/// A client's sequence space is its payload and its SYN, a server's counters begin behind the SYN: the one
/// number between them tells who opened a connection that nobody saw opening. `false`: they disagree (a packet
/// came in between, or part of a segment was refused by the device), and the role is a guess.
#[inline(always)]
fn role_by_counters(tp: *mut c_void) -> (u8, bool) {
    unsafe {
        let in_flight = read::<u32>(tp, Field::SndNxt).wrapping_sub(read::<u32>(tp, Field::SndUna));
        let sequence = read::<u64>(tp, Field::BytesAcked) + u64::from(in_flight);
        let payload = read::<u64>(tp, Field::BytesSent) - read::<u64>(tp, Field::BytesRetrans);
        if sequence == payload + 1 { (ROLE_CLIENT, true) } else { (ROLE_SERVER, sequence == payload) }
    }
}
