//! The end of an interval: what moved in it, what was dropped, what was lost.

use std::time::Duration;

use hashbrown::HashSet;
use weir_abi::{SWEEP_ALL, SWEEP_MOVED};
use weir_model::ProbeHealthRow;

use super::{Watch, lost_ends};
use crate::clock;
use crate::exchanges::Exchanges;
use crate::handshakes::Context;
use crate::libraries::Libraries;
use crate::load::LoadError;
use crate::path::Path;
use crate::sys;

impl Watch {
    /// An interval ends at `cut_ns`.
    pub(super) fn cut(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let late = Duration::from_nanos((self.now() - cut_ns).max(0) as u64);
        // A lost record may have been a connection's last: look at all that live, and forget the others.
        let lost_records = lost_ends(&self.kernel.lost()?);
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
        self.cut_path(cut_ns)?;
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
        let living = self.flows.len() + self.udp.len() + self.path.as_ref().map_or(0, Path::len);
        // Looking at the living counts ends that nobody saw: there may be no later interval to tell of them.
        let kernel_lost = self.kernel.lost()?;
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
        let cut_boot_ns = self.clock.boot(cut_ns);
        self.flows.cut(cut_boot_ns);
        self.udp.cut(cut_boot_ns);
        self.clock.follow(&self.wall);
        self.identities.forget_processes();
        self.flows.give_memory_back();
        self.exchanges.iter_mut().for_each(Exchanges::give_memory_back);
        sys::give_memory_back();
        Ok(())
    }

    /// Takes dropped packets out of the kernel, if there are any, and tells them to the rows made since the last time. A
    /// row's connection is over before its record is read, so what was dropped of it is here by now.
    pub(super) fn take_drops(&mut self) -> Result<(), LoadError> {
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
}
