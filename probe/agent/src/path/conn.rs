//! A connection at interfaces: the points that saw it, which of them counts, and whether it is over.

use weir_abi::{
    Lane, OPENER_HIGH, OPENER_LOW, PATH_FIN, PATH_RST, PATH_SYN, PathFlow, PathKey, TUNNEL_NONE, lane,
};

use super::Patience;
use super::join::{BY_CLIENT, BY_PAIR, Join, TCP};
use super::told::{Sent, Told};

/// Index of what the client sent.
pub(super) const CLIENT: usize = 0;
/// Index of what the server sent.
pub(super) const SERVER: usize = 1;

/// So long nothing passes of a connection that is over: acknowledgements and copies of its last packets may.
const SETTLED_NS: u64 = 1_000_000_000;
/// Silence that ends a connection that nobody answers: longer than TCP waits between two tries.
const UNANSWERED_NS: u64 = 65_000_000_000;
/// Silence that ends one that one end closed: longer than Linux waits for the other (`tcp_fin_timeout`) and tries again.
const HALF_CLOSED_NS: u64 = 150_000_000_000;
/// Silence that ends any other: when keep-alives would have come (`tcp_keepalive_time`).
const STILL_NS: u64 = 7_260_000_000_000;
/// The same where the kernel is short of room.
const STILL_CROWDED_NS: u64 = 300_000_000_000;

/// Ports below this are given to services, the others to whoever asks.
const FIRST_UNPRIVILEGED: u16 = 1_024;
const FIRST_EPHEMERAL: u16 = 32_768;

/// Where a connection was seen: a flow at an interface.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) key: PathKey,
    pub(super) born_ns: u64,
    /// Another flow has its 5-tuple in the kernel now.
    pub(super) is_past: bool,
    pub(super) client_is_low: bool,
    /// First packet of the client and of the server, as it came in by the interface and as it left; 0: none.
    pub(super) first_ns: [[u64; 2]; 2],
    pub(super) sent: [Sent; 2],
    /// Of both sides and directions.
    pub(super) packets: u64,
    pub(super) flags: [u8; 2],
    /// The tunnel's ends, the client's first.
    pub(super) outer: Option<Box<[[u8; 16]; 2]>>,
}

impl Point {
    fn of(key: &PathKey, flow: &PathFlow, is_past: bool, client_is_low: bool) -> Point {
        let from_high = [!client_is_low, client_is_low];
        let lanes = from_high.map(|high| [flow.lanes[lane(high, false)], flow.lanes[lane(high, true)]]);
        Point {
            key: *key,
            born_ns: flow.born_ns,
            is_past,
            client_is_low,
            first_ns: lanes.map(|sides| sides.map(|side| side.first_ns)),
            sent: lanes.map(|sides| counted(&sides)),
            packets: flow.lanes.iter().map(|lane| lane.packets).sum(),
            flags: lanes.map(|sides| sides[0].flags | sides[1].flags),
            outer: (key.tunnel != TUNNEL_NONE).then(|| {
                let [low, high] = flow.outer;
                Box::new(if client_is_low { [low, high] } else { [high, low] })
            }),
        }
    }

    /// When the first packet passed.
    fn began_ns(&self) -> u64 {
        let times = self.first_ns.iter().flatten().copied().filter(|ns| *ns > 0);
        times.min().unwrap_or(self.born_ns)
    }
}

/// A packet that comes in and leaves by one interface is counted on one side.
fn counted(sides: &[Lane; 2]) -> Sent {
    let most = if sides[1].packets > sides[0].packets { &sides[1] } else { &sides[0] };
    Sent { packets: most.packets, bytes: most.bytes, again: most.again }
}

/// When the last packet of a flow passed.
pub(super) fn last_ns(flow: &PathFlow) -> u64 {
    flow.lanes.iter().map(|lane| lane.last_ns).max().unwrap_or_default().max(flow.born_ns)
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Fin,
    ResetByClient,
    ResetByServer,
    Refused,
    TimedOut,
    Idle,
}

impl Over {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Over::Fin => "fin",
            Over::ResetByClient => "reset_by_client",
            Over::ResetByServer => "reset_by_server",
            Over::Refused => "refused",
            Over::TimedOut => "timed_out",
            Over::Idle => "idle",
        }
    }
}

/// A connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Conn {
    /// What its rows have said, if it has some.
    pub(super) told: Option<Told>,
    pub(super) points: Vec<Point>,
    /// Of connections by their 5-tuple: who is the client.
    client_is_low: Option<bool>,
    pub(super) last_ns: u64,
    /// Whether something passed since its last row.
    pub(super) has_news: bool,
}

impl Conn {
    /// As an earlier run of the probe knew it.
    pub(super) fn restored(told: Told) -> Conn {
        Conn { told: Some(told), client_is_low: Some(told.client_is_low != 0), ..Conn::default() }
    }

