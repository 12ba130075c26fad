//! Many probes' reports → the blocks of one file, within the request's limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_model::capture::CaptureRequest;
use weir_wire::control::{Report, Reports};

use super::pcapng;

/// Reports of all probes that wait for the file.
const REPORTS_UNDER_WAY: usize = 16;
/// How long after its time a probe may take to say its last word.
const GRACE: Duration = Duration::from_secs(10);
/// Room that is kept for each probe's last block.
const LAST_WORDS: u64 = 1_280;

/// What became of a capture.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// As `audit_log` has it.
    pub(super) outcome: &'static str,
    /// Packets in the file.
    pub(super) packets: u64,
    /// Packets that passed the filter and are not in it.
    pub(super) dropped: u64,
    /// What failed.
    pub(super) error: Option<String>,
}

/// One probe's part of the file.
#[derive(Debug)]
struct Part {
    node: String,
    /// Its interface in the file, from its first word on: then it takes packets.
    interface: Option<u32>,
    matched: u64,
    dropped: u64,
    /// Of the dropped, those that a packet has told of.
    told: u64,
    given: u64,
    /// Why it ended; empty: it goes on.
    ended: String,
    failed: bool,
}

/// The file as it is made.
struct File<'a> {
    request: &'a CaptureRequest,
    send: &'a mpsc::Sender<Bytes>,
    began_ns: i64,
    parts: Vec<Part>,
    packets: u64,
    /// Of the file, with what is still to be written at its end.
    bytes: u64,
    /// Which limit was reached.
    full: Option<&'static str>,
}

/// Whoever reads the file has gone.
struct ReaderGone;

/// From the file's head to its last block.
pub(super) async fn run(
    request: &CaptureRequest,
    probes: Vec<(String, Reports)>,
    send: &mpsc::Sender<Bytes>,
) -> Merged {
    let parts = probes.iter().map(|(node, _)| Part::new(node)).collect();
    let mut file = File { request, send, began_ns: now_ns(), parts, packets: 0, bytes: 0, full: None };
    let gone = file.make(probes).await.is_err();
    file.merged(gone)
}

impl Part {
    fn new(node: &str) -> Part {
        let node = node.to_owned();
        Part {
            node,
            interface: None,
            matched: 0,
            dropped: 0,
            told: 0,
            given: 0,
            ended: String::new(),
            failed: false,
        }
    }
}

