//! TCP connections opened, accepted, refused and closed, from the kernel's state changes.
//!
//! The sequence numbers carry everything: a client's `bytes_acked` counts from its own SYN on, a server's from
//! behind its SYN-ACK, `bytes_received` from behind the peer's SYN. So both initial sequence numbers follow
//! exactly from `snd_una` and `rcv_nxt` at any moment (TCP Fast Open included), and payload is what remains
//! without SYN and FIN.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_jiffies64, bpf_skc_to_tcp_sock};
use weir_abi::{
    Conn, ConnRecord, FLAG_ISNS, Field, KIND_CLOSED, Lost, ROLE_CLIENT, ROLE_SERVER, Totals,
};

use crate::exchange;
use crate::hello;
use crate::kernel::{self, Sock, Tcp, Typed, read, tcp};
use crate::lost;
use crate::maps::{CONNS, ConnState, EVENTS, FRESH, FRESH_OPENED, LISTENERS, OPENED, Table};

/// `sk` goes from state `old` to `new`.
#[inline(always)]
pub fn changed(sk: *mut c_void, old: i32, new: i32) -> Result<(), Lost> {
    // MPTCP's own socket, SCTP and DCCP share the hook.
    if !Sock(sk).is_tcp() {
        return Ok(());
    }
    match new {
        tcp::SYN_SENT => connect(sk),
        tcp::LISTEN => listen(sk),
        tcp::ESTABLISHED => establish(sk, old),
        tcp::FIN_WAIT1 | tcp::LAST_ACK => finish(sk),
        tcp::CLOSE => close(sk, old),
        _ => Ok(()),
    }
}

/// The socket as TCP's; there is always one, which the verifier doesn't know.
#[inline(always)]
fn tcp_sock(sk: *mut c_void) -> Option<*mut c_void> {
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() { None } else { Some(tp) }
}

/// `listen()`: the process is the one that runs.
#[inline(always)]
fn listen(sk: *mut c_void) -> Result<(), Lost> {
    let owner = LISTENERS.get_or_create(sk);
    if !owner.is_null() {
        unsafe { *owner = kernel::current_owner() };
    }
    // Without, who accepts is known when it reads or closes.
    Ok(())
}

/// `connect()`: the process is the one that runs.
#[inline(always)]
fn connect(sk: *mut c_void) -> Result<(), Lost> {
    let Some(state) = fresh(FRESH_OPENED) else { return Ok(()) };
    state.conn.owner = kernel::current_owner();
    state.conn.role = ROLE_CLIENT;
    state.conn.syn_ns = kernel::now();
    keep(sk, state)?;
    if exchange::wanted() { exchange::connecting(sk) } else { Ok(()) }
}

/// An empty state to be filled; `whose` is `FRESH_*`. A program doesn't interrupt itself on one CPU.
#[inline(always)]
pub fn fresh(whose: u32) -> Option<&'static mut ConnState> {
    let state = unsafe { &mut *FRESH.get_ptr_mut(whose)? };
    *state = unsafe { core::mem::zeroed() };
    Some(state)
}

/// Puts a state into its map. What is there under the same address is of a socket that is gone, and nobody saw it close.
#[inline(always)]
pub fn keep(sk: *mut c_void, state: &ConnState) -> Result<(), Lost> {
    const EEXIST: i32 = 17;
    match CONNS.insert(sk as u64, state, u64::from(BPF_NOEXIST)) {
        Ok(()) => Ok(()),
        Err(error) if error as i32 == -EEXIST => {
            lost::count(Err(Lost::CloseUnseen));
            exchange::forget(sk);
            CONNS.insert(sk as u64, state, u64::from(BPF_ANY)).map_err(|_| Lost::StorageFull)
        }
        Err(_) => Err(Lost::StorageFull),
    }
}

