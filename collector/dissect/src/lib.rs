//! Bytes → facts: packets, connections, TLS handshakes, DNS.
//!
//! | file           | subject                                                                  |
//! |----------------|--------------------------------------------------------------------------|
//! | `tls.rs`       | both directions' first bytes of a connection → what the handshake agreed on  |
//! | `datagrams.rs` | a UDP flow's datagrams → the handshakes in it, QUIC or DTLS, known by their bytes |
//! | `quic.rs`      | QUIC's Initial packets → the TLS messages in them                            |
//! | `dtls.rs`      | DTLS records → the messages in them                                          |
//! | `dns.rs`       | DNS messages → exchanges, and which address had which name when            |
//! | `assemble.rs`  | pieces at offsets, in any order → bytes                                      |
//! | `sctp.rs`      | SCTP's chunks: who opens and ends an association, how much data there is          |
//! | `ip.rs`        | a captured packet → addresses, ports, payload, through link layers and tunnels |
//! | `exported.rs`  | NetFlow, IPFIX and sFlow datagrams → rows of flows                           |
//! | `tcp.rs`       | packets in order of capture → rows of flows, handshakes and DNS              |
//!
//! **Invariants**: no I/O and no clock (time is an argument), no panic on any input, memory that grows no larger
//! than its stated bounds.

mod assemble;
pub mod datagrams;
pub mod dns;
mod dtls;
pub mod exported;
pub mod ip;
pub mod quic;
pub mod sctp;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;
