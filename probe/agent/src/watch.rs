//! The probe's one working thread: polls the ring, sweeps the living, cuts the intervals, makes rows.
//!
//! | file         | subject                                                      |
//! |--------------|--------------------------------------------------------------|
//! | `records.rs` | what the ring brings                                           |
//! | `sweep.rs`   | living connections, and those older than this run              |
//! | `udp.rs`     | UDP flows                                                      |
//! | `path.rs`    | what passes at interfaces                                      |
//! | `cut.rs`     | an interval's end                                              |
//! | `looking.rs` | how often processes and silent exchanges are looked for        |

mod cut;
mod looking;
mod path;
mod records;
mod sweep;
mod udp;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use smol_str::SmolStr;
use tracing::warn;
use weir_abi::{Lost, SWEEP_EARLY};
use weir_model::time::interval_start;
use weir_wire::{ShipStats, Shipper};

use crate::census::Census;
use crate::clock::{self, Clock, Wall};
use crate::config::Config;
use crate::dns::Dns;
use crate::drops::Drops;
use crate::exchanges::Exchanges;
use crate::features::{self, FeatureStatus};
use crate::flows::Flows;
use crate::golang::{Change, GoPrograms};
use crate::handshakes::{Context, Handshakes, UdpHandshakes};
use crate::health::{Health, OwnLosses};
use crate::identity::Identities;
use crate::journal::{Entry, Journal, Spool};
use crate::keep::{self, Keep};
use crate::libraries::Libraries;
use crate::load::pins::Pins;
use crate::load::{Kernel, LoadError};
use crate::path::Path;
use crate::processes::Processes;
use crate::ship::Rows;
use crate::status::{Numbers, Status};
use crate::sys::Ring;
use crate::udp::UdpFlows;
use looking::Looking;

/// How often the ring is looked at. Nothing wakes us: a wake-up for each event would cost more than the rest.
const POLL: Duration = Duration::from_millis(50);
/// How long rows are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(200);
/// Rows that are written at once.
const ENOUGH_ROWS: usize = 4_096;
/// Without a state directory no more than this waits for the collector.
const MEMORY_SPOOL: u64 = 64 << 20;
/// How often living connections are looked through for new ones, while there are.
const EARLY_PAUSE: Duration = Duration::from_millis(600);
/// Age at which a connection that still lives is reported.
const EARLY_AGE: Duration = Duration::from_millis(700);
/// At most one part in so many of a core goes to looking for new ones among very many.
const EARLY_SHARE: u32 = 50;
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
    wall: Wall,
    clock: Clock,
    identities: Identities,
    flows: Flows,
    udp: UdpFlows,
    /// None below the level `packets`.
    path: Option<Path>,
    handshakes: Handshakes,
    udp_handshakes: UdpHandshakes,
    dns: Dns,
    drops: Drops,
    /// None where the level or this kernel has none.
    exchanges: Option<Exchanges>,
    /// None where goroutines are not told apart.
    go: Option<GoPrograms>,
    /// None where TLS libraries are not probed.
    libraries: Option<Libraries>,
    census: Census,
    processes: Processes,
    health: Health,
    losses: OwnLosses,
    rows: Rows,
    /// A piece of an iterator's output, kept for its memory.
    swept: Vec<u8>,
    opened: u64,
    dropped: u64,
    lost_records: u64,
    /// The kernel programs were at work before us.
    is_adopted: bool,
    /// What a clean end takes off.
    pins: Option<Pins>,
    journal: Journal,
    /// Rows that could not be written down.
    unwritten_rows: u64,
    status: Arc<Status>,
}

