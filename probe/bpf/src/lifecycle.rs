//! TCP connections opened, accepted, refused and closed, from the kernel's state changes.
//!
//! The sequence numbers carry everything: a client's `bytes_acked` counts from its own SYN on, a server's from
//! behind its SYN-ACK, `bytes_received` from behind the peer's SYN. So both initial sequence numbers follow
//! exactly from `snd_una` and `rcv_nxt` at any moment (TCP Fast Open included), and payload is what remains
//! without SYN and FIN.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use weir_abi::{
    Conn, ConnRecord, FLAG_ISNS, Field, KIND_CLOSED, Lost, ROLE_CLIENT, ROLE_LISTENER, ROLE_SERVER, Totals,
};

use crate::exchange;
use crate::hello;
use crate::kernel::{self, Sock, read, tcp};
use crate::lost;
use crate::maps::{CONNS, ConnState, EVENTS, OPENED};

/// `sk` goes from state `old` to `new`.
#[inline(always)]
pub fn changed(sk: *mut c_void, old: i32, new: i32) -> Result<(), Lost> {
    // Null for what shares the hook but isn't TCP: MPTCP's own socket, SCTP, DCCP.
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() {
        return Ok(());
    }
    match new {
        tcp::SYN_SENT => begin(sk, ROLE_CLIENT),
        tcp::LISTEN => begin(sk, ROLE_LISTENER),
        tcp::SYN_RECV if old == tcp::LISTEN => accept(sk),
        tcp::ESTABLISHED => establish(sk, tp),
        tcp::FIN_WAIT1 | tcp::LAST_ACK => finish(sk),
        tcp::CLOSE => close(sk, tp, old),
        _ => Ok(()),
    }
}

/// `connect()` or `listen()`: the process is the one that runs.
#[inline(always)]
fn begin(sk: *mut c_void, role: u8) -> Result<(), Lost> {
    let state = CONNS.get_or_create(sk);
    if state.is_null() {
        return Err(Lost::StorageFull);
    }
    let state = unsafe { &mut *state };
    *state = unsafe { core::mem::zeroed() };
    state.conn.owner = kernel::current_owner();
    state.conn.role = role;
    state.conn.syn_ns = kernel::now();
    if role == ROLE_CLIENT && exchange::wanted() { exchange::connecting(sk) } else { Ok(()) }
}

/// The handshake's last ACK made a socket out of a listener's request; it inherited the listener's storage.
#[inline(always)]
fn accept(sk: *mut c_void) -> Result<(), Lost> {
    let state = CONNS.get_or_create(sk);
    if state.is_null() {
        return Err(Lost::StorageFull);
    }
    let state = unsafe { &mut *state };
    state.conn.role = ROLE_SERVER;
    state.conn.syn_ns = kernel::now();
    Ok(())
}

#[inline(always)]
fn establish(sk: *mut c_void, tp: *mut c_void) -> Result<(), Lost> {
    let state = CONNS.get(sk);
    if state.is_null() {
        return Err(Lost::OpenUnseen);
    }
    let state = unsafe { &mut *state };
    identify(sk, tp, &mut state.conn);
    let now = kernel::now();
    state.conn.opened_ns = now;
    state.conn.connect_us = if state.conn.role == ROLE_CLIENT {
        ((now - state.conn.syn_ns) / 1000) as u32
    } else {
        unsafe { read::<u32>(tp, Field::Srtt) >> 3 }
    };
    if let Some(opened) = OPENED.get_ptr_mut(0) {
        unsafe { lost::add(opened, 1) };
    }
    if state.conn.role == ROLE_SERVER { hello::accepted(state) } else { Ok(()) }
}

/// This end closes its direction, always in a system call of a process that holds the socket: for an accepted
/// connection it is better known now than by the listener's owner.
#[inline(always)]
fn finish(sk: *mut c_void) -> Result<(), Lost> {
    let state = CONNS.get(sk);
    if state.is_null() {
        return Ok(());
    }
    let state = unsafe { &mut *state };
    state.fin_queued = 1;
    own_by_closer(&mut state.conn);
    Ok(())
}

#[inline(always)]
fn own_by_closer(conn: &mut Conn) {
    if conn.role != ROLE_SERVER {
        return;
    }
    let owner = kernel::current_owner();
    if owner.pid != 0 {
        conn.owner = owner;
    }
}

