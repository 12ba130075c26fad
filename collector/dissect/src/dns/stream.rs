//! DNS over TCP (RFC 1035 §4.2.2): segments of one direction, as they come → messages, each behind its length.
//!
//! What is missing for good (cut by the capture, left out by the kernel, lost) ends the message it lies in; reading
//! goes on at the next segment that begins with a message, as nearly all do.

use super::message;

/// Bytes that may wait behind a hole; then the hole is given up.
const MAX_WAITING: usize = 1 << 17;
/// How long they may wait: a lost segment is sent again within a fraction of it.
const MAX_WAIT_NS: i64 = 1_000_000_000;
/// A message's length, in front of it.
const PREFIX: usize = 2;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Messages {
    /// Position of the next byte in order; `None`: nothing seen yet.
    next: Option<u32>,
    /// The beginning of a message whose end is still to come.
    begun: Vec<u8>,
    /// When the last byte of it came.
    begun_ns: i64,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// Where messages begin isn't known: in the middle of a stream, or behind a hole.
    is_astray: bool,
    /// Holes that were given up.
    gaps: u64,
}

/// A segment behind a hole.
#[derive(Debug)]
struct Waiting {
    position: u32,
    time_ns: i64,
    bytes: Vec<u8>,
}

impl Messages {
    /// A stream that is watched from its first byte on, which has this position.
    pub fn from_start(position: u32) -> Messages {
        Messages { next: Some(position), ..Messages::default() }
    }

    /// Takes a segment of which `length` bytes were sent at `time_ns`; calls `on_message` with each message that it
    /// completes, or that can't be completed any more, and with its time: when its last byte could be read.
    pub fn push(
        &mut self,
        time_ns: i64,
        position: u32,
        bytes: &[u8],
        length: usize,
        mut on_message: impl FnMut(i64, &[u8]),
    ) {
        if self.next.is_none() {
            self.is_astray = true;
            self.next = Some(position);
        }
        while let Some(first) = self.first_waiting().filter(|first| time_ns - first.time_ns > MAX_WAIT_NS) {
            let first = first.position;
            self.give_up(first, &mut on_message);
        }
        let mut ahead = self.ahead(position);
        if ahead > 0 {
            if bytes.len() == length && self.waiting_bytes + bytes.len() <= MAX_WAITING {
                self.waiting_bytes += bytes.len();
                self.waiting.push(Waiting { position, time_ns, bytes: bytes.to_vec() });
                return;
            }
            // Too much waits, or the end of this one will never come: the hole isn't waited for any longer.
            self.give_up(position, &mut on_message);
            ahead = self.ahead(position);
        }
        let known = ahead.unsigned_abs() as usize;
        if let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) {
            self.take(time_ns, fresh, &mut on_message);
        }
        if bytes.len() < length && known < length {
            let behind = position.wrapping_add(length as u32);
            self.lose(time_ns, behind, &mut on_message);
        }
        // What waited for this was of no use before it.
        while let Some(waiting) = self.release() {
            self.take(time_ns, &waiting.bytes, &mut on_message);
        }
    }

    /// The other end has all bytes before `position`: what is missing of them here will not be sent again.
    pub fn acknowledged(&mut self, position: u32, mut on_message: impl FnMut(i64, &[u8])) {
        while let Some(first) = self.first_waiting().filter(|first| distance(first.position, position) > 0) {
            let first = first.position;
            self.give_up(first, &mut on_message);
        }
    }

    /// The stream ended: what waits is read as far as it goes.
    pub fn finish(&mut self, mut on_message: impl FnMut(i64, &[u8])) {
        while let Some(first) = self.first_waiting() {
            let first = first.position;
            self.give_up(first, &mut on_message);
        }
    }

    /// Holes that were given up so far, each with the messages in it.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// How far `position` lies after the next byte in order.
    fn ahead(&self, position: u32) -> i32 {
        self.next.map_or(0, |next| distance(next, position))
    }

    /// Bytes in order.
    fn take(&mut self, time_ns: i64, mut bytes: &[u8], on_message: &mut impl FnMut(i64, &[u8])) {
        self.next = self.next.map(|next| next.wrapping_add(bytes.len() as u32));
        if self.is_astray {
            if !begins_message(bytes) {
                return;
            }
            self.is_astray = false;
        }
        // Mostly a segment is whole messages, and nothing needs to be copied.
        while self.begun.is_empty() {
            let Some(length) = prefix(bytes) else { break };
            let Some(message) = bytes.get(PREFIX..PREFIX + length) else { break };
            on_message(time_ns, message);
            bytes = &bytes[PREFIX + length..];
        }
        while !bytes.is_empty() {
            let wanted = prefix(&self.begun).map_or(PREFIX, |length| PREFIX + length);
            let (part, rest) = bytes.split_at(bytes.len().min(wanted - self.begun.len()));
            self.begun.extend_from_slice(part);
            bytes = rest;
            if prefix(&self.begun).is_some_and(|length| self.begun.len() == PREFIX + length) {
                on_message(time_ns, &self.begun[PREFIX..]);
                self.begun.clear();
            }
        }
        if !self.begun.is_empty() {
            self.begun_ns = time_ns;
        }
    }

    /// Skips to `position`, or to what waits before it.
    fn give_up(&mut self, position: u32, on_message: &mut impl FnMut(i64, &[u8])) {
        while self.ahead(position) > 0 {
            let first = self.first_waiting().map_or(position, |first| first.position);
            self.lose(
                self.begun_ns,
                if distance(first, position) > 0 { first } else { position },
                on_message,
            );
            while let Some(waiting) = self.release() {
                self.take(waiting.time_ns, &waiting.bytes, on_message);
            }
        }
    }

    fn lose(&mut self, time_ns: i64, next: u32, on_message: &mut impl FnMut(i64, &[u8])) {
        if self.begun.len() > PREFIX {
            on_message(time_ns, &self.begun[PREFIX..]);
        }
        self.begun.clear();
        self.gaps += 1;
        self.is_astray = true;
        self.next = Some(next);
    }

    fn first_waiting(&self) -> Option<&Waiting> {
        self.waiting.iter().min_by_key(|waiting| self.ahead(waiting.position))
    }

    /// What waited and whose turn it is, without the bytes that came in the meantime.
    fn release(&mut self) -> Option<Waiting> {
        loop {
            let at = self.waiting.iter().position(|waiting| self.ahead(waiting.position) <= 0)?;
            let mut waiting = self.waiting.swap_remove(at);
            self.waiting_bytes -= waiting.bytes.len();
            let known = self.ahead(waiting.position).unsigned_abs() as usize;
            if known < waiting.bytes.len() {
                waiting.bytes.drain(..known);
                return Some(waiting);
            }
        }
    }
}

fn prefix(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))
}

/// Whether a segment seems to begin with a message: its length is one that messages have, and what is there of it can
/// be read.
fn begins_message(bytes: &[u8]) -> bool {
    let Some(length) = prefix(bytes).filter(|length| *length >= 12) else { return false };
    let end = bytes.len().min(PREFIX + length);
    message(&bytes[PREFIX..end]).is_ok_and(|message| message.is_whole || end < PREFIX + length)
}

/// How far `to` lies after `from`, in the arithmetic of sequence numbers.
fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}
