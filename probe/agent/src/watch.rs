//! The probe's one working thread: polls the ring, sweeps the living, cuts the intervals, makes rows.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use smol_str::SmolStr;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;
use weir_abi::{ConnRecord, KIND_CLOSED, SWEEP_ALL, SWEEP_EARLY, SWEEP_MOVED, Sweep};
use weir_dissect::tls::Side;
use weir_model::ProbeHealthRow;
use weir_model::time::interval_start;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::drain::{self, Record};
use crate::features::FeatureStatus;
use crate::flows::{Flows, close_reason, closed_by_peer};
use crate::handshakes::{Context, Ending, Handshakes};
use crate::health::{Health, OwnLosses};
use crate::identity::Identities;
use crate::load::{Kernel, LoadError};
use crate::ship::Rows;
use crate::udp::UdpFlows;

/// How often the ring is looked at. Nothing wakes us: a wake-up for each event would cost more than the rest.
const POLL: Duration = Duration::from_millis(50);
/// How long rows are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(200);
/// Rows that are sent at once.
const ENOUGH_ROWS: usize = 4_096;
/// Rows that wait for a slow collector; more are counted as lost.
const MAX_WAITING_ROWS: usize = 262_144;
/// How often living connections are looked through for new ones, while there are.
const EARLY_PAUSE: Duration = Duration::from_millis(400);
/// Age at which a connection that still lives is reported.
const EARLY_AGE: Duration = Duration::from_millis(700);
/// After the last opening, so long may a connection be too young for its early row.
const EARLY_WINDOW: Duration = Duration::from_millis(1_500);

/// Everything that the thread holds.
pub(crate) struct Watch {
    kernel: Kernel,
    node: SmolStr,
    boot_id: SmolStr,
    interval: Duration,
    udp_idle: Duration,
    udp_flows: usize,
    clock: Clock,
    identities: Identities,
    flows: Flows,
    udp: UdpFlows,
    handshakes: Handshakes,
    health: Health,
    losses: OwnLosses,
    rows: Rows,
    /// Output of an iterator, kept for its memory.
    swept: Vec<u8>,
    opened: u64,
    lost_records: u64,
}

impl Watch {
    /// Watches what `kernel` sees.
    pub(crate) fn new(kernel: Kernel, config: &Config, boot_id: &str, identities: Identities) -> Watch {
        let interval_ns = config.interval.as_nanos() as i64;
        Watch {
            kernel,
            node: SmolStr::new(&config.node),
            boot_id: SmolStr::new(boot_id),
            interval: config.interval,
            udp_idle: config.udp_idle,
            udp_flows: config.udp_flows as usize,
            clock: Clock::read(),
            identities,
            flows: Flows::new(interval_ns),
            udp: UdpFlows::new(interval_ns),
            handshakes: Handshakes::default(),
            health: Health::default(),
            losses: OwnLosses::default(),
            rows: Rows::default(),
            swept: Vec::new(),
            opened: 0,
            lost_records: 0,
        }
    }

    /// What works and what doesn't.
    pub(crate) fn features(&self) -> &[FeatureStatus] {
        &self.kernel.features
    }

    /// Works until `stop` says so or is dropped; then reports what moved since the last interval.
    pub(crate) fn run(mut self, stop: &Receiver<()>, send: &Sender<Rows>) -> Result<(), LoadError> {
        self.pick_up_older()?;
        let mut next_cut = self.next_cut();
        let mut sent = Instant::now();
        let mut swept = Instant::now();
        let mut opened = Instant::now();
        loop {
            let stopping = !matches!(stop.recv_timeout(POLL), Err(RecvTimeoutError::Timeout));
            self.drain();
            if self.has_opened()? {
                opened = Instant::now();
            }
            if swept.elapsed() >= EARLY_PAUSE {
                swept = Instant::now();
                if opened.elapsed() < EARLY_WINDOW {
                    self.sweep(SWEEP_EARLY, None, EARLY_AGE)?;
                }
                self.report_early_udp();
            }
            if stopping {
                self.cut(self.now())?;
            } else if self.now() >= next_cut {
                self.cut(next_cut)?;
                next_cut = self.next_cut();
            }
            if stopping || sent.elapsed() >= GATHER || self.rows.len() >= ENOUGH_ROWS {
                sent = Instant::now();
                self.send(send);
            }
            if stopping {
                return Ok(());
            }
        }
    }

    fn now(&self) -> i64 {
        self.clock.utc(clock::boot_ns())
    }

    fn next_cut(&self) -> i64 {
        let interval_ns = self.interval.as_nanos() as i64;
        interval_start(self.now(), interval_ns) + interval_ns
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.kernel.events.next() {
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            match drain::record(&bytes) {
                Some(Record::Conn(record)) => {
                    let (flows, handshakes) = (&mut self.flows, &mut self.handshakes);
                    connection(&record, None, flows, handshakes, context, &mut self.rows);
                }
                Some(Record::Chunk(head, bytes)) => {
                    self.rows.handshakes.extend(self.handshakes.bytes(&head, bytes, context));
                }
                Some(Record::Udp(record)) => self.udp.began(&record),
                // Nobody reads them yet.
                Some(Record::Datagram(_head, _bytes)) => {}
                None => self.losses.records_unreadable += 1,
            }
        }
    }

