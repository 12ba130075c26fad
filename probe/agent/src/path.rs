//! What the kernel counts at chosen interfaces → rows of `flows` by observer `path`, one a connection however many
//! interfaces saw it; and what NAT did, for the rows of the connection's own ends.
//!
//! | file      | subject                                                        |
//! |-----------|------------------------------------------------------------------|
//! | `join.rs` | what makes flows at interfaces one connection                      |
//! | `conn.rs` | a connection: the points that saw it, and which of them counts      |
//! | `way.rs`  | where it came in and went out, and what it was called on the way     |
//! | `told.rs` | what was told of a connection, for the next run                     |
//! | `row.rs`  | a connection's row                                                 |
//!
//! The kernel's map is looked through at each interval's end, and in between when connections ended. A connection that is
//! over is told first, written down second and taken out of the kernel third, so that a probe that is killed in between
//! neither loses nor doubles it.

mod conn;
mod join;
mod row;
#[cfg(test)]
mod tests;
mod told;
mod way;

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use weir_abi::{KNOWN_CLIENT_ISN, PathFlow, PathKey};
use weir_model::FlowRow;

use crate::clock;
use crate::config::Config;
use crate::ends::End;
use crate::handshakes::Context;
use crate::journal::Entry;
use crate::load::{Interfaces, LoadError, PathMaps};
use conn::Conn;
pub(crate) use join::Join;
pub(crate) use told::Told;
use way::Way;

/// How often connections that ended are looked for, while there are some.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Looking through very many takes its time: then it is done less often, in at most one part in so many of a core.
const LOOK_SHARE: u32 = 50;
/// So old a connection is before it is told that nobody answers: most answers come sooner, or with the second try.
const UNANSWERED_NS: u64 = 5_000_000_000;

/// When idle connections are over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) udp_ns: u64,
    /// Whether the kernel is short of room: then idle ones end early.
    pub(crate) is_crowded: bool,
}

/// What is known of connections at interfaces.
pub(crate) struct Path {
    /// The last interval's end, on the kernel's clock.
    cut_ns: u64,
    udp_idle_ns: u64,
    capacity: usize,
    /// Whether the kernel's map is half full.
    is_crowded: bool,
    conns: HashMap<Join, Conn>,
    /// Client's sequence number and protocol → the connection, where both numbers are known.
    by_client: HashMap<(u8, u32), Join>,
    /// 5-tuple → the connection, where its sequence numbers are known.
    by_tuple: HashMap<Join, Join>,
    /// Connections whose state is not what the journal has.
    changed: Vec<Join>,
    /// Told to the end, and to be taken out of the kernel once that is written down.
    leaving: Vec<Join>,
    /// The beginning of the last look: what didn't move since is known.
    looked_ns: u64,
    looked: Instant,
    pause: Duration,
    ends: u64,
    /// Whether some that ended wait until they have been silent for a while.
    has_unsettled: bool,
    /// Packets that came after their connection was told to its end.
    pub(crate) late: u64,
}

impl Path {
    /// As configured.
    pub(crate) fn of(config: &Config) -> Path {
        Path {
            cut_ns: 0,
            udp_idle_ns: config.udp_idle.as_nanos() as u64,
            capacity: config.path_flows as usize,
            is_crowded: false,
            conns: HashMap::new(),
            by_client: HashMap::new(),
            by_tuple: HashMap::new(),
            changed: Vec::new(),
            leaving: Vec::new(),
            looked_ns: 0,
            looked: Instant::now(),
            pause: LOOK_PAUSE,
            ends: 0,
            has_unsettled: true,
            late: 0,
        }
    }

    /// Takes over what an earlier run of the probe told.
    pub(crate) fn restore(&mut self, told: HashMap<Join, Told>, cut_ns: u64) {
        self.cut_ns = cut_ns;
        for (join, told) in told {
            self.insert(join, Conn::restored(told));
        }
    }

    /// Writes down what changed since the last time.
    pub(crate) fn write_changes(&mut self, entry: &mut Entry) {
        for join in self.changed.drain(..) {
            entry.path(&join, self.conns.get(&join).and_then(|conn| conn.told.as_ref()));
        }
    }

    /// Writes down everything.
    pub(crate) fn write_all(&self, entry: &mut Entry) {
        for (join, conn) in &self.conns {
            if let Some(told) = &conn.told {
                entry.path(join, Some(told));
            }
        }
    }

