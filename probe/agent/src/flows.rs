//! Records of TCP connections → rows of `flows`.
//!
//! The kernel counts from a connection's beginning; a row says what is new since the connection's last row, so that
//! the sum over its rows is its total. What was reported is remembered for connections that had a row while they
//! were alive, until they end.

use std::sync::Arc;

use smol_str::SmolStr;
use weir_abi::{Conn, ConnRecord, FLAG_BACKFILLED, Heads, KIND_CLOSED, ROLE_CLIENT, ROLE_SERVER, Totals};
use weir_model::{FlowRow, ids};

use crate::by_cookie::{self, ByCookie};
use crate::clock;
use crate::ends::{Ends, tcp_id};
use crate::handshakes::{Context, Facts};
use crate::journal::{ConnState, Entry};

/// TCP states that a connection may be closed from (`include/net/tcp_states.h`).
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;

/// What was reported of the living.
#[derive(Default)]
pub(crate) struct Flows {
    /// Microseconds of the kernel's tick; none where it doesn't count losses and limits.
    tick_us: Option<i64>,
    /// When the running interval began, on the kernel's clock; 0: not known.
    cut_ns: u64,
    reported: ByCookie<ConnState>,
    /// Connections whose state is not what the journal has.
    changed: Vec<u64>,
}

impl Flows {
    /// `tells_losses`: the kernel counts losses and limits.
    pub(crate) fn new(tells_losses: bool) -> Flows {
        Flows { tick_us: tells_losses.then(clock::tick_us), ..Flows::default() }
    }

    /// How many connections are remembered.
    pub(crate) fn len(&self) -> usize {
        self.reported.len()
    }

    /// Takes over what an earlier run of the probe reported.
    pub(crate) fn restore(&mut self, conns: ByCookie<ConnState>, cut_ns: u64) {
        self.reported = conns;
        self.cut_ns = cut_ns;
    }

    /// An interval ended at `cut_ns`, on the kernel's clock: whatever moved in it has its row.
    pub(crate) fn cut(&mut self, cut_ns: u64) {
        self.cut_ns = cut_ns;
    }

    /// Writes down what changed since the last time.
    pub(crate) fn write_changes(&mut self, entry: &mut Entry) {
        entry.cut(self.cut_ns);
        for cookie in self.changed.drain(..) {
            entry.conn(cookie, self.reported.get(&cookie));
        }
    }

    /// Writes down everything.
    pub(crate) fn write_all(&self, entry: &mut Entry) {
        entry.cut(self.cut_ns);
        entry.expect_conns(self.reported.len());
        for (cookie, state) in &self.reported {
            entry.conn(*cookie, Some(state));
        }
    }

    /// Forgets connections that are no longer there; returns how many (their end was lost).
    pub(crate) fn retain(&mut self, is_alive: impl Fn(u64) -> bool) -> u64 {
        let before = self.changed.len();
        self.reported.retain(|cookie, _| {
            let stays = is_alive(*cookie);
            if !stays {
                self.changed.push(*cookie);
            }
            stays
        });
        (self.changed.len() - before) as u64
    }

    /// An interval is over: time to give back what is not needed any more.
    pub(crate) fn give_memory_back(&mut self) {
        by_cookie::shrink(&mut self.reported);
    }

    /// New programs can only guess at a connection that was there before them; an earlier run of the probe knew more.
    pub(crate) fn complete(&self, record: &mut ConnRecord) {
        if record.conn.flags & FLAG_BACKFILLED == 0 {
            return;
        }
        let Some(known) = self.reported.get(&record.conn.cookie) else { return };
        let conn = &mut record.conn;
        // The client's SYN is in its sequence space: who guessed wrong counted it, or left it out.
        match (conn.role, known.role) {
            (ROLE_SERVER, ROLE_CLIENT) => {
                record.totals.sent_bytes = record.totals.sent_bytes.saturating_sub(1);
            }
            (ROLE_CLIENT, ROLE_SERVER) => record.totals.sent_bytes += 1,
            _ => {}
        }
        (conn.role, conn.flags) = (known.role, known.flags);
        (conn.local_isn, conn.remote_isn) = (known.local_isn, known.remote_isn);
    }