    /// A flow of it at an interface, as the kernel has it now.
    pub(super) fn see(&mut self, key: &PathKey, flow: &PathFlow, is_past: bool) {
        let client_is_low = match flow.opener {
            OPENER_LOW => true,
            OPENER_HIGH => false,
            _ => *self.client_is_low.get_or_insert_with(|| client_is_low(key, flow)),
        };
        let point = Point::of(key, flow, is_past, client_is_low);
        self.last_ns = self.last_ns.max(last_ns(flow));
        let is_it = |known: &&mut Point| known.key == *key && known.born_ns == flow.born_ns;
        if let Some(known) = self.points.iter_mut().find(is_it) {
            self.has_news |= known.packets != point.packets;
            *known = point;
        } else {
            self.has_news = true;
            self.points.push(point);
        }
    }

    /// The point that counts: the one that was counted before, else the one that the client's first packet came to first.
    pub(super) fn counting(&self) -> Option<&Point> {
        if let Some(told) = &self.told {
            let is_it = |point: &&Point| point.key == told.counting && point.born_ns == told.born_ns;
            return self.points.iter().find(is_it);
        }
        self.points.iter().min_by_key(|point| {
            let [came, left] = point.first_ns[CLIENT];
            let client_ns = [came, left].into_iter().filter(|ns| *ns > 0).min();
            (client_ns.is_none(), client_ns.unwrap_or_else(|| point.began_ns()))
        })
    }

    /// When the first packet passed anywhere.
    pub(super) fn first_ns(&self) -> u64 {
        self.points.iter().map(Point::began_ns).min().unwrap_or_default()
    }

    /// All flags that one end sent.
    pub(super) fn flags(&self, end: usize) -> u8 {
        self.points.iter().fold(0, |flags, point| flags | point.flags[end])
    }

    /// Whether a packet of an end was seen at all.
    pub(super) fn has_heard(&self, end: usize) -> bool {
        self.points.iter().any(|point| point.sent[end].packets > 0)
    }

    /// Whether it ended, and will be over once it has been silent for a moment.
    pub(super) fn is_ending(&self) -> bool {
        let [client, server] = [CLIENT, SERVER].map(|end| self.flags(end));
        let is_past = self.points.iter().any(|point| point.is_past);
        is_past || (client | server) & PATH_RST != 0 || client & server & PATH_FIN != 0
    }

    /// Whether it is over, and how that came.
    pub(super) fn over(&self, join: &Join, now_ns: u64, patience: Patience) -> Option<Over> {
        let silent_ns = now_ns.saturating_sub(self.last_ns);
        let [client, server] = [CLIENT, SERVER].map(|end| self.flags(end));
        let has_ended = (client | server) & PATH_RST != 0 || client & server & PATH_FIN != 0;
        if has_ended && silent_ns >= SETTLED_NS {
            return Some(match (client & PATH_RST != 0, server & PATH_RST != 0) {
                // What comes after both have closed resets nothing.
                _ if client & server & PATH_FIN != 0 => Over::Fin,
                (_, true) if join.by == BY_CLIENT && server & PATH_SYN == 0 => Over::Refused,
                (_, true) => Over::ResetByServer,
                (true, false) => Over::ResetByClient,
                (false, false) => Over::Fin,
            });
        }
        if self.points.iter().any(|point| point.is_past) {
            // Its ports are another's now.
            return (silent_ns >= SETTLED_NS).then_some(Over::Idle);
        }
        if join.protocol != TCP {
            let is_over = silent_ns >= patience.udp_ns || (patience.is_crowded && !self.has_news);
            return is_over.then_some(if join.by == BY_CLIENT { Over::TimedOut } else { Over::Idle });
        }
        let still_ns = if patience.is_crowded { STILL_CROWDED_NS } else { STILL_NS };
        if join.by == BY_CLIENT {
            (silent_ns >= UNANSWERED_NS).then_some(Over::TimedOut)
        } else if (client | server) & PATH_FIN != 0 {
            (silent_ns >= HALF_CLOSED_NS).then_some(Over::Fin)
        } else {
            (silent_ns >= still_ns).then_some(Over::Idle)
        }
    }
}

/// Whether a connection's opening was seen: where the numbers of both ends are known, it was. Datagrams have none.
pub(super) fn is_opening_seen(join: &Join) -> bool {
    join.protocol != TCP || matches!(join.by, BY_PAIR | BY_CLIENT)
}

/// Who is the client where nobody saw the opening: who sent first, unless the ports say that this was an answer.
fn client_is_low(key: &PathKey, flow: &PathFlow) -> bool {
    let is_service = |port: u16| port != 0 && port < FIRST_UNPRIVILEGED;
    let asks = |port: u16| port >= FIRST_EPHEMERAL;
    if is_service(key.high_port) && asks(key.low_port) {
        return true;
    }
    if is_service(key.low_port) && asks(key.high_port) {
        return false;
    }
    let first = |from_high| {
        let sides = [flow.lanes[lane(from_high, false)], flow.lanes[lane(from_high, true)]];
        sides.iter().map(|side| side.first_ns).filter(|ns| *ns > 0).min().unwrap_or(u64::MAX)
    };
    first(false) <= first(true)
}