impl Watch {
    /// Watches what `kernel` sees, and goes on from what was kept.
    ///
    /// # Errors
    /// No memory for rows.
    pub(crate) fn new(
        mut kernel: Kernel,
        config: &Config,
        identities: Identities,
        keep: Keep,
        wall: Wall,
    ) -> io::Result<Watch> {
        let exchanges = kernel.has(features::EXCHANGES).then(|| Exchanges::new(config.exchange_rows));
        let go = (exchanges.is_some() && kernel.has(features::GOROUTINES)).then(GoPrograms::default);
        let libraries = kernel.has(features::LIBRARIES).then(Libraries::default);
        let is_adopted = keep.is_adopted();
        let Keep { identity, opened, restored, pins, features } = keep;
        kernel.features.extend(features);
        let processes = Processes::new();
        kernel.features.push(processes.feature());
        let drops = Drops::new(std::mem::take(&mut kernel.reasons));
        let mut flows = Flows::new(kernel.has(features::LOSSES));
        let mut udp = UdpFlows::default();
        let mut path = kernel.path.is_some().then(|| Path::of(config));
        let mut handshakes = Handshakes::new(libraries.is_some());
        let mut health = Health::default();
        let losses =
            OwnLosses { state_unreadable: u64::from(restored.unreadable > 0), ..OwnLosses::default() };
        for (cookie, conn) in &restored.conns {
            if let Some(facts) = &conn.facts {
                handshakes.restore(*cookie, facts.clone());
            }
        }
        handshakes.given_up = restored.under_way;
        flows.restore(restored.conns, restored.cut_ns);
        if is_adopted {
            kernel.events.skip_to(restored.position);
            udp.restore(restored.udp, restored.cut_ns);
            if let Some(path) = &mut path {
                path.restore(restored.path, restored.cut_ns);
            }
            health = Health::after(restored.told);
        }
        let boot_id = SmolStr::new(&identity.boot_id);
        let begin = |entry: &mut Entry| {
            write_all(entry, &flows, &udp, path.as_ref(), handshakes.under_way(), &health, &kernel.events);
        };
        let on_disk = opened.map(|opened| {
            Journal::on_disk(opened, restored.acked, identity.clone(), config.spool_bytes, begin)
        });
        let journal = match on_disk {
            Some(Ok(journal)) => journal,
            None => Journal::in_memory(identity, config.spool_bytes.min(MEMORY_SPOOL))?,
            Some(Err(error)) => {
                warn!(error = format!("{:#}", anyhow::Error::from(error)), "the spool is in memory only");
                Journal::in_memory(identity, config.spool_bytes.min(MEMORY_SPOOL))?
            }
        };
        Ok(Watch {
            lost_records: lost_ends(health.told()),
            kernel,
            node: SmolStr::new(&config.node),
            boot_id,
            interval: config.interval,
            udp_idle: config.udp_idle,
            udp_flows: config.udp_flows as usize,
            clock: Clock::read(&wall),
            wall,
            identities,
            flows,
            udp,
            path,
            handshakes,
            udp_handshakes: UdpHandshakes::default(),
            dns: Dns::new(),
            drops,
            exchanges,
            go,
            libraries,
            census: Census::default(),
            processes,
            health,
            losses,
            rows: Rows::default(),
            swept: Vec::new(),
            opened: 0,
            dropped: 0,
            is_adopted,
            pins: if config.keep_attached { None } else { pins },
            journal,
            unwritten_rows: 0,
            status: Arc::default(),
        })
    }

    /// This run, as batches name it.
    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Where batches come out.
    pub(crate) fn spool(&self) -> Spool {
        self.journal.spool()
    }

    /// What works and what doesn't.
    pub(crate) fn features(&self) -> &[FeatureStatus] {
        &self.kernel.features
    }

    /// Works until `stop` says so or is dropped; then reports what moved since the last interval. Gives back the journal,
    /// whose last rows are still on their way.
    pub(crate) fn run(mut self, stop: &Receiver<()>, shipper: &Shipper) -> (Result<(), LoadError>, Journal) {
        let result = self.work(stop, shipper);
        keep::take_off(self.pins.as_ref());
        (result, self.journal)
    }

    fn work(&mut self, stop: &Receiver<()>, shipper: &Shipper) -> Result<(), LoadError> {
        self.status.beat();
        self.take_over()?;
        self.tell(shipper.stats());
        let mut looking = Looking::new();
        let mut next_cut = self.last_cut() + self.interval_ns();
        let mut written = Instant::now();
        let mut swept = Instant::now();
        let mut opened = Instant::now();
        let mut early_pause = EARLY_PAUSE;
        loop {
            let stopping = !matches!(stop.recv_timeout(POLL), Err(RecvTimeoutError::Timeout));
            self.status.beat();
            self.drain()?;
            self.expire_dns(stopping);
            self.expire_handshakes(stopping);
            self.look_at_processes(stopping);
            if self.has_opened()? {
                opened = Instant::now();
            }
            if swept.elapsed() >= early_pause {
                swept = Instant::now();
                if opened.elapsed() < EARLY_WINDOW.max(early_pause + EARLY_AGE) {
                    self.sweep(SWEEP_EARLY, None, EARLY_AGE, None)?;
                    early_pause = EARLY_PAUSE.max(swept.elapsed() * EARLY_SHARE).min(self.interval);
                }
                self.report_early_udp();
            }
            self.look_at_programs(&mut looking);
            self.look_for_exchanges(&mut looking)?;
            self.look_at_path()?;
            // Where the clock was set, the interval ends at once, by the clock that it began with.
            let ends_early = stopping || self.clock.was_set(&self.wall);
            if ends_early || self.now() >= next_cut {
                let shipped = shipper.stats();
                self.losses.rows_refused = shipped.refused_rows;
                self.cut(if ends_early { self.now() } else { self.last_cut() })?;
                next_cut = self.last_cut() + self.interval_ns();
                self.tell(shipped);
            }
            if stopping || written.elapsed() >= GATHER || self.rows.len() >= ENOUGH_ROWS {
                written = Instant::now();
                self.take_drops()?;
                self.write();
            }
            if stopping {
                return Ok(());
            }
        }
    }

    fn tell(&self, shipped: ShipStats) {
        self.status.tell(Numbers {
            living: self.flows.len() + self.udp.len(),
            waiting_rows: self.journal.spool().waiting_rows(),
            acked_rows: shipped.acked_rows,
            last_error: shipped.last_error,
            lost: self.health.counts(),
            features: self.kernel.features.clone(),
        });
    }

