//! Ports of packets that come in fragments: only the first has them, the others are known by the datagram's id.

use super::headers::Packet;
use crate::maps::{PATH_PIECES, PiecesKey};

/// A first fragment: its ports are remembered.
#[inline(always)]
pub fn first(packet: &Packet, id: u32) {
    let ports = u32::from(packet.from_port) << 16 | u32::from(packet.to_port);
    // It makes room by itself.
    let _ = PATH_PIECES.insert(&key(packet, id), &ports, 0);
}

/// A later one: gets them, if its first was seen; else it has none, and is a flow of its own.
#[inline(always)]
pub fn later(packet: &mut Packet, id: u32) {
    if let Some(ports) = PATH_PIECES.get_ptr(&key(packet, id)) {
        let ports = unsafe { *ports };
        (packet.from_port, packet.to_port) = ((ports >> 16) as u16, ports as u16);
    }
}

#[inline(always)]
fn key(packet: &Packet, id: u32) -> PiecesKey {
    PiecesKey { from: packet.from, to: packet.to, id, protocol: u32::from(packet.protocol) }
}