/// The connection is there: a client's is known; a server's begins here, as the handshake's last ACK made a socket out of
/// a listener's request.
#[inline(always)]
fn establish(sk: *mut c_void, old: i32) -> Result<(), Lost> {
    let Some(tp) = tcp_sock(sk) else { return Ok(()) };
    let state = CONNS.of(sk);
    let now = kernel::now();
    if let Some(opened) = OPENED.get_ptr_mut(0) {
        unsafe { lost::add(opened, 1) };
    }
    if let Some(state) = unsafe { state.as_mut() }
        && state.closed == 0
        && (old != tcp::SYN_RECV || state.conn.cookie == unsafe { bpf_get_socket_cookie(sk) })
    {
        identify(sk, tp, &mut state.conn);
        state.conn.opened_ns = now;
        state.conn.connect_us = ((now - state.conn.syn_ns) / 1000) as u32;
        return Ok(());
    }
    if old != tcp::SYN_RECV {
        return Err(Lost::OpenUnseen);
    }
    let Some(state) = fresh(FRESH_OPENED) else { return Ok(()) };
    state.conn.role = ROLE_SERVER;
    state.conn.syn_ns = now;
    state.conn.opened_ns = now;
    identify(sk, tp, &mut state.conn);
    state.conn.connect_us = unsafe { read::<u32>(tp, Field::Srtt) >> 3 };
    let mut result = Ok(());
    if let Some(first) = hello::kept_for(&state.conn) {
        state.conn.owner = first.owner;
        result = hello::accepted(state, first);
    }
    keep(sk, state)?;
    result
}

