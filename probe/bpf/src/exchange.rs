//! Request/response turns, at the send and receive calls.
//!
//! A turn is what TCP alone can say about a request: the client sends (the request begins), the server answers (the
//! answer begins), the client sends again (the turn is over). How far each direction has come is read from the socket's
//! sequence numbers, not from the calls' lengths: what sendfile or splice moved is in them, and a call that is missed
//! (two threads in one socket) is caught up with at the next. Each end tells its own view; both name a turn by the
//! position of its first byte in the client's stream.
//!
//! The cost is on every send and receive of every program, so: other sockets are left after one field, the connection's
//! turn is one lookup by the socket's address, and a record is written only when a turn is over. A turn whose
//! answer falls silent is told by `silent`, an iterator that user space runs.
//!
//! Never here: payload. Whether a turn is one request (and not several at once, as in HTTP/2) is user space's to say.

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg};

use aya_ebpf::bindings::{BPF_ANY, BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::bpf_skc_to_tcp_sock;
use aya_ebpf::helpers::generated::{bpf_ringbuf_query, bpf_seq_write};
use weir_abi::{
    CAUSE_NONE, Conn, ENDED_BY_CLOSE, ENDED_BY_NEXT, ENDED_BY_SILENCE, ENDED_BY_UPGRADE, EXCHANGE_CUT,
    EXCHANGE_FOLLOWS_TLS, EXCHANGE_PIPELINED, EXCHANGE_QUIET_NS, ExchangeRecord, FLAG_BACKFILLED, FLAG_ISNS,
    Field, FirstExchange, HELLO_LIMIT, Heads, KIND_EXCHANGE, KIND_FIRST_EXCHANGE, Lost, ROLE_CLIENT,
    ROLE_SERVER, SIDE_CLIENT, SIDE_SERVER,
};

use crate::cause;
use crate::kernel::{self, Sock, Task, read, tcp};
use crate::library;
use crate::lost;
use crate::maps::{
    BEGUN, BLANK, CONNS, ConnState, EVENTS, Inbound, MAY_TURN, PHASE_ANSWERED, PHASE_ASKED, PHASE_IDLE,
    PHASE_OVER, PHASE_TOLD, ROOM, SETTLED, STREAM_DONE, STREAM_OVERTAKEN, STREAM_WATCHED, TURNS, Table, Turn,
    UNSETTLED,
};

/// Set by user space before load: whether the level has exchanges.
#[unsafe(no_mangle)]
static WEIR_EXCHANGES: u32 = 0;

const RECORD_HANDSHAKE: u8 = 0x16;
/// How often a closing connection tries to get at its turn while another CPU is at it.
const TRIES: usize = 64;

/// Whether the level has exchanges; the verifier sees a constant.
#[inline(always)]
pub fn wanted() -> bool {
    unsafe { core::ptr::read_volatile(&raw const WEIR_EXCHANGES) != 0 }
}

/// A program sent or received on a socket; `result` is what the call returns.
#[inline(always)]
pub fn moved(sk: *mut c_void, result: i32, sent: bool) -> Result<(), Lost> {
    if result <= 0 || !Sock(sk).is_tcp() {
        return Ok(());
    }
    let mut state = TURNS.of(sk);
    if state.is_null() {
        // Connections that nobody saw opening have no turns.
        let conn = CONNS.of(sk);
        if conn.is_null() || unsafe { (*conn).conn.opened_ns } == 0 {
            return Ok(());
        }
        state = fresh(sk)?;
        if state.is_null() {
            return Ok(());
        }
    }
    let state = unsafe { &mut *state };
    // Another thread is at it: what this call moved is in the sequence numbers at the next.
    if state.phase == PHASE_OVER || !enter(state) {
        return Ok(());
    }
    let result = advance(sk, state, result as u32, sent);
    leave(state);
    result
}

/// A new turn for the socket, instead of what there may be; null where it is gone again.
#[inline(always)]
fn fresh(sk: *mut c_void) -> Result<*mut Turn, Lost> {
    let Some(blank) = BLANK.get_ptr(0) else { return Ok(core::ptr::null_mut()) };
    let blank: &Turn = unsafe { &*blank };
    TURNS.insert(sk as u64, blank, u64::from(BPF_ANY)).map_err(|_| Lost::TurnStorageFull)?;
    Ok(TURNS.of(sk))
}

/// The socket closed.
#[inline(always)]
pub fn forget(sk: *mut c_void) {
    TURNS.forget(sk);
}

#[inline(always)]
fn enter(state: &mut Turn) -> bool {
    let busy = &raw mut state.busy;
    unsafe { atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(busy, 0, 1).1 }
}

#[inline(always)]
fn leave(state: &mut Turn) {
    unsafe { atomic_xchg::<u32, { AtomicOrdering::SeqCst }>(&raw mut state.busy, 0) };
}

#[inline(always)]
fn advance(sk: *mut c_void, state: &mut Turn, len: u32, sent: bool) -> Result<(), Lost> {
    let tp = unsafe { bpf_skc_to_tcp_sock(sk) }.cast::<c_void>();
    if tp.is_null() || (state.ready == 0 && !prepare(sk, tp, state, len, sent)) {
        return Ok(());
    }
    if state.parsing != 0 {
        library::moved(state, sent);
    }
    let (mut asked, mut answered) = positions(sk, tp, state);
    if state.settled == UNSETTLED && !settle(sk, state, asked, answered, sent) {
        return Ok(());
    }
    let turns = state.settled == MAY_TURN && turns(sk, state, &mut asked, &mut answered);
    let by_client = sent == (state.role == ROLE_CLIENT);
    let result = if by_client {
        // What splice moved the other way, if anything, came before.
        answer(sk, tp, state, answered);
        ask(sk, tp, state, asked)
    } else {
        let result = ask(sk, tp, state, asked);
        answer(sk, tp, state, answered);
        result
    };
    if turns {
        return result.and(turned(sk, state, asked));
    }
    result
}

/// The first call on a connection: who is who, and where both streams begin. `false`: not a connection of ours.
#[inline(always)]
fn prepare(sk: *mut c_void, tp: *mut c_void, state: &mut Turn, len: u32, sent: bool) -> bool {
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return false;
    }
    let conn = unsafe { &mut (*conn).conn };
    if conn.role < ROLE_CLIENT || conn.opened_ns == 0 {
        return false;
    }
    state.role = conn.role;
    state.own_base = conn.local_isn.wrapping_add(1);
    state.other_base = conn.remote_isn.wrapping_add(1);
    state.unsure = u8::from(conn.flags & FLAG_ISNS == 0);
    state.turn.cookie = conn.cookie;
    if conn.role == ROLE_SERVER {
        // Better known now than by the listener's owner: servers hand connections to their workers.
        conn.owner = Task::current().owner();
    }
    if conn.flags & FLAG_BACKFILLED != 0 {
        let (asked, answered) = positions(sk, tp, state);
        let by_client = sent == (conn.role == ROLE_CLIENT);
        state.asked_to = if by_client { asked.wrapping_sub(len) } else { asked };
        state.answered_to = if by_client { answered } else { answered.wrapping_sub(len) };
    }
    state.ready = 1;
    true
}