    /// Adds the row of a connection that ended, or that lives and moved, to `rows`, where it is made in its place: it is
    /// large. `cut_ns`: the end of the interval that is being reported, if this record was taken at one. `is_wanted`: even
    /// if nothing moved.
    pub(crate) fn row<'a>(
        &mut self,
        record: &ConnRecord,
        cut_ns: Option<i64>,
        is_wanted: bool,
        facts: Option<&Arc<Facts>>,
        context: &mut Context<'_>,
        rows: &'a mut Vec<FlowRow>,
    ) -> Option<&'a mut FlowRow> {
        let conn = &record.conn;
        let is_closed = record.kind == KIND_CLOSED;
        let is_older = conn.flags & FLAG_BACKFILLED != 0;
        let totals = whole(record);
        let before = self.reported.swap_remove(&conn.cookie);
        let first = before.is_none();
        if !first || !is_closed {
            self.changed.push(conn.cookie);
        }
        let before = before.unwrap_or_else(|| ConnState {
            // What an older connection did before us is not ours to count.
            totals: if is_older { totals } else { Totals::default() },
            opened_ns: context.clock.utc(opened(conn)),
            first_ns: opened(conn),
            end_ns: opened(conn),
            role: conn.role,
            flags: conn.flags,
            local_isn: conn.local_isn,
            remote_isn: conn.remote_isn,
            facts: None,
        });
        let news = difference(&totals, &before.totals);
        let so_far = highest(&totals, &before.totals);
        // A record that is younger than its row has a row of its own when the interval ends.
        let cut_ns = cut_ns.map(|cut_ns| context.clock.boot(cut_ns)).filter(|cut_ns| *cut_ns > before.end_ns);
        let end_ns = cut_ns.unwrap_or(record.time_ns);
        let start_ns = if first { before.first_ns } else { since(before.end_ns, self.cut_ns, end_ns) };
        if !is_closed {
            let kept = ConnState { totals: so_far, end_ns, facts: facts.cloned(), ..before };
            self.reported.insert(conn.cookie, kept);
            if !first && !is_wanted && is_still(&news) {
                return None;
            }
        }
        let utc = |boot_ns| context.clock.utc(boot_ns);
        let row = rows.push_mut(FlowRow::default());
        row.time = utc(start_ns.min(end_ns));
        row.end_time = Some(utc(end_ns));
        row.opened_time = (!is_older).then_some(before.opened_ns);
        row.state = Some(SmolStr::new_static(match (first && !is_older, is_closed) {
            (true, true) => "only",
            (true, false) => "opened",
            (false, true) => "closed",
            (false, false) => "ongoing",
        }));
        let id = tcp_id(conn, context.node, before.first_ns);
        row.trace_id = Some(ids::trace_id(&id));
        row.connection_id = Some(id);
        row.protocol = Some(SmolStr::new_static("tcp"));
        let holder = context.identities.holder(&conn.owner);
        let ends = Ends::of(conn);
        ends.fill_flow(row, context.node, holder);
        fill_counters(row, &news, ends.client_is_ours);
        if !first || is_older {
            fill_totals(row, &so_far, ends.client_is_ours);
        }
        fill_losses(row, &news, ends.client_is_ours, self.tick_us);
        fill_times(row, record);
        if is_closed {
            let reason = close_reason(record);
            row.resets = i64::from(reason.starts_with("reset"));
            row.close_reason = Some(SmolStr::new_static(reason));
        }
        fill_encryption(row, facts.map(AsRef::as_ref), &record.heads);
        row.direction = Some(SmolStr::new_static("node"));
        row.source = Some(SmolStr::new_static("probe"));
        Some(row)
    }
}

/// When what a row tells began: where the last one ended, or with the interval, since whatever moved before that has its row.
pub(crate) fn since(last_end_ns: u64, cut_ns: u64, end_ns: u64) -> u64 {
    if cut_ns < end_ns { last_end_ns.max(cut_ns) } else { last_end_ns }
}

/// The counters, with the SYN-ACK that was sent before the accepted socket was made; the SYN that came is in the kernel's
/// (`tcp_create_openreq_child`).
fn whole(record: &ConnRecord) -> Totals {
    let mut totals = record.totals;
    if record.conn.role == ROLE_SERVER && record.conn.flags & FLAG_BACKFILLED == 0 {
        totals.segs_out += 1;
    }
    totals
}

/// When the client's SYN was sent or came.
pub(crate) fn opened(conn: &Conn) -> u64 {
    match (conn.role, conn.flags & FLAG_BACKFILLED) {
        (ROLE_CLIENT, 0) => conn.syn_ns,
        (_, 0) => conn.opened_ns.saturating_sub(u64::from(conn.connect_us) * 1000),
        _ => conn.opened_ns,
    }
}

