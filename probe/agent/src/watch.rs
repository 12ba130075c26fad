//! The probe's one working thread: polls the ring, sweeps the living, cuts the intervals, makes rows.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use smol_str::SmolStr;
use tracing::warn;
use weir_abi::{Conn, ConnRecord, KIND_CLOSED, Lost, SWEEP_ALL, SWEEP_EARLY, SWEEP_MOVED, Sweep, UdpFlow};
use weir_dissect::tls::Side;
use weir_model::ProbeHealthRow;
use weir_model::time::interval_start;
use weir_wire::{ShipStats, Shipper};

use crate::census::Census;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::dns::Dns;
use crate::drain::{self, Record};
use crate::drops::{Drops, FlowKey};
use crate::exchanges::Exchanges;
use crate::features::{self, FeatureStatus};
use crate::flows::{Flows, close_reason, closed_by_peer};
use crate::golang::{Change, GoPrograms};
use crate::handshakes::{Context, Ending, Handshakes, UdpHandshakes};
use crate::health::{Health, OwnLosses};
use crate::identity::Identities;
use crate::journal::{Entry, Journal, Spool};
use crate::keep::{self, Keep};
use crate::libraries::Libraries;
use crate::load::pins::Pins;
use crate::load::{Kernel, LoadError, Pieces};
use crate::processes::{Processes, Sighting};
use crate::ship::Rows;
use crate::status::{Numbers, Status};
use crate::sys::{self, Ring};
use crate::udp::UdpFlows;

/// How often the ring is looked at. Nothing wakes us: a wake-up for each event would cost more than the rest.
const POLL: Duration = Duration::from_millis(50);
/// How long rows are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(200);
/// Rows that are written at once.
const ENOUGH_ROWS: usize = 4_096;
/// Without a state directory no more than this waits for the collector.
const MEMORY_SPOOL: u64 = 64 << 20;
/// How often living connections are looked through for new ones, while there are.
const EARLY_PAUSE: Duration = Duration::from_millis(400);
/// Age at which a connection that still lives is reported.
const EARLY_AGE: Duration = Duration::from_millis(700);
/// At most one part in so many of a core goes to looking for new ones among very many.
const EARLY_SHARE: u32 = 50;
/// After the last opening, so long may a connection be too young for its early row.
const EARLY_WINDOW: Duration = Duration::from_millis(1_500);

