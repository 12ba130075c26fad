//! The level `packets`: a node between two hosts, with NAT, looked at from its interfaces.
//!
//! | file        | subject                                                          |
//! |-------------|--------------------------------------------------------------------|
//! | `node.rs`   | the node and its hosts, the probe on it                              |
//! | `packets.rs`| packets made by hand                                               |
//! | `nat.rs`    | TCP and UDP through it: NAT, counts, ids, what the ends' own rows say  |
//! | `tunnels.rs`| VXLAN, GENEVE, IP in IP, GRE, WireGuard, VLANs                       |
//! | `sctp.rs`   | associations: opened, ended, aborted                                 |
//! | `lives.rs`  | crashes, interfaces that come and go, ports used again, no room        |

mod lives;
mod nat;
mod node;
mod packets;
mod sctp;
mod tunnels;
