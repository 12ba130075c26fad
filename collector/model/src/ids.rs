//! Ids: each is derived from what was seen, so that two observers of one connection give it the same id and a
//! batch that is sent twice makes the same spans.

use std::net::IpAddr;

use sha2::{Digest, Sha256};
use smol_str::SmolStr;

/// A TCP connection's id: its pair of initial sequence numbers, which no DNAT or SNAT changes (DESIGN §5), as
/// 16 hex digits `client ISN | server ISN`.
pub fn tcp_connection_id(client_isn: u32, server_isn: u32) -> SmolStr {
    let pair = u64::from(client_isn) << 32 | u64::from(server_isn);
    hex_text(&pair.to_be_bytes())
}

/// An SCTP association's id: its pair of initiate tags, which no NAT changes either; in the same form.
pub fn sctp_association_id(client_tag: u32, server_tag: u32) -> SmolStr {
    tcp_connection_id(client_tag, server_tag)
}

/// The id of a TCP connection that never came to be: 32 hex digits out of its 5-tuple and the client's initial sequence
/// number, so that the client's node and whoever saw or dropped its SYN name it alike (but not through NAT).
pub fn unopened_id(client: (IpAddr, u16), server: (IpAddr, u16), client_isn: u32) -> SmolStr {
    let text = format!("syn|{}|{}|{}|{}|{client_isn}", client.0, client.1, server.0, server.1);
    hex_digest(text.as_bytes(), 16)
}

/// The id of a flow whose initial sequence numbers nobody saw (UDP; TCP that was open before we looked): 32 hex
/// digits out of `scope` (the node or capture), 5-tuple and the time it was first seen.
pub fn flow_id(
    scope: &str,
    protocol: &str,
    client: (IpAddr, u16),
    server: (IpAddr, u16),
    first_seen_ns: i64,
) -> SmolStr {
    let text =
        format!("{scope}|{protocol}|{}|{}|{}|{}|{first_seen_ns}", client.0, client.1, server.0, server.1);
    hex_digest(text.as_bytes(), 16)
}

/// The trace that a connection becomes: 32 hex digits, the same for every observer.
pub fn trace_id(connection_id: &str) -> SmolStr {
    // Each flow's row has one: no text is made for it.
    hex_text(&Sha256::new_with_prefix("trace|").chain_update(connection_id).finalize()[..16])
}

/// A span of that trace: 16 hex digits. `role` tells spans of one connection apart (`client`, `server`, `connect`,
/// `tls`).
pub fn span_id(connection_id: &str, role: &str) -> SmolStr {
    hex_digest(format!("span|{connection_id}|{role}").as_bytes(), 8)
}

fn hex_digest(bytes: &[u8], length: usize) -> SmolStr {
    hex_text(&Sha256::digest(bytes)[..length])
}

/// At most 32 bytes.
fn hex_text(bytes: &[u8]) -> SmolStr {
    let mut text = [0; 64];
    let text = &mut text[..bytes.len() * 2];
    // Into memory that is there: this is done for each row. It can't fail, as the lengths fit.
    let written = hex::encode_to_slice(bytes, text).ok();
    SmolStr::new(written.and_then(|()| std::str::from_utf8(text).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_observers_of_a_connection_name_it_alike() {
        assert_eq!(tcp_connection_id(1, 0xffff_ffff), "00000001ffffffff");
        assert_eq!(trace_id("00000001ffffffff").len(), 32);
        assert_ne!(span_id("a", "client"), span_id("a", "server"));
        // printf 'span|a|client' | sha256sum
        assert_eq!(span_id("a", "client"), "24a595dbdd00864b");
    }
}