/// How far the programs have come: `(in the client's stream, in the server's)`.
#[inline(always)]
fn positions(sk: *mut c_void, tp: *mut c_void, state: &Turn) -> (u32, u32) {
    let own = unsafe { read::<u32>(tp, Field::WriteSeq) }.wrapping_sub(state.own_base);
    let copied = unsafe { read::<u32>(tp, Field::CopiedSeq) };
    let fin = Sock(sk).fin_received() && copied == unsafe { read::<u32>(tp, Field::RcvNxt) };
    let other = copied.wrapping_sub(state.other_base).wrapping_sub(u32::from(fin));
    if state.role == ROLE_CLIENT { (own, other) } else { (other, own) }
}

/// Leaves out the TLS handshake, wherever it begins. `false`: it is not over.
#[inline(always)]
fn settle(sk: *mut c_void, state: &mut Turn, asked: u32, answered: u32, sent: bool) -> bool {
    const CLIENT: usize = SIDE_CLIENT as usize;
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return false;
    }
    let conn: &ConnState = unsafe { &*conn };
    let seen = conn.heads.first_ns[CLIENT] != 0;
    let begun_at = u32::from(conn.begun_at[CLIENT]);
    let is_tls = begun_at != 0 || seen && conn.heads.bytes[CLIENT][0] == RECORD_HANDSHAKE;
    if is_tls && library::wanted() {
        // What a server receives before the client encrypts has no certificate in TLS 1.3.
        if state.role == ROLE_CLIENT && !sent {
            library::received(state, answered);
        } else if state.role == ROLE_SERVER && conn.stream[CLIENT] == STREAM_DONE {
            library::client_encrypts(state, sent);
        }
    }
    if conn.stream[CLIENT] != STREAM_DONE && (is_tls || !seen) {
        // Bytes both ways, and none seen by the packet hooks: they are off.
        let is_blind = !seen && conn.heads.first_ns[SIDE_SERVER as usize] == 0 && asked > 0 && answered > 0;
        if !is_blind && asked.wrapping_sub(begun_at) < HELLO_LIMIT && !answers_again(conn, state, asked, sent)
        {
            return false;
        }
    }
    state.settled = if conn.stream[CLIENT] == STREAM_WATCHED { MAY_TURN } else { SETTLED };
    if is_tls {
        // Where it is not known, as when segments overtook each other: from here on.
        state.asked_to = if conn.requests_from != 0 { conn.requests_from } else { asked };
        state.answered_to = answered;
        state.follows_tls = 1;
    }
    true
}