/// This end closes its direction, always in a system call of a process that holds the socket: for an accepted
/// connection it is better known now than by the listener's owner.
#[inline(always)]
fn finish(sk: *mut c_void) -> Result<(), Lost> {
    if let Some(state) = unsafe { CONNS.of(sk).as_mut() } {
        own_by_closer(&mut state.conn);
    }
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

/// The connection is over: its entry goes, whatever becomes of its record.
#[inline(always)]
fn close(sk: *mut c_void, old: i32) -> Result<(), Lost> {
    let Some(tp) = tcp_sock(sk) else { return Ok(()) };
    let Some(state) = (unsafe { CONNS.of(sk).as_mut() }) else { return Ok(()) };
    let result = tell(sk, tp, old, state);
    CONNS.forget(sk);
    if exchange::wanted() {
        exchange::forget(sk);
    }
    result
}

#[inline(always)]
fn tell(sk: *mut c_void, tp: *mut c_void, old: i32, state: &mut ConnState) -> Result<(), Lost> {
    // Iterations that are at it leave it.
    state.closed = 1;
    let mut error = Sock(sk).error();
    if state.conn.opened_ns == 0 {
        // An ICMP error that came while the call held the socket is not the socket's own; but it is why the call failed.
        if error == 0 {
            error = Sock(sk).told_error();
        }
        // A connect() that failed before its SYN: no connection.
        if unsafe { read::<u32>(tp, Field::SegsOut) } == 0 {
            return Ok(());
        }
        identify(sk, tp, &mut state.conn);
        state.conn.flags &= !FLAG_ISNS;
    } else if error == 0 && (old == tcp::ESTABLISHED || old == tcp::CLOSE_WAIT) {
        own_by_closer(&mut state.conn);
    }
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
    record.fin_sent = u8::from(tcp::fin_is_queued(old));
    record.error = error;
    record.time_ns = kernel::now();
    record.conn = state.conn;
    record.totals = totals(Typed(tp), state.conn.role, tcp::fin_is_queued(old));
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
    (conn.local_isn, conn.remote_isn) = sequence_numbers(Typed(tp), conn.role);
    conn.flags |= FLAG_ISNS;
}

/// `(this end's, the other's)` initial sequence number, at any moment of the connection's life.
#[inline(always)]
pub fn sequence_numbers(tcp: impl Tcp, role: u8) -> (u32, u32) {
    let acked = tcp.get::<u64>(Field::BytesAcked) as u32;
    let una = tcp.get::<u32>(Field::SndUna);
    let received = tcp.get::<u64>(Field::BytesReceived) as u32;
    let next = tcp.get::<u32>(Field::RcvNxt);
    let own = una.wrapping_sub(acked).wrapping_sub(u32::from(role == ROLE_SERVER));
    (own, next.wrapping_sub(received).wrapping_sub(1))
}

/// The counters; payload without the sequence numbers that SYN and FIN take.
#[inline(always)]
pub fn totals(tcp: impl Tcp, role: u8, fin_is_queued: bool) -> Totals {
    let una = tcp.get::<u32>(Field::SndUna);
    let next = tcp.get::<u32>(Field::SndNxt);
    // The FIN is the last thing written: it was sent when all was.
    let fin_sent = fin_is_queued && next == tcp.get::<u32>(Field::WriteSeq);
    let beyond_payload = u64::from(role == ROLE_CLIENT) + u64::from(fin_sent);
    let sent = tcp.get::<u64>(Field::BytesAcked) + u64::from(next.wrapping_sub(una));
    let received = tcp.get::<u64>(Field::BytesReceived);
    let [window_limited, buffer_limited] = limited(tcp);
    Totals {
        sent_bytes: less(sent, beyond_payload),
        received_bytes: less(received, u64::from(kernel::fin_received(tcp))),
        resent_bytes: tcp.get(Field::BytesRetrans),
        segs_out: tcp.get(Field::SegsOut),
        segs_in: tcp.get(Field::SegsIn),
        retransmits: tcp.get(Field::TotalRetrans),
        rtt_us: tcp.get::<u32>(Field::Srtt) >> 3,
        // `struct minmax { struct { u32 t, v; } s[3]; }`: the value of the first sample.
        rtt_min_us: tcp.get_at(Field::RttMin, 4),
        lost_segs: or_zero(tcp, Field::LostSegs),
        out_of_order_segs: or_zero(tcp, Field::OutOfOrder),
        window_limited,
        buffer_limited,
        _pad: 0,
    }
}

#[inline(always)]
fn or_zero(tcp: impl Tcp, field: Field) -> u32 {
    if kernel::has(field) { tcp.get(field) } else { 0 }
}

/// `tcp_sock.chrono_type`: the peer's window is all that keeps this end from sending.
const WINDOW_LIMITED: u8 = 2;
/// The same: its send buffer is.
const BUFFER_LIMITED: u8 = 3;

/// What this end is timed for now, if the kernel says so.
#[inline(always)]
fn timed(tcp: impl Tcp) -> u8 {
    let has_all =
        kernel::has(Field::ChronoType) && kernel::has(Field::ChronoStart) && kernel::has(Field::ChronoStat);
    if has_all { tcp.get::<u8>(Field::ChronoType) & 3 } else { 0 }
}

/// Whether something holds this end back that is timed, whether segments pass or not.
#[inline(always)]
pub fn is_held_back(tcp: impl Tcp) -> bool {
    timed(tcp) >= WINDOW_LIMITED
}

/// How long the peer's window, and the send buffer, held this end back, as `TCP_INFO` has it. While it lives nobody locks
/// the socket for us: read in this order, what is being timed may be missing once, but is never counted twice.
#[inline(always)]
fn limited(tcp: impl Tcp) -> [u32; 2] {
    if !kernel::has(Field::ChronoStat) {
        return [0; 2];
    }
    let [mut window, mut buffer] = tcp.pair_at(Field::ChronoStat, 4);
    let timed = timed(tcp);
    if timed >= WINDOW_LIMITED {
        let now = unsafe { bpf_jiffies64() } as u32;
        let running = now.wrapping_sub(tcp.get(Field::ChronoStart));
        match timed {
            BUFFER_LIMITED => buffer = buffer.wrapping_add(running),
            _ => window = window.wrapping_add(running),
        }
    }
    [window, buffer]
}

#[inline(always)]
fn less(value: u64, by: u64) -> u64 {
    if value > by { value - by } else { 0 }
}
