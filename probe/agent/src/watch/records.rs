//! What the ring brings, record by record, and what follows from a connection's.

use weir_abi::{Conn, ConnRecord, KIND_CLOSED};
use weir_dissect::tls::Side;

use super::{ENOUGH_ROWS, Watch};
use crate::dns::Dns;
use crate::drain::{self, Record};
use crate::drops::{Drops, FlowKey};
use crate::exchanges::Exchanges;
use crate::flows::{Flows, close_reason, closed_by_peer, opened};
use crate::handshakes::{Context, Ending, Handshakes};
use crate::load::LoadError;
use crate::processes::Sighting;
use crate::ship::Rows;

impl Watch {
    /// Reads the ring to its end; writes in between where there is much.
    pub(super) fn drain(&mut self) -> Result<(), LoadError> {
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
                    self.processes.see(of_connection(&record, None));
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
                        time_ns: head.time_ns,
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
}

/// `cut_ns`: the end of the interval that is being reported, on the kernel's clock.
pub(super) fn of_connection(record: &ConnRecord, cut_ns: Option<u64>) -> Sighting {
    let Conn { owner, netns, syn_ns, opened_ns, .. } = record.conn;
    Sighting {
        owner,
        netns,
        opened_ns: if opened_ns == 0 { syn_ns } else { opened_ns },
        // Not later than the flow's row.
        time_ns: cut_ns.map_or(record.time_ns, |cut_ns| cut_ns.min(record.time_ns)),
    }
}

/// What the tables know of connections beside their records.
pub(super) struct Known<'a> {
    pub(super) flows: &'a mut Flows,
    pub(super) handshakes: &'a mut Handshakes,
    pub(super) dns: &'a mut Dns,
    pub(super) drops: &'a mut Drops,
    pub(super) exchanges: &'a mut Option<Exchanges>,
}

/// One connection's record → its rows.
pub(super) fn connection(
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
        let facts = handshakes.shared_facts(cookie);
        if let Some(row) = flows.row(record, cut_ns, is_wanted, facts, context, &mut rows.flows) {
            dns.name(row, record.conn.netns, record.conn.owner.pid, opened(&record.conn));
            if let Some(exchanges) = exchanges {
                exchanges.fill_flow(cookie, row);
            }
            drops.row_of(flow);
        }
        return;
    }
    let we_are_client = record.conn.role == weir_abi::ROLE_CLIENT;
    let ending = Ending {
        by: if closed_by_peer(record) == we_are_client { Side::Server } else { Side::Client },
        reset: close_reason(record).starts_with("reset"),
        time_ns: record.time_ns as i64,
    };
    // The handshake's end may still tell something (the alert, the client's certificate), but forgets the facts.
    let facts = handshakes.shared_facts(cookie).cloned();
    rows.handshakes.extend(handshakes.closed(cookie, ending, context));
    dns.closed(&record.conn, context, &mut rows.dns);
    if let Some(row) = flows.row(record, cut_ns, false, facts.as_ref(), context, &mut rows.flows) {
        dns.name(row, record.conn.netns, record.conn.owner.pid, opened(&record.conn));
        if let Some(exchanges) = exchanges.as_mut() {
            exchanges.fill_flow(cookie, row);
        }
        drops.row_of(flow);
    }
    if let Some(exchanges) = exchanges {
        exchanges.closed(cookie);
    }
}