/// Whether a server answers, in ciphers, for the second time to something new: where it can't be known which of the client's
/// records was the last of the handshake, that is certainly behind it. The turns before that are missing.
#[inline(always)]
fn answers_again(conn: &ConnState, state: &mut Turn, asked: u32, sent: bool) -> bool {
    let is_unknown = conn.stream[SIDE_CLIENT as usize] == STREAM_OVERTAKEN;
    let encrypts = conn.stream[SIDE_SERVER as usize] == STREAM_DONE;
    if state.role != ROLE_SERVER || !is_unknown || !encrypts || !sent {
        return false;
    }
    let is_again = state.asked_to != 0 && asked != state.asked_to;
    state.asked_to = asked;
    is_again
}

/// Whether a connection in clear has turned to TLS (STARTTLS); then both positions end where it did.
#[inline(always)]
fn turns(sk: *mut c_void, state: &mut Turn, asked: &mut u32, answered: &mut u32) -> bool {
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return false;
    }
    let conn: &ConnState = unsafe { &*conn };
    let [client, server] = conn.begun_at;
    if client == 0 {
        if conn.stream[SIDE_CLIENT as usize] == STREAM_DONE {
            state.settled = SETTLED;
        }
        return false;
    }
    if *asked > u32::from(client) {
        *asked = u32::from(client);
    }
    if server != 0 && *answered > u32::from(server) {
        *answered = u32::from(server);
    }
    true
}

/// What was asked in clear is over; the next turn begins behind the handshake.
#[inline(always)]
fn turned(sk: *mut c_void, state: &mut Turn, begun_at: u32) -> Result<(), Lost> {
    // A hello that no packet hook had seen when it was sent looked like a request.
    let is_hello = state.turn.request_seq.wrapping_sub(begun_at) as i32 >= 0;
    let is_told = state.phase == PHASE_ANSWERED && !is_hello;
    let result = if is_told { tell(sk, state, ENDED_BY_UPGRADE) } else { Ok(()) };
    state.phase = PHASE_IDLE;
    state.settled = UNSETTLED;
    result
}

