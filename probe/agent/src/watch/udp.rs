//! UDP flows, which the kernel counts in a map of its own: the young ones early, all that moved at an interval's end.

use weir_abi::UdpFlow;

use super::{EARLY_AGE, Watch};
use crate::clock;
use crate::drops::FlowKey;
use crate::handshakes::Context;
use crate::load::LoadError;
use crate::processes::Sighting;

impl Watch {
    pub(super) fn report_early_udp(&mut self) {
        let before_ns = clock::boot_ns().saturating_sub(EARLY_AGE.as_nanos() as u64);
        let now = clock::boot_ns();
        while let Some(key) = self.udp.next_early(before_ns) {
            if let Some(flow) = self.kernel.udp(key) {
                let context =
                    &mut Context { node: &self.node, clock: self.clock, identities: &mut self.identities };
                self.processes.see(of_udp(&flow, now));
                let facts = self.udp_handshakes.facts(&key, flow.first_ns);
                let mut row = self.udp.row(&key, &flow, now, false, facts, context);
                self.dns.name(&mut row, flow.netns, flow.owner.pid, flow.first_ns);
                self.rows.flows.push(row);
                self.drops.row_of(FlowKey::of_datagrams(&key, flow.netns));
            }
        }
    }

    pub(super) fn cut_udp(&mut self, cut_ns: i64) -> Result<(), LoadError> {
        let cut_ns = self.clock.boot(cut_ns);
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
            self.dns.name(&mut row, flow.netns, flow.owner.pid, flow.first_ns);
            self.rows.flows.push(row);
            self.drops.row_of(FlowKey::of_datagrams(&key, flow.netns));
            if is_over {
                self.rows.handshakes.extend(self.udp_handshakes.ended(&key, flow.first_ns, context));
            }
        }
        Ok(())
    }
}

fn of_udp(flow: &UdpFlow, time_ns: u64) -> Sighting {
    Sighting { owner: flow.owner, netns: flow.netns, opened_ns: flow.first_ns, time_ns }
}
