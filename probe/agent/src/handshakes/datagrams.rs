//! QUIC and DTLS handshakes: the first datagrams of UDP flows → rows, and what the flows' rows say about their encryption.
//!
//! The kernel hands on what looks like a handshake; what it is, the bytes prove (`weir_dissect::datagrams`). One flow may
//! have several handshakes, one after the other. **Invariant**: at most [`MAX_FLOWS`] flows are remembered, and handshakes
//! that are under way hold no more than [`MAX_HELD`] bytes together; what doesn't fit is counted.

use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::{DatagramHead, Owner, UdpKey};
use weir_dissect::datagrams::Datagrams;
use weir_dissect::tls::{Handshake, Side};
use weir_model::TlsHandshakeRow;

use super::{Context, Facts, facts};
use crate::udp;

/// Flows with a handshake that are remembered; what is known of one takes a few hundred bytes.
const MAX_FLOWS: usize = 65_536;
/// Bytes that handshakes under way hold: some thousand of them.
const MAX_HELD: usize = 32 << 20;
/// What one holds besides the bytes that were handed on: keys, and what was read so far.
const HELD_BY_EACH: usize = 4_096;

/// A flow with a handshake.
struct Talk {
    /// What tells a flow from another one between the same ends before.
    first_ns: u64,
    began_here: bool,
    owner: Owner,
    datagrams: Datagrams,
    /// Bytes that it holds at most; 0: no handshake is under way.
    held: usize,
    facts: Option<Arc<Facts>>,
}

/// The handshakes of all UDP flows.
#[derive(Default)]
pub(crate) struct UdpHandshakes {
    talks: HashMap<UdpKey, Talk>,
    under_way: u64,
    held: usize,
    /// Handshakes for which there was no room.
    pub(crate) given_up: u64,
}

impl UdpHandshakes {
    /// How many have bytes and no row yet.
    pub(crate) fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Takes datagrams: one, or several that went through the kernel as one.
    pub(crate) fn datagrams(
        &mut self,
        head: &DatagramHead,
        bytes: &[u8],
        context: &mut Context<'_>,
        rows: &mut Vec<TlsHandshakeRow>,
    ) {
        let first_ns = head.first_ns;
        if self.talks.get(&head.key).is_some_and(|talk| talk.first_ns != first_ns) {
            rows.extend(self.closed(&head.key, context));
        }
        let is_new = !self.talks.contains_key(&head.key);
        let held = bytes.len() + HELD_BY_EACH;
        if self.held + held > MAX_HELD || (is_new && self.talks.len() >= MAX_FLOWS) {
            self.given_up += 1;
            rows.extend(self.closed(&head.key, context));
            return;
        }
        let talk = self.talks.entry(head.key).or_insert_with(|| Talk {
            first_ns,
            began_here: head.began_here != 0,
            owner: head.owner,
            datagrams: Datagrams::default(),
            held: 0,
            facts: None,
        });
        // Before a server answers for the first time, its process isn't known.
        talk.owner = head.owner;
        let (ends, _) = udp::ends_and_id(&head.key, first_ns, talk.began_here, context.node);
        let side = if (head.sent != 0) == ends.client_is_ours { Side::Client } else { Side::Server };
        // The kernel's clock, until there is a row: nothing between two of these times may jump.
        let time_ns = head.time_ns as i64;
        for datagram in bytes.chunks(head.whole.max(1) as usize) {
            if let Some(handshake) = talk.datagrams.datagram(side, time_ns, datagram) {
                talk.facts = Some(facts(&handshake));
                rows.push(row(&head.key, talk, &handshake, context));
            }
        }
        let before = talk.held;
        if talk.datagrams.is_under_way() {
            talk.held += if before == 0 { held } else { bytes.len() };
            if let Some(handshake) = talk.datagrams.handshake() {
                talk.facts = Some(facts(handshake));
            }
        } else {
            talk.held = 0;
        }
        let now = talk.held;
        if now == 0 && talk.facts.is_none() {
            // It only looked like one.
            self.talks.remove(&head.key);
        }
        self.hold(before, now);
    }

    /// A flow holds other than before.
    fn hold(&mut self, before: usize, now: usize) {
        self.held = self.held + now - before;
        self.under_way = self.under_way + u64::from(now > 0) - u64::from(before > 0);
    }

    /// What is known of a flow's encryption.
    pub(crate) fn facts(&self, key: &UdpKey, first_ns: u64) -> Option<&Arc<Facts>> {
        self.talks.get(key).filter(|talk| talk.first_ns == first_ns)?.facts.as_ref()
    }

    /// A flow is over: a row, if it had a handshake that was not reported.
    pub(crate) fn ended(
        &mut self,
        key: &UdpKey,
        first_ns: u64,
        context: &mut Context<'_>,
    ) -> Option<TlsHandshakeRow> {
        self.talks.get(key).filter(|talk| talk.first_ns == first_ns)?;
        self.closed(key, context)
    }

    fn closed(&mut self, key: &UdpKey, context: &mut Context<'_>) -> Option<TlsHandshakeRow> {
        let mut talk = self.talks.remove(key)?;
        self.hold(talk.held, 0);
        let handshake = talk.datagrams.closed()?;
        Some(row(key, &talk, &handshake, context))
    }
}

fn row(key: &UdpKey, talk: &Talk, handshake: &Handshake, context: &mut Context<'_>) -> TlsHandshakeRow {
    let mut row = TlsHandshakeRow::default();
    handshake.fill(&mut row);
    row.time = context.clock.utc(row.time as u64);
    let (ends, id) = udp::ends_and_id(key, talk.first_ns, talk.began_here, context.node);
    ends.fill_handshake(&mut row, context.node, context.identities.holder(&talk.owner));
    row.connection_id = Some(id);
    row.protocol = Some(SmolStr::new_static("udp"));
    row.source = Some(SmolStr::new_static("probe"));
    row
}