/// Where this stream has come beyond what was known; 0 if it hasn't.
#[inline(always)]
fn beyond(to: u32, known: u32) -> u32 {
    let more = to.wrapping_sub(known);
    if more as i32 > 0 { more } else { 0 }
}

/// The client's stream has come to `asked`.
#[inline(always)]
fn ask(sk: *mut c_void, tp: *mut c_void, state: &mut Turn, asked: u32) -> Result<(), Lost> {
    let more = beyond(asked, state.asked_to);
    if more == 0 {
        return Ok(());
    }
    let mut result = Ok(());
    if state.phase != PHASE_ASKED {
        let mut flags = 0;
        if state.phase == PHASE_ANSWERED {
            if answer_is_under_way(sk, tp, state) {
                flags = EXCHANGE_PIPELINED;
            }
            result = tell(sk, state, ENDED_BY_NEXT);
        }
        if state.follows_tls != 0 {
            state.follows_tls = 0;
            flags |= EXCHANGE_FOLLOWS_TLS;
        }
        begin(state, flags);
    } else if state.role == ROLE_SERVER {
        cause::read_on(&state.turn, &inbound(state));
    }
    state.turn.request_bytes += u64::from(more);
    state.asked_to = asked;
    result
}

#[inline(always)]
fn begin(state: &mut Turn, flags: u8) {
    if let Some(begun) = BEGUN.get_ptr_mut(0) {
        unsafe { lost::add(begun, 1) };
    }
    let task = Task::current();
    let turn = &mut state.turn;
    let goroutine = turn.goroutine;
    state.number += 1;
    state.phase = PHASE_ASKED;
    turn.flags = flags;
    turn.number = state.number;
    turn.begin_ns = kernel::now();
    turn.first_ns = 0;
    turn.end_ns = 0;
    turn.request_bytes = 0;
    turn.response_bytes = 0;
    turn.request_seq = state.asked_to;
    turn.pid = task.pid();
    turn.tid = task.thread_id();
    turn.comm = task.thread_name();
    if state.role == ROLE_SERVER {
        let (pid, tid) = (turn.pid, turn.tid);
        state.turn.goroutine = cause::received(task, pid, tid, &inbound(state));
    } else {
        cause::calls(task, state, goroutine);
    }
}

/// An inbound turn, as its task remembers it.
#[inline(always)]
fn inbound(state: &Turn) -> Inbound {
    Inbound {
        client_isn: state.other_base.wrapping_sub(1),
        server_isn: state.own_base.wrapping_sub(1),
        request_seq: state.turn.request_seq,
        taken: u32::from(state.unsure == 0),
    }
}

/// The server's stream has come to `answered`.
#[inline(always)]
fn answer(sk: *mut c_void, tp: *mut c_void, state: &mut Turn, answered: u32) {
    let more = beyond(answered, state.answered_to);
    if more == 0 {
        return;
    }
    state.answered_to = answered;
    if state.phase == PHASE_ASKED {
        state.turn.first_ns = kernel::now();
        state.turn.end_ns = state.turn.first_ns;
        state.phase = PHASE_ANSWERED;
        if request_is_under_way(sk, tp, state) {
            state.turn.flags |= EXCHANGE_PIPELINED;
        }
        if state.role == ROLE_SERVER {
            cause::answered(&state.turn, &inbound(state));
        } else if state.turn.cause.method != CAUSE_NONE {
            cause::resumed(&state.turn);
        }
        state.turn.response_bytes = u64::from(more);
        if state.number == 1 && is_upgrade(sk) {
            lost::count(tell(sk, state, ENDED_BY_UPGRADE));
            state.phase = PHASE_OVER;
        }
    } else if state.phase == PHASE_ANSWERED {
        state.turn.end_ns = kernel::now();
        state.turn.response_bytes += u64::from(more);
    } else if state.phase == PHASE_TOLD {
        state.phase = PHASE_IDLE;
        lost::count(Err(Lost::AnswerAfterSilence));
    }
    // A server that speaks without being asked (a greeting, news) makes no turn.
}

