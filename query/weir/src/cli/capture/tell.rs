//! What is said on standard error: who takes packets, how many there are, and at the end what became of them.
#![expect(clippy::print_stderr, reason = "for the person; standard output may be the packets")]

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_model::capture::CaptureRequest;

use super::blocks::{Blocks, Node};

/// Between two looks at the numbers, on a terminal.
const EVERY: Duration = Duration::from_millis(500);

/// Says it.
pub(super) struct Teller {
    is_terminal: bool,
    said: Instant,
    /// Nodes that were named.
    named: usize,
}

impl Teller {
    pub(super) fn new(asked: &CaptureRequest) -> Teller {
        if asked.payload > 0 {
            eprintln!(
                "warning: payload is captured, which can hold passwords and tokens: treat the file accordingly. \
                 audit_log has this request"
            );
        }
        let kept = if asked.payload > 0 { "headers and payload" } else { "headers only" };
        eprintln!("at most {} s, {} packets, {}; {kept}", asked.seconds, asked.packets, size(asked.bytes));
        Teller { is_terminal: std::io::stderr().is_terminal(), said: Instant::now(), named: 0 }
    }

    /// More came.
    pub(super) fn go_on(&mut self, blocks: &Blocks) {
        for node in blocks.nodes().skip(self.named) {
            self.named += 1;
            if node.ended.is_empty() {
                eprintln!("{}capturing on {}", self.clear(), node.name);
            }
        }
        if self.is_terminal && self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            eprint!("{}{}", self.clear(), totals(blocks));
        }
    }

    /// It is over.
    pub(super) fn end(&self, blocks: &Blocks, output: &Path) {
        eprint!("{}", self.clear());
        for node in blocks.nodes() {
            eprintln!("{}", line(node));
        }
        let place = if output == Path::new("-") {
            "standard output".to_owned()
        } else {
            output.display().to_string()
        };
        eprintln!("{} in {place}", totals(blocks));
    }

    /// What takes a line of numbers off the terminal.
    fn clear(&self) -> &'static str {
        if self.is_terminal { "\r\x1b[K" } else { "" }
    }
}

fn line(node: &Node) -> String {
    let mut line = format!("{}: {}", node.name, numbers(node.packets, node.bytes, node.lost));
    if !node.ended.is_empty() {
        let _ = write!(line, "; {}", node.ended);
    }
    line
}

fn totals(blocks: &Blocks) -> String {
    let sum = |of: fn(&Node) -> u64| blocks.nodes().map(of).sum();
    numbers(sum(|node| node.packets), sum(|node| node.bytes), sum(|node| node.lost))
}

fn numbers(packets: u64, bytes: u64, lost: u64) -> String {
    let plural = if packets == 1 { "" } else { "s" };
    format!("{packets} packet{plural}, {}, {lost} lost", size(bytes))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_in_a_line() {
        let node = Node {
            name: "a".to_owned(),
            packets: 1,
            bytes: 52,
            lost: 3,
            ended: "ended: the time is over".to_owned(),
        };
        assert_eq!(line(&node), "a: 1 packet, 52 bytes, 3 lost; ended: the time is over");
        assert_eq!(size(20 << 20), "20 MiB");
    }
}
