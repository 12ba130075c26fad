//! Which inbound exchange an outbound one is for: what the thread, or the goroutine, that sends has open.
//!
//! A task (thread or goroutine) that reads a request has it open until the answer's first byte is written, by whichever
//! thread. A request that a task sends meanwhile is for what it has open: surely so if that is one exchange
//! (thread-per-request); probably for the one that it last received for, if there are several (an event loop). What it
//! last received for is also an answer to a call: the next call is likely to go on with that. An event loop that
//! connects does so while it is at the exchange that needs it, so for the first exchange of a connection that counts.
//!
//! Goroutines move between threads; each has an id, found through the thread's own storage. What an outbound connection
//! of Go's `net/http` sends is written by that connection's own goroutine, so there the thread is what remains: the
//! scheduler lets the woken goroutine run next on the same thread, unless another is idle.
//!
//! Limits, also in `docs/exchanges.md`: work handed to another thread has no cause, nor have async runtimes that move
//! tasks between threads (tokio) more than the thread's word.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_probe_read_user;
use weir_abi::{
    CAUSE_EVENT_LOOP, CAUSE_GOROUTINE, CAUSE_GOROUTINE_PARENT, CAUSE_NONE, CAUSE_THREAD, Cause,
    ExchangeRecord, GoLayout,
};

use crate::kernel::Task;
use crate::maps::{GO, GO_HANDSHAKING, Inbound, OPEN_SLOTS, TASKS, TaskKey, TaskState, Turn};

const NO_SLOT: u32 = OPEN_SLOTS as u32;

/// A goroutine and the one that started it; 0: unknown.
#[derive(Clone, Copy)]
struct Goroutine {
    id: u64,
    parent: u64,
}

/// The task read a request's first byte; returns its goroutine.
#[inline(always)]
pub fn received(task: Task, pid: u32, tid: u32, inbound: &Inbound) -> u64 {
    let goroutine = goroutine(task, pid).map_or(0, |goroutine| goroutine.id);
    if inbound.taken == 0 {
        return goroutine;
    }
    open(&thread(pid, tid), inbound);
    if goroutine != 0 {
        open(&routine(pid, goroutine), inbound);
    }
    goroutine
}

/// The answer to an inbound exchange began, or it ended without: the task that read it no longer has it open.
#[inline(always)]
pub fn answered(turn: &ExchangeRecord, inbound: &Inbound) {
    if inbound.taken == 0 {
        return;
    }
    close(&thread(turn.pid, turn.tid), inbound);
    if turn.goroutine != 0 {
        close(&routine(turn.pid, turn.goroutine), inbound);
    }
}

/// The task sends a request: fills in its goroutine and what it is for. `before`: the goroutine that sent the previous
/// one on this connection.
#[inline(always)]
pub fn calls(task: Task, state: &mut Turn, before: u64) {
    let turn = &mut state.turn;
    let connected_for = if turn.number == 1 { state.connected_for } else { NONE };
    let goroutine = goroutine(task, turn.pid);
    turn.goroutine = goroutine.map_or(0, |goroutine| goroutine.id);
    if let Some(goroutine) = goroutine {
        turn.cause = of_goroutine(turn.pid, goroutine, before);
        if turn.cause.method == CAUSE_NONE {
            turn.cause = connected_for;
        }
        if turn.cause.method == CAUSE_NONE {
            turn.cause = find(&thread(turn.pid, turn.tid), CAUSE_EVENT_LOOP, CAUSE_EVENT_LOOP);
        }
        return;
    }
    turn.cause = find(&thread(turn.pid, turn.tid), CAUSE_THREAD, CAUSE_EVENT_LOOP);
    if turn.cause.method != CAUSE_THREAD && connected_for.method != CAUSE_NONE {
        turn.cause = connected_for;
    }
}

/// What the task that connects is at.
#[inline(always)]
pub fn of_connect(task: Task) -> Cause {
    let pid = task.pid();
    let key = thread(pid, task.thread_id());
    if let Some(goroutine) = goroutine(task, pid) {
        let cause = of_goroutine(pid, goroutine, 0);
        return if cause.method == CAUSE_NONE {
            find(&key, CAUSE_EVENT_LOOP, CAUSE_EVENT_LOOP)
        } else {
            cause
        };
    }
    find(&key, CAUSE_THREAD, CAUSE_EVENT_LOOP)
}

/// The answer to a call has come: what the thread does next is likely for the same inbound exchange.
#[inline(always)]
pub fn resumed(turn: &ExchangeRecord) {
    let Some(task) = TASKS.get_ptr_mut(&thread(turn.pid, turn.tid)) else { return };
    let task = unsafe { &mut *task };
    if task.open < 2 {
        return;
    }
    let inbound = Inbound {
        client_isn: turn.cause.client_isn,
        server_isn: turn.cause.server_isn,
        request_seq: turn.cause.request_seq,
        taken: 1,
    };
    let slot = slot_of(task, &inbound);
    if slot != NO_SLOT {
        task.last = slot;
    }
}

/// The thread read more of a request that came in parts: what it does next is likely for that one.
#[inline(always)]
pub fn read_on(turn: &ExchangeRecord, inbound: &Inbound) {
    // Another thread has nothing open for it.
    if inbound.taken == 0 || Task::current().thread_id() != turn.tid {
        return;
    }
    let Some(task) = TASKS.get_ptr_mut(&thread(turn.pid, turn.tid)) else { return };
    let task = unsafe { &mut *task };
    let slot = slot_of(task, inbound);
    if slot != NO_SLOT {
        task.last = slot;
    } else {
        // It was forgotten for others, which may all be answered by now.
        remember(task, inbound);
    }
}