/// Whether the first answer says `HTTP/1.1 101`: what follows has no turns that we could tell (WebSocket).
#[inline(always)]
fn is_upgrade(sk: *mut c_void) -> bool {
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return false;
    }
    let head = unsafe { &(*conn).heads.bytes[SIDE_SERVER as usize] };
    head[0] == b'H'
        && head[4] == b'/'
        && head[8] == b' '
        && head[9] == b'1'
        && head[10] == b'0'
        && head[11] == b'1'
}

/// Whether the client sent something that this answer can't be to: the server hasn't read it, or didn't have it when it
/// answered. A server's thread that is held up before it comes here may find what a client sent after the answer; nothing on
/// the socket tells the two apart for sure.
#[inline(always)]
fn request_is_under_way(sk: *mut c_void, tp: *mut c_void, state: &Turn) -> bool {
    if state.role == ROLE_CLIENT { unacknowledged(sk, tp) > 0 } else { unread(sk, tp) > 0 }
}

/// Whether the client sent its next request before it had this answer: with what it sends it acknowledges what it has.
#[inline(always)]
fn answer_is_under_way(sk: *mut c_void, tp: *mut c_void, state: &Turn) -> bool {
    if state.role == ROLE_CLIENT { unread(sk, tp) > 0 } else { unacknowledged(sk, tp) > 0 }
}

#[inline(always)]
fn unacknowledged(sk: *mut c_void, tp: *mut c_void) -> u32 {
    let (end, una) = unsafe { (read::<u32>(tp, Field::WriteSeq), read::<u32>(tp, Field::SndUna)) };
    let tcp_state = i32::from(unsafe { read::<u8>(sk, Field::State) });
    // Our own FIN takes a sequence number.
    let is_closing = tcp_state != tcp::ESTABLISHED && tcp_state != tcp::CLOSE_WAIT;
    beyond(end, una.wrapping_add(u32::from(is_closing)))
}

#[inline(always)]
fn unread(sk: *mut c_void, tp: *mut c_void) -> u32 {
    let (next, copied) = unsafe { (read::<u32>(tp, Field::RcvNxt), read::<u32>(tp, Field::CopiedSeq)) };
    beyond(next, copied.wrapping_add(u32::from(Sock(sk).fin_received())))
}

/// `connect()`: what its thread is at is what the connection's first exchange is for.
#[inline(always)]
pub fn connecting(sk: *mut c_void) -> Result<(), Lost> {
    let cause = cause::of_connect(Task::current());
    if cause.method == CAUSE_NONE {
        return Ok(());
    }
    if let Some(state) = unsafe { fresh(sk)?.as_mut() } {
        state.connected_for = cause;
    }
    Ok(())
}

/// The connection is over: tells the turn under way.
#[inline(always)]
pub fn closed(sk: *mut c_void, tp: *mut c_void, tcp_state: i32, error: u32) -> Result<(), Lost> {
    let state = TURNS.of(sk);
    if state.is_null() {
        return Ok(());
    }
    let state = unsafe { &mut *state };
    if state.ready == 0 || state.settled == UNSETTLED || state.phase == PHASE_OVER {
        return Ok(());
    }
    let mut entered = false;
    for _ in 0..TRIES {
        entered = enter(state);
        if entered {
            break;
        }
    }
    if !entered {
        return Ok(());
    }
    let mut result = Ok(());
    if state.phase == PHASE_ASKED || state.phase == PHASE_ANSWERED {
        if state.phase == PHASE_ASKED {
            state.turn.end_ns = kernel::now();
            if state.role == ROLE_SERVER {
                cause::answered(&state.turn, &inbound(state));
            }
        } else if answer_is_under_way(sk, tp, state) {
            state.turn.flags |= EXCHANGE_CUT;
        }
        state.turn.state = tcp_state as u8;
        state.turn.error = error;
        result = tell(sk, state, ENDED_BY_CLOSE);
    }
    state.phase = PHASE_OVER;
    leave(state);
    result
}

