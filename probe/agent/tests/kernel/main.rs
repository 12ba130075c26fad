//! The probe on the real kernel: known traffic between network namespaces, rows compared with what the ends sent.
//!
//! Needs what `deploy/setup.sh test` installs, and root; each test has its own namespaces, probe
//! and collector's port.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod agree;
mod bench;
mod capture;
mod causes;
mod certificates;
mod clock;
mod confined;
mod dns;
mod drops;
mod exchanges;
mod features;
mod floods;
mod host;
mod icmp;
mod libraries;
mod losses;
mod many;
mod older;
mod path;
mod peers;
mod processes;
mod quic;
mod restart;
mod rights;
mod starttls;
mod tcp;
mod tls;
mod totals;
mod udp;
mod verify;
mod wire;