    /// Whether connections were opened since the last look.
    fn has_opened(&mut self) -> Result<bool, LoadError> {
        let opened = self.kernel.opened()?;
        Ok(std::mem::replace(&mut self.opened, opened) != opened)
    }

    fn pick_up_older(&mut self) -> Result<(), LoadError> {
        self.kernel.backfill(&mut self.swept)?;
        self.take_swept(None);
        Ok(())
    }

    /// Reports living connections; those that never were reported only from `age` on.
    fn sweep(&mut self, mode: u32, cut_ns: Option<i64>, age: Duration) -> Result<(), LoadError> {
        let opened_before_ns = clock::boot_ns().saturating_sub(age.as_nanos() as u64);
        self.kernel.sweep(Sweep { mode, _pad: 0, opened_before_ns }, &mut self.swept)?;
        self.take_swept(cut_ns);
        Ok(())
    }

    fn take_swept(&mut self, cut_ns: Option<i64>) {
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        for record in drain::living(&self.swept) {
            connection(&record, cut_ns, &mut self.flows, &mut self.handshakes, context, &mut self.rows);
        }
    }

    fn report_early_udp(&mut self) {
        let before_ns = clock::boot_ns().saturating_sub(EARLY_AGE.as_nanos() as u64);
        let now = self.now();
        while let Some(key) = self.udp.next_early(before_ns) {
            if let Some(flow) = self.kernel.udp(key) {
                let context =
                    &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
                self.rows.flows.push(self.udp.row(&key, &flow, now, false, context));
            }
        }
    }

    /// An interval ends at `cut_ns`.
    fn cut(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let late = Duration::from_nanos((self.now() - cut_ns).max(0) as u64);
        let kernel_lost = self.kernel.lost()?;
        // A lost record may have been a connection's last: look at all that live, and forget the others.
        let lost_records = kernel_lost[weir_abi::Lost::RingFullConn as usize];
        let is_sure = std::mem::replace(&mut self.lost_records, lost_records) == lost_records;
        self.sweep(if is_sure { SWEEP_MOVED } else { SWEEP_ALL }, Some(cut_ns), late)?;
        if !is_sure {
            let alive: HashSet<u64> = drain::living(&self.swept).map(|record| record.conn.cookie).collect();
            self.flows.retain(|cookie| alive.contains(&cookie));
            self.handshakes.retain(|cookie| alive.contains(&cookie));
        }
        self.cut_udp(cut_ns)?;
        self.losses.handshakes_given_up = self.handshakes.given_up;
        let template = ProbeHealthRow {
            time: cut_ns,
            node: Some(self.node.clone()),
            boot_id: Some(self.boot_id.clone()),
            ..ProbeHealthRow::default()
        };
        let living = self.flows.len() + self.udp.len();
        let features = &self.kernel.features;
        self.rows.health.extend(self.health.rows(kernel_lost, self.losses, living, features, template));
        self.clock.follow();
        self.identities.forget_processes();
        Ok(())
    }

    fn cut_udp(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let keys = self.kernel.udp_keys();
        let is_crowded = keys.len() > self.udp_flows / 2;
        let idle_before_ns = clock::boot_ns().saturating_sub(self.udp_idle.as_nanos() as u64);
        for key in keys {
            let Some(mut flow) = self.kernel.udp(key) else { continue };
            let is_idle = self.udp.is_idle(&key, &flow);
            let is_over = is_idle && (is_crowded || flow.last_ns < idle_before_ns);
            if is_idle && !is_over {
                continue;
            }
            if is_over {
                // Taken out in one step: a packet that comes now begins a new flow and is not lost.
                let Some(last) = self.kernel.udp_take(key)? else { continue };
                flow = last;
            }
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            self.rows.flows.push(self.udp.row(&key, &flow, cut_ns, is_over, context));
        }
        Ok(())
    }

    fn send(&mut self, send: &Sender<Rows>) {
        if self.rows.len() == 0 {
            return;
        }
        match send.try_send(std::mem::take(&mut self.rows)) {
            Ok(()) => {}
            Err(TrySendError::Full(rows)) if rows.len() < MAX_WAITING_ROWS => self.rows = rows,
            Err(TrySendError::Full(rows) | TrySendError::Closed(rows)) => {
                warn!(rows = rows.len(), "rows dropped: the collector is away or slow");
                self.losses.rows_dropped += rows.len() as u64;
            }
        }
    }
}

/// One connection's record → its rows.
fn connection(
    record: &ConnRecord,
    cut_ns: Option<i64>,
    flows: &mut Flows,
    handshakes: &mut Handshakes,
    context: &mut Context<'_>,
    rows: &mut Rows,
) {
    let cookie = record.conn.cookie;
    if record.kind != KIND_CLOSED {
        let row = flows.row(record, cut_ns, handshakes.facts(cookie), context);
        rows.flows.extend(row);
        return;
    }
    let we_are_client = record.conn.role == weir_abi::ROLE_CLIENT;
    let ending = Ending {
        by: if closed_by_peer(record) == we_are_client { Side::Server } else { Side::Client },
        reset: close_reason(record).starts_with("reset"),
        time_ns: context.clock.utc(record.time_ns),
    };
    // The handshake's end may still tell something (the alert, the client's certificate), but forgets the facts.
    let facts = handshakes.facts(cookie).cloned();
    rows.handshakes.extend(handshakes.closed(cookie, ending, context));
    rows.flows.extend(flows.row(record, cut_ns, facts.as_ref(), context));
}
