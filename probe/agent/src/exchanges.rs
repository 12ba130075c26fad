//! Records of turns → rows of `exchanges`, and what a flow's row says about them.
//!
//! | file            | subject                                                       |
//! |-----------------|---------------------------------------------------------------|
//! | `durations.rs`  | how long a connection's exchanges took, for quantiles             |
//! | `spoken.rs`     | what a connection's first bytes say is spoken on it               |
//! | `admission.rs`  | which exchanges get a row of their own when there are too many    |
//!
//! Every exchange counts in its flow; more than `exchange_rows` a second have no row of their own, and are counted as
//! shed. Never here: what an exchange was for (`cause` comes out of the kernel), and which rows are one exchange (the
//! collector pairs them).

mod admission;
mod durations;
mod spoken;

use std::sync::Arc;

use smol_str::SmolStr;
use weir_abi::{
    CAUSE_EVENT_LOOP, CAUSE_GOROUTINE, CAUSE_GOROUTINE_PARENT, CAUSE_NONE, CAUSE_THREAD, Cause, Conn,
    ENDED_BY_CLOSE, ENDED_BY_NEXT, ENDED_BY_SILENCE, ENDED_BY_UPGRADE, EXCHANGE_CUT, EXCHANGE_FOLLOWS_TLS,
    EXCHANGE_PIPELINED, ExchangeRecord, FLAG_BACKFILLED, FirstExchange, Heads, Owner, ROLE_CLIENT,
};
use weir_model::{ExchangeRow, FlowRow, ids};

use crate::by_cookie::{self, ByCookie};
use crate::ends::{Ends, tcp_id};
use crate::flows::{Close, opened};
use crate::handshakes::{Context, Facts};
use crate::identity::comm;
use admission::Admission;
use durations::Durations;
use spoken::Spoken;

/// Most connections whose exchanges are remembered; exchanges of more are counted as given up.
const MAX_CONNECTIONS: usize = 262_144;

/// Owners that are remembered, to be shared by the connections that they open or accept.
const OWNERS: usize = 128;

/// A connection with exchanges: what their rows need of it, and no more, since there may be very many.
struct Talk {
    /// Shared with others of its.
    owner: Arc<Owner>,
    local_ip: [u8; 16],
    remote_ip: [u8; 16],
    syn_ns: u64,
    opened_ns: u64,
    connect_us: u32,
    local_isn: u32,
    remote_isn: u32,
    local_port: u16,
    remote_port: u16,
    role: u8,
    flags: u8,
    spoken: Spoken,
    /// Since the connection's last flow row.
    durations: Option<Box<Durations>>,
}

impl Talk {
    /// Its connection, but for what is not kept of it.
    fn conn(&self) -> Conn {
        Conn {
            owner: *self.owner,
            local_ip: self.local_ip,
            remote_ip: self.remote_ip,
            syn_ns: self.syn_ns,
            opened_ns: self.opened_ns,
            connect_us: self.connect_us,
            local_isn: self.local_isn,
            remote_isn: self.remote_isn,
            local_port: self.local_port,
            remote_port: self.remote_port,
            role: self.role,
            flags: self.flags,
            ..Conn::default()
        }
    }
}

/// The exchanges of all open connections, by socket cookie.
pub(crate) struct Exchanges {
    talks: ByCookie<Talk>,
    /// Of connections that came before, so that the next ones share them.
    owners: [Arc<Owner>; OWNERS],
    admission: Admission,
    /// Exchanges that have no row of their own, since there were too many.
    pub(crate) shed: u64,
    /// Exchanges of connections that were never introduced: their first record was lost.
    pub(crate) given_up: u64,
}

impl Exchanges {
    /// At most `rows_a_second`, above which every second one, fourth one… has a row.
    pub(crate) fn new(rows_a_second: u32) -> Exchanges {
        Exchanges {
            talks: ByCookie::default(),
            owners: std::array::from_fn(|_| Arc::default()),
            admission: Admission::new(rows_a_second),
            shed: 0,
            given_up: 0,
        }
    }

    /// A connection that lives, in case that its introduction went to an earlier run of the probe.
    pub(crate) fn introduce(&mut self, conn: Conn, heads: &Heads) {
        let cookie = conn.cookie;
        if self.talks.len() < MAX_CONNECTIONS && !self.talks.contains_key(&cookie) {
            let talk = self.talk(&conn, heads, None);
            self.talks.insert(cookie, talk);
        }
    }

