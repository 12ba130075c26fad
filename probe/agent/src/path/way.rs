//! The way of a connection through this node: its client's first packet passed the points that saw it one after the other,
//! and what its addresses were at the first and at the last tells what NAT did.

use std::net::IpAddr;

use weir_abi::{
    Opening, PATH_WIREGUARD, PATH_WIREGUARD_DATA, TUNNEL_GENEVE, TUNNEL_GRE, TUNNEL_IP6, TUNNEL_IPIP,
    TUNNEL_VXLAN,
};

use super::conn::{CLIENT, Conn, Point, SERVER};
use crate::ends::{End, address};

/// A packet of the connection at a point.
#[derive(Clone, Copy, Debug)]
struct Sighting<'a> {
    at_ns: u64,
    is_out: bool,
    point: &'a Point,
}

/// The tunnel that it went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) kind: &'static str,
    pub(super) id: Option<u32>,
    /// Its ends, the client's first.
    pub(super) ends: Option<[IpAddr; 2]>,
}

/// Where it came from and went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The client, and whom it asked for.
    pub(super) first: (End, End),
    /// The same as it left.
    pub(super) last: (End, End),
    /// Interface that it came in by.
    pub(super) ingress: Option<u32>,
    /// Interface that it left by.
    pub(super) egress: Option<u32>,
    pub(super) tunnel: Option<Tunnel>,
}

impl Way {
    /// As the points have it; none without.
    pub(super) fn of(conn: &Conn) -> Option<Way> {
        let mut sightings = sightings(conn, CLIENT);
        sightings.sort_by_key(|sighting| sighting.at_ns);
        if sightings.is_empty() {
            // Only the answers pass here, the other way round.
            sightings = self::sightings(conn, SERVER);
            sightings.sort_by_key(|sighting| std::cmp::Reverse(sighting.at_ns));
            for sighting in &mut sightings {
                sighting.is_out = !sighting.is_out;
            }
        }
        let (first, last) = (sightings.first()?, sightings.last()?);
        let tunnel = sightings.iter().rev().find_map(|sighting| tunnel(sighting.point));
        Some(Way {
            first: ends(first.point),
            last: ends(last.point),
            ingress: (!first.is_out).then_some(first.point.key.ifindex),
            egress: last.is_out.then_some(last.point.key.ifindex),
            tunnel: tunnel.or_else(|| wireguard(conn)),
        })
    }

    /// As the kernel noted at the client's SYN; of points it says nothing.
    pub(super) fn at_opening(opening: &Opening) -> Way {
        let ends = |tuple: &weir_abi::Tuple| {
            ((address(tuple.from_ip), tuple.from_port), (address(tuple.to_ip), tuple.to_port))
        };
        Way {
            first: ends(&opening.first),
            last: ends(&opening.last),
            ingress: None,
            egress: None,
            tunnel: None,
        }
    }

    /// Whom the client asked for, if that was not whom it reached.
    pub(super) fn dialled(&self) -> Option<End> {
        (self.first.1 != self.last.1).then_some(self.first.1)
    }

    /// The address that it left by, if that was not the client's.
    pub(super) fn left_by(&self) -> Option<IpAddr> {
        (self.first.0.0 != self.last.0.0).then_some(self.last.0.0)
    }

    /// All pairs of ends that it had.
    pub(super) fn names(conn: &Conn) -> impl Iterator<Item = (End, End)> {
        conn.points.iter().map(ends)
    }
}

fn sightings(conn: &Conn, end: usize) -> Vec<Sighting<'_>> {
    let side = |point: &'_ Point, is_out| point.first_ns[end][usize::from(is_out)];
    let both = conn.points.iter().flat_map(|point| [(point, false), (point, true)]);
    let sightings = both.map(|(point, is_out)| Sighting { at_ns: side(point, is_out), is_out, point });
    sightings.filter(|sighting| sighting.at_ns > 0).collect()
}

fn ends(point: &Point) -> (End, End) {
    let key = &point.key;
    let (low, high) = ((address(key.low_ip), key.low_port), (address(key.high_ip), key.high_port));
    if point.client_is_low { (low, high) } else { (high, low) }
}

fn tunnel(point: &Point) -> Option<Tunnel> {
    let ends = point.outer.as_ref()?.map(address);
    let id = Some(point.key.tunnel_id);
    let (kind, id) = match point.key.tunnel {
        TUNNEL_VXLAN => ("vxlan", id),
        TUNNEL_GENEVE => ("geneve", id),
        TUNNEL_IPIP => ("ipip", None),
        TUNNEL_IP6 if ends[0].is_ipv4() => ("6in4", None),
        TUNNEL_IP6 => ("ip6ip6", None),
        TUNNEL_GRE => ("gre", id.filter(|id| *id > 0)),
        _ => return None,
    };
    Some(Tunnel { kind, id, ends: Some(ends) })
}

/// A UDP flow that is a `WireGuard` tunnel itself: one that opened a session, or whose data goes both ways.
fn wireguard(conn: &Conn) -> Option<Tunnel> {
    let [client, server] = [CLIENT, SERVER].map(|end| conn.flags(end));
    let is_it = (client | server) & PATH_WIREGUARD != 0 || client & server & PATH_WIREGUARD_DATA != 0;
    is_it.then_some(Tunnel { kind: "wireguard", id: None, ends: None })
}