#[inline(always)]
fn close(sk: *mut c_void, tp: *mut c_void, old: i32) -> Result<(), Lost> {
    let state = CONNS.get(sk);
    if state.is_null() {
        return Ok(());
    }
    let state = unsafe { &mut *state };
    if state.closed != 0 || state.conn.role < ROLE_CLIENT {
        return Ok(());
    }
    let error = Sock(sk).error();
    if state.conn.opened_ns == 0 {
        // An accepted socket that never got as far, or a connect() that failed before its SYN: no connection.
        if state.conn.role == ROLE_SERVER || unsafe { read::<u32>(tp, Field::SegsOut) } == 0 {
            return Ok(());
        }
        identify(sk, tp, &mut state.conn);
        state.conn.flags &= !FLAG_ISNS;
    } else if error == 0 && (old == tcp::ESTABLISHED || old == tcp::CLOSE_WAIT) {
        own_by_closer(&mut state.conn);
    }
    state.closed = 1;
    if exchange::wanted() {
        lost::count(exchange::closed(sk, tp, old, error));
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<ConnRecord>(0) else {
        return Err(Lost::RingFullConn);
    };
    let record = unsafe { entry.assume_init_mut() };
    record.kind = KIND_CLOSED;
    record.state = old as u8;
    record.fin_received = u8::from(Sock(sk).fin_received());
    record.fin_sent = state.fin_queued;
    record.error = error;
    record.time_ns = kernel::now();
    record.conn = state.conn;
    record.totals = totals(sk, tp, state);
    record.heads = state.heads;
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}

/// Fills in who talks to whom, and both initial sequence numbers.
#[inline(always)]
pub fn identify(sk: *mut c_void, tp: *mut c_void, conn: &mut Conn) {
    let sock = Sock(sk);
    conn.cookie = unsafe { bpf_get_socket_cookie(sk) };
    (conn.local_ip, conn.remote_ip) = sock.addresses();
    unsafe {
        conn.local_port = u16::from_be(read(tp, Field::LocalPort));
        conn.remote_port = u16::from_be(read(tp, Field::RemotePort));
    }
    conn.netns = sock.netns();
    (conn.local_isn, conn.remote_isn) = sequence_numbers(tp, conn.role);
    conn.flags |= FLAG_ISNS;
}

/// `(this end's, the other's)` initial sequence number, at any moment of the connection's life.
#[inline(always)]
pub fn sequence_numbers(tp: *mut c_void, role: u8) -> (u32, u32) {
    unsafe {
        let acked = read::<u64>(tp, Field::BytesAcked) as u32;
        let una = read::<u32>(tp, Field::SndUna);
        let received = read::<u64>(tp, Field::BytesReceived) as u32;
        let next = read::<u32>(tp, Field::RcvNxt);
        let own = una.wrapping_sub(acked).wrapping_sub(u32::from(role == ROLE_SERVER));
        (own, next.wrapping_sub(received).wrapping_sub(1))
    }
}

/// The counters; payload without the sequence numbers that SYN and FIN take.
#[inline(always)]
pub fn totals(sk: *mut c_void, tp: *mut c_void, state: &ConnState) -> Totals {
    unsafe {
        let una = read::<u32>(tp, Field::SndUna);
        let next = read::<u32>(tp, Field::SndNxt);
        // The FIN is the last thing written: it was sent when all was.
        let fin_sent = state.fin_queued != 0 && next == read::<u32>(tp, Field::WriteSeq);
        let beyond_payload = u64::from(state.conn.role == ROLE_CLIENT) + u64::from(fin_sent);
        let sent = read::<u64>(tp, Field::BytesAcked) + u64::from(next.wrapping_sub(una));
        let received = read::<u64>(tp, Field::BytesReceived);
        let fin_received = u64::from(Sock(sk).fin_received());
        Totals {
            sent_bytes: less(sent, beyond_payload),
            received_bytes: less(received, fin_received),
            segs_out: read(tp, Field::SegsOut),
            segs_in: read(tp, Field::SegsIn),
            retransmits: read(tp, Field::TotalRetrans),
            rtt_us: read::<u32>(tp, Field::Srtt) >> 3,
            rtt_min_us: min_rtt(tp),
            _pad: 0,
        }
    }
}

#[inline(always)]
fn less(value: u64, by: u64) -> u64 {
    if value > by { value - by } else { 0 }
}

/// `struct minmax { struct { u32 t, v; } s[3]; }`: the value of the first sample.
#[inline(always)]
unsafe fn min_rtt(tp: *mut c_void) -> u32 {
    unsafe { kernel::address(tp, Field::RttMin).cast::<u32>().add(1).read_volatile() }
}