impl File<'_> {
    async fn make(&mut self, probes: Vec<(String, Reports)>) -> Result<(), ReaderGone> {
        self.head().await?;
        let (reports, mut taken) = mpsc::channel(REPORTS_UNDER_WAY);
        for (index, (_, probe)) in probes.into_iter().enumerate() {
            tokio::spawn(pass_on(index, probe, reports.clone()));
        }
        drop(reports);
        let until = Duration::from_secs(u64::from(self.request.seconds)) + GRACE;
        let is_late = tokio::time::sleep(until);
        tokio::pin!(is_late);
        loop {
            let next = tokio::select! {
                () = self.send.closed() => return Err(ReaderGone),
                () = &mut is_late => break,
                next = taken.recv() => next,
            };
            let Some((index, report)) = next else { break };
            self.report(index, report).await?;
            if self.full.is_some() || self.parts.iter().all(|part| !part.ended.is_empty()) {
                break;
            }
        }
        // Whoever has not said why has not said a last word.
        let why = self.full.map_or(("the probe did not answer in time", true), |full| (full, false));
        for index in 0..self.parts.len() {
            if self.parts[index].ended.is_empty() {
                self.end(index, why.0.to_owned(), why.1).await?;
            }
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<(), ReaderGone> {
        let kept = match self.request.payload {
            0 => "headers only".to_owned(),
            payload => format!("headers and {payload} bytes of payload"),
        };
        let filter = if self.request.filter.trim().is_empty() { "everything" } else { &self.request.filter };
        let version = weir_kit::VERSION;
        let head = pcapng::section(
            &format!("filter: {filter}; {kept}, as sockets send and receive them"),
            &format!("weir capture {version}"),
        );
        self.bytes += head.len() as u64 + LAST_WORDS * self.parts.len() as u64;
        self.give(head).await
    }

    async fn report(&mut self, index: usize, report: Report) -> Result<(), ReaderGone> {
        let interface = self.interface(index).await?;
        let part = &mut self.parts[index];
        if !part.ended.is_empty() {
            return Ok(());
        }
        part.matched = part.matched.max(report.matched);
        part.dropped = part.dropped.max(report.dropped.saturating_add(report.unreadable));
        let mut piece = Vec::new();
        for packet in &report.packets {
            if self.packets >= self.request.packets {
                self.full = Some("the limit of packets is reached");
                break;
            }
            let holder = report.holders.get(packet.holder as usize).map_or("", String::as_str);
            let block = pcapng::packet(&pcapng::Packet {
                interface,
                time_ns: packet.time_ns,
                wire_len: packet.wire_len,
                sent: packet.sent,
                lost_before: part.dropped - part.told,
                comment: format!("node={} {holder}", part.node).trim_end(),
                bytes: &packet.bytes,
            });
            if self.bytes + block.len() as u64 > self.request.bytes {
                self.full = Some("the limit of bytes is reached");
                break;
            }
            part.told = part.dropped;
            part.given += 1;
            self.packets += 1;
            self.bytes += block.len() as u64;
            piece.extend(block);
        }
        if !piece.is_empty() {
            self.give(piece).await?;
        }
        if !report.ended.is_empty() {
            self.end(index, report.ended, report.failed).await?;
        }
        Ok(())
    }

    /// A probe's interface in the file; described there when it is asked for first.
    async fn interface(&mut self, index: usize) -> Result<u32, ReaderGone> {
        if let Some(interface) = self.parts[index].interface {
            return Ok(interface);
        }
        let interface = self.parts.iter().filter(|part| part.interface.is_some()).count() as u32;
        let part = &mut self.parts[index];
        part.interface = Some(interface);
        let block = pcapng::interface(&part.node, "all sockets of the node", &self.request.filter);
        self.bytes += block.len() as u64;
        self.give(block).await?;
        Ok(interface)
    }

    /// A probe's part is over.
    async fn end(&mut self, index: usize, why: String, failed: bool) -> Result<(), ReaderGone> {
        let interface = self.interface(index).await?;
        let times_ns = (self.began_ns, now_ns());
        let part = &mut self.parts[index];
        (part.ended, part.failed) = (why, failed);
        let what = if failed { "failed" } else { "ended" };
        let statistics = pcapng::statistics(&pcapng::Statistics {
            interface,
            times_ns,
            matched: part.matched,
            lost: part.dropped,
            given: part.given,
            comment: &format!("{what}: {}", part.ended),
        });
        self.give(statistics).await
    }

    async fn give(&self, piece: Vec<u8>) -> Result<(), ReaderGone> {
        self.send.send(piece.into()).await.map_err(|_| ReaderGone)
    }

    fn merged(&self, gone: bool) -> Merged {
        let failed: Vec<String> = self
            .parts
            .iter()
            .filter(|part| part.failed)
            .map(|part| format!("{}: {}", part.node, part.ended))
            .collect();
        Merged {
            outcome: match (gone, failed.is_empty()) {
                (true, _) => "cancelled",
                (false, false) => "failed",
                (false, true) => "ok",
            },
            packets: self.packets,
            dropped: self.parts.iter().map(|part| part.dropped).sum(),
            error: (!failed.is_empty()).then(|| failed.join("; ")),
        }
    }
}

/// One probe's reports into the common queue; dropping the queue's other end ends its capture.
async fn pass_on(index: usize, mut probe: Reports, reports: mpsc::Sender<(usize, Report)>) {
    loop {
        let report = tokio::select! {
            () = reports.closed() => return,
            report = probe.next() => report.unwrap_or_else(|| Report::ended("the probe left", true)),
        };
        let is_last = !report.ended.is_empty();
        if reports.send((index, report)).await.is_err() || is_last {
            return;
        }
    }
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}