    /// The first turn of a connection.
    pub(crate) fn first(
        &mut self,
        first: &FirstExchange,
        facts: Option<&Facts>,
        context: &mut Context<'_>,
    ) -> Option<ExchangeRow> {
        let cookie = first.exchange.cookie;
        if self.talks.len() < MAX_CONNECTIONS || self.talks.contains_key(&cookie) {
            let durations = self.talks.swap_remove(&cookie).and_then(|talk| talk.durations);
            let talk = self.talk(&first.conn, &first.heads, durations);
            self.talks.insert(cookie, talk);
        }
        self.turn(&first.exchange, facts, context)
    }

    fn talk(&mut self, conn: &Conn, heads: &Heads, durations: Option<Box<Durations>>) -> Talk {
        let owner = &mut self.owners[conn.owner.pid as usize % OWNERS];
        if **owner != conn.owner {
            *owner = Arc::new(conn.owner);
        }
        Talk {
            owner: owner.clone(),
            local_ip: conn.local_ip,
            remote_ip: conn.remote_ip,
            syn_ns: conn.syn_ns,
            opened_ns: conn.opened_ns,
            connect_us: conn.connect_us,
            local_isn: conn.local_isn,
            remote_isn: conn.remote_isn,
            local_port: conn.local_port,
            remote_port: conn.remote_port,
            role: conn.role,
            flags: conn.flags,
            spoken: Spoken::of(heads, conn.flags & FLAG_BACKFILLED != 0),
            durations,
        }
    }

    /// A turn is over: its row, if it gets one.
    pub(crate) fn turn(
        &mut self,
        record: &ExchangeRecord,
        facts: Option<&Facts>,
        context: &mut Context<'_>,
    ) -> Option<ExchangeRow> {
        let Some(talk) = self.talks.get_mut(&record.cookie) else {
            self.given_up += 1;
            return None;
        };
        let multiplexed = facts.map_or(talk.spoken.is_multiplexed(), |facts| facts.multiplexed);
        let answered = record.first_ns != 0;
        let error = error(record, talk.role == ROLE_CLIENT);
        let is_tls = facts.is_some() || talk.spoken.is_tls();
        if !answered && !is_exchange(record, talk, facts) || is_tls && is_farewell(record) {
            return None;
        }
        let total_us = record.end_ns.saturating_sub(record.begin_ns) / 1000;
        if answered && multiplexed != Some(true) {
            talk.durations.get_or_insert_default().add(total_us);
        }
        let key = u64::from(talk.local_isn ^ talk.remote_isn) << 32 | u64::from(record.request_seq);
        if !self.admission.admits(key, record.end_ns, error.is_some()) {
            self.shed += 1;
            return None;
        }
        Some(row(record, talk, multiplexed, error, facts, context))
    }

    /// Fills in what a flow's row says of the exchanges since the one before.
    pub(crate) fn fill_flow(&mut self, cookie: u64, row: &mut FlowRow) {
        row.exchanges = Some(0);
        let Some(talk) = self.talks.get_mut(&cookie) else { return };
        let Some(durations) = talk.durations.take() else { return };
        row.exchanges = Some(durations.count());
        row.exchange_p50_us = durations.quantile(50);
        row.exchange_p90_us = durations.quantile(90);
        row.exchange_p99_us = durations.quantile(99);
    }

    /// The connection is over.
    pub(crate) fn closed(&mut self, cookie: u64) {
        self.talks.swap_remove(&cookie);
    }

    /// Forgets connections that are no longer there (their end was lost); not younger ones, which the sweep that told
    /// who is alive may have left out.
    pub(crate) fn retain(&mut self, is_alive: impl Fn(u64) -> bool, opened_before_ns: u64) {
        self.talks.retain(|cookie, talk| talk.opened_ns >= opened_before_ns || is_alive(*cookie));
    }

    /// An interval is over: time to give back what is not needed any more.
    pub(crate) fn give_memory_back(&mut self) {
        by_cookie::shrink(&mut self.talks);
    }
}

/// The largest record of an AEAD cipher that says no more than that TLS is over (RFC 8446 §6.1, RFC 5288).
const CLOSE_NOTIFY: u64 = 31;

/// What such a record takes with ChaCha20-Poly1305 in TLS 1.2, with any cipher of TLS 1.3, and with AES-GCM in TLS 1.2.
const CLOSE_NOTIFIES: [u64; 3] = [23, 24, CLOSE_NOTIFY];

/// Whether both ends only told each other that TLS is over: seen as a request and its answer by an end that lives on until
/// the other's word has come.
fn is_farewell(record: &ExchangeRecord) -> bool {
    let is_it = CLOSE_NOTIFIES.contains(&record.request_bytes);
    record.ended == ENDED_BY_CLOSE && is_it && record.response_bytes == record.request_bytes
}