    /// How many connections are known.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// Tells connections that ended, if it is time to look for them.
    pub(crate) fn look_for_ended(
        &mut self,
        maps: &PathMaps,
        interfaces: &Interfaces,
        context: &mut Context<'_>,
        rows: &mut Vec<FlowRow>,
    ) -> Result<(), LoadError> {
        if self.looked.elapsed() < self.pause {
            return Ok(());
        }
        let ends = maps.ends()?;
        if std::mem::replace(&mut self.ends, ends) == ends && !self.has_unsettled {
            return Ok(());
        }
        self.look(maps)?;
        self.tell(None, interfaces, &HashSet::new(), context, rows);
        Ok(())
    }

    /// An interval ends: tells all that moved. `denied`: those that another row says were dropped on their way.
    pub(crate) fn cut(
        &mut self,
        cut_ns: u64,
        maps: &PathMaps,
        interfaces: &Interfaces,
        denied: &HashSet<(u8, End, End)>,
        context: &mut Context<'_>,
        rows: &mut Vec<FlowRow>,
    ) -> Result<(), LoadError> {
        self.look(maps)?;
        self.tell(Some(cut_ns), interfaces, denied, context, rows);
        self.cut_ns = cut_ns;
        Ok(())
    }

    /// Looks through the kernel's flows.
    fn look(&mut self, maps: &PathMaps) -> Result<(), LoadError> {
        let began = Instant::now();
        let since_ns = std::mem::replace(&mut self.looked_ns, clock::boot_ns());
        let is_first = since_ns == 0;
        // Those that can only be told whose they are by others.
        let mut unsure: Vec<(PathKey, PathFlow, bool)> = Vec::new();
        let mut entries = 0_usize;
        maps.walk(|key, flow, is_past| {
            entries += 1;
            if !is_first && !is_past && conn::last_ns(flow) < since_ns {
                return;
            }
            match join::sure(key, flow) {
                Some(join) => self.see(join, key, flow, is_past),
                None => unsure.push((*key, *flow, is_past)),
            }
        })?;
        for (key, flow, is_past) in unsure {
            let join = self.join(&key, &flow);
            self.see(join, &key, &flow, is_past);
        }
        if is_first {
            // What an earlier run knew and the kernel has no more.
            let gone: Vec<Join> =
                self.conns.iter().filter(|(_, conn)| conn.points.is_empty()).map(|(join, _)| *join).collect();
            for join in &gone {
                self.forget(join);
            }
        }
        self.is_crowded = entries > self.capacity / 2;
        self.looked = Instant::now();
        self.pause = LOOK_PAUSE.max(began.elapsed() * LOOK_SHARE);
        Ok(())
    }

    fn see(&mut self, join: Join, key: &PathKey, flow: &PathFlow, is_past: bool) {
        if !self.conns.contains_key(&join) {
            self.begin(join);
        }
        if join.by == join::BY_PAIR {
            self.by_tuple.insert(Join::tuple(key), join);
        }
        if let Some(conn) = self.conns.get_mut(&join) {
            conn.see(key, flow, is_past);
        }
    }

    /// A connection is new, or has been answered.
    fn begin(&mut self, join: Join) {
        let mut conn = Conn::default();
        if join.by == join::BY_PAIR {
            let unanswered = Join::client(join.protocol, join.client_isn);
            if let Some(known) = self.conns.remove(&unanswered) {
                self.changed.push(unanswered);
                conn = known;
            }
        }
        self.insert(join, conn);
    }

    fn insert(&mut self, join: Join, conn: Conn) {
        if join.by == join::BY_PAIR {
            self.by_client.insert((join.protocol, join.client_isn), join);
            for point in &conn.points {
                self.by_tuple.insert(Join::tuple(&point.key), join);
            }
        }
        self.conns.insert(join, conn);
    }

    /// Which connection a flow belongs to that has not seen both numbers.
    fn join(&self, key: &PathKey, flow: &PathFlow) -> Join {
        if flow.known & KNOWN_CLIENT_ISN != 0 {
            let answered = self.by_client.get(&(key.protocol, flow.client_isn));
            return answered.copied().unwrap_or(Join::client(key.protocol, flow.client_isn));
        }
        let tuple = Join::tuple(key);
        self.by_tuple.get(&tuple).copied().unwrap_or(tuple)
    }

