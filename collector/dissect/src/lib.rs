//! Bytes → facts: packets, TCP connections, TLS handshakes, DNS.
//!
//! | file     | subject                                                                  |
//! |----------|--------------------------------------------------------------------------|
//! | `tls.rs` | both directions' first bytes of a connection → what the handshake agreed on |
//! | `dns.rs` | DNS messages → exchanges, and which address had which name when            |
//! | `ip.rs`  | a captured packet → addresses, ports, payload, through link layers and tunnels |
//! | `tcp.rs` | packets in order of capture → rows of flows, handshakes and DNS              |
//!
//! **Invariants**: no I/O and no clock (time is an argument), no panic on any input, memory that grows no larger
//! than its stated bounds.

pub mod dns;
pub mod ip;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;