    fn now(&self) -> i64 {
        self.clock.utc(clock::boot_ns())
    }

    fn interval_ns(&self) -> i64 {
        self.interval.as_nanos() as i64
    }

    /// The last multiple of the interval. Several may have passed if the probe was held up: what moved in them is told as
    /// one, since nobody knows when.
    fn last_cut(&self) -> i64 {
        interval_start(self.now(), self.interval_ns())
    }

    /// Reports questions that nobody answers, when the probe stops all that are open.
    fn expire_dns(&mut self, stopping: bool) {
        let now = clock::boot_ns();
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        self.dns.expire(now, context, &mut self.rows.dns);
        if stopping {
            self.dns.finish(context, &mut self.rows.dns);
        }
    }

    /// Reports handshakes that waited for a certificate in vain.
    fn expire_handshakes(&mut self, stopping: bool) {
        let now = clock::boot_ns();
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        self.handshakes.expire(now, stopping, context, &mut self.rows.handshakes);
    }

    /// Looks at some of the processes that were seen for the first time, when the probe stops at all.
    fn look_at_processes(&mut self, stopping: bool) {
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        self.processes.look(stopping, context, &mut self.rows.processes);
    }

    /// Whether connections were opened since the last look.
    fn has_opened(&mut self) -> Result<bool, LoadError> {
        let opened = self.kernel.opened()?;
        Ok(std::mem::replace(&mut self.opened, opened) != opened)
    }

    /// Looks at new processes: which are Go's, and which have TLS libraries.
    fn look_at_programs(&mut self, looking: &mut Looking) {
        if (self.go.is_none() && self.libraries.is_none()) || !looking.is_time_for_processes() {
            return;
        }
        let changes = self.census.look_around();
        for change in self.go.iter_mut().flat_map(|go| go.follow(&changes)) {
            match change {
                Change::Began(pid, layout) => self.kernel.go_began(pid, layout),
                Change::Ended(pid) => self.kernel.go_ended(pid),
            }
        }
        if let Some(libraries) = &mut self.libraries {
            libraries.follow(&changes, &mut self.kernel);
        }
    }

    /// Looks for turns whose answer has fallen silent.
    fn look_for_exchanges(&mut self, looking: &mut Looking) -> Result<(), LoadError> {
        if self.exchanges.is_none() {
            return Ok(());
        }
        if looking.is_time_for_silence(self.kernel.begun()?) {
            let began = Instant::now();
            self.take_silent()?;
            looking.took(began.elapsed());
        }
        Ok(())
    }

    /// Writes rows down, with what they leave of the state, and gives the ring back what they were made from.
    fn write(&mut self) {
        if self.rows.len() == 0 && !self.kernel.events.has_read() {
            return;
        }
        let mut rows = std::mem::take(&mut self.rows);
        if let (Some(path), Some(maps)) = (&self.path, &self.kernel.path) {
            path.fill(maps, &mut rows.flows);
        }
        let mut entry = Entry::new();
        let encoded = rows.write(&mut self.journal, &mut entry);
        self.flows.write_changes(&mut entry);
        self.udp.write_changes(&mut entry);
        if let Some(path) = &mut self.path {
            path.write_changes(&mut entry);
        }
        entry.position(self.kernel.events.position());
        let under_way = self.handshakes.under_way() + self.udp_handshakes.under_way();
        entry.under_way(under_way);
        entry.lost(self.health.told());
        let Watch { flows, udp, path, health, kernel, .. } = self;
        let path = path.as_ref();
        let whole = |entry: &mut Entry| write_all(entry, flows, udp, path, under_way, health, &kernel.events);
        let written = self.journal.append(entry, whole);
        if let Some(error) = encoded.err().map(anyhow::Error::from).or(written.err().map(Into::into)) {
            warn!(
                rows = rows.len(),
                error = format!("{error:#}"),
                "rows lost: they could not be written down"
            );
            self.unwritten_rows += rows.len() as u64;
        }
        if let (Some(path), Some(maps)) = (&mut self.path, &self.kernel.path) {
            path.written(maps);
        }
        self.kernel.events.release();
        rows.clear();
        self.rows = rows;
    }
}

/// How many connections may have ended without saying so.
fn lost_ends(lost: &[u64; Lost::COUNT]) -> u64 {
    lost[Lost::RingFullConn as usize] + lost[Lost::CloseUnseen as usize]
}

/// The whole state, for the next run.
fn write_all(
    entry: &mut Entry,
    flows: &Flows,
    udp: &UdpFlows,
    path: Option<&Path>,
    handshakes_under_way: u64,
    health: &Health,
    events: &Ring,
) {
    flows.write_all(entry);
    udp.write_all(entry);
    if let Some(path) = path {
        path.write_all(entry);
    }
    entry.position(events.position());
    entry.under_way(handshakes_under_way);
    entry.lost(health.told());
}
