//! A pcapng stream cut into whole blocks, and what they say: which nodes give packets, how many, how many were lost.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use weir_collector::capture::pcapng::{Statistics, statistics};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// Longest block that is believed; a packet has 64 KiB.
const MOST_BYTES: usize = 1 << 20;

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The beginning of a block whose end isn't here yet.
    rest: Vec<u8>,
    nodes: Vec<Node>,
    began_ns: i64,
}

/// One node's packets.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) packets: u64,
    /// Kept bytes of packets.
    pub(super) bytes: u64,
    pub(super) lost: u64,
    /// Why it ended; empty: it goes on.
    pub(super) ended: String,
}

impl Node {
    /// Whether it ended badly.
    pub(super) fn has_failed(&self) -> bool {
        self.ended.starts_with("failed")
    }
}

impl Blocks {
    /// Takes what came and gives back the whole blocks that are there now.
    ///
    /// # Errors
    /// When it is no pcapng stream of ours.
    pub(super) fn read(&mut self, chunk: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.rest.extend(chunk);
        let mut at = 0;
        while let Some(length) = word(&self.rest, at + 4) {
            let length = length as usize;
            if !(12..=MOST_BYTES).contains(&length) || !length.is_multiple_of(4) {
                bail!("the server sent something that is no packet capture");
            }
            let Some(block) = self.rest.get(at..at + length) else { break };
            note(block, &mut self.nodes);
            at += length;
        }
        if self.began_ns == 0 {
            self.began_ns = now_ns();
        }
        let rest = self.rest.split_off(at);
        Ok(std::mem::replace(&mut self.rest, rest))
    }

    /// Whether no block is missing its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The nodes that give packets, or did.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Statistics of the nodes that have not said their last word: what the server can't send any more.
    pub(super) fn last_words(&mut self, why: &str) -> Vec<u8> {
        let mut blocks = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate().filter(|(_, node)| node.ended.is_empty()) {
            why.clone_into(&mut node.ended);
            blocks.extend(statistics(&Statistics {
                interface: index as u32,
                times_ns: (self.began_ns, now_ns()),
                matched: node.packets + node.lost,
                lost: node.lost,
                given: node.packets,
                comment: why,
            }));
        }
        blocks
    }
}

/// What one block says.
fn note(block: &[u8], nodes: &mut Vec<Node>) {
    let Some(kind) = word(block, 0) else { return };
    match kind {
        SECTION => nodes.clear(),
        INTERFACE => nodes.push(Node { name: text(block, 16, 2), ..Node::default() }),
        PACKET => {
            let (Some(interface), Some(kept)) = (word(block, 8), word(block, 20)) else { return };
            let Some(node) = nodes.get_mut(interface as usize) else { return };
            node.packets += 1;
            node.bytes += u64::from(kept);
            let options = 28 + (kept as usize).next_multiple_of(4);
            node.lost += number(option(block, options, 4));
        }
        STATISTICS => {
            let Some(node) = word(block, 8).and_then(|interface| nodes.get_mut(interface as usize)) else {
                return;
            };
            node.lost = number(option(block, 20, 5));
            node.ended = text(block, 20, 1);
        }
        _ => {}
    }
}

/// The value of an option, of those that begin at `at`.
fn option(block: &[u8], mut at: usize, code: u16) -> Option<&[u8]> {
    loop {
        let head = block.get(at..at + 4)?;
        let (found, length) =
            (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        if found == 0 {
            return None;
        }
        let value = block.get(at + 4..at + 4 + usize::from(length))?;
        if found == code {
            return Some(value);
        }
        at += 4 + usize::from(length).next_multiple_of(4);
    }
}

/// For a terminal: without control characters.
fn text(block: &[u8], at: usize, code: u16) -> String {
    let text = option(block, at, code).map(String::from_utf8_lossy).unwrap_or_default();
    text.replace(char::is_control, "?")
}

fn number(value: Option<&[u8]>) -> u64 {
    value.and_then(|value| value.first_chunk()).map_or(0, |value| u64::from_le_bytes(*value))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use weir_collector::capture::pcapng::{Packet, interface, packet, section};

    use super::*;

    fn stream() -> Vec<u8> {
        let of = |interface, lost_before, kept: &[u8]| {
            packet(&Packet {
                interface,
                time_ns: 1,
                wire_len: 99,
                sent: false,
                lost_before,
                comment: "pid=1",
                bytes: kept,
            })
        };
        let ended = Statistics {
            interface: 1,
            times_ns: (1, 2),
            matched: 9,
            lost: 4,
            given: 1,
            comment: "failed: x",
        };
        let parts = [
            section("filter: tcp", "weir"),
            interface("a", "d", "tcp"),
            interface("b\u{7}", "d", "tcp"),
            of(0, 0, b"12345"),
            of(0, 3, b"123"),
            of(1, 2, b"1"),
            statistics(&ended),
        ];
        parts.concat()
    }

    #[test]
    fn however_a_stream_is_cut_only_whole_blocks_come_out() {
        let stream = stream();
        for size in [1, 3, 7, 64, 10_000] {
            let mut blocks = Blocks::default();
            let mut written = Vec::new();
            for chunk in stream.chunks(size) {
                written.extend(blocks.read(chunk).expect("blocks"));
            }
            assert!(blocks.is_at_end());
            assert_eq!(written, stream);
            let told: Vec<_> = blocks
                .nodes()
                .map(|node| (node.name.as_str(), node.packets, node.bytes, node.lost))
                .collect();
            assert_eq!(told, [("a", 2, 8, 3), ("b?", 1, 1, 4)]);
            assert!(blocks.nodes().last().expect("two").has_failed());
        }
        let mut cut = Blocks::default();
        let whole = cut.read(&stream[..stream.len() - 1]).expect("blocks");
        assert!(!cut.is_at_end() && stream.starts_with(&whole));
    }

    #[test]
    fn an_interrupted_capture_says_what_it_lost() {
        let mut blocks = Blocks::default();
        let stream = stream();
        // The second node's statistics don't come any more.
        blocks.read(&stream[..stream.len() - 1]).expect("blocks");
        let last = blocks.last_words("ended: interrupted");
        let mut read = Blocks::default();
        let head = [section("", ""), interface("a", "", ""), interface("b", "", "")].concat();
        read.read(&[head, last].concat()).expect("blocks");
        for blocks in [&blocks, &read] {
            let told: Vec<_> = blocks.nodes().map(|node| (node.lost, node.ended.as_str())).collect();
            assert_eq!(told, [(3, "ended: interrupted"), (2, "ended: interrupted")]);
        }
    }

    #[test]
    fn what_is_no_capture_is_said() {
        assert!(Blocks::default().read(b"<!doctype html>").is_err());
        assert!(Blocks::default().read(&[0; 8]).is_err());
    }
}
