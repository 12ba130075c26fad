//! Capture files: packets → the same rows that a probe sends.
//!
//! | file      | subject                                                                      |
//! |-----------|------------------------------------------------------------------------------|
//! | `file.rs` | pcap and pcapng on disk: headers, clocks, interfaces; what to do about damage    |
//!
//! One thread, one pass, memory bounded by the tracker's options; works on any reader, so also on a pipe. A damaged
//! file gives every packet that can still be read, and one message that says where it broke. Never here: what a
//! packet means (`weir-dissect`), where rows go (the caller).

mod file;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

use weir_dissect::ip::{self, Transport};
use weir_dissect::tcp::{FlowTracker, Totals};

pub use file::Damage;
use file::{CaptureFile, Step};
pub use weir_dissect::tcp::{Options, Rows};

/// Rows are handed on in about this many: a batch of the wire.
const ROWS: usize = 8192;
/// Packets between two calls of the progress callback.
const PROGRESS_EVERY: u64 = 1 << 16;

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is something else.
    #[error("not a capture file: it begins with {found}, and neither pcap nor pcapng does")]
    NotACapture {
        /// Its first bytes, as hex.
        found: String,
    },
    /// The disk, or the pipe.
    #[error("read the capture at byte {offset}")]
    Read {
        /// How far we got.
        offset: u64,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that are done.
    pub bytes: u64,
    /// Packets read.
    pub packets: u64,
}

/// What was imported.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Packets in it.
    pub packets: u64,
    /// Their bytes as far as they were captured.
    pub captured_bytes: u64,
    /// Their bytes on the wire, link layer included.
    pub wire_bytes: u64,
    /// Bytes on the wire of the packets that are in TCP flows.
    pub tcp_wire_bytes: u64,
    /// Bytes on the wire of the packets that are in UDP flows.
    pub udp_wire_bytes: u64,
    /// Bytes on the wire of the packets that are in SCTP flows.
    pub sctp_wire_bytes: u64,
    /// Connections and their packets.
    pub totals: Totals,
    /// Rows of `flows` that were handed on.
    pub flows: u64,
    /// Rows of `tls_handshakes` that were handed on.
    pub handshakes: u64,
    /// Rows of `dns` that were handed on.
    pub dns: u64,
    /// Packets that are in no flow, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Time of the first and the last packet, ns UTC.
    pub times_ns: Option<(i64, i64)>,
    /// The first place where the file is damaged.
    pub damage: Option<Damage>,
}

/// Reads a whole capture and hands on rows as they become ready.
///
/// `on_rows` may stop the import by [`ControlFlow::Break`].
///
/// # Errors
/// [`ImportError`]; damage inside a capture is none, but part of the report.
pub fn import(
    reader: impl Read,
    options: Options,
    on_rows: impl FnMut(Rows) -> ControlFlow<()>,
    progress: impl FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    follow(reader, options, || None, on_rows, progress)
}

/// The same for a capture that is still being written.
///
/// Where the file ends for now, all ready rows are handed on and `wait` is called: it waits a little and returns the
/// time, or `None` when nothing more shall be read.
///
/// # Errors
/// As [`import`].
pub fn follow(
    reader: impl Read,
    options: Options,
    mut wait: impl FnMut() -> Option<i64>,
    on_rows: impl FnMut(Rows) -> ControlFlow<()>,
    mut progress: impl FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let mut file = CaptureFile::new(reader);
    let mut import = Import { tracker: FlowTracker::new(options), report: ImportReport::default(), on_rows };
    loop {
        match file.step()? {
            Step::Packet { time_ns, link, wire_length, bytes } => {
                import.packet(time_ns, link, wire_length, file.bytes(bytes));
                if import.tracker.ready() >= ROWS && import.hand_on().is_break() {
                    break;
                }
                if import.report.packets % PROGRESS_EVERY == 0 {
                    progress(Progress { bytes: file.offset(), packets: import.report.packets });
                }
            }
            // Who waits must not sit on what is ready.
            Step::Pause => {
                if import.hand_on().is_break() {
                    break;
                }
            }
            Step::End => {
                progress(Progress { bytes: file.offset(), packets: import.report.packets });
                if import.hand_on().is_break() || file.has_ended() {
                    break;
                }
                match wait() {
                    Some(now_ns) => import.tracker.advance(now_ns),
                    None => file.end(),
                }
            }
        }
    }
    import.report.file_bytes = file.offset();
    import.report.damage = file.into_damage()?;
    Ok(import.finish())
}

struct Import<F> {
    tracker: FlowTracker,
    report: ImportReport,
    on_rows: F,
}

impl<F: FnMut(Rows) -> ControlFlow<()>> Import<F> {
    fn packet(&mut self, time_ns: i64, link: u32, wire_length: u32, bytes: &[u8]) {
        let report = &mut self.report;
        report.packets += 1;
        report.captured_bytes += bytes.len() as u64;
        report.wire_bytes += u64::from(wire_length);
        let (first, last) = report.times_ns.unwrap_or((time_ns, time_ns));
        report.times_ns = Some((first.min(time_ns), last.max(time_ns)));
        match ip::packet(link, bytes) {
            Ok(packet) => {
                match packet.transport {
                    Transport::Tcp(_) => report.tcp_wire_bytes += u64::from(wire_length),
                    Transport::Udp { .. } => report.udp_wire_bytes += u64::from(wire_length),
                    Transport::Sctp { .. } => report.sctp_wire_bytes += u64::from(wire_length),
                }
                self.tracker.packet(time_ns, &packet);
            }
            Err(ignored) => *report.ignored.entry(ignored.reason()).or_default() += 1,
        }
    }

    fn hand_on(&mut self) -> ControlFlow<()> {
        let rows = self.tracker.take_rows();
        self.give(rows)
    }

    fn give(&mut self, rows: Rows) -> ControlFlow<()> {
        self.report.flows += rows.flows.len() as u64;
        self.report.handshakes += rows.handshakes.len() as u64;
        self.report.dns += rows.dns.len() as u64;
        if rows.flows.is_empty() && rows.handshakes.is_empty() && rows.dns.is_empty() {
            return ControlFlow::Continue(());
        }
        (self.on_rows)(rows)
    }

    fn finish(mut self) -> ImportReport {
        let rows = self.tracker.finish();
        // The end either way: whether the caller wanted more changes nothing.
        let _ = self.give(rows);
        self.report.totals = self.tracker.totals();
        self.report
    }
}

#[cfg(test)]
mod tests;