/// Nobody locks a socket for us while it lives, so that a counter may once be read ahead of its final value.
fn difference(now: &Totals, before: &Totals) -> Totals {
    Totals {
        sent_bytes: now.sent_bytes.saturating_sub(before.sent_bytes),
        received_bytes: now.received_bytes.saturating_sub(before.received_bytes),
        // The kernel's segment counters have 32 bits and wrap.
        segs_out: now.segs_out.wrapping_sub(before.segs_out),
        segs_in: now.segs_in.wrapping_sub(before.segs_in),
        retransmits: now.retransmits.wrapping_sub(before.retransmits),
        resent_bytes: now.resent_bytes.saturating_sub(before.resent_bytes),
        lost_segs: now.lost_segs.wrapping_sub(before.lost_segs),
        out_of_order_segs: now.out_of_order_segs.wrapping_sub(before.out_of_order_segs),
        window_limited: ahead(now.window_limited, before.window_limited),
        buffer_limited: ahead(now.buffer_limited, before.buffer_limited),
        ..*now
    }
}

/// How far a counter that wraps has come; 0 where it was read ahead before.
fn ahead(now: u32, before: u32) -> u32 {
    let by = now.wrapping_sub(before);
    if by > u32::MAX / 2 { 0 } else { by }
}

fn is_still(news: &Totals) -> bool {
    let has_moved = news.sent_bytes + news.received_bytes > 0 || news.segs_out > 0 || news.segs_in > 0;
    !has_moved && news.window_limited == 0 && news.buffer_limited == 0
}

fn highest(now: &Totals, before: &Totals) -> Totals {
    Totals {
        sent_bytes: now.sent_bytes.max(before.sent_bytes),
        received_bytes: now.received_bytes.max(before.received_bytes),
        window_limited: before.window_limited.wrapping_add(ahead(now.window_limited, before.window_limited)),
        buffer_limited: before.buffer_limited.wrapping_add(ahead(now.buffer_limited, before.buffer_limited)),
        ..*now
    }
}

fn fill_counters(row: &mut FlowRow, news: &Totals, client_is_ours: bool) {
    let sent = (news.sent_bytes as i64, i64::from(news.segs_out));
    let received = (news.received_bytes as i64, i64::from(news.segs_in));
    let retransmits = Some(i64::from(news.retransmits));
    if client_is_ours {
        (row.client_bytes, row.client_packets) = sent;
        (row.server_bytes, row.server_packets) = received;
        row.client_retransmits = retransmits;
    } else {
        (row.server_bytes, row.server_packets) = sent;
        (row.client_bytes, row.client_packets) = received;
        row.server_retransmits = retransmits;
    }
    row.rtt_us = (news.rtt_us > 0).then_some(i64::from(news.rtt_us));
    let has_minimum = news.rtt_us > 0 && news.rtt_min_us > 0 && news.rtt_min_us != u32::MAX;
    row.rtt_min_us = has_minimum.then_some(i64::from(news.rtt_min_us));
}

/// Up to now. A first row needs none: all that it counts is all that there was.
fn fill_totals(row: &mut FlowRow, so_far: &Totals, client_is_ours: bool) {
    let sent = (Some(so_far.sent_bytes as i64), Some(i64::from(so_far.segs_out)));
    let received = (Some(so_far.received_bytes as i64), Some(i64::from(so_far.segs_in)));
    let (client, server) = if client_is_ours { (sent, received) } else { (received, sent) };
    (row.client_bytes_total, row.client_packets_total) = client;
    (row.server_bytes_total, row.server_packets_total) = server;
}

/// Only the end that sends knows what it sends again, takes for lost, and waits for; only the one that receives, what came
/// out of order.
fn fill_losses(row: &mut FlowRow, news: &Totals, client_is_ours: bool, tick_us: Option<i64>) {
    let resent = Some(news.resent_bytes as i64);
    let lost = tick_us.map(|_| i64::from(news.lost_segs));
    let out_of_order = tick_us.map(|_| i64::from(news.out_of_order_segs));
    let window_limited = tick_us.map(|tick_us| i64::from(news.window_limited) * tick_us);
    let buffer_limited = tick_us.map(|tick_us| i64::from(news.buffer_limited) * tick_us);
    if client_is_ours {
        row.client_bytes_retransmitted = resent;
        row.client_segments_lost = lost;
        row.server_segments_out_of_order = out_of_order;
        (row.client_window_limited_us, row.client_buffer_limited_us) = (window_limited, buffer_limited);
    } else {
        row.server_bytes_retransmitted = resent;
        row.server_segments_lost = lost;
        row.client_segments_out_of_order = out_of_order;
        (row.server_window_limited_us, row.server_buffer_limited_us) = (window_limited, buffer_limited);
    }
}