/// How often turns are looked through for those whose answer has fallen silent, while there may be some.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);
/// After the last request, so long may a turn not have been silent for long enough.
const SILENCE_WINDOW: Duration = Duration::from_secs(5);
/// How often new processes are looked at.
const PROCESSES_PAUSE: Duration = Duration::from_secs(1);

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
    ) -> io::Result<Watch> {
        let exchanges = kernel.has(features::EXCHANGES).then(|| Exchanges::new(config.exchange_rows));
        let go = (exchanges.is_some() && kernel.has(features::GOROUTINES)).then(GoPrograms::default);
        let libraries = kernel.has(features::LIBRARIES).then(Libraries::default);
        let interval_ns = config.interval.as_nanos() as i64;
        let is_adopted = keep.is_adopted();
        let Keep { identity, opened, restored, pins, features } = keep;
        kernel.features.extend(features);
        let processes = Processes::new();
        kernel.features.push(processes.feature());
        let drops = Drops::new(std::mem::take(&mut kernel.reasons));
        let mut flows = Flows::new(interval_ns);
        let mut udp = UdpFlows::new(interval_ns);
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
        flows.restore(restored.conns);
        if is_adopted {
            kernel.events.skip_to(restored.position);
            udp.restore(restored.udp);
            health = Health::after(restored.told);
        }
        let boot_id = SmolStr::new(&identity.boot_id);
        let begin = |entry: &mut Entry| {
            write_all(entry, &flows, &udp, handshakes.under_way(), &health, &kernel.events);
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
            clock: Clock::read(),
            identities,
            flows,
            udp,
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
        let mut next_cut = self.next_cut();
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
            if stopping || self.now() >= next_cut {
                let shipped = shipper.stats();
                self.losses.rows_refused = shipped.refused_rows;
                self.cut(if stopping { self.now() } else { next_cut })?;
                next_cut = self.next_cut();
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

    fn next_cut(&self) -> i64 {
        let interval_ns = self.interval.as_nanos() as i64;
        interval_start(self.now(), interval_ns) + interval_ns
    }

    /// Reads the ring to its end; writes in between where there is much.
    fn drain(&mut self) -> Result<(), LoadError> {
        while self.drain_some() {
            self.take_drops()?;
            self.write();
        }
        Ok(())
    }

    /// Whether it stopped with enough rows, before the ring's end.
    fn drain_some(&mut self) -> bool {
        let mut records = 0;
        while let Some(bytes) = self.kernel.events.next() {
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            match drain::record(bytes) {
                Some(Record::Conn(mut record)) => {
                    self.processes.see(of_connection(&record, None, self.clock));
                    let known = Known {
                        flows: &mut self.flows,
                        handshakes: &mut self.handshakes,
                        dns: &mut self.dns,
                        drops: &mut self.drops,
                        exchanges: &mut self.exchanges,
                    };
                    connection(&mut record, None, known, context, &mut self.rows);
                }
                Some(Record::Exchange(record)) => {
                    if let Some(exchanges) = &mut self.exchanges {
                        let facts = self.handshakes.facts(record.cookie);
                        self.rows.exchanges.extend(exchanges.turn(&record, facts, context));
                    }
                }
                Some(Record::FirstExchange(first)) => {
                    if let Some(exchanges) = &mut self.exchanges {
                        let facts = self.handshakes.facts(first.exchange.cookie);
                        self.rows.exchanges.extend(exchanges.first(&first, facts, context));
                    }
                }
                Some(Record::Chunk(head, bytes)) if Dns::is_on(&head.conn) => {
                    self.dns.chunk(&head, bytes, context, &mut self.rows.dns);
                }
                Some(Record::Chunk(head, bytes)) => {
                    if let Some(libraries) = &mut self.libraries {
                        libraries.spoke(head.conn.owner.pid);
                    }
                    self.rows.handshakes.extend(self.handshakes.bytes(&head, bytes, context));
                }
                Some(Record::Certificate(head, der)) => {
                    self.rows.handshakes.extend(self.handshakes.certificate(&head, der, context));
                }
                Some(Record::Udp(record)) => self.udp.began(&record),
                Some(Record::Datagram(head, bytes)) => {
                    self.processes.see(Sighting {
                        owner: head.owner,
                        netns: head.netns,
                        opened_ns: head.time_ns,
                        time_ns: self.clock.utc(head.time_ns),
                    });
                    if Dns::has(&head.key) {
                        self.dns.datagram(&head, bytes, context, &mut self.rows.dns);
                    } else {
                        self.udp_handshakes.datagrams(&head, bytes, context, &mut self.rows.handshakes);
                    }
                }
                None => self.losses.records_unreadable += 1,
            }
            records += 1;
            if records >= ENOUGH_ROWS {
                return true;
            }
        }
        false
    }

    /// Reports questions that nobody answers, when the probe stops all that are open.
    fn expire_dns(&mut self, stopping: bool) {
        let now = self.now();
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        self.dns.expire(now, context, &mut self.rows.dns);
        if stopping {
            self.dns.finish(context, &mut self.rows.dns);
        }
    }

    /// Reports handshakes that waited for a certificate in vain.
    fn expire_handshakes(&mut self, stopping: bool) {
        let now = self.now();
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

    fn take_silent(&mut self) -> Result<(), LoadError> {
        let mut pieces = self.kernel.silent()?;
        while pieces.next(&mut self.swept)? {
            let Some(exchanges) = &mut self.exchanges else { break };
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            for first in drain::silent(&self.swept) {
                let facts = self.handshakes.facts(first.exchange.cookie);
                self.rows.exchanges.extend(exchanges.first(&first, facts, context));
            }
        }
        Ok(())
    }

    /// Goes on where an earlier run stopped, and picks up connections that nobody reported yet.
    fn take_over(&mut self) -> Result<(), LoadError> {
        if self.is_adopted {
            // The programs went on: all that happened is in the ring, or can be seen on the sockets. What is in neither had
            // no room in the ring, and the kernel counted it.
            self.drain()?;
            let mut alive = HashSet::new();
            self.sweep(SWEEP_ALL, None, Duration::ZERO, Some(&mut alive))?;
            self.forget_dead(&alive)?;
        } else {
            let mut alive = HashSet::new();
            let pieces = self.kernel.backfill()?;
            self.take_pieces(pieces, None, Some(&mut alive))?;
            self.losses.ended_unseen += self.forget_dead(&alive)?;
        }
        Ok(())
    }

    /// Forgets connections that were not among the living just now; returns how many.
    fn forget_dead(&mut self, alive: &HashSet<u64>) -> Result<u64, LoadError> {
        // Those that ended since then say so in the ring, and need what is known of them for their last row.
        let known: HashSet<u64> = self.handshakes.cookies().collect();
        self.drain()?;
        // What the ring just brought may be younger than the look at the living.
        self.handshakes.retain(|cookie| alive.contains(&cookie) || !known.contains(&cookie));
        self.dns.retain(|cookie| alive.contains(&cookie));
        Ok(self.flows.retain(|cookie| alive.contains(&cookie)))
    }

    /// Reports living connections; those that never were reported only from `age` on. `alive` gets all that were.
    fn sweep(
        &mut self,
        mode: u32,
        cut_ns: Option<i64>,
        age: Duration,
        alive: Option<&mut HashSet<u64>>,
    ) -> Result<(), LoadError> {
        let opened_before_ns = clock::boot_ns().saturating_sub(age.as_nanos() as u64);
        let pieces = self.kernel.sweep(Sweep { mode, _pad: 0, opened_before_ns })?;
        self.take_pieces(pieces, cut_ns, alive)
    }

    fn take_pieces(
        &mut self,
        mut pieces: Pieces,
        cut_ns: Option<i64>,
        mut alive: Option<&mut HashSet<u64>>,
    ) -> Result<(), LoadError> {
        while pieces.next(&mut self.swept)? {
            if let Some(alive) = &mut alive {
                alive.extend(drain::living(&self.swept).map(|record| record.conn.cookie));
                // They were introduced to an earlier run, or their introduction was lost.
                if let Some(exchanges) = &mut self.exchanges {
                    drain::living(&self.swept)
                        .for_each(|record| exchanges.introduce(record.conn, &record.heads));
                }
            }
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            for mut record in drain::living(&self.swept) {
                self.processes.see(of_connection(&record, cut_ns, self.clock));
                let known = Known {
                    flows: &mut self.flows,
                    handshakes: &mut self.handshakes,
                    dns: &mut self.dns,
                    drops: &mut self.drops,
                    exchanges: &mut self.exchanges,
                };
                connection(&mut record, cut_ns, known, context, &mut self.rows);
            }
            if self.rows.len() >= ENOUGH_ROWS {
                self.take_drops()?;
                self.write();
                // The ring must not fill up while very many are swept.
                self.drain()?;
            }
        }
        Ok(())
    }

    fn report_early_udp(&mut self) {
        let before_ns = clock::boot_ns().saturating_sub(EARLY_AGE.as_nanos() as u64);
        let now = self.now();
        while let Some(key) = self.udp.next_early(before_ns) {
            if let Some(flow) = self.kernel.udp(key) {
                let context =
                    &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
                self.processes.see(of_udp(&flow, now));
                let facts = self.udp_handshakes.facts(&key, flow.first_ns);
                let mut row = self.udp.row(&key, &flow, now, false, facts, context);
                self.dns.name(&mut row, flow.netns, flow.owner.pid);
                self.rows.flows.push(row);
                self.drops.row_of(FlowKey::of_datagrams(&key, flow.netns));
            }
        }
    }

    /// An interval ends at `cut_ns`.
    fn cut(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let late = Duration::from_nanos((self.now() - cut_ns).max(0) as u64);
        let kernel_lost = self.kernel.lost()?;
        // A lost record may have been a connection's last: look at all that live, and forget the others.
        let lost_records = lost_ends(&kernel_lost);
        let is_sure = std::mem::replace(&mut self.lost_records, lost_records) == lost_records;
        self.take_drops()?;
        if is_sure {
            self.sweep(SWEEP_MOVED, Some(cut_ns), late, None)?;
        } else {
            let mut alive = HashSet::new();
            let opened_before_ns = clock::boot_ns().saturating_sub(late.as_nanos() as u64);
            self.sweep(SWEEP_ALL, Some(cut_ns), late, Some(&mut alive))?;
            // Counted by the kernel already, as records for which the ring had no room.
            self.forget_dead(&alive)?;
            if let Some(exchanges) = &mut self.exchanges {
                exchanges.retain(|cookie| alive.contains(&cookie), opened_before_ns);
            }
        }
        self.cut_udp(cut_ns)?;
        self.cut_drops(cut_ns, late)?;
        if let Some(exchanges) = &self.exchanges {
            self.losses.exchange_rows_shed = exchanges.shed;
            self.losses.exchanges_given_up = exchanges.given_up;
        }
        self.losses.handshakes_given_up = self.handshakes.given_up + self.udp_handshakes.given_up;
        self.losses.certificates_given_up = self.handshakes.certificates_given_up;
        self.losses.libraries_not_probed =
            self.libraries.as_ref().map_or(0, |libraries| libraries.not_probed);
        self.losses.dns_unreadable = self.dns.unreadable;
        self.losses.dns_given_up = self.dns.given_up();
        self.losses.processes_gone = self.processes.gone;
        self.losses.processes_not_told = self.processes.not_told;
        self.losses.containers_unreadable = self.processes.unreadable();
        self.losses.rows_dropped = self.unwritten_rows + self.journal.spool().dropped_rows();
        let template = ProbeHealthRow {
            time: cut_ns,
            node: Some(self.node.clone()),
            boot_id: Some(self.boot_id.clone()),
            ..ProbeHealthRow::default()
        };
        let living = self.flows.len() + self.udp.len();
        let features = &self.kernel.features;
        self.rows.health.extend(self.drops.health(&template));
        let probes = self.libraries.as_ref().map(Libraries::probes);
        self.rows.health.extend(self.health.rows(
            kernel_lost,
            self.losses,
            living,
            probes,
            features,
            template,
        ));
        self.clock.follow();
        self.identities.forget_processes();
        self.flows.give_memory_back();
        self.exchanges.iter_mut().for_each(Exchanges::give_memory_back);
        sys::give_memory_back();
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
            if is_idle && !is_over && !self.drops.has_news_of(&FlowKey::of_datagrams(&key, flow.netns)) {
                continue;
            }
            if is_over {
                // Taken out in one step: a packet that comes now begins a new flow and is not lost.
                let Some(last) = self.kernel.udp_take(key)? else { continue };
                flow = last;
            }
            let context =
                &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
            self.processes.see(of_udp(&flow, cut_ns));
            let facts = self.udp_handshakes.facts(&key, flow.first_ns);
            let mut row = self.udp.row(&key, &flow, cut_ns, is_over, facts, context);
            self.dns.name(&mut row, flow.netns, flow.owner.pid);
            self.rows.flows.push(row);
            self.drops.row_of(FlowKey::of_datagrams(&key, flow.netns));
            if is_over {
                self.rows.handshakes.extend(self.udp_handshakes.ended(&key, flow.first_ns, context));
            }
        }
        Ok(())
    }

    /// Takes dropped packets out of the kernel, if there are any, and tells them to the rows made since the last time. A
    /// row's connection is over before its record is read, so what was dropped of it is here by now.
    fn take_drops(&mut self) -> Result<(), LoadError> {
        let dropped = self.kernel.dropped()?;
        if std::mem::replace(&mut self.dropped, dropped) != dropped {
            self.drops.take(self.kernel.take_drops()?);
        }
        self.drops.fill(&mut self.rows.flows);
        Ok(())
    }

    fn cut_drops(&mut self, cut_ns: i64, late: Duration) -> Result<(), LoadError> {
        self.drops.fill(&mut self.rows.flows);
        // Of connections that did not move, since all that came for them was dropped.
        if self.drops.has_news_of_living() && self.flows.len() > 0 {
            self.sweep(SWEEP_ALL, Some(cut_ns), late, None)?;
            self.drops.fill(&mut self.rows.flows);
        }
        let context = &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
        self.drops.cut(cut_ns, context, &mut self.rows.drops, &mut self.rows.flows);
        Ok(())
    }

    /// Writes rows down, with what they leave of the state, and gives the ring back what they were made from.
    fn write(&mut self) {
        if self.rows.len() == 0 && !self.kernel.events.has_read() {
            return;
        }
        let mut rows = std::mem::take(&mut self.rows);
        let mut entry = Entry::new();
        let encoded = rows.write(&mut self.journal, &mut entry);
        self.flows.write_changes(&mut entry);
        self.udp.write_changes(&mut entry);
        entry.position(self.kernel.events.position());
        let under_way = self.handshakes.under_way() + self.udp_handshakes.under_way();
        entry.under_way(under_way);
        entry.lost(self.health.told());
        let Watch { flows, udp, health, kernel, .. } = self;
        let whole = |entry: &mut Entry| write_all(entry, flows, udp, under_way, health, &kernel.events);
        let written = self.journal.append(entry, whole);
        if let Some(error) = encoded.err().map(anyhow::Error::from).or(written.err().map(Into::into)) {
            warn!(
                rows = rows.len(),
                error = format!("{error:#}"),
                "rows lost: they could not be written down"
            );
            self.unwritten_rows += rows.len() as u64;
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
    handshakes_under_way: u64,
    health: &Health,
    events: &Ring,
) {
    flows.write_all(entry);
    udp.write_all(entry);
    entry.position(events.position());
    entry.under_way(handshakes_under_way);
    entry.lost(health.told());
}

/// When exchanges were looked for, and processes.
struct Looking {
    processes: Option<Instant>,
    silence: Instant,
    pause: Duration,
    begun: u64,
    moved: Instant,
}

impl Looking {
    fn new() -> Looking {
        let now = Instant::now();
        Looking { processes: None, silence: now, pause: SILENCE_PAUSE, begun: 0, moved: now }
    }

    fn is_time_for_processes(&mut self) -> bool {
        let is_time = self.processes.is_none_or(|at| at.elapsed() >= PROCESSES_PAUSE);
        if is_time {
            self.processes = Some(Instant::now());
        }
        is_time
    }

    /// Where no exchange was begun for longer than the silence that ends one, there is nothing to find.
    fn is_time_for_silence(&mut self, begun: u64) -> bool {
        if std::mem::replace(&mut self.begun, begun) != begun {
            self.moved = Instant::now();
        }
        self.silence.elapsed() >= self.pause && self.moved.elapsed() < SILENCE_WINDOW.max(self.pause * 4)
    }

    /// Looking through many connections takes its time: then it is done less often, in at most 2 % of one CPU.
    fn took(&mut self, time: Duration) {
        self.silence = Instant::now();
        self.pause = SILENCE_PAUSE.max(time * 50);
    }
}

fn of_connection(record: &ConnRecord, cut_ns: Option<i64>, clock: Clock) -> Sighting {
    let Conn { owner, netns, syn_ns, opened_ns, .. } = record.conn;
    let time_ns = clock.utc(record.time_ns);
    Sighting {
        owner,
        netns,
        opened_ns: if opened_ns == 0 { syn_ns } else { opened_ns },
        // Not later than the flow's row.
        time_ns: cut_ns.map_or(time_ns, |cut_ns| cut_ns.min(time_ns)),
    }
}

fn of_udp(flow: &UdpFlow, time_ns: i64) -> Sighting {
    Sighting { owner: flow.owner, netns: flow.netns, opened_ns: flow.first_ns, time_ns }
}

/// What the tables know of connections beside their records.
struct Known<'a> {
    flows: &'a mut Flows,
    handshakes: &'a mut Handshakes,
    dns: &'a mut Dns,
    drops: &'a mut Drops,
    exchanges: &'a mut Option<Exchanges>,
}

/// One connection's record → its rows.
fn connection(
    record: &mut ConnRecord,
    cut_ns: Option<i64>,
    known: Known<'_>,
    context: &mut Context<'_>,
    rows: &mut Rows,
) {
    let Known { flows, handshakes, dns, drops, exchanges } = known;
    let cookie = record.conn.cookie;
    flows.complete(record);
    let flow = FlowKey::of_connection(&record.conn);
    if record.kind != KIND_CLOSED {
        let is_wanted = drops.has_news_of(&flow);
        if let Some(mut row) = flows.row(record, cut_ns, is_wanted, handshakes.shared_facts(cookie), context)
        {
            dns.name(&mut row, record.conn.netns, record.conn.owner.pid);
            if let Some(exchanges) = exchanges {
                exchanges.fill_flow(cookie, &mut row);
            }
            rows.flows.push(row);
            drops.row_of(flow);
        }
        return;
    }
    let we_are_client = record.conn.role == weir_abi::ROLE_CLIENT;
    let ending = Ending {
        by: if closed_by_peer(record) == we_are_client { Side::Server } else { Side::Client },
        reset: close_reason(record).starts_with("reset"),
        time_ns: context.clock.utc(record.time_ns),
    };
    // The handshake's end may still tell something (the alert, the client's certificate), but forgets the facts.
    let facts = handshakes.shared_facts(cookie).cloned();
    rows.handshakes.extend(handshakes.closed(cookie, ending, context));
    dns.closed(&record.conn, context, &mut rows.dns);
    if let Some(mut row) = flows.row(record, cut_ns, false, facts.as_ref(), context) {
        dns.name(&mut row, record.conn.netns, record.conn.owner.pid);
        if let Some(exchanges) = exchanges.as_mut() {
            exchanges.fill_flow(cookie, &mut row);
        }
        rows.flows.push(row);
        drops.row_of(flow);
    }
    if let Some(exchanges) = exchanges {
        exchanges.closed(cookie);
    }
}