const NONE: Cause =
    Cause { client_isn: 0, server_isn: 0, request_seq: 0, method: CAUSE_NONE, _pad: 0, open: 0 };

#[inline(always)]
fn of_goroutine(pid: u32, goroutine: Goroutine, before: u64) -> Cause {
    let cause = find(&routine(pid, goroutine.id), CAUSE_GOROUTINE, CAUSE_EVENT_LOOP);
    // One that sent here before outlives what it was started for.
    if cause.method != CAUSE_NONE || goroutine.parent == 0 || before == goroutine.id {
        return cause;
    }
    find(&routine(pid, goroutine.parent), CAUSE_GOROUTINE_PARENT, CAUSE_EVENT_LOOP)
}

/// The running goroutine where one is known, else the thread. Of Go's programs that began just now only those are known
/// that have begun a TLS handshake.
#[inline(always)]
pub fn current_task() -> TaskKey {
    let task = Task::current();
    let pid = task.pid();
    let mut layout = GO.get_ptr(&pid);
    if layout.is_none() {
        layout = GO_HANDSHAKING.get_ptr(&pid);
    }
    let goroutine = match layout {
        Some(layout) => running(task, unsafe { *layout }),
        None => None,
    };
    match goroutine {
        Some(goroutine) => routine(pid, goroutine.id),
        None => thread(pid, task.thread_id()),
    }
}

#[inline(always)]
fn thread(pid: u32, tid: u32) -> TaskKey {
    TaskKey { id: tid as u64, pid, is_goroutine: 0 }
}

#[inline(always)]
fn routine(pid: u32, goroutine: u64) -> TaskKey {
    TaskKey { id: goroutine, pid, is_goroutine: 1 }
}

#[inline(always)]
fn open(key: &TaskKey, inbound: &Inbound) {
    let mut entry = TASKS.get_ptr_mut(key);
    if entry.is_none() {
        let empty: TaskState = unsafe { core::mem::zeroed() };
        // Refused where memory is short: then what this task calls is without cause.
        let _ = TASKS.insert(key, &empty, u64::from(BPF_ANY));
        entry = TASKS.get_ptr_mut(key);
    }
    let Some(task) = entry else { return };
    let task = unsafe { &mut *task };
    remember(task, inbound);
    task.open += 1;
}

/// Where all slots are taken, another exchange is forgotten, but not the one that it received for just now.
#[inline(always)]
fn remember(task: &mut TaskState, inbound: &Inbound) {
    let mut slot = task.last as usize + 1;
    for index in 0..OPEN_SLOTS {
        if task.slots[index].taken == 0 {
            slot = index;
            break;
        }
    }
    let slot = slot % OPEN_SLOTS;
    task.slots[slot] = *inbound;
    task.last = slot as u32;
}

#[inline(always)]
fn close(key: &TaskKey, inbound: &Inbound) {
    let Some(task) = TASKS.get_ptr_mut(key) else { return };
    let task = unsafe { &mut *task };
    let slot = slot_of(task, inbound);
    if slot != NO_SLOT {
        task.slots[slot as usize % OPEN_SLOTS].taken = 0;
    }
    if task.open > 0 {
        task.open -= 1;
    }
}

#[inline(always)]
fn slot_of(task: &TaskState, inbound: &Inbound) -> u32 {
    for index in 0..OPEN_SLOTS {
        let slot = &task.slots[index];
        if slot.taken != 0
            && slot.request_seq == inbound.request_seq
            && slot.client_isn == inbound.client_isn
            && slot.server_isn == inbound.server_isn
        {
            return index as u32;
        }
    }
    NO_SLOT
}

/// What the task has open: the one exchange by the method `sure`, or of several the last by the method `likely`.
#[inline(always)]
fn find(key: &TaskKey, sure: u8, likely: u8) -> Cause {
    let Some(task) = TASKS.get_ptr_mut(key) else { return NONE };
    let task = unsafe { &*task };
    let mut slot = task.last as usize % OPEN_SLOTS;
    if task.open == 1 {
        for index in 0..OPEN_SLOTS {
            if task.slots[index].taken != 0 {
                slot = index;
                break;
            }
        }
    }
    let found = &task.slots[slot % OPEN_SLOTS];
    if task.open == 0 || found.taken == 0 {
        return NONE;
    }
    Cause {
        client_isn: found.client_isn,
        server_isn: found.server_isn,
        request_seq: found.request_seq,
        method: if task.open == 1 { sure } else { likely },
        _pad: 0,
        open: if task.open < 0xffff { task.open as u16 } else { 0xffff },
    }
}

/// The goroutine that runs, in a process that user space found to be Go's.
#[inline(always)]
fn goroutine(task: Task, pid: u32) -> Option<Goroutine> {
    running(task, unsafe { *GO.get_ptr(&pid)? })
}

#[inline(always)]
fn running(task: Task, layout: GoLayout) -> Option<Goroutine> {
    let storage = task.fs_base();
    if storage == 0 {
        return None;
    }
    let at = storage.wrapping_add(layout.g as i64 as u64);
    let g = unsafe { bpf_probe_read_user(at as *const u64) }.ok()?;
    let id = unsafe { bpf_probe_read_user(g.wrapping_add(u64::from(layout.goid)) as *const u64) }.ok()?;
    let parent = if layout.parent == 0 {
        0
    } else {
        unsafe { bpf_probe_read_user(g.wrapping_add(u64::from(layout.parent)) as *const u64) }.ok()?
    };
    if id == 0 { None } else { Some(Goroutine { id, parent }) }
}