    fn tell(
        &mut self,
        cut_ns: Option<u64>,
        interfaces: &Interfaces,
        denied: &HashSet<(u8, End, End)>,
        context: &mut Context<'_>,
        rows: &mut Vec<FlowRow>,
    ) {
        let now_ns = self.looked_ns;
        let patience = Patience { udp_ns: self.udp_idle_ns, is_crowded: self.is_crowded };
        self.has_unsettled = false;
        for (join, conn) in &mut self.conns {
            if let Some(told) = conn.told.filter(|told| told.is_over != 0) {
                // It was told, and the probe killed before it was taken out; or it waits for that.
                if std::mem::take(&mut conn.has_news) {
                    let now = conn.counting().map_or(0, |point| packets(&point.sent));
                    self.late += now.saturating_sub(packets(&told.sent));
                }
                self.leaving.push(*join);
                continue;
            }
            let over = conn.over(join, now_ns, patience);
            self.has_unsettled |= over.is_none() && conn.is_ending();
            let is_told = match (over, cut_ns) {
                (Some(_), _) => true,
                (None, None) => false,
                (None, Some(_)) => conn.has_news && !(join.by == join::BY_CLIENT && is_young(conn, now_ns)),
            };
            let Some(way) = is_told.then(|| Way::of(conn)).flatten() else { continue };
            let end_ns = cut_ns.unwrap_or(now_ns);
            let subject = row::Subject { join, conn, way: &way, over, end_ns, cut_ns: self.cut_ns };
            let Some((row, mut told)) = row::row(&subject, Some(interfaces), context) else { continue };
            let is_denied = !conn.has_heard(conn::SERVER)
                && Way::names(conn).any(|(client, server)| denied.contains(&(join.protocol, client, server)));
            if is_denied {
                told.is_silent = 1;
            } else {
                rows.push(row);
            }
            conn.has_news = false;
            conn.told = Some(told);
            self.changed.push(*join);
            if over.is_some() {
                self.leaving.push(*join);
            }
        }
    }

    /// What was told is written down: connections that are over are taken out of the kernel.
    pub(crate) fn written(&mut self, maps: &PathMaps) {
        for join in std::mem::take(&mut self.leaving) {
            let Some(conn) = self.conns.get(&join) else { continue };
            for point in &conn.points {
                // The next life of its 5-tuple may have its place.
                let is_past =
                    point.is_past || maps.flow(&point.key).is_some_and(|flow| flow.born_ns != point.born_ns);
                // What the kernel doesn't give up is found again by the next look, and is told already.
                let last = maps.remove(&point.key, point.born_ns, is_past).ok().flatten();
                let after = last.map_or(0, |flow| flow.lanes.iter().map(|lane| lane.packets).sum::<u64>());
                self.late += after.saturating_sub(point.packets);
            }
            self.forget(&join);
        }
    }

    fn forget(&mut self, join: &Join) {
        let Some(conn) = self.conns.remove(join) else { return };
        self.changed.push(*join);
        if join.by == join::BY_PAIR {
            let client = (join.protocol, join.client_isn);
            if self.by_client.get(&client) == Some(join) {
                self.by_client.remove(&client);
            }
            for point in &conn.points {
                let tuple = Join::tuple(&point.key);
                if self.by_tuple.get(&tuple) == Some(join) {
                    self.by_tuple.remove(&tuple);
                }
            }
        }
    }

    /// Says in rows of connections' own ends what was done to them on their way through this node.
    pub(crate) fn fill(&self, maps: &PathMaps, rows: &mut [FlowRow]) {
        for row in rows {
            let Some(ends) = row::ends(row) else { continue };
            let Some((client_isn, server_isn)) = row::numbers(row) else { continue };
            let known = self.conns.get(&Join::pair(join::TCP, client_isn, server_isn)).and_then(Way::of);
            let way = known.or_else(|| maps.opening(join::TCP, client_isn).as_ref().map(Way::at_opening));
            if let Some(way) = way {
                row::fill_end(row, &way, ends);
            }
        }
    }
}

fn packets(sent: &[told::Sent; 2]) -> u64 {
    sent.iter().map(|sent| sent.packets).sum()
}

/// Whether an answer may still come, with which its connection would get another id.
fn is_young(conn: &Conn, now_ns: u64) -> bool {
    now_ns.saturating_sub(conn.first_ns()) < UNANSWERED_NS
}