fn fill_times(row: &mut FlowRow, record: &ConnRecord) {
    let conn = &record.conn;
    if conn.opened_ns == 0 || conn.flags & FLAG_BACKFILLED != 0 {
        return;
    }
    row.connect_us = (conn.connect_us > 0).then_some(i64::from(conn.connect_us));
    let first_byte_ns = record.heads.first_ns[1];
    row.first_byte_us =
        (first_byte_ns > 0).then(|| first_byte_ns.saturating_sub(conn.opened_ns) as i64 / 1000);
}

fn fill_encryption(row: &mut FlowRow, facts: Option<&Facts>, heads: &Heads) {
    if let Some(facts) = facts {
        facts.fill(row);
    } else {
        row.encryption = Some(SmolStr::new_static(if is_plaintext(heads) { "plaintext" } else { "unknown" }));
    }
}

/// Whether the first bytes prove that what follows is in clear. They prove nothing where a server greets first
/// (SMTP, IMAP, FTP, MySQL: they may turn to TLS), nor where the client asks to encrypt or does so in its own way.
fn is_plaintext(heads: &Heads) -> bool {
    const MAY_ENCRYPT: [&[u8]; 4] = [
        b"\x16\x03",                   // TLS, of which no hello could be read
        b"SSH-",                       // encrypts by itself
        b"\0\0\0\x08\x04\xd2\x16\x2f", // PostgreSQL asks for TLS
        b"\0\0\0\x08\x04\xd2\x16\x30", // PostgreSQL asks for GSSAPI encryption
    ];
    let [client_ns, server_ns] = heads.first_ns;
    let client_spoke_first = client_ns > 0 && (server_ns == 0 || client_ns <= server_ns);
    client_spoke_first && !MAY_ENCRYPT.iter().any(|beginning| heads.bytes[0].starts_with(beginning))
}

/// How a connection ended, as its socket has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Close {
    pub(crate) is_client: bool,
    pub(crate) was_open: bool,
    /// errno of the socket.
    pub(crate) error: u32,
    /// TCP state before the close.
    pub(crate) state: u8,
}

impl Close {
    /// Of a connection's last record.
    pub(crate) fn of(record: &ConnRecord) -> Close {
        Close {
            is_client: record.conn.role == ROLE_CLIENT,
            was_open: record.conn.opened_ns != 0,
            error: record.error,
            state: record.state,
        }
    }

    /// Why it ended, and by whom.
    pub(crate) fn reason(self) -> &'static str {
        let reset = |by_us: bool| if by_us == self.is_client { "reset_by_client" } else { "reset_by_server" };
        match self.error as i32 {
            libc::ECONNREFUSED if !self.was_open => "refused",
            libc::EHOSTUNREACH | libc::ENETUNREACH => "unreachable",
            // What a filter may answer instead: prohibited (IPv6), no such protocol, a header that it didn't like.
            libc::EACCES | libc::ENOPROTOOPT | libc::EPROTO if !self.was_open => "unreachable",
            libc::ETIMEDOUT => "timed_out",
            // connect() was given up before anyone answered.
            _ if !self.was_open => "timed_out",
            libc::ECONNRESET | libc::EPIPE | libc::ECONNREFUSED => reset(false),
            libc::ECONNABORTED => reset(true),
            // Closed with data unread, or with SO_LINGER 0: no FIN was sent, or none that mattered.
            _ if matches!(self.state, ESTABLISHED | CLOSE_WAIT) => reset(true),
            _ if self.state == FIN_WAIT1 => reset(true),
            _ => "fin",
        }
    }

    /// Whether the other end closed first.
    pub(crate) fn is_by_peer(self) -> bool {
        self.error != 0 || self.state == LAST_ACK
    }
}

/// Why a connection ended, and by whom.
pub(crate) fn close_reason(record: &ConnRecord) -> &'static str {
    Close::of(record).reason()
}

/// Whether the other end closed first.
pub(crate) fn closed_by_peer(record: &ConnRecord) -> bool {
    Close::of(record).is_by_peer()
}

#[cfg(test)]
mod tests;