/// A client that sends and gets no answer may be one that asks for none (a log shipper); it waited for one if this was
/// not its first turn, or if what it speaks has answers. With TLS its last word is that there are no more.
fn is_exchange(record: &ExchangeRecord, talk: &Talk, facts: Option<&Facts>) -> bool {
    if (facts.is_some() || talk.spoken.is_tls()) && record.request_bytes <= CLOSE_NOTIFY {
        return false;
    }
    record.number > 1 || talk.spoken.has_answers() || facts.is_some_and(|facts| facts.alpn.is_some())
}

fn row(
    record: &ExchangeRecord,
    talk: &Talk,
    multiplexed: Option<bool>,
    error: Option<&'static str>,
    facts: Option<&Facts>,
    context: &mut Context<'_>,
) -> ExchangeRow {
    let conn = &talk.conn();
    let mut row = ExchangeRow {
        time: context.clock.utc(record.begin_ns),
        end_time: (record.end_ns != 0).then(|| context.clock.utc(record.end_ns)),
        number: Some(i64::from(record.number)),
        request_offset: Some(i64::from(record.request_seq)),
        request_bytes: record.request_bytes as i64,
        response_bytes: record.response_bytes as i64,
        multiplexed,
        pipelined: Some(record.flags & EXCHANGE_PIPELINED != 0),
        ended_by: ended_by(record.ended),
        error: error.map(SmolStr::new_static),
        source: Some(SmolStr::new_static("probe")),
        ..ExchangeRow::default()
    };
    row.connection_id = Some(tcp_id(conn, context.node, opened(conn)));
    row.application_protocol = facts.and_then(|facts| facts.alpn.clone()).or_else(|| talk.spoken.name());
    let since_begin = |at: u64| (at != 0).then(|| at.saturating_sub(record.begin_ns) as i64 / 1000);
    if record.first_ns != 0 {
        row.total_us = since_begin(record.end_ns);
        let has_tickets = facts.is_some_and(|facts| facts.version.as_deref() == Some("1.3"));
        let is_blurred = has_tickets && record.flags & EXCHANGE_FOLLOWS_TLS != 0;
        row.first_byte_us = since_begin(record.first_ns).filter(|_| !is_blurred);
    }
    if record.number == 1 && conn.flags & FLAG_BACKFILLED == 0 {
        row.opened_time = Some(context.clock.utc(opened(conn)));
        row.connect_us = (conn.connect_us != 0).then_some(i64::from(conn.connect_us));
    }
    // The thread that was at work is surer than the socket's owner.
    let owner = Owner { pid: record.pid, ..conn.owner };
    let holder = context.identities.holder(&owner);
    Ends::of(conn).fill_exchange(&mut row, context.node, holder);
    row.thread_id = (record.tid != 0).then_some(i64::from(record.tid));
    row.thread_name = comm(&record.comm);
    row.goroutine = (record.goroutine != 0).then_some(record.goroutine as i64);
    if conn.role == ROLE_CLIENT {
        fill_cause(&mut row, &record.cause);
    }
    row
}

fn fill_cause(row: &mut ExchangeRow, cause: &Cause) {
    let method = match cause.method {
        CAUSE_THREAD => "thread",
        CAUSE_EVENT_LOOP => "event_loop",
        CAUSE_GOROUTINE => "goroutine",
        CAUSE_GOROUTINE_PARENT => "goroutine_parent",
        _ => {
            debug_assert_eq!(cause.method, CAUSE_NONE);
            return;
        }
    };
    row.cause_connection_id = Some(ids::tcp_connection_id(cause.client_isn, cause.server_isn));
    row.cause_request_offset = Some(i64::from(cause.request_seq));
    row.cause_method = Some(SmolStr::new_static(method));
    row.cause_candidates = Some(i64::from(cause.open));
}

fn ended_by(ended: u8) -> Option<SmolStr> {
    let name = match ended {
        ENDED_BY_NEXT => "next_request",
        ENDED_BY_CLOSE => "close",
        ENDED_BY_SILENCE => "silence",
        ENDED_BY_UPGRADE => "upgrade",
        _ => return None,
    };
    Some(SmolStr::new_static(name))
}

/// What kept the answer from coming, or from coming whole.
fn error(record: &ExchangeRecord, client_is_ours: bool) -> Option<&'static str> {
    if record.ended != ENDED_BY_CLOSE {
        return None;
    }
    let is_answered = record.first_ns != 0;
    if is_answered && record.flags & EXCHANGE_CUT == 0 {
        return None;
    }
    let end = Close { is_client: client_is_ours, was_open: true, error: record.error, state: record.state };
    match end.reason() {
        "fin" if is_answered => None,
        "fin" if end.is_by_peer() == client_is_ours => Some("closed_by_server"),
        "fin" => Some("closed_by_client"),
        reason => Some(reason),
    }
}

#[cfg(test)]
mod tests;
