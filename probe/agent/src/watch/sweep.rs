//! The living, as the kernel's iterators show them: those that moved, those that nobody reported yet, and those that are
//! older than this run.

use std::time::Duration;

use hashbrown::HashSet;
use weir_abi::{SWEEP_ALL, Sweep};

use super::records::{Known, connection, of_connection};
use super::{ENOUGH_ROWS, Watch};
use crate::clock;
use crate::drain;
use crate::handshakes::Context;
use crate::load::{LoadError, Pieces};

impl Watch {
    pub(super) fn take_silent(&mut self) -> Result<(), LoadError> {
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
    pub(super) fn take_over(&mut self) -> Result<(), LoadError> {
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
    pub(super) fn forget_dead(&mut self, alive: &HashSet<u64>) -> Result<u64, LoadError> {
        // Those that ended since then say so in the ring, and need what is known of them for their last row.
        let known: HashSet<u64> = self.handshakes.cookies().collect();
        self.drain()?;
        // What the ring just brought may be younger than the look at the living.
        self.handshakes.retain(|cookie| alive.contains(&cookie) || !known.contains(&cookie));
        self.dns.retain(|cookie| alive.contains(&cookie));
        Ok(self.flows.retain(|cookie| alive.contains(&cookie)))
    }

    /// Reports living connections; those that never were reported only from `age` on. `alive` gets all that were.
    pub(super) fn sweep(
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
                self.processes.see(of_connection(&record, cut_ns.map(|cut_ns| self.clock.boot(cut_ns))));
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
}