/// Writes a turn into the ring, with its connection if that is news. Exchanges are the first to go without when the ring
/// is short of room.
#[inline(always)]
fn tell(sk: *mut c_void, state: &mut Turn, ended: u8) -> Result<(), Lost> {
    state.turn.ended = ended;
    if is_short_of_room() {
        return Err(Lost::ExchangeShed);
    }
    if state.introduced != 0 {
        let Some(mut entry) = EVENTS.reserve_untyped::<ExchangeRecord>(0) else {
            return Err(Lost::ExchangeShed);
        };
        state.turn.kind = KIND_EXCHANGE;
        unsafe { entry.as_mut_ptr().write(state.turn) };
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        return Ok(());
    }
    let conn = CONNS.of(sk);
    if conn.is_null() {
        return Ok(());
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<FirstExchange>(0) else {
        return Err(Lost::ExchangeShed);
    };
    state.turn.kind = KIND_FIRST_EXCHANGE;
    state.introduced = 1;
    unsafe {
        let first = entry.as_mut_ptr();
        (&raw mut (*first).exchange).write(state.turn);
        (&raw mut (*first).conn).write((*conn).conn);
        (&raw mut (*first).heads).write((*conn).heads);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Ok(())
}

/// Whether exchanges must go without. Other CPUs move the ring's positions all the time, so a look at them is dear: it is
/// good for the next exchanges of this CPU, too, as long as they couldn't fill what is left.
#[inline(always)]
fn is_short_of_room() -> bool {
    /// Exchanges between two looks; a power of 2.
    const LOOKS: u64 = 32;
    let Some(room) = ROOM.get_ptr_mut(0) else { return false };
    let room = unsafe { &mut *room };
    room.told += 1;
    if room.told % LOOKS == 1 {
        room.is_short = u64::from(ring_use(2));
    }
    room.is_short != 0
}

/// Whether more than all but `1/part` of the ring is taken.
#[inline(always)]
pub fn ring_use(part: u64) -> bool {
    let ring: *mut c_void = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    let (taken, size) = unsafe {
        (
            bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)),
            bpf_ringbuf_query(ring, u64::from(BPF_RB_RING_SIZE)),
        )
    };
    taken > size - size / part
}

/// Iterator: writes a turn whose answer has fallen silent into the file that user space reads.
#[inline(always)]
pub fn silent(meta: *mut c_void, sk: u64, state: *mut Turn) -> Result<(), Lost> {
    let state = unsafe { &mut *state };
    if state.phase != PHASE_ANSWERED || kernel::now().wrapping_sub(state.turn.end_ns) < EXCHANGE_QUIET_NS {
        return Ok(());
    }
    let Some(conn) = CONNS.get_ptr(sk) else { return Ok(()) };
    if !enter(state) {
        return Ok(());
    }
    if state.phase == PHASE_ANSWERED && kernel::now().wrapping_sub(state.turn.end_ns) >= EXCHANGE_QUIET_NS {
        state.turn.ended = ENDED_BY_SILENCE;
        state.turn.kind = KIND_FIRST_EXCHANGE;
        // The file's buffer is full: the kernel shows us this socket again with an empty one.
        if write(meta, &raw const state.turn)
            && write(meta, unsafe { &raw const (*conn).conn })
            && write::<Heads>(meta, unsafe { &raw const (*conn).heads })
        {
            state.introduced = 1;
            state.phase = PHASE_TOLD;
        }
    }
    leave(state);
    Ok(())
}

const _: () = assert!(
    size_of::<FirstExchange>() == size_of::<ExchangeRecord>() + size_of::<Conn>() + size_of::<Heads>()
);

#[inline(always)]
fn write<T>(meta: *mut c_void, value: *const T) -> bool {
    // struct bpf_iter_meta begins with its seq_file.
    let seq = unsafe { *meta.cast::<*mut c_void>() };
    unsafe { bpf_seq_write(seq.cast(), value.cast(), size_of::<T>() as u32) == 0 }
}
