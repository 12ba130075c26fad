//! How far the clocks of two services are apart, from exchanges that both ends saw, and what one end's times are by the
//! other's clock.
//!
//! Request and answer take about as long on their ways, so the middle of the exchange is the same moment at both ends (as NTP
//! has it). The median over many forgives the ones that were held up on one of the ways.

use std::collections::BTreeMap;

use super::exchange::{Exchange, Name, Span};

/// Exchanges that make a new median.
const ENOUGH: usize = 8;

/// Server's clock less client's, ns, by client and server.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks(BTreeMap<(Option<Name>, Name), i64>);

impl Clocks {
    pub(super) fn learn<'a>(&mut self, exchanges: impl Iterator<Item = &'a Exchange>) {
        let mut seen: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for exchange in exchanges {
            if let (Some(client), Some(server)) = (exchange.client_time, exchange.server_time) {
                let offset = (server.start - client.start).midpoint(server.end - client.end);
                seen.entry((exchange.client, exchange.server)).or_default().push(offset);
            }
        }
        for (pair, mut offsets) in seen {
            if offsets.len() >= ENOUGH || !self.0.contains_key(&pair) {
                let middle = offsets.len() / 2;
                self.0.insert(pair, *offsets.select_nth_unstable(middle).1);
            }
        }
    }

    /// The times at the client and at the server, each by its own clock; those of an end that nobody watched from the other's.
    pub(super) fn both_ends(&self, exchange: &Exchange) -> (Span, Span) {
        let offset = self.0.get(&(exchange.client, exchange.server)).copied().unwrap_or(0);
        let moved = |span: Span, by: i64| Span { start: span.start + by, end: span.end + by };
        let client = exchange.client_time.or(exchange.server_time.map(|server| moved(server, -offset)));
        let server = exchange.server_time.or(exchange.client_time.map(|client| moved(client, offset)));
        let none = Span { start: 0, end: 0 };
        (client.unwrap_or(none), server.unwrap_or(none))
    }
}
